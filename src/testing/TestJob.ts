/**
 * A job under a test's control: the real runtime, on a clock that moves only when the test says so.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { hasProperty } from "effect/Predicate"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as CheckpointStore from "../CheckpointStore.ts"
import type { BufferFull, JobError, JobNotRunning } from "../FlowError.ts"
import * as Job from "../Job.ts"
import type { MemorySink } from "../Sink.ts"
import type { QueueSource } from "../Source.ts"

/**
 * A running job and the means to move it.
 *
 * @since 0.1.0
 * @category models
 */
export interface TestJob<out E = never> {
  /** The job as an application holds it, for `Job.query`, `pause`, `resume` and `await`. */
  readonly handle: Job.Handle<E>
  /** Offers a record to a queue of the job, and settles. */
  readonly push: <A>(source: QueueSource<A>, value: NoInfer<A>) => Effect.Effect<void, BufferFull | JobNotRunning>
  /** Offers records, and settles. */
  readonly pushAll: <A>(
    source: QueueSource<A>,
    values: Iterable<NoInfer<A>>
  ) => Effect.Effect<void, BufferFull | JobNotRunning>
  /** Moves the clock, so that schedules, rates and checkpoints fall due in their order, and settles. */
  readonly advanceTime: (duration: Duration.Input) => Effect.Effect<void>
  /** Lets the job go on until it can do no more without new input or time. */
  readonly settle: Effect.Effect<void>
  /** What the job says of itself once it has settled. */
  readonly status: Effect.Effect<Job.JobStatus>
  /** What a `Sink.memory` of the job holds once the job has settled, and what it has put out is in a checkpoint. */
  readonly outputs: <A>(sink: MemorySink<A>) => Effect.Effect<ReadonlyArray<A>>
  /** Moves event time to the end, so that every window fires, and waits until all is written. */
  readonly drain: Effect.Effect<void, E | JobError>
  /** Takes a checkpoint and ends the job; windows that are open stay so. */
  readonly stop: Effect.Effect<void, E | JobError>
}

/**
 * Starts a job for a test, in the test's scope.
 *
 * **Details**
 *
 * On a `TestClock` already, as in `it.effect` of `@effect/vitest`, the job shares it; otherwise it gets one of its own,
 * which starts at 0. So with the `CheckpointStore`: the test's if there is one, or one in memory.
 *
 * **Gotchas**
 *
 * Sources and sinks that do real I/O settle when nothing has happened for 25 milliseconds of real time. With queues and
 * memory nothing is waited for.
 *
 * **Example**
 *
 * ```ts run
 * import { Effect, Schema } from "effect"
 * import { Aggregate, Flow, Job, Sink, Source, Watermark, Window } from "millrace"
 * import { TestJob } from "millrace/testing"
 *
 * interface Click {
 *   readonly page: string
 *   readonly at: number
 * }
 * const clicks = Source.queue<Click>()
 * const perPage = Sink.memory<{ readonly page: string; readonly clicks: number }>()
 *
 * const job = Job.make("clicks", [
 *   Flow.from("clicks", clicks, { time: (click) => click.at, watermark: Watermark.monotonic }).pipe(
 *     Flow.keyBy((click) => click.page, Schema.String),
 *     Flow.window("per page", Window.tumbling("1 minute")),
 *     Flow.aggregate({ clicks: Aggregate.count }),
 *     Flow.only("results", { late: "the queue is in order" }),
 *     Flow.map((pane) => ({ page: pane.key, clicks: pane.value.clicks })),
 *     Flow.to("per page", perPage)
 *   )
 * ])
 *
 * const test = Effect.gen(function*() {
 *   const running = yield* TestJob.make(job, { partitions: 4 })
 *   yield* running.pushAll(clicks, [{ page: "/", at: 1_000 }, { page: "/", at: 59_000 }])
 *   const before = yield* running.outputs(perPage)
 *   yield* running.push(clicks, { page: "/help", at: 61_000 })
 *   const after = yield* running.outputs(perPage)
 *   return { before, after }
 * })
 *
 * const { before, after } = await Effect.runPromise(Effect.scoped(test))
 * before // => []
 * after // => [{ page: "/", clicks: 2 }]
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function*<E, R>(
  job: Job.Job<E, R>,
  options?: Job.RunOptions
): Effect.fn.Return<TestJob<E>, never, Exclude<R, CheckpointStore.CheckpointStore> | Scope.Scope> {
  const clock = yield* testClock
  const store = yield* checkpointStore
  const own = Context.merge(clock, store)
  const handle = (yield* Effect.provideContext(Job.launch(job, options), own)) as Job.Handle<E>
  const settle = settling(job, handle)
  // Sinks have rows when their epoch is durable; a job that has ended has given them all it will.
  const delivered = Effect.provideContext(
    Effect.flatMap(
      handle.status,
      ({ state }) => isLive(state) ? Effect.andThen(Effect.ignoreCause(handle.checkpoint), settle) : Effect.void
    ),
    clock
  )
  const thenSettle = <A, E2>(effect: Effect.Effect<A, E2>): Effect.Effect<A, E2> =>
    Effect.provideContext(Effect.andThen(effect, (value: A) => Effect.as(settle, value)), clock)
  yield* settle
  return {
    handle,
    push: (source, value) => thenSettle(handle.push(source, value)),
    pushAll: (source, values) => thenSettle(handle.pushAll(source, values)),
    advanceTime: (duration) => thenSettle(Effect.andThen(settle, TestClock.adjust(duration))),
    settle,
    status: Effect.andThen(settle, handle.status),
    outputs: (sink) => settle.pipe(Effect.andThen(delivered), Effect.andThen(sink.contents)),
    drain: Effect.provideContext(handle.drain, clock),
    stop: Effect.provideContext(handle.stop, clock)
  }
})

/** The test's clock where there is one; otherwise one for this job alone. */
const testClock = Effect.clockWith((clock) =>
  hasProperty(clock, "adjust")
    ? Effect.succeed(Context.make(Clock.Clock, clock) as Context.Context<never>)
    : Layer.build(TestClock.layer()) as Effect.Effect<Context.Context<never>, never, Scope.Scope>
)

const checkpointStore = Effect.flatMap(
  Effect.serviceOption(CheckpointStore.CheckpointStore),
  Option.match({
    onSome: (store) => Effect.succeed(Context.make(CheckpointStore.CheckpointStore, store)),
    onNone: () => Layer.build(Layer.fresh(CheckpointStore.layerMemory))
  })
)

/** Turns of the event loop in which nothing may happen. Each lets every fiber run that can. */
const quietTurns = 8
/** Where I/O may be under way, turns of a millisecond of real time each. */
const patientTurns = 25

const turn = Effect.callback<void>((resume) => {
  const immediate = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(immediate))
})

const patientTurn = Effect.callback<void>((resume) => {
  const timeout = setTimeout(() => resume(Effect.void), 1)
  return Effect.sync(() => clearTimeout(timeout))
})

/** Turns until the job's own figures stand still, and more of them where somebody outside may be at work. */
const settling = <E, R>(job: Job.Job<E, R>, handle: Job.Handle<E>): Effect.Effect<void> => {
  const queues = new Set(
    job.plan.graph.operators.flatMap(({ label, node }) =>
      node._tag === "Source" && node.source.body._tag === "Queue" ? [label] : []
    )
  )
  return Effect.gen(function*() {
    let last = ""
    for (let quiet = 0;; quiet++) {
      const status = yield* handle.status
      const figures = JSON.stringify(status)
      if (figures !== last) quiet = 0
      last = figures
      const isPatient = awaitsOthers(status, queues)
      if (quiet >= (isPatient ? patientTurns : quietTurns)) return
      yield* isPatient ? patientTurn : turn
    }
  })
}

const isLive = (state: Job.JobStatus["state"]): boolean =>
  state === "running" || state === "paused" || state === "draining"

/** Whether something may come that nobody has pushed: from a source that reads, or a sink that writes. */
const awaitsOthers = ({ buffers, operators, state }: Job.JobStatus, queues: ReadonlySet<string>): boolean => {
  if (!isLive(state)) return false
  return operators.length === 0
    || buffers.some(({ fill }) => fill > 0)
    || operators.some(({ kind, operator, watermark }) =>
      kind === "source" && watermark !== Infinity && !queues.has(operator)
    )
}
