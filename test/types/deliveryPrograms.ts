// What sinks promise, and what they ask for, exactly.
import { Context, Effect, Schema } from "effect"
import type { CheckpointStore } from "../../src/CheckpointStore.ts"
import type { DeadLetter } from "../../src/DeadLetter.ts"
import * as ErrorPolicy from "../../src/ErrorPolicy.ts"
import * as Flow from "../../src/Flow.ts"
import type { JobError } from "../../src/FlowError.ts"
import * as Job from "../../src/Job.ts"
import * as Sink from "../../src/Sink.ts"
import type { FileError } from "../../src/Source.ts"
import type { Sqlite, SqliteError } from "../../src/Sqlite.ts"
import type { Equal, True } from "./equal.ts"
import { type Click, clicks, Payment, payments } from "./model.ts"

type Refused = { readonly _tag: "Refused" }
class Ledger
  extends Context.Service<Ledger, { readonly put: (payment: Payment) => Effect.Effect<void, Refused> }>()("Ledger")
{}

const put = (payment: Payment) => Effect.flatMap(Ledger, (ledger) => ledger.put(payment))

export const file = Sink.ndjson("payments.ndjson", { schema: Payment })
export const anything = Sink.ndjson("anything.ndjson")
export const memory = Sink.memory<Click>()
export const rows = Sink.sqlite<Payment>({ table: "payments" })
export const columns = Sink.sqlite({
  table: "payments",
  columns: { card: (payment: Payment) => payment.card, amount: (payment: Payment) => payment.amount }
})
export const latest = Sink.sqlite({ table: "latest", key: (payment: Payment) => payment.card, onFresh: "replace" })
export const latestByColumns = Sink.sqlite({
  table: "latest",
  columns: { card: (payment: Payment) => payment.card, amount: (payment: Payment) => payment.amount },
  key: ["card", "amount"]
})
export const upserts = Sink.upsert(put)
export const upsertsBySchema = Sink.upsert({ write: put, schema: Payment, description: "ledger" })
export const own = Sink.idempotent({
  description: "own",
  open: () =>
    Effect.map(
      Ledger,
      (ledger) => ({ write: (rows: ReadonlyArray<Payment>) => Effect.forEach(rows, ledger.put, { discard: true }) })
    )
})
export const ownTransactional = Sink.transactional<string>({
  description: "own",
  open: () => Effect.succeed({ write: () => Effect.void }),
  openEpochs: () =>
    Effect.succeed({
      prepare: (rows) => ({ bytes: new TextEncoder().encode(rows.join("\n")) }),
      apply: () => Effect.void,
      position: { isVolatile: false, current: Effect.undefined, begin: () => Effect.void }
    })
})

export type Sinks = [
  True<Equal<typeof file, Sink.Sink<Payment, FileError, never, "transactional">>>,
  True<Equal<typeof anything, Sink.Sink<unknown, FileError, never, "transactional">>>,
  True<Equal<typeof memory, Sink.MemorySink<Click>>>,
  True<Equal<typeof rows, Sink.Sink<Payment, SqliteError, Sqlite, "transactional">>>,
  True<Equal<typeof columns, typeof rows>>,
  True<Equal<typeof latest, Sink.Sink<Payment, SqliteError, Sqlite, "transactional", "updates">>>,
  True<Equal<typeof latestByColumns, typeof latest>>,
  True<Equal<typeof upserts, Sink.Sink<Payment, Refused, Ledger, "idempotent", "updates">>>,
  True<Equal<typeof upsertsBySchema, typeof upserts>>,
  True<Equal<typeof own, Sink.Sink<Payment, Refused, Ledger, "idempotent">>>,
  True<Equal<typeof ownTransactional, Sink.Sink<string, never, never, "transactional">>>
]

declare const letters: Sink.Sink<DeadLetter, Refused, never, "transactional">

const toFile = payments.pipe(Flow.to("file", file))
const toLedger = payments.pipe(Flow.to("ledger", upserts))
const toLedgerAtOnce = payments.pipe(Flow.to("at once", upserts, { delivery: "eager" }))
const toLedgerByEpoch = payments.pipe(Flow.to("by epoch", upserts, { delivery: "by epoch" }))
const toLedgerInPlace = payments.pipe(Flow.to("in place", Sink.upsert((payment) => put(payment))))
const toColumns = payments.pipe(
  Flow.to("columns", Sink.sqlite({ table: "t", columns: { id: (row) => row.id, card: (row) => row.card }, key: "id" }))
)
const toTable = clicks.pipe(
  Flow.map((click) => ({ page: click.page })),
  Flow.typed(Schema.Struct({ page: Schema.String })),
  Flow.to("table", Sink.sqlite({ table: "pages", key: (row) => row.page }))
)

export const exactlyOnce = Job.make("exactly once", [toFile, toLedger, toLedgerByEpoch, toTable], {
  delivery: "exactly-once",
  onError: ErrorPolicy.deadLetter,
  deadLetters: letters
})
export const atLeastOnce = Job.make("at least once", [toFile, toLedgerAtOnce], { delivery: "at-least-once" })
const program = Job.run(exactlyOnce)

export type Jobs = [
  True<Equal<typeof toFile, Flow.Output<FileError, never, "transactional">>>,
  True<Equal<typeof toLedger, Flow.Output<FileError | Refused, Ledger, "idempotent">>>,
  True<Equal<typeof toLedgerByEpoch, typeof toLedger>>,
  True<Equal<typeof toLedgerAtOnce, Flow.Output<FileError | Refused, Ledger, "plain">>>,
  True<Equal<typeof toLedgerInPlace, typeof toLedger>>,
  True<Equal<typeof toColumns, Flow.Output<FileError | SqliteError, Sqlite, "transactional">>>,
  True<Equal<typeof toTable, Flow.Output<SqliteError, Sqlite, "transactional">>>,
  True<Equal<Effect.Error<typeof program>, FileError | Refused | SqliteError | JobError>>,
  True<Equal<Effect.Services<typeof program>, Ledger | Sqlite | CheckpointStore>>,
  True<Equal<typeof atLeastOnce, Job.Job<FileError | Refused, Ledger>>>
]
