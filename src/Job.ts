/**
 * A named set of outputs, and the door to the runtime.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import type { Scope } from "effect/Scope"
import type { Covariant } from "effect/Types"
import type { Checkpoint } from "./Checkpoint.ts"
import type { CheckpointStore, CheckpointStoreError } from "./CheckpointStore.ts"
import type { DeadLetter } from "./DeadLetter.ts"
import * as ErrorPolicy from "./ErrorPolicy.ts"
import * as Flow from "./Flow.ts"
import type * as FlowError from "./FlowError.ts"
import type { BufferFull, InvalidKey, JobNotRunning, OperatorUnknown, SourceInvalid } from "./FlowError.ts"
import { wholeMillis } from "./internal/numbers.ts"
import * as graph from "./internal/plan/graph.ts"
import { PlanInvalid } from "./internal/plan/PlanInvalid.ts"
import * as jobRuntime from "./internal/runtime/job.ts"
import { keyGroups } from "./internal/state/keyIdentity.ts"
import type { JobStatus } from "./JobStatus.ts"
import * as Plan from "./Plan.ts"
import type { Guarantee, Sink } from "./Sink.ts"
import type { QueueSource } from "./Source.ts"
import * as Supervision from "./Supervision.ts"
import type { Answers, Upgrade } from "./Upgrade.ts"
import type { Bounds, Pane } from "./Window.ts"

const TypeId = "~millrace/Job"

/**
 * @since 0.1.0
 * @category models
 */
export interface Job<out E = never, out R = never> extends Pipeable {
  readonly [TypeId]: { readonly _E: Covariant<E>; readonly _R: Covariant<R> }
  readonly name: string
  /** What will run: prints itself as text, Mermaid and JSON. */
  readonly plan: Plan.Plan
  /** @internal */
  readonly program: jobRuntime.Program
}

/**
 * @since 0.1.0
 * @category models
 */
export type Delivery = "at-least-once" | "exactly-once"

/**
 * What each delivery asks of every sink.
 *
 * @since 0.1.0
 * @category models
 */
export interface Requires {
  readonly "at-least-once": Guarantee
  readonly "exactly-once": "transactional" | "idempotent"
}

type Outputs<G extends Guarantee> = ReadonlyArray<Flow.Output<unknown, unknown, G>>
type ErrorOf<O> = O extends Flow.Output<infer E, unknown, Guarantee> ? E : never
type ServicesOf<O> = O extends Flow.Output<unknown, infer R, Guarantee> ? R : never

const Proto = {
  [TypeId]: { _E: (_: never) => _, _R: (_: never) => _ },
  pipe() {
    return pipeArguments(this, arguments)
  }
}

/**
 * @since 0.1.0
 * @category guards
 */
export const isJob = (u: unknown): u is Job<unknown, unknown> => hasProperty(u, TypeId)

/**
 * Makes a job of outputs. Throws `PlanInvalid`, naming the operator and the remedy, where the program cannot run as it is
 * written: a name that is empty or used twice, an output that is neither consumed nor discarded, a window without event
 * time, records kept without a schema.
 *
 * **Details**
 *
 * `onError` is the policy of operators that state none (default: fail). With the policy `deadLetter` anywhere, `deadLetters`
 * names the sink that takes refused records. With `delivery: "exactly-once"` every sink, that of the dead letters too, must
 * be transactional or idempotent, and no output eager: anything else does not compile.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <
  const O extends Outputs<Guarantee>,
  D extends Delivery = "at-least-once",
  E2 = never,
  R2 = never
>(
  name: string,
  outputs: O & Outputs<NoInfer<Requires[D]>>,
  options?: {
    readonly delivery?: D
    readonly onError?: ErrorPolicy.ErrorPolicy
    readonly deadLetters?: Sink<DeadLetter, E2, R2, NoInfer<Requires[D]>>
  }
): Job<ErrorOf<O[number]> | E2, ServicesOf<O[number]> | R2> => {
  const described = graph.make(name, outputs.map(Flow.endingOf))
  const policy = options?.onError ?? ErrorPolicy.fail
  refuseLostLetters(described, policy, options?.deadLetters !== undefined)
  const program: jobRuntime.Program = {
    name,
    graph: described,
    policy,
    deadLetters: options?.deadLetters as Sink<never, unknown, unknown> | undefined
  }
  return Object.assign(Object.create(Proto), { name, plan: Plan.fromGraph(name, described), program })
}

const refuseLostLetters = ({ operators }: graph.Graph, policy: ErrorPolicy.ErrorPolicy, kept: boolean): void => {
  const sends = (policy: ErrorPolicy.ErrorPolicy): boolean =>
    policy._tag === "DeadLetter" || (policy._tag === "Retry" && policy.then._tag === "DeadLetter")
  for (const { label, node } of operators) {
    const own = "onError" in node ? node.onError : undefined
    if (kept || !sends(own ?? policy)) continue
    throw new PlanInvalid({
      operator: label,
      subject: "operator",
      problem: "sends records to the dead letters, and the job keeps none",
      remedy: "give Job.make { deadLetters: sink }"
    })
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface RunOptions {
  /** How many partitions every keyed stage has, 1 to 128. One by default: no exchange, the fastest within a process. */
  readonly partitions?: number
  /** Records that a partition takes in, and puts out, in one step at most. 4,096 by default. */
  readonly batchSize?: number
  /** Records that every channel between partitions and to sinks holds at most. 8,192 by default. */
  readonly bufferSize?: number
  /** How often a checkpoint is taken. Every second by default. */
  readonly checkpointEvery?: Duration.Input
  /** How often a part that fails is restarted from its last checkpoint. */
  readonly restarts?: Supervision.RestartIntensity
  /**
   * `resume`, the default: goes on from the latest checkpoint in the store, and does nothing where the job has finished.
   * `afresh`: begins from nothing, whatever the store holds; sinks begin anew, each in its way.
   */
  readonly start?: "resume" | "afresh"
  /**
   * What is to become of state that a changed program cannot go on with by itself, such as that of an operator which is gone;
   * `Job.plan` says what is asked.
   */
  readonly upgrade?: Answers
  /**
   * Bytes that are kept for sinks at most, besides one batch per output: of the open epoch and of those that their sinks
   * have not taken yet. At half of it a checkpoint is taken, at all of it nothing more is put out. 64 MiB by default.
   */
  readonly maxPendingBytes?: number
  /** How long a sink may take nothing, while the job waits for it, before the job fails with `SinkStalled`. A minute by default. */
  readonly sinkTimeout?: Duration.Input
  /** Checkpoints that the store keeps, 1 or more, besides the last one on the base before and those with a name. 3 by default. */
  readonly retain?: number
}

/**
 * The errors of the runtime itself; those of the job's sources and sinks come beside them.
 *
 * @since 0.1.0
 * @category errors
 */
export type JobError = FlowError.JobError

/**
 * What a job says of itself: operators, sinks, buffers, restarts.
 *
 * @since 0.1.0
 * @category models
 */
export type {
  BufferStatus,
  CheckpointStatus,
  JobStatus,
  OperatorStatus,
  PartitionStatus,
  SinkStatus
} from "./JobStatus.ts"

/**
 * A running job. It lives in the scope it was launched in and ends with it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Handle<out E = never> {
  /** Waits for the end: of all inputs, by `drain` or `stop`, or by a failure that restarts did not cure. */
  readonly await: Effect.Effect<void, E | JobError>
  readonly status: Effect.Effect<JobStatus>
  /** Offers a record to a `Source.queue` of the job; what happens when it is full is the queue's policy. */
  readonly push: <A>(source: QueueSource<A>, value: NoInfer<A>) => Effect.Effect<void, BufferFull | JobNotRunning>
  readonly pushAll: <A>(
    source: QueueSource<A>,
    values: Iterable<NoInfer<A>>
  ) => Effect.Effect<void, BufferFull | JobNotRunning>
  /**
   * Says of a `Source.queue` that is read with event time, without offering a record: event time has come to `eventTime`, in
   * epoch milliseconds, and no record at or before it will be offered. It takes a place among the records and keeps it: it
   * is read again and kept in checkpoints as they are. What is behind the watermark already changes nothing; in a full queue
   * that drops, it is dropped itself.
   */
  readonly advanceEventTime: (
    source: QueueSource<unknown>,
    eventTime: number
  ) => Effect.Effect<void, BufferFull | JobNotRunning | SourceInvalid>
  /** Takes in nothing more until `resume`; what is under way goes on. */
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
  /** Takes a checkpoint now, and answers with its epoch when it is in the store. */
  readonly checkpoint: Effect.Effect<number, E | JobError | JobNotRunning>
  /**
   * Takes a checkpoint and gives it a name, under which the store keeps it until it is removed; answers with the checkpoint as
   * a value, which `Checkpoint.writeFile` and `Checkpoint.layer` take.
   */
  readonly savepoint: (name: string) => Effect.Effect<Checkpoint, E | JobError | JobNotRunning>
  /**
   * Lets what was taken in come to the ends of its flows, takes a checkpoint and ends the job, leaving event time where it is:
   * open windows stay open in the checkpoint. It waits 5 s for rows under way and 5 s for sinks; both are served when the job
   * goes on.
   */
  readonly stop: Effect.Effect<void, E | JobError>
  /** Takes in nothing more, moves event time to the end, so that every window fires, and waits until all is written. */
  readonly drain: Effect.Effect<void, E | JobError>
  /** @internal */
  readonly query: (
    operator: string,
    key: unknown
  ) => Effect.Effect<ReadonlyArray<unknown>, JobNotRunning | OperatorUnknown | InvalidKey>
  /** @internal */
  readonly labelOf: (flow: Flow.Flow<unknown, unknown, unknown, Flow.Trait>) => string
}

/**
 * Starts a job in the background of the current scope.
 *
 * @since 0.1.0
 * @category running
 */
export const launch: {
  (options?: RunOptions): <E, R>(job: Job<E, R>) => Effect.Effect<Handle<E>, never, R | CheckpointStore | Scope>
  <E, R>(job: Job<E, R>, options?: RunOptions): Effect.Effect<Handle<E>, never, R | CheckpointStore | Scope>
} = dual(
  (args) => isJob(args[0]),
  // The runtime works with erased channels; the job's type has counted them.
  <E, R>(job: Job<E, R>, options?: RunOptions) =>
    jobRuntime.launch(job.program, checked(job, options)) as unknown as Effect.Effect<
      Handle<E>,
      never,
      R | CheckpointStore | Scope
    >
)

/**
 * Runs a job to its end. Interruption stops it and releases everything.
 *
 * @since 0.1.0
 * @category running
 */
export const run: {
  (options?: RunOptions): <E, R>(job: Job<E, R>) => Effect.Effect<void, E | JobError, R | CheckpointStore>
  <E, R>(job: Job<E, R>, options?: RunOptions): Effect.Effect<void, E | JobError, R | CheckpointStore>
} = dual(
  (args) => isJob(args[0]),
  <E, R>(job: Job<E, R>, options?: RunOptions) =>
    Effect.scoped(Effect.flatMap(launch(job, options), (handle) => handle.await))
)

/**
 * Says what running the job would make of its checkpoint: of each operator, source and output whether it goes on, is migrated,
 * begins anew or is refused, why, and what can be done. It reads all there is, takes nothing over, and changes nothing; the
 * job itself decides by the same.
 *
 * **Details**
 *
 * Give it the options that the job will be run with. `CheckpointRefused` says that there is no checkpoint to judge: it is
 * damaged, or of another release.
 *
 * **Gotchas**
 *
 * Sinks are not opened: whether one stands where the checkpoint knows it is found out by the run, before it changes anything.
 *
 * @since 0.1.0
 * @category running
 */
export const plan: {
  (options?: Pick<RunOptions, "upgrade" | "start">): <E, R>(
    job: Job<E, R>
  ) => Effect.Effect<Upgrade, CheckpointStoreError | FlowError.CheckpointRefused, CheckpointStore>
  <E, R>(
    job: Job<E, R>,
    options?: Pick<RunOptions, "upgrade" | "start">
  ): Effect.Effect<Upgrade, CheckpointStoreError | FlowError.CheckpointRefused, CheckpointStore>
} = dual(
  (args) => isJob(args[0]),
  (job: Job<unknown, unknown>, options?: Pick<RunOptions, "upgrade" | "start">) =>
    jobRuntime.planned(job.program, { answers: options?.upgrade ?? {}, isAfresh: options?.start === "afresh" })
)

const checked = (job: Job<unknown, unknown>, options: RunOptions | undefined): jobRuntime.Settings => {
  const settings = {
    partitions: options?.partitions ?? 1,
    batchSize: options?.batchSize ?? 4096,
    bufferSize: options?.bufferSize ?? 8192,
    maxPendingBytes: options?.maxPendingBytes ?? 64 * 1024 * 1024,
    retain: options?.retain ?? 3
  }
  for (const [option, value] of Object.entries(settings)) {
    const most = option === "partitions" ? keyGroups : Number.MAX_SAFE_INTEGER
    if (Number.isInteger(value) && value >= 1 && value <= most) continue
    throw new InvalidRunOption({ job: job.name, option, value })
  }
  const checkpointEvery = options?.checkpointEvery ?? "1 second"
  const sinkTimeout = options?.sinkTimeout ?? "1 minute"
  for (const [option, value] of Object.entries({ checkpointEvery, sinkTimeout })) {
    // Anything shorter would do nothing but take checkpoints, and give up sinks that are well.
    if (!(wholeMillis(value) >= 1)) throw new InvalidRunOption({ job: job.name, option, value })
  }
  return {
    ...settings,
    checkpointEvery,
    sinkTimeoutMillis: wholeMillis(sinkTimeout),
    start: options?.start ?? "resume",
    upgrade: options?.upgrade ?? {},
    restarts: options?.restarts ?? Supervision.standard
  }
}

/**
 * A job was started with an option that makes no sense.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidRunOption
  extends Schema.TaggedError<InvalidRunOption>("millrace/InvalidRunOption")("InvalidRunOption", {
    job: Schema.String,
    option: Schema.String,
    value: Schema.Unknown
  })
{
  override get message() {
    const wanted = this.option === "checkpointEvery" || this.option === "sinkTimeout"
      ? "a duration of whole milliseconds, 1 or more"
      : `a whole number ${this.option === "partitions" ? `from 1 to ${keyGroups}` : "of at least 1"}`
    return `Job "${this.job}" was started with ${this.option} ${String(this.value)}: give ${wanted}`
  }
}

/**
 * Reads the state of a window operator by key while the job runs: the windows open for the key and what they hold so far,
 * as of the last commit of the partition that owns it.
 *
 * **Details**
 *
 * The operator is given by its `results` flow, which types the answer, or by its name.
 *
 * @since 0.1.0
 * @category running
 */
export const query: {
  <K, Out, E2, R2, T extends Flow.Trait>(
    results: Flow.Flow<Pane<K, Out>, E2, R2, T>,
    key: NoInfer<K>
  ): <E>(
    handle: Handle<E>
  ) => Effect.Effect<ReadonlyArray<WindowState<Out>>, JobNotRunning | OperatorUnknown | InvalidKey>
  (
    operator: string,
    key: unknown
  ): <E>(
    handle: Handle<E>
  ) => Effect.Effect<ReadonlyArray<WindowState<unknown>>, JobNotRunning | OperatorUnknown | InvalidKey>
  <E, K, Out, E2, R2, T extends Flow.Trait>(
    handle: Handle<E>,
    results: Flow.Flow<Pane<K, Out>, E2, R2, T>,
    key: NoInfer<K>
  ): Effect.Effect<ReadonlyArray<WindowState<Out>>, JobNotRunning | OperatorUnknown | InvalidKey>
  <E>(
    handle: Handle<E>,
    operator: string,
    key: unknown
  ): Effect.Effect<ReadonlyArray<WindowState<unknown>>, JobNotRunning | OperatorUnknown | InvalidKey>
} = dual(
  3,
  (
    handle: Handle,
    operator: string | Flow.Flow<unknown>,
    key: unknown
  ): Effect.Effect<never, JobNotRunning | OperatorUnknown | InvalidKey> =>
    handle.query(typeof operator === "string" ? operator : handle.labelOf(operator), key) as Effect.Effect<
      never,
      JobNotRunning | OperatorUnknown | InvalidKey
    >
)

/**
 * A window that is open for a key, and what its aggregates hold so far.
 *
 * @since 0.1.0
 * @category models
 */
export interface WindowState<out Out> {
  readonly window: Bounds
  readonly value: Out
}
