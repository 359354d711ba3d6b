/**
 * Programs that must not compile, and the part of the compiler's message that names the remedy.
 *
 * A comment `// refused: …` stands before each program in `refused/`; the program ends at the next empty line. Everything
 * else in these files must compile.
 */
import { assert, beforeAll, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"

const folder = Path.join(import.meta.dirname, "refused")
const compiler = Path.join(import.meta.dirname, "../../node_modules/typescript/bin/tsc")

interface Refusal {
  readonly name: string
  /** The lines of the program, counted from 1. */
  readonly from: number
  readonly to: number
  readonly remedy: string
}

interface Diagnostic {
  readonly file: string
  readonly line: number
  readonly message: string
}

const refusalsOf = (text: string): ReadonlyArray<Refusal> => {
  const lines = text.split("\n")
  return lines.flatMap((line, i) => {
    const remedy = /^\/\/ refused: (.*)$/.exec(line)?.[1]
    if (remedy === undefined) return []
    const end = lines.indexOf("", i)
    return [{
      name: /^export const (\w+)/.exec(lines[i + 1] ?? "")?.[1] ?? `line ${i + 2}`,
      from: i + 2,
      to: end === -1 ? lines.length : end,
      remedy
    }]
  })
}

/** A message spreads over the lines that are indented after it. */
const diagnosticsOf = (output: string): ReadonlyArray<Diagnostic> =>
  output.split(/\n(?=\S)/).flatMap((text) => {
    const found = /^(.*?)\((\d+),\d+\): error (TS\d+: [^]*)$/.exec(text.trimEnd())
    return found === null ? [] : [{ file: Path.basename(found[1]!), line: Number(found[2]), message: found[3]! }]
  })

const files = Fs.readdirSync(folder).filter((file) => file.endsWith(".ts")).map((file) => ({
  file,
  refusals: refusalsOf(Fs.readFileSync(Path.join(folder, file), "utf8"))
}))

describe("refused by the compiler, with the remedy", () => {
  let diagnostics: ReadonlyArray<Diagnostic> = []
  const within = (file: string, { from, to }: Refusal) =>
    diagnostics.filter((diagnostic) => diagnostic.file === file && diagnostic.line >= from && diagnostic.line <= to)

  beforeAll(() => {
    const compiled = spawnSync(process.execPath, [compiler, "--pretty", "false", "-p", folder], { encoding: "utf8" })
    assert.strictEqual(compiled.stderr, "")
    diagnostics = diagnosticsOf(compiled.stdout)
  })

  for (const { file, refusals } of files) {
    describe(file, () => {
      it.each(refusals)("$name: $remedy", (refusal) => {
        const messages = within(file, refusal).map(({ message }) => message)
        assert.isNotEmpty(messages, "it compiles")
        assert.isTrue(messages.some((message) => message.includes(refusal.remedy)), messages.join("\n"))
      })
    })
  }

  it("everything else compiles", () => {
    const expected = new Set(
      files.flatMap(({ file, refusals }) => refusals.flatMap((refusal) => within(file, refusal)))
    )
    assert.deepStrictEqual(diagnostics.filter((diagnostic) => !expected.has(diagnostic)), [])
  })

  it("a program that compiles would be noticed", () => {
    assert.deepStrictEqual(refusalsOf("// refused: why\nexport const a = 1\n\nexport const b = 2\n"), [
      { name: "a", from: 2, to: 2, remedy: "why" }
    ])
    assert.deepStrictEqual(diagnosticsOf("a/b.ts(2,14): error TS1: no.\n  Because.\nb.ts(3,1): error TS2: no.\n"), [
      { file: "b.ts", line: 2, message: "TS1: no.\n  Because." },
      { file: "b.ts", line: 3, message: "TS2: no." }
    ])
  })
})
