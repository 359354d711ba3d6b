/** Rows of a SQLite table, and the markers of all sinks of a database in a table of their own. */
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Schema from "effect/Schema"
import type { Application, EpochOpening, EpochWriter, Marker, Opening, SinkPosition, Writer } from "../../Sink.ts"
import { type Database, Sqlite, SqliteError, type Statement, type Unexpected } from "../../Sqlite.ts"
import { hasMoved, SinkFenced } from "./SinkFenced.ts"

export interface Layout<A> {
  readonly table: string
  readonly key: ((row: A) => unknown) | string | ReadonlyArray<string> | undefined
  readonly columns: Readonly<Record<string, (row: A) => unknown>> | undefined
  readonly schema: Schema.Codec<A, unknown> | undefined
  readonly onFresh: "append" | "replace"
}

/** What a JSON array can hold for a column. */
type Stored = string | number | boolean | null

interface Column<A> {
  readonly name: string
  readonly isKey: boolean
  readonly valueOf: (row: A) => Stored
}

const utf8 = new TextEncoder()

/** The statements of a table, and its rows as a JSON array of arrays. */
class TableWriter<A> {
  readonly create: Statement
  readonly empty: Statement
  private readonly insertion: string
  private readonly columns: ReadonlyArray<Column<A>>

  constructor(layout: Layout<A>) {
    const columns = columnsOf(layout)
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

  insert(rows: Uint8Array): Statement {
    return { sql: this.insertion, rows }
  }
}

/** The columns as they were given, or the whole row as JSON; and before them a column for a key that is none of them. */
const columnsOf = <A>({ columns, key, schema }: Layout<A>): ReadonlyArray<Column<A>> => {
  const keys = typeof key === "function" || key === undefined ? [] : typeof key === "string" ? [key] : key
  const column = (name: string, isKey: boolean, get: (row: A) => unknown): Column<A> => ({
    name,
    isKey,
    valueOf: (row) => {
      const value = stored(name, get(row))
      if (isKey && value === null) throw new TypeError(`The key "${name}" of a row is missing: give every row one`)
      return value
    }
  })
  const own = columns === undefined
    ? [{ name: "value", isKey: false, valueOf: jsonBy(schema) }]
    : Object.entries(columns).map(([name, get]) => column(name, keys.includes(name), get))
  return typeof key === "function" ? [column("key", true, key), ...own] : own
}

/** Always JSON, also for a row that is a string: whoever reads the column need not guess. */
const jsonBy = <A>(schema: Schema.Codec<A, unknown> | undefined): (row: A) => string => {
  const encode = schema === undefined ? undefined : Schema.encodeUnknownSync(Schema.toCodecJson(schema))
  return (row) => jsonOf(encode === undefined ? row : encode(row))
}

const jsonOf = (value: unknown): string => {
  // Not a string for undefined, functions and symbols, whatever its type says.
  const json: string | undefined = JSON.stringify(value)
  if (json === undefined) throw new TypeError(`JSON has no form for ${String(value)}`)
  return json
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

const quoted = (name: string): string => `"${name.replaceAll(`"`, `""`)}"`

// ---------------------------------------------------------------------------------------------------------------------
// markers
// ---------------------------------------------------------------------------------------------------------------------

const markers = "millrace_sinks"

const createMarkers: Statement = {
  sql: `CREATE TABLE IF NOT EXISTS ${markers} (job TEXT NOT NULL, sink TEXT NOT NULL, lineage TEXT NOT NULL, `
    + "epoch INTEGER NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (job, sink))"
}

const readMarker = ({ job, sink }: EpochOpening): Statement => ({
  sql: `SELECT lineage, epoch, digest FROM ${markers} WHERE job = ? AND sink = ?`,
  parameters: [job, sink]
})

/** Changes nothing where the marker is not the one it moves from, and takes its transaction back with it. */
const moveMarker = ({ job, sink }: EpochOpening, from: Marker | undefined, to: Marker): Statement =>
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

/** For statements that expect no number of changes. */
const certain = <A>(effect: Effect.Effect<A, SqliteError | Unexpected>): Effect.Effect<A, SqliteError> =>
  Effect.catchTag(effect, "Unexpected", (unexpected) => Effect.die(unexpected))

const currentMarker = (database: Database, opening: EpochOpening): Effect.Effect<Marker | undefined, SqliteError> =>
  database.transaction([readMarker(opening)]).pipe(
    certain,
    Effect.map(([rows]) => {
      const row = rows?.[0]
      return row === undefined
        ? undefined
        : { lineage: String(row["lineage"]), epoch: Number(row["epoch"]), digest: String(row["digest"]) }
    })
  )

// ---------------------------------------------------------------------------------------------------------------------
// the sink
// ---------------------------------------------------------------------------------------------------------------------

export const open = <A>(layout: Layout<A>) =>
  Effect.fnUntraced(function*({ attempt, isFresh }: Opening) {
    const database = yield* Sqlite
    const table = new TableWriter(layout)
    const isEmptied = isFresh && attempt === 1 && layout.onFresh === "replace"
    yield* certain(database.transaction([table.create, ...(isEmptied ? [table.empty] : [])]))
    const writer: Writer<A, SqliteError> = {
      write: (rows) =>
        Effect.try({
          try: () => table.encode(rows),
          catch: (cause) =>
            new SqliteError({ path: database.path, operation: `write a row to table "${layout.table}"`, cause })
        }).pipe(Effect.flatMap((bytes) => Effect.asVoid(certain(database.transaction([table.insert(bytes)])))))
    }
    return writer
  })

export const openEpochs = <A>(layout: Layout<A>) =>
  Effect.fnUntraced(function*(opening: EpochOpening) {
    const database = yield* Sqlite
    const table = new TableWriter(layout)
    yield* certain(database.transaction([table.create, createMarkers]))
    /** A marker that does not move stands elsewhere, or there already: an answer was lost on the way. */
    const move = (from: Marker | undefined, to: Marker, others: ReadonlyArray<Statement>) =>
      database.transaction([moveMarker(opening, from, to), ...others]).pipe(
        Effect.asVoid,
        Effect.catchTag("Unexpected", (unexpected) =>
          Effect.flatMap(currentMarker(database, opening), (found) => {
            const moved = hasMoved(opening.sink, found, from, to)
            if (moved instanceof SinkFenced) return Effect.fail(moved)
            // It stands where it could have moved from: it is being moved to and fro.
            return moved ? Effect.void : Effect.die(unexpected)
          }))
      )
    const inserts = ({ prepared }: Application) => prepared.map(({ bytes }) => table.insert(bytes))
    const writer: EpochWriter<A, SqliteError> & { readonly position: SinkPosition<SqliteError> } = {
      prepare: (rows) => ({ bytes: table.encode(rows) }),
      apply: (application) => move(application.after, application.marker, inserts(application)),
      position: {
        isVolatile: false,
        current: currentMarker(database, opening),
        begin: (marker, from) => move(from, marker, layout.onFresh === "replace" ? [table.empty] : [])
      },
      alongside: {
        database,
        statements: (application) => [
          moveMarker(opening, application.after, application.marker),
          ...inserts(application)
        ]
      }
    }
    return writer
  })
