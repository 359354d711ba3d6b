/** A job at work: what it is made of, from the first look into the store to the last row in the last sink. */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import type * as Scope from "effect/Scope"
import * as TxRef from "effect/TxRef"
import type { CheckpointStore } from "../../CheckpointStore.ts"
import { JobNotRunning } from "../../FlowError.ts"
import type { JobStatus } from "../../JobStatus.ts"
import type { Writer } from "../../Sink.ts"
import * as layouts from "../plan/layout.ts"
import type { Applier } from "./applier.ts"
import type { Environment } from "./component.ts"
import type { Ending } from "./coordinator.ts"
import * as epochSinks from "./epochSinks.ts"
import { Inlets } from "./inlets.ts"
import type { Program, Settings } from "./job.ts"
import type { Destination } from "./outputs.ts"
import { Parts } from "./parts.ts"
import { start, type Started } from "./startup.ts"
import { statusOf } from "./status.ts"
import { openSink, sharedWriter } from "./surroundings.ts"

/** How long a job that ends waits for rows under way, and for its sinks to take what is durable. */
const lastChance = "5 seconds"

const byEpoch = (applier: Applier): Destination => ({ _tag: "ByEpoch", applier })
const atOnce = (writer: Writer<unknown, unknown>): Destination => ({ _tag: "AtOnce", writer })

export class Engine {
  state: JobStatus["state"] = "running"
  readonly layout: layouts.Layout
  readonly parts: Parts
  readonly inlets: Inlets
  /** Whether sources may be read. */
  readonly intake = TxRef.makeUnsafe(true)
  /** How the job has ended. */
  readonly ended = Deferred.makeUnsafe<void, unknown>()
  /** The last epoch has begun: there is none after it. */
  private isEnding = false
  private readonly begun = Deferred.makeUnsafe<Started, unknown>()
  private started: Started | undefined
  private readonly program: Program
  private readonly settings: Settings
  private readonly store: CheckpointStore["Service"]
  private readonly context: Context.Context<FileSystem.FileSystem>
  private readonly scope: Scope.Scope

  constructor(
    program: Program,
    settings: Settings,
    store: CheckpointStore["Service"],
    context: Context.Context<FileSystem.FileSystem>,
    /** Closes when the job has ended. */
    scope: Scope.Scope
  ) {
    this.program = program
    this.settings = settings
    this.store = store
    this.context = context
    this.scope = scope
    this.layout = layouts.make(program.graph, settings.partitions)
    this.parts = new Parts(this.layout.components, () => this.isOver, settings.sabotage)
    this.inlets = new Inlets(program.graph, settings.partitions, 2 * settings.batchSize, scope)
  }

  get isOver(): boolean {
    return this.state !== "running" && this.state !== "draining"
  }

  get status(): JobStatus {
    const { intake, parts, program, started, state } = this
    return {
      job: program.name,
      state: state === "running" && !intake.value ? "paused" : state,
      ...statusOf(program.graph, parts.attempts, this.appliers),
      restarts: parts.restarts,
      checkpoints: started?.coordinator.committed ?? 0,
      lastCheckpoint: started?.coordinator.figures,
      pendingBytes: this.keptBytes
    }
  }

  /** Runs the job until its inputs end, or it fails. */
  get run(): Effect.Effect<void, unknown> {
    return Effect.gen({ self: this }, function*() {
      const { context, parts, program, scope, settings, store } = this
      const started = this.started = yield* start(program, settings, store, parts, scope, context)
      const { coordinator, isFinished, standing } = started
      this.isEnding = isFinished
      yield* Deferred.succeed(this.begun, started)
      if (isFinished) {
        yield* Effect.logInfo(`Job "${program.name}" has finished before: there is nothing to go on with`)
        return yield* this.settle(started)
      }
      const deadLetters = yield* this.openDeadLetters(started)
      const environment = this.environment(started, deadLetters)
      yield* Effect.raceFirst(
        parts.run(environment, standing, settings.restarts, context),
        coordinator.every(settings.checkpointEvery, () => this.isPressed)
      )
      this.isEnding = true
      yield* coordinator.checkpoint("finished")
      if (deadLetters?._tag === "AtOnce" && deadLetters.writer.end !== undefined) yield* deadLetters.writer.end
      yield* this.settle(started)
    }).pipe(
      Effect.onError((cause) => Deferred.failCause(this.begun, cause)),
      // What is durable has been promised: a job that fails hands it over if its sinks take it.
      Effect.tapCause((cause) => Cause.hasInterruptsOnly(cause) ? Effect.void : this.delivered),
      Effect.raceFirst(this.delivering),
      Effect.provideContext(this.context)
    )
  }

  /** Gives sinks all that they are owed, and makes a note of it: whoever runs the job again owes them nothing. */
  private settle({ appliers, coordinator }: Started): Effect.Effect<void, unknown> {
    return Effect.suspend(() => {
      const { isOwing } = coordinator
      return Effect.andThen(
        epochSinks.settled(appliers),
        isOwing ? Effect.asVoid(coordinator.checkpoint("finished")) : Effect.void
      )
    })
  }

  /** Lets what was taken in come to the ends of its flows, if it does so soon. Sources must not be read meanwhile. */
  get idle(): Effect.Effect<void> {
    return Effect.andThen(Effect.exit(Deferred.await(this.begun)), this.parts.awaitIdle()).pipe(
      Effect.raceFirst(Effect.exit(Deferred.await(this.ended))),
      Effect.timeoutOption(lastChance),
      Effect.asVoid
    )
  }

  /** Gives sinks what is durable, if they take it soon. */
  get delivered(): Effect.Effect<void> {
    return Effect.suspend(() => Effect.ignore(Effect.timeout(epochSinks.settled(this.appliers), lastChance)))
  }

  /** After `run`, however it ended. */
  close(exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      if (Exit.isFailure(exit)) this.state = Cause.hasInterruptsOnly(exit.cause) ? "interrupted" : "failed"
      else if (this.state !== "stopped") this.state = "finished"
      yield* this.parts.turn
      for (const { left, source } of this.inlets.unread) {
        yield* Effect.logWarning(
          `Job "${this.program.name}" ends with ${left} records that were offered to "${source}" and not read`
        )
      }
      // Sources that outlive attempts end with the job; what waits to push learns that nobody listens.
      yield* this.inlets.drain()
      yield* this.inlets.abandon
    })
  }

  /** Makes an epoch, as soon as the job has begun. `JobNotRunning` where there will be none any more. */
  checkpoint(ending: Ending, savepoint?: string): Effect.Effect<number, unknown> {
    const over = Effect.suspend(() =>
      Effect.fail(new JobNotRunning({ job: this.program.name, state: this.isOver ? this.state : "at its end" }))
    )
    const overOnceEnded = Effect.andThen(Effect.exit(Deferred.await(this.ended)), over)
    const made = Effect.flatMap(
      Deferred.await(this.begun),
      ({ coordinator }) => this.isEnding || this.isOver ? over : coordinator.checkpoint(ending, savepoint)
    )
    return Effect.suspend(() => this.isOver ? over : Effect.raceFirst(made, overOnceEnded)).pipe(
      // The job's end interrupts an epoch under way, and not whoever waits for it.
      Effect.catchCause((cause) => Cause.hasInterruptsOnly(cause) ? overOnceEnded : Effect.failCause(cause))
    )
  }

  private get appliers(): epochSinks.Appliers {
    return this.started?.appliers ?? new Map()
  }

  private get openBytes(): number {
    return this.parts.live.reduce(
      (sum, { outputs }) => outputs.reduce((sum, { openBytes }) => sum + openBytes, sum),
      0
    )
  }

  private get keptBytes(): number {
    return this.openBytes + (this.started?.coordinator.sealedBytes ?? 0) + epochSinks.pendingBytes(this.appliers)
  }

  private get isPressed(): boolean {
    const { maxPendingBytes } = this.settings
    return this.parts.live.some((attempt) => attempt.isPressed)
      || (this.keptBytes >= maxPendingBytes / 2 && this.openBytes >= maxPendingBytes / 4)
  }

  /** Somebody waits for a sink: because no more can be kept, or because only sinks have something left to do. */
  private get isWaiting(): boolean {
    return this.isEnding || this.parts.live.some(({ outputs }) => outputs.some(({ isStarved }) => isStarved))
  }

  private get delivering(): Effect.Effect<never, unknown> {
    return Effect.matchCauseEffect(Deferred.await(this.begun), {
      // `run` says why.
      onFailure: () => Effect.never,
      onSuccess: ({ appliers }) =>
        Effect.raceFirst(
          epochSinks.run(appliers),
          epochSinks.stalled(appliers, () => this.isWaiting, this.settings.sinkTimeoutMillis)
        )
    })
  }

  private openDeadLetters({ appliers, isFresh }: Started): Effect.Effect<Destination | undefined, unknown> {
    const { context, program: { deadLetters }, scope } = this
    if (deadLetters === undefined) return Effect.undefined
    const applier = appliers.get(undefined)
    return applier === undefined
      ? Effect.map(sharedWriter(deadLetters, { attempt: 1, isFresh }, scope, context), atOnce)
      : Effect.succeed(byEpoch(applier))
  }

  private environment(
    { appliers, coordinator, isFresh }: Started,
    deadLetters: Destination | undefined
  ): Environment {
    const { context, inlets, intake, layout, program, settings } = this
    const { graph } = program
    const most = settings.maxPendingBytes
    // An attempt may fail before it has opened all sinks: those of a job that begins from nothing are then still to begin.
    const hasBegun = new Set<number>()
    return {
      job: program.name,
      graph,
      layout,
      batchRows: settings.batchSize,
      bufferRows: settings.bufferSize,
      policy: program.policy,
      inlets,
      openOutlet: (outlet, attempt) => {
        const applier = appliers.get(outlet)
        if (applier !== undefined) return Effect.succeed(byEpoch(applier))
        const opening = { attempt: hasBegun.has(outlet) ? attempt : 1, isFresh }
        return Effect.map(openSink(graph.outlets[outlet]!.sink, opening, context), (writer) => {
          hasBegun.add(outlet)
          return atOnce(writer)
        })
      },
      deadLetters,
      intake,
      press: coordinator.press,
      credit: {
        hasCredit: () => this.keptBytes < most,
        credit: [coordinator.changes, ...Array.from(appliers.values(), ({ changes }) => changes)],
        press: Effect.suspend(() => this.keptBytes >= most / 2 ? coordinator.press : Effect.void)
      }
    }
  }
}
