/** What a checkpoint says once it has been read: tables as columns, rows as they were encoded, nothing decoded by schemas yet. */
import type * as Schema from "effect/Schema"
import type { TablePart } from "../state/cut.ts"
import type { Identity } from "../state/keyIdentity.ts"
import { decodeColumn, decodeKeys } from "./columns.ts"
import { Malformed } from "./malformed.ts"
import { readSegment, type Section } from "./segment.ts"

/** Rows under way, by column. */
export interface EncodedRows {
  readonly values: ReadonlyArray<Schema.Json>
  readonly times: ReadonlyArray<number>
  readonly keys: ReadonlyArray<Identity | undefined>
  readonly watermarks: ReadonlyArray<number>
  readonly opaque: ReadonlyArray<unknown> | undefined
}

/** Which rows: `gate` before an operator, `input n` of it, `queue` before a sink. */
export interface Flight {
  readonly operator: string
  readonly partition: number
  readonly id: string
  readonly rows: EncodedRows
}

export interface KeyList {
  readonly operator: string
  readonly partition: number
  readonly id: string
  readonly keys: ReadonlyArray<Identity>
}

/** A table as it grows from segment to segment. */
interface Growing {
  /** Where the key stands in the columns: an array per row would cost more than all the rest. */
  readonly rows: Map<Identity, number>
  /** With rows of keys that are gone. */
  readonly columns: Array<Array<unknown>>
  length: number
  width: number
}

const place = (operator: string, partition: number, id: string): string => `${partition} ${id}\n${operator}`

/** Plays segments back, in order: what tables hold in the end. */
export class Tables {
  private readonly tables = new Map<string, Growing>()

  play(segment: Uint8Array): void {
    for (const section of readSegment(segment)) {
      if (section.kind !== "table") throw new Malformed(`a segment of tables holds a section of ${section.kind}`)
      this.add(section)
    }
  }

  /** Undefined where there is none of the name. */
  table(operator: string, partition: number, id: string): TablePart | undefined {
    const table = this.tables.get(place(operator, partition, id))
    if (table === undefined) return undefined
    const columns = Array.from({ length: table.width }, () => new Array<unknown>(table.rows.size))
    const keys = new Array<Identity>(table.rows.size)
    let row = 0
    for (const [key, from] of table.rows) {
      keys[row] = key
      for (let i = 0; i < columns.length; i++) columns[i]![row] = table.columns[i]![from]
      row++
    }
    return { id, keys, columns }
  }

  private add({ columns, count, deleted, deletedCount, id, isFull, operator, partition }: Section): void {
    const name = place(operator, partition, id)
    let table = this.tables.get(name)
    if (table === undefined || isFull) {
      const width = Math.max(0, columns.length - 1)
      const none = Array.from({ length: width }, (): Array<unknown> => [])
      this.tables.set(name, table = { rows: new Map(), columns: none, length: 0, width })
    }
    if (count > 0) {
      const [keyColumn, ...others] = columns
      if (keyColumn === undefined || others.length === 0) throw new Malformed("a section of a table has no columns")
      const keys = decodeKeys(keyColumn, count)
      const values = others.map((column) => decodeColumn(column, count))
      // Columns that are not filled would have to be made of nothing, and there may be any number of them.
      if (table.rows.size > 0 && values.length !== table.width) {
        throw new Malformed(`a section of ${values.length} columns of a table that has ${table.width}`)
      }
      table.width = values.length
      while (table.columns.length < values.length) table.columns.push([])
      for (let row = 0; row < count; row++) {
        const known = table.rows.get(keys[row]!)
        const to = known ?? table.length++
        if (known === undefined) table.rows.set(keys[row]!, to)
        for (let i = 0; i < table.columns.length; i++) table.columns[i]![to] = values[i]?.[row]
      }
    }
    if (deletedCount > 0) { for (const key of decodeKeys(deleted, deletedCount)) table.rows.delete(key) }
  }
}

/** Rows under way and lists of keys. */
export const readFlight = (
  segment: Uint8Array,
  opaque: ReadonlyArray<unknown> | undefined
): { readonly flights: ReadonlyArray<Flight>; readonly lists: ReadonlyArray<KeyList> } => {
  const flights: Array<Flight> = []
  const lists: Array<KeyList> = []
  for (const { columns, count, id, kind, operator, partition } of readSegment(segment)) {
    if (kind === "table") throw new Malformed("a segment of rows holds a table")
    if (kind === "list") {
      lists.push({ operator, partition, id, keys: decodeKeys(columns[0] ?? empty, count) })
      continue
    }
    if (columns.length !== 4) throw new Malformed("a section of rows has not its four columns")
    const [values, times, keys, watermarks] = columns as unknown as readonly [
      Uint8Array,
      Uint8Array,
      Uint8Array,
      Uint8Array
    ]
    flights.push({
      operator,
      partition,
      id,
      rows: {
        // A column of JSON holds JSON.
        values: decodeColumn(values, count) as ReadonlyArray<Schema.Json>,
        times: numbers(decodeColumn(times, count)),
        keys: decodeKeys(keys, count).map((key) => key === noKey ? undefined : key),
        watermarks: instants(decodeColumn(watermarks, count)),
        opaque
      }
    })
  }
  return { flights, lists }
}

const empty = new Uint8Array(0)

/** Stands for no key: no identity begins with NUL and a character that begins no JSON text. */
export const noKey = "\u0000-"

/** Event time can be anywhere, and it has to be somewhere. */
const instants = (column: ReadonlyArray<unknown>): ReadonlyArray<number> => {
  const all = numbers(column)
  if (all.some(Number.isNaN)) throw new Malformed("a column of watermarks holds NaN")
  return all
}

const numbers = (column: ReadonlyArray<unknown>): ReadonlyArray<number> => {
  if (!column.every((value) => typeof value === "number")) {
    throw new Malformed("a column of numbers holds something else")
  }
  return column
}
