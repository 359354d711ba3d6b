/**
 * Plants bugs, one at a time, in a copy of the repository, and expects the laws and the machines' tests to catch each.
 *
 * A suite that lets a planted bug live proves nothing about the bugs that nobody planted. Usage: mutants.ts [NAME …]
 */
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { type Edit, type Mutant, mutants } from "./mutants/list.ts"

const root = Path.join(import.meta.dirname, "..")
/** What a copy needs to run tests; the packages are shared. */
const copied = ["src", "test", "examples", "package.json", "tsconfig.json", "vitest.config.ts"]
const atOnce = Math.max(1, Math.min(4, Os.availableParallelism()))

const plant = (folder: string, { file, find, replace }: Edit): void => {
  const path = Path.join(folder, file)
  const text = Fs.readFileSync(path, "utf8")
  const places = text.split(find).length - 1
  if (places !== 1) throw new Error(`${file} has ${places} places that read: ${find}`)
  Fs.writeFileSync(path, text.replace(find, () => replace))
}

/** Exit code of the tests in a folder; they stop at the first failure. */
const test = (
  folder: string,
  files: ReadonlyArray<string>
): Promise<{ readonly code: number; readonly output: string }> =>
  new Promise((resolve, reject) => {
    const vitest = Path.join(folder, "node_modules/vitest/vitest.mjs")
    const child = spawn(process.execPath, [vitest, "run", "--bail=1", "--reporter=dot", ...files], {
      cwd: folder,
      env: { ...process.env, NO_COLOR: "1", MILLRACE_RUNS: process.env["MILLRACE_RUNS"] ?? "1", MILLRACE_SHRINK: "off" }
    })
    let output = ""
    child.stdout.on("data", (data) => output += data)
    child.stderr.on("data", (data) => output += data)
    child.on("error", reject)
    child.on("close", (code) => resolve({ code: code ?? 1, output }))
  })

/** The copy stays beside the packages it shares, so that imports resolve as they do here. */
const copy = (name: string): string => {
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), `millrace-mutant-${name.replaceAll(/\W+/g, "-")}-`))
  for (const entry of copied) Fs.cpSync(Path.join(root, entry), Path.join(folder, entry), { recursive: true })
  Fs.symlinkSync(Path.join(root, "node_modules"), Path.join(folder, "node_modules"))
  return folder
}

const hunt = async ({ edits, name, tests }: Mutant): Promise<boolean> => {
  const folder = copy(name)
  try {
    for (const edit of edits) plant(folder, edit)
    const started = performance.now()
    const { code, output } = await test(folder, tests)
    const seconds = ((performance.now() - started) / 1000).toFixed(1)
    // A mutant that does not even load has not been caught by a test.
    const loaded = !/SyntaxError|failed to load|Cannot find module/i.test(output)
    const caught = code !== 0 && loaded
    const by = /FAIL\s+(.+)/.exec(output)?.[1] ?? ""
    const schedule = /Error: schedule (\d+):/.exec(output)?.[1]
    const after = schedule === undefined ? "" : `, after ${Number(schedule) + 1} schedules`
    console.log(
      `${caught ? "caught  " : "SURVIVED"} ${name} (${seconds} s)${
        caught ? ` by ${by.trim()}${after}` : `\n${output.slice(-2000)}`
      }`
    )
    return caught
  } finally {
    Fs.rmSync(folder, { recursive: true, force: true })
  }
}

const wanted = process.argv.slice(2)
const chosen = mutants.filter(({ name }) => wanted.length === 0 || wanted.includes(name))
if (chosen.length === 0) throw new Error(`no such mutant; there are: ${mutants.map(({ name }) => name).join(", ")}`)

// Without a bug the same tests pass: otherwise they would seem to catch everything.
const control = copy("control")
const { code, output } = await test(control, [...new Set(chosen.flatMap(({ tests }) => tests))])
Fs.rmSync(control, { recursive: true, force: true })
if (code !== 0) throw new Error(`the tests fail without a planted bug:\n${output.slice(-4000)}`)
console.log("control  nothing planted, nothing caught")

const waiting = [...chosen]
let caught = 0
await Promise.all(Array.from({ length: atOnce }, async () => {
  for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
    if (await hunt(mutant)) caught++
  }
}))
console.log(`${caught} of ${chosen.length} planted bugs caught`)
process.exitCode = caught === chosen.length ? 0 : 1
