/** One simulated run: lives of a job one after the other, and what came of them. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import { hasProperty } from "effect/Predicate"
import * as Random from "effect/Random"
import { MinimumLogLevel } from "effect/References"
import { CheckpointStore, Fenced } from "../../CheckpointStore.ts"
import { SinkStalled } from "../../FlowError.ts"
import * as Job from "../../Job.ts"
import type { MemorySink } from "../../Sink.ts"
import { SinkFenced } from "../../Sink.ts"
import * as Supervision from "../../Supervision.ts"
import { Livelock } from "../../testing/SeededScheduler.ts"
import { fileStore } from "../stores/fileStore.ts"
import { memoryStore } from "../stores/memoryStore.ts"
import { chance, whole } from "./chance.ts"
import { FolderDisk } from "./disk.ts"
import { History, Life, SimulatedFault } from "./life.ts"
import type { Fault, Faults, Place, Plan } from "./plan.ts"
import { Universe } from "./universe.ts"
import type { Outputs } from "./verdict.ts"
import * as wrapping from "./wrapping.ts"

type AnyJob = Job.Job<unknown, unknown>

/** What is simulated, as one run knows it. */
export interface Subject {
  readonly job: AnyJob | (() => AnyJob)
  readonly outputs?: Effect.Effect<Outputs, unknown, unknown> | undefined
  readonly records?: Readonly<Record<string, ReadonlyArray<unknown>>> | undefined
  readonly files?: Readonly<Record<string, string>> | undefined
}

export interface Surroundings {
  readonly context: Context.Context<never>
  readonly options: Job.RunOptions
  /** How long the life without faults may take, and any other before it is killed. */
  readonly patienceMillis: number
  readonly maxSteps: number
}

/** How a run ended, if not as it should. */
export type Trouble =
  | { readonly _tag: "Failed"; readonly life: number; readonly message: string }
  | { readonly _tag: "Stuck"; readonly message: string }

export interface Ran {
  /** The plan, with the faults that have struck. */
  readonly plan: Plan
  readonly log: ReadonlyArray<string>
  readonly nearby: ReadonlyMap<Fault, ReadonlyArray<Place>>
  readonly seen: Readonly<Record<string, number>>
  readonly fingerprint: string
  readonly outputs: Outputs
  readonly trouble: Trouble | undefined
  readonly job: AnyJob
  readonly virtualMillis: number
}

/** After the last life, those that were paused have so long. */
const afterwards = "20 seconds"

const isMemory = (sink: unknown): sink is MemorySink<unknown> =>
  hasProperty(sink, "contents") && Effect.isEffect(sink.contents)

/** The sinks of a job by name whose rows can be read without being told how. */
export const readable = ({ program: { deadLetters, graph } }: AnyJob): ReadonlyMap<string, MemorySink<unknown>> => {
  const named = [
    ...graph.outlets.map(({ name, sink }) => [name, sink] as const),
    [wrapping.lettersName, deadLetters] as const
  ]
  return new Map(named.flatMap(([name, sink]) => isMemory(sink) ? [[name, sink] as const] : []))
}

/**
 * Nothing keeps a process that was paused from writing to it in the middle of a call: not where there is no marker, and
 * not in a file, where a look and a write are never one. That is known, so it is not looked for.
 */
const isUnfenced = ({ byEpoch, sink }: AnyJob["program"]["graph"]["outlets"][number]): boolean =>
  byEpoch && (sink.guarantee === "idempotent" || sink.description.startsWith("ndjson "))

/** Nothing but what the simulation has done to it. */
const isExpected = (cause: Cause.Cause<unknown>, life: Life): boolean => {
  const error = Cause.squash(cause)
  for (let inner: unknown = error, depth = 0; depth < 8; depth++) {
    if (inner instanceof SimulatedFault) return true
    if (life.isOvertaken && (inner instanceof Fenced || inner instanceof SinkFenced)) return true
    if (life.hasSuffered && inner instanceof SinkStalled && inner.cause === undefined) return true
    inner = hasProperty(inner, "cause") ? inner.cause : undefined
  }
  return false
}

/** What the job says of who waits for what. */
const waits = (status: Job.JobStatus | undefined, life: Life): string => {
  const lines = [...life.waitsFor]
  if (status !== undefined) {
    lines.push(`the job is ${status.state}, with ${status.checkpoints} checkpoints and ${status.restarts} restarts`)
    for (const { pendingBytes, sink } of status.sinks) {
      if (pendingBytes > 0) lines.push(`sink "${sink}" is owed ${pendingBytes} bytes`)
    }
    for (const { capacity, fill, name } of status.buffers) {
      if (fill > 0) lines.push(`${name} holds ${fill} of ${capacity} records`)
    }
    const watermarks = new Map<string, number>()
    for (const { operator, watermark } of status.operators) {
      watermarks.set(operator, Math.min(watermark, watermarks.get(operator) ?? Infinity))
    }
    const behind = Array.from(watermarks).filter(([, watermark]) => watermark !== Infinity)
    if (behind.length > 0) {
      lines.push(`event time stands at ${behind.map(([operator, at]) => `${at} before "${operator}"`).join(", ")}`)
    }
  }
  return lines.map((line) => `    ${line}`).join("\n")
}

/** Runs a subject by a plan; where `faults` are given, chance adds its own. */
export const runOnce = async (
  subject: Subject,
  plan: Plan,
  faults: Faults | undefined,
  { context, maxSteps, options, patienceMillis }: Surroundings
): Promise<Ran> => {
  const universe = new Universe(plan.seed, plan.preempt, maxSteps)
  const disk = new FolderDisk()
  for (const [path, content] of Object.entries(subject.files ?? {})) disk.write(path, content)
  const history = new History(universe, disk, plan.seed, faults, plan.faults)
  const ledger = new wrapping.Ledger(history)
  const memory = memoryStore()
  const next = chance(plan.seed, 4)
  const random: Random.Random = {
    nextIntUnsafe: () => whole(next, -(2 ** 31), 2 ** 31),
    nextDoubleUnsafe: next
  }
  const base = Context.merge(
    context,
    Context.make(FileSystem.FileSystem, disk.fileSystem).pipe(
      Context.add(Random.Random, random),
      Context.add(MinimumLogLevel, "None" as const)
    )
  )
  // Opened beforehand, because it loads modules of Node, which takes a time that no seed decides. One for each life, as each
  // process opens it anew.
  const stores = plan.store === "memory"
    ? plan.partitions.map(() => memory)
    : await Promise.all(
      plan.partitions.map(() =>
        Effect.runPromise(Effect.provideService(fileStore("/checkpoints"), FileSystem.FileSystem, disk.fileSystem))
      )
    )
  const made = () => typeof subject.job === "function" ? subject.job() : subject.job
  let job = made()
  history.canPause = job.program.graph.outlets.every((outlet) => !isUnfenced(outlet))

  /** Lives until it ends, or is ended. Answers with nothing where the next life is to go on. */
  const live = Effect.fnUntraced(function*(number: number): Effect.fn.Return<Trouble | "finished" | undefined> {
    const isFinal = number === plan.partitions.length
    const partitions = plan.partitions[number - 1]!
    const life = new Life(history, number, isFinal)
    const { strand } = life
    const previous = history.asleep.slice()
    for (const asleep of previous) life.wakes(asleep, asleep.wakesAfter)
    life.onCrash = () => ledger.crash(life)
    if (number > 1) job = made()
    ledger.launch(life, partitions)
    if (isFinal) history.say(`life ${number}: without faults`)
    const settings: Job.RunOptions = {
      batchSize: plan.batchSize,
      bufferSize: plan.bufferSize,
      checkpointEvery: Duration.millis(
        isFinal ? Math.max(100, plan.checkpointEveryMillis) : plan.checkpointEveryMillis
      ),
      retain: plan.retain,
      sinkTimeout: "10 seconds",
      restarts: Supervision.restarts({ max: 3, within: "1 minute" }),
      ...options,
      partitions
    }
    const own = base.pipe(
      Context.add(Clock.Clock, strand.clock),
      Context.add(CheckpointStore, wrapping.store(life, ledger, stores[number - 1]!))
    ) as Context.Context<unknown>
    let handle: Job.Handle<unknown> | undefined
    const program = Effect.scoped(
      Effect.flatMap(
        Job.launch(wrapping.wrapped(job, life, ledger, plan, subject.records ?? {}), settings),
        (launched) => {
          handle = launched
          return launched.await
        }
      )
    )
    const forked = <A, E>(effect: Effect.Effect<A, E, never>) =>
      Effect.runForkWith(own)(effect, { scheduler: strand.scheduler })
    const over = Effect.callback<Exit.Exit<unknown, unknown> | "crashed" | "paused">((resume) => {
      const tell = (how: Exit.Exit<unknown, unknown> | "crashed" | "paused") => resume(Effect.succeed(how))
      life.onOver = tell
      life.onStop = () => {
        if (strand.isGoing && handle !== undefined) forked(Effect.ignoreCause(handle.stop))
      }
      // The context holds what the job asks for: the type of `run` has seen to it.
      universe.soon(() =>
        forked(program as Effect.Effect<void, unknown>).addObserver((exit) => {
          if (strand.isGoing) universe.soon(() => tell(exit))
        })
      )
    })
    const how = yield* Effect.timeoutOption(over, Duration.millis(patienceMillis))
    if (how._tag === "None") {
      const status = handle === undefined ? undefined : yield* handle.status
      strand.end()
      if (isFinal) return { _tag: "Stuck", message: waits(status, life) }
      history.say(`life ${number}: is killed, for it has not ended`)
      history.note("killed after a long time")
      return undefined
    }
    if (handle !== undefined && (yield* handle.status).restarts > 0) history.note("restart of a part")
    if (!Exit.isExit(how.value)) return undefined
    strand.end()
    if (Exit.isSuccess(how.value)) {
      const { state } = yield* handle!.status
      return state === "finished" ? "finished" : undefined
    }
    const { cause } = how.value
    const error = Cause.squash(cause)
    const message = error instanceof Error ? `${error.name}: ${error.message}` : Cause.pretty(cause)
    if (isFinal || !isExpected(cause, life)) return { _tag: "Failed", life: number, message }
    history.say(`life ${number}: the job fails: ${message}`)
    history.note("job failed and was launched again")
    return undefined
  })

  const hasPaused = () => history.struck.some(({ does }) => does === "pause")
  const all = Effect.gen(function*() {
    let trouble: Trouble | undefined
    let number = 1
    while (true) {
      const came = yield* live(number)
      if (typeof came === "object") {
        trouble = came
        break
      }
      if (number === plan.partitions.length) break
      // What is left is the life without faults, which must find nothing to do.
      number = came === "finished" ? plan.partitions.length : number + 1
    }
    while (history.asleep.length > 0) history.asleep[0]!.wake()
    if (hasPaused()) yield* Effect.sleep(afterwards)
    if (trouble !== undefined) return { trouble, outputs: {} }
    const outputs: Record<string, ReadonlyArray<unknown>> = {}
    for (const [name, { contents }] of readable(job)) outputs[name] = yield* contents
    if (subject.outputs !== undefined) {
      Object.assign(outputs, yield* subject.outputs as Effect.Effect<Outputs, unknown>)
    }
    return { trouble, outputs }
  }).pipe(
    Effect.provideContext(
      Context.merge(base, Context.make(Clock.Clock, universe.clock)) as Context.Context<never>
    )
  )

  const came = await universe.run(all).then(
    (exit) =>
      Exit.isSuccess(exit) ? exit.value : {
        trouble: { _tag: "Failed", life: 0, message: Cause.pretty(exit.cause) } as const,
        outputs: {}
      },
    (error: unknown) => ({
      trouble: {
        _tag: "Stuck",
        message: `    ${error instanceof Livelock || error instanceof Error ? error.message : String(error)}`
      } as const,
      outputs: {}
    })
  )
  return {
    ...came,
    job,
    plan: { ...plan, faults: history.struck },
    log: history.log,
    nearby: history.nearby,
    seen: history.seen,
    fingerprint: `${(universe.scheduler.fingerprint >>> 0).toString(16)}-${(history.hash >>> 0).toString(16)}`,
    virtualMillis: Math.round(universe.nowMillis)
  }
}
