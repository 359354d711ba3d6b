/**
 * What a checkpoint keeps of keyed state, before it is encoded and after it has been read: tables by reference on the way
 * out, columns on the way in.
 */
import type * as Schema from "effect/Schema"
import type { Identity } from "./keyIdentity.ts"
import type { Slot, TableView } from "./Table.ts"

/** A table at one instant. The table goes on; the view stays. */
export interface TableCut<K extends Identity, V> {
  readonly view: TableView<K, V>
  /**
   * The places written or deleted since the cut before, each key once: `view.valueOf` tells the one from the other.
   * Undefined where the table replaces whatever an earlier cut knew by its name: read `view.slots()` then.
   */
  readonly touched: ReadonlyArray<Slot<K, V>> | undefined
}

/** How the values of a table are laid out in columns of JSON, and found again. */
export interface ValueCodec {
  readonly width: number
  /** Appends one value to every column. */
  readonly write: (value: never, columns: ReadonlyArray<Array<unknown>>) => void
  readonly read: (columns: ReadonlyArray<ReadonlyArray<unknown>>, row: number) => unknown
}

export interface CutTable {
  /** Names the table among those of its operator: `cells 0:60000`. */
  readonly id: string
  readonly cut: TableCut<Identity, never>
  readonly codec: ValueCodec
}

export interface CutList {
  readonly id: string
  /** Read after the cut, in slices: what it runs over must not change any more. */
  readonly keys: Iterable<Identity>
}

/**
 * All that a machine gives to a checkpoint: small things at once, tables and lists by reference. What it does not name any
 * more is gone.
 */
export interface MachineCut {
  readonly meta: Schema.Json
  readonly tables: ReadonlyArray<CutTable>
  readonly lists: ReadonlyArray<CutList>
}

/** What a checkpoint has kept of one table. */
export interface TablePart {
  readonly id: string
  readonly keys: ReadonlyArray<Identity>
  readonly columns: ReadonlyArray<ReadonlyArray<unknown>>
}

/** What one partition gave to a checkpoint, for the key groups from `groups[0]` to before `groups[1]`. */
export interface MachinePart {
  readonly groups: readonly [from: number, to: number]
  readonly meta: Schema.Json
  readonly tables: ReadonlyArray<TablePart>
  readonly lists: ReadonlyArray<{ readonly id: string; readonly keys: ReadonlyArray<Identity> }>
}
