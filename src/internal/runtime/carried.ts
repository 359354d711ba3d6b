/**
 * Rows that were under way at a cut: taken from the channels of one layout, given to the partitions of another.
 *
 * Channels come and go with the number of partitions, so what they held comes back as one input per operator and
 * partition, which is read to its end before anything else. A row keeps the watermark that would have judged it.
 */
import type { Receiver } from "../machine/operator.ts"
import type { Identity } from "../state/keyIdentity.ts"
import type { Batch } from "./batch.ts"
import type { RootClock } from "./chain.ts"
import { partitionOf } from "./routers.ts"

/** Stands for the key of a step of event time, behind which there is no row: no identity is like it. */
export const aStep = "\u0000|"

/** As columns. The key is undefined where the flow has none. */
export interface Rows {
  readonly values: Array<unknown>
  readonly times: Array<number>
  readonly keys: Array<Identity | undefined>
  /** Never less than the one before. */
  readonly watermarks: Array<number>
}

export const noRows = (): Rows => ({ values: [], times: [], keys: [], watermarks: [] })

/** One channel at a cut, from where its reader stands. */
export interface ChannelCut {
  readonly watermark: number
  readonly batches: ReadonlyArray<Batch>
  /** Where the reader stands in the first of them. */
  readonly row: number
  readonly step: number
}

/** Walks through what a channel still holds, one row or one step of event time after the other. */
class Walk {
  watermark: number
  private readonly batches: ReadonlyArray<Batch>
  private at = 0
  private row: number
  private step: number

  constructor({ batches, row, step, watermark }: ChannelCut) {
    this.watermark = watermark
    this.batches = batches
    this.row = row
    this.step = step
  }

  get isDone(): boolean {
    return this.at >= this.batches.length
  }

  /** The next row, if it is one; event time has moved otherwise. */
  next(): { readonly value: unknown; readonly time: number; readonly key: unknown } | undefined {
    const batch = this.batches[this.at]!
    if (this.step < batch.stepRows.length && batch.stepRows[this.step]! <= this.row) {
      this.move(batch.stepTimes[this.step++]!)
      return undefined
    }
    if (this.row < batch.rows) {
      const row = this.row++
      return { value: batch.values[row], time: batch.times[row]!, key: batch.keys[row] }
    }
    this.move(batch.watermark)
    this.at++
    this.row = this.step = 0
    return undefined
  }

  private move(watermark: number): void {
    if (watermark > this.watermark) this.watermark = watermark
  }
}

/**
 * The rows of all channels into one partition, in an order in which they could have been read: always from the channel
 * that is the furthest behind in event time.
 */
export const merged = (start: number, channels: ReadonlyArray<ChannelCut>): Rows => {
  const rows = noRows()
  const walks = channels.map((channel) => new Walk(channel))
  let watermark = start
  /** The last that came before the end of time: what is due till then was not the last to come. */
  let last = start
  for (;;) {
    let next: Walk | undefined
    for (const walk of walks) {
      if (!walk.isDone && (next === undefined || walk.watermark < next.watermark)) next = walk
    }
    if (next === undefined) break
    const row = next.next()
    if (row === undefined) {
      watermark = Math.max(watermark, Math.min(...walks.map((walk) => walk.watermark)))
      if (watermark < Infinity) last = watermark
      continue
    }
    rows.values.push(row.value)
    rows.times.push(row.time)
    // What flows have for a key is its identity.
    rows.keys.push(row.key as Identity | undefined)
    rows.watermarks.push(watermark)
  }
  // Otherwise those that write to the channels go on from there, and say so.
  if (watermark === Infinity && last > (rows.watermarks.at(-1) ?? start)) {
    rows.values.push(null)
    rows.times.push(NaN)
    rows.keys.push(aStep)
    rows.watermarks.push(last)
  }
  return rows
}

/** The rows that one partition gave up. */
export interface Parcel {
  readonly partition: number
  readonly rows: Rows
}

/**
 * What one partition of a layout gets of the rows that those of another gave up: those with a key where the key belongs,
 * the others by the number of the partition they were in; in the order of the watermarks that judge them. Steps of event
 * time are everybody's: whoever wrote to the channels has made them.
 */
export const dealt = (parcels: ReadonlyArray<Parcel>, partition: number, partitions: number): Rows => {
  const found: Array<readonly [rows: Rows, row: number]> = []
  for (const { partition: from, rows } of parcels) {
    rows.keys.forEach((key, row) => {
      const owner = key === undefined ? from % partitions : partitionOf(key, partitions)
      if (key === aStep || owner === partition) found.push([rows, row])
    })
  }
  const watermarkOf = ([rows, row]: readonly [Rows, number]) => rows.watermarks[row]!
  found.sort((a, b) => watermarkOf(a) < watermarkOf(b) ? -1 : watermarkOf(a) > watermarkOf(b) ? 1 : 0)
  const all = noRows()
  for (const [rows, row] of found) {
    all.values.push(rows.values[row])
    all.times.push(rows.times[row]!)
    all.keys.push(rows.keys[row])
    all.watermarks.push(rows.watermarks[row]!)
  }
  return all
}

/** An input of an operator that ends when the rows carried over a restore do. */
export class CarriedInput {
  /** By number, and which of its inputs. */
  readonly operator: number
  readonly input: number
  readonly rows: Rows
  readonly root: RootClock
  readonly into: Receiver
  watermark: number
  /** The next row. */
  at = 0

  constructor(operator: number, input: number, rows: Rows, root: RootClock, into: Receiver) {
    this.operator = operator
    this.input = input
    this.rows = rows
    this.root = root
    this.into = into
    this.watermark = rows.watermarks[0] ?? Infinity
  }

  /** What has not been read yet. */
  left(): Rows {
    const { keys, times, values, watermarks } = this.rows
    return {
      values: values.slice(this.at),
      times: times.slice(this.at),
      keys: keys.slice(this.at),
      watermarks: watermarks.slice(this.at)
    }
  }
}
