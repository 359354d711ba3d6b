import { beforeAll, describe, expect, it } from "@effect/vitest"
import { Effect, Sink, Stdio } from "effect"
import { TestClock } from "effect/testing"
import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { DatabaseSync } from "node:sqlite"
import * as FlightsJob from "../../examples/flights/job.ts"
import * as Progress from "../../examples/flights/progress.ts"
import { CheckpointStore, Flow, Job, Sink as JobSink, Source } from "../../src/index.ts"

const root = Path.join(import.meta.dirname, "../..")
const temporary = Fs.mkdtempSync(Path.join(Os.tmpdir(), "millrace-flights-"))

interface Finished {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs the main program to its end. Its standard streams are pipes, not terminals. */
const main = (...args: ReadonlyArray<string>): Promise<Finished> =>
  new Promise((resolve) => {
    const env = { ...process.env, NO_COLOR: "1" }
    execFile(process.execPath, ["examples/flights/main.ts", ...args], { cwd: root, env }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr })
    })
  })

const names = ["hourly", "three-hours", "delayed-runs", "late"] as const
type Name = (typeof names)[number]

const textOf = (folder: string, name: Name): string => Fs.readFileSync(Path.join(folder, `${name}.ndjson`), "utf8")
const linesOf = (folder: string, name: Name): ReadonlyArray<Line> =>
  textOf(folder, name).trimEnd().split("\n").map((line) => JSON.parse(line))

type Line = Readonly<Record<string, unknown>>

const hour = 3_600_000

/** The flights in plain SQL: `n` is the place in the order of reports, `w` the watermark that judges the flight. */
const database = () => {
  const db = new DatabaseSync(":memory:")
  db.exec("create table file (json text)")
  db.prepare("insert into file values (?)").run(
    Fs.readFileSync(Path.join(root, "node_modules/vega-datasets/data/flights-20k.json"), "utf8")
  )
  db.exec(`
    create table flights as
    with
      rows as (
        select key as place, value ->> 'origin' as airport, value ->> 'date' as date, value ->> 'delay' as delay,
          unixepoch(replace(value ->> 'date', '/', '-')) * 1000 as t
        from file, json_each(file.json)
      ),
      reports as (select *, row_number() over (order by t + delay * 60000, place) as n from rows)
    select *, max(t) over (order by n rows between unbounded preceding and 1 preceding) - 60 * 60000 - 1 as w
    from reports order by n;

    create table hours as
    select *, t / ${hour} * ${hour} as start, t / ${hour} * ${hour} + ${hour} as end from flights;

    create table spans as
    select *, hours.start - ago * ${hour} as "from", hours.start - ago * ${hour} + 3 * ${hour} as until
    from hours, (select 0 as ago union select 1 union select 2);
  `)
  const all = (sql: string): ReadonlyArray<Line> => db.prepare(sql).all().map((row) => ({ ...row }))
  return { all }
}

const expired = (end: string) => `coalesce(${end} - 1 <= w, false)`

interface Delayed {
  readonly airport: string
  readonly date: string
  readonly delay: number
  readonly t: number
  readonly w: number | null
}

interface Run {
  first: number
  last: number
  departures: number
  worstDelay: number
}

/** Sessions as SEMANTICS has them, one flight after the other: what is open, what touches, what is late. */
const runsOfDelays = (flights: ReadonlyArray<Delayed>) => {
  const gap = 2 * hour
  const done: Array<Line> = []
  const late: Array<Line> = []
  const open = new Map<string, Array<Run>>()
  const close = (airport: string, watermark: number) => {
    const runs = open.get(airport) ?? []
    for (const { departures, first, last, worstDelay } of runs.filter(({ last }) => last + gap - 1 <= watermark)) {
      done.push({ airport, start: first, end: last + gap, departures, worstDelay })
    }
    const left = runs.filter(({ last }) => last + gap - 1 > watermark)
    open.set(airport, left)
    return left
  }
  for (const { airport, date, delay, t, w } of flights) {
    const watermark = w ?? -Infinity
    const runs = close(airport, watermark)
    const touched = runs.filter(({ first, last }) => first - gap <= t && t <= last + gap)
    if (touched.length === 0 && t + gap - 1 <= watermark) {
      const windows = [{ start: t, end: t + gap }]
      late.push({ operator: "delayed-runs", origin: airport, date, windows, watermark, lateByMillis: watermark - t })
      continue
    }
    const run: Run = { first: t, last: t, departures: 1, worstDelay: delay }
    for (const { departures, first, last, worstDelay } of touched) {
      run.first = Math.min(run.first, first)
      run.last = Math.max(run.last, last)
      run.departures += departures
      run.worstDelay = Math.max(run.worstDelay, worstDelay)
    }
    open.set(airport, [...runs.filter((run) => !touched.includes(run)), run])
  }
  for (const airport of open.keys()) close(airport, Infinity)
  return { done, late }
}

/** As a set, with repeats: the order has a test of its own. */
const sorted = (lines: ReadonlyArray<Line>) => lines.map((line) => JSON.stringify(line)).sort()

/** Hourly departures, and flights that were late for an hour. */
const accountedFor = (folder: string): number =>
  linesOf(folder, "hourly").reduce((sum, { departures }) => sum + Number(departures), 0) +
  linesOf(folder, "late").filter(({ operator }) => operator === "hourly").length

describe("examples/flights", () => {
  const folder = Path.join(temporary, "out")
  const db = database()
  const delayed = db.all("select * from flights where delay > 30 order by n") as unknown as ReadonlyArray<Delayed>
  const runs = runsOfDelays(delayed)
  let run: Finished

  beforeAll(async () => {
    run = await main("--out", folder)
    return () => Fs.rmSync(temporary, { recursive: true })
  })

  it("ends well, and is quiet where there is no terminal", () => {
    expect(run.stderr).toBe("")
    expect(run.code).toBe(0)
  })

  it("says where its files are, and how many flights were late for each operator", () => {
    for (const name of names) expect(run.stdout).toContain(Path.join(folder, `${name}.ndjson`))
    const [hourly] = db.all(`select count(*) as flights from hours where ${expired("end")}`)
    const [threeHours] = db.all(`select count(*) as flights from hours where ${expired(`start + 3 * ${hour}`)}`)
    const late = [["hourly", hourly!.flights], ["three-hours", threeHours!.flights], ["delayed-runs", runs.late.length]]
    expect(late).toEqual([["hourly", 531], ["three-hours", 29], ["delayed-runs", 52]])
    for (const [operator, flights] of late) expect(run.stdout).toMatch(new RegExp(`^${operator} +${flights} `, "m"))
  })

  it("hourly.ndjson is what SQL computes", () => {
    const computed = db.all(`
      select airport, start, end, count(*) as departures, avg(delay) as averageDelay, max(delay) as maxDelay
      from hours where not ${expired("end")}
      group by airport, start order by start, airport
    `)
    expect(linesOf(folder, "hourly")).toEqual(computed)
  })

  it("three-hours.ndjson is what SQL computes: a flight counts in those of its windows that have not expired", () => {
    const computed = db.all(`
      select airport, "from" as start, until as end, count(*) as departures, avg(delay) as averageDelay,
        max(delay) as maxDelay
      from spans where not ${expired("until")}
      group by airport, "from" order by "from", airport
    `)
    expect(linesOf(folder, "three-hours")).toEqual(computed)
    const [partly] = db.all(`
      select count(*) as flights from (
        select n from spans group by n having sum(${expired("until")}) > 0 and sum(not ${expired("until")}) > 0
      )
    `)
    expect(partly!.flights).toBe(502)
  })

  it("delayed-runs.ndjson is what a loop over open runs computes", () => {
    expect(sorted(linesOf(folder, "delayed-runs"))).toEqual(sorted(runs.done))
  })

  it("late.ndjson has a line for each flight and operator that it was late for, with the reason", () => {
    const fields = "airport as origin, date, w as watermark, w - t as lateByMillis"
    const hourly = db.all(`select ${fields}, start, end from hours where ${expired("end")}`).map((late) => ({
      operator: "hourly",
      origin: late.origin,
      date: late.date,
      windows: [{ start: late.start, end: late.end }],
      watermark: late.watermark,
      lateByMillis: late.lateByMillis
    }))
    const threeHours = db.all(`select ${fields}, start from hours where ${expired(`start + 3 * ${hour}`)}`).map((
      late
    ) => ({
      operator: "three-hours",
      origin: late.origin,
      date: late.date,
      windows: [2, 1, 0].map((ago) => {
        const start = Number(late.start) - ago * hour
        return { start, end: start + 3 * hour }
      }),
      watermark: late.watermark,
      lateByMillis: late.lateByMillis
    }))
    expect(sorted(linesOf(folder, "late"))).toEqual(sorted([...hourly, ...threeHours, ...runs.late]))
  })

  it("hourly departures and hourly late flights make 20,000", () => {
    expect(accountedFor(folder)).toBe(20_000)
  })

  it("another run gives the same files, byte for byte, also where partitions take turns differently", async () => {
    const again = Path.join(temporary, "again")
    expect((await main("--out", again, "--rate", "20000")).code).toBe(0)
    for (const name of names) expect(textOf(again, name) === textOf(folder, name), name).toBe(true)
    expect(Fs.readdirSync(again).sort()).toEqual(names.map((name) => `${name}.ndjson`).sort())
  })

  it("another data set with the same fields", async () => {
    const smaller = Path.join(temporary, "smaller")
    expect((await main("--out", smaller, "--dataset", "flights-2k")).code).toBe(0)
    expect(accountedFor(smaller)).toBe(2_000)
  })
})

describe("the command line of examples/flights", () => {
  it.each([
    [["--speed", "3"], "Unrecognized flag: --speed"],
    [["--rate", "0"], "Invalid value for flag --rate: \"0\". Expected: a number above 0"],
    [["--dataset", "flights-200k"], "The data set flights-200k has no field \"date\" in record 1"],
    [["--dataset", "../package"], "The data set ../package is no JSON file of the package vega-datasets"],
    [["--out", "package.json"], "Could not make the folder"]
  ])("%j is refused, with the reason and no stack trace", async (args, reason) => {
    const { code, stderr } = await main(...args)
    expect(code).toBe(1)
    expect(stderr).toContain(reason)
    expect(stderr).not.toContain("    at ")
  })
})

describe("the progress of examples/flights", () => {
  const shown = (isTerminal: boolean) =>
    Effect.gen(function*() {
      const texts: Array<string> = []
      const handle = yield* Job.launch(FlightsJob.make([], { folder: Path.join(temporary, "none") }))
      yield* Progress.show(handle, 20).pipe(
        Effect.provide(Stdio.layerTest({
          stderrIsTerminal: Effect.succeed(isTerminal),
          stderr: () => Sink.forEach((text) => Effect.sync(() => void texts.push(String(text))))
        })),
        Effect.forkChild({ startImmediately: true })
      )
      yield* TestClock.adjust("250 millis")
      return texts
    }).pipe(Effect.scoped, Effect.provide(CheckpointStore.layerMemory))

  it.effect("ten bars a second on a terminal, each over the last", () =>
    Effect.gen(function*() {
      const texts = yield* shown(true)
      expect(texts).toHaveLength(2)
      for (const text of texts) expect(text.startsWith("\r\u001b[2K[>")).toBe(true)
    }))

  it.effect("nothing where standard error is no terminal", () =>
    Effect.map(shown(false), (texts) => expect(texts).toEqual([])))

  it("the bar", () => {
    expect(Progress.bar(0, 20_000, -Infinity)).toBe(`[>${" ".repeat(29)}]      0 of 20,000 flights`)
    expect(Progress.bar(10_000, 20_000, 0)).toBe(
      `[${"=".repeat(15)}>${" ".repeat(14)}] 10,000 of 20,000 flights, event time 1970-01-01 00:00`
    )
    expect(Progress.bar(20_000, 20_000, Infinity)).toBe(`[${"=".repeat(30)}] 20,000 of 20,000 flights`)
  })

  it.effect("a paced source gives so many records a second", () =>
    Effect.gen(function*() {
      const numbers = Source.paced(Source.memory(Array.from({ length: 5_000 }, (_, i) => i)), { perSecond: 2_000 })
      const sink = JobSink.memory<number>()
      const handle = yield* Job.launch(Job.make("paced", [Flow.from("numbers", numbers).pipe(Flow.to("sink", sink))]))
      const written = Effect.map(sink.contents, (contents) => contents.length)
      for (const expected of [2_000, 4_000]) {
        yield* TestClock.adjust("1 second")
        expect(yield* written).toBe(expected)
      }
      yield* TestClock.adjust("1 second")
      yield* handle.await
      expect(yield* written).toBe(5_000)
    }).pipe(Effect.scoped, Effect.provide(CheckpointStore.layerMemory)))
})
