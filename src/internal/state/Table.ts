/**
 * Keyed state with versions: a table mutated in place, whose entries are copied on write while a snapshot is open.
 *
 * A version closes when somebody looks at it (a snapshot, the changes), so whoever stands at version v misses nothing
 * by asking for what came after v: a write to a closed version opens the next one by itself.
 */
import type { TableCut } from "./cut.ts"
import { compareIdentity, type Identity } from "./keyIdentity.ts"

/** One key, its value, and the version that touched it last. Values are immutable: a write replaces them. */
export interface Entry<K, V> {
  readonly key: K
  readonly value: V
  readonly version: number
}

/** The net effect of everything after a version; puts and deletes name each key once, in canonical order. */
export interface Changes<K, V> {
  /** The version the changes lead to: ask again from here. */
  readonly version: number
  /** True where the past is no longer known: clear first, the puts are everything. */
  readonly full: boolean
  readonly puts: ReadonlyArray<Entry<K, V>>
  /** May name a key that came and went after the version asked for. */
  readonly deletes: ReadonlyArray<K>
}

/** What a place held from a version on. */
interface Past<V> {
  readonly value: V | undefined
  readonly version: number
  readonly live: boolean
  readonly older: Past<V> | undefined
}

/** The place of a key; written through the table alone. */
export interface Slot<K, V> {
  readonly key: K
  value: V | undefined
  version: number
  live: boolean
  /**
   * What open views may still want, newest first. In the place itself, because a map of it costs more than the write. Let go
   * by the next write or by the next view that reads the place.
   */
  older: Past<V> | undefined
}

export interface TableOptions {
  /**
   * What the table remembers of its past: every change, for `changesSince`; or which places were touched, for `cut`.
   * `"changes"` unless told.
   */
  readonly track?: "changes" | "cuts"
  readonly maxTombstones?: number
}

/**
 * A class because machines read and write it per record: one hidden class for tables and one for slots, no closures.
 *
 * Bounds: deleted keys are remembered until `forget`, at most `maxTombstones` of them (the older half is forgotten
 * when there are more); the log of touched keys is at most twice the keys, live and deleted, plus 64; a
 * snapshot costs at most one old entry per key touched between it and the next one. A table that tracks cuts has no log and
 * no tombstones: it remembers touched places up to three quarters of the keys, plus 64 (above that the next cut gives
 * everything), and of deleted keys at most three times as many as there are, plus 192, while a snapshot is open.
 */
export class Table<K extends Identity, V> {
  private slots = new Map<K, Slot<K, V>>()
  private dead = new Map<K, Slot<K, V>>()
  private forgotten = new Set<Slot<K, V>>()
  private log: Array<Slot<K, V>> = []
  private logVersions: Array<number> = []
  private floor = 0
  private current = 0
  private closed = true
  private count = 0
  /** Versions of the open views. */
  private newest = -Infinity
  private oldest = Infinity
  private views: Array<WeakRef<TableView<K, V>>> = []
  /** Changes when everything is replaced: views of the time before have nothing to close any more. */
  private era = {}
  private readonly maxTombstones: number
  private readonly tracksCuts: boolean
  /** The places touched since the last cut, each key once; undefined where the next cut gives everything. */
  private touched: Array<Slot<K, V>> | undefined = undefined
  private cutVersion = 0

  constructor(options?: TableOptions) {
    this.maxTombstones = options?.maxTombstones ?? 65_536
    this.tracksCuts = options?.track === "cuts"
  }

  get version(): number {
    return this.current
  }

  get size(): number {
    return this.count
  }

  /** How many deleted keys are remembered. */
  get tombstones(): number {
    return this.dead.size
  }

  /** Opens a version for the writes to come, once per batch or transaction: the next one, or the later one given. */
  bump(to: number = this.current + 1): number {
    if (!(to > this.current)) throw new Error(`Table: versions grow, and ${to} is not after ${this.current}`)
    this.current = to
    this.closed = false
    return to
  }

  get(key: K): V | undefined {
    return this.slots.get(key)?.value
  }

  has(key: K): boolean {
    return this.slots.get(key)?.live === true
  }

  versionOf(key: K): number | undefined {
    const slot = this.slots.get(key)
    return slot !== undefined && slot.live ? slot.version : undefined
  }

  put(key: K, value: V): void {
    if (this.closed) this.bump()
    const slot = this.slots.get(key)
    if (slot === undefined) {
      // −0 and 0 are one key, written as 0.
      const fresh: Slot<K, V> = {
        key: key === 0 ? 0 as K : key,
        value,
        version: this.current,
        live: true,
        older: undefined
      }
      this.slots.set(key, fresh)
      this.count++
      this.record(fresh)
      return
    }
    if (slot.version !== this.current) this.touch(slot)
    slot.value = value
    if (!slot.live) {
      slot.live = true
      if (this.tracksCuts) this.forgotten.delete(slot)
      else this.dead.delete(key)
      this.count++
    }
  }

  /** The place of a live key, for who reads and writes it in one look-up; good until the key is deleted. */
  slot(key: K): Slot<K, V> | undefined {
    const slot = this.slots.get(key)
    return slot !== undefined && slot.live ? slot : undefined
  }

  /** `put` at a place found by `slot`. */
  write(slot: Slot<K, V>, value: V): void {
    if (this.closed || slot.version !== this.current) this.prepare(slot)
    slot.value = value
  }

  /** Whether the key was there. */
  delete(key: K): boolean {
    const slot = this.slots.get(key)
    if (slot === undefined || !slot.live) return false
    if (this.closed) this.bump()
    if (slot.version !== this.current) this.touch(slot)
    slot.live = false
    slot.value = undefined
    this.count--
    if (this.tracksCuts) {
      this.bury(slot)
      return true
    }
    this.dead.set(slot.key, slot)
    if (this.dead.size > this.maxTombstones) this.forgetOlderHalf()
    return true
  }

  /** The places of all live keys as of now; good until the key is deleted. */
  liveSlots(): ReadonlyArray<Slot<K, V>> {
    const slots: Array<Slot<K, V>> = []
    for (const slot of this.slots.values()) if (slot.live) slots.push(slot)
    return slots
  }

  *keys(): Generator<K, void> {
    for (const slot of this.slots.values()) if (slot.live) yield slot.key
  }

  /** Entries as they are when reached; take a snapshot to iterate over one version while writing. */
  *entries(): Generator<Entry<K, V>, void> {
    for (const slot of this.slots.values()) if (slot.live) yield copy(slot)
  }

  /** What has changed after `version`; in full where the version lies before what is remembered, or ahead. */
  changesSince(version: number): Changes<K, V> {
    if (this.tracksCuts) {
      throw new Error("Table: a table that tracks cuts does not know its changes; track changes instead")
    }
    this.closed = true
    const full = version < this.floor || version > this.current
    const puts: Array<Entry<K, V>> = []
    const deletes: Array<K> = []
    if (full) {
      for (const entry of this.entries()) puts.push(entry)
    } else {
      for (let i = this.log.length - 1; i >= 0 && this.logVersions[i]! > version; i--) {
        const slot = this.log[i]!
        if (slot.version !== this.logVersions[i]) continue
        if (slot.live) puts.push(copy(slot))
        else deletes.push(slot.key)
      }
      deletes.sort(compareIdentity)
    }
    puts.sort(byKey)
    return { version: this.current, full, puts, deletes }
  }

  /** Drops the memory of deletions up to a version: changes since an earlier one are given in full from now on. */
  forget(version: number): void {
    const until = Math.min(version, this.current)
    if (until <= this.floor) return
    this.floor = until
    for (const slot of this.dead.values()) {
      if (slot.version > until) break
      this.dead.delete(slot.key)
      this.forgotten.add(slot)
    }
    this.purge()
  }

  /** The table as it is now, in constant time; it stays so while the table goes on. */
  snapshot(): TableView<K, V> {
    this.closed = true
    this.look()
    const { era } = this
    const view: TableView<K, V> = new TableView(this.slots, this.current, this.count, this.views.length === 0, () => {
      if (this.era === era) this.close(view)
    })
    this.views.push(new WeakRef(view))
    this.newest = this.current
    this.oldest = Math.min(this.oldest, this.current)
    return view
  }

  /** The table as it is now, and the places touched since the last cut, in constant time. The view wants to be released. */
  cut(): TableCut<K, V> {
    if (!this.tracksCuts) {
      throw new Error("Table: a table that tracks changes does not know its cuts; track cuts instead")
    }
    const view = this.snapshot()
    const { touched } = this
    this.touched = []
    this.cutVersion = this.current
    return { view, touched }
  }

  /** Replaces everything by the entries given, as of a version; open snapshots keep their picture. */
  restore(entries: Iterable<Entry<K, V>>, version: number): void {
    const slots = new Map<K, Slot<K, V>>()
    for (const entry of entries) {
      const key = entry.key === 0 ? 0 as K : entry.key
      slots.set(key, {
        key,
        value: entry.value,
        version: Math.min(entry.version, version),
        live: true,
        older: undefined
      })
    }
    this.slots = slots
    this.count = slots.size
    this.dead = new Map()
    this.forgotten = new Set()
    this.log = []
    this.logVersions = []
    this.newest = -Infinity
    this.oldest = Infinity
    this.views = []
    this.era = {}
    this.touched = undefined
    this.cutVersion = version
    this.floor = version
    this.current = version
    this.closed = true
  }

  /** Before the first write to a slot in a version. Apart, so that `write` is small enough to be inlined. */
  private prepare(slot: Slot<K, V>): void {
    if (this.closed) this.bump()
    if (slot.version !== this.current) this.touch(slot)
  }

  private touch(slot: Slot<K, V>): void {
    if (slot.version <= this.newest) {
      const { live, older, value, version } = slot
      slot.older = { value, version, live, older: version <= this.oldest ? undefined : older }
    } else if (slot.older !== undefined && this.views.length === 0) slot.older = undefined
    const isFirst = slot.version <= this.cutVersion
    slot.version = this.current
    if (isFirst || !this.tracksCuts) this.record(slot)
  }

  /** A place that is new, or touched for the first time: since the last cut, or in this version. */
  private record(slot: Slot<K, V>): void {
    if (this.tracksCuts) {
      const { touched } = this
      if (touched === undefined) return
      touched.push(slot)
      // Places that are still awaited make room later: this one is not written yet.
      if (touched.length > this.mostTouched) this.touched = undefined
      return
    }
    this.log.push(slot)
    this.logVersions.push(this.current)
    if (this.log.length > 2 * this.slots.size + 64) this.compact()
  }

  /** With more than this, giving everything costs less: it is read in the order of memory, and hardly larger. */
  private get mostTouched(): number {
    return this.count - (this.count >>> 2) + 64
  }

  /** A deleted key stays in place while it belongs to the next cut, and while a view is open. */
  private bury(slot: Slot<K, V>): void {
    if (this.touched !== undefined && this.touched.length > this.mostTouched) {
      this.touched = undefined
      this.forgotten.add(slot)
      this.purge()
    } else if (this.touched === undefined && this.views.length === 0) this.slots.delete(slot.key)
    else {
      this.forgotten.add(slot)
      if (this.forgotten.size > 3 * (this.count + 64)) this.purge()
    }
  }

  /** Whether the next cut says that the key was deleted. */
  private isAwaited(slot: Slot<K, V>): boolean {
    return this.touched !== undefined && slot.version > this.cutVersion
  }

  private compact(): void {
    const { floor, log, logVersions } = this
    let kept = 0
    for (let i = 0; i < log.length; i++) {
      const slot = log[i]!
      const version = logVersions[i]!
      if (slot.version !== version || version <= floor) continue
      log[kept] = slot
      logVersions[kept++] = version
    }
    log.length = kept
    logVersions.length = kept
  }

  private forgetOlderHalf(): void {
    let skip = this.dead.size >>> 1
    for (const slot of this.dead.values()) {
      if (skip-- > 0) continue
      this.forget(slot.version)
      return
    }
  }

  /** Forgotten slots stay in place while a view is open, so that its iterator meets each key once. */
  private purge(): void {
    if (this.forgotten.size === 0) return
    this.look()
    if (this.views.length > 0) {
      // Open views keep the slots they know; the table goes on with those that it still needs.
      if (this.forgotten.size > this.count + this.dead.size) {
        const needed = ([key, slot]: readonly [K, Slot<K, V>]) =>
          slot.live || (this.tracksCuts ? this.isAwaited(slot) : this.dead.has(key))
        this.slots = new Map([...this.slots].filter(needed))
        for (const slot of this.forgotten) if (slot.live || !this.isAwaited(slot)) this.forgotten.delete(slot)
      }
      return
    }
    for (const slot of this.forgotten) {
      if (this.isAwaited(slot)) continue
      this.forgotten.delete(slot)
      if (!slot.live && !this.dead.has(slot.key)) this.slots.delete(slot.key)
    }
  }

  private close(view: TableView<K, V>): void {
    this.look(view)
    this.purge()
  }

  /** Which views are still open: not the one that is closed, and none that is garbage. */
  private look(closed?: TableView<K, V>): void {
    this.newest = -Infinity
    this.oldest = Infinity
    this.views = this.views.filter((reference) => {
      const view = reference.deref()
      if (view === undefined || view === closed) return false
      // In the order of their versions.
      this.newest = view.version
      this.oldest = Math.min(this.oldest, view.version)
      return true
    })
  }
}

/** A table as it was at one version. A class for the reason the table is one. */
export class TableView<K extends Identity, V> {
  readonly version: number
  readonly size: number
  private readonly held: ReadonlyMap<K, Slot<K, V>>
  private readonly close: () => void
  /** No view of an earlier version is open. */
  private readonly isOldest: boolean
  private isOpen = true

  constructor(
    slots: ReadonlyMap<K, Slot<K, V>>,
    version: number,
    size: number,
    isOldest: boolean,
    close: () => void
  ) {
    this.version = version
    this.size = size
    this.held = slots
    this.isOldest = isOldest
    this.close = close
  }

  get(key: K): V | undefined {
    return this.entry(key)?.value
  }

  has(key: K): boolean {
    return this.entry(key) !== undefined
  }

  entry(key: K): Entry<K, V> | undefined {
    const slot = this.held.get(key)
    return slot === undefined ? undefined : this.entryAt(slot)
  }

  /** All entries, each once; take as many as you like at a time, the table may change in between. */
  *entries(): Generator<Entry<K, V>, void> {
    for (const slot of this.held.values()) {
      const entry = this.entryAt(slot)
      if (entry !== undefined) yield entry
    }
  }

  /** The value at a place of the table, as it was; undefined if the key was not there. */
  valueOf(slot: Slot<K, V>): V | undefined {
    if (!(slot.version <= this.version)) return this.before(slot)?.value
    this.check()
    if (this.isOldest && slot.older !== undefined) slot.older = undefined
    return slot.value
  }

  /**
   * The places whose key was there, each once, for `valueOf`; without an object per key. May be left with `break` and gone
   * on with in another loop, and the table may change in between.
   */
  slots(): IterableIterator<Slot<K, V>> {
    return new Places(
      this.held.values(),
      this.size,
      (slot) => slot.version <= this.version ? slot.live : this.before(slot) !== undefined
    )
  }

  /** Ends the copying for this view, which must not be read afterwards. A view that is garbage collected ends too. */
  release(): void {
    if (!this.isOpen) return
    this.isOpen = false
    this.close()
  }

  private entryAt(slot: Slot<K, V>): Entry<K, V> | undefined {
    const past = this.before(slot)
    // What was live held a value.
    return past && { key: slot.key, value: past.value as V, version: past.version }
  }

  private before(slot: Slot<K, V>): Past<V> | undefined {
    this.check()
    let past: Past<V> | undefined = slot
    while (past !== undefined && past.version > this.version) past = past.older
    return past !== undefined && past.live ? past : undefined
  }

  private check(): void {
    if (!this.isOpen) throw new Error("TableView: a released snapshot is not read")
  }
}

/** Not a generator: those end with the loop that reads them. */
class Places<K, V> implements IterableIterator<Slot<K, V>> {
  private readonly all: Iterator<Slot<K, V>>
  private readonly isThere: (slot: Slot<K, V>) => boolean
  private left: number

  constructor(all: Iterator<Slot<K, V>>, left: number, isThere: (slot: Slot<K, V>) => boolean) {
    this.all = all
    this.left = left
    this.isThere = isThere
  }

  [Symbol.iterator](): this {
    return this
  }

  next(): IteratorResult<Slot<K, V>> {
    // What was put after the view comes last, and need not be met.
    while (this.left > 0) {
      const next = this.all.next()
      if (next.done === true) break
      if (!this.isThere(next.value)) continue
      this.left--
      return next
    }
    return { done: true, value: undefined }
  }
}

const copy = <K, V>(slot: Slot<K, V>): Entry<K, V> => ({
  key: slot.key,
  value: slot.value as V, // a live slot holds a value
  version: slot.version
})

const byKey = <K extends Identity>(a: Entry<K, unknown>, b: Entry<K, unknown>): number => compareIdentity(a.key, b.key)
