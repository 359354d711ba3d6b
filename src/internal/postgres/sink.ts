/** Rows of a Postgres table, and the markers of all sinks of a database in a table of their own. */
import * as Effect from "effect/Effect"
import type { Statement } from "../../Database.ts"
import type { EpochOpening, Opening, Writer } from "../../Sink.ts"
import {
  certain,
  type Column,
  columnsOf,
  epochWriter,
  jsonOf,
  type Layout as TableLayout,
  type Markers,
  nameText
} from "../plan/tableSink.ts"
import {
  attempted,
  type Database,
  ensureTables,
  identifier,
  Postgres,
  type PostgresError,
  qualified,
  type Table
} from "./database.ts"

/** Types that a table is made with. A table of the user's may have any. */
export const columnTypes = [
  "text",
  "boolean",
  "smallint",
  "integer",
  "bigint",
  "real",
  "double precision",
  "numeric",
  "date",
  "timestamp",
  "timestamptz",
  "uuid",
  "bytea",
  "jsonb"
] as const

export interface Layout<A> extends TableLayout<A> {
  readonly databaseSchema: string | undefined
  readonly types: Readonly<Record<string, string | undefined>>
}

type Json = string | number | boolean | { readonly [name: string]: unknown } | ReadonlyArray<unknown>

const utf8 = new TextEncoder()
const text = new TextDecoder()

/** A zero, or half of a pair: the only such escapes that `JSON.stringify` writes, behind an even number of backslashes. */
const impossible = /(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f][0-9a-f]{2})/

const bytesPrefix = "\\x"
const hexOf = (bytes: Uint8Array): string =>
  bytes.reduce((hex, byte) => hex + byte.toString(16).padStart(2, "0"), bytesPrefix)

/** JSON, whose values Postgres reads by the types of the columns: `"NaN"` is a number to a column of numbers. */
const stored = (column: string, value: unknown): Json | null => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value
    case "undefined":
      return null
    case "number":
      return Number.isFinite(value) ? value : String(value)
    case "bigint":
      return String(value)
    case "object":
      if (value === null) return null
      if (value instanceof Uint8Array) return hexOf(value)
      // Its `toJSON` would turn an invalid date into null.
      return value instanceof Date ? value.toISOString() : JSON.parse(jsonOf(value))
    default:
      throw new TypeError(`Column "${column}" takes no ${typeof value}`)
  }
}

class TableWriter<A> {
  readonly table: Table
  readonly empty: Statement
  private readonly insertion: string
  private readonly columns: ReadonlyArray<Column<A, Json | null>>

  /** Throws where something cannot be said in Postgres. */
  constructor(layout: Layout<A>, { schema: own }: Database) {
    const schema = layout.databaseSchema ?? own
    // The row as a whole is a value of its own, a string between quotes.
    const columns = columnsOf<A, Json>(layout, { stored, whole: (row) => JSON.parse(jsonOf(row)) })
    const isWhole = layout.columns === undefined
    const table = qualified(schema, layout.table)
    const keys = columns.filter(({ isKey }) => isKey).map(({ name }) => identifier(name))
    const names = columns.map(({ name }) => identifier(name))
    const changed = columns.filter(({ isKey }) => !isKey)
      .map(({ name }) => `${identifier(name)} = excluded.${identifier(name)}`).join(", ")
    const typeOf = (name: string): string => {
      const type = layout.types[name] ?? (isWhole && name === "value" ? "jsonb" : "text")
      if (columnTypes.some((known) => known === type)) return type
      throw new TypeError(`Column "${name}" cannot be made with the type ${type}: make the table yourself`)
    }
    const columnDefinitions = [
      ...columns.map(({ isKey, name }) => `${identifier(name)} ${typeOf(name)}${isKey ? " NOT NULL" : ""}`),
      ...(keys.length > 0 ? [`PRIMARY KEY (${keys.join(", ")})`] : [])
    ]
    this.columns = columns
    this.table = { schema, name: layout.table, definition: `(${columnDefinitions.join(", ")})` }
    this.empty = { sql: `DELETE FROM ${table}` }
    const prefixed = (all: ReadonlyArray<string>) => all.map((name) => `r.${name}`).join(", ")
    // The rows by the table's own types. Of those with the same key only the last may be there: Postgres refuses to update
    // a row twice in one statement.
    this.insertion = `INSERT INTO ${table} (${names.join(", ")}) SELECT `
      + (keys.length === 0 ? "" : `DISTINCT ON (${prefixed(keys)}) `)
      + `${prefixed(names)} FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS e(v, n) `
      + `CROSS JOIN LATERAL jsonb_populate_record(NULL::${table}, e.v) AS r `
      + (keys.length === 0
        ? "ORDER BY e.n"
        : `ORDER BY ${prefixed(keys)}, e.n DESC ON CONFLICT (${keys.join(", ")}) DO `
          + (changed === "" ? "NOTHING" : `UPDATE SET ${changed}`))
  }

  encode(rows: ReadonlyArray<A>): Uint8Array {
    const lines = rows.map((row) => {
      const json = JSON.stringify(Object.fromEntries(this.columns.map(({ name, valueOf }) => [name, valueOf(row)])))
      if (!impossible.test(json)) return json
      throw new TypeError("A row holds a text with U+0000 or half of a surrogate pair, which Postgres cannot store")
    })
    return utf8.encode(`[${lines.join(",")}]`)
  }

  insert(rows: Uint8Array): Statement {
    return { sql: this.insertion, parameters: [text.decode(rows)] }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// markers
// ---------------------------------------------------------------------------------------------------------------------

const markersName = "millrace_sinks"

const markersDefinition = `(job text COLLATE "C" NOT NULL, sink text COLLATE "C" NOT NULL, lineage text NOT NULL, `
  + "epoch bigint NOT NULL, digest text NOT NULL, PRIMARY KEY (job, sink))"

/** It changes nothing where the marker is not the one it moves from, and takes its transaction back with it. */
const markersOf = ({ schema }: Database, opening: EpochOpening): Markers => {
  const table = qualified(schema, markersName)
  const [job, sink] = [nameText(opening.job), nameText(opening.sink)]
  return {
    read: {
      sql: `SELECT lineage, epoch, digest FROM ${table} WHERE job = $1 AND sink = $2`,
      parameters: [job, sink]
    },
    move: (from, to) =>
      from === undefined
        ? {
          sql:
            `INSERT INTO ${table} (job, sink, lineage, epoch, digest) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
          parameters: [job, sink, to.lineage, to.epoch, to.digest],
          changes: 1
        }
        : {
          sql: `UPDATE ${table} SET lineage = $1, epoch = $2, digest = $3 `
            + "WHERE job = $4 AND sink = $5 AND lineage = $6 AND epoch = $7",
          parameters: [to.lineage, to.epoch, to.digest, job, sink, from.lineage, from.epoch],
          changes: 1
        }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// the sink
// ---------------------------------------------------------------------------------------------------------------------

const prepared = <A>(layout: Layout<A>, database: Database) =>
  attempted(`write to table "${layout.table}"`, () => new TableWriter(layout, database))

export const open = <A>(layout: Layout<A>) =>
  Effect.fnUntraced(function*({ attempt, isFresh }: Opening) {
    const database = yield* Postgres
    const table = yield* prepared(layout, database)
    yield* ensureTables(database, [table.table])
    if (isFresh && attempt === 1 && layout.onFresh === "replace") {
      yield* certain(database.transaction([table.empty]))
    }
    const writer: Writer<A, PostgresError> = {
      write: (rows) =>
        attempted(`write a row to table "${layout.table}"`, () => table.encode(rows)).pipe(
          Effect.flatMap((bytes) => Effect.asVoid(certain(database.transaction([table.insert(bytes)]))))
        )
    }
    return writer
  })

export const openEpochs = <A>(layout: Layout<A>) =>
  Effect.fnUntraced(function*(opening: EpochOpening) {
    const database = yield* Postgres
    const table = yield* prepared(layout, database)
    yield* ensureTables(database, [
      table.table,
      { schema: database.schema, name: markersName, definition: markersDefinition }
    ])
    return epochWriter(database, opening, markersOf(database, opening), {
      encode: (rows: ReadonlyArray<A>) => table.encode(rows),
      insert: (bytes) => table.insert(bytes),
      begin: layout.onFresh === "replace" ? [table.empty] : []
    })
  })
