/** A job while it runs: its parts, its metrics, and the handle that the application holds. */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as TxRef from "effect/TxRef"
import { atEpoch, type Checkpoint } from "../../Checkpoint.ts"
import { CheckpointStore, type CheckpointStoreError } from "../../CheckpointStore.ts"
import type { ErrorPolicy } from "../../ErrorPolicy.ts"
import { edgeOf, type Flow, type Trait } from "../../Flow.ts"
import {
  type BufferFull,
  CheckpointRefused,
  type InvalidKey,
  JobNotRunning,
  OperatorUnknown,
  type SourceInvalid
} from "../../FlowError.ts"
import * as FlowMetrics from "../../FlowMetrics.ts"
import type { JobStatus } from "../../JobStatus.ts"
import type { Sink } from "../../Sink.ts"
import type { QueueSource } from "../../Source.ts"
import type { RestartIntensity } from "../../Supervision.ts"
import type { Answers, Upgrade } from "../../Upgrade.ts"
import { Malformed } from "../checkpoint/malformed.ts"
import type { Graph } from "../plan/graph.ts"
import type { Node } from "../plan/node.ts"
import { type Identity, keyIdentity } from "../state/keyIdentity.ts"
import { Engine } from "./engine.ts"
import { advance, offer } from "./offers.ts"
import { partitionOf } from "./routers.ts"
import { preview } from "./succession.ts"
import { ambient } from "./surroundings.ts"

/** What `Job.make` leaves: all that is needed to run. */
export interface Program {
  readonly name: string
  readonly graph: Graph
  readonly policy: ErrorPolicy
  readonly deadLetters: Sink<never, unknown, unknown> | undefined
}

export interface Settings {
  readonly start: "resume" | "afresh"
  readonly upgrade: Answers
  readonly retain: number
  readonly maxPendingBytes: number
  readonly sinkTimeoutMillis: number
  readonly partitions: number
  readonly batchSize: number
  readonly bufferSize: number
  readonly checkpointEvery: Duration.Input
  readonly restarts: RestartIntensity
  readonly sabotage?: "cut ignores steps"
}

/** Why a query has no answer. */
export type QueryError = JobNotRunning | OperatorUnknown | InvalidKey

/** The erased form of `Job.Handle`; its doors are typed there. */
export interface RunningJob {
  readonly await: Effect.Effect<void, unknown>
  readonly status: Effect.Effect<JobStatus>
  readonly push: (source: QueueSource<unknown>, value: unknown) => Effect.Effect<void, BufferFull | JobNotRunning>
  readonly pushAll: (
    source: QueueSource<unknown>,
    values: Iterable<unknown>
  ) => Effect.Effect<void, BufferFull | JobNotRunning>
  readonly advanceEventTime: (
    source: QueueSource<unknown>,
    eventTime: number
  ) => Effect.Effect<void, BufferFull | JobNotRunning | SourceInvalid>
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
  readonly stop: Effect.Effect<void, unknown>
  readonly drain: Effect.Effect<void, unknown>
  readonly checkpoint: Effect.Effect<number, unknown>
  readonly savepoint: (name: string) => Effect.Effect<Checkpoint, unknown>
  readonly query: (
    operator: string,
    key: unknown
  ) => Effect.Effect<ReadonlyArray<unknown>, QueryError>
  readonly labelOf: (flow: Flow<unknown, unknown, unknown, Trait>) => string
}

export const launch: (
  program: Program,
  settings: Settings
) => Effect.Effect<RunningJob, never, CheckpointStore | Scope.Scope> = Effect.fn("Job.launch")(
  function*(program: Program, settings: Settings): Effect.fn.Return<RunningJob, never, CheckpointStore | Scope.Scope> {
    const { graph, name } = program
    const store = yield* CheckpointStore
    // What the types cannot see: a file system for sources and sinks, and all that the job's own channels have counted.
    const context = (yield* ambient) as Context.Context<FileSystem.FileSystem>
    const scope = yield* Effect.scope
    const jobScope = yield* Scope.fork(scope)
    const engine = new Engine(program, settings, store, context, jobScope)
    const { ended, inlets, intake, parts } = engine

    const metrics = FlowMetrics.recorder(name)
    const stopping = yield* Deferred.make<void, unknown>()
    yield* Effect.raceFirst(engine.run, Deferred.await(stopping)).pipe(
      Effect.raceFirst(metrics.every("1 second", () => engine.status)),
      Effect.onExit((exit) =>
        Effect.gen(function*() {
          yield* engine.close(exit)
          yield* metrics.record(engine.status)
          yield* Scope.close(jobScope, exit)
        })
      ),
      Deferred.into(ended),
      // At once, so that a scope that closes now finds something to end.
      Effect.forkIn(scope, { startImmediately: true })
    )

    const query = (label: string, key: unknown) =>
      Effect.suspend((): Effect.Effect<ReadonlyArray<unknown>, QueryError> => {
        const operator = graph.operators.find((operator) => operator.label === label)
        if (operator === undefined || operator.node._tag !== "Window") {
          const known = graph.operators.flatMap(({ label, node }) => node._tag === "Window" ? [label] : [])
          return Effect.fail(new OperatorUnknown({ job: name, operator: label, known }))
        }
        const { schema } = operator.node.key
        let identity: Identity = 0
        try {
          if (schema !== undefined) identity = keyIdentity(schema, `Operator "${label}"`)(key)
        } catch (refusal) {
          return Effect.fail(refusal as InvalidKey)
        }
        const partition = partitionOf(identity, settings.partitions)
        const part = engine.layout.components.find(({ stages }) =>
          stages.some(({ operators }) =>
            operators.includes(operator.id)
          )
        )!.id
        return parts.look(part, (attempt) =>
          attempt.inspect(engine.layout.stageOf[operator.id]!, partition, (task) =>
            task.chain.machines.get(label)!.machine.query(identity)))
          .pipe(Effect.flatMap(Option.match({
            onNone: () =>
              Effect.fail(new JobNotRunning({ job: name, state: engine.state })),
            onSome: Effect.succeed
          })))
      })

    const closeIntake = TxRef.set(intake, false)
    const openIntake = Effect.suspend(() => engine.state === "running" ? TxRef.set(intake, true) : Effect.void)
    // Once draining or stopping has begun there is nothing left to pause.
    const pause = Effect.suspend(() => engine.state === "running" ? closeIntake : Effect.void)
    const drain = Effect.suspend(() => {
      if (engine.state !== "running") return Effect.void
      engine.state = "draining"
      // What has been read goes into a checkpoint before sources are cut off: a restart could not read it again.
      return Effect.andThen(closeIntake, engine.checkpoint("running")).pipe(
        Effect.andThen(inlets.drain()),
        Effect.andThen(TxRef.set(intake, true)),
        // A store that fails ends the job, or it would drain for ever; a job at its end needs no draining.
        Effect.catchCause((cause) => isNotRunning(cause) ? Effect.void : Deferred.failCause(stopping, cause)),
        // Once begun it goes on, whoever stops waiting for it; and for as long as the job is there. In the scope of the launch
        // it would be the first to be ended, and who stops the job while that scope closes would wait for it in vain.
        Effect.forkIn(jobScope)
      )
    }).pipe(Effect.uninterruptible)
    let wasPaused = false
    const stop = Effect.gen(function*() {
      if (engine.state !== "running") {
        if (engine.state === "draining") yield* Effect.exit(Deferred.await(ended))
        return
      }
      wasPaused = !intake.value
      yield* closeIntake
      // What is still on its way then is in the checkpoint, and comes out when the job goes on.
      yield* engine.idle
      const exit = yield* Effect.exit(engine.checkpoint("stopped"))
      if (Exit.isFailure(exit)) {
        if (isNotRunning(exit.cause)) return yield* Effect.asVoid(Effect.exit(Deferred.await(ended)))
        return yield* Effect.failCause(exit.cause)
      }
      // What they do not take now they are given when the job goes on.
      yield* engine.delivered
      if (engine.isOver) return
      engine.state = "stopped"
      yield* Deferred.succeed(stopping, undefined)
      yield* Effect.exit(Deferred.await(ended))
    }).pipe(
      // Interrupted: the job goes on.
      Effect.onError(() => wasPaused ? Effect.void : openIntake)
    )
    return {
      await: Deferred.await(ended),
      status: Effect.sync(() => engine.status),
      push: (source, value) => offer(name, graph, inlets, () => engine.state, source, [value]),
      pushAll: (source, values) => offer(name, graph, inlets, () => engine.state, source, values),
      advanceEventTime: (source, eventTime) => advance(name, graph, inlets, () => engine.state, source, eventTime),
      pause,
      resume: openIntake,
      stop,
      checkpoint: engine.checkpoint("running"),
      savepoint: (savepoint) =>
        Effect.flatMap(
          engine.checkpoint("running", savepoint),
          (epoch) => Effect.provideService(atEpoch(name, epoch), CheckpointStore, store)
        ),
      drain: Effect.andThen(drain, Deferred.await(ended)),
      query,
      labelOf: (flow) => {
        const node = behind(edgeOf(flow).node)
        return graph.operators.find((operator) => operator.node === node)?.label ??
          "of a flow that the job does not have"
      }
    }
  }
)

/** What a launch would make of the checkpoint that it finds. */
export const planned: (
  program: Program,
  options: Parameters<typeof preview>[2]
) => Effect.Effect<Upgrade, CheckpointStoreError | CheckpointRefused, CheckpointStore> = Effect.fn("Job.plan")(
  function*(program: Program, options: Parameters<typeof preview>[2]) {
    const store = yield* CheckpointStore
    return yield* Effect.catchIf(
      preview(store, program, options),
      (failure) => failure instanceof Malformed,
      ({ message }) =>
        Effect.fail(
          new CheckpointRefused({
            job: program.name,
            epoch: 0,
            problem: message,
            remedy: "Bring its store back from a copy, or restore a savepoint with Checkpoint.layer"
          })
        )
    )
  }
)

const isNotRunning = (cause: Cause.Cause<unknown>): boolean =>
  Option.exists(Cause.findErrorOption(cause), (error) => error instanceof JobNotRunning)

/** `Flow.only` is no operator: what it passes on is. */
const behind = (node: Node): Node => node._tag === "Only" ? behind(node.input.node) : node
