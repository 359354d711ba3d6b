/** Crashes a job, stops it, launches it again on other partitions, and compares what came of all its lives together. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as fc from "fast-check"
import {
  Census,
  type Habits,
  habits,
  kept,
  type Life,
  live,
  livesFor,
  onTurns,
  partitionsFor,
  slowStore,
  toTheEnd
} from "./lives.ts"
import { type Disorder, type Spec, specs } from "./randomFlows.ts"
import { check, expected, type Interleaving, interleavings, random, recorded, run, same, succeeded } from "./running.ts"

export interface Lives {
  readonly habits: Habits
  readonly lives: ReadonlyArray<Life>
  /** Partitions of the launch that runs to the end. */
  readonly last: number
  /** An operator fails after so many records. */
  readonly fault: number
  readonly interleaving: Interleaving
}

const settingsFor = (disorder: Disorder): fc.Arbitrary<Lives> =>
  fc.record({
    habits,
    lives: livesFor(disorder),
    last: partitionsFor(disorder),
    fault: fc.option(fc.nat({ max: 60 }), { nil: Infinity, freq: 2 }),
    interleaving: interleavings
  })

/** Throws where what came of a job with several lives is not what would have come of one. */
export const liveOften = async (
  spec: Spec,
  { fault, habits, interleaving, last, lives }: Lives,
  census = new Census()
): Promise<void> => {
  const { seed } = interleaving
  const reference = expected(recorded(spec).built)
  let left = fault
  const touch = () => {
    if (left-- === 0) throw new Error("the operator fails")
  }
  const { built, received } = kept(spec, { retries: habits.retries, touch })
  const next = random(seed)
  const { store } = slowStore(seed)
  const lived = Effect.gen(function*() {
    for (const life of lives) {
      yield* census.take(store, built.job.name, life.partitions)
      yield* live(built, store, habits, life, next)
    }
    yield* census.take(store, built.job.name, last)
    const { operators, state } = yield* toTheEnd(built, store, habits, last, next)
    const contents = yield* received
    const { state: stateAfterwards } = yield* toTheEnd(built, store, habits, 1, undefined)
    return { operators, state, contents, stateAfterwards, afterwards: yield* received }
  })
  const { afterwards, contents, operators, state, stateAfterwards } = succeeded(
    await run(onTurns(lived, seed), interleaving)
  )
  assert.strictEqual(state, "finished")
  same(spec, built, contents, reference, "in the end")
  for (const { keys, operator } of operators) assert.strictEqual(keys, 0, `${operator} remembers`)
  assert.strictEqual(stateAfterwards, "finished")
  assert.deepStrictEqual(afterwards, contents, "launched once more")
}

/** The law; too few checkpoints with something in them would not show that it holds. */
export const crashes = async (disorder: Disorder): Promise<void> => {
  const census = new Census()
  await check(
    500,
    fc.asyncProperty(specs(disorder), settingsFor(disorder), (spec, settings) => liveOften(spec, settings, census))
  )
  census.expect({ checkpoint: 200, state: 40, queue: 45, pending: 45, segments: 130, gate: 5, stopped: 3 })
  // With one partition there is nothing to exchange.
  if (disorder !== "one partition") census.expect({ rescaled: 150, input: 20 })
}
