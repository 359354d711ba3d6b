import { afterEach, assert, describe, it, vi } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { CheckpointStore, Flow, Job, Sink, Source, Watermark } from "millrace"
import { Attempt } from "../../src/internal/runtime/component.ts"

// Batches without rows, which only say that event time has moved, piled up without bound before a reader that stood still.
describe("what says only that event time has moved", () => {
  afterEach(() => void vi.restoreAllMocks())

  it.effect("does not pile up before a partition that stands still", () =>
    Effect.gen(function*() {
      const endless = function*() {
        for (let at = 0;; at++) yield { key: at < 16 ? "slow" : "dropped", at }
      }
      // A checkpoint keeps rows and no batches: what channels hold is seen while its picture is taken.
      const pictures = vi.spyOn(Attempt.prototype, "capture")
      const job = Job.make("still", [
        Flow.from("rows", Source.iterable(endless()), { time: ({ at }) => at, watermark: Watermark.monotonic }).pipe(
          Flow.keyBy(({ key }) => key, Schema.String),
          Flow.filter(({ key }) => key === "slow"),
          Flow.to("slow", Sink.forEach(() => Effect.sleep("1 hour")))
        )
      ])
      yield* Effect.scoped(Effect.gen(function*() {
        const handle = yield* Job.launch(job, { partitions: 4, batchSize: 8, bufferSize: 16 })
        while ((yield* handle.status).checkpoints < 4) {
          yield* TestClock.adjust("1 second")
          for (let turn = 0; turn < 500; turn++) yield* Effect.yieldNow
        }
      })).pipe(Effect.provide(CheckpointStore.layerMemory))
      const lengths = pictures.mock.results.flatMap((result) =>
        result.type === "return"
          ? result.value.part.inputs.flatMap(({ channels }) => channels.map(({ batches }) => batches.length))
          : []
      )
      assert.isAbove(Math.max(...lengths), 0)
      assert.isAtMost(Math.max(...lengths), 17)
    }))
})
