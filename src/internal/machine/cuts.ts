/** What the machines have in common when they are put into a checkpoint and restored from it. */
import type { CutTable, MachinePart, ValueCodec } from "../state/cut.ts"
import type { Identity } from "../state/keyIdentity.ts"
import type { Table } from "../state/Table.ts"

/** Whole numbers and the like, one column. */
export const plainCodec: ValueCodec = {
  width: 1,
  write: (value: unknown, columns) => columns[0]!.push(value),
  read: (columns, row) => columns[0]![row]
}

export const cutTable = <V>(id: string, table: Table<Identity, V>, codec: ValueCodec): CutTable => ({
  id,
  // Its values are those that the codec writes, which is all that is done to them.
  cut: table.cut() as unknown as CutTable["cut"],
  codec
})

/** Puts the keys that are ours of one table of a part; says nothing of a table that the part does not have. */
export const eachOf = (
  part: MachinePart,
  id: string,
  codec: ValueCodec,
  owns: (key: Identity) => boolean,
  put: (key: Identity, value: unknown) => void
): void => {
  const table = part.tables.find((table) => table.id === id)
  if (table === undefined) return
  const { columns, keys } = table
  for (let row = 0; row < keys.length; row++) if (owns(keys[row]!)) put(keys[row]!, codec.read(columns, row))
}

/** The keys that are ours of one list of a part. */
export const listOf = (part: MachinePart, id: string, owns: (key: Identity) => boolean): ReadonlyArray<Identity> =>
  part.lists.find((list) => list.id === id)?.keys.filter(owns) ?? []

/** Iterates when asked to, over what does not change any more. */
export const lazily = <A>(all: ReadonlyArray<A>, from: number, keyOf: (one: A) => Identity): Iterable<Identity> => ({
  *[Symbol.iterator]() {
    for (let i = from; i < all.length; i++) yield keyOf(all[i]!)
  }
})
