// An aggregate takes what flows, and the compiler says where it does not.
import { Schema } from "effect"
import * as Aggregate from "../../../src/Aggregate.ts"
import * as Flow from "../../../src/Flow.ts"
import * as Window from "../../../src/Window.ts"
import { byCard, type Payment } from "../model.ts"

const windowed = byCard.pipe(Flow.window("w", Window.tumbling("1 minute")))
const longest = Aggregate.max((click: { readonly page: string }) => click.page.length)
const spent = Aggregate.sum((payment: Payment) => payment.amount)

// refused: Property 'page' is missing in type
export const otherElements = windowed.pipe(Flow.aggregate({ longest }))

// refused: Property 'page' is missing in type
export const otherElementsFirst = Flow.aggregate(windowed, { longest })

// refused: Property 'amont' does not exist on type 'Payment'. Did you mean 'amount'?
export const typo = windowed.pipe(Flow.aggregate({ spent: Aggregate.sum((payment) => payment.amont) }))

// refused: Property 'amont' does not exist on type 'Payment'. Did you mean 'amount'?
export const typoFirst = Flow.aggregate(windowed, { spent: Aggregate.sum((payment) => payment.amont) })

// refused: is not assignable to type 'Aggregate<Payment, unknown,
export const notCalled = windowed.pipe(Flow.aggregate({ all: Aggregate.collect }))

// refused: Type 'string' is not assignable to type 'number'
export const notANumber = windowed.pipe(Flow.aggregate({ spent: Aggregate.sum((payment) => payment.card) }))

// refused: Type 'Payment' is not assignable to type 'string'
export const otherSchema = windowed.pipe(Flow.aggregate({ all: Aggregate.collect({ schema: Schema.String }) }))

// What is called before `.pipe` knows nothing of the flow: `Aggregate.map(aggregate, f)` does.
// refused: 'payment' is of type 'unknown'
export const receiver = windowed.pipe(
  Flow.aggregate({ spent: Aggregate.sum((payment) => payment.amount).pipe(Aggregate.map(String)) })
)

// refused: Type 'unknown' is not assignable to type 'Payment'
export const widerInput: Aggregate.Aggregate<unknown, unknown, number> = spent

// refused: Type 'number' is not assignable to type 'string'
export const otherAnswer: Aggregate.Aggregate<Payment, unknown, string> = spent
