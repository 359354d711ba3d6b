/** What a line of each file holds, and the order of the lines. Times are in epoch milliseconds, delays in minutes. */
import { Order, Schema } from "effect"
import { DateText } from "./flights.ts"

/** A line of `hourly.ndjson` and `three-hours.ndjson`: the departures of an airport in a window. */
export const Departures = Schema.Struct({
  airport: Schema.String,
  start: Schema.Int,
  end: Schema.Int,
  departures: Schema.Int,
  averageDelay: Schema.Number,
  maxDelay: Schema.Int
})
export type Departures = typeof Departures.Type

/** A line of `delayed-runs.ndjson`: departures one after the other, each delayed by more than 30 minutes. */
export const DelayedRun = Schema.Struct({
  airport: Schema.String,
  start: Schema.Int,
  end: Schema.Int,
  departures: Schema.Int,
  worstDelay: Schema.Int
})
export type DelayedRun = typeof DelayedRun.Type

/** The operators that a flight can be late for. */
export const Operator = Schema.Literals(["hourly", "three-hours", "delayed-runs"])
export type Operator = typeof Operator.Type

/**
 * A line of `late.ndjson`: a flight that came after all its windows had expired. `watermark` is the one that judged it, and
 * `lateByMillis` how far it was past the date.
 */
export const LateFlight = Schema.Struct({
  operator: Operator,
  origin: Schema.String,
  date: DateText,
  windows: Schema.Array(Schema.Struct({ start: Schema.Int, end: Schema.Int })),
  watermark: Schema.Int,
  lateByMillis: Schema.Int
})
export type LateFlight = typeof LateFlight.Type

/** By time, then by airport: there is one window of an airport at a time. */
export const byStart: Order.Order<{ readonly start: number; readonly airport: string }> = Order.combine(
  Order.mapInput(Order.Number, ({ start }) => start),
  Order.mapInput(Order.String, ({ airport }) => airport)
)

/** By operator, then by date, airport and watermark: flights that are equal in all four give equal lines. */
export const byOperator: Order.Order<LateFlight> = Order.combineAll([
  Order.mapInput(Order.String, ({ operator }) => operator),
  Order.mapInput(Order.Number, ({ date }) => date),
  Order.mapInput(Order.String, ({ origin }) => origin),
  Order.mapInput(Order.Number, ({ watermark }) => watermark)
])
