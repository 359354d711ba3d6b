/** What is kept for sinks stays bounded at every moment, also between the commit of an epoch and its being queued for sinks. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { MinimumLogLevel } from "effect/References"
import * as fc from "fast-check"
import { CheckpointStore, Flow, Job, Source } from "millrace"
import { check, interleavings, run, succeeded, timeout, turns } from "../laws/running.ts"
import { type Mood, numbers, Patient, Ward } from "../support/sickness.ts"

const memory = CheckpointStore.layerMemory
const text = (n: number) => `row ${String(n).padStart(16, "0")}`
/** Of a row between its commas. */
const rowBytes = text(0).length + 3
const sorted = (rows: ReadonlyArray<string>) => [...rows].sort()

describe("however fibers take turns", { timeout }, () => {
  it("what is kept for sinks stays bounded, and a sink that heals is caught up with", async () => {
    await check(
      300,
      fc.asyncProperty(
        interleavings,
        fc.constantFrom<Mood>("hanging", "well"),
        fc.constantFrom(1, 3, 3),
        fc.constantFrom(1, 600, 600, 600, 4000),
        async (interleaving, mood, splits, maxPendingBytes) => {
          const few = numbers(400).map(text)
          const [healthy, sick, ward] = [new Patient<string>(), new Patient<string>(mood), new Ward()]
          const rows = numbers(splits).map((split) => few.filter((_, i) => i % splits === split))
          const flow = Flow.from("rows", Source.memorySplits(rows))
          const job = Job.make("job", [
            flow.pipe(Flow.to("healthy", healthy.sink)),
            flow.pipe(Flow.to("sick", sick.sink))
          ])
          const batchSize = 8
          let most = 0
          const living = Effect.scoped(Effect.gen(function*() {
            const options = { batchSize, bufferSize: batchSize, maxPendingBytes, partitions: splits }
            const handle = yield* Job.launch(job, { ...options, checkpointEvery: "1 hour", sinkTimeout: "1 hour" })
            const sample = Effect.map(handle.status, ({ pendingBytes }) => void (most = Math.max(most, pendingBytes)))
            ward.around = healthy.around = sick.around = sample
            for (let turn = 0; turn < 3000; turn++) {
              yield* sample
              yield* Effect.yieldNow
            }
            yield* sick.become("well")
            yield* handle.await
          })).pipe(
            Effect.provide(ward.over(memory)),
            Effect.provideService(Clock.Clock, turns(interleaving.seed)),
            Effect.provideService(MinimumLogLevel, "None")
          )
          succeeded(await run(living, interleaving))
          assert.deepStrictEqual([sorted(healthy.rows), sorted(sick.rows)], [few, few])
          assert.isAbove(most, 0)
          // One batch for each output of each connected part.
          assert.isAtMost(most, maxPendingBytes + 2 * (batchSize * rowBytes + 2))
        }
      )
    )
  })
})
