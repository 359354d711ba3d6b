// You will learn to keep a checkpoint under a name, write it to a file that people can read, and begin a job from it, on
// another number of partitions. Here somebody has counted nonsense since the savepoint, and the job goes back: the sink
// takes back what it was given, and the open windows are as they were.
import { Console, Effect, Schema } from "effect"
import { Aggregate, Checkpoint, CheckpointStore, Flow, Job, Sink, Source, Watermark, Window } from "millrace"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

const Visit = Schema.Struct({ page: Schema.String, at: Schema.Int })

const visits = Source.queue({ durable: true, schema: Visit })

const perPage = Flow.from("visits", visits, { time: (visit) => visit.at, watermark: Watermark.monotonic }).pipe(
  Flow.keyBy((visit) => visit.page, Schema.String),
  Flow.window("perPage", Window.tumbling("1 minute")),
  Flow.aggregate({ visits: Aggregate.count }),
  Flow.only("results", { late: "visits are pushed in order" })
)

const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "visits-"))
const results = Path.join(folder, "minutes.ndjson")
const saved = Path.join(folder, "before-the-bot.json")

const job = Job.make("visits", [
  perPage.pipe(
    Flow.map(({ key, value, window }) => ({ minute: window.start / 60_000, page: key, visits: value.visits })),
    Flow.to("minutes", Sink.ndjson(results))
  )
])

// Sorted: between keys there is no order.
const lines = () => Fs.readFileSync(results, "utf8").trimEnd().split("\n").toSorted().map((line) => `  ${line}`)

const visited = (minute: number, ...pages: ReadonlyArray<string>) =>
  pages.map((page) => ({ page, at: minute * 60_000 }))

const first = Effect.gen(function*() {
  const handle = yield* Job.launch(job)
  yield* handle.pushAll(visits, [...visited(0, "/", "/buy"), ...visited(1, "/")])
  const savepoint = yield* handle.savepoint("before the bot")
  yield* Checkpoint.writeFile(savepoint, saved)

  yield* handle.pushAll(visits, [...visited(1, "/bot", "/bot", "/bot"), ...visited(2, "/bot")])
  yield* handle.stop
  yield* Console.log(["with the bot:", ...lines()].join("\n"))
})

const second = Effect.gen(function*() {
  const kept = yield* Checkpoint.savepoints("visits")
  yield* Console.log(`the store keeps: ${kept.map(({ name }) => name).join(", ")}`)
  const checkpoint = yield* Checkpoint.readFile(saved)
  const handle = yield* Job.launch(job, { partitions: 3 }).pipe(Effect.provide(Checkpoint.layer(checkpoint)))
  yield* handle.pushAll(visits, visited(1, "/buy"))
  yield* handle.drain
  yield* Console.log(["from the savepoint, without it:", ...lines()].join("\n"))
})

for (const life of [first, second]) {
  await life.pipe(
    Effect.scoped,
    Effect.provide(CheckpointStore.layerFileSystem(Path.join(folder, "checkpoints"))),
    Effect.runPromise
  )
}

// Output:
// with the bot:
//   {"minute":0,"page":"/","visits":1}
//   {"minute":0,"page":"/buy","visits":1}
//   {"minute":1,"page":"/","visits":1}
//   {"minute":1,"page":"/bot","visits":3}
// the store keeps: before the bot
// from the savepoint, without it:
//   {"minute":0,"page":"/","visits":1}
//   {"minute":0,"page":"/buy","visits":1}
//   {"minute":1,"page":"/","visits":1}
//   {"minute":1,"page":"/buy","visits":1}
