/** A job while it runs: its parts under supervision, and the handle that the application holds. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as TxRef from "effect/TxRef"
import { CheckpointStore } from "../../CheckpointStore.ts"
import type { ErrorPolicy } from "../../ErrorPolicy.ts"
import { edgeOf, type Flow, type Trait } from "../../Flow.ts"
import { BufferFull, JobNotRunning, OperatorUnknown } from "../../FlowError.ts"
import * as FlowMetrics from "../../FlowMetrics.ts"
import type { Sink, Writer } from "../../Sink.ts"
import type { QueueSource } from "../../Source.ts"
import type { RestartIntensity } from "../../Supervision.ts"
import { type Counts, noCounts } from "../machine/operator.ts"
import { type Graph, kindOf } from "../plan/graph.ts"
import * as layout from "../plan/layout.ts"
import type { Node } from "../plan/node.ts"
import { keyIdentity } from "../state/keyIdentity.ts"
import type { Attempt, BufferStatus, Environment } from "./component.ts"
import { runAttempt } from "./component.ts"
import { awaitRoom, type Inlet, waitUntil } from "./inlet.ts"
import { Inlets } from "./inlets.ts"
import { nodeFileSystem } from "./nodeFileSystem.ts"
import { partitionOf } from "./routers.ts"

export type { BufferStatus } from "./component.ts"

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

export interface OperatorStatus extends Readonly<Counts> {
  readonly operator: string
  readonly kind: string
  readonly partition: number
  /** Event time where the operator's input stands, in epoch milliseconds; −Infinity before the first, Infinity at the end. */
  readonly watermark: number
  /** Live entries of its state. */
  readonly keys: number
}

export interface SinkStatus {
  readonly sink: string
  /** Records written in this attempt. */
  readonly written: number
}

/** A partition of a stage: how often it has committed in this attempt, and how much it took in each time. */
export interface PartitionStatus {
  readonly stage: number
  readonly partition: number
  readonly steps: number
  /** Records, on average. */
  readonly averageBatch: number
}

export interface JobStatus {
  readonly job: string
  readonly state: "running" | "paused" | "draining" | "stopped" | "finished" | "failed" | "interrupted"
  readonly operators: ReadonlyArray<OperatorStatus>
  readonly sinks: ReadonlyArray<SinkStatus>
  readonly buffers: ReadonlyArray<BufferStatus>
  readonly steps: ReadonlyArray<PartitionStatus>
  readonly restarts: number
  readonly checkpoints: number
}

/** The erased form of `Job.Handle`; its doors are typed there. */
export interface RunningJob {
  readonly await: Effect.Effect<void, unknown>
  readonly status: Effect.Effect<JobStatus>
  readonly push: (source: QueueSource<unknown>, value: unknown) => Effect.Effect<void, BufferFull | JobNotRunning>
  readonly pushAll: (source: QueueSource<unknown>, values: Iterable<unknown>) => Effect.Effect<void, BufferFull | JobNotRunning>
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
  readonly stop: Effect.Effect<void>
  readonly drain: Effect.Effect<void, unknown>
  readonly query: (operator: string, key: unknown) => Effect.Effect<ReadonlyArray<unknown>, JobNotRunning | OperatorUnknown>
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
    const context = yield* ambient
    const scope = yield* Effect.scope
    const jobScope = yield* Scope.fork(scope)
    const intake = TxRef.makeUnsafe(true)
    const inlets = new Inlets(graph, settings.partitions, 2 * settings.batchSize, jobScope)
    /** Per part its latest attempt, and whether that one has failed: then nobody may look at its state any more. */
    const attempts: Array<Attempt | undefined> = plan.components.map(() => undefined)
    const lost = plan.components.map(() => false)
    /** Changes whenever an attempt begins or fails, and when the job ends. */
    const turns = TxRef.makeUnsafe(0)
    const turn = TxRef.update(turns, (n) => n + 1)
    let state: JobStatus["state"] = "running"
    let restarts = 0
    let checkpoints = 0

    const runPart = (environment: Environment, component: layout.Component) =>
      Effect.gen(function*() {
        let failures: ReadonlyArray<number> = []
        for (let attempt = 1;; attempt++) {
          const from = yield* store.latest(name, component.id)
          const exit = yield* Effect.exit(
            Effect.provideContext(
              runAttempt(environment, component, attempt, from, (running) => {
                attempts[component.id] = running
                lost[component.id] = false
                return turn
              }),
              context
            )
          )
          if (Exit.isSuccess(exit)) return
          if (Cause.hasInterruptsOnly(exit.cause)) return yield* Effect.failCause(exit.cause)
          lost[component.id] = true
          yield* turn
          const now = yield* Clock.currentTimeMillis
          failures = [...failures.filter((time) => time > now - settings.restarts.withinMillis || time === now), now]
          if (failures.length > settings.restarts.max) return yield* Effect.failCause(exit.cause)
          restarts++
          const pauseMillis = settings.restarts.delayMillis * 2 ** (failures.length - 1)
          yield* Effect.logWarning(`Job "${name}" restarts a part in ${pauseMillis} ms after a failure`, exit.cause)
          if (pauseMillis > 0) yield* Effect.sleep(pauseMillis)
        }
      })

    const status = (): JobStatus => ({
      job: name,
      state: state === "running" && !intake.value ? "paused" : state,
      operators: attempts.flatMap((attempt) => attempt === undefined ? [] : operatorsOf(graph, attempt)),
      sinks: attempts.flatMap((attempt) => attempt?.sinks.map(({ name, written }) => ({ sink: name, written })) ?? []),
      buffers: attempts.flatMap((attempt) => attempt?.buffers ?? []),
      steps: attempts.flatMap((attempt) =>
        attempt?.runners.map(({ making, task }) => ({
          stage: task.stage,
          partition: task.partition,
          steps: making,
          averageBatch: task.taken / Math.max(1, making)
        })) ?? []
      ),
      restarts,
      checkpoints
    })

    const running = Effect.gen(function*() {
      yield* store.clear(name)
      const deadLetters = program.deadLetters === undefined ? undefined : yield* sharedWriter(program.deadLetters, jobScope, context)
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
      yield* Effect.all(plan.components.map((component) => runPart(environment, component)), {
        concurrency: "unbounded",
        discard: true
      })
      if (deadLetters?.end !== undefined) yield* deadLetters.end
    })

    const metrics = FlowMetrics.recorder(name)
    const ended = yield* Deferred.make<void, unknown>()
    const stopping = yield* Deferred.make<void>()
    // The ambient context brings what the types cannot see: a file system for sources and sinks.
    yield* Effect.raceFirst(Effect.provideContext(running, context as Context.Context<FileSystem.FileSystem>), Deferred.await(stopping)).pipe(
      Effect.raceFirst(metrics.every("1 second", () => status())),
      Effect.onExit((exit) =>
        Effect.gen(function*() {
          if (Exit.isFailure(exit)) state = Cause.hasInterruptsOnly(exit.cause) ? "interrupted" : "failed"
          else if (state !== "stopped") state = "finished"
          yield* turn
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
    const isOver = () => state !== "running" && state !== "draining"

    const offer = (source: QueueSource<unknown>) => {
      const operator = graph.operators.find(({ node }) => node._tag === "Source" && node.source === source)
      const named = operator?.label ?? source.description
      const inlet = operator === undefined ? undefined : inlets.queue(operator.label)
      const put = (values: Iterable<unknown>) =>
        Effect.gen(function*() {
          for (const value of values) {
            if (inlet === undefined) return yield* new JobNotRunning({ job: name, state: `not reading from "${named}"` })
            yield* offerOne(name, named, inlet, source.body.onFull, value, () => state)
          }
        }).pipe(Effect.ensuring(inlet?.announce ?? Effect.void))
      return put
    }

    const query = (label: string, key: unknown) =>
      Effect.suspend((): Effect.Effect<ReadonlyArray<unknown>, JobNotRunning | OperatorUnknown> => {
        const operator = graph.operators.find((operator) => operator.label === label)
        if (operator === undefined || operator.node._tag !== "Window") {
          const known = graph.operators.flatMap(({ label, node }) => node._tag === "Window" ? [label] : [])
          return Effect.fail(new OperatorUnknown({ job: name, operator: label, known }))
        }
        const part = plan.components.find(({ stages }) => stages.some(({ operators }) => operators.includes(operator.id)))!.id
        const { schema } = operator.node.key
        const identity = schema === undefined ? 0 : keyIdentity(schema, `Operator "${label}"`)(key)
        const partition = partitionOf(identity, settings.partitions)
        const look = (attempt: Attempt) =>
          attempt.inspect(plan.stageOf[operator.id]!, partition, (task) => task.chain.machines.get(label)!.machine.query(identity))
        const answer: Effect.Effect<ReadonlyArray<unknown>, JobNotRunning> = Effect.suspend(() => {
          if (isOver()) return Effect.fail(new JobNotRunning({ job: name, state }))
          const ready = waitUntil([TxRef.get(turns)], () => isOver() || (attempts[part] !== undefined && !lost[part]))
          return Effect.flatMap(Effect.andThen(ready, whileLive(part, look)), Option.match({ onNone: () => answer, onSome: Effect.succeed }))
        })
        return answer
      })

    /** Does something with a part's attempt, unless there is none, or it fails, or the job ends. */
    const whileLive = <A>(part: number, use: (attempt: Attempt) => Effect.Effect<A>): Effect.Effect<Option.Option<A>> =>
      Effect.suspend(() => {
        const attempt = attempts[part]
        const isLive = () => attempt !== undefined && attempts[part] === attempt && !lost[part] && !isOver()
        if (attempt === undefined || !isLive()) return Effect.succeedNone
        return Effect.raceFirst(
          Effect.asSome(use(attempt)),
          Effect.andThen(waitUntil([TxRef.get(turns)], () => !isLive()), Effect.succeedNone)
        )
      })
    /** Where a part is between two attempts, its last checkpoint stands. */
    const checkpoint = Effect.forEach(plan.components, ({ id }) => whileLive(id, (attempt) => attempt.checkpoint), {
      discard: true
    })

    const pause = TxRef.set(intake, false)
    const drain = Effect.suspend(() => {
      if (state !== "running") return Effect.void
      state = "draining"
      // What has been read goes into a checkpoint before sources are cut off: a restart could not read it again.
      return Effect.andThen(pause, checkpoint).pipe(
        Effect.andThen(inlets.drain()),
        Effect.andThen(TxRef.set(intake, true)),
        // Once begun it goes on, whoever stops waiting for it.
        Effect.forkIn(scope)
      )
    })
    return {
      await: Deferred.await(ended),
      status: Effect.sync(status),
      push: (source, value) => offer(source)([value]),
      pushAll: (source, values) => offer(source)(values),
      pause,
      resume: TxRef.set(intake, true),
      stop: Effect.gen(function*() {
        if (state !== "running") return
        yield* pause
        yield* checkpoint
        if (isOver()) return
        state = "stopped"
        yield* Deferred.succeed(stopping, undefined)
        yield* Effect.exit(Deferred.await(ended))
      }),
      drain: Effect.andThen(drain, Deferred.await(ended)),
      query,
      labelOf: (flow) => {
        const node = edgeOf(flow).node
        return graph.operators.find((operator) => operator.node === behind(node))?.label ?? "a flow of another job"
      }
    }
  }
)

/** `Flow.only` is no operator: what it passes on is. */
const behind = (node: Node): Node => node._tag === "Only" ? behind(node.input.node) : node

/**
 * The caller's context, with Node's file system where it brings none. Not its scope: whoever opens something says how
 * long it stays open.
 */
const ambient = Effect.gen(function*() {
  const context = Context.omit(Scope.Scope)(yield* Effect.context<Scope.Scope>())
  const own = Context.getOption(context, FileSystem.FileSystem)
  return Option.isSome(own) ? context : Context.add(context, FileSystem.FileSystem, nodeFileSystem)
})

const openSink = (
  sink: Sink<never, unknown, unknown>,
  attempt: number,
  context: Context.Context<never>
): Effect.Effect<Writer<unknown, unknown>, unknown, Scope.Scope> =>
  // The context holds what the sink asks for: the type of `Job.run` has seen to it.
  Effect.provideContext(
    sink.open({ attempt }) as Effect.Effect<Writer<unknown, unknown>, unknown, Scope.Scope | FileSystem.FileSystem>,
    context as Context.Context<FileSystem.FileSystem>
  )

/** One writer for all parts of the job, which take turns. */
const sharedWriter = (sink: Sink<never, unknown, unknown>, jobScope: Scope.Scope, context: Context.Context<never>) =>
  Effect.gen(function*() {
    const writer = yield* Scope.provide(openSink(sink, 1, context), jobScope)
    const turns = yield* Semaphore.make(1)
    const shared: Writer<unknown, unknown> = { write: (rows) => turns.withPermits(1)(writer.write(rows)) }
    return writer.end === undefined ? shared : { ...shared, end: writer.end }
  })

const offerOne = (
  job: string,
  source: string,
  inlet: Inlet,
  onFull: QueueSource<unknown>["body"]["onFull"],
  value: unknown,
  state: () => string
): Effect.Effect<void, BufferFull | JobNotRunning> =>
  Effect.suspend((): Effect.Effect<void, BufferFull | JobNotRunning> => {
    if (inlet.isClosed) return Effect.fail(new JobNotRunning({ job, state: state() }))
    if (inlet.fill < inlet.capacity) {
      inlet.push(value)
      return Effect.void
    }
    switch (onFull) {
      case "fail":
        return Effect.fail(new BufferFull({ source, capacity: inlet.capacity }))
      case "drop-newest":
        inlet.dropped++
        return Effect.void
      case "drop-oldest":
        inlet.dropOldest()
        inlet.push(value)
        return Effect.void
      case "suspend":
        return Effect.andThen(
          Effect.andThen(inlet.announce, awaitRoom(inlet)),
          offerOne(job, source, inlet, onFull, value, state)
        )
    }
  })

/** An operator behind an exchange works in two places, one before it and one behind: in the status it is one. */
const operatorsOf = (graph: Graph, attempt: Attempt): ReadonlyArray<OperatorStatus> =>
  attempt.runners.flatMap(({ task }) =>
    task.chain.sites.slice(0, task.chain.own).map(({ counts, label }): OperatorStatus => {
      const operator = graph.operators.find((operator) => operator.label === label)!
      const all = { ...counts }
      for (const other of attempt.runners) {
        if (other.task.partition !== task.partition) continue
        for (const sending of other.task.chain.sites.slice(other.task.chain.own)) {
          if (sending.label === label) for (const count of countNames) all[count] += sending.counts[count]
        }
      }
      return {
        operator: label,
        kind: kindOf(operator.node),
        partition: task.partition,
        ...all,
        watermark: task.chain.watermarkOf(operator.id),
        keys: task.chain.machines.get(label)?.machine.size ?? 0
      }
    })
  )

const countNames = Object.keys(noCounts()) as ReadonlyArray<keyof Counts>

