// You will learn the shape of every program: a source with event time, a key, a window, aggregates, and a sink.
// The records come out of order, and yet each is counted in the minute in which it happened.
import { Console, Effect, Schema } from "effect"
import { Aggregate, CheckpointStore, Flow, Job, Sink, Source, Watermark, Window } from "millrace"

const View = Schema.Struct({ page: Schema.String, at: Schema.Number })

const views: ReadonlyArray<typeof View.Type> = [
  { page: "/home", at: 5_000 },
  { page: "/docs", at: 42_000 },
  { page: "/home", at: 61_000 },
  { page: "/home", at: 58_000 }, // happened before the one above, came after it
  { page: "/docs", at: 130_000 }
]

const viewed = Flow.from("views", Source.memory(views, { schema: View }), {
  time: (view) => view.at,
  watermark: Watermark.boundedOutOfOrderness("10 seconds")
})

const perMinute = viewed.pipe(
  Flow.keyBy((view) => view.page, Schema.String),
  Flow.window("per minute", Window.tumbling("1 minute")),
  Flow.aggregate({ views: Aggregate.count }),
  Flow.only("results", { late: "ten seconds are enough for these views" })
)

const job = Job.make("count per minute", [
  perMinute.pipe(
    Flow.map(({ key, value, window }) => `${key} had ${value.views} in minute ${window.start / 60_000}`),
    Flow.to("console", Sink.forEach(Console.log))
  )
])

await Job.run(job).pipe(Effect.provide(CheckpointStore.layerMemory), Effect.runPromise)

// Output:
// /home had 2 in minute 0
// /docs had 1 in minute 0
// /home had 1 in minute 1
// /docs had 1 in minute 2
