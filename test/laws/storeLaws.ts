/** The laws that everybody's checkpoint stores must keep, for those of Millrace, and the words in which they refuse. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, type Scope } from "effect"
import { CheckpointStore } from "millrace"
import { Laws } from "millrace/testing"
import { bytes, commitOf, filled, job, type Store } from "../../src/testing/laws/commits.ts"
import { arbitrarySeed } from "../support/seed.ts"
import { lawRuns } from "./runs.ts"

export { blobIn, bytes, commitOf, epochs, filled, job, type Store } from "../../src/testing/laws/commits.ts"

export interface Kind {
  readonly isDurable: boolean
  readonly hasDatabase: boolean
  /** A new place, gone with the scope. */
  readonly place: Effect.Effect<Layer.Layer<CheckpointStore.CheckpointStore, unknown>, unknown, Scope.Scope>
  /** How many random scripts it lives through. */
  readonly scripts: number
}

export const storeLaws = (name: string, { place, scripts, ...kind }: Kind): void => {
  describe(name, () => {
    Laws.register(Laws.store(place, { ...kind, runs: lawRuns(scripts), ...arbitrarySeed }), it)

    const opened = Effect.flatMap(
      place,
      (layer) =>
        Effect.map(Layer.build(layer), (context): Store => Context.get(context, CheckpointStore.CheckpointStore))
    )

    it.live("says who has taken a job over", () =>
      Effect.scoped(Effect.gen(function*() {
        const store = yield* opened
        const first = yield* filled(store, 1)
        yield* store.acquire(job)
        const error = yield* Effect.flip(store.commit(commitOf({ attempt: first, epoch: 2 })))
        assert.strictEqual(
          error.message,
          `Job "fraud" may not commit epoch 2: its attempt is 1, and the latest is 2. `
            + "Another run of the job has taken over; let one run at a time, or give the other another name"
        )
      })))

    if (!kind.isDurable) {
      return
    }
    it.live("says which values it cannot keep", () =>
      Effect.scoped(Effect.gen(function*() {
        const store = yield* opened
        const attempt = yield* store.acquire(job)
        const blobs = [{
          id: "1.rows",
          bytes: bytes(""),
          opaque: [{
            when: () => 1
          }]
        }]
        const error = yield* Effect.flip(store.commit(commitOf({ attempt, epoch: 1, blobs })))
        assert.strictEqual(
          error.message,
          `The checkpoint store could not commit epoch 1 for job "fraud": "1.rows" holds values without an encoding; `
            + "give the records a schema, or use layerMemory"
        )
      })))
  })
}
