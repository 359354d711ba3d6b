/** Puts a checkpoint that is a value into the store, as the head of a new line: from there on it is like any other. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Blob, CheckpointStore, CheckpointStoreError, Fenced } from "../../CheckpointStore.ts"
import { packChunks } from "../checkpoint/chunks.ts"
import { encodeColumn, encodeKeys } from "../checkpoint/columns.ts"
import { noKey } from "../checkpoint/contents.ts"
import { crcOf } from "../checkpoint/digest.ts"
import { type BlobReference, encodeManifest, type Manifest } from "../checkpoint/manifest.ts"
import { type Section, SegmentWriter } from "../checkpoint/segment.ts"
import { bytesOf, identityIn, type Value } from "../checkpoint/value.ts"
import { commitSurely } from "./patience.ts"

/** Entries in one section, after which others have their turn. */
const sliceRows = 4096

const blobBytes = 8 * 1024 * 1024

const nothingDeleted = { deletedCount: 0, deleted: new Uint8Array(0) }

/** Answers with the epoch that it has now. */
export const importValue = Effect.fnUntraced(function*(
  store: CheckpointStore["Service"],
  { attempt, head, lineage }: { readonly attempt: number; readonly head: number; readonly lineage: string },
  value: Value
): Effect.fn.Return<number, CheckpointStoreError | Fenced> {
  const { job, parts, sinks, epoch: from, lineage: parent, name: _name, ...header } = value
  // Never one that was there before: sinks tell epochs apart by their numbers.
  const epoch = Math.max(head, from) + 1
  const blobs: Array<Blob> = []
  const add = (kind: string, all: ReadonlyArray<Uint8Array>) =>
    all.map((bytes, n): BlobReference => {
      const id = `${epoch}.${kind}-${n}`
      blobs.push({ id, bytes })
      return { id, bytes: bytes.length, crc: crcOf(bytes) }
    })

  const segment = new SegmentWriter(blobBytes)
  const entries: Array<Manifest["parts"][number]> = []
  for (const { lists, operators, part, rows, splits, tables } of parts) {
    for (const table of tables) {
      for (const section of tableSections(table)) {
        segment.add(section)
        yield* Effect.yieldNow
      }
    }
    const flight = new SegmentWriter(blobBytes)
    for (const { id, keys, operator, partition } of lists) {
      const columns = [encodeKeys(keys.map(identityIn))]
      flight.add({
        operator,
        partition,
        kind: "list",
        id,
        isFull: false,
        count: keys.length,
        columns,
        ...nothingDeleted
      })
    }
    for (const { id, operator, partition, rows: all } of rows) {
      const columns = [
        encodeColumn(all.map(([row]) => row)),
        encodeColumn(all.map(([, time]) => time)),
        encodeKeys(all.map(([, , key]) => key === undefined ? noKey : identityIn(key))),
        encodeColumn(all.map(([, , , watermark]) => watermark))
      ]
      flight.add({
        operator,
        partition,
        kind: "rows",
        id,
        isFull: false,
        count: all.length,
        columns,
        ...nothingDeleted
      })
    }
    entries.push({ part, splits, operators, flight: add(`flight-${part}`, flight.finish()) })
  }
  const manifest: Manifest = {
    ...header,
    job,
    lineage,
    parent: { lineage: parent, epoch: from },
    imported: { lineage: parent, epoch: from },
    epoch,
    attempt,
    takenAt: yield* Clock.currentTimeMillis,
    chain: [{ epoch, blobs: add("state", segment.finish()) }],
    parts: entries,
    sinks: sinks.map(({ pending, ...sink }) => ({
      ...sink,
      pending: pending.map(({ sheets, ...one }, n) => ({
        ...one,
        blobs: add(`sink-${sink.sink}-${n}`, [packChunks(sheets.map((sheet) => ({ bytes: bytesOf(sheet) }))).bytes])
      }))
    }))
  }
  const { bytes, digest } = encodeManifest(manifest)
  const drop = { epochs: [], blobs: [] }
  yield* commitSurely(store, {
    job,
    attempt,
    epoch,
    previous: head,
    digest,
    manifest: bytes,
    blobs,
    drop,
    alongside: []
  })
  return epoch
})

function* tableSections(
  { entries, id, operator, partition }: Value["parts"][number]["tables"][number]
): Generator<Section> {
  for (let from = 0; from === 0 || from < entries.length; from += sliceRows) {
    const slice = entries.slice(from, from + sliceRows)
    const width = (slice[0] ?? []).length
    yield {
      operator,
      partition,
      kind: "table",
      id,
      isFull: from === 0,
      count: slice.length,
      columns: [
        encodeKeys(slice.map(([key]) => identityIn(key))),
        ...Array.from({ length: Math.max(1, width - 1) }, (_, i) => encodeColumn(slice.map((entry) => entry[i + 1])))
      ],
      ...nothingDeleted
    }
  }
}
