/**
 * Rewrites a checkpoint for a program that has changed: as one epoch, so that the job has either the checkpoint it had or
 * the one it can go on from, and is upgraded once.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Blob } from "../../CheckpointStore.ts"
import { type Flight, type KeyList, readFlight } from "../checkpoint/contents.ts"
import { Malformed } from "../checkpoint/malformed.ts"
import { encodeManifest, type Manifest, type PartEntry } from "../checkpoint/manifest.ts"
import { listSection, rowsSection, sliceRows, tableSection } from "../checkpoint/sections.ts"
import { SegmentWriter } from "../checkpoint/segment.ts"
import { Shelf } from "../checkpoint/shelf.ts"
import { rewritten } from "../machine/migrating.ts"
import * as layouts from "../plan/layout.ts"
import type { WindowNode } from "../plan/node.ts"
import { deadLettersName } from "../plan/record.ts"
import type { TablePart } from "../state/cut.ts"
import { queueId } from "./encoding.ts"
import type { Program } from "./job.ts"
import type { Fate, Judgement } from "./judging.ts"
import type { Recovered } from "./recovery.ts"

/** Bytes of a blob, from which on another one begins. */
const blobBytes = 8 * 1024 * 1024

type OperatorEntry = PartEntry["operators"][number]

/** The epoch that takes the place of the one it was made of. */
export interface Successor extends Pick<Manifest, "epoch" | "attempt" | "lineage" | "fingerprint"> {
  readonly parent: Manifest["parent"]
}

export const upgraded = Effect.fnUntraced(function*(
  { blobs, manifest, tables }: Recovered,
  { operators: fates, outputs, plan }: Judgement,
  { graph }: Pick<Program, "graph">,
  { parent, ...successor }: Successor
): Effect.fn.Return<
  {
    readonly manifest: Manifest
    readonly bytes: Uint8Array
    readonly digest: string
    readonly blobs: ReadonlyArray<Blob>
  },
  Malformed
> {
  const shelf = new Shelf(successor.epoch)
  const { components } = layouts.make(graph, 1)
  const flights = yield* flightsOf(manifest.parts, blobs)
  const segment = new SegmentWriter(blobBytes)
  const entries: Array<PartEntry> = []
  for (const { id: part, outlets, stages } of components) {
    const own = new Set(stages.flatMap(({ operators }) => operators.map((id) => graph.operators[id]!.label)))
    const outputsHere = new Set(outlets.map((outlet) => graph.outlets[outlet]!.name))
    const fateOf = (was: string): Fate | undefined => {
      const fate = fates.get(was)
      return fate !== undefined && own.has(fate.name) ? fate : undefined
    }
    const splits = manifest.parts.flatMap(({ splits }) =>
      splits.flatMap((split): PartEntry["splits"] => {
        const fate = fateOf(split.source)
        if (fate === undefined || !fate.keepsState) return []
        const { generator, ...others } = split
        return [{
          ...others,
          source: fate.name,
          ...generator === undefined || !fate.keepsGenerator ? {} : { generator }
        }]
      })
    )
    const operators: Array<OperatorEntry> = []
    for (const entry of manifest.parts.flatMap(({ operators }) => operators)) {
      const fate = fateOf(entry.operator)
      if (fate === undefined) continue
      operators.push(entryOf(entry, fate))
      if (entry.machine === undefined || !fate.keepsState) continue
      for (const id of entry.machine.tables) {
        const table = tables.table(entry.operator, entry.partition, id)
        if (table !== undefined) yield* writeTable(segment, fate.name, entry.partition, tableOf(graph, fate, table))
      }
    }
    const writer = new SegmentWriter(blobBytes)
    let opaque: ReadonlyArray<unknown> | undefined
    for (const { flights: rows, lists, opaque: kept } of flights) {
      const mine = rows.flatMap((flight): ReadonlyArray<Flight> => {
        if (flight.rows.values.length === 0) return []
        // Dead letters are the job's: whichever part has them brings them to their sink.
        if (flight.operator === "") return part === 0 && outputs.has(deadLettersName) ? [flight] : []
        if (flight.id === queueId) {
          return outputsHere.has(flight.operator) && outputs.has(flight.operator) ? [flight] : []
        }
        const fate = fateOf(flight.operator)
        return fate?.keepsRows(flight.id) === true ? [{ ...flight, operator: fate.name }] : []
      })
      for (const { operator, ...list } of lists) {
        const fate = fateOf(operator)
        if (fate?.keepsState === true) writeList(writer, { ...list, operator: fate.name })
      }
      if (mine.length === 0) continue
      if (kept !== undefined && kept.length > 0) {
        if (opaque !== undefined) {
          return yield* Effect.fail(
            new Malformed("records that have no encoding are kept for several parts of the job, which are one now")
          )
        }
        opaque = kept
      }
      for (const flight of mine) yield* writeRows(writer, flight)
    }
    const flight = shelf.add(`flight-${part}`, writer.finish(), opaque ?? (isVolatile(blobs) ? [] : undefined))
    if (splits.length + operators.length + flight.length > 0) entries.push({ part, splits, operators, flight })
  }
  const { name: _name, parent: _parent, ...header } = manifest
  const made: Manifest = {
    ...header,
    ...successor,
    ...parent === undefined ? {} : { parent },
    plan,
    state: "running",
    takenAt: yield* Clock.currentTimeMillis,
    chain: [{ epoch: successor.epoch, blobs: shelf.add("state", segment.finish()) }],
    parts: entries,
    sinks: manifest.sinks.filter(({ sink }) => outputs.has(sink))
  }
  return { manifest: made, ...encodeManifest(made), blobs: shelf.blobs }
})

/** Whether values may be kept by reference: then every blob of rows says so. */
const isVolatile = (blobs: Recovered["blobs"]): boolean =>
  [...blobs.values()].some(({ opaque }) => opaque !== undefined)

interface Read {
  readonly flights: ReadonlyArray<Flight>
  readonly lists: ReadonlyArray<KeyList>
  readonly opaque: ReadonlyArray<unknown> | undefined
}

/** What each old part has under way; each blob of it knows all that the part keeps by reference. */
const flightsOf = (
  parts: Manifest["parts"],
  blobs: Recovered["blobs"]
): Effect.Effect<ReadonlyArray<Read>, Malformed> =>
  Effect.try({
    try: () =>
      parts.map(({ flight }) => {
        const read = flight.map(({ id }) => {
          const { bytes, opaque } = blobs.get(id)!
          return { ...readFlight(bytes, opaque), opaque }
        })
        return {
          flights: read.flatMap(({ flights }) => flights),
          lists: read.flatMap(({ lists }) => lists),
          opaque: read.find(({ opaque }) => opaque !== undefined && opaque.length > 0)?.opaque
        }
      }),
    catch: (cause) => {
      if (cause instanceof Malformed) return cause
      throw cause
    }
  })

const entryOf = (entry: OperatorEntry, { keepsState, keepsWatermarks, name }: Fate): OperatorEntry => {
  const { counts, held, machine, watermarks, ...place } = entry
  return {
    ...place,
    operator: name,
    ...counts === undefined || !keepsState ? {} : { counts },
    ...held === undefined ? {} : { held },
    ...watermarks === undefined || !keepsWatermarks ? {} : { watermarks },
    ...machine === undefined || !keepsState ? {} : { machine }
  }
}

const tableOf = ({ operators }: Program["graph"], { name, rewrite }: Fate, table: TablePart): TablePart => {
  if (rewrite === undefined) return table
  // Only windows are rewritten.
  const { window } = operators.find(({ label }) => label === name)!.node as WindowNode
  return rewritten(window, table, rewrite)
}

const writeTable = Effect.fnUntraced(function*(
  segment: SegmentWriter,
  operator: string,
  partition: number,
  { columns, id, keys }: TablePart
): Effect.fn.Return<void> {
  for (let from = 0; from === 0 || from < keys.length; from += sliceRows) {
    const to = from + sliceRows
    const slices = columns.map((column) => column.slice(from, to))
    segment.add(tableSection({ operator, partition, id }, from === 0, keys.slice(from, to), slices, []))
    yield* Effect.yieldNow
  }
})

const writeList = (writer: SegmentWriter, { keys, ...place }: KeyList): void => {
  for (let from = 0; from < keys.length; from += sliceRows) {
    writer.add(listSection(place, keys.slice(from, from + sliceRows)))
  }
}

const writeRows = Effect.fnUntraced(function*(
  writer: SegmentWriter,
  { rows: { keys, times, values, watermarks }, ...place }: Flight
): Effect.fn.Return<void> {
  for (let from = 0; from < values.length; from += sliceRows) {
    const to = from + sliceRows
    writer.add(rowsSection(
      place,
      values.slice(from, to),
      times.slice(from, to),
      keys.slice(from, to),
      watermarks.slice(from, to)
    ))
    yield* Effect.yieldNow
  }
})
