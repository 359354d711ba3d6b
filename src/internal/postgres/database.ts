/** A Postgres database behind a client of the user's: transactions of statements, and tables that come to be once. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import type * as PgConnection from "@effect/sql-pg/PgConnection"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import * as Generic from "../../Database.ts"
import { certain, quoted } from "../plan/tableSink.ts"

type Row = Readonly<Record<string, Generic.Value>>

export class PostgresError extends Schema.TaggedError<PostgresError>("millrace/PostgresError")("PostgresError", {
  operation: Schema.String,
  /** Which of the transaction's statements failed, if it was one. */
  statement: Schema.optional(Schema.Int),
  /** The SQLSTATE, if the server has answered. */
  code: Schema.optional(Schema.String),
  cause: Schema.Defect()
}) {
  override get message() {
    const reason = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `Postgres could not ${this.operation}: ${reason}${this.code === undefined ? "" : ` (${this.code})`}`
  }
}

export interface Database extends Generic.Database<PostgresError> {
  /** Where Millrace's own tables are, and those of sinks that name no other schema. */
  readonly schema: string
}

export class Postgres extends Context.Service<Postgres, Database>()("millrace/Postgres") {}

/**
 * How long the server waits for the next statement of a transaction. A process that stands still in the middle of one holds
 * the job's row; longer than this, it is not waited for.
 */
const longestSilenceMillis = 30_000

const begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"

/** For this transaction: a commit that is answered is on the disk, whatever the session says. */
const settings = `SELECT set_config('idle_in_transaction_session_timeout', '${longestSilenceMillis}', true),
  set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
    ELSE current_setting('synchronous_commit') END, true)`

/** Numbers go as text, whose type the server takes from the statement: an integer column and a double one read the same. */
const bound = (value: Generic.Value): string | Uint8Array | null =>
  typeof value === "number" || typeof value === "bigint" ? String(value) : value

const read = (value: unknown): Generic.Value => {
  switch (typeof value) {
    case "string":
    case "number":
      return value
    case "bigint":
      return Number.isSafeInteger(Number(value)) ? Number(value) : value
    case "boolean":
      return value ? 1 : 0
    case "undefined":
      return null
    default:
      if (value === null || value instanceof Uint8Array) return value
      return value instanceof Date ? value.toISOString() : JSON.stringify(value)
  }
}

const readable = (row: PgConnection.Row): Row =>
  Object.fromEntries(Object.entries(row).map(([column, value]) => [column, read(value)]))

/** The SQLSTATE, where it was the server that answered. */
const codeIn = ({ reason: { cause } }: SqlError): string | undefined =>
  typeof cause === "object" && cause !== null && "severity" in cause && "code" in cause ? String(cause.code) : undefined

const errorOf = (operation: string, error: SqlError, statement?: number): PostgresError =>
  new PostgresError({ operation, statement, code: codeIn(error), cause: error.reason.cause ?? error })

const shortened = (sql: string): string => {
  const line = sql.replaceAll(/\s+/g, " ")
  return JSON.stringify(line.length > 200 ? `${line.slice(0, 200)}…` : line)
}

const run = (
  connection: Connection,
  operation: string,
  { parameters = [], sql }: Generic.Statement,
  statement?: number
): Effect.Effect<PgConnection.Result, PostgresError> =>
  connection.executeRaw(sql, parameters.map(bound)).pipe(
    Effect.mapError((error) => errorOf(operation, error, statement)),
    // What a connection of this client answers.
    Effect.map((result) => result as PgConnection.Result)
  )

/** Ends what is open. On a connection that is lost it cannot, and need not: the server takes everything back. */
const takeBack = (connection: Connection): Effect.Effect<void> =>
  // Once more, for one that was hit by the cancellation of the statement before it.
  Effect.ignore(Effect.retry(run(connection, "take a transaction back", { sql: "ROLLBACK" }), { times: 1 }))

/** What the server says when there is no transaction any more. */
const endings: ReadonlySet<string> = new Set(["COMMIT", "ROLLBACK", "PREPARE TRANSACTION"])

const ended = Effect.suspend(() =>
  Effect.fail(
    new PostgresError({
      operation: "commit a transaction",
      cause: new Error("a statement has ended the transaction that it is part of")
    })
  )
)

const transact = (connection: Connection, statements: ReadonlyArray<Generic.Statement>) =>
  Effect.gen(function*() {
    yield* run(connection, "begin a transaction", { sql: begin })
    yield* run(connection, "begin a transaction", { sql: settings })
    const rows: Array<ReadonlyArray<Row>> = []
    for (const [index, statement] of statements.entries()) {
      const result = yield* run(connection, `run ${shortened(statement.sql)}`, statement, index)
      if (endings.has(result.command)) return yield* ended
      const { changes: expected } = statement
      if (expected !== undefined && result.rowCount !== expected) {
        return yield* new Generic.Unexpected({ statement: index, changes: result.rowCount, expected })
      }
      rows.push(result.rows.map(readable))
    }
    const { command } = yield* run(connection, "commit a transaction", { sql: "COMMIT" })
    // The server answers so where it has taken everything back.
    return command === "ROLLBACK" ? yield* ended : rows
  })

/** Not `client.withTransaction`: a job that runs within a transaction of the user's must not wait for its end. */
const transactionOf = (client: PgClient.PgClient): Database["transaction"] => (statements) =>
  Effect.scoped(Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const connection = yield* restore(client.reserve).pipe(
        Effect.mapError((error) => errorOf("open a connection", error))
      )
      const exit = yield* Effect.exit(restore(transact(connection, statements)))
      if (Exit.isFailure(exit)) yield* takeBack(connection)
      return yield* exit
    })
  ))

/** Names are cut to this by the server, and two long ones would be the same. */
const longestNameBytes = 63

const utf8 = new TextEncoder()

/** Throws where Postgres has no such name. */
export const identifier = (name: string): string => {
  const problem = name === ""
    ? "it is empty"
    : name.includes("\0") || /\p{Surrogate}/u.test(name)
    ? "it holds what no text in Postgres can"
    : utf8.encode(name).length > longestNameBytes
    ? `it is longer than ${longestNameBytes} bytes`
    : undefined
  if (problem === undefined) return quoted(name)
  throw new TypeError(`${JSON.stringify(name)} cannot be a name in Postgres: ${problem}`)
}

export const qualified = (schema: string, table: string): string => `${identifier(schema)}.${identifier(table)}`

/** What is thrown, as an error of the database. */
export const attempted = <A>(operation: string, f: () => A): Effect.Effect<A, PostgresError> =>
  Effect.try({ try: f, catch: (cause) => new PostgresError({ operation, cause }) })

export const open = (client: PgClient.PgClient, schema: string): Effect.Effect<Database, PostgresError> =>
  attempted("use a schema", () => {
    identifier(schema)
    return { schema, transaction: transactionOf(client) }
  })

export interface Table {
  readonly schema: string
  readonly name: string
  /** In parentheses, what `CREATE TABLE` has of it. */
  readonly definition: string
}

/**
 * Makes what is not there yet, one process at a time: `IF NOT EXISTS` alone fails where two come at once. Nothing is asked
 * of who may only read and write where everything is there.
 */
export const ensureTables = Effect.fnUntraced(function*(
  database: Database,
  tables: ReadonlyArray<Table>
): Effect.fn.Return<void, PostgresError> {
  const creations = yield* attempted(
    "create its tables",
    () =>
      tables.map(({ definition, name, schema }): Generic.Statement => ({
        sql: `CREATE TABLE IF NOT EXISTS ${qualified(schema, name)} ${definition}`
      }))
  )
  const schemas = [...new Set(tables.map(({ schema }) => schema))]
  const found = yield* certain(database.transaction([
    ...tables.map(({ name, schema }): Generic.Statement => ({
      sql: "SELECT 1 AS n FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        + "WHERE n.nspname = $1 AND c.relname = $2",
      parameters: [schema, name]
    })),
    ...schemas.map((schema): Generic.Statement => ({
      sql: "SELECT 1 AS n FROM pg_catalog.pg_namespace WHERE nspname = $1",
      parameters: [schema]
    }))
  ]))
  const isMissing = (_: unknown, at: number) => found[at]?.length === 0
  const missing = creations.filter(isMissing)
  if (missing.length === 0) return
  yield* certain(database.transaction([
    // A number of Millrace's own: "mill" in ASCII.
    { sql: "SELECT pg_advisory_xact_lock(1835625580)" },
    ...schemas.filter((_, i) => isMissing(_, tables.length + i)).map((schema): Generic.Statement => ({
      sql: `CREATE SCHEMA IF NOT EXISTS ${identifier(schema)}`
    })),
    ...missing
  ]))
})
