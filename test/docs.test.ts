import { describe, expect, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { pathToFileURL } from "node:url"
import { type Fence, fencesIn, fencesOf, moduleOf, nameOf } from "../scripts/fences.ts"
import { needsServer, printed, statedOutput } from "./support/examples.ts"

const root = Path.join(import.meta.dirname, "..")
// Not below node_modules: there Node refuses TypeScript, and "millrace" would not find this package.
const cache = Path.join(root, ".cache/docs")

const run = async (fence: Fence): Promise<void> => {
  Fs.mkdirSync(cache, { recursive: true })
  const path = Path.join(cache, nameOf(fence))
  Fs.writeFileSync(path, moduleOf(fence))
  await import(/* @vite-ignore */ pathToFileURL(path).href)
}

describe("documentation", () => {
  for (const fence of fencesIn(root).filter((fence) => fence.mode === "run")) {
    it(`${fence.file}:${fence.line}`, () => run(fence))
  }

  const page = (...lines: ReadonlyArray<string>) => fencesOf("page.md", ["# Page", "", ...lines].join("\n"))[0]!

  it("a true claim passes, for an expression and for a constant", () =>
    run(page("```ts run", "const two = 1 + 1 // => 2", "[two, -0] // => [2, -0]", "```")))

  it("a false claim fails", async () => {
    const fence = { ...page("```ts run", "1 + 1 // => 3", "```"), file: "false claim" }
    await expect(run(fence)).rejects.toThrow(/strictly deep-equal/)
  })

  it("a fence in JSDoc is found, and its lines keep their numbers", () => {
    const [fence] = fencesOf("a.ts", "/**\n   * ```ts run\n   * one() // => 1\n   * ```\n   */\n")
    expect(fence).toEqual({ file: "a.ts", line: 2, mode: "run", code: "one() // => 1\n" })
    expect(moduleOf(fence!).split("\n")[2]).toBe("claim(one(), 1)")
  })
})

const examples = (Fs.existsSync(Path.join(root, "examples"))
  ? Fs.readdirSync(Path.join(root, "examples"), { recursive: true, encoding: "utf8" })
  : [])
  .filter((file) => /^[^/\\]+\.ts$|[/\\]main\.ts$/.test(file))
  .map((file) => ({ file, path: Path.join(root, "examples", file) }))
  .map((example) => ({ ...example, source: Fs.readFileSync(example.path, "utf8") }))
  // Those are run where servers are.
  .filter(({ source }) => !needsServer(source))
  .map((example) => ({ ...example, stated: statedOutput(example.source) }))

describe.concurrent("examples", () => {
  for (const { file, path, stated } of examples) {
    // A main program in a folder of its own may write files instead, and then has a test of its own.
    if (stated === undefined && /[/\\]/.test(file)) continue
    it(`examples/${file} prints what it states`, async ({ expect }) => {
      expect(stated, "the file ends with a comment block that begins with `// Output:`").toBeDefined()
      expect(await printed(path)).toBe(stated)
    })
  }

  it("the stated output is the comment at the end of the file, blank lines included", ({ expect }) => {
    expect(statedOutput("code()\n\n// Output:\n// one\n//\n//   two\n")).toBe("one\n\n  two")
    expect(statedOutput("// Output:\n// one\ncode()\n")).toBeUndefined()
  })
})
