import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { Simulation } from "millrace/testing"
import { numbered, stored } from "./job.ts"

// In a test of your own there is no `flip`: the job is to pass, and `failure.message` is what the test prints.
it.effect.each([numbered, stored])("the simulation finds the fault of %o", (world) =>
  Effect.gen(function*() {
    const failure = yield* Effect.flip(Simulation.check(world, { runs: 200 }))
    assert(failure._tag === "SimulationFailed")
    assert.isAtMost(failure.plan.faults.length, 2)
    assert.isAtMost(failure.records, 10)
  }), 60_000)
