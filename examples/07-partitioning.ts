// You will learn to spread work over partitions: a key decides for windows, and without a key you deal records out by a rule,
// in turn, by hash, to all or as you like. The results are the same with any number of partitions; only their order is not.
import { Console, Effect, Schema } from "effect"
import { Aggregate, CheckpointStore, Flow, Job, Partitioner, Sink, Source, Watermark, Window } from "millrace"

const words = Flow.from("words", Source.memory("the mill grinds the grain that the mill was given".split(" ")), {
  time: () => 0,
  watermark: Watermark.monotonic
})

const counts = words.pipe(
  // Work that needs no key: each of four partitions takes every fourth word.
  Flow.partitionBy(Partitioner.roundRobin),
  Flow.map((word) => word.toUpperCase(), { name: "upper case" }),
  // Equal words go to the same partition, whoever has them.
  Flow.keyBy((word) => word, Schema.String),
  Flow.window("counts", Window.tumbling("1 minute")),
  Flow.aggregate({ count: Aggregate.count }),
  Flow.only("results", { late: "all words have the same time" })
)

const byLength = Partitioner.custom("by length", (word: string, partitions) => word.length % partitions)

const program = Effect.fnUntraced(function*(partitions: number) {
  const counted = Sink.memory<string>()
  const lengths = Sink.memory<number>()
  const copies = Sink.memory<string>()
  const job = Job.make("words", [
    counts.pipe(Flow.map(({ key, value }) => `${key} ${value.count}`), Flow.to("counts", counted)),
    words.pipe(Flow.partitionBy(byLength), Flow.map((word) => word.length), Flow.to("lengths", lengths)),
    words.pipe(Flow.partitionBy(Partitioner.broadcast), Flow.to("copies", copies))
  ])
  const handle = yield* Job.launch(job, { partitions })
  yield* handle.await
  const { operators } = yield* handle.status
  yield* Console.log(`${partitions} partitions`)
  yield* Console.log(
    `  words per partition: ${operators.filter(({ operator }) => operator === "upper case").map((at) => at.in)}`
  )
  yield* Console.log(`  counts: ${(yield* counted.contents).toSorted().join(", ")}`)
  yield* Console.log(`  lengths: ${(yield* lengths.contents).toSorted((a, b) => a - b).join(" ")}`)
  yield* Console.log(`  copies: ${(yield* copies.contents).length}`)
}, Effect.scoped)

// A store of its own for each run: with one for both, the second would find that the job has finished.
const run = (partitions: number) => program(partitions).pipe(Effect.provide(CheckpointStore.layerMemory))

await Effect.forEach([1, 4], run).pipe(Effect.runPromise)

// Output:
// 1 partitions
//   words per partition: 10
//   counts: GIVEN 1, GRAIN 1, GRINDS 1, MILL 2, THAT 1, THE 3, WAS 1
//   lengths: 3 3 3 3 4 4 4 5 5 6
//   copies: 10
// 4 partitions
//   words per partition: 3,3,2,2
//   counts: GIVEN 1, GRAIN 1, GRINDS 1, MILL 2, THAT 1, THE 3, WAS 1
//   lengths: 3 3 3 3 4 4 4 5 5 6
//   copies: 40
