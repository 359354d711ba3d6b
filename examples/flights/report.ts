/** What the files say, as tables for people. */
import { Array, Order } from "effect"
import type { Files } from "./files.ts"
import { type DelayedRun, Operator } from "./results.ts"

const count = new Intl.NumberFormat("en-US")
const tenths = new Intl.NumberFormat("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 })
const day = new Intl.DateTimeFormat("en-US", {
  month: "short",
  day: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
  timeZone: "UTC"
})

/** Columns as wide as their widest cell; those that `right` names hold numbers. */
const table = (rows: ReadonlyArray<ReadonlyArray<string>>, right: ReadonlyArray<number>): ReadonlyArray<string> => {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows.map((row) =>
    row.map((cell, i) => right.includes(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)).join("   ").trimEnd()
  )
}

/** The flights of `hourly.ndjson` and those of them that were late: together all there are. */
export const accounted = ({ hourly, late }: Files): number =>
  hourly.rows.reduce((sum, { departures }) => sum + departures, 0) +
  late.rows.filter(({ operator }) => operator === "hourly").length

const worstFirst = Order.mapInput(Order.flip(Order.Number), ({ worstDelay }: DelayedRun) => worstDelay)

const busiest = ({ delayedRuns, hourly }: Files, atMost: number) => {
  const runs = Array.groupBy(delayedRuns.rows, ({ airport }) => airport)
  const figures = Object.entries(Array.groupBy(hourly.rows, ({ airport }) => airport)).map(([airport, hours]) => {
    const departures = hours.reduce((sum, hour) => sum + hour.departures, 0)
    const delay = hours.reduce((sum, hour) => sum + hour.averageDelay * hour.departures, 0) / departures
    const worst = (runs[airport] ?? []).toSorted(worstFirst)[0]
    return { airport, departures, delay, worst }
  })
  return figures.sort((self, that) => that.departures - self.departures).slice(0, atMost).map((figure) => [
    figure.airport,
    count.format(figure.departures),
    `${tenths.format(figure.delay)} min`,
    ...(figure.worst === undefined ? ["none", ""] : run(figure.worst))
  ])
}

const run = ({ departures, start, worstDelay }: DelayedRun) => [
  `${worstDelay} min`,
  `${day.format(start)}, ${departures} ${departures === 1 ? "flight" : "flights"}`
]

const lateFlights = ({ late }: Files) =>
  Operator.literals.map((operator) => {
    const flights = late.rows.filter((row) => row.operator === operator)
    const worst = flights.reduce((most, { lateByMillis }) => Math.max(most, lateByMillis), 0)
    return [
      operator,
      count.format(flights.length),
      flights.length === 0 ? "" : `${count.format(Math.ceil(worst / 60_000))} min`
    ]
  })

/** The busiest airports, the late flights, and where to read more. */
export const text = (files: Files): string =>
  [
    "The busiest airports; late flights are not in these figures.",
    "",
    ...table([
      ["airport", "departures", "average delay", "worst delay", "in the run that began"],
      ...busiest(files, 10)
    ], [1, 2, 3]),
    "",
    "Flights that were reported too late, by the operator that they were late for.",
    "",
    ...table([["operator", "late flights", "watermark ahead by up to"], ...lateFlights(files)], [1, 2]),
    "",
    ...table(Object.values(files).map(({ file, rows }) => [file, `${count.format(rows.length)} lines`]), [1])
  ].join("\n")
