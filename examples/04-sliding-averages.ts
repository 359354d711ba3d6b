// You will learn windows that overlap: the average of the last minute, new every twenty seconds. Overlapping windows share
// their parts, so that a record costs the same however many windows it is in.
import { Console, Effect, Option, Schema } from "effect"
import { Aggregate, CheckpointStore, Flow, Job, Sink, Source, Watermark, Window } from "millrace"

const Price = Schema.Struct({ symbol: Schema.String, price: Schema.Number, second: Schema.Number })

const prices: ReadonlyArray<typeof Price.Type> = [
  { symbol: "MILL", price: 10, second: 5 },
  { symbol: "MILL", price: 16, second: 30 },
  { symbol: "MILL", price: 13, second: 55 },
  { symbol: "MILL", price: 20, second: 70 }
]

const quoted = Flow.from("prices", Source.memory(prices, { schema: Price }), {
  time: (price) => price.second * 1_000,
  watermark: Watermark.monotonic
})

const averages = quoted.pipe(
  Flow.keyBy((price) => price.symbol, Schema.String),
  Flow.window("averages", Window.sliding({ size: "1 minute", every: "20 seconds" })),
  Flow.aggregate({
    prices: Aggregate.count,
    // An average of nothing is none; a window that fires has a record.
    average: Aggregate.map(Aggregate.avg((price) => price.price), Option.getOrThrow)
  }),
  Flow.only("results", { late: "prices come in order" })
)

const job = Job.make("sliding averages", [
  averages.pipe(
    Flow.map(({ value, window }) =>
      `${window.start / 1_000} s to ${window.end / 1_000} s: ${value.average.toFixed(1)} of ${value.prices}`
    ),
    Flow.to("console", Sink.forEach(Console.log))
  )
])

await Job.run(job).pipe(Effect.provide(CheckpointStore.layerMemory), Effect.runPromise)

// Output:
// -40 s to 20 s: 10.0 of 1
// -20 s to 40 s: 13.0 of 2
// 0 s to 60 s: 13.0 of 3
// 20 s to 80 s: 16.3 of 3
// 40 s to 100 s: 16.5 of 2
// 60 s to 120 s: 20.0 of 1
