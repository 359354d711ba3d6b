/**
 * Windows that grow while records of a key follow each other within a gap, and merge when a record bridges them.
 */
import type { Emit, Machine } from "../../Machine.ts"
import type { Late, Pane } from "../../Window.ts"
import { Malformed } from "../checkpoint/malformed.ts"
import type { MachineCut, MachinePart, ValueCodec } from "../state/cut.ts"
import type { Identity } from "../state/keyIdentity.ts"
import { Table } from "../state/Table.ts"
import type { WindowOptions } from "./buckets.ts"
import { cutTable, eachOf } from "./cuts.ts"
import type { Accumulated } from "./fields.ts"
import { TimerHeap } from "./heap.ts"

/** Immutable: a record makes a new one. */
interface Session {
  readonly start: number
  /** The time of the last record; the session ends a gap later. */
  readonly last: number
  readonly acc: Accumulated
  readonly panes: number
  readonly fired: boolean
}

/** A class because `record` is in the hot loop. */
export class Sessions implements Machine<unknown> {
  private readonly gapMillis: number
  private readonly options: WindowOptions
  private readonly emit: Emit<unknown>
  /** Per key its live sessions by start; between two of them lies more than a gap. */
  private readonly sessions = new Table<Identity, ReadonlyArray<Session>>({ track: "cuts" })
  private readonly timers = new TimerHeap<Identity>()
  /** When a key will be looked at next: one live timer per key, however often its sessions grow. */
  private readonly scheduled = new Map<Identity, number>()
  private busy = false
  private states: ValueCodec | undefined

  constructor(gapMillis: number, options: WindowOptions, emit: Emit<unknown>) {
    this.gapMillis = gapMillis
    this.options = options
    this.emit = emit
  }

  get nextTimer(): number {
    return this.busy ? -Infinity : this.timers.least
  }

  get size(): number {
    return this.sessions.size
  }

  record(value: unknown, time: number, key: unknown, watermark: number): void {
    const { gapMillis, options: { allowedLatenessMillis, fields } } = this
    const identity = key as Identity
    const live = this.sessions.get(identity) ?? []
    // Those a gap away or nearer are neighbours in the list: distance ≤ gap, touching counts.
    let from = 0
    while (from < live.length && live[from]!.last + gapMillis < time) from++
    let to = from
    while (to < live.length && live[to]!.start - gapMillis <= time) to++
    if (from === to && time + gapMillis - 1 + allowedLatenessMillis <= watermark) {
      const windows = [{ start: time, end: time + gapMillis }]
      const late: Late<unknown> = { value, windows, lateByMillis: watermark - time, watermark }
      this.emit.count("late")
      return this.emit.out("late", late, time, key)
    }
    const merged = this.extended(live, from, to, time, fields.add(this.merge(live, from, to), value, time))
    const isLate = merged.last + gapMillis - 1 <= watermark
    const after = isLate ? this.pane(identity, merged, "late", false) : merged
    this.store(identity, live.toSpliced(from, to - from, after))
  }

  advance(watermark: number): boolean {
    this.busy = true
    while (this.timers.isDue(watermark)) {
      if (this.emit.full()) return false
      const due = this.timers.least
      const key = this.timers.pop()!
      if (this.scheduled.get(key) !== due) continue
      this.scheduled.delete(key)
      this.fire(key, due, watermark)
    }
    this.busy = false
    return true
  }

  query(key: unknown): ReadonlyArray<unknown> {
    return (this.sessions.get(key as Identity) ?? []).map((session) => ({
      window: this.boundsOf(session),
      value: this.options.fields.done(session.acc)
    }))
  }

  /** What is due is found again: an advance that is not complete leaves no other trace. */
  cut(): MachineCut {
    return { meta: {}, tables: [cutTable("sessions", this.sessions, this.codec)], lists: [] }
  }

  restore(part: MachinePart, owns: (key: Identity) => boolean): void {
    // What the codec wrote.
    eachOf(part, "sessions", this.codec, owns, (key, live) => this.store(key, live as ReadonlyArray<Session>))
  }

  absorb(other: Sessions): void {
    for (const { key, value } of other.sessions.entries()) this.store(key, value)
  }

  private get codec(): ValueCodec {
    return this.states ??= sessionsCodec(this.options.fields.codec)
  }

  /** Accumulators merge in the order of their starts, whatever the order of arrival. */
  private merge(live: ReadonlyArray<Session>, from: number, to: number): Accumulated {
    const { fields } = this.options
    if (from === to) return fields.zero
    let acc = live[from]!.acc
    for (let i = from + 1; i < to; i++) acc = fields.merge(acc, live[i]!.acc)
    return acc
  }

  private extended(live: ReadonlyArray<Session>, from: number, to: number, time: number, acc: Accumulated): Session {
    if (from === to) return { start: time, last: time, acc, panes: 0, fired: false }
    let panes = 0
    for (let i = from; i < to; i++) panes = Math.max(panes, live[i]!.panes)
    return {
      start: Math.min(live[from]!.start, time),
      last: Math.max(live[to - 1]!.last, time),
      acc,
      panes,
      fired: false
    }
  }

  private store(key: Identity, live: ReadonlyArray<Session>): void {
    if (live.length === 0) {
      this.sessions.delete(key)
      return
    }
    this.sessions.put(key, live)
    this.schedule(key, live)
  }

  /** A session that grew is looked at too early and scheduled again then: growing costs no timer. */
  private schedule(key: Identity, live: ReadonlyArray<Session>): void {
    let least = Infinity
    for (const session of live) least = Math.min(least, this.dueAt(session))
    if (least >= (this.scheduled.get(key) ?? Infinity)) return
    this.scheduled.set(key, least)
    this.timers.push(least, key)
  }

  private dueAt({ fired, last }: Session): number {
    return last + this.gapMillis - 1 + (fired ? this.options.allowedLatenessMillis : 0)
  }

  private fire(key: Identity, due: number, watermark: number): void {
    const { allowedLatenessMillis } = this.options
    const live = this.sessions.get(key) ?? []
    const isLast = allowedLatenessMillis === 0 || watermark === Infinity
    const kept = live.flatMap((session) => {
      const isDue = !session.fired && this.dueAt(session) <= due
      const after = isDue ? this.pane(key, session, "on-time", isLast) : session
      return session.last + this.gapMillis - 1 + allowedLatenessMillis <= due ? [] : [after]
    })
    this.store(key, kept)
  }

  private boundsOf({ last, start }: Session) {
    return { start, end: last + this.gapMillis }
  }

  /** Puts a pane out; the session after it. */
  private pane(key: Identity, session: Session, timing: Pane<unknown, unknown>["timing"], isLast: boolean): Session {
    const { fields, keyOf } = this.options
    const window = this.boundsOf(session)
    let value: unknown
    try {
      value = fields.done(session.acc)
    } catch (error) {
      this.emit.failed(error, { window, key: keyOf(key) }, window.end - 1, key)
      return { ...session, fired: true }
    }
    const index = session.panes
    this.emit.out("results", { window, key: keyOf(key), value, timing, index, isLast }, window.end - 1, key)
    return { ...session, fired: true, panes: index + 1 }
  }
}

const isWhole = (value: unknown): value is number => Number.isSafeInteger(value)

/** The columns of a session before those of its accumulator. */
const columnsOf = [
  ({ start }: Session): unknown => start,
  ({ last }: Session): unknown => last,
  ({ panes }: Session): unknown => panes,
  ({ fired }: Session): unknown => fired
]

/** How many there are. */
export const sessionColumns = columnsOf.length

/** A key has one session most of the time, whose parts go into the columns as they are; of several, lists of them do. */
const sessionsCodec = (accs: ValueCodec): ValueCodec => {
  const own = columnsOf.length
  const write = (session: Session, columns: ReadonlyArray<Array<unknown>>) => {
    for (let i = 0; i < own; i++) columns[i]!.push(columnsOf[i]!(session))
    accs.write(session.acc as never, columns.slice(own)) // of the fields that write it
    // A column may hold numbers and lists, so that JSON must have a word for every number.
    for (let i = own; i < columns.length; i++) {
      const column = columns[i]!
      const last = column.at(-1)
      if (typeof last === "number" && !Number.isFinite(last)) column[column.length - 1] = String(last)
    }
  }
  const read = (columns: ReadonlyArray<ReadonlyArray<unknown>>, row: number): Session => {
    const [start, last, panes, fired] = [0, 1, 2, 3].map((column) => columns[column]![row])
    if (!isWhole(start) || !isWhole(last) || !isWhole(panes) || typeof fired !== "boolean") {
      throw new Malformed("a session without a beginning, an end, or a number of panes")
    }
    return { start, last, acc: accs.read(columns.slice(own), row), panes, fired }
  }
  return {
    width: own + accs.width,
    write: (live: ReadonlyArray<Session>, columns) => {
      if (live.length === 1) return write(live[0]!, columns)
      const lists = columns.map((): Array<unknown> => [])
      for (const session of live) write(session, lists)
      for (let i = 0; i < columns.length; i++) columns[i]!.push(lists[i])
    },
    read: (columns, row) => {
      const starts = columns[0]![row]
      if (!Array.isArray(starts)) return [read(columns, row)]
      // All the lists are as long as this one.
      const lists = columns.map((column) => column[row] as ReadonlyArray<unknown>)
      return starts.map((_, i) => read(lists, i))
    }
  }
}
