// You will learn to stop a job in the middle and go on where it was, in another process and on another number of
// partitions. Checkpoints and results are in one SQLite file, so every epoch is a single transaction for both: each order
// is in the table exactly once, whatever happens in between.
import { Console, Effect, Option, Schema } from "effect"
import { Aggregate, Checkpoint, CheckpointStore, Flow, Job, Sink, Source, Sqlite, Watermark, Window } from "millrace"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

const Order = Schema.Struct({ shop: Schema.String, cents: Schema.Int, at: Schema.Int })

// An offer to a durable queue succeeds when a checkpoint holds the record.
const orders = Source.queue({ durable: true, schema: Order })

const takings = Flow.from("orders", orders, { time: (order) => order.at, watermark: Watermark.monotonic }).pipe(
  Flow.keyBy((order) => order.shop, Schema.String),
  Flow.window("hourly", Window.tumbling("1 hour")),
  Flow.aggregate({ orders: Aggregate.count, cents: Aggregate.sum((order) => order.cents) }),
  Flow.only("results", { late: "shops report in order" })
)

const table = Sink.sqlite({
  table: "takings",
  key: ["shop", "hour"],
  columns: {
    shop: ({ key }: Flow.Element<typeof takings>) => key,
    hour: ({ window }) => window.start / 3_600_000,
    orders: ({ value }) => value.orders,
    cents: ({ value }) => value.cents
  }
})
// With a sink that may write twice, such as Sink.forEach, this would not compile.
const job = Job.make("takings", [takings.pipe(Flow.to("takings", table))], { delivery: "exactly-once" })

const printTable = Effect.gen(function*() {
  const database = yield* Sqlite.Sqlite
  const [rows] = yield* database.transaction([{ sql: "SELECT shop, hour, orders, cents FROM takings ORDER BY 1, 2" }])
  for (const { cents, hour, orders, shop } of rows!) {
    yield* Console.log(`  ${shop}, hour ${hour}: ${orders} orders, ${cents}`)
  }
})

const morning = Effect.gen(function*() {
  const handle = yield* Job.launch(job)
  yield* handle.pushAll(orders, [
    { shop: "Oslo", cents: 500, at: 600_000 },
    { shop: "Rome", cents: 700, at: 900_000 },
    { shop: "Oslo", cents: 250, at: 3_700_000 }
  ])
  yield* handle.stop
  yield* Console.log("stopped in the second hour, which stays open:")
  yield* printTable
})

const afternoon = Effect.gen(function*() {
  const handle = yield* Job.launch(job, { partitions: 4 })
  yield* handle.push(orders, { shop: "Oslo", cents: 50, at: 3_800_000 })
  yield* handle.drain
  yield* Console.log("gone on with four partitions, to the end:")
  yield* printTable
  const { state } = Option.getOrThrow(yield* Checkpoint.latest("takings"))
  yield* Console.log(`the last checkpoint says that the job has ${state}: to run it again would do nothing`)
})

const file = Path.join(Fs.mkdtempSync(Path.join(Os.tmpdir(), "takings-")), "takings.db")
for (const life of [morning, afternoon]) {
  // Opened and closed each time, as two processes would.
  await life.pipe(Effect.scoped, Effect.provide(CheckpointStore.layerSqlite(file)), Effect.runPromise)
}

// Output:
// stopped in the second hour, which stays open:
//   Oslo, hour 0: 1 orders, 500
//   Rome, hour 0: 1 orders, 700
// gone on with four partitions, to the end:
//   Oslo, hour 0: 1 orders, 500
//   Oslo, hour 1: 2 orders, 300
//   Rome, hour 0: 1 orders, 700
// the last checkpoint says that the job has finished: to run it again would do nothing
