/** What sinks that write to a table have in common: their columns, and a marker that moves with the rows. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Database, Statement, Unexpected } from "../../Database.ts"
import type { Application, EpochOpening, EpochWriter, Marker, SinkPosition } from "../../Sink.ts"
import { hasMoved, SinkFenced } from "./SinkFenced.ts"

export interface Layout<A> {
  readonly table: string
  readonly key: ((row: A) => unknown) | string | ReadonlyArray<string> | undefined
  readonly columns: Readonly<Record<string, (row: A) => unknown>> | undefined
  readonly schema: Schema.Codec<A, unknown> | undefined
  readonly onFresh: "append" | "replace"
}

/** A column whose values JSON can hold. */
export interface Column<A, S> {
  readonly name: string
  readonly isKey: boolean
  readonly valueOf: (row: A) => S
}

/** How a database writes the values of a table down. */
export interface Form<S> {
  /** What a column takes of a value; throws where it takes none of it. */
  readonly stored: (column: string, value: unknown) => S | null
  /** Of a row as a whole, from what its schema makes of it. */
  readonly whole: (row: unknown) => S
}

/** The columns as they were given, or the whole row as JSON; and before them a column for a key that is none of them. */
export const columnsOf = <A, S>(
  { columns, key, schema }: Layout<A>,
  { stored, whole }: Form<S>
): ReadonlyArray<Column<A, S | null>> => {
  const keys = typeof key === "function" || key === undefined ? [] : typeof key === "string" ? [key] : key
  const column = (name: string, isKey: boolean, get: (row: A) => unknown): Column<A, S | null> => ({
    name,
    isKey,
    valueOf: (row) => {
      const value = stored(name, get(row))
      if (isKey && value === null) throw new TypeError(`The key "${name}" of a row is missing: give every row one`)
      return value
    }
  })
  const encode = schema === undefined ? undefined : Schema.encodeUnknownSync(Schema.toCodecJson(schema))
  const own = columns === undefined
    ? [{ name: "value", isKey: false, valueOf: (row: A) => whole(encode === undefined ? row : encode(row)) }]
    : Object.entries(columns).map(([name, get]) => column(name, keys.includes(name), get))
  return typeof key === "function" ? [column("key", true, key), ...own] : own
}

export const jsonOf = (value: unknown): string => {
  // Not a string for undefined, functions and symbols, whatever its type says.
  const json: string | undefined = JSON.stringify(value)
  if (json === undefined) throw new TypeError(`JSON has no form for ${String(value)}`)
  return json
}

/** A name in SQL: between quotes, those within doubled. */
export const quoted = (name: string): string => `"${name.replaceAll(`"`, `""`)}"`

/** A name as a database keeps it apart from every other: lone surrogates have no UTF-8, and few take a zero in a text. */
export const nameText = (name: string): string =>
  name.replace(/[\p{Cc}\\]|\p{Surrogate}/gu, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)

/** A sink's marker in its database. `moveMarker` expects to change one row. */
export interface Markers {
  readonly read: Statement
  readonly move: (from: Marker | undefined, to: Marker) => Statement
}

/** For statements that expect no number of changes. */
export const certain = <A, E>(effect: Effect.Effect<A, E | Unexpected>): Effect.Effect<A, Exclude<E, Unexpected>> =>
  Effect.catchIf(
    effect,
    (error): error is Extract<E | Unexpected, Unexpected> => (error as Unexpected)._tag === "Unexpected",
    Effect.die
    // What is left when that one is gone.
  ) as Effect.Effect<A, Exclude<E, Unexpected>>

/** The epochs of a sink: the rows of one, and its marker, are a single transaction. */
export const epochWriter = <A, E>(
  database: Database<E>,
  { sink }: EpochOpening,
  markers: Markers,
  rows: {
    readonly encode: (rows: ReadonlyArray<A>) => Uint8Array
    readonly insert: (bytes: Uint8Array) => Statement
    /** What a job that begins from nothing does first. */
    readonly begin: ReadonlyArray<Statement>
  }
): EpochWriter<A, Exclude<E, Unexpected>> & { readonly position: SinkPosition<Exclude<E, Unexpected>> } => {
  const current = certain(database.transaction([markers.read])).pipe(
    Effect.map(([found]): Marker | undefined => {
      const row = found?.[0]
      return row === undefined
        ? undefined
        : { lineage: String(row["lineage"]), epoch: Number(row["epoch"]), digest: String(row["digest"]) }
    })
  )
  /** A marker that does not move stands elsewhere, or there already: an answer was lost on the way. */
  const move = (from: Marker | undefined, to: Marker, others: ReadonlyArray<Statement>) =>
    Effect.asVoid(database.transaction([markers.move(from, to), ...others])).pipe(
      Effect.catchIf(
        (error): error is Extract<E | Unexpected, Unexpected> => (error as Unexpected)._tag === "Unexpected",
        (unexpected) =>
          Effect.flatMap(current, (found) => {
            const moved = hasMoved(sink, found, from, to)
            if (moved instanceof SinkFenced) return Effect.fail(moved)
            // It stands where it could have moved from: it is being moved to and fro.
            return moved ? Effect.void : Effect.die(unexpected)
          })
      )
      // What is left when that one is gone.
    ) as Effect.Effect<void, Exclude<E, Unexpected> | SinkFenced>
  const inserts = ({ prepared }: Application) => prepared.map(({ bytes }) => rows.insert(bytes))
  return {
    prepare: (batch) => ({ bytes: rows.encode(batch) }),
    apply: (application) => move(application.after, application.marker, inserts(application)),
    position: {
      isVolatile: false,
      current,
      begin: (marker, from) => move(from, marker, rows.begin)
    },
    alongside: {
      database,
      statements: (application) => [markers.move(application.after, application.marker), ...inserts(application)]
    }
  }
}
