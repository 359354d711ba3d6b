/** A job that is stopped while rows are under way brings them to their sinks first. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { MinimumLogLevel } from "effect/References"
import * as fc from "fast-check"
import { CheckpointStore, Flow, Job, Partitioner, Sink } from "millrace"
import { check, interleavings, run, succeeded, timeout, turns } from "../laws/running.ts"
import { hasSeen, numbers, Rationed } from "../support/sickness.ts"

describe("however fibers take turns", { timeout }, () => {
  it("a stopped job has brought what it took in to its sinks", async () => {
    await check(
      100,
      fc.asyncProperty(interleavings, fc.constantFrom(1, 3), async (interleaving, partitions) => {
        const { source } = new Rationed(100, 40)
        const kept = Sink.memory<number>()
        const job = Job.make("job", [
          Flow.from("n", source).pipe(
            Flow.map((n) => n, { name: "passed" }),
            Flow.partitionBy(Partitioner.roundRobin),
            Flow.map((n) => n),
            Flow.to("kept", kept)
          )
        ])
        const living = Effect.scoped(Effect.gen(function*() {
          const handle = yield* Job.launch(job, { partitions })
          while (!hasSeen("passed", 40)(yield* handle.status)) yield* Effect.yieldNow
          yield* handle.stop
        })).pipe(
          Effect.provide(CheckpointStore.layerMemory),
          Effect.provideService(Clock.Clock, turns(interleaving.seed)),
          Effect.provideService(MinimumLogLevel, "None")
        )
        succeeded(await run(living, interleaving))
        const rows = await Effect.runPromise(kept.contents)
        assert.deepStrictEqual([...rows].sort((a, b) => a - b), numbers(40))
      })
    )
  })
})
