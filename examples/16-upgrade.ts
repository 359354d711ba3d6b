// You will learn to change a job that has state. It counts visits per page and minute; the next version leaves out bots,
// and also adds up how long visits took. `Job.plan` says what would become of the open windows before anything runs: the
// first try is refused, the second brings a migration.
import { Console, Effect, References, Schema } from "effect"
import { Aggregate, CheckpointStore, Flow, Job, Sink, Source, Upgrade, Watermark, Window } from "millrace"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

const Visit = Schema.Struct({ page: Schema.String, millis: Schema.Int, at: Schema.Int })
type Visit = typeof Visit.Type

const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "upgrade-"))
const results = Path.join(folder, "minutes.ndjson")
const visits = Source.queue({ durable: true, schema: Visit })
const from = Flow.from("visits", visits, { time: ({ at }: Visit) => at, watermark: Watermark.monotonic })

const minutes = (flow: Flow.Flow<Visit>) =>
  flow.pipe(
    Flow.keyBy(({ page }) => page, Schema.String, { name: "by page" }),
    Flow.window("minutes", Window.tumbling("1 minute"))
  )

const written = Flow.to("minutes", Sink.ndjson<unknown>(results))

const first = Job.make("visits", [
  minutes(from).pipe(
    Flow.aggregate({ visits: Aggregate.count }),
    Flow.only("results", { late: "visits are pushed in order" }),
    Flow.map(({ key, value }) => ({ page: key, ...value })),
    written
  )
])

const second = (state: Upgrade.StateVersion) =>
  Job.make("visits", [
    minutes(from.pipe(Flow.filter(({ page }) => page !== "/bot", { name: "people" }))).pipe(
      Flow.aggregate({ visits: Aggregate.count, millis: Aggregate.sum(({ millis }) => millis) }, { state }),
      Flow.only("results", { late: "visits are pushed in order" }),
      Flow.map(({ key, value }) => ({ page: key, ...value })),
      written
    )
  ])

const main = Effect.gen(function*() {
  const before = yield* Job.launch(first)
  yield* before.pushAll(visits, [{ page: "/", millis: 5, at: 1000 }, { page: "/buy", millis: 9, at: 2000 }])
  // What is under way is brought to its sinks, so that nothing but state and positions is left.
  yield* before.stop

  yield* Console.log(Upgrade.toText(yield* Job.plan(second({ version: 1 }))))
  // The visits so far took nobody knows how long: the sum begins empty.
  const upgraded = second({ version: 2, migrations: { 1: ({ visits }) => ({ visits }) } })
  yield* Console.log(Upgrade.toText(yield* Job.plan(upgraded)))

  const after = yield* Job.launch(upgraded)
  yield* after.pushAll(visits, [{ page: "/", millis: 7, at: 3000 }, { page: "/bot", millis: 1, at: 4000 }])
  yield* after.drain
  yield* Console.log(Fs.readFileSync(results, "utf8").trimEnd().split("\n").toSorted().join("\n"))
})

await main.pipe(
  Effect.scoped,
  Effect.provide(CheckpointStore.layerSqlite(Path.join(folder, "job.db"))),
  Effect.provideService(References.MinimumLogLevel, "Warn"),
  Effect.runPromise
)

// Output:
// job "visits" goes on from epoch 3
//   kept     source "visits"         the position of 1 split
//   new      operator "people"
//   kept     operator "by page"
//   refused  operator "minutes"      its field "millis" is new
//            → Count its version up: Flow.aggregate(fields, { state: { version: 2, migrations: { 1: (old) => … } } }). Begin with it anew by { upgrade: { reset: ["minutes"] } }
//   kept     operator "minutes.map"
//   kept     output "minutes"
// The job refuses this checkpoint.
// job "visits" goes on from epoch 3
//   kept      source "visits"         the position of 1 split
//   new       operator "people"
//   kept      operator "by page"
//   migrated  operator "minutes"      its state was version 1 and is version 2; 2 entries of state
//   kept      operator "minutes.map"
//   kept      output "minutes"
// The job goes on with everything it has.
// {"page":"/","visits":2,"millis":7}
// {"page":"/buy","visits":1,"millis":0}
