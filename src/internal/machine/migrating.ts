/** Accumulators that an earlier program wrote, as the present one reads them. */
import * as Schema from "effect/Schema"
import type { Window } from "../../Window.ts"
import type { WindowNode } from "../plan/node.ts"
import type { TablePart } from "../state/cut.ts"
import { sessionColumns } from "./sessions.ts"
import { stateCodec } from "./stateCodec.ts"

/** What a checkpoint says of the fields of a window. */
export interface Written {
  readonly version: number
  readonly fields: ReadonlyArray<{ readonly name: string }>
}

/** Of one key in one window, in the order of the columns. Throws where the present program could not read it. */
export type Rewrite = (accumulators: ReadonlyArray<unknown>) => ReadonlyArray<unknown>

export const rewriting = ({ fields: before, version }: Written, { element, fields, state }: WindowNode): Rewrite => {
  const now = fields.map(([name, aggregate]) => {
    const schema = aggregate.state(element)
    // `Job.make` refuses such a window.
    if (schema === undefined) throw new Error(`rewriting: the state of ${name} has no codec`)
    const codec = stateCodec(schema)
    return { name, codec, is: Schema.is(schema), zero: codec.encode(aggregate.zero) }
  })
  return (accumulators) => {
    let written: Readonly<Record<string, unknown>> = Object.fromEntries(
      before.map(({ name }, i) => [name, accumulators[i]])
    )
    for (let from = version; from < state.version; from++) {
      const migrate = state.migrations?.[from]
      if (migrate === undefined) throw new Error(`there is no migration from version ${from}`)
      written = migrate(written)
    }
    const unknown = Object.keys(written).find((name) => now.every((field) => field.name !== name))
    if (unknown !== undefined) throw new Error(`the aggregate has no field "${unknown}"`)
    return now.map(({ codec, is, name, zero }) => {
      if (!Object.hasOwn(written, name)) return exact(zero)
      const one = exact(written[name])
      const decoded = codec.decode(one)
      // A text that is no number is not what "NaN" says.
      if (!is(decoded) || (Number.isNaN(decoded) && one !== "NaN")) {
        throw new Error(`what "${name}" would hold is nothing that its schema knows`)
      }
      return one
    })
  }
}

/** Whatever else is in its column, JSON has a word for it then, which every codec of numbers reads. */
const exact = (encoded: unknown): unknown =>
  typeof encoded === "number" && !Number.isFinite(encoded) ? String(encoded) : encoded

/** A table of a window's machine with all accumulators rewritten; others are as they were. */
export const rewritten = (window: Window, table: TablePart, rewrite: Rewrite): TablePart => {
  // The first of several machines goes by no number.
  const id = table.id.slice(table.id.indexOf("/") + 1)
  if (id.startsWith("panes ")) return table
  const own = window._tag === "Session" ? sessionColumns : 0
  const { columns, keys } = table
  const before = columns.slice(own)
  const after: Array<Array<unknown>> = []
  keys.forEach((_, row) => {
    const starts = own > 0 ? columns[0]![row] : undefined
    // Several sessions of a key stand as lists of the same length.
    const states = Array.isArray(starts)
      ? transposed(starts.map((_, i) => rewrite(before.map((column) => (column[row] as ReadonlyArray<unknown>)[i]))))
      : rewrite(before.map((column) => column[row]))
    states.forEach((state, i) => (after[i] ??= []).push(state))
  })
  return { id: table.id, keys, columns: [...columns.slice(0, own), ...after] }
}

const transposed = (rows: ReadonlyArray<ReadonlyArray<unknown>>): ReadonlyArray<ReadonlyArray<unknown>> =>
  (rows[0] ?? []).map((_, i) => rows.map((row) => row[i]))
