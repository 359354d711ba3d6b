/** Rows on their way from one stage to the next, as columns, with the watermarks of their source in band. */

/**
 * A step says: before row `stepRows[j]` the watermark is `stepTimes[j]`. Steps are written lazily, just before the next
 * row of this batch, so rows routed elsewhere cost nothing and results do not depend on where batches end.
 */
export class Batch {
  readonly values: Array<unknown> = []
  /** Absent where nobody downstream asks: behind flows without event time, and in front of sinks. */
  readonly times: Array<number> = []
  readonly keys: Array<unknown> = []
  readonly stepRows: Array<number> = []
  readonly stepTimes: Array<number> = []
  private lastStep: number
  /** The watermark after the last row, known when the batch is sealed. */
  watermark: number

  constructor(watermark: number) {
    this.lastStep = watermark
    this.watermark = watermark
  }

  get rows(): number {
    return this.values.length
  }

  step(watermark: number): void {
    if (!(watermark > this.lastStep)) return
    this.stepRows.push(this.values.length)
    this.stepTimes.push(watermark)
    this.lastStep = watermark
  }

  push(value: unknown, time: number, key: unknown, watermark: number): void {
    this.step(watermark)
    this.values.push(value)
    this.times.push(time)
    this.keys.push(key)
  }

  /** The rows before a row, and the others. `before` is the watermark where the batch begins. */
  split(row: number, before: number): readonly [Batch, Batch] {
    const steps = this.stepRows.filter((at) => at < row).length
    const between = steps === 0 ? before : this.stepTimes[steps - 1]!
    const first = this.part(0, row, 0, steps, before)
    const rest = this.part(row, this.rows, steps, this.stepRows.length, between)
    first.watermark = between
    rest.watermark = this.watermark
    return [first, rest]
  }

  private part(from: number, to: number, fromStep: number, toStep: number, before: number): Batch {
    const part = new Batch(before)
    for (let row = from; row < to; row++) {
      part.values.push(this.values[row])
      if (this.times.length === 0) continue
      part.times.push(this.times[row]!)
      part.keys.push(this.keys[row])
    }
    for (let step = fromStep; step < toStep; step++) {
      part.stepRows.push(this.stepRows[step]! - from)
      part.stepTimes.push(this.stepTimes[step]!)
    }
    return part
  }
}

/** Where a reader of a channel stands: everything before has been taken in. */
export interface Cursor {
  /** Number of the batch in the channel, from zero for the life of the attempt. */
  readonly batch: number
  readonly row: number
  readonly step: number
}

export const atStart: Cursor = { batch: 0, row: 0, step: 0 }

/**
 * A channel, as its producer commits it: what has not been taken yet. Its reader's cursor lives in the reader's record,
 * so both ends are single writers.
 */
export interface Channel {
  /** Number of the first batch in `items`. */
  readonly base: number
  readonly items: ReadonlyArray<Batch>
}

export const emptyChannel: Channel = { base: 0, items: [] }

/** Rows in the channel that its reader has not taken. */
export const fill = ({ base, items }: Channel, cursor: Cursor): number => {
  let rows = 0 - cursor.row
  for (let i = cursor.batch - base; i < items.length; i++) rows += items[i]!.rows
  return rows
}

/** Batches, empty ones included: they carry watermarks. */
export const outstanding = ({ base, items }: Channel, cursor: Cursor): number => base + items.length - cursor.batch

/** Forgets what the reader has taken, and adds what is new. */
export const extended = (channel: Channel, cursor: Cursor, batch: Batch | undefined): Channel => {
  const taken = cursor.batch - channel.base
  if (taken === 0 && batch === undefined) return channel
  const items = channel.items.slice(taken)
  if (batch !== undefined) items.push(batch)
  return { base: cursor.batch, items }
}
