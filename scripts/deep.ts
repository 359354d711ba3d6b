/**
 * Runs the deep suite: `npm run test:deep`, or a part of it, `npm run test:deep -- test/soak`. Where the repository has
 * database servers for tests to talk to, they are started before and stopped afterwards.
 */
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"

const root = Path.join(import.meta.dirname, "..")
const services = ["postgres"].map((name) => Path.join(root, "scripts/services", `${name}.sh`)).filter(Fs.existsSync)

/** Runs a program to its end with our own input and output; answers with its exit code. */
const run = (file: string, args: ReadonlyArray<string>): number => {
  const { error, status } = spawnSync(file, args, { cwd: root, stdio: "inherit" })
  if (error !== undefined) console.error(String(error))
  return status ?? 1
}

const vitest = Path.join(root, "node_modules/vitest/vitest.mjs")
const started: Array<string> = []
let failed = 0
for (const service of services) {
  if (run("bash", [service, "start"]) === 0) started.push(service)
  else failed++
}
if (failed === 0) {
  failed = run(process.execPath, [vitest, "run", "--config", "vitest.deep.config.ts", ...process.argv.slice(2)])
}
for (const service of started) run("bash", [service, "stop"])
process.exitCode = failed === 0 ? 0 : 1
