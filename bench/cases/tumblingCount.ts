/**
 * How many records of each key there are in every ten seconds.
 *
 * Both sides judge every record against the watermark as it stands then, count late ones apart, and close a window as soon
 * as the watermark has passed its end.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Aggregate, CheckpointStore, Flow, Job, Sink, Watermark, Window } from "millrace"
import { addHash, type Bench, type Digest, hashOf } from "../harness.ts"
import {
  boundMillis,
  type Reading,
  readings,
  recordsPerLap,
  recordsPerStretch,
  replayed,
  shift,
  timeOf
} from "../records.ts"

const sizeMillis = 10_000

const byHand = (records: ReadonlyArray<Reading>, laps: number): Digest => {
  const windows = new Map<number, Map<number, { count: number }>>()
  let results = 0
  let hash = 0
  let latest = -Infinity
  let watermark = -Infinity
  let nextEnd = Infinity
  let start = NaN
  let counts = new Map<number, { count: number }>()
  const close = (start: number) => {
    for (const [key, { count }] of windows.get(start)!) {
      results++
      hash = addHash(hash, hashOf(key, start, count))
    }
    windows.delete(start)
  }
  for (let lap = 0; lap < laps; lap++) {
    for (let from = 0; from < recordsPerLap; from += recordsPerStretch) {
      shift(records, from, lap)
      const { shiftMillis } = records[from]!.stretch
      for (let i = from; i < from + recordsPerStretch; i++) {
        const record = records[i]!
        const time = record.at + shiftMillis
        if (!(time >= start && time < start + sizeMillis)) {
          const other = Math.floor(time / sizeMillis) * sizeMillis
          if (other + sizeMillis - 1 > watermark) {
            start = other
            const known = windows.get(start)
            if (known === undefined) {
              windows.set(start, counts = new Map())
              nextEnd = Math.min(nextEnd, start + sizeMillis - 1)
            } else counts = known
          } else {
            results++
            hash = addHash(hash, hashOf(record.key, time, -1))
            continue
          }
        }
        const entry = counts.get(record.key)
        if (entry === undefined) counts.set(record.key, { count: 1 })
        else entry.count++
        if (time > latest) {
          latest = time
          watermark = time - boundMillis - 1
          if (watermark >= nextEnd) {
            nextEnd = Infinity
            for (const open of [...windows.keys()].sort((a, b) => a - b)) {
              if (open + sizeMillis - 1 <= watermark) close(open)
              else nextEnd = Math.min(nextEnd, open + sizeMillis - 1)
            }
            if (!windows.has(start)) start = NaN
          }
        }
      }
    }
  }
  for (const open of windows.keys()) close(open)
  return { results, hash }
}

/** Counts and hashes what it takes. */
const digesting = <A>(digest: { results: number; hash: number }, hashOfRow: (row: A) => number) =>
  Sink.make<A>({
    description: "counts and hashes",
    open: () =>
      Effect.succeed({
        write: (rows) =>
          Effect.sync(() => {
            for (const row of rows) {
              digest.results++
              digest.hash = addHash(digest.hash, hashOfRow(row))
            }
          })
      })
  })

const byEngine = (records: ReadonlyArray<Reading>, laps: number, partitions: number): Promise<Digest> => {
  const digest = { results: 0, hash: 0 }
  const counts = Flow.from("readings", replayed(records, laps), {
    time: timeOf,
    watermark: Watermark.boundedOutOfOrderness(boundMillis)
  }).pipe(
    Flow.keyBy((reading) => reading.key, Schema.Number),
    Flow.window("counts", Window.tumbling(sizeMillis)),
    Flow.aggregate({ count: Aggregate.count })
  )
  const job = Job.make("tumbling count", [
    counts.results.pipe(
      Flow.to("panes", digesting(digest, ({ key, value, window }) => hashOf(key, window.start, value.count)))
    ),
    counts.late.pipe(
      Flow.to(
        "late",
        digesting(digest, ({ lateByMillis, value, watermark }) => hashOf(value.key, watermark - lateByMillis, -1))
      )
    )
  ])
  return Effect.runPromise(
    Job.run(job, { partitions }).pipe(Effect.provide(CheckpointStore.layerMemory), Effect.as(digest))
  )
}

const tumblingCount = (partitions: number): Bench => ({
  name: `tumbling-count-p${partitions}`,
  prepare: () => {
    const records = readings()
    return {
      recordsPerLap,
      byHand: (laps) => byHand(records, laps),
      byEngine: (laps) => byEngine(records, laps, partitions)
    }
  }
})

export const benches: ReadonlyArray<Bench> = [tumblingCount(1), tumblingCount(4)]
