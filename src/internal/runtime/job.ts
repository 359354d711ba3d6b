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
import { CheckpointStore } from "../../CheckpointStore.ts"
import type { ErrorPolicy } from "../../ErrorPolicy.ts"
import { edgeOf, type Flow, type Trait } from "../../Flow.ts"
import { type BufferFull, type InvalidKey, JobNotRunning, OperatorUnknown } from "../../FlowError.ts"
import * as FlowMetrics from "../../FlowMetrics.ts"
import type { JobStatus } from "../../JobStatus.ts"
import type { Sink } from "../../Sink.ts"
import type { QueueSource } from "../../Source.ts"
import type { RestartIntensity } from "../../Supervision.ts"
import type { Graph } from "../plan/graph.ts"
import * as layout from "../plan/layout.ts"
import type { Node } from "../plan/node.ts"
import { type Identity, keyIdentity } from "../state/keyIdentity.ts"
import type { Environment } from "./component.ts"
import { Inlets } from "./inlets.ts"
import { offer } from "./offers.ts"
import { Parts } from "./parts.ts"
import { partitionOf } from "./routers.ts"
import { statusOf } from "./status.ts"
import { ambient, openSink, sharedWriter } from "./surroundings.ts"

/** What `Job.make` leaves: all that is needed to run. */
export interface Program {
  readonly name: string
  readonly graph: Graph
  readonly policy: ErrorPolicy
  readonly deadLetters: Sink<never, unknown, unknown> | undefined
}

export interface Settings {
  readonly partitions: number
  readonly batchSize: number
  readonly bufferSize: number
  readonly checkpointEvery: Duration.Input
  readonly restarts: RestartIntensity
  readonly sabotage?: NonNullable<Environment["sabotage"]>
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
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
  readonly stop: Effect.Effect<void>
  readonly drain: Effect.Effect<void, unknown>
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
    const plan = layout.make(graph, settings.partitions)
    const store = yield* CheckpointStore
    // What the types cannot see: a file system for sources and sinks, and all that the job's own channels have counted.
    const context = (yield* ambient) as Context.Context<FileSystem.FileSystem>
    const scope = yield* Effect.scope
    const jobScope = yield* Scope.fork(scope)
    const intake = TxRef.makeUnsafe(true)
    const inlets = new Inlets(graph, settings.partitions, 2 * settings.batchSize, jobScope)
    let state: JobStatus["state"] = "running"
    let checkpoints = 0
    const isOver = () => state !== "running" && state !== "draining"
    const parts = new Parts(plan.components, isOver)

    const status = (): JobStatus => ({
      job: name,
      state: state === "running" && !intake.value ? "paused" : state,
      ...statusOf(graph, parts.attempts),
      restarts: parts.restarts,
      checkpoints
    })

    const running = Effect.gen(function*() {
      yield* store.clear(name)
      const deadLetters = program.deadLetters === undefined
        ? undefined
        : yield* sharedWriter(program.deadLetters, jobScope, context)
      const environment: Environment = {
        job: name,
        graph,
        layout: plan,
        batchRows: settings.batchSize,
        bufferRows: settings.bufferSize,
        checkpointEvery: settings.checkpointEvery,
        policy: program.policy,
        inlets,
        openSink: (outlet, attempt) => openSink(graph.outlets[outlet]!.sink, attempt, context),
        // Every part writes to it, and only the job knows when the last row was written.
        deadLetters: deadLetters && { write: deadLetters.write },
        intake,
        commit: (checkpoint) => Effect.andThen(store.commit(checkpoint), Effect.sync(() => void checkpoints++)),
        ...settings.sabotage === undefined ? {} : { sabotage: settings.sabotage }
      }
      yield* parts.run(environment, store, settings.restarts, context)
      if (deadLetters?.end !== undefined) yield* deadLetters.end
    })

    const metrics = FlowMetrics.recorder(name)
    const ended = yield* Deferred.make<void, unknown>()
    const stopping = yield* Deferred.make<void, unknown>()
    yield* Effect.raceFirst(Effect.provideContext(running, context), Deferred.await(stopping)).pipe(
      Effect.raceFirst(metrics.every("1 second", status)),
      Effect.onExit((exit) =>
        Effect.gen(function*() {
          if (Exit.isFailure(exit)) state = Cause.hasInterruptsOnly(exit.cause) ? "interrupted" : "failed"
          else if (state !== "stopped") state = "finished"
          yield* parts.turn
          yield* metrics.record(status())
          // Sources that outlive attempts end with the job; what waits to push learns that nobody listens.
          yield* inlets.drain()
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
        const part = plan.components.find(({ stages }) =>
          stages.some(({ operators }) => operators.includes(operator.id))
        )!.id
        return parts.look(part, (attempt) =>
          attempt.inspect(plan.stageOf[operator.id]!, partition, (task) =>
            task.chain.machines.get(label)!.machine.query(identity)))
          .pipe(Effect.flatMap(Option.match({
            onNone: () =>
              Effect.fail(new JobNotRunning({ job: name, state })),
            onSome: Effect.succeed
          })))
      })

    const closeIntake = TxRef.set(intake, false)
    // Once draining or stopping has begun there is nothing left to pause.
    const pause = Effect.suspend(() => state === "running" ? closeIntake : Effect.void)
    const drain = Effect.suspend(() => {
      if (state !== "running") return Effect.void
      state = "draining"
      // What has been read goes into a checkpoint before sources are cut off: a restart could not read it again.
      return Effect.andThen(closeIntake, parts.checkpoint).pipe(
        Effect.andThen(inlets.drain()),
        Effect.andThen(TxRef.set(intake, true)),
        // A store that fails ends the job, or it would drain for ever.
        Effect.catchCause((cause) => Deferred.failCause(stopping, cause)),
        // Once begun it goes on, whoever stops waiting for it.
        Effect.forkIn(scope)
      )
    })
    const stop = Effect.gen(function*() {
      if (state !== "running") return
      yield* closeIntake
      yield* parts.checkpoint
      if (isOver()) return
      state = "stopped"
      yield* Deferred.succeed(stopping, undefined)
      yield* Effect.exit(Deferred.await(ended))
    }).pipe(
      // Interrupted, or refused by the store: the job goes on.
      Effect.onError(() => state === "running" ? TxRef.set(intake, true) : Effect.void)
    )
    return {
      await: Deferred.await(ended),
      status: Effect.sync(status),
      push: (source, value) => offer(name, graph, inlets, () => state, source, [value]),
      pushAll: (source, values) => offer(name, graph, inlets, () => state, source, values),
      pause,
      resume: Effect.suspend(() => state === "running" ? TxRef.set(intake, true) : Effect.void),
      stop,
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

/** `Flow.only` is no operator: what it passes on is. */
const behind = (node: Node): Node => node._tag === "Only" ? behind(node.input.node) : node
