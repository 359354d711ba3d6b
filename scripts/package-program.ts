/** A small program that `test-package.ts` compiles and runs against the packed package. */
import { Effect, Schema } from "effect"
import { Aggregate, CheckpointStore, Flow, Job, Sink, Source, Watermark } from "millrace"
import * as Testing from "millrace/testing"
import * as Window from "millrace/Window"

const readings = Flow.from(
  "readings",
  Source.memory([{ station: "north", at: 0 }, { station: "south", at: 1 }, { station: "north", at: 2 }]),
  { time: (reading) => reading.at, watermark: Watermark.boundedOutOfOrderness("1 second") }
)

const counted = readings.pipe(
  Flow.keyBy((reading) => reading.station, Schema.String),
  Flow.window("counted", Window.tumbling("1 minute")),
  Flow.aggregate({ count: Aggregate.count }),
  Flow.only("results", { late: "none is" })
)

const sink = Sink.memory<{ readonly key: string; readonly value: { readonly count: number } }>()

const program = Effect.gen(function*() {
  yield* Job.run(Job.make("package", [counted.pipe(Flow.to("counts", sink))]))
  const panes = yield* sink.contents
  const counts = panes.map(({ key, value }) => [key, value.count] as const).sort(([a], [b]) => (a < b ? -1 : 1))
  if (Object.keys(Testing).length === 0) return yield* Effect.die("millrace/testing exports nothing")
  console.log(JSON.stringify(Object.fromEntries(counts)))
})

await program.pipe(Effect.provide(CheckpointStore.layerMemory), Effect.runPromise)
