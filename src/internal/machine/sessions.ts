/**
 * Windows that grow while records of a key follow each other within a gap, and merge when a record bridges them.
 */
import type { Emit, Machine } from "../../Machine.ts"
import type { Late, Pane } from "../../Window.ts"
import type { Identity } from "../state/keyIdentity.ts"
import { Table, type TableView } from "../state/Table.ts"
import type { WindowOptions } from "./buckets.ts"
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

export interface SessionsSnapshot {
  readonly sessions: TableView<Identity, ReadonlyArray<Session>>
}

/** A class because `record` is in the hot loop. */
export class Sessions implements Machine<unknown, SessionsSnapshot> {
  private readonly gapMillis: number
  private readonly options: WindowOptions
  private readonly emit: Emit<unknown>
  /** Per key its live sessions by start; between two of them lies more than a gap. */
  private readonly sessions = new Table<Identity, ReadonlyArray<Session>>({ maxTombstones: 1024 })
  private readonly timers = new TimerHeap<Identity>()
  /** When a key will be looked at next: one live timer per key, however often its sessions grow. */
  private readonly scheduled = new Map<Identity, number>()
  private busy = false

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

  snapshot(): SessionsSnapshot {
    return { sessions: this.sessions.snapshot() }
  }

  restore({ sessions }: SessionsSnapshot): void {
    this.sessions.restore(sessions.entries(), sessions.version)
    for (const { key, value } of this.sessions.entries()) this.schedule(key, value)
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
