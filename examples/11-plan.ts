// You will learn that a job is a value: before anything runs it prints itself, as text with the stages that so many
// partitions make, and as a Mermaid flowchart. Its fingerprint tells whether two programs have the same structure.
import { Console, Effect, Schema } from "effect"
import { Aggregate, Flow, Job, Plan, Sink, Source, Watermark, Window } from "millrace"

const Payment = Schema.Struct({ card: Schema.String, amount: Schema.Number, at: Schema.Number })

const payments = Flow.from("payments", Source.ndjson("payments.ndjson", Payment), {
  time: (payment) => payment.at,
  watermark: Watermark.boundedOutOfOrderness("5 seconds")
})

const spending = (size: "1 minute" | "1 hour") => {
  const windowed = payments.pipe(
    Flow.filter((payment) => payment.amount > 0, { name: "no refunds" }),
    Flow.keyBy((payment) => payment.card, Schema.String, { name: "by card" }),
    Flow.window("spending", Window.tumbling(size), { allowedLateness: "30 seconds" }),
    Flow.aggregate({ count: Aggregate.count, spent: Aggregate.sum((payment) => payment.amount) })
  )
  return Job.make("spending", [
    windowed.results.pipe(Flow.to("spending file", Sink.ndjson("spending.ndjson"))),
    windowed.late.pipe(Flow.discard("a report of what was spent so far is enough"))
  ])
}

const main = Effect.gen(function*() {
  const { plan } = spending("1 minute")
  yield* Console.log(Plan.toText(plan, { partitions: 4 }))
  yield* Console.log("")
  yield* Console.log(Plan.toMermaid(plan, { partitions: 4 }))
  yield* Console.log("")
  const same = Plan.fingerprint(plan) === Plan.fingerprint(spending("1 minute").plan)
  const other = Plan.fingerprint(plan) === Plan.fingerprint(spending("1 hour").plan)
  yield* Console.log(
    `written again: ${same ? "the same" : "another"} plan; by the hour: ${other ? "the same" : "another"}`
  )
})

await Effect.runPromise(main)

// Output:
// job spending, 4 partitions, plan 6fe056384a307b42
//   stage 0
//     source "payments" ndjson payments.ndjson, boundedOutOfOrderness(5000 ms)
//     filter "no refunds" <- payments
//   stage 1
//     keyBy "by card" <== no refunds
//     window "spending" tumbling(60000 ms), allowed lateness 30000 ms of { count: count, spent: sum } <- by card
//     sink "spending file" ndjson spending.ndjson, transactional <- spending.results
//   spending.late is discarded: a report of what was spent so far is enough
//
// flowchart LR
//   o0(["source<br/>payments<br/>ndjson payments.ndjson, boundedOutOfOrderness(5000 ms)"])
//   o1["filter<br/>no refunds"]
//   o2["keyBy<br/>by card"]
//   o3["window<br/>spending<br/>tumbling(60000 ms), allowed lateness 30000 ms of { count: count, spent: sum }"]
//   s0[("sink<br/>spending file<br/>ndjson spending.ndjson")]
//   o0 --> o1
//   o1 ==> o2
//   o2 --> o3
//   o3 -->|results| s0
//
// written again: the same plan; by the hour: another
