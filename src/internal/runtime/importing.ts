/** Puts a checkpoint that is a value into the store, as the head of a new line: from there on it is like any other. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { CheckpointStore, CheckpointStoreError, Fenced } from "../../CheckpointStore.ts"
import type { CheckpointRefused } from "../../FlowError.ts"
import { packChunks } from "../checkpoint/chunks.ts"
import { encodeManifest, type Manifest } from "../checkpoint/manifest.ts"
import { listSection, rowsSection, sliceRows, tableSection } from "../checkpoint/sections.ts"
import { type Section, SegmentWriter } from "../checkpoint/segment.ts"
import { Shelf } from "../checkpoint/shelf.ts"
import { bytesOf, identityIn, type Value } from "../checkpoint/value.ts"
import { reasonOf } from "../plan/readers.ts"
import { commitSurely } from "./patience.ts"
import { unrestorable } from "./recovery.ts"

const blobBytes = 8 * 1024 * 1024

/** Answers with the epoch that it has now. */
export const importValue = Effect.fnUntraced(function*(
  store: CheckpointStore["Service"],
  { attempt, head, lineage }: { readonly attempt: number; readonly head: number; readonly lineage: string },
  value: Value
): Effect.fn.Return<number, CheckpointStoreError | CheckpointRefused | Fenced> {
  const { job, parts, sinks, epoch: from, lineage: parent, name: _name, ...header } = value
  // Never one that was there before: sinks tell epochs apart by their numbers.
  const epoch = Math.max(head, from) + 1
  const shelf = new Shelf(epoch)

  const written = Effect.gen(function*() {
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
      for (const { keys, ...place } of lists) flight.add(listSection(place, keys.map(identityIn)))
      for (const { rows: all, ...place } of rows) {
        flight.add(rowsSection(
          place,
          all.map(([row]) => row),
          all.map(([, time]) => time),
          all.map(([, , key]) => key === undefined ? undefined : identityIn(key)),
          all.map(([, , , watermark]) => watermark)
        ))
      }
      entries.push({ part, splits, operators, flight: shelf.add(`flight-${part}`, flight.finish()) })
    }
    const lying = sinks.map(({ pending, ...sink }) => ({
      ...sink,
      pending: pending.map(({ sheets, ...one }, n) => ({
        ...one,
        blobs: shelf.add(`sink-${sink.sink}-${n}`, [
          packChunks(sheets.map((sheet) => ({ bytes: bytesOf(sheet) }))).bytes
        ])
      }))
    }))
    return { chain: [{ epoch, blobs: shelf.add("state", segment.finish()) }], parts: entries, sinks: lying }
  })
  // It may come from a file that somebody has edited, with keys that are none and entries of any length.
  const refuse = (defect: unknown) => Effect.fail(unrestorable(job, from, reasonOf(defect)))
  const contents = yield* Effect.catchDefect(written, refuse)
  const manifest: Manifest = {
    ...header,
    job,
    lineage,
    parent: { lineage: parent, epoch: from },
    imported: { lineage: parent, epoch: from },
    epoch,
    attempt,
    takenAt: yield* Clock.currentTimeMillis,
    ...contents
  }
  const { bytes, digest } = yield* Effect.catchDefect(Effect.sync(() => encodeManifest(manifest)), refuse)
  const drop = { epochs: [], blobs: [] }
  yield* commitSurely(store, {
    job,
    attempt,
    epoch,
    previous: head,
    digest,
    manifest: bytes,
    blobs: shelf.blobs,
    drop,
    alongside: []
    // There is nothing alongside that could be refused.
  }).pipe(Effect.catchTag("AlongsideRefused", (refusal) => Effect.die(refusal)))
  return epoch
})

function* tableSections({ entries, ...place }: Value["parts"][number]["tables"][number]): Generator<Section> {
  for (let from = 0; from === 0 || from < entries.length; from += sliceRows) {
    const slice = entries.slice(from, from + sliceRows)
    const width = Math.max(1, (slice[0] ?? []).length - 1)
    const columns = Array.from({ length: width }, (_, i) => slice.map((entry) => entry[i + 1]))
    yield tableSection(place, from === 0, slice.map(([key]) => identityIn(key)), columns, [])
  }
}
