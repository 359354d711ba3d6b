// Programs with no annotation on any lambda, and what the compiler makes of them, exactly.
import { Option, Order, Predicate, Schema, Stream } from "effect"
import * as Aggregate from "../../src/Aggregate.ts"
import * as ErrorPolicy from "../../src/ErrorPolicy.ts"
import * as Flow from "../../src/Flow.ts"
import type { JobError } from "../../src/FlowError.ts"
import * as Partitioner from "../../src/Partitioner.ts"
import * as Sink from "../../src/Sink.ts"
import * as Source from "../../src/Source.ts"
import * as Watermark from "../../src/Watermark.ts"
import * as Window from "../../src/Window.ts"
import type { Equal, True } from "./equal.ts"
import { audit, byCard, type Click, clicks, Failed, type Login, Payment, payments, paymentSource } from "./model.ts"

type Files = Source.FileError
type Untimed = "no event time"
const watermark = Watermark.boundedOutOfOrderness("5 seconds")
const minute = Window.tumbling("1 minute")

// -------------------------------------------------------------------------------------------------------------------
// sources: what a flow begins with
// -------------------------------------------------------------------------------------------------------------------

type Row = { readonly id: string; readonly at: number }
const Row = Schema.Struct({ id: Schema.String, at: Schema.Number })

export const lines = Source.ndjson("rows.ndjson", Row)
export const table = Source.csv("rows.csv", Schema.Struct({ id: Schema.String, at: Schema.NumberFromString }))
export const items = Source.memory([{ id: "a", at: 1 }])
export const generated = Source.iterable(new Set([1, 2]))
export const streamed = Source.stream(Stream.fail("Down" as const))
export const pushed = Source.queue({ schema: Row })
export const pushedOf = Source.queue<Row>()
export const timed = Flow.from("rows", lines, { time: (row) => row.at, watermark })
export const untimed = Flow.from("rows", lines)
export const punctuated = Flow.from("rows", lines, {
  time: (row) => row.at,
  watermark: Watermark.punctuated((row, timestamp) => row.id === "heartbeat" ? timestamp : undefined)
})
export const untimedSkipping = Flow.from("rows", lines, { onError: ErrorPolicy.skip })
export const timedSkipping = Flow.from("rows", lines, { onError: ErrorPolicy.skip, time: (row) => row.at, watermark })
const timeOptions = { onError: ErrorPolicy.skip, time: (row: Row) => row.at, watermark }
export const timedLater = Flow.from("rows", lines, timeOptions)
export const ofStream = Flow.fromStream("numbers", Stream.range(1, 2), { time: (n) => n, watermark })
export const ofStreamUntimed = Flow.fromStream("numbers", Stream.range(1, 2), { schema: Schema.Number })

export type Sources = [
  True<Equal<typeof lines, Source.Source<Row, Files>>>,
  True<Equal<typeof table, Source.Source<Row, Files>>>,
  True<Equal<typeof items, Source.Source<{ id: string; at: number }>>>,
  True<Equal<typeof generated, Source.Source<number>>>,
  True<Equal<typeof streamed, Source.Source<never, "Down">>>,
  True<Equal<typeof pushed, Source.QueueSource<Row>>>,
  True<Equal<typeof pushedOf, Source.QueueSource<Row>>>,
  True<Equal<typeof timed, Flow.Flow<Row, Files>>>,
  True<Equal<typeof untimed, Flow.Flow<Row, Files, never, Untimed>>>,
  True<Equal<typeof punctuated, Flow.Flow<Row, Files>>>,
  True<Equal<typeof untimedSkipping, typeof untimed>>,
  True<Equal<typeof timedSkipping, typeof timed>>,
  True<Equal<typeof timedLater, typeof timed>>,
  True<Equal<typeof ofStream, Flow.Flow<number>>>,
  True<Equal<typeof ofStreamUntimed, Flow.Flow<number, never, never, Untimed>>>
]

// -------------------------------------------------------------------------------------------------------------------
// one record at a time, in a pipe and with the subject first
// -------------------------------------------------------------------------------------------------------------------

const positive = (amount: number) => amount > 0 ? Option.some(amount) : Option.none()

export const amounts = payments.pipe(Flow.map((payment) => payment.amount))
export const amountsNamed = payments.pipe(
  Flow.map((payment) => payment.amount, { name: "amounts", onError: ErrorPolicy.fail })
)
export const parts = clicks.pipe(Flow.flatMap((click) => click.page.split("/")))
export const some = payments.pipe(Flow.filterMap((payment) => positive(payment.amount)))
export const large = payments.pipe(Flow.filter((payment) => payment.amount > 100))
export const largeByCard = byCard.pipe(Flow.filter((payment) => payment.amount > 100, { name: "large" }))
export const logins = audit.pipe(Flow.filter((event) => event._tag === "Login"))
export const failures = audit.pipe(Flow.filter(Schema.is(Failed)))
export const typed = amounts.pipe(Flow.typed(Schema.Number))
export const merged = payments.pipe(Flow.merge(clicks))
export const mergedUntimed = payments.pipe(Flow.merge(audit))
export const keyed = clicks.pipe(Flow.keyBy((click) => click.page, Schema.String))
export const keyedByTwo = payments.pipe(
  Flow.keyBy((payment) => [payment.card, payment.amount > 100], Schema.Tuple([Schema.String, Schema.Boolean]))
)
export const global = payments.pipe(Flow.global)
export const dealt = payments.pipe(Flow.partitionBy(Partitioner.hash((payment) => payment.card)))
export const rotated = payments.pipe(Flow.partitionBy(Partitioner.roundRobin, { onError: ErrorPolicy.skip }))
export const kinds = audit.pipe(
  Flow.split("kinds", { failed: (event) => event._tag === "Failed", known: (event) => event.user !== "" })
)
export const byOrigin = audit.pipe(
  Flow.split("origin", { failed: Schema.is(Failed) }, { onError: ErrorPolicy.skip })
)

export type OneAtATime = [
  True<Equal<typeof amounts, Flow.Flow<number, Files>>>,
  True<Equal<typeof amountsNamed, Flow.Flow<number, Files>>>,
  True<Equal<typeof parts, Flow.Flow<string>>>,
  True<Equal<typeof some, Flow.Flow<number, Files>>>,
  True<Equal<typeof large, Flow.Flow<Payment, Files>>>,
  True<Equal<typeof largeByCard, Flow.KeyedFlow<string, Payment, Files>>>,
  True<Equal<typeof logins, Flow.Flow<Login, never, never, Untimed>>>,
  True<Equal<Flow.Element<typeof failures>["code"], number>>,
  True<Equal<typeof typed, Flow.Flow<number, Files>>>,
  True<Equal<typeof merged, Flow.Flow<Payment | Click, Files>>>,
  True<Equal<typeof mergedUntimed, Flow.Flow<Payment | Login | Failed, Files, never, Untimed>>>,
  True<Equal<typeof keyed, Flow.KeyedFlow<string, Click>>>,
  True<Equal<typeof keyedByTwo, Flow.KeyedFlow<readonly [string, boolean], Payment, Files>>>,
  True<Equal<typeof global, Flow.KeyedFlow<void, Payment, Files>>>,
  True<Equal<typeof dealt, Flow.Flow<Payment, Files>>>,
  True<Equal<typeof rotated, Flow.Flow<Payment, Files>>>,
  True<Equal<typeof kinds.failed, Flow.Flow<Failed, never, never, Untimed>>>,
  True<Equal<typeof kinds.known, Flow.Flow<Login | Failed, never, never, Untimed>>>,
  True<Equal<typeof kinds.otherwise, Flow.Flow<Login | Failed, never, never, Untimed>>>,
  True<Equal<Flow.Element<typeof byOrigin.failed>["code"], number>>
]

export const first = {
  amounts: Flow.map(payments, (payment) => payment.amount),
  amountsNamed: Flow.map(payments, (payment) => payment.amount, { name: "amounts", onError: ErrorPolicy.fail }),
  parts: Flow.flatMap(clicks, (click) => click.page.split("/")),
  some: Flow.filterMap(payments, (payment) => positive(payment.amount)),
  large: Flow.filter(payments, (payment) => payment.amount > 100),
  largeByCard: Flow.filter(byCard, (payment) => payment.amount > 100, { name: "large" }),
  logins: Flow.filter(audit, (event) => event._tag === "Login"),
  merged: Flow.merge(payments, clicks),
  keyed: Flow.keyBy(clicks, (click) => click.page, Schema.String),
  global: Flow.global(payments),
  dealt: Flow.partitionBy(payments, Partitioner.hash((payment) => payment.card)),
  kinds: Flow.split(audit, "kinds", {
    failed: (event) => event._tag === "Failed",
    known: (event) => event.user !== ""
  })
}

export type SubjectFirst = [
  True<Equal<typeof first.amounts, typeof amounts>>,
  True<Equal<typeof first.amountsNamed, typeof amounts>>,
  True<Equal<typeof first.parts, typeof parts>>,
  True<Equal<typeof first.some, typeof some>>,
  True<Equal<typeof first.large, typeof large>>,
  True<Equal<typeof first.largeByCard, typeof largeByCard>>,
  True<Equal<typeof first.logins, typeof logins>>,
  True<Equal<typeof first.merged, typeof merged>>,
  True<Equal<typeof first.keyed, typeof keyed>>,
  True<Equal<typeof first.global, typeof global>>,
  True<Equal<typeof first.dealt, typeof dealt>>,
  True<Equal<typeof first.kinds.failed, typeof kinds.failed>>,
  True<Equal<typeof first.kinds.known, typeof kinds.known>>,
  True<Equal<typeof first.kinds.otherwise, typeof kinds.otherwise>>
]

// -------------------------------------------------------------------------------------------------------------------
// functions that ask for less than the flow has leave its type as it is; functions of a type wait for their flow
// -------------------------------------------------------------------------------------------------------------------

const hasAmount = (value: { readonly amount: number }) => value.amount > 1
const cardOf = (value: { readonly card: string }) => value.card

export const modest = {
  filtered: byCard.pipe(Flow.filter(hasAmount)),
  keyed: payments.pipe(Flow.keyBy(cardOf, Schema.String)),
  dealt: payments.pipe(Flow.partitionBy(Partitioner.roundRobin)),
  split: payments.pipe(Flow.split("split", { large: hasAmount })),
  counted: byCard.pipe(Flow.window("w", minute), Flow.aggregate({ n: Aggregate.count }))
}
export const modestFirst = {
  filtered: Flow.filter(byCard, hasAmount),
  keyed: Flow.keyBy(payments, cardOf, Schema.String),
  dealt: Flow.partitionBy(payments, Partitioner.roundRobin),
  split: Flow.split(payments, "split", { large: hasAmount }),
  counted: Flow.aggregate(Flow.window(byCard, "w", minute), { n: Aggregate.count })
}
const waiting = {
  filtered: Flow.filter((payment: Payment) => payment.amount > 1),
  keyed: Flow.keyBy((payment: Payment) => payment.card, Schema.String),
  dealt: Flow.partitionBy(Partitioner.hash((payment: Payment) => payment.card)),
  split: Flow.split("split", { large: (payment: Payment) => payment.amount > 1 })
}
export const waited = {
  filtered: byCard.pipe(waiting.filtered),
  keyed: payments.pipe(waiting.keyed),
  dealt: waiting.dealt(payments),
  split: payments.pipe(waiting.split)
}

export type Modest = [
  True<Equal<typeof modest.filtered, Flow.KeyedFlow<string, Payment, Files>>>,
  True<Equal<typeof modest.keyed, Flow.KeyedFlow<string, Payment, Files>>>,
  True<Equal<typeof modest.dealt, Flow.Flow<Payment, Files>>>,
  True<Equal<typeof modest.split.large, Flow.Flow<Payment, Files>>>,
  True<Equal<typeof modest.split.otherwise, Flow.Flow<Payment, Files>>>,
  True<Equal<typeof modest.counted.late, Flow.Flow<Window.Late<Payment>, Files>>>,
  True<Equal<typeof modestFirst.filtered, typeof modest.filtered>>,
  True<Equal<typeof modestFirst.keyed, typeof modest.keyed>>,
  True<Equal<typeof modestFirst.dealt, typeof modest.dealt>>,
  True<Equal<typeof modestFirst.split.large, typeof modest.split.large>>,
  True<Equal<typeof modestFirst.counted, typeof modest.counted>>,
  True<Equal<typeof waited.filtered, typeof modest.filtered>>,
  True<Equal<typeof waited.keyed, typeof modest.keyed>>,
  True<Equal<typeof waited.dealt, typeof modest.dealt>>,
  True<Equal<typeof waited.split.large, typeof modest.split.large>>
]

// -------------------------------------------------------------------------------------------------------------------
// windows and aggregates
// -------------------------------------------------------------------------------------------------------------------

export const windowed = byCard.pipe(Flow.window("spending", minute, { allowedLateness: "30 seconds" }))
export const spending = windowed.pipe(
  Flow.aggregate({ count: Aggregate.count, spent: Aggregate.sum((payment) => payment.amount) })
)
export const spendingFirst = Flow.aggregate(Flow.window(byCard, "spending", minute), {
  count: Aggregate.count,
  spent: Aggregate.sum((payment) => payment.amount)
})
export const overall = payments.pipe(
  Flow.global,
  Flow.window("overall", Window.sliding({ size: "1 hour", every: "5 minutes" })),
  Flow.aggregate({ count: Aggregate.count })
)

const own = Aggregate.sum((payment: Payment) => payment.amount)
const stats = { count: Aggregate.count, spent: own }
export const all = windowed.pipe(Flow.aggregate({
  ...stats,
  mean: Aggregate.avg((payment) => payment.amount),
  least: Aggregate.min((payment) => payment.amount),
  largest: Aggregate.maxBy((payment) => payment.amount, Order.Number),
  smallest: Aggregate.minBy((payment) => payment.id, Order.String, { schema: Payment }),
  everything: Aggregate.collect(),
  some: Aggregate.collect({ atMost: 10 }),
  both: Aggregate.tuple([Aggregate.count, Aggregate.sum((payment) => payment.amount)]),
  nested: Aggregate.struct({ n: Aggregate.count, s: Aggregate.sum((payment) => payment.amount) }),
  text: Aggregate.map(Aggregate.sum((payment) => payment.amount), (sum) => sum.toFixed(2)),
  large: Aggregate.filter(Aggregate.count, (payment) => payment.amount > 100),
  largeSum: Aggregate.filter(Aggregate.sum((payment) => payment.amount), (payment) => payment.amount > 100),
  ids: Aggregate.mapInput(Aggregate.collect<string>(), (payment) => payment.id),
  cards: Aggregate.collect<Payment>().pipe(
    Aggregate.map((payments) => new Set(payments.map((payment) => payment.card)).size)
  ),
  pair: Aggregate.zip(Aggregate.count, own),
  product: Aggregate.make({
    zero: 1,
    add: (product, payment) => product * payment.amount,
    merge: (self, that) => self * that,
    done: (product) => product.toFixed(2),
    state: Schema.Number
  }),
  last: Aggregate.make({
    zero: { id: "", at: -Infinity },
    add: (last, payment, time) => time < last.at ? last : { id: payment.id, at: time },
    merge: (self, that) => that.at < self.at ? self : that,
    done: (last) => last.id,
    state: Schema.Struct({ id: Schema.String, at: Schema.Number })
  })
}))
export const reused = windowed.pipe(Flow.aggregate(stats))
export const strings = Aggregate.count.pipe(Aggregate.filter(Predicate.isString), Aggregate.map(String))
export const folded = Aggregate.fold(own, [])
export const widerAggregate: Aggregate.Aggregate<Payment, unknown, number | string> = Aggregate.sum(
  (value: { readonly amount: number }) => value.amount
)

type Spending = { readonly count: number; readonly spent: number }
type All = Flow.Element<typeof all.results>["value"]
export type Windows = [
  True<Equal<typeof windowed, Flow.Windowed<string, Payment, Files>>>,
  True<Equal<typeof spending, Flow.WindowOutputs<string, Payment, Spending, Files, never, never>>>,
  True<Equal<typeof spending.results, Flow.Flow<Window.Pane<string, Spending>, Files>>>,
  True<Equal<typeof spending.late, Flow.Flow<Window.Late<Payment>, Files>>>,
  True<Equal<typeof spendingFirst, typeof spending>>,
  True<Equal<typeof overall.results, Flow.Flow<Window.Pane<void, { readonly count: number }>, Files>>>,
  True<Equal<All["count"], number>>,
  True<Equal<All["spent"], number>>,
  True<Equal<All["mean"], Option.Option<number>>>,
  True<Equal<All["least"], Option.Option<number>>>,
  True<Equal<All["largest"], Option.Option<Payment>>>,
  True<Equal<All["smallest"], Option.Option<Payment>>>,
  True<Equal<All["everything"], ReadonlyArray<Payment>>>,
  True<Equal<All["some"], ReadonlyArray<Payment>>>,
  True<Equal<All["both"], readonly [number, number]>>,
  True<Equal<All["nested"], { readonly n: number; readonly s: number }>>,
  True<Equal<All["text"], string>>,
  True<Equal<All["large"], number>>,
  True<Equal<All["largeSum"], number>>,
  True<Equal<All["ids"], ReadonlyArray<string>>>,
  True<Equal<All["cards"], number>>,
  True<Equal<All["pair"], readonly [number, number]>>,
  True<Equal<All["product"], string>>,
  True<Equal<All["last"], string>>,
  True<Equal<typeof reused.results, typeof spending.results>>,
  True<Equal<typeof strings, Aggregate.Aggregate<unknown, number, string>>>,
  True<Equal<typeof folded, number>>
]

// -------------------------------------------------------------------------------------------------------------------
// outputs: a record, one of it, and where a flow ends
// -------------------------------------------------------------------------------------------------------------------

export const daily = byCard.pipe(
  Flow.window("hour", Window.tumbling("1 hour")),
  Flow.aggregate({ spent: Aggregate.sum((payment) => payment.amount), n: Aggregate.count }),
  Flow.only("results", { late: "hours are corrected by hand" }),
  Flow.keyBy((pane) => pane.key, Schema.String),
  Flow.window("day", Window.tumbling("1 day")),
  Flow.aggregate({
    spent: Aggregate.sum((pane) => pane.value.spent),
    busiest: Aggregate.maxBy((pane) => pane.value.n, Order.Number)
  }),
  Flow.only("results", { late: "same" }),
  Flow.map((pane) => [pane.key, pane.value.spent] as const)
)
export const onlyFirst = Flow.only(spending, "results", { late: "too old to act on" })
export const onlyFailed = audit.pipe(
  Flow.split("kinds", { failed: (event) => event._tag === "Failed" }),
  Flow.only("failed", { otherwise: "fine" })
)
export const written = amounts.pipe(Flow.to("amounts", Sink.ndjson("amounts.ndjson")))
export const kept = amounts.pipe(Flow.to("amounts", Sink.memory()))
export const keptFirst = Flow.to(amounts, "amounts", Sink.memory<number>())
export const collector = Sink.memory<number>()
export const streamedOut = amounts.pipe(Flow.toStream())
export const streamedFirst = Flow.toStream(amounts)
export const streamedNamed = Flow.toStream(amounts, { name: "amounts" })
export const dropped = spending.late.pipe(Flow.discard("late payments are refunds of last month"))

export type Outputs = [
  True<Equal<typeof daily, Flow.Flow<readonly [string, number], Files>>>,
  True<Equal<typeof onlyFirst, typeof spending.results>>,
  True<Equal<typeof onlyFailed, Flow.Flow<Failed, never, never, Untimed>>>,
  True<Equal<typeof written, Flow.Output<Files, never, "transactional">>>,
  True<Equal<typeof kept, Flow.Output<Files, never, "transactional">>>,
  True<Equal<typeof keptFirst, Flow.Output<Files, never, "transactional">>>,
  True<Equal<typeof collector, Sink.MemorySink<number>>>,
  True<Equal<typeof streamedOut, Stream.Stream<number, Files | JobError>>>,
  True<Equal<typeof streamedFirst, typeof streamedOut>>,
  True<Equal<typeof streamedNamed, typeof streamedOut>>,
  True<Equal<typeof dropped, Flow.Output<Files>>>
]

// -------------------------------------------------------------------------------------------------------------------
// helpers: generic over what they do not touch
// -------------------------------------------------------------------------------------------------------------------

const amountsOf = <E, R, T extends Flow.Trait>(flow: Flow.Flow<Payment, E, R, T>) =>
  flow.pipe(Flow.map((payment) => payment.amount), Flow.filter((amount) => amount > 0))
export const inPipe = payments.pipe(amountsOf)
export const applied = amountsOf(Flow.from("payments", paymentSource))

const perMinute = <K, A, E, R>(flow: Flow.KeyedFlow<K, A, E, R>) =>
  flow.pipe(Flow.window("m", minute), Flow.aggregate({ n: Aggregate.count, all: Aggregate.collect() }))
export const minutes = byCard.pipe(Flow.filter((payment) => payment.amount > 1), perMinute)

const logged = <A, E, R, T extends Flow.Trait>(flow: Flow.Flow<A, E, R, T>) =>
  flow.pipe(Flow.split("log", { odd: (value) => value === undefined }), Flow.only("otherwise", { odd: "noise" }))
export const quiet = payments.pipe(logged)

export type Helpers = [
  True<Equal<typeof inPipe, Flow.Flow<number, Files>>>,
  True<Equal<typeof applied, Flow.Flow<number, Files, never, Untimed>>>,
  True<
    Equal<
      typeof minutes.results,
      Flow.Flow<Window.Pane<string, { readonly n: number; readonly all: ReadonlyArray<Payment> }>, Files>
    >
  >,
  True<Equal<typeof quiet, Flow.Flow<Payment, Files>>>
]

// -------------------------------------------------------------------------------------------------------------------
// variance
// -------------------------------------------------------------------------------------------------------------------

type HasAmount = { readonly amount: number }
export const wider: Flow.Flow<HasAmount, Files | "Other", "Service", Untimed | "retracts"> = payments
export const unkeyed: Flow.Flow<HasAmount, Files> = byCard
export const widerKeyed: Flow.KeyedFlow<string, HasAmount, Files> = byCard
export const narrowerSink: Sink.Sink<Payment, Files | "Other"> = Sink.ndjson<HasAmount>("amounts.ndjson")
export const widerSource: Source.Source<HasAmount, Files | "Other"> = paymentSource
export const widerPane: Window.Pane<string | number, unknown> = null! as Window.Pane<string, number>
export const narrowerPartitioner: Partitioner.Partitioner<Payment> = Partitioner.hash((value: HasAmount) =>
  value.amount
)
export const anyOutput: ReadonlyArray<Flow.Output<Files, never, Sink.Guarantee>> = [written, dropped]
