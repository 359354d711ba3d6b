/**
 * A SQLite database in a file, written by a thread of its own, because a synchronous database would stand in the way of
 * everything else for tens of milliseconds.
 *
 * `Sqlite.layer` opens one for sinks; `CheckpointStore.layerSqlite` opens one for checkpoints that sinks may share.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Database_ from "./Database.ts"
import { Unexpected } from "./Database.ts"

/**
 * @since 0.1.0
 * @category models
 */
export type Value = Database_.Value

/**
 * One statement; what follows a semicolon is not run. Placeholders are question marks. Whole numbers are stored as integers;
 * an integer that a number cannot hold is read as a bigint.
 *
 * @since 0.1.0
 * @category models
 */
export interface Statement extends Database_.Statement {
  /**
   * Runs the statement once for each row of parameters: a JSON array of arrays, parsed by the database's own thread.
   * Numbers, strings, booleans (as 0 and 1) and null; anything else is stored as its JSON text. `parameters` come before
   * each row, and `changes` counts the rows of all together.
   */
  readonly rows?: Uint8Array
}

/**
 * An open database. The statements of a transaction take effect together or not at all, and one transaction comes after
 * the other; the answer holds the rows of each statement.
 *
 * @since 0.1.0
 * @category models
 */
export interface Database extends Database_.Database<SqliteError> {
  /** The file, as it was given. */
  readonly path: string
  readonly transaction: (
    statements: ReadonlyArray<Statement>
  ) => Effect.Effect<ReadonlyArray<ReadonlyArray<Readonly<Record<string, Value>>>>, SqliteError | Unexpected>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How long a transaction waits while another connection to the file writes. Five seconds unless told otherwise. */
  readonly busyTimeout?: Duration.Input
}

/**
 * @since 0.1.0
 * @category services
 */
export class Sqlite extends Context.Service<Sqlite, Database>()("millrace/Sqlite") {}

/**
 * Opens a database in a file, which is made where there is none, and its folders too. Its thread ends with the layer,
 * after the transactions under way.
 *
 * **Details**
 *
 * Needs Node 22.19 or newer. The journal is a write-ahead log (`journal_mode = WAL`) that reaches the disk before a
 * transaction is answered (`synchronous = FULL`). The same file may be opened more than once, in one process or in several.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (path: string, options?: Options): Layer.Layer<Sqlite, SqliteError> =>
  Layer.effect(
    Sqlite,
    Effect.flatMap(
      Effect.tryPromise({
        try: () => import("./internal/stores/sqliteDatabase.ts"),
        catch: (cause) => new SqliteError({ path, operation: "load its module", cause })
      }),
      ({ open }) => open(path, options)
    )
  )

/**
 * SQLite refused, or its thread has died: the file, the statement, and what SQLite said.
 *
 * @since 0.1.0
 * @category errors
 */
export class SqliteError extends Schema.TaggedError<SqliteError>("millrace/SqliteError")("SqliteError", {
  path: Schema.String,
  operation: Schema.String,
  /** Which of the transaction's statements it refused, if it was one. */
  statement: Schema.optional(Schema.Int),
  cause: Schema.Defect()
}) {
  override get message() {
    const reason = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `SQLite could not ${this.operation} in ${this.path}: ${reason}`
  }
}

export {
  /**
   * A statement changed another number of rows than it had to, so its transaction was taken back.
   *
   * @since 0.1.0
   * @category errors
   */
  Unexpected
}
