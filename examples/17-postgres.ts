// You will learn to keep checkpoints and results in Postgres: every epoch is a single transaction for both, and whoever reads
// the table sees each takings once, whatever happens to the job or to the server.
//
// Needs a server: set DATABASE_URL, such as postgres://postgres@localhost:5432/test. The example makes a schema `example_17`
// of its own in that database, and drops it in the end. In a project of yours: npm install @effect/sql-pg
import * as PgClient from "@effect/sql-pg/PgClient"
import { Config, Console, Effect, Layer, Schema } from "effect"
import { Aggregate, Flow, Job, Source, Watermark, Window } from "millrace"
import * as Postgres from "millrace/Postgres"

const Order = Schema.Struct({ shop: Schema.String, cents: Schema.Int, at: Schema.Int })

const orders = Source.queue({ durable: true, schema: Order })

const takings = Flow.from("orders", orders, { time: (order) => order.at, watermark: Watermark.monotonic }).pipe(
  Flow.keyBy((order) => order.shop, Schema.String),
  Flow.window("hourly", Window.tumbling("1 hour")),
  Flow.aggregate({ orders: Aggregate.count, cents: Aggregate.sum((order) => order.cents) }),
  Flow.only("results", { late: "shops report in order" })
)

// The table is made with these types, unless it is there; a row replaces the one with the same key.
const table = Postgres.sink({
  table: "takings",
  key: ["shop", "hour"],
  columns: {
    shop: ({ key }: Flow.Element<typeof takings>) => key,
    hour: ({ window }) => new Date(window.start),
    orders: ({ value }) => value.orders,
    cents: ({ value }) => value.cents
  },
  types: { hour: "timestamptz", orders: "integer", cents: "bigint" }
})

const job = Job.make("takings", [takings.pipe(Flow.to("takings", table))], { delivery: "exactly-once" })

const printTable = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  const rows = yield* sql`SELECT shop, extract(hour FROM hour AT TIME ZONE 'UTC')::integer AS hour, orders, cents
    FROM example_17.takings ORDER BY shop, hour`
  for (const { cents, hour, orders, shop } of rows) {
    yield* Console.log(`  ${shop}, hour ${hour}: ${orders} orders, ${cents}`)
  }
})

const main = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  yield* Effect.addFinalizer(() => Effect.orDie(sql`DROP SCHEMA example_17 CASCADE`))

  const morning = yield* Job.launch(job)
  yield* morning.pushAll(orders, [
    { shop: "Oslo", cents: 500, at: 600_000 },
    { shop: "Rome", cents: 700, at: 900_000 },
    { shop: "Oslo", cents: 250, at: 3_700_000 }
  ])
  yield* morning.stop
  yield* Console.log("stopped in the second hour, which stays open:")
  yield* printTable

  const afternoon = yield* Job.launch(job, { partitions: 4 })
  yield* afternoon.push(orders, { shop: "Oslo", cents: 50, at: 3_800_000 })
  yield* afternoon.drain
  yield* Console.log("gone on with four partitions, to the end:")
  yield* printTable
  const [epochs] = yield* sql`SELECT count(*) > 0 AS kept FROM example_17.millrace_epochs`
  yield* Console.log(`the checkpoints are in the same database: ${epochs?.["kept"]}`)
})

// One client for the job and for the rest of the program, with the pool that it needs anyway.
const client = PgClient.layerConfig({ url: Config.Redacted("DATABASE_URL") })
const database = Postgres.layerCheckpointStore({ schema: "example_17" }).pipe(Layer.provideMerge(client))

if (process.env["DATABASE_URL"] === undefined) {
  console.log("Set DATABASE_URL to the URL of a Postgres, such as postgres://postgres@localhost:5432/test")
} else await main.pipe(Effect.scoped, Effect.provide(database), Effect.runPromise)

// Output:
// stopped in the second hour, which stays open:
//   Oslo, hour 0: 1 orders, 500
//   Rome, hour 0: 1 orders, 700
// gone on with four partitions, to the end:
//   Oslo, hour 0: 1 orders, 500
//   Oslo, hour 1: 2 orders, 300
//   Rome, hour 0: 1 orders, 700
// the checkpoints are in the same database: true
