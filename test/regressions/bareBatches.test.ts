import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { type Checkpoint, CheckpointStore, Flow, Job, Sink, Source, Watermark } from "millrace"

// Batches without rows, which only say that event time has moved, piled up without bound before a reader that stood still.
describe("what says only that event time has moved", () => {
  it.effect("does not pile up before a partition that stands still", () =>
    Effect.gen(function*() {
      const endless = function*() {
        for (let at = 0;; at++) yield { key: at < 16 ? "slow" : "dropped", at }
      }
      const seen: Array<Checkpoint.Checkpoint> = []
      const store = Layer.effect(
        CheckpointStore.CheckpointStore,
        Effect.map(CheckpointStore.CheckpointStore, (memory) => ({
          ...memory,
          commit: (checkpoint: Checkpoint.Checkpoint) =>
            Effect.andThen(Effect.sync(() => seen.push(checkpoint)), memory.commit(checkpoint))
        }))
      ).pipe(Layer.provide(CheckpointStore.layerMemory))
      const job = Job.make("still", [
        Flow.from("rows", Source.iterable(endless()), { time: ({ at }) => at, watermark: Watermark.monotonic }).pipe(
          Flow.keyBy(({ key }) => key, Schema.String),
          Flow.filter(({ key }) => key === "slow"),
          Flow.to("slow", Sink.forEach(() => Effect.sleep("1 hour")))
        )
      ])
      yield* Effect.scoped(Effect.gen(function*() {
        const handle = yield* Job.launch(job, { partitions: 4, batchSize: 8, bufferSize: 16 })
        while ((yield* handle.status).checkpoints < 3) {
          yield* TestClock.adjust("1 second")
          for (let turn = 0; turn < 500; turn++) yield* Effect.yieldNow
        }
      })).pipe(Effect.provide(store))
      const longest = Math.max(
        ...seen.flatMap(({ tasks }) => tasks.flatMap(({ record }) => record.channels.map(({ items }) => items.length)))
      )
      assert.isAtMost(longest, 17)
    }))
})
