// What the programs here, allowed and refused, are about.
import { Schema } from "effect"
import * as Flow from "../../src/Flow.ts"
import * as Source from "../../src/Source.ts"
import * as Watermark from "../../src/Watermark.ts"

export const Payment = Schema.Struct({
  id: Schema.String,
  card: Schema.String,
  amount: Schema.Number,
  at: Schema.Number
})
export interface Payment extends Schema.Struct.Type<typeof Payment.fields> {}

export const Click = Schema.Struct({ page: Schema.String, at: Schema.Number })
export interface Click extends Schema.Struct.Type<typeof Click.fields> {}

export const Login = Schema.TaggedStruct("Login", { user: Schema.String, at: Schema.Number })
export interface Login extends Schema.Struct.Type<typeof Login.fields> {}
export const Failed = Schema.TaggedStruct("Failed", { user: Schema.String, code: Schema.Number })
export interface Failed extends Schema.Struct.Type<typeof Failed.fields> {}

const watermark = Watermark.boundedOutOfOrderness("5 seconds")
export const paymentSource: Source.Source<Payment, Source.FileError> = Source.ndjson("payments.ndjson", Payment)
const clickSource: Source.Source<Click> = Source.memory<Click>([], { schema: Click })
const auditSource: Source.Source<Login | Failed> = Source.memory<Login | Failed>([])

export const payments = Flow.from("payments", paymentSource, { time: (payment) => payment.at, watermark })
export const clicks = Flow.from("clicks", clickSource, { time: (click) => click.at, watermark })
export const audit = Flow.from("audit", auditSource)
export const byCard = payments.pipe(Flow.keyBy((payment) => payment.card, Schema.String))
