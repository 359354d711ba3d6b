/**
 * A scheduler that makes every choice from one seed: which runnable fiber goes next, and where a running fiber steps
 * aside. Equal seeds give equal runs, so a failing interleaving is a number.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as Scheduler from "effect/Scheduler"
import * as Schema from "effect/Schema"
import { sequence } from "../internal/simulation/chance.ts"

/**
 * A scheduler for one run, and what it did.
 *
 * **Details**
 *
 * All fibers of the run share one queue, also those woken by timers and promises. Priorities are ignored: they are a wish,
 * and a program must be right without them.
 *
 * **Gotchas**
 *
 * Timers and promises enter the queue when they fire, so a run that waits for them is repeatable only as far as they
 * are: keep them out, or put them behind `TestClock`. Effect runs up to 31 continuations of values that are already
 * there as one operation, and nothing comes in between; neither where a fiber is resumed by another one that completes
 * its `Deferred`: it runs at once, and may be stopped from its first operation on.
 *
 * @since 0.1.0
 * @category models
 */
export interface SeededScheduler extends Scheduler.Scheduler {
  readonly seed: number
  /** How many tasks have been taken from the queue. */
  readonly steps: number
  /** How many operations have been run, over all fibers. */
  readonly operations: number
  /**
   * The choices made, oldest first, the first 10,000 of them: at each step which of the waiting tasks was taken, and −n
   * where a fiber was stopped before the n-th operation of the run.
   */
  readonly trace: ReadonlyArray<number>
  /** A hash of all choices, however many: equal runs have equal ones. */
  readonly fingerprint: number
  /** Set once the bound on steps has been passed. */
  readonly livelock: Livelock | undefined
  /** Who is told of a livelock, instead of the process as an uncaught error. `run` and `runWith` are. */
  onLivelock(listener: (livelock: Livelock) => void): void
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The probability that a fiber is stopped before an operation: 0 ≤ p < 1, default 0.2. */
  readonly preempt?: number
  /** Stop every fiber after so many operations instead: 1 … 64 find races, Effect's own budget is 2,048. */
  readonly operations?: number
  /** A run of more steps, or of 256 times as many operations, is taken for a livelock; default 1,000,000. */
  readonly maxSteps?: number
}

/**
 * The run did not end within its bound on steps.
 *
 * **Details**
 *
 * The run is frozen: no fiber goes on, and no finalizer runs, because it might be part of the livelock.
 *
 * @since 0.1.0
 * @category errors
 */
export class Livelock extends Schema.TaggedError<Livelock>("millrace/Livelock")("Livelock", {
  seed: Schema.Number,
  steps: Schema.Number,
  operations: Schema.Number
}) {
  override get message() {
    return `The run with seed ${this.seed} did not end within ${this.steps} steps and ${this.operations} operations: look for ` +
      `fibers that wake each other without progress, or raise maxSteps`
  }
}

/**
 * Makes a scheduler for one run.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (seed: number, options: Options = {}): SeededScheduler => {
  const { maxSteps = 1_000_000, operations: budget, preempt = 0.2 } = options
  if (!(preempt >= 0 && preempt < 1)) throw new RangeError(`SeededScheduler: preempt is ${preempt}, not 0 ≤ p < 1`)
  if (budget !== undefined && !(Number.isInteger(budget) && budget >= 1)) {
    throw new RangeError(`SeededScheduler: operations is ${budget}, not a whole number from 1`)
  }
  const random = sequence(seed)
  const ready: Array<() => void> = []
  const trace: Array<number> = []
  let steps = 0
  let operations = 0
  let fingerprint = 0
  let livelock: Livelock | undefined
  let awake = false
  let listener = (error: Livelock): void =>
    queueMicrotask(() => {
      throw error
    })

  const record = (choice: number): void => {
    fingerprint = Math.imul(fingerprint ^ choice, 0x9e3779b1) + (fingerprint >>> 15) | 0
    if (trace.length < traceLength) trace.push(choice)
  }

  const frozen = (): boolean => {
    if (livelock === undefined && (steps > maxSteps || operations > maxSteps * 256)) {
      livelock = new Livelock({ seed, steps, operations })
      listener(livelock)
    }
    return livelock !== undefined
  }

  const stops = (fiber: Fiber.Fiber<unknown, unknown>): boolean => {
    // The first operation of a resumed fiber only hands it the value it waited for. Stopping there adds a continuation
    // each time, and from a probability of a half on they pile up faster than they are worked off.
    const operation = fiber.currentOpCount - 1
    return operation > 0 && (budget === undefined ? random() < preempt : operation > budget)
  }

  // Tasks may flush or schedule from within: the queue is the only state, so it does not matter who empties it.
  const drain = (): void => {
    while (ready.length > 0 && !frozen()) {
      const choice = Math.floor(random() * ready.length)
      const task = ready[choice]!
      const last = ready.pop()!
      if (choice < ready.length) ready[choice] = last
      steps++
      record(choice)
      task()
    }
    awake = false
  }

  return {
    executionMode: "async",
    shouldYield(fiber) {
      operations++
      // A fiber that is stopped now is never resumed, for nothing is taken from the queue any more.
      if (frozen()) return true
      const yes = stops(fiber)
      if (yes) record(-operations)
      return yes
    },
    makeDispatcher: () => ({
      scheduleTask(task) {
        ready.push(task)
        if (awake) return
        awake = true
        queueMicrotask(drain)
      },
      flush: drain
    }),
    seed,
    trace,
    get steps() {
      return steps
    },
    get operations() {
      return operations
    },
    get fingerprint() {
      return fingerprint
    },
    get livelock() {
      return livelock
    },
    onLivelock(f) {
      listener = f
    }
  }
}

/**
 * Runs an effect under a seed, to its exit; a livelock is a defect in it.
 *
 * **Example**
 *
 * ```ts run
 * import { Effect, Exit, Ref } from "effect"
 * import { SeededScheduler } from "millrace/testing"
 *
 * // Two fibers add one to a counter with a read and a write: most interleavings are fine.
 * const racy = Effect.gen(function*() {
 *   const counter = yield* Ref.make(0)
 *   const add = Effect.flatMap(Ref.get(counter), (n) => Ref.set(counter, n + 1))
 *   yield* Effect.all([add, add], { concurrency: "unbounded" })
 *   return yield* Ref.get(counter)
 * })
 *
 * const seeds = Array.from({ length: 50 }, (_, seed) => seed)
 * const runs = await Promise.all(seeds.map((seed) => SeededScheduler.run(racy, { seed })))
 * runs.some((exit) => Exit.isSuccess(exit) && exit.value === 1) // => true
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const run = <A, E>(
  effect: Effect.Effect<A, E>,
  options: Options & { readonly seed: number }
): Promise<Exit.Exit<A, E>> => runWith(effect, make(options.seed, options))

/**
 * Runs an effect under a scheduler made before, which can be asked for its trace afterwards.
 *
 * @since 0.1.0
 * @category running
 */
export const runWith = <A, E>(effect: Effect.Effect<A, E>, scheduler: SeededScheduler): Promise<Exit.Exit<A, E>> =>
  new Promise((resolve) => {
    scheduler.onLivelock((livelock) => resolve(Exit.die(livelock)))
    Effect.runFork(effect, { scheduler }).addObserver(resolve)
  })

const traceLength = 10_000
