/** Small jobs, one per kind of window, with everything around them left open. */
import { Order, Schedule, Schema } from "effect"
import { Aggregate, type DeadLetter, ErrorPolicy, Flow, Job, type Sink, type Source, Watermark, Window } from "millrace"

export interface Reading {
  readonly key: string
  readonly n: number
  readonly at: number
}
export const Reading = Schema.Struct({ key: Schema.String, n: Schema.Number, at: Schema.Number })

/** The world around a job in one of its lives. */
export interface Parts {
  readonly source: (name: string, splits: ReadonlyArray<ReadonlyArray<Reading>>) => Source.Source<Reading, unknown>
  readonly sink: (name: string) => Sink.Sink<unknown, unknown, never, "transactional">
  readonly upsert: (
    name: string,
    keyOf: (row: unknown) => string
  ) => Sink.Sink<unknown, unknown, never, "idempotent", "updates">
  readonly plain: (name: string) => Sink.Sink<unknown, unknown, never, "plain">
  readonly deadLetters: Sink.Sink<DeadLetter.DeadLetter, unknown, never, "transactional">
}

export interface Kind {
  readonly name: string
  /** Of one life after the other; the last for all that follow. */
  readonly partitions: ReadonlyArray<number>
  readonly make: (parts: Parts) => Job.Job<unknown>
}

export const keys = ["a", "b", "c"]

/** Readings in steps of a few milliseconds, each up to `lag` behind; every `straggler`-th comes far too late. */
const readings = (count: number, seed: number, lag: number, straggler = Infinity, step = 1): ReadonlyArray<Reading> => {
  let state = seed
  const next = (n: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 1
    return (state >>> 8) % n
  }
  let latest = 100
  return Array.from({ length: count }, (_, n) => {
    latest += next(4)
    const behind = n % straggler === straggler - 1 ? 60 : next(lag + 1)
    return { key: keys[next(keys.length)]!, n, at: (latest - behind) * step }
  })
}

const bounded = (bound: number) => ({
  time: ({ at }: Reading) => at,
  watermark: Watermark.boundedOutOfOrderness(bound)
})

const byKey = Flow.keyBy(({ key }: Reading) => key, Schema.String)

const byN: Order.Order<Reading> = Order.mapInput(Order.Number, ({ n }) => n)

/** In the order of their numbers, because records of two splits may come in either order. */
const collected = Aggregate.map(Aggregate.collect<Reading>(), (rows) => rows.toSorted(byN).map(({ n }) => n))

const values = { count: Aggregate.count, sum: Aggregate.sum(({ n }: Reading) => n), all: collected }

/** Tumbling windows that wait for what is late, and an output of what is later than that. */
export const tumbling = (count: number): Kind => ({
  name: `tumbling ${count}`,
  partitions: [1],
  make: ({ sink, source }) => {
    const counted = Flow.from("readings", source("readings", [readings(count, 1, 4, 9)]), bounded(4)).pipe(
      byKey,
      Flow.window("counted", Window.tumbling(10), { allowedLateness: 12 }),
      Flow.aggregate(values)
    )
    return Job.make("tumbling", [
      counted.results.pipe(Flow.to("panes", sink("panes"))),
      counted.late.pipe(Flow.to("late", sink("late")))
    ], { delivery: "exactly-once" })
  }
})

/** Of a pane: there is one for each key and window. */
const paneKey = (row: unknown): string => {
  const { key, window } = row as Window.Pane<string, unknown>
  return `${key} ${window.start}`
}

/** Sliding windows behind an operator that is retried in vain, dead letters, and sinks of three kinds. */
export const sliding = (count: number, touch: () => void = () => {}): Kind => ({
  name: `sliding ${count}`,
  partitions: [1],
  make: ({ deadLetters, plain, sink, source, upsert }) => {
    const checked = Flow.from("readings", source("readings", [readings(count, 2, 4)]), bounded(4)).pipe(
      Flow.map((reading) => {
        touch()
        if (reading.n % 7 === 5) throw new Error("no such reading")
        return { ...reading, n: reading.n * 2 }
      }, {
        name: "checked",
        onError: ErrorPolicy.retry(Schedule.recurs(2), { then: ErrorPolicy.deadLetter })
      }),
      Flow.typed(Reading)
    )
    const slid = checked.pipe(
      byKey,
      Flow.window("slid", Window.sliding({ size: 20, every: 10 })),
      Flow.aggregate(values),
      Flow.only("results", { late: "all of them are within the bound" })
    )
    return Job.make("sliding", [
      checked.pipe(Flow.to("checked", sink("checked"))),
      slid.pipe(Flow.to("panes", upsert("panes", paneKey))),
      checked.pipe(Flow.filter(({ n }) => n % 3 === 0), Flow.to("thirds", plain("thirds")))
    ], { deadLetters })
  }
})

/** Sessions of two splits on four partitions, then on three, then on one. */
export const session = (count: number): Kind => ({
  name: `session ${count}`,
  partitions: [4, 3, 1],
  make: ({ sink, source }) => {
    // Even times and an odd gap, so that no two readings are exactly one gap apart.
    const splits = [readings(count, 3, 2, Infinity, 2), readings(count, 4, 2, Infinity, 2)]
      .map((rows, i) => rows.map((row) => ({ ...row, n: row.n * 2 + i })))
    const sessions = Flow.from("readings", source("readings", splits), bounded(4)).pipe(
      byKey,
      Flow.window("sessions", Window.session({ gap: 7 })),
      Flow.aggregate(values),
      Flow.only("results", { late: "all of them are within the bound" })
    )
    return Job.make("session", [sessions.pipe(Flow.to("sessions", sink("sessions")))], { delivery: "exactly-once" })
  }
})

/** Every kind of window at once, and sessions behind an operator that may fail for a while. */
export const everything = (count: number, touch: (n: number) => void): Kind => ({
  name: "everything",
  partitions: [3, 5, 2],
  make: ({ sink, source }) => {
    const splits = [5, 6, 7].map((seed, i) =>
      readings(count, seed, 2, Infinity, 2).map((row) => ({ ...row, n: row.n * 3 + i }))
    )
    const input = Flow.from("readings", source("readings", splits), bounded(4))
    const none = { late: "all of them are within the bound" }
    const waiting = { allowedLateness: 20 }
    const tumbling = input.pipe(
      byKey,
      Flow.window("tumbling", Window.tumbling(30), waiting),
      Flow.aggregate(values),
      Flow.only("results", none)
    )
    const sliding = input.pipe(
      byKey,
      Flow.window("sliding", Window.sliding({ size: 40, every: 20 }), waiting),
      Flow.aggregate(values),
      Flow.only("results", none)
    )
    const sessions = input.pipe(
      byKey,
      Flow.window("sessions", Window.session({ gap: 11 })),
      Flow.aggregate(values),
      Flow.only("results", none)
    )
    const checked = input.pipe(
      Flow.map((reading) => {
        touch(reading.n)
        return reading
      }, { name: "checked", onError: ErrorPolicy.retry(Schedule.spaced("10 millis"), { then: ErrorPolicy.fail }) }),
      Flow.typed(Reading),
      byKey,
      Flow.window("checked sessions", Window.session({ gap: 11 })),
      Flow.aggregate(values),
      Flow.only("results", none)
    )
    return Job.make("everything", [
      tumbling.pipe(Flow.to("tumbling", sink("tumbling"))),
      sliding.pipe(Flow.to("sliding", sink("sliding"))),
      sessions.pipe(Flow.to("sessions", sink("sessions"))),
      checked.pipe(Flow.to("checked sessions", sink("checked sessions")))
    ], { delivery: "exactly-once" })
  }
})
