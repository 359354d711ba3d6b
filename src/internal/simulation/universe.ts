/**
 * One thread, one seed, one clock: everything that a simulated run is made of takes its turns and its time here.
 *
 * Every life of a job has a scheduler of its own in front of the seeded one that all share. So a life can be ended, or
 * held, between any two of its operations: no finalizer runs, as none does in a process that is killed.
 */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Scheduler from "effect/Scheduler"
import * as SeededScheduler from "../../testing/SeededScheduler.ts"

/** Every turn of a fiber takes so long. */
const turnMicros = 10

/** Milliseconds of real time without anything to do, after which a run is given up. */
const patienceMillis = 2000

interface Timer {
  readonly due: number
  readonly fire: () => void
}

/** A noon in the past; any would do. */
const beginning = Date.UTC(2024, 0, 15, 12)

export class Universe {
  readonly scheduler: SeededScheduler.SeededScheduler
  /** Microseconds since the beginning. */
  private now = 0
  /** By how much the wall clock is wrong. */
  private wrongMillis = 0
  /** The soonest last. */
  private timers: Array<Timer> = []
  /** Tasks in the queue. */
  private ready = 0
  private isOver = false
  private readonly dispatcher: Scheduler.SchedulerDispatcher
  /** Of whoever watches over the lives. */
  private readonly own = new Strand(this)

  constructor(seed: number, preempt: number, maxSteps: number) {
    this.scheduler = SeededScheduler.make(seed, { preempt, maxSteps })
    this.dispatcher = this.scheduler.makeDispatcher()
  }

  get clock(): Clock.Clock {
    return this.own.clock
  }

  get nowMillis(): number {
    return this.now / 1000
  }

  /** Moves the wall clock, and nothing else: who sleeps does so as long as before. */
  jump(millis: number): void {
    this.wrongMillis += millis
  }

  get wallMillis(): number {
    return beginning + Math.floor(this.now / 1000) + this.wrongMillis
  }

  /** Does something at the next turn, when no fiber is in the middle of anything. */
  soon(task: () => void): void {
    this.ready++
    this.dispatcher.scheduleTask(() => {
      this.ready--
      this.pass(this.now + turnMicros)
      task()
    }, 0)
  }

  at(afterMillis: number, fire: () => void): () => void {
    const timer: Timer = { due: this.now + Math.max(0, afterMillis) * 1000, fire }
    let place = this.timers.length
    while (place > 0 && this.timers[place - 1]!.due <= timer.due) place--
    this.timers.splice(place, 0, timer)
    return () => {
      const at = this.timers.indexOf(timer)
      if (at >= 0) this.timers.splice(at, 1)
    }
  }

  private pass(until: number): void {
    for (;;) {
      const next = this.timers.at(-1)
      if (next === undefined || next.due > until) break
      this.timers.pop()
      this.now = Math.max(this.now, next.due)
      next.fire()
    }
    this.now = Math.max(this.now, until)
  }

  /** Runs to an exit. Time passes when everybody waits. */
  run<A, E>(effect: Effect.Effect<A, E>): Promise<Exit.Exit<A, E>> {
    return new Promise((resolve, reject) => {
      const end = (done: () => void) => {
        this.isOver = true
        done()
      }
      this.scheduler.onLivelock((livelock) => end(() => reject(livelock)))
      const { scheduler } = this.own
      Effect.runFork(effect, { scheduler }).addObserver((exit) => end(() => resolve(exit)))
      let idle = 0
      const turn = (): void => {
        if (this.isOver) return
        if (this.ready > 0) {
          idle = 0
          setImmediate(turn)
          return
        }
        const next = this.timers.at(-1)
        if (next !== undefined) {
          idle = 0
          this.pass(next.due)
          setImmediate(turn)
          return
        }
        // Somebody waits for something that is not simulated; it may come.
        if (++idle > patienceMillis) {
          end(() => reject(new Error("everybody waits for something that is not part of the simulation")))
        } else setTimeout(turn, 1)
      }
      setImmediate(turn)
    })
  }
}

/** Fibers that can be stopped together, at any of their operations. */
export class Strand {
  /** Operations so far. */
  operations = 0
  private state: "going" | "held" | "ended" = "going"
  private held: Array<() => void> = []
  private readonly universe: Universe
  /** Asked at every operation. */
  private readonly onOperation: (operations: number) => void

  constructor(universe: Universe, onOperation: (operations: number) => void = () => {}) {
    this.universe = universe
    this.onOperation = onOperation
  }

  get isGoing(): boolean {
    return this.state === "going"
  }

  /** Nothing of it ever goes on. */
  end(): void {
    this.state = "ended"
    this.held = []
  }

  /** Nothing of it goes on until it is released. */
  hold(): void {
    if (this.state === "going") this.state = "held"
  }

  release(): void {
    if (this.state !== "held") return
    this.state = "going"
    for (const task of this.held.splice(0)) this.universe.soon(() => this.take(task))
  }

  private take(task: () => void): void {
    if (this.state === "going") task()
    else if (this.state === "held") this.held.push(task)
  }

  readonly scheduler: Scheduler.Scheduler = {
    executionMode: "async",
    shouldYield: (fiber) => {
      if (this.state !== "going") return true
      this.onOperation(++this.operations)
      return !this.isGoing || this.universe.scheduler.shouldYield(fiber)
    },
    makeDispatcher: () => ({
      scheduleTask: (task) => this.universe.soon(() => this.take(task)),
      flush: () => {}
    })
  }

  readonly clock: Clock.Clock = {
    currentTimeMillisUnsafe: () => this.universe.wallMillis,
    currentTimeMillis: Effect.sync(() => this.universe.wallMillis),
    currentTimeNanosUnsafe: () => BigInt(this.universe.wallMillis) * 1_000_000n,
    currentTimeNanos: Effect.sync(() => BigInt(this.universe.wallMillis) * 1_000_000n),
    monotonicTimeNanosUnsafe: () => BigInt(Math.floor(this.universe.nowMillis * 1e6)),
    monotonicTimeNanos: Effect.sync(() => BigInt(Math.floor(this.universe.nowMillis * 1e6))),
    sleep: (duration) => {
      const millis = Duration.toMillis(duration)
      if (millis <= 0) return Effect.yieldNow
      if (millis === Infinity) return Effect.never
      return Effect.callback<void>((resume) => {
        const cancel = this.universe.at(millis, () => this.take(() => resume(Effect.void)))
        return Effect.sync(cancel)
      })
    }
  }
}
