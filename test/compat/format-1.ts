/**
 * The jobs whose checkpoints are kept in `format-1`. They stay as they are, like the checkpoints: a release that cannot go
 * on from one of them has broken the format.
 */
import { Effect, Schedule, Schema } from "effect"
import { Aggregate, ErrorPolicy, Flow, Job, Partitioner, Sink, Source, Watermark, Window } from "millrace"

const Reading = Schema.Struct({ key: Schema.String, n: Schema.Int, at: Schema.Int })
type Reading = typeof Reading.Type

/** Whether sinks take anything and operators succeed: neither, while the checkpoints are written. */
export interface World {
  readonly isSick: boolean
  readonly rows: Map<string, Array<unknown>>
}

/** In steps of a few milliseconds, each up to `lag` behind. */
const readings = (seed: number, count: number, lag: number): ReadonlyArray<Reading> => {
  let state = seed
  const next = (n: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 1
    return (state >>> 8) % n
  }
  let latest = 100
  return Array.from({ length: count }, (_, i) => {
    latest += next(4)
    return { key: ["a", "b", "c", "d", "e"][next(5)]!, n: seed * 1000 + i, at: (latest - next(lag + 1)) * 2 }
  })
}

const source = (splits: ReadonlyArray<ReadonlyArray<Reading>>): Source.Source<Reading> =>
  Source.make({
    description: "readings",
    bounded: true,
    replayable: true,
    schema: Reading,
    splits: Effect.succeed(splits.map((_, i) => String(i))),
    open: (split, position) =>
      Effect.sync(() => {
        const rows = splits[Number(split)]!
        let at = Number(position ?? 0)
        return {
          pull: (max) =>
            Effect.sync(() => {
              if (at >= rows.length) return undefined
              const start = at
              const some = rows.slice(start, start + Math.min(max, 3))
              at += some.length
              return { rows: some, positionAfter: (taken) => start + taken }
            })
        }
      })
  })

/** What it is given is written down in checkpoints until it is well. */
const sink = (world: World, name: string) =>
  Sink.upsert<unknown, never, never>({
    description: name,
    write: (row) =>
      world.isSick ? Effect.never : Effect.sync(() => {
        world.rows.set(name, [...world.rows.get(name) ?? [], row])
      })
  })

type Splits = ReadonlyArray<ReadonlyArray<Reading>>

const splitsOf = (seeds: ReadonlyArray<number>, count: number): Splits => seeds.map((seed) => readings(seed, count, 4))

const input = (splits: Splits) =>
  Flow.from("readings", source(splits), {
    time: ({ at }) => at,
    watermark: Watermark.boundedOutOfOrderness(8)
  })

const byKey = Flow.keyBy(({ key }: Reading) => key, Schema.String)

const inOrder = Aggregate.map(Aggregate.collect<Reading>(), (rows) => rows.map(({ n }) => n).toSorted((a, b) => a - b))

const values = {
  count: Aggregate.count,
  sum: Aggregate.sum(({ n }: Reading) => n / 10),
  mean: Aggregate.avg(({ n }: Reading) => n),
  least: Aggregate.min(({ n }: Reading) => n),
  all: inOrder
}

const none = { late: "all of them are within the bound" }

const windowed = (name: string, window: Window.Window, lateness = 0) => (flow: Flow.Flow<Reading>) =>
  flow.pipe(
    byKey,
    Flow.window(name, window, { allowedLateness: lateness }),
    Flow.aggregate(values),
    Flow.only("results", none)
  )

export interface Golden {
  readonly name: string
  readonly partitions: number
  readonly splits: Splits
  readonly make: (world: World) => Job.Job
}

const golden = (
  name: string,
  partitions: number,
  splits: Splits,
  make: (world: World, splits: Splits) => Job.Job
): Golden => ({ name, partitions, splits, make: (world) => make(world, splits) })

export const goldens: ReadonlyArray<Golden> = [
  golden("tumbling", 1, splitsOf([1], 120), (world, splits) =>
    Job.make("tumbling", [
      input(splits).pipe(windowed("counted", Window.tumbling(20), 24), Flow.to("panes", sink(world, "panes")))
    ])),
  golden("sliding", 2, splitsOf([2, 3], 80), (world, splits) =>
    Job.make("sliding", [
      input(splits).pipe(
        windowed("slid", Window.sliding({ size: 40, every: 16 }), 10),
        Flow.to("panes", sink(world, "panes"))
      )
    ])),
  golden("session", 3, splitsOf([4, 5], 80), (world, splits) =>
    Job.make("session", [
      input(splits).pipe(windowed("visits", Window.session({ gap: 7 })), Flow.to("panes", sink(world, "panes")))
    ])),
  // Rows in a gate, on their way over exchanges and before sinks; a window behind a window, a merge, dead letters.
  golden("under way", 3, splitsOf([6, 7, 8], 80), (world, splits) => {
    const all = input(splits)
    const checked = all.pipe(
      Flow.map((reading) => {
        if (world.isSick && reading.n % 29 === 7) throw new Error("not now")
        return reading
      }, { name: "checked", onError: ErrorPolicy.retry(Schedule.spaced("50 millis"), { then: ErrorPolicy.fail }) }),
      Flow.map((reading) => {
        if (reading.n % 17 === 3) throw new Error("never")
        return reading
      }, { name: "refused", onError: ErrorPolicy.deadLetter }),
      Flow.typed(Reading)
    )
    const perKey = all.pipe(windowed("per key", Window.tumbling(30)))
    const perPane = perKey.pipe(
      Flow.map(({ value, window }) => ({ key: "", n: value.count, at: window.end - 1 })),
      Flow.typed(Reading),
      windowed("over all", Window.tumbling(60))
    )
    return Job.make("under way", [
      perPane.pipe(Flow.to("over all", sink(world, "over all"))),
      Flow.merge(all, checked).pipe(Flow.partitionBy(Partitioner.roundRobin), Flow.to("dealt", sink(world, "dealt")))
    ], { deadLetters: sink(world, "dead letters") })
  })
]

/** Sorted, as the order between keys and partitions is not certain; without what depends on where a job was restored. */
export const told = (world: World): Readonly<Record<string, ReadonlyArray<string>>> =>
  Object.fromEntries(
    [...world.rows].map(([name, rows]) => [name, rows.map(rowText).sort()] as const).sort(([a], [b]) => a < b ? -1 : 1)
  )

export const rowText = (row: unknown): string => {
  const { isLast: _, origin: _1, partition: _2, reason: _3, ...rest } = row as Record<string, unknown>
  return JSON.stringify(
    rest,
    (_, value: unknown) =>
      typeof value === "object" && value !== null && !Array.isArray(value) &&
        Object.getPrototypeOf(value) === Object.prototype
        ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1))
        : value
  )
}
