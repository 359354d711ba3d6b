/**
 * The marked code of the documentation, for the test that runs it and the check that compiles it.
 *
 * A fence ```` ```ts run ```` is a program that runs and whose claims `expression // => value` hold; a fence
 * ```` ```ts check ```` is only compiled. Both stand in Markdown and in JSDoc.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"

export interface Fence {
  readonly file: string
  /** Of the opening mark, from 1. */
  readonly line: number
  readonly mode: "run" | "check"
  readonly code: string
}

export const fencesOf = (file: string, source: string): ReadonlyArray<Fence> => {
  const text = file.endsWith(".ts") ? source.replaceAll(/^[ \t]*\* ?/gm, "") : source
  return Array.from(text.matchAll(/^```ts (run|check)[ \t]*\n([\s\S]*?)^```/gm), (match) => ({
    file,
    line: text.slice(0, match.index).split("\n").length,
    mode: match[1] as Fence["mode"],
    code: match[2]!
  }))
}

const claims = /^(?:(const|let) (\w+)(?:: [^=]+)? = )?(.+?);? \/\/ => (.+)$/gm

const prelude = [
  "import { deepStrictEqual } from \"node:assert\"",
  "const claim = (actual: unknown, expected: unknown): void => deepStrictEqual(actual, expected)",
  "void claim"
].join("; ")

/** A module whose lines have the numbers of the page they stand on, so that an error names the line to change. */
export const moduleOf = (fence: Fence): string => {
  const program = fence.code.replaceAll(claims, (line: string, keyword, name, expression, value) => {
    if (keyword === undefined) return `claim(${expression}, ${value})`
    return `${line.replace(/ \/\/ => .*$/, "")}; claim(${name}, ${value})`
  })
  return `${prelude}${"\n".repeat(fence.line)}${program}`
}

/** A file name that tells where the fence is. */
export const nameOf = (fence: Fence): string => `${fence.file.replaceAll(/\W+/g, "_")}_${fence.line}.ts`

export const documents = (root: string): ReadonlyArray<string> => {
  const below = (folder: string, pattern: RegExp) =>
    Fs.existsSync(Path.join(root, folder))
      ? Fs.readdirSync(Path.join(root, folder), { recursive: true, encoding: "utf8" })
        .filter((file) => pattern.test(file))
        .map((file) => Path.posix.join(folder, file.replaceAll("\\", "/")))
      : []
  const pages = Fs.readdirSync(root).filter((file) => file.endsWith(".md") && file !== "api.md")
  return [...pages, ...below("docs", /\.md$/), ...below("src", /\.ts$/)].sort()
}

export const fencesIn = (root: string): ReadonlyArray<Fence> =>
  documents(root).flatMap((file) => fencesOf(file, Fs.readFileSync(Path.join(root, file), "utf8")))
