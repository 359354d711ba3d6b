/** The connected parts of a job: each runs, fails and is restarted alone. */
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as TxRef from "effect/TxRef"
import type { RestartIntensity } from "../../Supervision.ts"
import type { Component } from "../plan/layout.ts"
import { type Attempt, type Environment, runAttempt } from "./component.ts"
import { waitUntil } from "./inlet.ts"
import type { PartStanding } from "./standing.ts"

export class Parts {
  /** How often a part was restarted. */
  restarts = 0
  /** For the test of the tests: pictures are taken while partitions are in step. */
  readonly sabotage: "cut ignores steps" | undefined
  private readonly components: ReadonlyArray<Component>
  /** Per part its latest attempt, and whether that one has failed: then nobody may look at its state any more. */
  private readonly latest: Array<Attempt | undefined>
  private readonly lost: Array<boolean>
  /** Changes whenever an attempt begins or fails, and when the job ends. */
  private readonly turns = TxRef.makeUnsafe(0)
  private readonly isOver: () => boolean

  constructor(components: ReadonlyArray<Component>, isOver: () => boolean, sabotage?: "cut ignores steps") {
    this.components = components
    this.latest = components.map(() => undefined)
    this.lost = components.map(() => false)
    this.isOver = isOver
    this.sabotage = sabotage
  }

  get count(): number {
    return this.components.length
  }

  get attempts(): ReadonlyArray<Attempt> {
    return this.latest.filter((attempt) => attempt !== undefined)
  }

  /** Those that run, or have run to their end: what they hold is true. */
  get live(): ReadonlyArray<Attempt> {
    return this.latest.filter((attempt, part) => attempt !== undefined && !this.lost[part]) as ReadonlyArray<Attempt>
  }

  /** Read this to hear of attempts that begin or fail. */
  get changes(): Effect.Effect<number> {
    return TxRef.get(this.turns)
  }

  /** Tells those who wait that something has begun or ended. */
  get turn(): Effect.Effect<void> {
    return TxRef.update(this.turns, (n) => n + 1)
  }

  /** Waits until nothing is on its way in any part that runs. Sources must not be read meanwhile. */
  awaitIdle(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { live } = this
      const isSame = () => this.live.length === live.length && this.live.every((attempt, i) => attempt === live[i])
      const isIdle = () => live.every((attempt) => attempt.isIdle)
      return Effect.flatMap(
        waitUntil([this.changes, ...live.flatMap(({ moves }) => moves)], () => !isSame() || isIdle()),
        () => isSame() ? Effect.void : this.awaitIdle()
      )
    })
  }

  /** Runs all parts until they end, or one fails for good. `standing` says what a part goes on from. */
  run(
    environment: Environment,
    standing: (part: number) => Effect.Effect<PartStanding, unknown>,
    intensity: RestartIntensity,
    context: Context.Context<FileSystem.FileSystem>
  ): Effect.Effect<void, unknown> {
    return Effect.all(
      this.components.map((component) => this.supervise(environment, component, standing, intensity, context)),
      { concurrency: "unbounded", discard: true }
    )
  }

  /** Looks into a part as soon as it runs; nothing when the job ends before. */
  look<A>(part: number, use: (attempt: Attempt) => Effect.Effect<A>): Effect.Effect<Option.Option<A>> {
    return Effect.suspend(() => {
      if (this.isOver()) return Effect.succeedNone
      const ready = waitUntil(
        [TxRef.get(this.turns)],
        () => this.isOver() || (this.latest[part] !== undefined && !this.lost[part])
      )
      return Effect.flatMap(
        Effect.andThen(ready, this.whileLive(part, use)),
        Option.match({
          onNone: () => this.look(part, use),
          onSome: Effect.succeedSome
        })
      )
    })
  }

  private supervise(
    environment: Environment,
    component: Component,
    standing: (part: number) => Effect.Effect<PartStanding, unknown>,
    { delayMillis, max, withinMillis }: RestartIntensity,
    context: Context.Context<FileSystem.FileSystem>
  ): Effect.Effect<void, unknown> {
    const { id } = component
    const started = (attempt: Attempt) => {
      this.latest[id] = attempt
      this.lost[id] = false
      return this.turn
    }
    const lost = Effect.suspend(() => {
      this.lost[id] = true
      return this.turn
    })
    return Effect.gen({ self: this }, function*() {
      let failures: ReadonlyArray<number> = []
      for (let attempt = 1;; attempt++) {
        const from = yield* standing(id)
        const running = runAttempt(environment, component, attempt, from, started, lost)
        const exit = yield* Effect.exit(Effect.provideContext(running, context))
        if (Exit.isSuccess(exit)) return
        // A job that is interrupted does not come here: an interruption seen here came from a source or a sink.
        yield* lost
        const now = yield* Clock.currentTimeMillis
        failures = [...failures.filter((time) => time > now - withinMillis || time === now), now]
        if (failures.length > max) return yield* Effect.failCause(exit.cause)
        this.restarts++
        const pauseMillis = delayMillis * 2 ** (failures.length - 1)
        yield* Effect.logWarning(
          `Job "${environment.job}" restarts a part in ${pauseMillis} ms after a failure`,
          exit.cause
        )
        if (pauseMillis > 0) yield* Effect.sleep(pauseMillis)
      }
    })
  }

  /** Does something with a part's attempt, unless there is none, or it fails, or the job ends. */
  private whileLive<A>(part: number, use: (attempt: Attempt) => Effect.Effect<A>): Effect.Effect<Option.Option<A>> {
    return Effect.suspend(() => {
      const attempt = this.latest[part]
      const isLive = () => attempt !== undefined && this.latest[part] === attempt && !this.lost[part] && !this.isOver()
      if (attempt === undefined || !isLive()) return Effect.succeedNone
      return Effect.raceFirst(
        Effect.asSome(use(attempt)),
        Effect.andThen(waitUntil([TxRef.get(this.turns)], () => !isLive()), Effect.succeedNone)
      )
    })
  }
}
