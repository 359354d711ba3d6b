// You will learn what becomes of a record that comes after its window has fired: within the allowed lateness the window
// fires again, and after it the record goes to an output of its own, with the reason.
import { Console, Effect, Option, Schema } from "effect"
import { Aggregate, CheckpointStore, Flow, Job, Sink, Source, Watermark, Window } from "millrace"

const Reading = Schema.Struct({ sensor: Schema.String, celsius: Schema.Number, at: Schema.Number })

const readings: ReadonlyArray<typeof Reading.Type> = [
  { sensor: "roof", celsius: 20, at: 1_000 },
  { sensor: "roof", celsius: 21, at: 12_000 }, // event time passes the end of the first window: it fires
  { sensor: "roof", celsius: 35, at: 2_000 }, // late, but allowed: it fires again
  { sensor: "roof", celsius: 22, at: 20_000 }, // event time passes end + lateness: the window is gone
  { sensor: "roof", celsius: 90, at: 3_000 } // too late
]

const hottest = Flow.from("readings", Source.memory(readings, { schema: Reading }), {
  time: (reading) => reading.at,
  watermark: Watermark.monotonic
}).pipe(
  Flow.keyBy((reading) => reading.sensor, Schema.String),
  Flow.window("hottest", Window.tumbling("10 seconds"), { allowedLateness: "5 seconds" }),
  Flow.aggregate({ hottest: Aggregate.max((reading) => reading.celsius) })
)

const results = hottest.results.pipe(
  Flow.map(({ timing, value, window }) =>
    `${window.start} to ${window.end} ms: ${Option.getOrThrow(value.hottest)} °C, ${timing}`
  )
)
const late = hottest.late.pipe(
  Flow.map(({ lateByMillis, value, watermark }) =>
    `${value.celsius} °C is ${lateByMillis} ms behind the watermark ${watermark}: dropped`
  )
)

const job = Job.make("late records", [
  results.pipe(Flow.merge(late), Flow.to("console", Sink.forEach(Console.log)))
])

await Job.run(job).pipe(Effect.provide(CheckpointStore.layerMemory), Effect.runPromise)

// Output:
// 0 to 10000 ms: 20 °C, on-time
// 0 to 10000 ms: 35 °C, late
// 10000 to 20000 ms: 21 °C, on-time
// 90 °C is 16999 ms behind the watermark 19999: dropped
// 20000 to 30000 ms: 22 °C, on-time
