// You will learn to run a job inside an application: it pushes records into a bounded queue while the job runs, asks how far
// the job is, and reads the windows that are still open. At the end it drains: every window fires, and nothing is lost.
import { Console, Effect, Schedule, Schema } from "effect"
import { Aggregate, CheckpointStore, Flow, Job, Sink, Source, Watermark, Window } from "millrace"

const Order = Schema.Struct({ customer: Schema.String, amount: Schema.Number, at: Schema.Number })

const orders = Source.queue({ capacity: 100, onFull: "suspend", schema: Order })

const spending = Flow.from("orders", orders, { time: (order) => order.at, watermark: Watermark.monotonic }).pipe(
  Flow.keyBy((order) => order.customer, Schema.String),
  Flow.window("spending", Window.tumbling("1 hour")),
  Flow.aggregate({ orders: Aggregate.count, spent: Aggregate.sum((order) => order.amount) }),
  Flow.only("results", { late: "the application pushes in order" })
)

const job = Job.make("orders", [
  spending.pipe(
    Flow.map(({ key, value }) => `${key} spent ${value.spent} in ${value.orders} orders`),
    Flow.to("console", Sink.forEach(Console.log))
  )
])

const main = Effect.gen(function*() {
  const handle = yield* Job.launch(job)
  yield* handle.push(orders, { customer: "ada", amount: 30, at: 1_000 })
  yield* handle.pushAll(orders, [
    { customer: "bob", amount: 5, at: 2_000 },
    { customer: "ada", amount: 12, at: 3_000 }
  ])

  // A push answers when the queue has the record; the job takes it in when it can.
  const { operators } = yield* handle.status.pipe(
    Effect.repeat({
      until: ({ operators }) => operators.some(({ in: taken, operator }) => operator === "spending" && taken === 3),
      schedule: Schedule.spaced("1 millis")
    })
  )
  for (const { in: taken, kind, keys, operator } of operators.filter(({ kind }) => kind === "window")) {
    yield* Console.log(`${kind} ${operator} took in ${taken} and holds ${keys} keys`)
  }
  for (const { value, window } of yield* Job.query(handle, spending, "ada")) {
    yield* Console.log(`so far, from ${window.start} to ${window.end}: ${value.spent}`)
  }

  yield* handle.drain
  yield* Console.log(`the job has ${(yield* handle.status).state}`)
})

await main.pipe(Effect.scoped, Effect.provide(CheckpointStore.layerMemory), Effect.runPromise)

// Output:
// window spending took in 3 and holds 2 keys
// so far, from 0 to 3600000: 42
// ada spent 42 in 2 orders
// bob spent 5 in 1 orders
// the job has finished
