/**
 * Time for one run under a seed: it moves a little at every turn of the scheduler, and leaps to the next alarm when
 * nobody has anything to do. What is asked for as the time of day can be set back and forth; sleeps do not notice.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { MinimumLogLevel } from "effect/References"
import { SeededScheduler } from "millrace/testing"

interface Alarm {
  readonly at: number
  readonly number: number
  readonly ring: () => void
}

/** How the fibers of a run take turns, and how fast time goes. */
export interface Pace {
  readonly seed: number
  readonly operations: number | undefined
  readonly preempt: number
  /** Milliseconds that one turn of the clock takes while somebody is at work. */
  readonly tickMillis: number
}

/** Nobody is at work, nobody sleeps, and the run has not ended. */
export class Stuck extends Error {
  override readonly message = "everybody waits for somebody else"
}

export class SeededTime {
  /** Since the run began, in milliseconds. */
  now = 0
  /** How far the time of day is off. */
  offset = 0
  /** What is told to fibers at the next turn of the clock. */
  private readonly errands: Array<() => void> = []
  /** Has something done at the next turn of the clock, by one who cannot go on with a fiber now. */
  readonly soon = (errand: () => void): void => void this.errands.push(errand)
  /** What is done before the n-th operation of all fibers, from now on: see `before`. */
  private strikes: ReadonlyArray<{ readonly at: number; readonly strike: () => void }> = []
  private operations = 0
  private ready = 0
  private alarms: ReadonlyArray<Alarm> = []
  private numbered = 0
  private readonly inner: SeededScheduler.SeededScheduler
  private readonly pace: Pace

  constructor(pace: Pace) {
    this.pace = pace
    const { operations, preempt, seed } = pace
    this.inner = SeededScheduler.make(seed, {
      preempt,
      maxSteps: 4_000_000,
      ...operations === undefined ? {} : { operations }
    })
  }

  get steps(): number {
    return this.inner.steps
  }

  get fingerprint(): number {
    return this.inner.fingerprint
  }

  /** Does something before an operation of any fiber, so many from now. It must not go on with a fiber itself. */
  before(operation: number, strike: () => void): void {
    this.strikes = [...this.strikes, { at: this.operations + operation, strike }]
  }

  private readonly clock: Clock.Clock = {
    currentTimeMillisUnsafe: () => this.timeOfDay,
    currentTimeMillis: Effect.sync(() => this.timeOfDay),
    currentTimeNanosUnsafe: () => BigInt(this.timeOfDay) * 1_000_000n,
    currentTimeNanos: Effect.sync(() => BigInt(this.timeOfDay) * 1_000_000n),
    monotonicTimeNanosUnsafe: () => BigInt(Math.round(this.now * 1e6)),
    monotonicTimeNanos: Effect.sync(() => BigInt(Math.round(this.now * 1e6))),
    sleep: (duration: Duration.Duration) => this.sleep(Duration.toMillis(duration))
    // What is missing is asked for by nobody here.
  } as Clock.Clock

  private get timeOfDay(): number {
    return Math.max(0, Math.floor(1e12 + this.now + this.offset))
  }

  private sleep(millis: number): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      const alarm: Alarm = { at: this.now + millis, number: this.numbered++, ring: () => resume(Effect.void) }
      this.alarms = [...this.alarms, alarm].sort((a, b) => a.at - b.at || a.number - b.number)
      return Effect.sync(() => void (this.alarms = this.alarms.filter((other) => other !== alarm)))
    })
  }

  /** Lets time pass, for ever. */
  private readonly passing: Effect.Effect<never> = Effect.gen({ self: this }, function*() {
    for (let alone = 0;;) {
      yield* Effect.yieldNow
      // Whoever is stopped before his next operation is ready, too.
      for (const errand of this.errands.splice(0)) errand()
      const isIdle = this.ready === 0
      alone = isIdle ? alone + 1 : 0
      if (isIdle && alone > 1) {
        const [first] = this.alarms
        if (first === undefined || first.at === Infinity) return yield* Effect.die(new Stuck())
        this.now = Math.max(this.now, first.at)
      } else this.now += this.pace.tickMillis
      while (this.alarms.length > 0 && this.alarms[0]!.at <= this.now) {
        const [first, ...others] = this.alarms
        this.alarms = others
        first!.ring()
      }
    }
  })

  /** Runs to the end, on this clock, under the seed. */
  run<A>(effect: Effect.Effect<A, unknown>): Promise<Exit.Exit<A, unknown>> {
    const { inner } = this
    const scheduler: SeededScheduler.SeededScheduler = Object.assign(Object.create(inner), {
      makeDispatcher: () => {
        const { flush, scheduleTask } = inner.makeDispatcher()
        return {
          flush,
          scheduleTask: (task: () => void, priority: number) => {
            this.ready++
            scheduleTask(() => {
              this.ready--
              task()
            }, priority)
          }
        }
      },
      shouldYield: (fiber: Fiber.Fiber<unknown, unknown>) => {
        this.operations++
        const due = this.strikes.filter(({ at }) => at <= this.operations)
        if (due.length > 0) {
          this.strikes = this.strikes.filter((one) => !due.includes(one))
          for (const { strike } of due) strike()
        }
        return inner.shouldYield(fiber)
      }
    })
    const timed = Effect.raceFirst(effect, this.passing).pipe(
      Effect.provideService(Clock.Clock, this.clock),
      Effect.provideService(MinimumLogLevel, "None")
    )
    return SeededScheduler.runWith(timed, scheduler)
  }
}
