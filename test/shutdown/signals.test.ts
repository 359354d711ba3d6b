/** A process that is told to end, whatever its job is at: it ends soon, holds nothing, and another one can go on. */
import { assert, describe, it } from "@effect/vitest"
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { deep } from "../support/deep.ts"
import { report } from "../support/report.ts"
import { type Phase, phases } from "./phases.ts"

const root = Path.join(import.meta.dirname, "../..")

interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** From the first signal to the end. */
  readonly millis: number
  readonly held: { readonly resources: ReadonlyArray<string>; readonly openFiles: ReadonlyArray<string> }
  readonly reached: boolean
}

/** Runs the program; when it says that the phase has begun it is told to end, `signals` times. */
const run = (folder: string, records: number, phase: Phase | "none", lasts: number, signals: number): Promise<Ended> =>
  new Promise((resolve, reject) => {
    const child = spawn(
      process.execPath,
      [
        "--disable-warning=ExperimentalWarning",
        "test/shutdown/program.ts",
        folder,
        String(records),
        phase,
        String(lasts)
      ],
      { cwd: root, stdio: ["ignore", "pipe", "pipe"] }
    )
    let out = ""
    let told = 0
    let timers: ReadonlyArray<NodeJS.Timeout> = []
    child.stderr.on("data", (data) => void (out += String(data)))
    child.stdout.on("data", (data) => {
      out += String(data)
      if (told > 0 || !out.split("\n").includes(phase)) return
      told = performance.now()
      timers = Array.from({ length: signals }, (_, i) => setTimeout(() => child.kill("SIGTERM"), i * 40))
    })
    child.on("error", reject)
    child.on("close", (code, signal) => {
      for (const timer of timers) clearTimeout(timer)
      const last = out.trim().split("\n").findLast((line) => line.startsWith("{\"resources\""))
      if (last === undefined) return reject(new Error(`it has not said what it holds: ${out}`))
      resolve({ code, signal, millis: performance.now() - told, held: JSON.parse(last), reached: told > 0 })
    })
  })

const temporary = /\.tmp$|^(staging|trash)-\d+-\d+$/

const records = 4000

const told = async (phase: Phase, lasts: number, signals: number): Promise<number> => {
  const folder = Fs.realpathSync(Fs.mkdtempSync(Path.join(Os.tmpdir(), "millrace-shutdown-")))
  try {
    const what = `${phase}, which takes ${lasts} ms, told ${signals} times`
    const ended = await run(folder, records, phase, lasts, signals)
    assert.isTrue(ended.reached, what)
    assert.isBelow(ended.millis, 10_000, what)
    assert.deepStrictEqual(ended.held, { resources: [], openFiles: [] }, what)
    const again = await run(folder, records, "none", 0, 0)
    assert.deepStrictEqual([again.code, again.held], [0, { resources: [], openFiles: [] }], what)
    const rows = Fs.readFileSync(`${folder}/numbers.ndjson`, "utf8").trim().split("\n").map(Number)
    // A job that was drained has finished with what it had taken in.
    const count = phase === "draining" ? rows.length : records
    assert.deepStrictEqual(rows, Array.from({ length: count }, (_, n) => n), what)
    assert.isAtLeast(rows.length, phase === "draining" ? 20 : records)
    const files = Fs.readdirSync(folder, { recursive: true, encoding: "utf8" })
    assert.deepStrictEqual(files.filter((path) => temporary.test(Path.basename(path))), [], what)
    return ended.millis
  } finally {
    Fs.rmSync(folder, { recursive: true, force: true })
  }
}

describe("SIGTERM", { timeout: deep(180_000, 900_000) }, () => {
  for (const phase of deep<ReadonlyArray<Phase>>(["running", "checkpointing"], phases)) {
    it(`while ${phase}`, async () => {
      const began = performance.now()
      const millis: Array<number> = []
      for (const lasts of deep([300], [0, 300])) {
        for (const signals of deep([phase === "running" ? 2 : 1], [1, 2])) {
          millis.push(await told(phase, lasts, signals))
        }
      }
      report(`${millis.length} processes, the slowest ended within ${Math.max(...millis).toFixed(0)} ms`, began)
    })
  }
})
