// You will learn to test a job as it will be run: killed in the middle and started again on other partitions, with a sink
// that hangs, over streams that are out of order and late; and to hold an aggregate of your own to the laws of all.
import { Arbitrary, Console, Effect, Schema } from "effect"
import { Aggregate, Flow, Job, Sink, Source, Watermark, Window } from "millrace"
import { EventStream, Laws, TestJob } from "millrace/testing"

const Trip = Schema.Struct({ taxi: Schema.String, meters: Schema.Int, at: Schema.Int })
type Trip = typeof Trip.Type

const trips = Source.queue({ durable: true, schema: Trip })
const distances = Sink.memory<{ readonly taxi: string; readonly meters: number }>()
const driven = Flow.from("trips", trips, { time: ({ at }) => at, watermark: Watermark.boundedOutOfOrderness(100) })
  .pipe(
    Flow.keyBy(({ taxi }) => taxi, Schema.String),
    Flow.window("driven", Window.tumbling("1 second")),
    Flow.aggregate({ meters: Aggregate.sum(({ meters }: Trip) => meters) }),
    Flow.only("results", { late: "counted by nobody" })
  )
const job = Job.make("taxis", [
  driven.pipe(Flow.map(({ key, value }) => ({ taxi: key, meters: value.meters })), Flow.to("distances", distances))
], { delivery: "exactly-once" })

const crash = Effect.gen(function*() {
  const test = yield* TestJob.make(job, { partitions: 2 })
  yield* test.pushAll(trips, [{ taxi: "a", meters: 500, at: 100 }, { taxi: "b", meters: 300, at: 200 }])
  yield* test.crash
  yield* test.restart({ partitions: 5 })
  yield* Console.log("open after a crash:", (yield* test.query(driven, "a"))[0]?.value)
  yield* test.sink("distances").hang
  yield* test.advanceEventTime(trips, 999)
  yield* Console.log("while the sink hangs:", yield* test.outputs(distances))
  yield* test.sink("distances").heal
  yield* Console.log("when it is well:", (yield* test.outputs(distances)).toSorted((a, b) => a.meters - b.meters))
})

// Whatever comes, in whatever order: what is on time is counted once, and what is late is not.
const property = Effect.gen(function*() {
  const streams = EventStream.arbitrary(Trip, {
    time: "at",
    keys: { field: "taxi", values: ["a", "b"] },
    step: 300,
    disorder: 100,
    lateness: { share: 0.1, by: "1 minute" },
    duplicates: 0.1
  })
  const result = yield* Arbitrary.checkEffect(
    streams,
    ({ duplicates, events, late, onTime }) =>
      onTime.length + late.length === events.length && duplicates.length < Math.max(1, events.length),
    { seed: 15 }
  )
  yield* Console.log("streams:", result._tag)
})

// Keeps the last input, whenever it came: what is merged decides which one that is.
const last = Aggregate.make<number, number, number>({
  zero: 0,
  add: (_, input) => input,
  merge: (_, that) => that,
  done: (acc) => acc,
  state: Schema.Number
})
const laws = Effect.forEach(
  Laws.aggregate(last, { values: [0, 1, 2], seed: 15 }),
  ({ check, name }) =>
    Effect.matchEffect(check, {
      onSuccess: () => Effect.void,
      onFailure: ({ expected, found }) => Console.log(`broken: ${name} (${found} instead of ${expected})`)
    }),
  { discard: true }
)

await Effect.all([crash, property, laws], { discard: true }).pipe(Effect.scoped, Effect.runPromise)

// Output:
// open after a crash: { meters: 500 }
// while the sink hangs: []
// when it is well: [ { taxi: 'b', meters: 300 }, { taxi: 'a', meters: 500 } ]
// streams: Passed
// broken: zero is the identity of merge (0 instead of 1)
// broken: any split folds to the same answer (0 instead of 1)
// broken: any order of arrival gives the same answer where each input has a time of its own (0 instead of 1)
