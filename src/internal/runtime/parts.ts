/**
 * The connected parts of a job under supervision: each restarts alone, from its own last checkpoint.
 */
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as TxRef from "effect/TxRef"
import type { CheckpointStore } from "../../CheckpointStore.ts"
import type { RestartIntensity } from "../../Supervision.ts"
import type { Component } from "../plan/layout.ts"
import { type Attempt, type Environment, runAttempt } from "./component.ts"
import { waitUntil } from "./inlet.ts"

export class Parts {
  /** How often a part was restarted. */
  restarts = 0
  private readonly components: ReadonlyArray<Component>
  /** Per part its latest attempt, and whether that one has failed: then nobody may look at its state any more. */
  private readonly latest: Array<Attempt | undefined>
  private readonly lost: Array<boolean>
  /** Changes whenever an attempt begins or fails, and when the job ends. */
  private readonly turns = TxRef.makeUnsafe(0)
  private readonly isOver: () => boolean

  constructor(components: ReadonlyArray<Component>, isOver: () => boolean) {
    this.components = components
    this.latest = components.map(() => undefined)
    this.lost = components.map(() => false)
    this.isOver = isOver
  }

  get attempts(): ReadonlyArray<Attempt> {
    return this.latest.filter((attempt) => attempt !== undefined)
  }

  /** Tells those who wait that something has begun or ended. */
  get turn(): Effect.Effect<void> {
    return TxRef.update(this.turns, (n) => n + 1)
  }

  /** Runs all parts until they end, or one fails for good. */
  run(
    environment: Environment,
    store: CheckpointStore["Service"],
    intensity: RestartIntensity,
    context: Context.Context<FileSystem.FileSystem>
  ): Effect.Effect<void, unknown> {
    return Effect.all(
      this.components.map((component) => this.supervise(environment, component, store, intensity, context)),
      { concurrency: "unbounded", discard: true }
    )
  }

  /** Takes a checkpoint of every part. Where one is between two attempts, its last checkpoint stands. */
  get checkpoint(): Effect.Effect<void> {
    return Effect.forEach(this.components, ({ id }) => this.whileLive(id, (attempt) => attempt.checkpoint), {
      discard: true
    })
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
    store: CheckpointStore["Service"],
    { delayMillis, max, withinMillis }: RestartIntensity,
    context: Context.Context<FileSystem.FileSystem>
  ): Effect.Effect<void, unknown> {
    const { id } = component
    const started = (attempt: Attempt) => {
      this.latest[id] = attempt
      this.lost[id] = false
      return this.turn
    }
    return Effect.gen({ self: this }, function*() {
      let failures: ReadonlyArray<number> = []
      for (let attempt = 1;; attempt++) {
        const from = yield* store.latest(environment.job, id)
        const running = runAttempt(environment, component, attempt, from, started)
        const exit = yield* Effect.exit(Effect.provideContext(running, context))
        if (Exit.isSuccess(exit)) return
        // A job that is interrupted does not come here: an interruption seen here came from a source or a sink.
        this.lost[id] = true
        yield* this.turn
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
