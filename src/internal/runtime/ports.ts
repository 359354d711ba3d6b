/** Where the rows of a stage leave it: towards the partitions of the next one, and towards sinks. */
import type { Clock } from "../machine/operator.ts"
import { Batch, type Cursor } from "./batch.ts"

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

/** Batches that wait for a reader before one without rows would only add to them. */
const enoughToRead = 2

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
  /** What one record made beyond the room in a channel; it goes out before anything else is taken in. */
  private spilled: Array<Batch | undefined>
  constructor(budget: Budget, channels: ReadonlyArray<number>, clock: Clock | undefined) {
    this.budget = budget
    this.channels = channels
    this.clock = clock
    this.open = channels.map(() => undefined)
    this.sent = channels.map(() => -Infinity)
    this.spilled = channels.map(() => undefined)
  }
  push(partition: number, value: unknown, time: number, key: unknown): void {
    const batch = this.open[partition] ??= new Batch(this.sent[partition]!)
    // Sinks take values alone.
    if (this.clock === undefined) batch.values.push(value)
    else batch.push(value, time, key, this.clock.current())
    this.budget.spent++
  }
  /** Tells readers where event time stands before it goes to its end: what is due till then was not the last to come. */
  mark(): void {
    if (this.clock === undefined) return
    const watermark = this.clock.current()
    for (let i = 0; i < this.channels.length; i++) {
      if (this.open[i] === undefined && watermark > this.sent[i]!) this.open[i] = new Batch(this.sent[i]!)
      this.open[i]?.step(watermark)
    }
  }
  /**
   * Closes the batches of this step; one without rows goes out only if event time moved and the reader waits for it. False:
   * not everything found room.
   */
  seal(
    into: Array<Batch | undefined>,
    roomIn: (channel: number) => number,
    waitingIn: (channel: number) => number
  ): boolean {
    const watermark = this.clock === undefined ? -Infinity : this.clock.current()
    let isDone = true
    for (let i = 0; i < this.channels.length; i++) {
      const channel = this.channels[i]!
      let batch = this.spilled[i] ?? this.open[i]
      this.spilled[i] = this.open[i] = undefined
      if (batch === undefined && this.isNews(i, watermark, waitingIn)) batch = new Batch(this.sent[i]!)
      if (batch !== undefined) {
        batch.watermark = watermark
        const room = batch.rows === 0 ? 0 : roomIn(channel)
        if (batch.rows > room) {
          isDone = false
          const [first, rest] = batch.split(room, this.sent[i]!)
          this.spilled[i] = rest
          batch = room === 0 ? undefined : first
        }
        if (batch !== undefined) this.sent[i] = batch.watermark
      }
      into[channel] = batch
    }
    return isDone
  }

  /** Whether a reader has caught up that has not heard how far event time has come. */
  hasNews(waitingIn: (channel: number) => number): boolean {
    if (this.clock === undefined) return false
    const watermark = this.clock.current()
    return this.channels.some((_, i) => this.isNews(i, watermark, waitingIn))
  }

  /** Batches without rows would pile up before a reader that stands still, so it hears of event time when it needs to. */
  private isNews(i: number, watermark: number, waitingIn: (channel: number) => number): boolean {
    return watermark > this.sent[i]! && (watermark === Infinity || waitingIn(this.channels[i]!) < enoughToRead)
  }

  /** Whether something that has spilled would find room now. */
  hasRoom(roomIn: (channel: number) => number): boolean {
    return this.channels.some((channel, i) => this.spilled[i] !== undefined && roomIn(channel) > 0)
  }

  spilledInto(channel: number): ReadonlyArray<Batch> {
    const batch = this.spilled[this.channels.indexOf(channel)]
    return batch === undefined ? [] : [batch]
  }
}
