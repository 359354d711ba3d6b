/** What goes wrong with calls to the world outside: they fail, happen without an answer, take long, or hang. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { CheckpointStore } from "millrace"
import type { Around } from "../support/crashing.ts"

/** What comes of a call. */
export const outcomes = ["well", "fails", "fails late", "answer lost", "slow", "hangs before", "hangs after"] as const
export type Outcome = typeof outcomes[number]

/** One call and what came of it. */
export interface Call {
  readonly call: string
  readonly outcome: Outcome
}

export interface Rates {
  /** Calls out of a thousand that go wrong. */
  readonly permille: number
  /** Which ways there are; one that comes twice comes twice as often. */
  readonly ways: ReadonlyArray<Exclude<Outcome, "well">>
  /** So many go wrong, and no more. */
  readonly most: number
}

const isStore = (call: string): boolean => /^(acquire|commit|list|manifest|blob|remove)/.test(call)

/** What is asked while a job begins: it does not wait for ever there, and others would have to end it. */
const isStart = (call: string): boolean => /^(acquire|list|manifest|blob|remove|open|look|begin|rewind)/.test(call)

/** Sinks and sources fail with anything here, and the store with just this. */
export const lost = (call: string): Effect.Effect<never> =>
  Effect.suspend(() =>
    Effect.fail(
      isStore(call)
        ? new CheckpointStore.CheckpointStoreError({ job: "*", operation: call, cause: new Error("trouble") })
        : new Error(`trouble: ${call}`)
    )
  ) as Effect.Effect<never>

export class Troubles {
  /** The troubled calls, in order. */
  readonly calls: Array<Call> = []
  private readonly next: (n: number) => number
  private readonly rates: Rates
  private readonly whole = Deferred.makeUnsafe<void>()
  private isHealed = false

  constructor(next: (n: number) => number, rates: Rates) {
    this.next = next
    this.rates = rates
  }

  /** From now on nothing goes wrong, and what hangs goes on. */
  heal(): void {
    this.isHealed = true
    Deferred.doneUnsafe(this.whole, Effect.void)
  }

  readonly around: Around = (call, effect) =>
    Effect.suspend(() => {
      const { most, permille, ways } = this.rates
      if (this.isHealed || this.calls.length >= most || this.next(1000) >= permille) return effect
      const way = ways[this.next(ways.length)]!
      const outcome = isStart(call) && way.startsWith("hangs") ? "slow" : way
      this.calls.push({ call, outcome })
      const untilHealed = Deferred.await(this.whole)
      switch (outcome) {
        case "fails":
          return Effect.andThen(Effect.yieldNow, lost(call))
        case "fails late":
          return Effect.andThen(Effect.sleep(1 + this.next(40)), lost(call))
        case "answer lost":
          return Effect.exit(effect).pipe(Effect.andThen(Effect.sleep(this.next(20))), Effect.andThen(lost(call)))
        case "slow": {
          const pause = Effect.sleep(1 + this.next(40))
          return this.next(2) === 0 ? Effect.andThen(pause, effect) : Effect.tap(effect, () => pause)
        }
        case "hangs before":
          return Effect.andThen(untilHealed, effect)
        case "hangs after":
          return Effect.tap(effect, () => untilHealed)
      }
    })
}
