/** What an example says of itself, and what it prints. */
import { execFile } from "node:child_process"
import * as Path from "node:path"
import { promisify } from "node:util"

const root = Path.join(import.meta.dirname, "../..")

/** Whether it says so, in a line of its own. */
export const needsServer = (source: string): boolean => /^\/\/ Needs a server\b/m.test(source)

/** What the comment at the end of an example says it prints. */
export const statedOutput = (source: string): string | undefined =>
  /(?:^|\n)\/\/ Output:\n((?:\/\/.*(?:\n|$))*)\s*$/.exec(source)?.[1]!.replaceAll(/^\/\/ ?/gm, "").trimEnd()

export const printed = async (path: string, env: Readonly<Record<string, string>> = {}): Promise<string> => {
  const { stdout } = await promisify(execFile)(process.execPath, [path], {
    cwd: root,
    env: { ...process.env, ...env, NO_COLOR: "1", TZ: "UTC" }
  })
  return stdout.replaceAll(/[ \t]+$/gm, "").trimEnd()
}
