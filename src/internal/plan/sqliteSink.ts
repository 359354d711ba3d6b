/** Rows of a SQLite table, and the markers of all sinks of a database in a table of their own. */
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import type { Statement } from "../../Database.ts"
import type { EpochOpening, Opening, Writer } from "../../Sink.ts"
import * as Sql from "../../Sqlite.ts"
import { certain, type Column, columnsOf, epochWriter, jsonOf, type Layout, type Markers, quoted } from "./tableSink.ts"

export type { Layout }

/** What a JSON array can hold for a column. */
type Stored = string | number | boolean | null

const utf8 = new TextEncoder()

/** The statements of a table, and its rows as a JSON array of arrays. */
class TableWriter<A> {
  readonly create: Statement
  readonly empty: Statement
  private readonly insertion: string
  private readonly columns: ReadonlyArray<Column<A, Stored>>

  constructor(layout: Layout<A>) {
    // The row as a whole is always JSON, also one that is a string: whoever reads the column need not guess.
    const columns = columnsOf<A, Stored>(layout, { stored, whole: jsonOf })
    const table = quoted(layout.table)
    const keys = columns.filter(({ isKey }) => isKey).map(({ name }) => quoted(name))
    const names = columns.map(({ name }) => quoted(name))
    const others = columns.filter(({ isKey }) => !isKey).map(({ name }) => quoted(name))
    const changed = others.map((name) => `${name} = excluded.${name}`).join(", ")
    // No declared types: values stay what they are, and the key 1 another one than the key "1".
    const definitions = [
      ...columns.map(({ isKey, name }) => quoted(name) + (isKey ? " NOT NULL" : "")),
      ...(keys.length > 0 ? [`PRIMARY KEY (${keys.join(", ")})`] : [])
    ]
    this.columns = columns
    this.create = { sql: `CREATE TABLE IF NOT EXISTS ${table} (${definitions.join(", ")})` }
    this.empty = { sql: `DELETE FROM ${table}` }
    this.insertion = `INSERT INTO ${table} (${names.join(", ")}) VALUES (${names.map(() => "?").join(", ")})`
      + (keys.length === 0
        ? ""
        : ` ON CONFLICT (${keys.join(", ")}) DO ${changed === "" ? "NOTHING" : `UPDATE SET ${changed}`}`)
  }

  encode(rows: ReadonlyArray<A>): Uint8Array {
    return utf8.encode(JSON.stringify(rows.map((row) => this.columns.map(({ valueOf }) => valueOf(row)))))
  }

  insert(rows: Uint8Array): Sql.Statement {
    return { sql: this.insertion, rows }
  }
}

const stored = (column: string, value: unknown): Stored => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value
    case "undefined":
      return null
    case "number":
      return Number.isFinite(value) ? value : null
    case "bigint":
      if (Number.isSafeInteger(Number(value))) return Number(value)
      throw new RangeError(`Column "${column}" takes whole numbers up to 2 ** 53, not ${value}: give it as text`)
    default:
      return value === null ? null : storedObject(column, value)
  }
}

const storedObject = (column: string, value: unknown): Stored => {
  if (value instanceof Uint8Array) return Base64.encode(value)
  // Its `toJSON` would turn an invalid date into null.
  if (value instanceof Date) return value.toISOString()
  const json = jsonOf(value)
  // An object that says itself what it is in JSON, as a `DateTime` does: a string is stored as it is, without quotes.
  const isText = json.startsWith(`"`)
  return isText ? stored(column, JSON.parse(json)) : json
}

// ---------------------------------------------------------------------------------------------------------------------
// markers
// ---------------------------------------------------------------------------------------------------------------------

const markers = "millrace_sinks"

const createMarkers: Statement = {
  sql: `CREATE TABLE IF NOT EXISTS ${markers} (job TEXT NOT NULL, sink TEXT NOT NULL, lineage TEXT NOT NULL, `
    + "epoch INTEGER NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (job, sink))"
}

/** It changes nothing where the marker is not the one it moves from, and takes its transaction back with it. */
const markersOf = ({ job, sink }: EpochOpening): Markers => ({
  read: {
    sql: `SELECT lineage, epoch, digest FROM ${markers} WHERE job = ? AND sink = ?`,
    parameters: [job, sink]
  },
  move: (from, to) =>
    from === undefined
      ? {
        sql: `INSERT INTO ${markers} (job, sink, lineage, epoch, digest) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
        parameters: [job, sink, to.lineage, to.epoch, to.digest],
        changes: 1
      }
      : {
        sql: `UPDATE ${markers} SET lineage = ?, epoch = ?, digest = ? `
          + "WHERE job = ? AND sink = ? AND lineage = ? AND epoch = ?",
        parameters: [to.lineage, to.epoch, to.digest, job, sink, from.lineage, from.epoch],
        changes: 1
      }
})

// ---------------------------------------------------------------------------------------------------------------------
// the sink
// ---------------------------------------------------------------------------------------------------------------------

export const open = <A>(layout: Layout<A>) =>
  Effect.fnUntraced(function*({ attempt, isFresh }: Opening) {
    const database = yield* Sql.Sqlite
    const table = new TableWriter(layout)
    const isEmptied = isFresh && attempt === 1 && layout.onFresh === "replace"
    yield* certain(database.transaction([table.create, ...(isEmptied ? [table.empty] : [])]))
    const writer: Writer<A, Sql.SqliteError> = {
      write: (rows) =>
        Effect.try({
          try: () => table.encode(rows),
          catch: (cause) =>
            new Sql.SqliteError({ path: database.path, operation: `write a row to table "${layout.table}"`, cause })
        }).pipe(Effect.flatMap((bytes) => Effect.asVoid(certain(database.transaction([table.insert(bytes)])))))
    }
    return writer
  })

export const openEpochs = <A>(layout: Layout<A>) =>
  Effect.fnUntraced(function*(opening: EpochOpening) {
    const database = yield* Sql.Sqlite
    const table = new TableWriter(layout)
    yield* certain(database.transaction([table.create, createMarkers]))
    return epochWriter(database, opening, markersOf(opening), {
      encode: (rows: ReadonlyArray<A>) => table.encode(rows),
      insert: (bytes) => table.insert(bytes),
      begin: layout.onFresh === "replace" ? [table.empty] : []
    })
  })
