// You will learn to bring your own: an aggregate is a fold that can be merged and written down, and a window is a function
// from a time to the stretches it belongs to. Here they are a growth rate and the quarters of a year.
import { Console, Effect, Schema } from "effect"
import { Aggregate, CheckpointStore, Flow, Job, Sink, Source, Watermark, Window } from "millrace"

const Sale = Schema.Struct({ shop: Schema.String, total: Schema.Number, day: Schema.String })
type Sale = typeof Sale.Type

const sales: ReadonlyArray<Sale> = [
  { shop: "mill", total: 100, day: "2024-01-10" },
  { shop: "mill", total: 150, day: "2024-03-30" },
  { shop: "mill", total: 120, day: "2024-02-20" },
  { shop: "mill", total: 200, day: "2024-04-01" },
  { shop: "mill", total: 180, day: "2024-06-30" }
]

const quarters = Window.custom({
  name: "quarters",
  assign: (timestamp) => {
    const date = new Date(timestamp)
    const first = date.getUTCMonth() - date.getUTCMonth() % 3
    return [{ start: Date.UTC(date.getUTCFullYear(), first), end: Date.UTC(date.getUTCFullYear(), first + 3) }]
  },
  maxSize: "92 days"
})

const Ends = Schema.Array(Schema.Struct({ at: Schema.Number, total: Schema.Number }))

/** The first and the last total by event time, so that the order of arrival does not matter. */
const earliestAndLatest = (totals: typeof Ends.Type): typeof Ends.Type => {
  const inOrder = totals.toSorted((self, that) => self.at - that.at)
  return inOrder.length < 3 ? inOrder : [inOrder[0]!, inOrder.at(-1)!]
}

const growth = Aggregate.make({
  zero: [] as typeof Ends.Type,
  add: (ends, { total }: Sale, at) => earliestAndLatest([...ends, { at, total }]),
  merge: (self, that) => earliestAndLatest([...self, ...that]),
  done: (ends) => `${Math.round((ends.at(-1)!.total / ends[0]!.total - 1) * 100)} %`,
  state: Ends
})

const perQuarter = Flow.from("sales", Source.memory(sales, { schema: Sale }), {
  time: (sale) => Date.parse(sale.day),
  watermark: Watermark.boundedOutOfOrderness("60 days")
}).pipe(
  Flow.keyBy((sale) => sale.shop, Schema.String),
  Flow.window("per quarter", quarters),
  Flow.aggregate({ sales: Aggregate.count, growth }),
  Flow.only("results", { late: "the books are closed after 60 days" })
)

const job = Job.make("quarters", [
  perQuarter.pipe(
    Flow.map(({ key, value, window }) =>
      `${key}, quarter from ${new Date(window.start).toISOString().slice(0, 10)}: ${value.sales} sales, ${value.growth}`
    ),
    Flow.to("console", Sink.forEach(Console.log))
  )
])

await Job.run(job).pipe(Effect.provide(CheckpointStore.layerMemory), Effect.runPromise)

// Output:
// mill, quarter from 2024-01-01: 3 sales, 50 %
// mill, quarter from 2024-04-01: 2 sales, -10 %
