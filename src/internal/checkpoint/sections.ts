/** How tables, lists of keys and rows under way are laid out in the sections of a segment, whoever writes them. */
import type { Identity } from "../state/keyIdentity.ts"
import { encodeColumn, encodeKeys } from "./columns.ts"
import { noKey } from "./contents.ts"
import type { Section } from "./segment.ts"

/** Whose section it is. */
export type Place = Pick<Section, "operator" | "partition" | "id">

/** Entries or rows in one section. */
export const sliceRows = 4096

const nothingDeleted = { deletedCount: 0, deleted: new Uint8Array(0) }

/** Entries of a table, column by column, and the keys of those that are gone. */
export const tableSection = (
  place: Place,
  isFull: boolean,
  keys: ReadonlyArray<Identity>,
  columns: ReadonlyArray<ReadonlyArray<unknown>>,
  deleted: ReadonlyArray<Identity>
): Section => ({
  ...place,
  kind: "table",
  isFull,
  count: keys.length,
  columns: [encodeKeys(keys), ...columns.map(encodeColumn)],
  deletedCount: deleted.length,
  deleted: encodeKeys(deleted)
})

export const listSection = (place: Place, keys: ReadonlyArray<Identity>): Section => ({
  ...place,
  kind: "list",
  isFull: false,
  count: keys.length,
  columns: [encodeKeys(keys)],
  ...nothingDeleted
})

/** Rows, each with its time, its key if there is one, and the watermark that judges it. */
export const rowsSection = (
  place: Place,
  values: ReadonlyArray<unknown>,
  times: ReadonlyArray<number>,
  keys: ReadonlyArray<Identity | undefined>,
  watermarks: ReadonlyArray<number>
): Section => ({
  ...place,
  kind: "rows",
  isFull: false,
  count: values.length,
  columns: [
    encodeColumn(values),
    encodeColumn(times),
    encodeKeys(keys.map((key) => key ?? noKey)),
    encodeColumn(watermarks)
  ],
  ...nothingDeleted
})
