/** A checkpoint as a value: all that it says, with nothing left in a store. */
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import { ExactNumber } from "../numbers.ts"
import { canonicalJson, type Identity } from "../state/keyIdentity.ts"
import { unpackChunks } from "./chunks.ts"
import { readFlight, type Tables } from "./contents.ts"
import type { BlobReference, Manifest } from "./manifest.ts"
import { format, manifestFields, Marker, OperatorEntry, PartNumber, Split } from "./manifest.ts"
import { fromJson, toJson } from "./plain.ts"

/** Whatever a column holds, a key for one; in a file it is JSON that loses nothing. */
const Cell = Schema.Json.pipe(
  Schema.decodeTo(
    Schema.Unknown,
    SchemaTransformation.transform<unknown, Schema.Json>({
      decode: (json) => fromJson(json, undefined),
      encode: (value) => toJson(value, undefined)
    })
  )
)

const Table = Schema.Struct({
  operator: Schema.String,
  partition: Schema.Int,
  id: Schema.String,
  /** The key, and what belongs to it. */
  entries: Schema.Array(Schema.Array(Cell))
})

const KeyList = Schema.Struct({
  operator: Schema.String,
  partition: Schema.Int,
  id: Schema.String,
  keys: Schema.Array(Cell)
})

const Rows = Schema.Struct({
  operator: Schema.String,
  partition: Schema.Int,
  id: Schema.String,
  /** The row as it was encoded, its time, its key, and the watermark that judges it. */
  rows: Schema.Array(Schema.Tuple([Schema.Json, ExactNumber, Cell, ExactNumber]))
})

const Part = Schema.Struct({
  part: PartNumber,
  splits: Schema.Array(Split),
  operators: Schema.Array(OperatorEntry),
  tables: Schema.Array(Table),
  lists: Schema.Array(KeyList),
  rows: Schema.Array(Rows)
})

/** Bytes that a sink wrote down: as text where they are text. */
const Sheet = Schema.Union([
  Schema.Struct({ text: Schema.String }),
  Schema.Struct({ bytes: Schema.Uint8ArrayFromBase64 })
])

const Pending = Schema.Struct({ marker: Marker, after: Marker, rows: Schema.Int, sheets: Schema.Array(Sheet) })

const Sink = Schema.Struct({ sink: Schema.String, applied: Marker, pending: Schema.Array(Pending) })

export const Value = Schema.Struct({
  format: Schema.Literal(format),
  ...manifestFields,
  parts: Schema.Array(Part),
  sinks: Schema.Array(Sink)
})
export type Value = typeof Value.Type

/** What a manifest and its pieces say. Throws `Malformed`; `opaque` is called where something is kept by reference alone. */
export const valueOf = (
  manifest: Manifest,
  tables: Tables,
  blobOf: (
    reference: BlobReference
  ) => { readonly bytes: Uint8Array; readonly opaque?: ReadonlyArray<unknown> | undefined },
  opaque: (where: string) => void
): Value => {
  const { chain: _chain, parts, sinks, attempt: _attempt, imported: _imported, ...header } = manifest
  const isOpaque = (kept: ReadonlyArray<unknown> | undefined): boolean =>
    (kept ?? []).some((one) => !Array.isArray(one) || one.length > 0)
  return {
    ...header,
    parts: parts.map(({ flight, ...part }) => {
      const read = flight.map((reference) => {
        const { bytes, opaque: kept } = blobOf(reference)
        if (isOpaque(kept)) opaque(reference.id)
        return readFlight(bytes, kept)
      })
      return {
        ...part,
        tables: part.operators.flatMap(({ machine, operator, partition }) =>
          (machine?.tables ?? []).flatMap((id) => {
            const table = tables.table(operator, partition, id)
            if (table === undefined) return []
            const entries = table.keys.map((key, row) => [key, ...table.columns.map((column) => column[row])])
            return [{ operator, partition, id, entries }]
          })
        ),
        lists: read.flatMap(({ lists }) => lists),
        rows: read.flatMap(({ flights }) =>
          flights.map(({ rows: { keys, times, values, watermarks }, ...where }) => ({
            ...where,
            rows: values.map((value, i) => [value, times[i]!, keys[i], watermarks[i]!] as const)
          }))
        )
      }
    }),
    sinks: sinks.map(({ pending, ...sink }) => ({
      ...sink,
      pending: pending.map(({ blobs, ...one }) => ({
        ...one,
        sheets: blobs.flatMap((reference) => {
          const { bytes, opaque: kept } = blobOf(reference)
          if (isOpaque(kept)) opaque(reference.id)
          return unpackChunks(bytes, kept).map(({ bytes }) => sheetOf(bytes))
        })
      }))
    }))
  }
}

const sheetOf = (bytes: Uint8Array): Value["sinks"][number]["pending"][number]["sheets"][number] => {
  try {
    return { text: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes) }
  } catch {
    return { bytes: bytes.slice() }
  }
}

export const bytesOf = (sheet: Value["sinks"][number]["pending"][number]["sheets"][number]): Uint8Array =>
  "text" in sheet ? new TextEncoder().encode(sheet.text) : sheet.bytes

/**
 * One text for one state: sorted, and without what differs between two pictures of the same state (epochs, lineages,
 * moments, who took it, how rows were numbered in a process, and what sinks are owed, which going on gives them).
 */
export const canonical = ({ fingerprint, job, parts, partitions }: Value): string => {
  const text = (value: unknown): string => canonicalJson(toJson(value, undefined))
  const sorted = <A>(all: ReadonlyArray<A>, by: (one: A) => string): ReadonlyArray<A> =>
    all.map((one) => [by(one), one] as const).sort(([a], [b]) => a < b ? -1 : a > b ? 1 : 0).map(([, one]) => one)
  const place = (one: { readonly operator: string; readonly partition: number; readonly id?: string }) =>
    `${one.operator}\n${String(one.partition).padStart(4, "0")}\n${one.id ?? ""}`
  const joined = <
    A extends { readonly operator: string; readonly partition: number; readonly id: string },
    Field extends keyof A
  >(
    all: ReadonlyArray<A>,
    field: Field
  ): ReadonlyArray<unknown> => {
    const places = new Map<string, Array<unknown>>()
    for (const one of all) {
      const known = places.get(place(one)) ?? []
      places.set(place(one), known)
      // Arrays, whichever they are.
      known.push(...one[field] as unknown as ReadonlyArray<unknown>)
    }
    return sorted([...places].filter(([, items]) => items.length > 0), ([name]) => name)
  }
  return text({
    job,
    fingerprint,
    partitions,
    parts: sorted(parts, ({ part }) => String(part).padStart(4, "0")).map((part) => ({
      splits: sorted(part.splits.map(({ cursor: _, ...split }) => split), ({ source, split }) => `${source}\n${split}`),
      operators: sorted(part.operators, place),
      tables: sorted(part.tables, place).map((table) => ({ ...table, entries: sorted(table.entries, text) })),
      lists: joined(part.lists.map((list) => ({ ...list, keys: sorted(list.keys, text) })), "keys"),
      rows: joined(part.rows, "rows")
    }))
  })
}

/** The keys of entries and lists, which are identities in a checkpoint that some job wrote. */
export const identityIn = (cell: unknown): Identity => {
  if (typeof cell === "string" || typeof cell === "number" || typeof cell === "bigint" || typeof cell === "boolean") {
    return cell
  }
  throw new TypeError(`${typeof cell} is no identity of a key`)
}
