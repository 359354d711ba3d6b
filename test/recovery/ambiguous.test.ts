/**
 * Ambiguous outcomes: every call to the store and to the sinks happens or does not, and is reported or is not, in all four
 * combinations.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { CheckpointStore } from "millrace"
import { memoryStore } from "../../src/internal/stores/memoryStore.ts"
import { runs } from "../laws/runs.ts"
import { type Around, store } from "../support/crashing.ts"
import { type Kind, session, sliding, tumbling } from "./jobs.ts"
import { assertSame, expected, Outside, pass, random, run, succeeded, toTheEnd } from "./world.ts"

/** The four outcomes of a call. */
const outcomes = ["happens, reported", "happens, not reported", "fails, reported", "fails, not reported"] as const
type Outcome = typeof outcomes[number]

/** As often as a commit is tried, by the coordinator's own bound. */
const mostTries = 8

/** Launches that a supervisor of the process would make. */
const mostLaunches = 60

class Unreliable {
  readonly counts = new Map<Outcome, number>()
  /** How often each call was made, by its name, and by its caller. */
  readonly tries = new Map<string, number>()
  private readonly percent: number
  private readonly next: (n: number) => number

  constructor(seed: number) {
    this.next = random(seed)
    this.percent = 5 + this.next(26)
  }

  /** What was not reported is not known for a while, and then given up. */
  around(launch: number): Around {
    const once: Around = (call, effect) =>
      Effect.suspend(() => {
        const strikes = this.next(100) < this.percent
        const outcome = strikes ? outcomes[1 + this.next(3)]! : outcomes[0]
        this.counts.set(outcome, (this.counts.get(outcome) ?? 0) + 1)
        const own = `${launch}: ${call}`
        this.tries.set(own, (this.tries.get(own) ?? 0) + 1)
        // Sinks fail with anything here, and the store with just this.
        const lost = Effect.suspend(() =>
          Effect.fail(
            new CheckpointStore.CheckpointStoreError({ job: "*", operation: call, cause: new Error(outcome) })
          )
        ) as Effect.Effect<never>
        switch (outcome) {
          case "happens, reported":
            return effect
          case "happens, not reported":
            return Effect.exit(effect).pipe(Effect.andThen(pass(this.next(6))), Effect.andThen(lost))
          case "fails, reported":
            return lost
          case "fails, not reported":
            return Effect.andThen(pass(this.next(6)), lost)
        }
      })
    // A job that begins does not ask twice, and reads more pieces than would all come; here its store and its sinks do.
    return (call, effect) =>
      /^(acquire|list|manifest|blob|open|look)/.test(call)
        ? Effect.retry(once(call, effect), { times: 4 })
        : once(call, effect)
  }
}

describe.each<Kind>([tumbling(30), sliding(20), session(12)])("ambiguous outcomes, $name", (kind) => {
  it("are no more than delays", async () => {
    const reference = expected(kind)
    const counts = new Map<Outcome, number>()
    let repeated = 0
    for (let seed = 0; seed < runs(70); seed++) {
      const unreliable = new Unreliable(seed)
      const outside = new Outside()
      const inner = memoryStore()
      const what = `seed ${seed}`
      const life = (launch: number) => {
        const around = unreliable.around(launch)
        return toTheEnd(kind.make(outside.parts(around)), store(around, inner), {
          partitions: kind.partitions[launch % kind.partitions.length]!
        })
      }
      // A job whose store does not answer when it begins fails and says so; somebody launches it again.
      const all = Effect.gen(function*() {
        for (let launch = 0; launch < mostLaunches; launch++) {
          const exit = yield* Effect.exit(life(launch))
          if (Exit.isSuccess(exit)) return yield* outside.outcome
          const error = Cause.findErrorOption(exit.cause)
          const isStore = error._tag === "Some" && error.value instanceof CheckpointStore.CheckpointStoreError
          if (!isStore) yield* exit
        }
        throw new Error(`${mostLaunches} launches were not enough`)
      })
      assertSame(succeeded(await run(all, seed, { pace: 8 }), what), reference, what)
      for (const [call, tries] of unreliable.tries) {
        if (!call.includes("commit")) continue
        if (tries > 1) repeated++
        assert.isAtMost(tries, mostTries, `${what}, launch ${call}`)
      }
      for (const [outcome, count] of unreliable.counts) counts.set(outcome, (counts.get(outcome) ?? 0) + count)
    }
    for (const outcome of outcomes) assert.isAbove(counts.get(outcome) ?? 0, runs(70), outcome)
    assert.isAbove(repeated, runs(20))
  })
})
