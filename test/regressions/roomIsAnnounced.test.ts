/**
 * A source that waited for room in its inlet could wait on after there was some: who woke it for another reason had taken
 * its wish to be told back. The job then stood still until the next checkpoint.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Aggregate, CheckpointStore, Flow, Job, Sink, Source, Watermark, Window } from "millrace"

const rows = Array.from({ length: 5000 }, (_, at) => ({ key: at % 10, at }))

/** Gives as much as fits, so that the inlet is full after every pull. */
const greedy = Source.make<{ readonly key: number; readonly at: number }>({
  description: "greedy",
  bounded: true,
  replayable: true,
  splits: Effect.succeed(["0"]),
  open: (_, position) =>
    Effect.sync(() => {
      let row = Number(position ?? 0)
      return {
        pull: (max) =>
          Effect.sync(() => {
            if (row === rows.length) return undefined
            const first = row
            const some = rows.slice(row, row + max)
            row += some.length
            return { rows: some, positionAfter: (n) => first + n }
          })
      }
    })
})

describe("an inlet that was full", () => {
  for (const batchSize of [16, 64, 256, 1024]) {
    // The test clock stands still, so no checkpoint comes to the rescue.
    it.effect(`is filled again in steps of ${batchSize}, without a checkpoint`, () =>
      Effect.gen(function*() {
        const panes = Sink.memory<unknown>()
        const counts = Flow.from("greedy", greedy, { time: ({ at }) => at, watermark: Watermark.monotonic }).pipe(
          Flow.keyBy(({ key }) => key, Schema.Number),
          Flow.window("counts", Window.tumbling(100)),
          Flow.aggregate({ count: Aggregate.count })
        )
        const job = Job.make("job", [
          counts.results.pipe(Flow.to("panes", panes)),
          counts.late.pipe(Flow.discard("none"))
        ])
        yield* Job.run(job, { batchSize, bufferSize: 2 * batchSize })
        assert.strictEqual((yield* panes.contents).length, 500)
      }).pipe(Effect.provide(CheckpointStore.layerMemory)), 10_000)
  }
})
