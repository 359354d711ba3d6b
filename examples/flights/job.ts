/** The job: three questions about one flow of departures, and where the answers go. */
import { Option, Schema } from "effect"
import { Aggregate, Flow, Job, Sink, Source, Watermark, Window } from "millrace"
import type { Flight } from "./flights.ts"
import { DelayedRun, Departures, LateFlight, type Operator } from "./results.ts"

const delay = (flight: Flight): number => flight.delay

/** A window that fires has a flight, and so an average and a maximum. */
const always = Aggregate.map(Option.getOrThrow<number>)

const departures = {
  departures: Aggregate.count,
  averageDelay: always(Aggregate.avg(delay)),
  maxDelay: always(Aggregate.max(delay))
}

/** The late flights of an operator, as lines of `late.ndjson`. */
const lines = (operator: Operator) =>
  Flow.map(({ lateByMillis, value, watermark, windows }: Window.Late<Flight>): LateFlight => ({
    operator,
    origin: value.origin,
    date: value.date,
    windows,
    watermark,
    lateByMillis
  }))

/** A result, as a line of its file. */
const line = <Out>({ key, value, window }: Window.Pane<string, Out>) => ({ airport: key, ...window, ...value })

/** The name that its checkpoints have in a store. */
export const name = "flights"

export interface Input {
  readonly dataset: string
  readonly perSecond?: number | undefined
}

/**
 * Flights come in the order of the array, one partition reads them; `perSecond` slows them down. Their source has the name
 * of the data set: what a checkpoint says of one data set means nothing for another, and is refused.
 */
export const answers = (flights: ReadonlyArray<Flight>, { dataset, perSecond }: Input) => {
  const reports = Source.memory(flights)

  const byAirport = Flow.from(dataset, perSecond === undefined ? reports : Source.paced(reports, { perSecond }), {
    time: (flight) => flight.date,
    watermark: Watermark.boundedOutOfOrderness("60 minutes")
  }).pipe(Flow.keyBy((flight) => flight.origin, Schema.String))

  const hourly = byAirport.pipe(
    Flow.window("hourly", Window.tumbling("1 hour")),
    Flow.aggregate(departures)
  )

  const threeHours = byAirport.pipe(
    Flow.window("three-hours", Window.sliding({ size: "3 hours", every: "1 hour" })),
    Flow.aggregate(departures)
  )

  const delayedRuns = byAirport.pipe(
    Flow.filter((flight) => flight.delay > 30),
    Flow.window("delayed-runs", Window.session({ gap: "2 hours" })),
    Flow.aggregate({ departures: Aggregate.count, worstDelay: always(Aggregate.max(delay)) })
  )

  const late = hourly.late.pipe(
    lines("hourly"),
    Flow.merge(threeHours.late.pipe(lines("three-hours"))),
    Flow.merge(delayedRuns.late.pipe(lines("delayed-runs")))
  )

  return {
    hourly: hourly.results.pipe(Flow.map(line)),
    threeHours: threeHours.results.pipe(Flow.map(line)),
    delayedRuns: delayedRuns.results.pipe(Flow.map(line)),
    late
  }
}

/** The answers, each in a file of its own. */
export const make = (flights: ReadonlyArray<Flight>, { folder, ...input }: Input & { readonly folder: string }) => {
  const { delayedRuns, hourly, late, threeHours } = answers(flights, input)
  return Job.make(name, [
    hourly.pipe(Flow.to("hourly", Sink.ndjson(`${folder}/hourly.ndjson`, { schema: Departures }))),
    threeHours.pipe(Flow.to("three-hours", Sink.ndjson(`${folder}/three-hours.ndjson`, { schema: Departures }))),
    delayedRuns.pipe(Flow.to("delayed-runs", Sink.ndjson(`${folder}/delayed-runs.ndjson`, { schema: DelayedRun }))),
    late.pipe(Flow.to("late", Sink.ndjson(`${folder}/late.ndjson`, { schema: LateFlight })))
  ], { delivery: "exactly-once" })
}
