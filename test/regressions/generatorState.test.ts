import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { MinimumLogLevel } from "effect/References"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { Aggregate, CheckpointStore, Flow, Job, Sink, Source, Supervision, Watermark, Window } from "millrace"

// A bounded generator is told again by its own watermark; one with other state is not.
it.effect("a watermark generator of one's own goes on where the checkpoint left it", () =>
  Effect.gen(function*() {
    const queue = Source.queue<number>()
    const late = Sink.memory<Window.Late<number>>()
    let fails = 1
    const fromTheFourth = Watermark.make({
      initial: 0,
      observe: (seen) => seen + 1,
      watermark: (seen) => seen >= 4 ? 100 : -Infinity,
      state: Schema.Number
    })
    const counted = Flow.from("numbers", queue, { time: () => 50, watermark: fromTheFourth }).pipe(
      Flow.map((n) => {
        if (n === 4 && fails-- > 0) throw new Error("once")
        return n
      }),
      Flow.global,
      Flow.window("counts", Window.tumbling(10)),
      Flow.aggregate({ count: Aggregate.count })
    )
    const job = Job.make("generator", [
      counted.results.pipe(Flow.discard("only late records are looked at")),
      counted.late.pipe(Flow.to("late", late))
    ])
    yield* Effect.scoped(Effect.gen(function*() {
      const handle = yield* Job.launch(job, { restarts: Supervision.restarts({ max: 1, within: "1 minute" }) })
      yield* handle.pushAll(queue, [1, 2, 3])
      while ((yield* handle.status).checkpoints < 2) yield* TestClock.adjust("1 second")
      yield* handle.pushAll(queue, [4, 5, 6])
      yield* handle.drain
      assert.strictEqual((yield* handle.status).restarts, 1)
    })).pipe(Effect.provide(CheckpointStore.layerMemory), Effect.provideService(MinimumLogLevel, "None"))
    assert.deepStrictEqual((yield* late.contents).map(({ value }) => value), [5, 6])
  }))
