/**
 * The folder of the results: what the job writes there, what becomes of it, and what a run leaves to the next one.
 *
 * The job writes to `unsorted/`, and those files belong to the runtime, each with the sidecar that says which epoch wrote
 * it last: nobody else may touch them while there is something to go on with. The results are made of them once the job
 * has finished. Making them again gives the same, so that a run that was killed on the way makes up for it.
 */
import { Effect, FileSystem, type Order, Path, type PlatformError, Schema } from "effect"
import { Source } from "millrace"
import { byOperator, byStart, DelayedRun, Departures, LateFlight } from "./results.ts"

export const names = ["hourly", "three-hours", "delayed-runs", "late"] as const
type Name = (typeof names)[number]

/** The places in the folder of the results. */
export const places = Effect.fnUntraced(function*(out: string) {
  const path = yield* Path.Path
  return {
    unsorted: path.join(out, "unsorted"),
    store: path.join(out, "checkpoints.db"),
    result: (name: Name) => path.join(out, `${name}.ndjson`)
  }
})

const at = (path: string, operation: string) =>
  Effect.mapError((cause: PlatformError.PlatformError) => new Source.FileError({ path, operation, cause }))

const remove = Effect.fnUntraced(function*(file: string) {
  yield* at(file, "remove")((yield* FileSystem.FileSystem).remove(file, { force: true }))
})

/** Makes the folder if it is missing. */
export const make = Effect.fnUntraced(function*(out: string) {
  yield* at(out, "make the folder")((yield* FileSystem.FileSystem).makeDirectory(out, { recursive: true }))
})

/** Removes the results of a run before, so that nobody takes them for those of this one. */
export const removeResults = Effect.fn("files.removeResults")(function*(out: string) {
  const { result } = yield* places(out)
  for (const name of names) yield* remove(result(name))
})

/**
 * Writes a result: the lines of the unsorted file in order. Answers with what they hold.
 *
 * The job writes the same lines every time, and those of one airport in the same order; but four partitions write to one
 * file, each when it has something, so how they take turns is chance. A file in order is the same byte for byte.
 */
const inOrder = Effect.fnUntraced(
  function*<A>(out: string, name: Name, schema: Schema.Codec<A, unknown>, order: Order.Order<A>) {
    const fileSystem = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const { result, unsorted } = yield* places(out)
    const file = result(name)
    const written = path.join(unsorted, `${name}.ndjson`)
    const sorted = path.join(unsorted, `${name}.sorted`)
    const text = yield* at(written, "read")(fileSystem.readFileString(written))
    const decode = Schema.decodeSync(Schema.fromJsonString(Schema.toCodecJson(schema)))
    const rows = text.split("\n").filter((text) => text !== "").map((text) => ({ text, value: decode(text) }))
    rows.sort((self, that) => order(self.value, that.value))
    yield* at(sorted, "write")(fileSystem.writeFileString(sorted, rows.map(({ text }) => `${text}\n`).join("")))
    yield* at(file, "replace")(fileSystem.rename(sorted, file))
    return { file, rows: rows.map(({ value }) => value) }
  }
)

/** All four results, of a job that has finished. */
export const settle = Effect.fn("files.settle")(function*(out: string) {
  return {
    hourly: yield* inOrder(out, "hourly", Departures, byStart),
    threeHours: yield* inOrder(out, "three-hours", Departures, byStart),
    delayedRuns: yield* inOrder(out, "delayed-runs", DelayedRun, byStart),
    late: yield* inOrder(out, "late", LateFlight, byOperator)
  }
})

export type Files = Effect.Success<ReturnType<typeof settle>>
