/** The flights: what is known of one, where they come from, and in which order they are reported. */
import { Effect, FileSystem, Path, Schema, SchemaTransformation } from "effect"
import { CliError } from "effect/cli"

const pattern = /^(\d{4})\/(\d\d)\/(\d\d) (\d\d):(\d\d)$/

/** `2001/01/01 00:47`, read as UTC. */
const dateOf = (text: string): number => {
  const [year, month, day, hour, minute] = pattern.exec(text)!.slice(1).map(Number)
  return Date.UTC(year!, month! - 1, day, hour, minute)
}
const textOf = (time: number): string =>
  new Date(time).toISOString().slice(0, 16).replaceAll("-", "/").replace("T", " ")

/** A date of the data set, in epoch milliseconds. */
export const DateText = Schema.String.pipe(
  Schema.check(Schema.isPattern(pattern)),
  Schema.decodeTo(Schema.Int, SchemaTransformation.transform({ decode: dateOf, encode: textOf }))
)

/** A departure. `delay` is in minutes, and negative when the flight was early. */
export const Flight = Schema.Struct({
  date: DateText,
  delay: Schema.Int,
  origin: Schema.String,
  destination: Schema.String
})
export type Flight = typeof Flight.Type

/** A file that has no flights as this job needs them. */
export class DataSetUnfit extends Schema.TaggedError<DataSetUnfit>()("DataSetUnfit", {
  dataSet: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `The data set ${this.dataSet} ${this.reason}. Those that fit are flights-2k, flights-5k, flights-10k and flights-20k`
  }
  override get [CliError.userMessage]() {
    return this.message
  }
}

const Rows = Schema.fromJsonString(Schema.Array(Schema.Record(Schema.String, Schema.Unknown)))

/** Reads a data set of the package `vega-datasets`, in the order of the file. */
export const load = Effect.fn("flights.load")(function*(dataSet: string) {
  const path = yield* Path.Path
  const unfit = (reason: string) => new DataSetUnfit({ dataSet, reason })
  const folder = path.join(
    path.dirname(yield* path.fromFileUrl(new URL(import.meta.resolve("vega-datasets")))),
    "../data"
  )
  const text = yield* (yield* FileSystem.FileSystem).readFileString(
    path.join(folder, path.basename(dataSet, ".json") + ".json")
  ).pipe(
    Effect.mapError(() => unfit("is no JSON file of the package vega-datasets"))
  )
  const rows = yield* Schema.decodeEffect(Rows)(text).pipe(Effect.mapError(() => unfit("is not an array of records")))
  for (const field of Object.keys(Flight.fields)) {
    const row = rows.findIndex((row) => !Object.hasOwn(row, field))
    if (row >= 0) {
      return yield* unfit(`has no field "${field}" in record ${row + 1} (it has ${Object.keys(rows[row]!).join(", ")})`)
    }
  }
  return yield* Schema.decodeUnknownEffect(Schema.Array(Flight))(rows).pipe(
    Effect.mapError((error) => unfit(`has other fields than expected: ${error.message}`))
  )
})

/** A flight is reported when it has left: `delay` minutes after its date. Of one minute, the file's order stands. */
export const inOrderOfReports = (flights: ReadonlyArray<Flight>): ReadonlyArray<Flight> =>
  flights.toSorted((self, that) => reportedAt(self) - reportedAt(that))

const reportedAt = ({ date, delay }: Flight): number => date + delay * 60_000
