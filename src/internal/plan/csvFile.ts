/** Rows of a CSV file, read from a row number. */
import * as Effect from "effect/Effect"
import * as Csv from "effect/encoding/Csv"
import * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import * as Schema from "effect/Schema"
import type { Scope } from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Position, Reader } from "../../Source.ts"
import { FileError } from "./FileError.ts"
import { decoded, fromStream } from "./readers.ts"

export const read = <A>(
  path: string,
  schema: Schema.Codec<A, unknown>,
  position: Position | undefined,
  separator: string
): Effect.Effect<Reader<A, FileError>, FileError, FileSystem.FileSystem | Scope> =>
  Effect.gen(function*() {
    const fileSystem = yield* FileSystem.FileSystem
    const cells = yield* fromStream(
      fileSystem.stream(path).pipe(
        Stream.pipeThroughChannel(Csv.decode({ delimiter: separator, ignoreEmptyLines: true })),
        Stream.mapError(fileError(path))
      )
    )
    const columns = (yield* cells.pull(1))?.rows[0] ?? []
    const repeated = columns.find((name, i) => columns.indexOf(name) < i)
    if (repeated !== undefined) {
      const cause = new Error(`two columns are named "${repeated}"`)
      return yield* new FileError({ path, operation: "read the first line of", cause })
    }
    for (let left = typeof position === "number" ? position : 0; left > 0;) {
      const passed = yield* cells.pull(left)
      if (passed === undefined) break
      left -= passed.rows.length
    }
    const decode = Schema.decodeUnknownSync(schema)
    return {
      pull: (max) =>
        Effect.map(cells.pull(max), (chunk) =>
          chunk && decoded(
            chunk.rows.map((row) => toRecord(columns, row)),
            (record) => {
              if (Array.isArray(record)) throw new Error(`Expected ${columns.length} cells, got ${record.length}`)
              return decode(record)
            },
            // The line of names counts as a row of cells, and as none of ours.
            (taken) => (chunk.positionAfter(taken) as number) - 1
          ))
    }
  })

/** A row that has more or fewer cells than there are columns stays as it is. */
const toRecord = (columns: Csv.Row, row: Csv.Row): Csv.Row | Readonly<Record<string, string>> => {
  if (row.length !== columns.length) return row
  // Whatever a column is called, `__proto__` for one, it is a property like any other.
  return Object.fromEntries(columns.map((name, i) => [name, row[i]!]))
}

const fileError = (path: string) => (cause: PlatformError | Csv.CsvError): FileError => {
  if (Csv.isCsvError(cause)) return new FileError({ path, operation: `read line ${cause.line} of`, cause })
  return new FileError({ path, operation: cause.reason.method === "open" ? "open" : "read", cause })
}
