/**
 * Keyed state with versions: a table mutated in place, whose entries are copied on write while a snapshot is open.
 *
 * A version closes when somebody looks at it (a snapshot, the changes), so whoever stands at version v misses nothing
 * by asking for what came after v: a write to a closed version opens the next one by itself.
 */
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

/** The place of a key; written through the table alone. */
export interface Slot<K, V> {
  readonly key: K
  value: V | undefined
  version: number
  live: boolean
}

/**
 * What was overwritten after a snapshot and before the next one. A view reads its own node, then the newer ones, then
 * the table. Older nodes are reachable through their views alone, so a view that is dropped takes them along.
 */
interface Node<K, V> {
  readonly version: number
  readonly saved: Map<K, Entry<K, V>>
  newer: Node<K, V> | undefined
}

/**
 * A class because machines read and write it per record: one hidden class for tables and one for slots, no closures.
 *
 * Bounds: deleted keys are remembered until `forget`, at most `maxTombstones` of them (the older half is forgotten
 * when there are more); the log of touched keys is at most twice the keys, live and deleted, plus 64; an open
 * snapshot costs at most one old entry per key touched since the newest snapshot.
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
  private newest: Node<K, V> | undefined = undefined
  private views: Array<WeakRef<TableView<K, V>>> = []
  /** Changes when everything is replaced: views of the time before have nothing to close any more. */
  private era = {}
  private readonly maxTombstones: number

  constructor(options?: { readonly maxTombstones?: number }) {
    this.maxTombstones = options?.maxTombstones ?? 65_536
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
      const fresh: Slot<K, V> = { key: key === 0 ? 0 as K : key, value, version: this.current, live: true }
      this.slots.set(key, fresh)
      this.count++
      this.record(fresh)
      return
    }
    if (slot.version !== this.current) this.touch(slot)
    slot.value = value
    if (!slot.live) {
      slot.live = true
      this.dead.delete(key)
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
    this.dead.set(slot.key, slot)
    this.count--
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
    let node = this.newest
    if (node === undefined || node.version !== this.current) {
      node = { version: this.current, saved: new Map(), newer: undefined }
      if (this.newest !== undefined) this.newest.newer = node
      this.newest = node
    }
    const { era } = this
    const view: TableView<K, V> = new TableView(this.slots, node, this.count, () => {
      if (this.era === era) this.close(view)
    })
    this.views = this.views.filter((open) => open.deref() !== undefined)
    this.views.push(new WeakRef(view))
    return view
  }

  /** Replaces everything by the entries given, as of a version; open snapshots keep their picture. */
  restore(entries: Iterable<Entry<K, V>>, version: number): void {
    const slots = new Map<K, Slot<K, V>>()
    for (const entry of entries) {
      const key = entry.key === 0 ? 0 as K : entry.key
      slots.set(key, { key, value: entry.value, version: Math.min(entry.version, version), live: true })
    }
    this.slots = slots
    this.count = slots.size
    this.dead = new Map()
    this.forgotten = new Set()
    this.log = []
    this.logVersions = []
    this.newest = undefined
    this.views = []
    this.era = {}
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
    const node = this.newest
    if (node !== undefined && slot.live && slot.version <= node.version) node.saved.set(slot.key, copy(slot))
    slot.version = this.current
    this.record(slot)
  }

  private record(slot: Slot<K, V>): void {
    this.log.push(slot)
    this.logVersions.push(this.current)
    if (this.log.length > 2 * this.slots.size + 64) this.compact()
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
    this.views = this.views.filter((view) => view.deref() !== undefined)
    if (this.views.length > 0) {
      // Open views keep the slots they know; the table goes on with those that it still needs.
      if (this.forgotten.size > this.count + this.dead.size) {
        this.slots = new Map([...this.slots].filter(([key, slot]) => slot.live || this.dead.has(key)))
        this.forgotten.clear()
      }
      return
    }
    this.newest = undefined
    for (const slot of this.forgotten) if (!slot.live && !this.dead.has(slot.key)) this.slots.delete(slot.key)
    this.forgotten.clear()
  }

  private close(view: TableView<K, V>): void {
    this.views = this.views.filter((reference) => {
      const open = reference.deref()
      return open !== undefined && open !== view
    })
    if (this.views.length === 0) this.newest = undefined
    this.purge()
  }
}

/** A table as it was at one version. A class for the reason the table is one. */
export class TableView<K extends Identity, V> {
  readonly version: number
  readonly size: number
  private readonly slots: ReadonlyMap<K, Slot<K, V>>
  private readonly close: () => void
  private node: Node<K, V> | undefined

  constructor(slots: ReadonlyMap<K, Slot<K, V>>, node: Node<K, V>, size: number, close: () => void) {
    this.version = node.version
    this.size = size
    this.slots = slots
    this.node = node
    this.close = close
  }

  get(key: K): V | undefined {
    return this.entry(key)?.value
  }

  has(key: K): boolean {
    return this.entry(key) !== undefined
  }

  entry(key: K): Entry<K, V> | undefined {
    const slot = this.slots.get(key)
    return slot === undefined ? undefined : this.before(slot)
  }

  /** All entries, each once; take as many as you like at a time, the table may change in between. */
  *entries(): Generator<Entry<K, V>, void> {
    for (const slot of this.slots.values()) {
      const entry = this.before(slot)
      if (entry !== undefined) yield entry
    }
  }

  /** Ends the copying for this view, which must not be read afterwards. A view that is garbage collected ends too. */
  release(): void {
    if (this.node === undefined) return
    this.node = undefined
    this.close()
  }

  private before(slot: Slot<K, V>): Entry<K, V> | undefined {
    if (this.node === undefined) throw new Error("TableView: a released snapshot is not read")
    if (slot.version <= this.version) return slot.live ? copy(slot) : undefined
    for (let node: Node<K, V> | undefined = this.node; node !== undefined; node = node.newer) {
      const saved = node.saved.get(slot.key)
      if (saved !== undefined) return saved.version <= this.version ? saved : undefined
    }
    return undefined
  }
}

const copy = <K, V>(slot: Slot<K, V>): Entry<K, V> => ({
  key: slot.key,
  value: slot.value as V, // a live slot holds a value
  version: slot.version
})

const byKey = <K extends Identity>(a: Entry<K, unknown>, b: Entry<K, unknown>): number => compareIdentity(a.key, b.key)
