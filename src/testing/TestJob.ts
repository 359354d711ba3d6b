/**
 * A job under a test's control: the real runtime, on a clock that moves only when the test says so, in a world that the
 * test makes ill, and that outlives a crash of the job.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as CheckpointStore from "../CheckpointStore.ts"
import type * as Flow from "../Flow.ts"
import {
  type BufferFull,
  type InvalidKey,
  JobNotRunning,
  type OperatorUnknown,
  type SourceInvalid
} from "../FlowError.ts"
import * as Job from "../Job.ts"
import type { MemorySink } from "../Sink.ts"
import type { QueueSource } from "../Source.ts"
import type { Pane } from "../Window.ts"
import { deadLetters, type Faults, Health, Life, Planted, wrapped, wrappedStore } from "./Faults.ts"

export {
  type Faults,
  /**
   * A call failed because the test wanted it to.
   *
   * @since 0.1.0
   * @category errors
   */
  Planted
}

/**
 * A running job and the means to move it.
 *
 * @since 0.1.0
 * @category models
 */
export interface TestJob<out E = never> {
  /**
   * The job as an application holds it, for `savepoint`, `pause`, `resume` and `await`; after a restart, that of the new
   * life. Its type says nothing of `Planted`, so that it can be handed to the application.
   */
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
  /**
   * Moves the watermark of a queue to `eventTime`, in epoch milliseconds, without a record, and settles: windows that end
   * there fire. With several sources event time is the least of theirs, so move them all.
   */
  readonly advanceEventTime: (
    source: QueueSource<unknown>,
    eventTime: number
  ) => Effect.Effect<void, BufferFull | JobNotRunning | SourceInvalid>
  /** Lets the job go on until it can do no more without new input or time. */
  readonly settle: Effect.Effect<void>
  /** What the job says of itself once it has settled. */
  readonly status: Effect.Effect<Job.JobStatus>
  /** What the job is once it has settled: `running`, `failed`, … After `crash` it is `interrupted`. */
  readonly state: Effect.Effect<Job.JobStatus["state"]>
  /** The windows that are open for a key once the job has settled, as `Job.query` reads them. */
  readonly query: {
    <K, Out, E2, R2, T extends Flow.Trait>(
      results: Flow.Flow<Pane<K, Out>, E2, R2, T>,
      key: NoInfer<K>
    ): Effect.Effect<ReadonlyArray<Job.WindowState<Out>>, JobNotRunning | OperatorUnknown | InvalidKey>
    (
      operator: string,
      key: unknown
    ): Effect.Effect<ReadonlyArray<Job.WindowState<unknown>>, JobNotRunning | OperatorUnknown | InvalidKey>
  }
  /** What a `Sink.memory` of the job holds once the job has settled, and what it has put out is in a checkpoint. */
  readonly outputs: <A>(sink: MemorySink<A>) => Effect.Effect<ReadonlyArray<A>>
  /** Moves event time to the end, so that every window fires, and waits until all is written. */
  readonly drain: Effect.Effect<void, E | Planted | Job.JobError>
  /** Takes a checkpoint and ends the job; windows that are open stay so. */
  readonly stop: Effect.Effect<void, E | Planted | Job.JobError>
  /**
   * Ends the job as a killed process ends: no call of it to a sink, a source or the store does anything from now on, and
   * no checkpoint is taken. What they hold stays. What was offered to a queue and is in no checkpoint is lost.
   */
  readonly crash: Effect.Effect<void>
  /**
   * Launches the job again on the same store and the same sinks, with the options of `make` except `start`, and those
   * given here: other `partitions`, say. A job that has not ended is crashed first.
   */
  readonly restart: (options?: Job.RunOptions) => Effect.Effect<void>
  /** Trouble for the sink of an output, by the output's name; `"dead letters"` is that of the dead letters. */
  readonly sink: (output: string) => Faults
  /** Trouble for a source that is read, by its name. A queue, and records in memory, cannot fail. */
  readonly source: (name: string) => Faults
  /** Trouble for the checkpoint store. Its calls fail with `CheckpointStoreError`, whose cause is `Planted`. */
  readonly store: Faults
}

/**
 * A test asked for trouble in a place that the job does not have. A defect.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnknownPlace extends Schema.TaggedError<UnknownPlace>("millrace/testing/UnknownPlace")("UnknownPlace", {
  job: Schema.String,
  kind: Schema.Literals(["sink", "source"]),
  name: Schema.String,
  known: Schema.Array(Schema.String)
}) {
  override get message() {
    const known = this.known.map((name) => `"${name}"`).join(", ")
    const remedy = known === "" ? "there is none" : `give one of ${known}`
    return `Job "${this.job}" has no ${this.kind} "${this.name}" that can be made ill: ${remedy}`
  }
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
 * After a crash the scopes of the old life are closed, as the operating system would close files and connections: what the
 * `release` of a sink of your own does then is done, unless it is a call of its writer.
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
  const store = Context.get(yield* checkpointStore, CheckpointStore.CheckpointStore)
  const context = Context.merge(
    yield* Effect.context<Exclude<R, CheckpointStore.CheckpointStore> | Scope.Scope>(),
    clock
  )
  const places = placesOf(job, Effect.suspend(() => settle))
  let current = yield* living(job, options, store, places, context)
  const settle: Effect.Effect<void> = Effect.suspend(() => settling(job, current.handle))

  // Sinks have rows when their epoch is durable; a job that has ended has given them all it will.
  const delivered = Effect.suspend(() => {
    const { handle } = current
    const checkpoint = Effect.ignoreCause(handle.checkpoint)
    const isLasting = places.store.isWell
    return Effect.flatMap(handle.status, ({ state }) =>
      isLive(state)
        // A store that is ill may never answer: then there is nothing to wait for.
        ? Effect.andThen(isLasting ? checkpoint : Effect.raceFirst(checkpoint, settle), settle)
        : Effect.void)
  })
  const onClock = Effect.provideContext(clock)
  const thenSettle = <A, E2>(effect: Effect.Effect<A, E2>): Effect.Effect<A, E2> =>
    onClock(Effect.andThen(effect, (value: A) => Effect.as(settle, value)))
  const offered = <E2>(
    offer: (handle: Job.Handle<E>) => Effect.Effect<void, E2>
  ): Effect.Effect<void, E2 | JobNotRunning> =>
    thenSettle(Effect.suspend((): Effect.Effect<void, E2 | JobNotRunning> =>
      current.life.isOver
        ? Effect.fail(new JobNotRunning({ job: job.name, state: "crashed" }))
        : offer(current.handle)
    ))
  const crash = onClock(Effect.suspend(() => Effect.andThen(current.kill, settle)))
  yield* settle

  return {
    get handle() {
      return current.handle
    },
    push: (source, value) => offered((handle) => handle.push(source, value)),
    pushAll: (source, values) => offered((handle) => handle.pushAll(source, values)),
    advanceTime: (duration) => thenSettle(Effect.andThen(settle, TestClock.adjust(duration))),
    advanceEventTime: (source, eventTime) => offered((handle) => handle.advanceEventTime(source, eventTime)),
    settle,
    status: Effect.andThen(settle, Effect.suspend(() => current.handle.status)),
    state: Effect.andThen(settle, Effect.map(Effect.suspend(() => current.handle.status), ({ state }) => state)),
    // `Job.query` has the same two forms, and tells them apart in the same way.
    query: ((operator: string, key: unknown) =>
      Effect.andThen(
        settle,
        Effect.suspend(() => Job.query(current.handle, operator, key))
      )) as TestJob<E>["query"],
    outputs: (sink) => settle.pipe(Effect.andThen(onClock(delivered)), Effect.andThen(sink.contents)),
    drain: onClock(Effect.suspend(() => current.handle.drain)),
    stop: onClock(Effect.suspend(() => current.handle.stop)),
    crash,
    restart: (again) =>
      onClock(Effect.gen(function*() {
        const { start: _, ...rest } = options ?? {}
        if (isLive((yield* current.handle.status).state)) yield* crash
        current = yield* living(job, { ...rest, ...again }, store, places, context)
        yield* settle
      })),
    sink: (output) => places.sink(output).faults,
    source: (name) => places.source(name).faults,
    store: places.store.faults
  }
})

/** One life of a job, and how to kill it. */
interface Living<E> {
  readonly life: Life
  readonly handle: Job.Handle<E>
  readonly kill: Effect.Effect<void>
}

const living = Effect.fnUntraced(function*<E, R>(
  job: Job.Job<E, R>,
  options: Job.RunOptions | undefined,
  store: CheckpointStore.CheckpointStore["Service"],
  places: ReturnType<typeof placesOf>,
  context: Context.Context<Exclude<R, CheckpointStore.CheckpointStore> | Scope.Scope>
): Effect.fn.Return<Living<E>> {
  const life = new Life()
  const scope = yield* Scope.fork(Context.get(context, Scope.Scope))
  const own: Job.Job<E, R> = Object.assign(Object.create(Object.getPrototypeOf(job)), job, {
    program: wrapped(job.program, life, places)
  })
  const services = Context.merge(
    context,
    Context.make(CheckpointStore.CheckpointStore, wrappedStore(store, life, places.store)).pipe(
      Context.add(Scope.Scope, scope)
    )
  )
  // What `Exclude` takes away from the services of the job is the store, which has been added.
  const handle: Job.Handle<E> = yield* Effect.provideContext(
    Job.launch(own, options) as Effect.Effect<Job.Handle<E>, never, CheckpointStore.CheckpointStore | Scope.Scope>,
    services
  )
  const kill = Effect.gen(function*() {
    if (life.isOver) return
    life.isOver = true
    // Whatever cannot be interrupted is left to itself, as nothing that it asks for is done any more.
    const closing = yield* Effect.forkDetach(Scope.close(scope, Exit.void), { startImmediately: true })
    for (let turns = 0; turns < patientTurns && closing.pollUnsafe() === undefined; turns++) yield* turn
  })
  return { life, handle, kill }
})

/** The health of everything outside the job, by name. */
const placesOf = (job: Job.Job<unknown, unknown>, then: Effect.Effect<void>) => {
  const { program } = job
  const sinks = new Map(program.graph.outlets.map(({ name }) => [name, new Health(`sink "${name}"`, then)]))
  if (program.deadLetters !== undefined && !sinks.has(deadLetters)) {
    sinks.set(deadLetters, new Health("the sink of the dead letters", then))
  }
  const sources = new Map(
    program.graph.operators.flatMap(({ node }): ReadonlyArray<readonly [string, Health]> =>
      node._tag === "Source" && node.source.body._tag === "Read"
        ? [[node.name, new Health(`source "${node.name}"`, then)]]
        : []
    )
  )
  const known = (kind: UnknownPlace["kind"], places: ReadonlyMap<string, Health>) => (name: string): Health => {
    const found = places.get(name)
    if (found === undefined) throw new UnknownPlace({ job: job.name, kind, name, known: [...places.keys()] })
    return found
  }
  return { sink: known("sink", sinks), source: known("source", sources), store: new Health("the store", then) }
}

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
const settling = <E, R, E2>(job: Job.Job<E, R>, handle: Job.Handle<E2>): Effect.Effect<void> => {
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
