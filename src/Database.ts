/**
 * What a store of checkpoints and the sinks that join its transactions have in common: a database that takes statements.
 *
 * `Sqlite` and `Postgres` are such databases. A store that has one says so (`CheckpointStore.database`), and a sink that
 * writes to the very same one gives its statements to be run with the checkpoint (`Sink.EpochWriter`). Nobody in between
 * reads them.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/**
 * @since 0.1.0
 * @category models
 */
export type Value = null | number | bigint | string | Uint8Array

/**
 * @since 0.1.0
 * @category models
 */
export interface Statement {
  /** One statement, in the words of its database. */
  readonly sql: string
  /** For its placeholders, in order. */
  readonly parameters?: ReadonlyArray<Value>
  /** The rows that it must change, or find: with any other number the whole transaction is taken back (`Unexpected`). */
  readonly changes?: number
}

/**
 * An open database. The statements of a transaction take effect together or not at all, one after the other; the answer
 * holds the rows of each statement.
 *
 * @since 0.1.0
 * @category models
 */
export interface Database<out E = unknown> {
  readonly transaction: (
    statements: ReadonlyArray<Statement>
  ) => Effect.Effect<ReadonlyArray<ReadonlyArray<Readonly<Record<string, Value>>>>, E | Unexpected>
}

/**
 * A statement changed another number of rows than it had to, so its transaction was taken back.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unexpected extends Schema.TaggedError<Unexpected>("millrace/Database/Unexpected")("Unexpected", {
  /** Which of the transaction's statements. */
  statement: Schema.Int,
  changes: Schema.Int,
  expected: Schema.Int
}) {
  override get message() {
    return `Statement ${this.statement} of a transaction changed ${this.changes} rows, not ${this.expected}`
  }
}
