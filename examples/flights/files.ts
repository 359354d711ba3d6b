/** The files once the job has ended: read back, and put in order. */
import { Effect, FileSystem, type Order, Path, Schema } from "effect"
import { byOperator, byStart, DelayedRun, Departures, LateFlight } from "./results.ts"

/**
 * Rewrites a file with its lines in order, and answers with what they hold.
 *
 * The job writes the same lines every time, and those of one airport in the same order; but four partitions write to one
 * file, each when it has something, so how they take turns is chance. A file in order is the same byte for byte.
 */
const inOrder = Effect.fnUntraced(function*<A>(file: string, schema: Schema.Codec<A, unknown>, order: Order.Order<A>) {
  const fileSystem = yield* FileSystem.FileSystem
  const line = Schema.fromJsonString(Schema.toCodecJson(schema))
  const lines = (yield* fileSystem.readFileString(file)).split("\n").filter((text) => text !== "")
  const decode = Schema.decodeSync(line)
  const rows = lines.map((text) => ({ text, value: decode(text) })).sort((self, that) => order(self.value, that.value))
  yield* fileSystem.writeFileString(`${file}.sorted`, rows.map(({ text }) => `${text}\n`).join(""))
  yield* fileSystem.rename(`${file}.sorted`, file)
  return { file, rows: rows.map(({ value }) => value) }
})

/** All four files, in order. */
export const settle = Effect.fn("files.settle")(function*(folder: string) {
  const path = yield* Path.Path
  return {
    hourly: yield* inOrder(path.join(folder, "hourly.ndjson"), Departures, byStart),
    threeHours: yield* inOrder(path.join(folder, "three-hours.ndjson"), Departures, byStart),
    delayedRuns: yield* inOrder(path.join(folder, "delayed-runs.ndjson"), DelayedRun, byStart),
    late: yield* inOrder(path.join(folder, "late.ndjson"), LateFlight, byOperator)
  }
})

export type Files = Effect.Success<ReturnType<typeof settle>>
