/**
 * Windows that do not overlap much: tumbling ones, and those of a custom assigner. Each window holds its own accumulators.
 */
import * as Schema from "effect/Schema"
import type { Emit, Machine } from "../../Machine.ts"
import type { Bounds, Late, Pane } from "../../Window.ts"
import { Malformed } from "../checkpoint/malformed.ts"
import type { MachineCut, MachinePart } from "../state/cut.ts"
import type { Identity } from "../state/keyIdentity.ts"
import { type Slot, Table } from "../state/Table.ts"
import { cutTable, eachOf, lazily, listOf, plainCodec } from "./cuts.ts"
import type { Accumulated, Fields } from "./fields.ts"
import { TimerHeap } from "./heap.ts"

interface Bucket extends Bounds {
  /** The same for all its panes. */
  readonly window: Bounds
  readonly cells: Table<Identity, Accumulated>
  /** How many panes came out for a key; kept only while late records may still add one. */
  readonly panes: Table<Identity, number>
  fired: boolean
}

type Cell = Slot<Identity, Accumulated>

/** A window that is being fired: the keys still to come. */
interface Firing {
  readonly bucket: Bucket
  readonly cells: ReadonlyArray<Cell>
  next: number
}

/** What a checkpoint keeps apart from the tables; the keys still to be fired are its list `firing`. */
const Meta = Schema.Struct({
  windows: Schema.Array(Schema.Tuple([Schema.Int, Schema.Int, Schema.Boolean])),
  firing: Schema.NullOr(Schema.Tuple([Schema.Int, Schema.Int]))
})
type Meta = typeof Meta.Type

const metaIn = Schema.decodeUnknownSync(Meta)

export interface WindowOptions {
  readonly fields: Fields
  readonly allowedLatenessMillis: number
  readonly keyOf: (identity: Identity) => unknown
}

export interface Grid {
  readonly everyMillis: number
  readonly offsetMillis: number
}

/** A class because `record` is the hottest code there is. */
export class Buckets implements Machine<unknown> {
  nextTimer = Infinity
  private readonly assign: (time: number) => ReadonlyArray<Bounds>
  private readonly fields: Fields
  private readonly options: WindowOptions
  private readonly emit: Emit<unknown>
  private readonly buckets = new Map<string | number, Bucket>()
  private readonly timers = new TimerHeap<Bucket>()
  /** The bucket of the last record: most records go where the one before them went. */
  private current: Bucket | undefined
  private readonly grid: Grid | undefined
  private firing: Firing | undefined

  constructor(
    assign: (time: number) => ReadonlyArray<Bounds>,
    /** Where windows begin, if no two of them overlap: then one bucket answers for every instant in it. */
    grid: Grid | undefined,
    options: WindowOptions,
    emit: Emit<unknown>
  ) {
    this.assign = assign
    this.grid = grid
    this.fields = options.fields
    this.options = options
    this.emit = emit
  }

  get size(): number {
    let size = 0
    for (const { cells } of this.buckets.values()) size += cells.size
    return size
  }

  record(value: unknown, time: number, key: unknown, watermark: number): void {
    let bucket = this.current
    if (bucket === undefined || time < bucket.start || time >= bucket.end) bucket = this.current = this.known(time)
    // On time until the watermark reaches the last instant: before that, a window has neither fired nor expired.
    if (bucket !== undefined && bucket.end - 1 > watermark) this.add(bucket.cells, value, time, key as Identity)
    else this.assigned(value, time, key, watermark)
  }

  /** The open bucket that alone answers for an instant, where that can be told without asking the assigner. */
  private known(time: number): Bucket | undefined {
    if (this.grid === undefined) return undefined
    const { everyMillis, offsetMillis } = this.grid
    const bucket = this.buckets.get(Math.floor((time - offsetMillis) / everyMillis) * everyMillis + offsetMillis)
    // Between two windows there may be a gap.
    return bucket !== undefined && time < bucket.end ? bucket : undefined
  }

  /** A record in general: any number of windows, any of them new, late or expired. */
  private assigned(value: unknown, time: number, key: unknown, watermark: number): void {
    const bounds = this.assign(time)
    if (bounds.length === 0) return this.emit.count("outside")
    const { allowedLatenessMillis } = this.options
    const live = bounds.filter(({ end }) => end - 1 + allowedLatenessMillis > watermark)
    if (live.length === 0) return this.late(value, time, key, bounds, watermark)
    if (live.length < bounds.length) this.emit.count("partlyLate")
    if (live.length === 1) return this.into(live[0]!, value, time, key as Identity, watermark)
    // User code first: all the accumulators, and only then the state.
    const { fields } = this
    const after = live.map((window) => fields.add(this.accOf(window, key as Identity), value, time))
    live.forEach((window, i) => this.store(this.open(window, watermark), key as Identity, after[i]))
  }

  advance(watermark: number): boolean {
    this.nextTimer = -Infinity
    while (this.firing !== undefined || this.timers.isDue(watermark)) {
      this.firing ??= this.begin(this.timers.pop()!, watermark)
      if (this.firing === undefined) continue
      const { bucket, cells } = this.firing
      while (this.firing.next < cells.length) {
        if (this.emit.full()) return false
        this.fire(bucket, cells[this.firing.next++]!, watermark)
      }
      this.firing = undefined
      bucket.fired = true
      this.timers.push(this.dueAt(bucket), bucket)
    }
    this.nextTimer = this.timers.least
    return true
  }

  query(key: unknown): ReadonlyArray<unknown> {
    const found: Array<unknown> = []
    for (const { cells, end, start } of this.buckets.values()) {
      if (cells.has(key as Identity)) {
        found.push({ window: { start, end }, value: this.fields.done(cells.get(key as Identity)) })
      }
    }
    return found
  }

  cut(): MachineCut {
    const { firing } = this
    const buckets = [...this.buckets.values()]
    const meta: Meta = {
      windows: buckets.map(({ end, fired, start }) => [start, end, fired]),
      firing: firing === undefined ? null : [firing.bucket.start, firing.bucket.end]
    }
    return {
      meta: { ...meta },
      tables: buckets.flatMap((bucket) => [
        cutTable(cellsOf(bucket), bucket.cells, this.fields.codec),
        ...this.options.allowedLatenessMillis > 0 ? [cutTable(panesOf(bucket), bucket.panes, plainCodec)] : []
      ]),
      lists: firing === undefined
        ? []
        : [{ id: "firing", keys: lazily(firing.cells, firing.next, ({ key }) => key) }]
    }
  }

  restore(part: MachinePart, owns: (key: Identity) => boolean): void {
    const { firing, windows } = metaIn(part.meta)
    for (const [start, end, fired] of windows) {
      const window = { start, end }
      eachOf(
        part,
        cellsOf(window),
        this.fields.codec,
        owns,
        (key, acc) => this.placed(window, fired).cells.put(key, acc)
      )
      eachOf(part, panesOf(window), plainCodec, owns, (key, count) => {
        this.placed(window, fired).panes.put(key, count as number)
      })
    }
    const fires = firing === null ? undefined : this.buckets.get(this.idOf({ start: firing[0], end: firing[1] }))
    for (const bucket of this.buckets.values()) if (bucket !== fires) this.timers.push(this.dueAt(bucket), bucket)
    if (fires !== undefined) {
      const keys = listOf(part, "firing", owns)
      this.firing = { bucket: fires, cells: keys.map((key) => cellOf(fires, key)), next: 0 }
    }
    this.nextTimer = this.firing === undefined ? this.timers.least : -Infinity
  }

  absorb(other: Buckets): void {
    for (const bucket of other.buckets.values()) {
      const known = this.buckets.get(this.idOf(bucket))
      const own = known ?? this.place(bucket, bucket.fired)
      if (known === undefined) this.timers.push(this.dueAt(own), own)
      for (const { key, value } of bucket.cells.entries()) own.cells.put(key, value)
      for (const { key, value } of bucket.panes.entries()) own.panes.put(key, value)
    }
    this.nextTimer = this.timers.least
  }

  private placed(window: Bounds, fired: boolean): Bucket {
    return this.buckets.get(this.idOf(window)) ?? this.place(window, fired)
  }

  /** What a window whose timer has come asks for: firing, or, fired before, the end. */
  private begin(bucket: Bucket, watermark: number): Firing | undefined {
    if (!bucket.fired) return { bucket, cells: bucket.cells.liveSlots(), next: 0 }
    const expiry = this.dueAt(bucket)
    if (expiry > watermark) this.timers.push(expiry, bucket)
    else {
      this.buckets.delete(this.idOf(bucket))
      if (this.current === bucket) this.current = undefined
    }
    return undefined
  }

  private add(cells: Table<Identity, Accumulated>, value: unknown, time: number, key: Identity): void {
    const slot = cells.slot(key)
    if (slot === undefined) cells.put(key, this.fields.add(this.fields.zero, value, time))
    else cells.write(slot, this.fields.add(slot.value, value, time))
  }

  private into(window: Bounds, value: unknown, time: number, key: Identity, watermark: number): void {
    const acc = this.fields.add(this.accOf(window, key), value, time)
    const bucket = this.open(window, watermark)
    this.store(bucket, key, acc)
  }

  private store(bucket: Bucket, key: Identity, acc: Accumulated): void {
    bucket.cells.put(key, acc)
    if (bucket.fired) this.pane(bucket, key, acc, "late", false)
  }

  private fire(bucket: Bucket, { key, value }: Cell, watermark: number): void {
    this.pane(bucket, key, value, "on-time", this.options.allowedLatenessMillis === 0 || watermark === Infinity)
  }

  private pane(
    bucket: Bucket,
    key: Identity,
    acc: Accumulated,
    timing: Pane<unknown, unknown>["timing"],
    isLast: boolean
  ): void {
    const { end, panes, window } = bucket
    let value: unknown
    try {
      value = this.fields.done(acc)
    } catch (error) {
      return this.emit.failed(error, { window, key: this.options.keyOf(key) }, end - 1, key)
    }
    let index = 0
    if (this.options.allowedLatenessMillis > 0) {
      index = panes.get(key) ?? 0
      panes.put(key, index + 1)
    }
    this.emit.out("results", { window, key: this.options.keyOf(key), value, timing, index, isLast }, end - 1, key)
  }

  private late(value: unknown, time: number, key: unknown, windows: ReadonlyArray<Bounds>, watermark: number): void {
    const late: Late<unknown> = { value, windows, lateByMillis: watermark - time, watermark }
    this.emit.count("late")
    this.emit.out("late", late, time, key)
  }

  private accOf(window: Bounds, key: Identity): Accumulated {
    const cells = this.buckets.get(this.idOf(window))?.cells
    return cells === undefined || !cells.has(key) ? this.fields.zero : cells.get(key)
  }

  /** A window that nobody opened before its time is as good as fired: every record for it is late and fires at once. */
  private open(window: Bounds, watermark: number): Bucket {
    const known = this.buckets.get(this.idOf(window))
    if (known !== undefined) return known
    const bucket = this.place(window, window.end - 1 <= watermark)
    this.timers.push(this.dueAt(bucket), bucket)
    this.nextTimer = this.timers.least
    return bucket
  }

  /** A bucket without a timer. */
  private place({ end, start }: Bounds, fired: boolean): Bucket {
    const bucket: Bucket = {
      start,
      end,
      window: { start, end },
      cells: new Table({ track: "cuts" }),
      panes: new Table({ track: "cuts" }),
      fired
    }
    this.buckets.set(this.idOf(bucket), bucket)
    return bucket
  }

  /** When a window fires; or, fired before, is forgotten. */
  private dueAt({ end, fired }: Bucket): number {
    return end - 1 + (fired ? this.options.allowedLatenessMillis : 0)
  }

  private idOf({ end, start }: Bounds): string | number {
    return this.grid === undefined ? `${start}:${end}` : start
  }
}

const cellOf = ({ cells }: Bucket, key: Identity): Cell => {
  const cell = cells.slot(key)
  if (cell === undefined) throw new Malformed("a window fires for a key that it does not have")
  return cell
}

const cellsOf = ({ end, start }: Bounds): string => `cells ${start}:${end}`

const panesOf = ({ end, start }: Bounds): string => `panes ${start}:${end}`
