/**
 * Overlapping windows of fixed size. Time is cut into slices that no window splits; a record goes into one slice, and a
 * window is the merge of its slices, so that the cost of a record does not depend on how many windows cover it.
 *
 * What a window merges is kept per key as a queue of two stacks, which needs no inverse of the aggregate and touches every
 * slice a constant number of times however many windows it is in (Tangwongsan, Hirzel, Schneider: "Low-Latency
 * Sliding-Window Aggregation in Worst-Case Constant Time", DEBS 2017, section 2). The queues are derived from the slices:
 * a checkpoint does not hold them, and a late record just throws its key's queue away.
 */
import * as Schema from "effect/Schema"
import type { Emit, Machine } from "../../Machine.ts"
import type { Bounds, Late, Pane } from "../../Window.ts"
import { ExactNumber } from "../numbers.ts"
import type { MachineCut, MachinePart } from "../state/cut.ts"
import type { Identity } from "../state/keyIdentity.ts"
import { Table } from "../state/Table.ts"
import type { WindowOptions } from "./buckets.ts"
import { cutTable, eachOf, lazily, listOf, plainCodec } from "./cuts.ts"
import type { Accumulated, Fields } from "./fields.ts"

interface Slice {
  readonly start: number
  readonly cells: Table<Identity, Accumulated>
}

/** First in, first out, with the merge of everything inside at hand. */
class MergeQueue {
  private readonly front: Array<{ readonly start: number; readonly acc: Accumulated }> = []
  private back: Array<{ readonly start: number; readonly acc: Accumulated }> = []
  private backAcc: Accumulated
  /** Of front and back, until one of them changes: a slice that stays alone in many windows is merged once for all. */
  private both: { readonly acc: Accumulated } | undefined
  private readonly fields: Fields
  constructor(fields: Fields) {
    this.fields = fields
    this.backAcc = fields.zero
  }
  get isEmpty(): boolean {
    return this.front.length === 0 && this.back.length === 0
  }
  push(start: number, acc: Accumulated): void {
    this.both = undefined
    this.backAcc = this.back.length === 0 ? acc : this.fields.merge(this.backAcc, acc)
    this.back.push({ start, acc })
  }
  /** Drops what starts before the given time. */
  dropBefore(start: number): void {
    while (this.front.length > 0 && this.front.at(-1)!.start < start) {
      this.front.pop()
      this.both = undefined
    }
    if (this.front.length > 0 || this.back.length === 0 || this.back[0]!.start >= start) return
    this.both = undefined
    for (let i = this.back.length - 1; i >= 0 && this.back[i]!.start >= start; i--) {
      const slice = this.back[i]!
      const later = this.front.at(-1)
      this.front.push(
        later === undefined ? slice : { start: slice.start, acc: this.fields.merge(slice.acc, later.acc) }
      )
    }
    this.back = []
    this.backAcc = this.fields.zero
  }
  merged(): Accumulated {
    const first = this.front.at(-1)
    if (first === undefined) return this.backAcc
    if (this.back.length === 0) return first.acc
    this.both ??= { acc: this.fields.merge(first.acc, this.backAcc) }
    return this.both.acc
  }
}

/** What user code threw instead of a merge: the pane that needs it fails with this. */
class Broken {
  readonly error: unknown
  constructor(error: unknown) {
    this.error = error
  }
}

interface Firing extends Bounds {
  readonly keys: ReadonlyArray<Identity>
  next: number
}

/** What a checkpoint keeps apart from the tables; the keys still to be fired are its list `firing`. */
const Meta = Schema.Struct({
  slices: Schema.Array(Schema.Int),
  panes: Schema.Array(Schema.Int),
  firedThrough: Schema.Json,
  firing: Schema.NullOr(Schema.Tuple([Schema.Int, Schema.Int]))
})
type Meta = typeof Meta.Type

const metaIn = Schema.decodeUnknownSync(Meta)

const exactly = Schema.encodeSync(ExactNumber)
const number = Schema.decodeUnknownSync(ExactNumber)

export interface SlidingShape {
  readonly sizeMillis: number
  readonly everyMillis: number
  readonly offsetMillis: number
  readonly sliceMillis: number
}

/** A class because `record` is in the hot loop. */
export class Slices implements Machine<unknown> {
  nextTimer = Infinity
  private readonly shape: SlidingShape
  private readonly options: WindowOptions
  private readonly emit: Emit<unknown>
  private readonly slices = new Map<number, Slice>()
  /** The starts of the slices, ascending. */
  private starts: Array<number> = []
  private current: Slice | undefined
  /** Windows that end at or before this watermark + 1 have fired. */
  private firedThrough = -Infinity
  private firing: Firing | undefined
  /** Per window end, how many panes a key had; kept only while late records may still add one. */
  private readonly panes = new Map<number, Table<Identity, number>>()
  /** Undefined for a key whose queue is out of date since a late record: it is made anew for the next window. */
  private queues = new Map<Identity, MergeQueue | Broken | undefined>()
  /** The queues hold the slices from here … */
  private queuedFrom = -Infinity
  /** … to before here. */
  private queuedTo = -Infinity

  constructor(shape: SlidingShape, options: WindowOptions, emit: Emit<unknown>) {
    this.shape = shape
    this.options = options
    this.emit = emit
  }

  get size(): number {
    let size = 0
    for (const { cells } of this.slices.values()) size += cells.size
    for (const panes of this.panes.values()) size += panes.size
    return size
  }

  record(value: unknown, time: number, key: unknown, watermark: number): void {
    const identity = key as Identity
    const start = alignDown(time, this.shape.sliceMillis, this.shape.offsetMillis)
    const current = this.current
    if (current === undefined || current.start !== start || this.firstEnd(start) - 1 <= watermark) {
      return this.slowly(value, time, identity, start, watermark)
    }
    this.add(current, identity, value, time)
  }

  advance(watermark: number): boolean {
    this.nextTimer = -Infinity
    for (;;) {
      this.firing ??= this.begin(watermark)
      if (this.firing === undefined) break
      const { keys } = this.firing
      while (this.firing.next < keys.length) {
        if (this.emit.full()) return false
        this.fire(this.firing, keys[this.firing.next++]!, watermark)
      }
      this.firedThrough = this.firing.end - 1
      this.firing = undefined
    }
    this.firedThrough = Math.max(this.firedThrough, watermark)
    this.expire(watermark)
    this.nextTimer = this.nextDue()
    return true
  }

  query(key: unknown): ReadonlyArray<unknown> {
    const { everyMillis, sizeMillis } = this.shape
    const ends = new Set<number>()
    for (const start of this.starts) {
      if (!this.slices.get(start)!.cells.has(key as Identity)) continue
      for (let end = this.firstEnd(start); end <= this.lastEnd(start); end += everyMillis) ends.add(end)
    }
    return [...ends].sort((a, b) => a - b).map((end) => ({
      window: { start: end - sizeMillis, end },
      value: this.options.fields.done(this.merge(end - sizeMillis, end, key as Identity)!.acc)
    }))
  }

  cut(): MachineCut {
    const { firedThrough, firing, options, panes, slices, starts } = this
    const meta: Meta = {
      // The list itself goes on changing.
      slices: starts.slice(),
      panes: [...panes.keys()],
      firedThrough: exactly(firedThrough),
      firing: firing === undefined ? null : [firing.start, firing.end]
    }
    return {
      meta: { ...meta },
      tables: [
        ...starts.map((start) => cutTable(`slice ${start}`, slices.get(start)!.cells, options.fields.codec)),
        ...Array.from(panes, ([end, counts]) => cutTable(`panes ${end}`, counts, plainCodec))
      ],
      lists: firing === undefined ? [] : [{ id: "firing", keys: lazily(firing.keys, firing.next, (key) => key) }]
    }
  }

  restore(part: MachinePart, owns: (key: Identity) => boolean): void {
    const { firedThrough, firing, panes, slices } = metaIn(part.meta)
    const { codec } = this.options.fields
    for (const start of slices) {
      eachOf(part, `slice ${start}`, codec, owns, (key, acc) => this.open(start).cells.put(key, acc))
    }
    for (const end of panes) {
      eachOf(part, `panes ${end}`, plainCodec, owns, (key, count) => this.panesOf(end).put(key, count as number))
    }
    this.firedThrough = number(firedThrough)
    if (firing !== null) {
      this.firing = { start: firing[0], end: firing[1], keys: listOf(part, "firing", owns), next: 0 }
    }
    this.nextTimer = this.firing === undefined ? this.nextDue() : -Infinity
  }

  absorb(other: Slices): void {
    for (const { cells, start } of other.slices.values()) {
      const own = this.open(start).cells
      for (const { key, value } of cells.entries()) own.put(key, value)
    }
    for (const [end, counts] of other.panes) {
      const own = this.panesOf(end)
      for (const { key, value } of counts.entries()) own.put(key, value)
    }
    // Up to where one of them has fired, the other had nothing to fire.
    this.firedThrough = Math.max(this.firedThrough, other.firedThrough)
    this.forgetQueues()
    this.nextTimer = this.nextDue()
  }

  private slowly(value: unknown, time: number, key: Identity, start: number, watermark: number): void {
    const { allowedLatenessMillis } = this.options
    const { everyMillis, sizeMillis } = this.shape
    const first = this.firstEnd(start)
    const last = this.lastEnd(start)
    if (last - 1 + allowedLatenessMillis <= watermark) return this.late(value, time, key, first, last, watermark)
    if (first - 1 + allowedLatenessMillis <= watermark) this.emit.count("partlyLate")
    // Windows that were empty when event time passed them set off no advance; they do not fire any more.
    this.firedThrough = Math.max(this.firedThrough, watermark)
    const existed = this.slices.has(start)
    const slice = this.open(start)
    try {
      this.add(slice, key, value, time)
    } catch (error) {
      if (!existed) this.drop(start)
      throw error
    }
    this.current = slice
    // The key's queue already holds this slice as it was.
    if (start >= this.queuedFrom && start < this.queuedTo) this.queues.set(key, undefined)
    this.nextTimer = Math.min(this.nextTimer, this.nextDue())
    for (let end = first; end <= last && end - 1 <= watermark; end += everyMillis) {
      if (end - 1 + allowedLatenessMillis > watermark) this.pane(end - sizeMillis, end, key, "late", false)
    }
  }

  private add({ cells }: Slice, key: Identity, value: unknown, time: number): void {
    const { fields } = this.options
    const slot = cells.slot(key)
    if (slot === undefined) cells.put(key, fields.add(fields.zero, value, time))
    else cells.write(slot, fields.add(slot.value, value, time))
  }

  /** The next window that is due, with the keys that it has. */
  private begin(watermark: number): Firing | undefined {
    const end = this.nextEnd()
    if (end === Infinity || end - 1 > watermark) return undefined
    const start = end - this.shape.sizeMillis
    this.enqueue(start, end)
    return { start, end, keys: Array.from(this.queues.keys()), next: 0 }
  }

  /** Moves the queues to the slices of one window, later than the one before. */
  private enqueue(start: number, end: number): void {
    const from = Math.max(start, this.queuedTo)
    this.queuedFrom = start
    this.queuedTo = end
    const outdated: Array<Identity> = []
    for (const [key, queue] of this.queues) {
      if (queue instanceof MergeQueue) {
        this.attempt(key, () => queue.dropBefore(start))
        if (queue.isEmpty) this.queues.delete(key)
      } else outdated.push(key)
    }
    for (const sliceStart of this.starts) {
      if (sliceStart < from) continue
      if (sliceStart >= end) break
      for (const { key, value } of this.slices.get(sliceStart)!.cells.entries()) {
        if (!this.queues.has(key)) this.queues.set(key, new MergeQueue(this.options.fields))
        const queue = this.queues.get(key)
        if (queue instanceof MergeQueue) this.attempt(key, () => queue.push(sliceStart, value))
      }
    }
    for (const key of outdated) this.requeue(key)
  }

  private attempt(key: Identity, merge: () => void): void {
    try {
      merge()
    } catch (error) {
      this.queues.set(key, new Broken(error))
    }
  }

  private requeue(key: Identity): void {
    const queue = new MergeQueue(this.options.fields)
    this.queues.set(key, queue)
    this.attempt(key, () => {
      for (const start of this.starts) {
        if (start < this.queuedFrom) continue
        if (start >= this.queuedTo) break
        const { cells } = this.slices.get(start)!
        if (cells.has(key)) queue.push(start, cells.get(key))
      }
    })
    if (queue.isEmpty) this.queues.delete(key)
  }

  private fire({ end, start }: Bounds, key: Identity, watermark: number): void {
    this.pane(start, end, key, "on-time", this.options.allowedLatenessMillis === 0 || watermark === Infinity)
  }

  private pane(
    start: number,
    end: number,
    key: Identity,
    timing: Pane<unknown, unknown>["timing"],
    isLast: boolean
  ): void {
    const { allowedLatenessMillis, fields, keyOf } = this.options
    const queued = start === this.queuedFrom && end === this.queuedTo ? this.queues.get(key) : undefined
    const window = { start, end }
    let value: unknown
    try {
      if (queued instanceof Broken) throw queued.error
      value = fields.done(queued === undefined ? this.merge(start, end, key)!.acc : queued.merged())
    } catch (error) {
      return this.emit.failed(error, { window, key: keyOf(key) }, end - 1, key)
    }
    let index = 0
    if (allowedLatenessMillis > 0) {
      const panes = this.panesOf(end)
      index = panes.get(key) ?? 0
      if (timing === "on-time" && index > 0) return
      panes.put(key, index + 1)
    }
    this.emit.out("results", { window, key: keyOf(key), value, timing, index, isLast }, end - 1, key)
  }

  private panesOf(end: number): Table<Identity, number> {
    let panes = this.panes.get(end)
    if (panes === undefined) this.panes.set(end, panes = new Table({ track: "cuts" }))
    return panes
  }

  private merge(start: number, end: number, key: Identity): { readonly acc: Accumulated } | undefined {
    let merged: { readonly acc: Accumulated } | undefined
    for (const sliceStart of this.starts) {
      if (sliceStart < start) continue
      if (sliceStart >= end) break
      const { cells } = this.slices.get(sliceStart)!
      if (!cells.has(key)) continue
      merged = {
        acc: this.options.fields.merge(merged === undefined ? this.options.fields.zero : merged.acc, cells.get(key))
      }
    }
    return merged
  }

  private late(value: unknown, time: number, key: Identity, first: number, last: number, watermark: number): void {
    const windows: Array<Bounds> = []
    for (let end = first; end <= last; end += this.shape.everyMillis) {
      windows.push({ start: end - this.shape.sizeMillis, end })
    }
    const late: Late<unknown> = { value, windows, lateByMillis: watermark - time, watermark }
    this.emit.count("late")
    this.emit.out("late", late, time, key)
  }

  /** Drops the slices whose last window will not be asked for again. */
  private expire(watermark: number): void {
    const { allowedLatenessMillis } = this.options
    let gone = 0
    while (gone < this.starts.length && this.lastEnd(this.starts[gone]!) - 1 + allowedLatenessMillis <= watermark) {
      gone++
    }
    for (const start of this.starts.slice(0, gone)) this.drop(start)
    for (const end of this.panes.keys()) if (end - 1 + allowedLatenessMillis <= watermark) this.panes.delete(end)
    if (this.starts.length === 0) {
      this.forgetQueues()
    }
  }

  /** They are made anew for the next window. */
  private forgetQueues(): void {
    this.queues = new Map()
    this.queuedFrom = this.queuedTo = -Infinity
  }

  private open(start: number): Slice {
    let slice = this.slices.get(start)
    if (slice !== undefined) return slice
    slice = { start, cells: new Table({ track: "cuts" }) }
    this.slices.set(start, slice)
    let at = this.starts.length
    while (at > 0 && this.starts[at - 1]! > start) at--
    this.starts.splice(at, 0, start)
    return slice
  }

  private drop(start: number): void {
    this.slices.delete(start)
    this.starts = this.starts.filter((other) => other !== start)
    if (this.current?.start === start) this.current = undefined
  }

  /** The end of the first window, not yet fired, that has anything in it. */
  private nextEnd(): number {
    const { everyMillis, offsetMillis, sizeMillis } = this.shape
    // The first end after what has fired.
    const unfired = alignDown(this.firedThrough + 1, everyMillis, offsetMillis + sizeMillis) + everyMillis
    for (const start of this.starts) {
      const end = Math.max(this.firstEnd(start), unfired)
      if (end <= this.lastEnd(start)) return end
    }
    return Infinity
  }

  private nextDue(): number {
    return Math.min(this.nextEnd() - 1, this.nextExpiry())
  }

  private nextExpiry(): number {
    return this.starts.length === 0 ? Infinity : this.lastEnd(this.starts[0]!) - 1 + this.options.allowedLatenessMillis
  }

  /** The end of the earliest window that covers the slice. */
  private firstEnd(sliceStart: number): number {
    const { everyMillis, offsetMillis, sizeMillis, sliceMillis } = this.shape
    return alignUp(sliceStart + sliceMillis - sizeMillis, everyMillis, offsetMillis) + sizeMillis
  }

  /** The end of the latest one. */
  private lastEnd(sliceStart: number): number {
    return alignDown(sliceStart, this.shape.everyMillis, this.shape.offsetMillis) + this.shape.sizeMillis
  }
}

/** The greatest point of the grid at or before `time`. */
const alignDown = (time: number, step: number, offset: number): number =>
  Math.floor((time - offset) / step) * step + offset

/** The least point of the grid at or after `time`. */
const alignUp = (time: number, step: number, offset: number): number =>
  Math.ceil((time - offset) / step) * step + offset
