/** What came of a run, against what would have come of it undisturbed. */
import * as Schema from "effect/Schema"

/** Rows by the names of outputs. */
export type Outputs = Readonly<Record<string, ReadonlyArray<unknown>>>

/** Of each kind so many rows are kept in a message. */
const mostShown = 3

/** What differs in one output: rows as texts, the first few of each kind, and how many there are. */
export interface Difference {
  readonly output: string
  /** Rows that are missing. */
  readonly lost: ReadonlyArray<string>
  /** Rows that are there more often than they should be. */
  readonly duplicated: ReadonlyArray<string>
  /** Rows that should not be there at all. */
  readonly madeUp: ReadonlyArray<string>
  /** Keys whose rows have changed places. */
  readonly disordered: ReadonlyArray<string>
  readonly counts: Readonly<Record<"lost" | "duplicated" | "madeUp" | "disordered", number>>
}

const texts = Schema.Array(Schema.String)

export const Difference: Schema.Codec<Difference> = Schema.Struct({
  output: Schema.String,
  lost: texts,
  duplicated: texts,
  madeUp: texts,
  disordered: texts,
  counts: Schema.Struct({ lost: Schema.Int, duplicated: Schema.Int, madeUp: Schema.Int, disordered: Schema.Int })
})

/** A value as text, in which equal values are equal whatever the order of their fields. */
export const show = (value: unknown): string => shown(value, new Set())

const shown = (value: unknown, above: ReadonlySet<unknown>): string => {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value)
    case "bigint":
      return `${value}n`
    case "number":
      return Object.is(value, -0) ? "-0" : String(value)
    case "function":
      return `[function ${value.name}]`
    case "object":
      break
    default:
      return String(value)
  }
  if (value === null) return "null"
  if (above.has(value)) return "[circular]"
  const within = new Set([...above, value])
  const inner = (one: unknown) => shown(one, within)
  if (Array.isArray(value)) return `[${value.map(inner).join(", ")}]`
  if (value instanceof Date) return `Date(${Number.isNaN(value.getTime()) ? "invalid" : value.toISOString()})`
  if (value instanceof Uint8Array) return `bytes(${value.join(" ")})`
  if (value instanceof Map) return `Map {${Array.from(value, ([k, v]) => `${inner(k)} => ${inner(v)}`).join(", ")}}`
  if (value instanceof Set) return `Set {${Array.from(value, inner).join(", ")}}`
  if (value instanceof Error) return `${value.name}: ${value.message}`
  const fields = Object.entries(value).filter(([, field]) => field !== undefined).sort(([a], [b]) => a < b ? -1 : 1)
  return `{${fields.map(([name, field]) => `${name}: ${inner(field)}`).join(", ")}}`
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null

/**
 * What is certain of a row. Whether a pane is the last one depends on how event time went on, which may take one step
 * where it took two before; where a record was refused depends on the partitions.
 */
export const certain = (row: unknown): unknown => {
  if (!isRecord(row)) return row
  if ("window" in row && "timing" in row && "isLast" in row) {
    const { isLast: _, ...pane } = row
    return pane
  }
  if ("operator" in row && "original" in row && "reason" in row && "partition" in row) {
    const { origin: _, partition: __, ...letter } = row
    return letter
  }
  return row
}

/** How the rows of an output are compared. */
export interface Comparison {
  /** Rows may come again. */
  readonly atLeastOnce: boolean
  readonly essence: (row: unknown) => unknown
  /** Rows of one key keep their order. */
  readonly orderedBy: ((row: unknown) => unknown) | undefined
}

const countsOf = (texts: ReadonlyArray<string>): Map<string, number> => {
  const counts = new Map<string, number>()
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1)
  return counts
}

/** What differs in one output, or nothing. */
export const differenceIn = (
  output: string,
  actual: ReadonlyArray<unknown>,
  expected: ReadonlyArray<unknown>,
  { atLeastOnce, essence, orderedBy }: Comparison
): Difference | undefined => {
  const text = (row: unknown) => show(essence(row))
  const [got, wanted] = [actual.map(text), expected.map(text)]
  const [has, needs] = [countsOf(got), countsOf(wanted)]
  const lost: Array<string> = []
  const duplicated: Array<string> = []
  const madeUp: Array<string> = []
  for (const [row, count] of needs) {
    const found = has.get(row) ?? 0
    if (found < count) lost.push(row)
    if (found > count && !atLeastOnce) duplicated.push(row)
  }
  for (const row of has.keys()) if (!needs.has(row)) madeUp.push(row)
  const disordered: Array<string> = []
  if (orderedBy !== undefined && !atLeastOnce && lost.length + duplicated.length + madeUp.length === 0) {
    const orders = (rows: ReadonlyArray<unknown>) => {
      const byKey = new Map<string, Array<string>>()
      for (const row of rows) {
        const key = show(orderedBy(row))
        byKey.set(key, [...byKey.get(key) ?? [], text(row)])
      }
      return byKey
    }
    const before = orders(expected)
    for (const [key, rows] of orders(actual)) {
      if (rows.join("\n") !== before.get(key)?.join("\n")) disordered.push(key)
    }
  }
  if (lost.length + duplicated.length + madeUp.length + disordered.length === 0) return undefined
  return {
    output,
    lost: lost.slice(0, mostShown),
    duplicated: duplicated.slice(0, mostShown),
    madeUp: madeUp.slice(0, mostShown),
    disordered: disordered.slice(0, mostShown),
    counts: {
      lost: lost.length,
      duplicated: duplicated.length,
      madeUp: madeUp.length,
      disordered: disordered.length
    }
  }
}

/** A difference in words. */
export const inWords = (difference: Difference): string => {
  const { counts, output } = difference
  const kinds = [
    ["lost", "lost"],
    ["duplicated", "there too often"],
    ["madeUp", "made up"],
    ["disordered", "in another order, of key"]
  ] as const
  const lines = kinds.flatMap(([kind, words]) => {
    if (counts[kind] === 0) return []
    const more = counts[kind] - difference[kind].length
    return [`    ${counts[kind]} ${words}: ${difference[kind].join(", ")}${more > 0 ? `, and ${more} more` : ""}`]
  })
  return [`  output "${output}":`, ...lines].join("\n")
}
