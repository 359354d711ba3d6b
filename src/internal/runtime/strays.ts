/**
 * Pieces of epochs whose manifests are damaged: nothing names them any more, so they are looked for by the names that
 * pieces have, or they would lie in the store for ever.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { CheckpointStore, CheckpointStoreError } from "../../CheckpointStore.ts"
import { Malformed } from "../checkpoint/malformed.ts"
import { type Kept, longestChain } from "./coordinator.ts"

type Store = CheckpointStore["Service"]

/** What the pieces of a job are called, apart from the epoch that wrote them and their number. */
export interface PieceNames {
  readonly parts: number
  readonly sinks: ReadonlyArray<string>
}

/** Whether the store has a piece: one that it cannot read for damage is there as well. */
const isThere = (store: Store, job: string, id: string): Effect.Effect<boolean, CheckpointStoreError> =>
  store.blob(job, id).pipe(
    Effect.map(Option.isSome),
    Effect.catchIf(({ cause }) => cause instanceof Malformed, () => Effect.succeed(true))
  )

/**
 * The epochs with what belongs to the damaged ones: what those have written, and state that those before them had written
 * and nobody else names. Each damaged epoch is given all of it, so that it goes with the last of them.
 */
export const withStrays = Effect.fnUntraced(function*(
  store: Store,
  job: string,
  kept: ReadonlyArray<Kept>,
  damaged: ReadonlySet<number>,
  { parts, sinks }: PieceNames
): Effect.fn.Return<ReadonlyArray<Kept>, CheckpointStoreError> {
  if (damaged.size === 0) return kept
  const named = new Set(kept.flatMap(({ blobs }) => blobs))
  const found: Array<string> = []
  const series = Effect.fnUntraced(function*(name: (n: number) => string) {
    for (let n = 0; named.has(name(n)) || (yield* isThere(store, job, name(n))); n++) {
      if (!named.has(name(n))) found.push(name(n))
    }
  })
  const newest = Math.max(...damaged)
  const oldest = Math.max(1, Math.min(...damaged) - longestChain)
  const isSound = new Set(kept.flatMap(({ epoch }) => damaged.has(epoch) ? [] : [epoch]))
  for (let epoch = oldest; epoch <= newest; epoch++) {
    // What a sound epoch has written, it names itself.
    if (isSound.has(epoch)) continue
    yield* series((n) => `${epoch}.state-${n}`)
    for (let part = 0; part < parts; part++) yield* series((n) => `${epoch}.flight-${part}-${n}`)
    for (const sink of sinks) {
      yield* series((n) => `${epoch}.sink-${sink}-${n}`)
      // Of a checkpoint that a program has brought.
      yield* series((n) => `${epoch}.sink-${sink}-${n}-0`)
    }
  }
  return kept.map((one) => damaged.has(one.epoch) ? { ...one, blobs: found } : one)
})
