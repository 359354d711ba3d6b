/**
 * Time that passes as fast as the fibers can live through it: whenever nobody can go on, the clock jumps to the next timer.
 * Everything happens in one order, so that equal programs have equal lives; what waits for the real world is not for here.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import { MinimumLogLevel } from "effect/References"
import type * as Scheduler from "effect/Scheduler"

interface Timer {
  readonly at: number
  /** Of two timers for one moment, the one that was set first. */
  readonly number: number
  isCancelled: boolean
  readonly fire: () => void
}

const isBefore = (a: Timer, b: Timer): boolean => a.at < b.at || (a.at === b.at && a.number < b.number)

/** Timers that fire before the event loop has its turn. */
const breath = 5000

export class VirtualTime {
  /** Milliseconds since the beginning; no step of the wall clock changes it. */
  elapsed = 0
  /** How far the wall clock has been set wrong. */
  skew = 0
  /** Timers that have fired. */
  wakeUps = 0
  private readonly epoch: number
  private readonly lasting: (millis: number) => number
  private readonly ready: Array<() => void> = []
  private readonly timers: Array<Timer> = []
  private number = 0
  private cancelled = 0
  private isAwake = false

  /** `lasting` says how long a sleep of so many milliseconds takes, where that is not what it says. */
  constructor(epoch: number, lasting: (millis: number) => number = (millis) => millis) {
    this.epoch = epoch
    this.lasting = lasting
  }

  /** What the wall clock says. */
  get now(): number {
    return this.epoch + this.elapsed + this.skew
  }

  /** Timers that somebody waits for. */
  get outstanding(): number {
    return this.timers.length - this.cancelled
  }

  /** Waits until so many milliseconds have passed since the beginning. */
  until(elapsed: number): Effect.Effect<void> {
    return Effect.suspend(() => elapsed <= this.elapsed ? Effect.void : this.sleep(elapsed - this.elapsed))
  }

  /** Runs to the end, in no time. */
  run<A, E>(effect: Effect.Effect<A, E>): Promise<Exit.Exit<A, E>> {
    const clocked = effect.pipe(
      Effect.provideService(Clock.Clock, this.clock),
      Effect.provideService(MinimumLogLevel, "None")
    )
    return new Promise((resolve) => void Effect.runFork(clocked, { scheduler: this.scheduler }).addObserver(resolve))
  }

  private readonly clock: Clock.Clock = {
    currentTimeMillisUnsafe: () => this.now,
    currentTimeMillis: Effect.sync(() => this.now),
    currentTimeNanosUnsafe: () => BigInt(this.now) * 1_000_000n,
    currentTimeNanos: Effect.sync(() => BigInt(this.now) * 1_000_000n),
    monotonicTimeNanosUnsafe: () => BigInt(this.elapsed) * 1_000_000n,
    monotonicTimeNanos: Effect.sync(() => BigInt(this.elapsed) * 1_000_000n),
    sleep: (duration) => this.sleep(this.lasting(Duration.toMillis(duration)))
    // What a clock has besides is asked for by nobody here.
  } as Clock.Clock

  private readonly scheduler: Scheduler.Scheduler = {
    executionMode: "async",
    shouldYield: (fiber) => fiber.currentOpCount > 2048,
    makeDispatcher: () => ({
      scheduleTask: (task) => {
        this.ready.push(task)
        if (this.isAwake) return
        this.isAwake = true
        queueMicrotask(() => this.drain())
      },
      flush: () => this.work()
    })
  }

  private drain(): void {
    const last = this.wakeUps + breath
    do this.work()
    while (this.wakeUps < last && this.jump())
    // The process has to be able to say that it is alive.
    if (this.wakeUps >= last) setImmediate(() => this.drain())
    else this.isAwake = false
  }

  private work(): void {
    for (let i = 0; i < this.ready.length; i++) {
      this.ready[i]!()
      // The queue never ends while somebody schedules, so what was done is let go now and then.
      if (i === 4096) i -= this.ready.splice(0, i + 1).length
    }
    this.ready.length = 0
  }

  /** To the next timer, if there is one. */
  private jump(): boolean {
    for (let timer = this.take(); timer !== undefined; timer = this.take()) {
      if (timer.isCancelled) {
        this.cancelled--
        continue
      }
      this.elapsed = Math.max(this.elapsed, timer.at)
      this.wakeUps++
      timer.isCancelled = true
      timer.fire()
      return true
    }
    return false
  }

  private sleep(millis: number): Effect.Effect<void> {
    if (millis === Infinity) return Effect.never
    return Effect.callback<void>((resume) => {
      const timer: Timer = {
        at: this.elapsed + Math.max(0, Math.ceil(millis)),
        number: this.number++,
        isCancelled: false,
        fire: () => resume(Effect.void)
      }
      this.add(timer)
      return Effect.sync(() => {
        if (timer.isCancelled) return
        timer.isCancelled = true
        this.cancelled++
      })
    })
  }

  // A binary heap, the next timer first.
  private add(timer: Timer): void {
    const { timers } = this
    let at = timers.push(timer) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(timer, timers[parent]!)) break
      timers[at] = timers[parent]!
      at = parent
    }
    timers[at] = timer
  }

  private take(): Timer | undefined {
    const { timers } = this
    const first = timers[0]
    const last = timers.pop()
    if (last === undefined || last === first) return first
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= timers.length) break
      if (child + 1 < timers.length && isBefore(timers[child + 1]!, timers[child]!)) child++
      if (!isBefore(timers[child]!, last)) break
      timers[at] = timers[child]!
      at = child
    }
    timers[at] = last
    return first
  }
}
