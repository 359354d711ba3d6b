// One record at a time: sources, functions, keys.
import { Schema, Stream } from "effect"
import * as Flow from "../../../src/Flow.ts"
import * as Partitioner from "../../../src/Partitioner.ts"
import * as Source from "../../../src/Source.ts"
import * as Watermark from "../../../src/Watermark.ts"
import { audit, byCard, clicks, Payment, payments, paymentSource } from "../model.ts"

const watermark = Watermark.monotonic
const cardOf = (value: { readonly card: string }) => value.card
const takesString = (flow: Flow.Flow<string>) => flow
const takesLiteralKey = (flow: Flow.KeyedFlow<"a" | "b", unknown, Source.FileError>) => flow

// refused: Property 'time' is missing
export const watermarkAlone = Flow.from("payments", paymentSource, { watermark })

// refused: Property 'watermark' is missing
export const timeAlone = Flow.from("payments", paymentSource, { time: (payment) => payment.at })

// refused: Property 'att' does not exist on type 'Payment'
export const typoInTime = Flow.from("payments", paymentSource, { time: (payment) => payment.att, watermark })

// refused: Type 'string' is not assignable to type 'number'
export const timeOfText = Flow.from("payments", paymentSource, { time: (payment) => payment.id, watermark })

// refused: Property 'page' is missing in type
export const otherWatermark = Flow.from("payments", paymentSource, {
  time: (payment) => payment.at,
  watermark: Watermark.punctuated((click: { readonly page: string }) => click.page.length)
})

// refused: is missing the following properties from type 'Source<
export const notASource = Flow.from("payments", Stream.make(1))

// refused: Type 'number' is not assignable to type '{ readonly id: string;
export const schemaOfOthers = Source.memory([1, 2], { schema: Payment })

// refused: Property 'amont' does not exist on type 'Payment'. Did you mean 'amount'?
export const typo = payments.pipe(Flow.map((payment) => payment.amont))

// refused: Property 'amont' does not exist on type 'Payment'. Did you mean 'amount'?
export const typoAfterFilter = byCard.pipe(
  Flow.filter((payment) => payment.amount > 1),
  Flow.map((payment) => payment.amont)
)

// refused: Type 'number' is not assignable to type 'string'
export const keyAndSchema = payments.pipe(Flow.keyBy((payment) => payment.amount, Schema.String))

// refused: Type 'number' is not assignable to type 'string'
export const keyAndSchemaFirst = Flow.keyBy(payments, (payment) => payment.amount, Schema.String)

// refused: Property 'card' is missing in type
export const keyOfOthers = clicks.pipe(Flow.keyBy(cardOf, Schema.String))

// refused: Property 'card' is missing in type
export const dealtByOthers = clicks.pipe(Flow.partitionBy(Partitioner.hash(cardOf)))

// refused: Type 'string' is not assignable to type '"a" | "b"'
export const keysAreInvariant = takesLiteralKey(byCard)

// refused: is not assignable to type 'Iterable<
export const notIterable = payments.pipe(Flow.flatMap((payment) => payment.amount))

// refused: is not assignable to type 'Option<
export const notAnOption = payments.pipe(Flow.filterMap((payment) => payment.amount))

// refused: Type 'Payment' is not assignable to type 'string'
export const typedAsOthers = payments.pipe(Flow.typed(Schema.String), Flow.map((payment) => payment.amount))

// refused: Type '"no event time"' is not assignable to type 'never'
export const mergeForgetsNothing: Flow.Flow<unknown, Source.FileError> = Flow.merge(payments, audit)

// refused: Type 'FileError' is not assignable to type 'never'
export const errorsStay = takesString(payments.pipe(Flow.map((payment) => payment.id)))

// A branch that narrows its elements does so for that branch only.
const kinds = audit.pipe(Flow.split("kinds", { failed: (event) => event._tag === "Failed" }))

// refused: Property 'at' does not exist on type
export const branch = kinds.failed.pipe(Flow.map((event) => event.at))

// refused: Property 'code' does not exist on type
export const otherwise = kinds.otherwise.pipe(Flow.map((event) => event.code))

// refused: Property 'fialed' does not exist on type
export const typoInBranch = kinds.fialed
