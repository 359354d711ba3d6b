/** Goes on from any of the checkpoints of a run, with sinks that stand wherever they may have stood then. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as fc from "fast-check"
import type { Commit } from "../../src/CheckpointStore.ts"
import { decodeManifest } from "../../src/internal/checkpoint/manifest.ts"
import {
  Census,
  type Habits,
  habits,
  ledgers,
  onTurns,
  partitionsFor,
  type Place,
  slowStore,
  storeOf,
  toTheEnd
} from "./lives.ts"
import { type Disorder, type Spec, specs } from "./randomFlows.ts"
import { check, expected, type Interleaving, interleavings, random, run, same, succeeded } from "./running.ts"

export interface CutSettings {
  readonly habits: Habits
  readonly before: number
  readonly after: number
  readonly interleaving: Interleaving
  /** How many checkpoints are gone on from, at most. */
  readonly most: number
}

export const settingsFor = (disorder: Disorder): fc.Arbitrary<CutSettings> =>
  fc.record({
    habits,
    before: partitionsFor(disorder),
    after: partitionsFor(disorder),
    interleaving: interleavings,
    most: fc.constant(2)
  })

/**
 * Where a sink is put back to: what a checkpoint knows of it or says that it is owed, or further on, as if a later
 * checkpoint had been lost.
 */
const placesAt = (
  places: ReadonlyArray<Place>,
  { applied, pending }: ReturnType<typeof decodeManifest>["sinks"][number],
  next: (n: number) => number
): ReadonlyArray<Place> => {
  const known = [applied, ...pending.map(({ marker }) => marker)]
  const choice = next(known.length + 1)
  if (choice === known.length) return places
  const { epoch, lineage } = known[choice]!
  const at = places.findIndex(({ marker }) => marker.lineage === lineage && marker.epoch === epoch)
  assert.isAtLeast(at, 0, "what a checkpoint says of a sink was never applied")
  return places.slice(0, at + 1)
}

/** Throws where a checkpoint of the job leads to another answer. */
export const cutEverywhere = async (
  spec: Spec,
  { after, before, habits, interleaving, most }: CutSettings,
  census?: Census,
  sabotage?: "cut ignores steps"
): Promise<void> => {
  const { seed } = interleaving
  const next = random(seed)
  const { books, built, received } = ledgers(spec, { retries: habits.retries })
  const reference = expected(built)
  const { commits, store } = slowStore(seed)
  const whole = toTheEnd(built, store, habits, before, next, sabotage)
  succeeded(await run(onTurns(whole, seed), interleaving))
  same(spec, built, received(), reference, "undisturbed")
  const standing = Array.from(books.values(), (ledger) => [ledger, ledger.places] as const)

  const chosen = new Set<Commit>()
  for (let i = 0; i < most; i++) chosen.add(commits[next(commits.length)]!)
  for (const commit of chosen) {
    const { epoch, sinks } = decodeManifest(commit.manifest)
    for (const [ledger, places] of standing) ledger.places = places
    for (const sink of sinks) {
      const ledger = books.get(sink.sink)!
      ledger.places = placesAt(ledger.places, sink, next)
    }
    const goingOn = Effect.gen(function*() {
      const store = yield* storeOf(commits.slice(0, commits.indexOf(commit) + 1))
      if (census !== undefined) yield* census.take(store, built.job.name, after)
      return yield* toTheEnd(built, store, habits, after, undefined)
    })
    const again = { ...interleaving, seed: seed + epoch }
    const { operators, state } = succeeded(await run(onTurns(goingOn, seed + epoch), again))
    assert.strictEqual(state, "finished", `from epoch ${epoch}`)
    same(spec, built, received(), reference, `from epoch ${epoch}`)
    for (const { keys, operator } of operators) {
      assert.strictEqual(keys, 0, `${operator} remembers, from epoch ${epoch}`)
    }
  }
}

/** The law; too few checkpoints with something in them would not show that it holds. */
export const everyCut = async (disorder: Disorder): Promise<void> => {
  const census = new Census()
  await check(
    500,
    fc.asyncProperty(specs(disorder), settingsFor(disorder), (spec, settings) => cutEverywhere(spec, settings, census))
  )
  census.expect({ checkpoint: 350, state: 60, queue: 100, pending: 120, segments: 160, gate: 15 })
  // With one partition there is nothing to exchange.
  if (disorder !== "one partition") census.expect({ rescaled: 280, input: 45 })
}
