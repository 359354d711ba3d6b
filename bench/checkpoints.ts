/**
 * What checkpoints cost with a count for each of a million keys in one window, kept in a SQLite file:
 * `npm run bench:checkpoints -- [case …] [--rounds 4] [--seconds 4] [--json FILE]`.
 *
 * Every case runs in a fresh process. A name selects all cases that begin with it. Nothing here fails for being slow: the
 * figures stand beside the aims.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { Aggregate, CheckpointStore, Flow, Job, Sink, Source, Watermark, Window } from "millrace"
import { execFile } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { performance } from "node:perf_hooks"
import { fileURLToPath } from "node:url"
import { parseArgs, promisify } from "node:util"
import { median } from "./harness.ts"

const keys = 1_000_000
/** One in a hundred. */
const fewKeys = 10_000
/** Of the skewed load: 3.3 % of all. */
const hotKeys = 8 * 4096

const yearMillis = 366 * 24 * 60 * 60 * 1000
const startMillis = Math.ceil(Date.UTC(2026, 0, 1) / yearMillis) * yearMillis

interface Reading {
  readonly key: number
  readonly at: number
}

/** The key of a row of the rotation: 15,485,863 is prime, so every key comes once in a million, far from the one before. */
const spread = (row: number): number => row * 15_485_863 % keys

const pool = (size: number, keyOf: (row: number) => number): ReadonlyArray<Reading> =>
  Array.from({ length: size }, (_, row) => ({ key: keyOf(row), at: startMillis + row }))

/** Rows in memory, handed out over and over, and as many as allowed. */
class Feed {
  allowed = 0
  given = 0
  private rows: ReadonlyArray<Reading> = []
  private next = 0

  from(rows: ReadonlyArray<Reading>): void {
    this.rows = rows
    this.next = 0
  }

  get source(): Source.Source<Reading> {
    const take = (most: number) => {
      const rows = this.rows.slice(this.next, this.next + Math.min(most, this.allowed - this.given))
      this.next = (this.next + rows.length) % this.rows.length
      const first = this.given
      this.given += rows.length
      return { rows, positionAfter: (n: number) => first + n }
    }
    const pull = (most: number): Effect.Effect<Source.Chunk<Reading>> =>
      Effect.suspend(() =>
        this.given < this.allowed ? Effect.sync(() => take(most)) : Effect.andThen(Effect.sleep(1), pull(most))
      )
    return Source.make<Reading>({
      description: "rows in memory, over and over",
      bounded: false,
      replayable: true,
      splits: Effect.succeed(["0"]),
      open: () => Effect.succeed({ pull })
    })
  }
}

interface Bench {
  readonly feed: Feed
  readonly handle: Job.Handle
  readonly partitions: number
}

/** Launches the job on the store of a folder; it takes a checkpoint only when it is told to. */
const launch = Effect.fnUntraced(function*(partitions: number): Effect.fn.Return<Bench, never, LaunchServices> {
  const feed = new Feed()
  const counts = Flow.from("readings", feed.source, {
    time: ({ at }) => at,
    watermark: Watermark.boundedOutOfOrderness(keys)
  }).pipe(
    Flow.keyBy(({ key }) => key, Schema.Number),
    Flow.window("counts", Window.tumbling(yearMillis)),
    Flow.aggregate({ count: Aggregate.count })
  )
  const job = Job.make("a million counts", [
    counts.results.pipe(Flow.to("panes", Sink.make({ description: "nothing", open: () => Effect.succeed(idle) }))),
    counts.late.pipe(Flow.discard("none is"))
  ])
  return { feed, handle: yield* Job.launch(job, { partitions, checkpointEvery: "1 hour" }), partitions }
})

type LaunchServices = CheckpointStore.CheckpointStore | Scope.Scope

const idle = { write: () => Effect.void }

/** Records that the windows have taken in, and the keys that they hold. */
const counted = ({ handle }: Bench) =>
  Effect.map(handle.status, ({ operators, state }) => {
    if (state !== "running") throw new Error(`the job is ${state}`)
    const windows = operators.filter(({ operator }) => operator === "counts")
    return {
      records: windows.reduce((sum, each) => sum + each.in, 0),
      keys: windows.reduce((sum, each) => sum + each.keys, 0)
    }
  })

/** Lets so many rows in and waits until they have been counted. */
const feedExactly = Effect.fnUntraced(function*(bench: Bench, rows: ReadonlyArray<Reading>, count: number) {
  const before = (yield* counted(bench)).records
  bench.feed.from(rows)
  bench.feed.allowed += count
  while ((yield* counted(bench)).records < before + count) yield* Effect.sleep(2)
})

const filled = Effect.fnUntraced(function*(partitions: number) {
  const bench = yield* launch(partitions)
  yield* feedExactly(bench, pool(keys, (row) => row), keys)
  const { keys: found } = yield* counted(bench)
  if (found !== keys) throw new Error(`there are ${found} keys, not ${keys}`)
  return bench
})

const checkpoint = Effect.fnUntraced(function*({ handle }: Bench) {
  yield* handle.checkpoint
  return (yield* handle.status).lastCheckpoint!
})

/** Seconds that this thread has had a processor. */
const busySeconds = (): number => {
  const { system, user } = process.threadCpuUsage()
  return (system + user) / 1e6
}

/**
 * Runs at full speed for a time, with a checkpoint a second after the one before, as a job takes them, or with none. Seconds
 * are those that the thread is busy: otherwise it would do less between two checkpoints where others use the machine, too.
 */
const phase = Effect.fnUntraced(function*(bench: Bench, seconds: number, isCheckpointed: boolean) {
  const taken: Array<Job.CheckpointStatus> = []
  const before = (yield* counted(bench)).records
  const start = performance.now()
  const startBusy = busySeconds()
  do {
    const next = busySeconds() + 1
    while (busySeconds() < next) yield* Effect.sleep(10)
    if (isCheckpointed) taken.push(yield* checkpoint(bench))
  } while (busySeconds() - startBusy < seconds)
  const busy = busySeconds() - startBusy
  const elapsed = (performance.now() - start) / 1000
  const millions = ((yield* counted(bench)).records - before) / 1e6
  return { speed: millions / elapsed, speedWhileBusy: millions / busy, taken }
})

/** How late a timer of one millisecond comes, over and over. */
const delays = () => {
  const all: Array<number> = []
  let last = performance.now()
  let timer = setTimeout(function tick() {
    const now = performance.now()
    all.push(now - last - 1)
    last = now
    timer = setTimeout(tick, 1)
  }, 1)
  return () => {
    clearTimeout(timer)
    const sorted = all.toSorted((a, b) => a - b)
    return { worst: sorted.at(-1)!, p99: sorted[Math.floor(sorted.length * 0.99)]! }
  }
}

interface Figure {
  readonly case: string
  readonly what: string
  readonly value: number
  readonly unit: string
  /** What the value ought to be at most, or, for ratios of speed, at least. */
  readonly aim?: string
  readonly least?: number
  readonly most?: number
}

interface Effort {
  readonly rounds: number
  readonly seconds: number
}

type Case = (partitions: number, effort: Effort) => Effect.Effect<
  ReadonlyArray<Omit<Figure, "case">>,
  unknown,
  LaunchServices
>

const extremes = (values: ReadonlyArray<number>) => ({
  value: median(values),
  least: Math.min(...values),
  most: Math.max(...values)
})

const pause: Case = Effect.fnUntraced(function*(partitions, { rounds, seconds }) {
  const bench = yield* filled(partitions)
  bench.feed.from(pool(keys, spread))
  bench.feed.allowed = Infinity
  yield* phase(bench, seconds, true)
  const taken: Array<Job.CheckpointStatus> = []
  const worst: Record<"with" | "without", Array<number>> = { with: [], without: [] }
  for (let round = 0; round < rounds; round++) {
    for (const kind of ["without", "with"] as const) {
      const stop = delays()
      taken.push(...(yield* phase(bench, seconds, kind === "with")).taken)
      worst[kind].push(stop().worst)
    }
  }
  const pauses = taken.map(({ pauseMillis }) => pauseMillis)
  return [
    { what: `pause of a cut, median of ${pauses.length}`, unit: "ms", value: median(pauses) },
    { what: "pause of a cut, longest", unit: "ms", value: Math.max(...pauses), aim: "< 50" },
    { what: "checkpoint until durable", unit: "ms", ...extremes(taken.map(({ durationMillis }) => durationMillis)) },
    { what: "worst delay of a timer, without checkpoints", unit: "ms", ...extremes(worst.without) },
    { what: "worst delay of a timer, with checkpoints", unit: "ms", ...extremes(worst.with) }
  ]
})

const bytes: Case = Effect.fnUntraced(function*(partitions) {
  const bench = yield* filled(partitions)
  const full = yield* checkpoint(bench)
  yield* feedExactly(bench, pool(keys, spread), fewKeys)
  const few = yield* checkpoint(bench)
  return [
    { what: "full epoch", unit: "MB", value: full.bytes / 1e6 },
    { what: "epoch after 1 % of the keys changed", unit: "MB", value: few.bytes / 1e6 },
    { what: "the same, of a full one", unit: "%", value: 100 * few.bytes / full.bytes, aim: "< 2" },
    { what: "full epoch until durable, idle", unit: "ms", value: full.durationMillis },
    { what: "1 % epoch until durable, idle", unit: "ms", value: few.durationMillis }
  ]
})

const throughput = (size: number, keyOf: (row: number) => number): Case =>
  Effect.fnUntraced(function*(partitions, { rounds, seconds }) {
    const bench = yield* filled(partitions)
    bench.feed.from(pool(size, keyOf))
    bench.feed.allowed = Infinity
    // Warm-up of both.
    yield* phase(bench, seconds, false)
    yield* phase(bench, seconds, true)
    const speeds: Record<"with" | "without", Array<number>> = { with: [], without: [] }
    const speedsWhileBusy: Record<"with" | "without", Array<number>> = { with: [], without: [] }
    const taken: Array<Job.CheckpointStatus> = []
    for (let round = 0; round < rounds; round++) {
      const kinds = ["without", "with"] as const
      for (const kind of round % 2 === 0 ? kinds : kinds.toReversed()) {
        const { speed, speedWhileBusy, taken: more } = yield* phase(bench, seconds, kind === "with")
        speeds[kind].push(speed)
        speedsWhileBusy[kind].push(speedWhileBusy)
        taken.push(...more)
      }
    }
    const ratios = (of: typeof speeds) => extremes(of.with.map((speed, round) => speed / of.without[round]!))
    return [
      { what: "without checkpoints", unit: "M/s", ...extremes(speeds.without) },
      { what: "with a checkpoint every second", unit: "M/s", ...extremes(speeds.with) },
      { what: "ratio", unit: "", ...ratios(speeds), aim: "≥ 0.85" },
      // Steadier where others use the machine, too.
      { what: "ratio by processor time of the job's thread", unit: "", ...ratios(speedsWhileBusy), aim: "≥ 0.85" },
      { what: "bytes of an epoch", unit: "MB", ...extremes(taken.map(({ bytes }) => bytes / 1e6)) }
    ]
  })

/** Leaves a base of a million keys and one epoch of changes in the store. */
const leave: Case = Effect.fnUntraced(function*(partitions) {
  const bench = yield* filled(partitions)
  yield* checkpoint(bench)
  yield* feedExactly(bench, pool(keys, spread), fewKeys)
  yield* bench.handle.stop
  return []
})

const restore: Case = Effect.fnUntraced(function*(partitions) {
  const rows = pool(4096, () => keys - 1)
  const start = performance.now()
  const bench = yield* launch(partitions)
  bench.feed.from(rows)
  bench.feed.allowed = Infinity
  while ((yield* counted(bench)).records <= keys + fewKeys) yield* Effect.sleep(1)
  const value = (performance.now() - start) / 1000
  if ((yield* counted(bench)).keys !== keys) throw new Error("not every key is there again")
  for (const [key, count] of [[spread(0), 2], [spread(fewKeys - 1), 2], [spread(fewKeys), 1]] as const) {
    const found = yield* Job.query(bench.handle, "counts", key)
    const value = (found[0]?.value as { readonly count: number } | undefined)?.count
    if (value !== count) throw new Error(`key ${key} has come back as ${value}, not ${count}`)
  }
  return [{ what: "from launch to the first record", unit: "s", value, aim: "< 2" }]
})

const rotating = throughput(keys, spread)
const skewed = throughput(hotKeys, (row) => spread(row * 29))

/** What a case is called, and what it runs: processes on one folder, one after the other; those that repeat, by rounds. */
const cases: Record<string, { readonly first?: Case; readonly run: Case; readonly isRepeated?: boolean }> = {
  pause: { run: pause },
  bytes: { run: bytes },
  "throughput-rotating": { run: rotating },
  "throughput-skewed": { run: skewed },
  restore: { first: leave, run: restore, isRepeated: true }
}

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: "string" },
    rounds: { type: "string", default: "4" },
    seconds: { type: "string", default: "4" },
    /** Runs a step of one case in this process, in a folder that is there, and prints its figures as JSON. */
    here: { type: "string" },
    folder: { type: "string" }
  }
})
const effort = { rounds: Number(values.rounds), seconds: Number(values.seconds) }

const inHere = async (name: string, step: "first" | "run", folder: string): Promise<void> => {
  const [, of, partitions] = /^(.*)-p(\d+)$/.exec(name)!
  const store = CheckpointStore.layerSqlite(join(folder, "checkpoints.db"))
  const figures = await Effect.runPromise(
    Effect.scoped(cases[of!]![step]!(Number(partitions), effort)).pipe(Effect.provide(store))
  )
  console.log(JSON.stringify(figures.map((figure): Figure => ({ case: name, ...figure }))))
}

const inChild = async (name: string, step: "first" | "run", folder: string): Promise<ReadonlyArray<Figure>> => {
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...process.execArgv,
    fileURLToPath(import.meta.url),
    name,
    "--here",
    step,
    "--folder",
    folder,
    "--rounds",
    values.rounds,
    "--seconds",
    values.seconds
  ])
  // What `inHere` printed.
  return JSON.parse(stdout) as ReadonlyArray<Figure>
}

/** Figures of one kind from several processes as one. */
const joined = (all: ReadonlyArray<ReadonlyArray<Figure>>): ReadonlyArray<Figure> =>
  all.length === 1
    ? all[0]!
    : all[0]!.map((figure, i) => ({ ...figure, ...extremes(all.map((figures) => figures[i]!.value)) }))

const shown = (value: number): string => value.toFixed(value < 10 ? 2 : 1)

const row = ({ aim = "", least, most, unit, value, what }: Figure): string => {
  const range = least === undefined || most === undefined ? "" : `(${shown(least)} to ${shown(most)})`
  return `${what.padEnd(46)}${shown(value).padStart(8)} ${unit.padEnd(4)}${range.padEnd(20)} ${aim}`.trimEnd()
}

if (values.here === "first" || values.here === "run") await inHere(positionals[0]!, values.here, values.folder!)
else {
  const names = [1, 4].flatMap((partitions) => Object.keys(cases).map((name) => `${name}-p${partitions}`))
  const chosen = names.filter((name) => positionals.length === 0 || positionals.some((start) => name.startsWith(start)))
  console.log("medians (least to most); at the end of a line the aim\n")
  const all: Array<Figure> = []
  for (const name of chosen) {
    const { first, isRepeated } = cases[name.replace(/-p\d+$/, "")]!
    const folder = mkdtempSync(join(tmpdir(), "millrace-checkpoints-"))
    try {
      if (first !== undefined) await inChild(name, "first", folder)
      const runs: Array<ReadonlyArray<Figure>> = []
      do runs.push(await inChild(name, "run", folder))
      while (isRepeated === true && runs.length < effort.rounds)
      const figures = joined(runs)
      all.push(...figures)
      console.log([name, ...figures.map((figure) => `  ${row(figure)}`), ""].join("\n"))
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(all, undefined, 2)}\n`)
}
