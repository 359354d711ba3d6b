/**
 * A process that began a job and was stopped before it looked at its sink, and wakes after another one has brought the job
 * to its end: it took what the sink held for the leavings of an earlier run, and began anew.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Simulation } from "millrace/testing"
import { honestTable, inMemory } from "../testing/worlds.ts"

describe.each([["a table", honestTable], ["memory", inMemory]] as const)(
  "a zombie at the beginning, %s",
  (_, world) => {
    it.effect("does not empty what its successor has filled", () =>
      Effect.gen(function*() {
        const { plan } = yield* Simulation.run(world, { faults: Simulation.faults.none })
        const { log, outputs } = yield* Simulation.run(world, {
          plan: {
            ...plan,
            partitions: [1, 1],
            faults: [
              { life: 1, at: { call: "look numbers", nth: 1, when: "before" }, does: "pause", wakes: 1_000_000 }
            ]
          }
        })
        assert.include(log.join("\n"), "life 1, which was paused, goes on")
        assert.strictEqual(outputs["numbers"]?.length, 30)
      }))
  }
)
