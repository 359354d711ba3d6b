/**
 * Checkpoints and results in a Postgres database, over `@effect/sql-pg`: install it beside Millrace, and give its
 * `PgClient` to the layers of this module. Tests run on Postgres 15; nothing is used that came after version 12.
 *
 * This module is not part of `import "millrace"`.
 *
 * @since 0.1.0
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Schema from "effect/Schema"
import { CheckpointStore } from "./CheckpointStore.ts"
import type { Changes } from "./Flow.ts"
import { type Database as Database_, open, Postgres, PostgresError } from "./internal/postgres/database.ts"
import * as internal from "./internal/postgres/sink.ts"
import { postgresStore } from "./internal/postgres/store.ts"
import * as Sink from "./Sink.ts"

/**
 * An open database: its schema, and transactions of statements with the placeholders `$1`, `$2`, ….
 *
 * @since 0.1.0
 * @category models
 */
export type Database = Database_

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Where Millrace's tables are, made if it is not there. `public` unless told otherwise. */
  readonly schema?: string
}

/**
 * A database for sinks, over the client of the context.
 *
 * **Details**
 *
 * Each transaction takes a connection of the client for itself, at the isolation level READ COMMITTED, and is durable when
 * it is answered, whatever the session's `synchronous_commit` says. A process that stands still in the middle of one is not
 * waited for longer than 30 seconds.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: Options): Layer.Layer<Postgres, PostgresError, PgClient.PgClient> =>
  Layer.effect(Postgres, opened(options))

/**
 * Keeps checkpoints in tables named `millrace_…`. Sinks that write to the same database, `Postgres.sink`, take part in the
 * transaction of a checkpoint.
 *
 * **Details**
 *
 * Several processes may have the same database open. Who takes a job over locks its row for a moment, and so does who
 * commits: of two that commit at once one wins, and the other gets `Fenced`. Bytes are kept in pieces of 1 MiB with a
 * checksum each; what is damaged is an error which names it, never wrong bytes.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerCheckpointStore = (
  options?: Options
): Layer.Layer<CheckpointStore | Postgres, PostgresError, PgClient.PgClient> =>
  Layer.effectContext(
    Effect.gen(function*() {
      const database = yield* opened(options)
      const store = yield* postgresStore(database)
      return Context.make(Postgres, database).pipe(Context.add(CheckpointStore, store))
    })
  )

const opened = ({ schema = "public" }: Options = {}) =>
  Effect.flatMap(PgClient.PgClient, (client) => open(client, schema))

/**
 * The types of columns that a sink makes.
 *
 * @since 0.1.0
 * @category models
 */
export type ColumnType = typeof internal.columnTypes[number]

/**
 * What the rows of a table are made of.
 *
 * @since 0.1.0
 * @category models
 */
export interface TableOptions<A, N extends string = never> {
  readonly table: string
  /** The schema of the table, if it is not that of the layer. */
  readonly databaseSchema?: string
  /**
   * A column for each name. Values go to Postgres as JSON and are read there by the types of the table's columns: dates are
   * ISO texts, bytes are bytea, bigints are exact, NaN and ±Infinity are what they are in a column of floating-point
   * numbers, undefined is NULL, objects are JSON. Without columns, a row is stored as JSON in the column `value`.
   */
  readonly columns?: { readonly [K in N]: (row: A) => unknown }
  /** The types of columns that are made with the table, `text` unless told otherwise (`jsonb` for `value`). */
  readonly types?: { readonly [K in NoInfer<N> | "key" | "value"]?: ColumnType }
  /** How a row is written to the column `value`. */
  readonly schema?: Schema.Codec<A, unknown>
  /**
   * What a job that begins from nothing does with the rows in the table: `append`, the default, leaves them, `replace`
   * deletes them.
   */
  readonly onFresh?: "append" | "replace"
}

/**
 * Rows of a table in the database of the context. The table is made where there is none; one that is there needs the
 * columns that are written.
 *
 * **Details**
 *
 * With a `key`, a row replaces the earlier one with the same key: a function whose result goes to a column `key` of its
 * own, or the names of columns. The table then needs a primary key, or a unique index, of just these. Without a key, rows
 * are appended.
 *
 * The table `millrace_sinks`, in the schema of the layer, says which epoch was applied last. Where checkpoints live in the
 * same database, rows become part of the checkpoint's own transaction. If the database refuses them there, the checkpoint is
 * made without them, and the sink tries again on its own.
 *
 * **Gotchas**
 *
 * No text in Postgres holds U+0000 or half of a surrogate pair: a row with one goes to the job's error policy.
 *
 * @since 0.1.0
 * @category constructors
 */
export const sink: {
  <A = unknown, N extends string = never>(
    options: TableOptions<A, N> & { readonly key?: never }
  ): Sink.Sink<A, PostgresError, Postgres, "transactional">
  <A, N extends string = never>(
    options: TableOptions<A, N> & { readonly key: ((row: A) => unknown) | NoInfer<N> | ReadonlyArray<NoInfer<N>> }
  ): Sink.Sink<A, PostgresError, Postgres, "transactional", "updates">
} = <A, N extends string>(
  options: TableOptions<A, N> & { readonly key?: internal.Layout<A>["key"] }
): Sink.Sink<A, PostgresError, Postgres, "transactional", Changes> => {
  const { columns, databaseSchema, key, onFresh = "append", schema, table, types = {} } = options
  const layout: internal.Layout<A> = { table, databaseSchema, columns, key, types, schema, onFresh }
  return Sink.transactional<A, PostgresError, Postgres, Changes>({
    description: `postgres ${table}`,
    open: internal.open(layout),
    openEpochs: internal.openEpochs(layout)
  })
}

export {
  /**
   * @since 0.1.0
   * @category services
   */
  Postgres,
  /**
   * Postgres refused, or could not be reached: what was tried, what the server said, and its SQLSTATE.
   *
   * @since 0.1.0
   * @category errors
   */
  PostgresError
}
