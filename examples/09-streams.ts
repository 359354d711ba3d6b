// You will learn the two bridges to the streams of Effect: any stream can be the source of a flow, and any flow can be read
// as a stream, which starts its job when it is pulled. In between, time is event time, and the windows are Millrace's.
import { Console, Effect, Option, Schema, Stream } from "effect"
import { Aggregate, Flow, Watermark, Window } from "millrace"

const temperatures = Stream.range(0, 11).pipe(
  Stream.map((i) => ({ room: i % 2 === 0 ? "attic" : "cellar", celsius: i % 2 === 0 ? 18 + i : 12, at: i * 10_000 }))
)

const perMinute = Flow.fromStream("temperatures", temperatures, {
  time: (reading) => reading.at,
  watermark: Watermark.monotonic
}).pipe(
  Flow.keyBy((reading) => reading.room, Schema.String),
  Flow.window("per minute", Window.tumbling("1 minute")),
  Flow.aggregate({ mean: Aggregate.avg((reading) => reading.celsius) }),
  Flow.only("results", { late: "the stream is in order" })
)

const main = perMinute.pipe(
  Flow.toStream(),
  Stream.map(({ key, value, window }) => ({
    room: key,
    minute: window.start / 60_000,
    mean: Option.getOrThrow(value.mean)
  })),
  Stream.filter(({ mean }) => mean > 12),
  Stream.runForEach(({ mean, minute, room }) => Console.log(`minute ${minute}: ${mean} °C in the ${room}`))
)

await Effect.runPromise(main)

// Output:
// minute 0: 20 °C in the attic
// minute 1: 26 °C in the attic
