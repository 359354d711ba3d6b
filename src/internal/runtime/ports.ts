/** Where the rows of a stage leave it: towards the partitions of the next one, and towards sinks. */
import type { Clock } from "../machine/operator.ts"
import { Batch, type Channel, type Cursor } from "./batch.ts"

/** One channel that this partition fills. */
export interface OutChannel {
  /** Which one it is among those of its partition. */
  readonly id: string
  /** Which one it is, for people. */
  readonly name: string
  readonly capacity: number
  /** Where its reader stands, by the reader's last commit. */
  readonly cursor: () => Cursor
  peak: number
}

/** Rows put out in the step at hand. */
export interface Budget {
  spent: number
}

/** Channels of one exchange, or the one of a sink, while a step fills them. */
export class Port {
  readonly channels: ReadonlyArray<number>
  readonly clock: Clock | undefined
  private readonly budget: Budget
  private readonly open: Array<Batch | undefined>
  private readonly sent: Array<number>
  constructor(budget: Budget, channels: ReadonlyArray<number>, clock: Clock | undefined) {
    this.budget = budget
    this.channels = channels
    this.clock = clock
    this.open = channels.map(() => undefined)
    this.sent = channels.map(() => -Infinity)
  }
  push(partition: number, value: unknown, time: number, key: unknown): void {
    const watermark = this.clock === undefined ? -Infinity : this.clock.current()
    const batch = this.open[partition] ??= new Batch(this.sent[partition]!)
    batch.push(value, time, key, watermark)
    this.budget.spent++
  }
  /** Closes the batches of this step; one without rows goes out only if event time moved. */
  seal(into: Array<Batch | undefined>): void {
    const watermark = this.clock === undefined ? -Infinity : this.clock.current()
    for (let i = 0; i < this.channels.length; i++) {
      let batch = this.open[i]
      if (batch === undefined && watermark > this.sent[i]!) batch = new Batch(this.sent[i]!)
      if (batch !== undefined) batch.watermark = this.sent[i] = watermark
      into[this.channels[i]!] = batch
      this.open[i] = undefined
    }
  }
  restore(channels: ReadonlyArray<Channel>): void {
    // What is still under way carries its own watermarks; the clock's current one is sent anew with the next batch.
    this.channels.forEach((channel, i) => {
      this.sent[i] = channels[channel]!.items.at(-1)?.watermark ?? -Infinity
    })
  }
}
