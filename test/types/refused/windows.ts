// A window needs event time, a key, and a flow that only inserts.
import { Schema } from "effect"
import * as Aggregate from "../../../src/Aggregate.ts"
import * as Flow from "../../../src/Flow.ts"
import * as Window from "../../../src/Window.ts"
import { byCard, payments, paymentSource } from "../model.ts"

const minute = Window.tumbling("1 minute")
const untimed = Flow.from("untimed", paymentSource).pipe(Flow.keyBy((payment) => payment.card, Schema.String))
declare const retracting: Flow.KeyedFlow<string, number, never, never, "retracts">

// refused: Type '"no event time"' is not assignable to type 'never'
export const withoutTime = untimed.pipe(Flow.window("w", minute))

// refused: Type '"no event time"' is not assignable to type 'never'
export const withoutTimeFirst = Flow.window(untimed, "w", minute)

// refused: Type '"retracts"' is not assignable to type 'never'
export const overChanges = retracting.pipe(Flow.window("w", minute))

// refused: Property '"~millrace/Flow.keyBy"' is missing
export const withoutKey = payments.pipe(Flow.window("w", minute))

// refused: Property '"~millrace/Flow.keyBy"' is missing
export const withoutKeyFirst = Flow.window(payments, "w", minute)

// A filter keeps the key, a map does not, since what it makes need not have it.
export const filtered = byCard.pipe(Flow.filter((payment) => payment.amount > 1), Flow.window("w", minute))

// refused: Property '"~millrace/Flow.keyBy"' is missing
export const mapped = byCard.pipe(Flow.map((payment) => payment.amount), Flow.window("w", minute))

// refused: Property '"~millrace/Flow.window"' is missing
export const withoutWindow = byCard.pipe(Flow.aggregate({ n: Aggregate.count }))

// refused: Property '"~millrace/Flow.window"' is missing
export const withoutWindowFirst = Flow.aggregate(byCard, { n: Aggregate.count })

// refused: Property '"~millrace/Flow"' is missing
export const withoutAggregate = byCard.pipe(Flow.window("w", minute), Flow.map((payment) => payment))
