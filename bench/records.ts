/** A million records in memory, and a source that hands them out again and again, later each time. */
import * as Effect from "effect/Effect"
import { Source } from "millrace"

/**
 * A neighbourhood of records. Its `shiftMillis` grows whenever the source begins to hand it out again. By then nothing is
 * under way that was handed out of it before, as it is much longer than what the engine reads ahead. So records need
 * neither be copied nor written to, and their time is a function of the record.
 */
interface Stretch {
  shiftMillis: number
}

export interface Reading {
  readonly key: number
  readonly at: number
  readonly stretch: Stretch
}

export const recordsPerLap = 2 ** 20
export const recordsPerStretch = 2 ** 16
/** What one lap is later than the one before it. One record a millisecond. */
export const lapMillis = recordsPerLap
export const keys = 1000
/** One record in twenty is delayed by up to 5.2 s. With a bound of 5 s a few are late. */
export const boundMillis = 5000

const startMillis = Date.UTC(2026, 0, 1)

/** Always the same numbers: a linear congruential generator. */
const numbers = (seed: number) => {
  let state = seed
  return (below: number) => {
    state = Math.imul(state, 1664525) + 1013904223 | 0
    return Math.floor((state >>> 0) / 2 ** 32 * below)
  }
}

export const readings = (): ReadonlyArray<Reading> => {
  const next = numbers(1)
  let stretch: Stretch = { shiftMillis: 0 }
  return Array.from({ length: recordsPerLap }, (_, i) => {
    if (i % recordsPerStretch === 0) stretch = { shiftMillis: 0 }
    const delayMillis = next(20) === 0 ? next(5200) : 0
    return { key: next(keys), at: startMillis + i - delayMillis, stretch }
  })
}

/** The event time of a record as it is handed out now. */
export const timeOf = (record: Reading): number => record.at + record.stretch.shiftMillis

/** Says that the records from a row on, which begin a stretch, are handed out in a lap. */
export const shift = (records: ReadonlyArray<Reading>, row: number, lap: number): void => {
  records[row]!.stretch.shiftMillis = lap * lapMillis
}

export const replayed = (records: ReadonlyArray<Reading>, laps: number): Source.Source<Reading> =>
  Source.make<Reading>({
    description: `${laps} laps over records in memory`,
    bounded: true,
    replayable: true,
    splits: Effect.succeed(["0"]),
    open: (_, position) =>
      Effect.sync(() => {
        let row = Number(position ?? 0)
        return {
          pull: (max) =>
            Effect.sync(() => {
              if (row === laps * recordsPerLap) return undefined
              const first = row
              const from = row % recordsPerLap
              if (from % recordsPerStretch === 0) shift(records, from, row / recordsPerLap | 0)
              // Not beyond the stretch, so that each begins with a chunk.
              const rows = records.slice(from, from + Math.min(max, recordsPerStretch - from % recordsPerStretch))
              row += rows.length
              return { rows, positionAfter: (n) => first + n }
            })
        }
      })
  })
