/**
 * Runs the benchmarks, each in a fresh process: `npm run bench -- [name …] [--rounds 5] [--seconds 2] [--json FILE]`.
 * A benchmark is a member of an array `benches` in a file of `bench/cases`; a name selects all that begin with it.
 */
import { execFile } from "node:child_process"
import { readdirSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { parseArgs, promisify } from "node:util"
import { type Bench, measure, type Measured } from "./harness.ts"

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: "string" },
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "2" },
    /** Measures one benchmark in this process and prints it as JSON. */
    here: { type: "boolean", default: false }
  }
})

const folder = new URL("cases/", import.meta.url)
const benches: Array<Bench> = []
for (const file of readdirSync(folder).sort()) {
  const loaded = (await import(new URL(file, folder).href)) as { readonly benches: ReadonlyArray<Bench> }
  benches.push(...loaded.benches)
}
const effort = { rounds: Number(values.rounds), seconds: Number(values.seconds) }

if (values.here) {
  const measured = await measure(benches.find(({ name }) => name === positionals[0])!, effort)
  console.log(JSON.stringify(measured))
} else {
  const chosen = benches.filter(({ name }) =>
    positionals.length === 0 || positionals.some((start) => name.startsWith(start))
  )
  const two = (n: number) => n.toFixed(2)
  console.log("million records a second; ratio: engine to the hand-written loop, median of rounds (least to most)\n")
  console.log(`${"".padEnd(28)}${"by hand".padStart(8)}${"engine".padStart(8)}   ratio`)
  const all: Array<Measured> = []
  for (const { name } of chosen) {
    const options = ["--rounds", values.rounds, "--seconds", values.seconds]
    const { stdout } = await promisify(execFile)(process.execPath, [
      ...process.execArgv,
      fileURLToPath(import.meta.url),
      "--here",
      name,
      ...options
    ])
    const measured = JSON.parse(stdout) as Measured
    all.push(measured)
    const { byHand, engine, least, most, ratio } = measured
    const speeds = `${two(byHand).padStart(8)}${two(engine).padStart(8)}`
    console.log(`${name.padEnd(28)}${speeds}   ${two(ratio)} (${two(least)} to ${two(most)})`)
  }
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(all, undefined, 2)}\n`)
}
