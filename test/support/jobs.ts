/** What tests of running jobs share: readings, sinks that can be looked at, and ways to wait. */
import { Effect, Schema } from "effect"
import { Aggregate, Flow, FlowError, type Job, Sink, Source, Supervision, Watermark, Window } from "millrace"

export interface Reading {
  readonly key: string
  readonly at: number
}
export const Reading = Schema.Struct({ key: Schema.String, at: Schema.Number })

export const reading = (key: string, at: number): Reading => ({ key, at })

export const timed = { time: ({ at }: Reading) => at, watermark: Watermark.monotonic }

export const byKey = Flow.keyBy(({ key }: Reading) => key, Schema.String)

/** As often as usual, but at once: no time need pass. */
export const atOnce = Supervision.restarts({ max: 3, within: "1 minute" })

/** Readings per key in windows of ten milliseconds. */
export const counted = <E, R>(flow: Flow.Flow<Reading, E, R>, name = "counted") =>
  flow.pipe(byKey, Flow.window(name, Window.tumbling(10)), Flow.aggregate({ count: Aggregate.count }))

/** The same, without the late ones. */
export const countedOnTime = <E, R>(flow: Flow.Flow<Reading, E, R>, name = "counted") =>
  counted(flow, name).pipe(Flow.only("results", { late: "not of interest here" }))

/** Panes as `key@start: count`, in the order of their names. */
export const paneNames = (
  panes: ReadonlyArray<
    { readonly key: string; readonly window: Window.Bounds; readonly value: { readonly count: number } }
  >
) => panes.map(({ key, value, window }) => `${key}@${window.start}: ${value.count}`).sort()

/** Lets everybody do what they can do now. */
export const settle = Effect.gen(function*() {
  for (let i = 0; i < 500; i++) yield* Effect.yieldNow
})

/** Waits, without time passing, until what a job says of itself satisfies a condition. */
export const until = <E>(handle: Job.Handle<E>, condition: (status: Job.JobStatus) => boolean) =>
  Effect.gen(function*() {
    for (let i = 0; i < 20_000; i++) {
      const status = yield* handle.status
      if (condition(status)) return status
      yield* Effect.yieldNow
    }
    return yield* Effect.die(new Error(`This never came to be: ${JSON.stringify(yield* handle.status, undefined, 1)}`))
  })

/** An error that has to be that of an operator; any other one fails the test with what it says. */
export const asOperatorFailed = (
  error: { readonly _tag: string; readonly message: string }
): FlowError.OperatorFailed => {
  if (error instanceof FlowError.OperatorFailed) return error
  throw new Error(`This is no failure of an operator: ${error._tag}: ${error.message}`)
}

/** The sum of a count over all partitions of an operator. */
export const total = (
  { operators }: Job.JobStatus,
  operator: string,
  count: "in" | "out" | "late" | "skipped" | "dead" | "outside" | "partlyLate" | "keys"
) => operators.filter((status) => status.operator === operator).reduce((sum, status) => sum + status[count], 0)

/** A sink that waits for permission before each write. */
export const gatedSink = <A>() => {
  const written: Array<A> = []
  let open = false
  let waiting: Array<() => void> = []
  const gate = Effect.callback<void>((resume) => {
    if (open) resume(Effect.void)
    else waiting.push(() => resume(Effect.void))
  })
  return {
    written,
    open: Effect.sync(() => {
      open = true
      for (const go of waiting) go()
      waiting = []
    }),
    sink: Sink.make<A>({
      description: "gated",
      open: () =>
        Effect.succeed({ write: (rows) => Effect.andThen(gate, Effect.sync(() => void written.push(...rows))) })
    })
  }
}

/** Counts how often each thing is opened and closed. */
export const ledger = () => {
  const opened = new Map<string, number>()
  const closed = new Map<string, number>()
  const note = (book: Map<string, number>, name: string) => void book.set(name, (book.get(name) ?? 0) + 1)
  const track = (name: string) =>
    Effect.acquireRelease(Effect.sync(() => note(opened, name)), () => Effect.sync(() => note(closed, name)))
  return {
    opened: () => Object.fromEntries(opened),
    closed: () => Object.fromEntries(closed),
    /** A replayable source of numbers 0 … n − 1; endless without n. */
    source: (name: string, n = Infinity, replayable = true) =>
      Source.make<number>({
        description: name,
        bounded: n < Infinity,
        replayable,
        splits: Effect.succeed(["0"]),
        open: (_, position) => Effect.as(track(name), numbers(n, position === undefined ? 0 : Number(position)))
      }),
    sink: <A>(name: string, write: (rows: ReadonlyArray<A>) => Effect.Effect<void> = () => Effect.void) =>
      Sink.make<A>({ description: name, open: () => Effect.as(track(name), { write }) })
  }
}

const numbers = (n: number, from: number): Source.Reader<number> => {
  let next = from
  return {
    pull: (max) =>
      Effect.sync(() => {
        const start = next
        const rows = Array.from({ length: Math.min(max, 16, n - start) }, (_, i) => start + i)
        next += rows.length
        return rows.length === 0 ? undefined : { rows, positionAfter: (taken) => start + taken }
      })
  }
}
