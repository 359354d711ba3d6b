import { beforeAll, describe, expect, it } from "@effect/vitest"
import { Effect, Sink, Stdio } from "effect"
import { TestClock } from "effect/testing"
import { type ChildProcess, execFile } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { DatabaseSync } from "node:sqlite"
import { setTimeout } from "node:timers/promises"
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

interface Started {
  readonly child: ChildProcess
  readonly finished: Promise<Finished>
}

/** Starts the main program. Its standard streams are pipes, not terminals. A signal is no number, so its code is NaN. */
const start = (...args: ReadonlyArray<string>): Started => {
  const env = { ...process.env, NO_COLOR: "1" }
  const command = ["examples/flights/main.ts", ...args]
  let finish: (finished: Finished) => void
  const finished = new Promise<Finished>((resolve) => {
    finish = resolve
  })
  const child = execFile(process.execPath, command, { cwd: root, env }, (error, stdout, stderr) => {
    finish({ code: error === null ? 0 : Number(error.code ?? NaN), stdout, stderr })
  })
  return { child, finished }
}

/** Runs the main program to its end. */
const main = (...args: ReadonlyArray<string>): Promise<Finished> => start(...args).finished

const names = ["hourly", "three-hours", "delayed-runs", "late"] as const
type Name = (typeof names)[number]

const textOf = (folder: string, name: Name): string => Fs.readFileSync(Path.join(folder, `${name}.ndjson`), "utf8")
const linesOf = (folder: string, name: Name): ReadonlyArray<Line> =>
  textOf(folder, name).trimEnd().split("\n").map((line) => JSON.parse(line))

type Line = Readonly<Record<string, unknown>>

const hour = 3_600_000

/** The names of the results that are there. */
const resultsIn = (folder: string): ReadonlyArray<string> =>
  Fs.readdirSync(folder).filter((file) => file.endsWith(".ndjson")).sort()

const allResults: ReadonlyArray<string> = names.map((name) => `${name}.ndjson`).sort()

/** The last checkpoint of a run, read beside it as `sqlite3` would; 0 if there is none. */
const lastEpoch = (folder: string): number => {
  const file = Path.join(folder, "checkpoints.db")
  if (!Fs.existsSync(file)) return 0
  const db = new DatabaseSync(file, { readOnly: true, timeout: 5000 })
  try {
    if (db.prepare("select 1 from sqlite_schema where name = 'millrace_epochs'").get() === undefined) return 0
    return Number(db.prepare("select coalesce(max(epoch), 0) as epoch from millrace_epochs").get()!.epoch)
  } finally {
    db.close()
  }
}

/** Sends a signal to the main program when it has taken a checkpoint, and answers with how it ended. */
const signalled = async (
  { child, finished }: Started,
  signal: NodeJS.Signals,
  options: { readonly folder: string; readonly epoch: number }
): Promise<Finished> => {
  while (child.exitCode === null && lastEpoch(options.folder) < options.epoch) await setTimeout(20)
  expect(child.kill(signal), "it ended by itself before it could be given a signal").toBe(true)
  return finished
}

const nothingToResume = "finished: nothing to resume"

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
  const smaller = Path.join(temporary, "smaller")
  const small = ["--dataset", "flights-2k"]
  let run: Finished
  let smallerRun: Finished

  beforeAll(async () => {
    run = await main("--out", folder)
    smallerRun = await main(...small, "--out", smaller)
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
    expect(Fs.readdirSync(again).sort()).toEqual([...allResults, "checkpoints.db", "unsorted"].sort())
  })

  it("another data set with the same fields", () => {
    expect(smallerRun.code).toBe(0)
    expect(accountedFor(smaller)).toBe(2_000)
  })

  describe("killed, stopped and resumed", () => {
    const sameAs = (undisturbed: string, other: string) => {
      for (const name of names) expect(textOf(other, name) === textOf(undisturbed, name), name).toBe(true)
    }

    it("a run that is killed twice goes on each time, and gives the same files as one that is not", async () => {
      const killed = Path.join(temporary, "killed")
      const args = ["--rate", "8000", "--out", killed]

      const first = await signalled(start(...args), "SIGKILL", { folder: killed, epoch: 1 })
      expect(first.code).toBeNaN()
      expect(resultsIn(killed)).toEqual([])
      const one = lastEpoch(killed)
      expect(one).toBeGreaterThanOrEqual(1)

      const second = await signalled(start(...args, "--resume"), "SIGKILL", { folder: killed, epoch: one + 2 })
      expect(second.code).toBeNaN()
      expect(second.stdout).toBe(`resumed from epoch ${one} of ${Path.join(killed, "checkpoints.db")}\n`)
      expect(resultsIn(killed)).toEqual([])
      const two = lastEpoch(killed)

      const last = await main(...args, "--resume")
      expect(last).toMatchObject({ code: 0, stderr: "" })
      expect(last.stdout).toContain(`resumed from epoch ${two} of `)
      expect(last.stdout).toContain(run.stdout.slice(0, run.stdout.indexOf(folder)))
      expect(last.stdout).not.toContain(nothingToResume)
      sameAs(folder, killed)
    })

    it("a run that is asked to stop takes a last checkpoint, from which another goes on", async () => {
      const stopped = Path.join(temporary, "stopped")
      const { code, stderr, stdout } = await signalled(start(...small, "--rate", "1000", "--out", stopped), "SIGINT", {
        folder: stopped,
        epoch: 1
      })
      expect({ code, stderr }).toEqual({ code: 130, stderr: "" })
      const epoch = lastEpoch(stopped)
      expect(stdout).toBe(`stopped at epoch ${epoch}: --resume goes on from there\n`)

      const resumed = await main(...small, "--resume", "--out", stopped)
      expect(resumed.code).toBe(0)
      expect(resumed.stdout).toContain(`resumed from epoch ${epoch} of `)
      sameAs(smaller, stopped)
    })

    it("without a checkpoint it starts from the beginning; with a finished one it only sees to the results", async () => {
      const resumed = Path.join(temporary, "resumed")
      const first = await main(...small, "--resume", "--out", resumed)
      expect(first).toMatchObject({ code: 0, stderr: "" })
      const store = Path.join(resumed, "checkpoints.db")
      expect(first.stdout.split("\n")[0]).toBe(`no checkpoint in ${store}: starts from the beginning`)
      expect(first.stdout).not.toContain(nothingToResume)
      sameAs(smaller, resumed)

      // As it is after a kill between the end of the job and that of the program.
      Fs.rmSync(Path.join(resumed, "late.ndjson"))
      Fs.writeFileSync(Path.join(resumed, "hourly.ndjson"), "")
      const epoch = lastEpoch(resumed)
      const second = await main(...small, "--resume", "--out", resumed)
      expect(second).toEqual({ code: 0, stdout: `${nothingToResume}\n`, stderr: "" })
      expect(lastEpoch(resumed)).toBe(epoch)
      sameAs(smaller, resumed)
    })

    it("a run afresh in the folder of another that is killed as it begins leaves what can be resumed", async () => {
      const afresh = Path.join(temporary, "afresh")
      expect((await main(...small, "--out", afresh)).code).toBe(0)
      const { child, finished } = start(...small, "--rate", "100", "--out", afresh)
      while (child.exitCode === null && resultsIn(afresh).length > 0) await setTimeout(5)
      child.kill("SIGKILL")
      expect((await finished).code).toBeNaN()

      // From its own beginning, or, if it had none yet, to the results of the run before: they are the same.
      expect(await main(...small, "--resume", "--out", afresh)).toMatchObject({ code: 0, stderr: "" })
      sameAs(smaller, afresh)
    })

    it("a run afresh counts no line of the run that it replaces", async () => {
      const afresh = Path.join(temporary, "replaced")
      expect((await main(...small, "--out", afresh)).code).toBe(0)
      const before = lastEpoch(afresh)
      const again = await main(...small, "--out", afresh)
      expect(again).toMatchObject({ code: 0, stderr: "" })
      expect(again.stdout).not.toContain(nothingToResume)
      expect(lastEpoch(afresh)).toBeGreaterThan(before)
      sameAs(smaller, afresh)
    })

    it("checkpoints of another data set are refused, with the way out", async () => {
      const { code, stderr } = await main("--resume", "--out", smaller)
      expect(code).toBe(1)
      expect(stderr).toContain(
        "it is the end of a finished job, with which nothing can go on, and the program has changed"
      )
      expect(stderr).toContain("leave out --resume")
      expect(stderr).not.toContain("    at ")
      expect(accountedFor(smaller)).toBe(2_000)
    })

    it("--crash-test kills a run three times, and finds its files equal", async () => {
      const tested = Path.join(temporary, "tested")
      const { code, stderr, stdout } = await main("--crash-test", ...small, "--rate", "650", "--out", tested)
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
      expect(stdout).toContain("After 3 kills all four files are equal")
      expect(stdout).not.toContain(nothingToResume)
      const numbers = (pattern: RegExp) => Array.from(stdout.matchAll(pattern), ([, epoch]) => Number(epoch))
      const seen = numbers(/killed \(SIGKILL\) when epoch (\d+) was the last seen/g)
      const resumed = numbers(/resumed from epoch (\d+) of /g)
      expect([seen.length, resumed.length]).toEqual([3, 3])
      // Another may have come between the last look and the kill, and the last of all came later.
      resumed.forEach((epoch, kill) => expect([seen[kill], seen[kill]! + 1]).toContain(epoch))
      expect(seen[0]).toBeGreaterThanOrEqual(1)
      expect(lastEpoch(Path.join(tested, "crash-test/killed"))).toBeGreaterThan(resumed[2]!)
      expect(Fs.readdirSync(tested)).toEqual(["crash-test"])
      sameAs(smaller, Path.join(tested, "crash-test/killed"))
      sameAs(smaller, Path.join(tested, "crash-test/undisturbed"))
    })
  })
})

describe("the command line of examples/flights", () => {
  it.each([
    [["--speed", "3"], "Unrecognized flag: --speed"],
    [["--rate", "0"], "Invalid value for flag --rate: \"0\". Expected: a number above 0"],
    [["--dataset", "flights-200k"], "The data set flights-200k has no field \"date\" in record 1"],
    [["--dataset", "../package"], "The data set ../package is no JSON file of the package vega-datasets"],
    [["--out", "package.json"], "Could not make the folder"],
    [["--crash-test", "--resume"], "leave out --resume, or leave out --crash-test"],
    [["--crash-test", "--rate", "20000"], "Give one of at most 10000"]
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
      const handle = yield* Job.launch(FlightsJob.make([], { dataset: "none", folder: Path.join(temporary, "none") }))
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
      let written = 0
      const sink = JobSink.forEach(() => Effect.sync(() => ++written))
      const handle = yield* Job.launch(Job.make("paced", [Flow.from("numbers", numbers).pipe(Flow.to("sink", sink))]))
      for (const expected of [2_000, 4_000]) {
        yield* TestClock.adjust("1 second")
        expect(written).toBe(expected)
      }
      yield* TestClock.adjust("1 second")
      yield* handle.await
      expect(written).toBe(5_000)
    }).pipe(Effect.scoped, Effect.provide(CheckpointStore.layerMemory)))
})
