/**
 * The versioned, transactional, keyed state of one partition.
 *
 * Every operation is an effect and a transaction of its own; inside `Effect.tx` operations compose, over several
 * stores and `TxRef`s, and commit together or not at all. A transaction that fails or is retried leaves no trace.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as TxRef from "effect/TxRef"
import type { Invariant } from "effect/Types"
import { compareIdentity, identifiedKey, type Identity, InvalidKey, keyIdentity } from "./internal/state/keyIdentity.ts"
import { type Entry as TableEntry, Table } from "./internal/state/Table.ts"

const TypeId = "~millrace/StateStore"

/**
 * Values by key, with a version that grows with each transaction that changes something.
 *
 * **Details**
 *
 * A version that somebody has looked at is closed: a write that follows in the same transaction opens the next one. So
 * whoever stands at a version misses nothing by asking for the changes since.
 *
 * @since 0.1.0
 * @category models
 */
export interface StateStore<in out K, in out V> extends Pipeable {
  readonly [TypeId]: { readonly _K: Invariant<K>; readonly _V: Invariant<V> }
  readonly name: string
  readonly key: Schema.ConstraintCodec<K, unknown>
  readonly value: Schema.ConstraintCodec<V, unknown>
}

/**
 * A key, its value, and the version of the store that wrote it last.
 *
 * @since 0.1.0
 * @category models
 */
export interface Entry<out K, out V> {
  readonly key: K
  readonly value: V
  readonly version: number
}

/**
 * The content of a store at a version: what `restore` takes, and what a snapshot is.
 *
 * @since 0.1.0
 * @category models
 */
export interface Content<out K, out V> {
  readonly version: number
  readonly entries: Iterable<Entry<K, V>>
}

/**
 * A store as it was at one version. It stays so while the store goes on.
 *
 * **Details**
 *
 * Taking it is cheap: the store copies an entry only when it overwrites one that an open snapshot still shows. `entries`
 * may be consumed in slices, with writes in between. `release` ends the copying; a snapshot that is merely dropped ends
 * when it is garbage collected. A released snapshot must not be read.
 *
 * **Gotchas**
 *
 * A snapshot taken inside a transaction shows the writes of that transaction, which are not committed yet: let it out of
 * the transaction only as its result.
 *
 * @since 0.1.0
 * @category models
 */
export interface Snapshot<in out K, out V> extends Content<K, V> {
  readonly size: number
  /** `None` also for a key that the store would not accept. */
  readonly get: (key: K) => Option.Option<V>
  readonly release: () => void
}

/**
 * What has changed since a version, each key once, in the canonical order of keys.
 *
 * **Details**
 *
 * To bring a copy up to date: clear it if `full`, then apply `puts` and `deletes`; it stands at `version`
 * afterwards. `full` says that the store no longer knows what was deleted since (see `tombstones` in `make`), or that it was
 * restored.
 *
 * @since 0.1.0
 * @category models
 */
export interface Changes<out K, out V> {
  readonly version: number
  readonly full: boolean
  readonly puts: ReadonlyArray<Entry<K, V>>
  readonly deletes: ReadonlyArray<K>
}

export {
  /**
   * The key is not one that the store's schema accepts, or it cannot be encoded.
   *
   * @since 0.1.0
   * @category errors
   */
  InvalidKey
}

/** What the table holds, and what a transaction wants it to hold; not live means deleted. */
interface Held<K, V> {
  readonly key: K
  readonly value: V | undefined
  readonly live: boolean
  readonly version: number
}

/**
 * What the `TxRef` of a store holds: the table at version `base`, and the writes that lead from there to `version`.
 *
 * A transaction makes a commit of its own with its first write, and adds to it; so nobody else sees its writes before it
 * succeeds, and they vanish with the record if it does not. The writes of the commit that stands are folded into the
 * table by whoever comes next: the table holds nothing but what is committed.
 */
interface Commit<K, V> {
  version: number
  base: number
  size: number
  /** In the order of their versions. */
  writes: Map<Identity, Held<K, V>> | undefined
  closed: boolean
  /** The transaction that may add to the commit; nobody's once it is folded. */
  owner: Effect.Transaction["Service"] | undefined
  readonly table: Table<Identity, Held<K, V>>
}

interface Internal<in out K, in out V> extends StateStore<K, V> {
  readonly ref: TxRef.TxRef<Commit<K, V>>
  readonly identify: (key: K) => Identity | InvalidKey
  readonly keyOf: (identity: Identity) => K
  readonly emptyTable: () => Table<Identity, Held<K, V>>
}

const Proto = {
  [TypeId]: { _K: (_: never) => _, _V: (_: never) => _ },
  pipe() {
    return pipeArguments(this, arguments)
  }
}

/**
 * Makes an empty store at version 0.
 *
 * **Details**
 *
 * Primitive keys are identified by value: −0 is 0, NaN equals NaN, 1 and "1" differ. All others are identified by the
 * content of their encoded form, whatever the order of their properties. Values are immutable: a write replaces them.
 *
 * `tombstones` bounds how many deleted keys the store remembers for `changes` (65,536 by default); past it the older
 * half is forgotten, and changes since before that are given in full.
 *
 * **Gotchas**
 *
 * The store keeps the schema of values for those who encode it; `put` does not run it.
 *
 * **Example**
 *
 * ```ts run
 * import { Effect, Option, Schema } from "effect"
 * import { StateStore } from "millrace"
 *
 * const transfer = Effect.gen(function*() {
 *   const accounts = yield* StateStore.make({ name: "accounts", key: Schema.String, value: Schema.Number })
 *   yield* StateStore.putMany(accounts, [["ada", 10], ["bob", 0]])
 *   yield* Effect.tx(Effect.gen(function*() {
 *     const ada = Option.getOrThrow(yield* StateStore.get(accounts, "ada"))
 *     yield* StateStore.put(accounts, "ada", ada - 3)
 *     yield* StateStore.put(accounts, "bob", 3)
 *   }))
 *   return yield* StateStore.getMany(accounts, ["ada", "bob"])
 * })
 *
 * Effect.runSync(transfer) // => [Option.some(7), Option.some(3)]
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <K, V>(options: {
  readonly name?: string
  readonly key: Schema.ConstraintCodec<K, unknown>
  readonly value: Schema.ConstraintCodec<V, unknown>
  readonly tombstones?: number
}): Effect.Effect<StateStore<K, V>> =>
  Effect.sync(() => {
    const name = options.name ?? "state"
    const emptyTable = () => new Table<Identity, Held<K, V>>({ maxTombstones: options.tombstones ?? 65_536 })
    const store: Omit<Internal<K, V>, typeof TypeId | "pipe"> = {
      name,
      key: options.key,
      value: options.value,
      ref: TxRef.makeUnsafe<Commit<K, V>>({
        version: 0,
        base: 0,
        size: 0,
        writes: undefined,
        closed: true,
        owner: undefined,
        table: emptyTable()
      }),
      identify: identifyWith(options.key, `The state store "${name}"`),
      keyOf: identifiedKey(options.key),
      emptyTable
    }
    return Object.assign(Object.create(Proto), store)
  })

/**
 * @since 0.1.0
 * @category guards
 */
export const isStateStore = (u: unknown): u is StateStore<unknown, unknown> => hasProperty(u, TypeId)

/**
 * The value of a key, if it has one.
 *
 * @since 0.1.0
 * @category reading
 */
export const get: {
  <K>(key: K): <V>(self: StateStore<K, V>) => Effect.Effect<Option.Option<V>, InvalidKey>
  <K, V>(self: StateStore<K, V>, key: K): Effect.Effect<Option.Option<V>, InvalidKey>
} = dual(
  2,
  <K, V>(self: StateStore<K, V>, key: K): Effect.Effect<Option.Option<V>, InvalidKey> =>
    withIdentities(self, [key], ([identity]) => read(self, (commit) => valueOf(find(commit, identity!))))
)

/**
 * The values of several keys at one version, in the order asked for.
 *
 * @since 0.1.0
 * @category reading
 */
export const getMany: {
  <K>(keys: Iterable<K>): <V>(self: StateStore<K, V>) => Effect.Effect<ReadonlyArray<Option.Option<V>>, InvalidKey>
  <K, V>(self: StateStore<K, V>, keys: Iterable<K>): Effect.Effect<ReadonlyArray<Option.Option<V>>, InvalidKey>
} = dual(
  2,
  <K, V>(self: StateStore<K, V>, keys: Iterable<K>): Effect.Effect<ReadonlyArray<Option.Option<V>>, InvalidKey> =>
    // An array, because a retried transaction reads it again.
    withIdentities(self, Array.from(keys), (identities) =>
      read(self, (commit) =>
        identities.map((identity) => valueOf(find(commit, identity)))))
)

/**
 * The version of the store that wrote a key last, if it is there.
 *
 * @since 0.1.0
 * @category reading
 */
export const versionOf: {
  <K>(key: K): <V>(self: StateStore<K, V>) => Effect.Effect<Option.Option<number>, InvalidKey>
  <K, V>(self: StateStore<K, V>, key: K): Effect.Effect<Option.Option<number>, InvalidKey>
} = dual(
  2,
  <K, V>(self: StateStore<K, V>, key: K): Effect.Effect<Option.Option<number>, InvalidKey> =>
    withIdentities(self, [key], ([identity]) =>
      read(self, (commit) => {
        commit.closed = true
        return Option.map(Option.fromUndefinedOr(find(commit, identity!)), ({ version }) => version)
      }))
)

/**
 * The version of the store: it grows with each transaction that changes something.
 *
 * @since 0.1.0
 * @category reading
 */
export const version = <K, V>(self: StateStore<K, V>): Effect.Effect<number> =>
  read(self, (commit) => {
    commit.closed = true
    return commit.version
  })

/**
 * How many keys there are.
 *
 * @since 0.1.0
 * @category reading
 */
export const size = <K, V>(self: StateStore<K, V>): Effect.Effect<number> => read(self, (commit) => commit.size)

/**
 * All keys, in the canonical order: booleans, numbers, bigints, strings, and composite keys by their encoded form.
 *
 * @since 0.1.0
 * @category reading
 */
export const keys = <K, V>(self: StateStore<K, V>): Effect.Effect<ReadonlyArray<K>> =>
  read(self, (commit) => {
    const found: Array<readonly [Identity, K]> = []
    for (const { key, value } of commit.table.entries()) if (!commit.writes?.has(key)) found.push([key, value.key])
    for (const [identity, { key, live }] of commit.writes ?? []) if (live) found.push([identity, key])
    return found.sort(byIdentity).map(([, key]) => key)
  })

/**
 * Gives a key a value.
 *
 * @since 0.1.0
 * @category writing
 */
export const put: {
  <K, V>(key: K, value: V): (self: StateStore<K, V>) => Effect.Effect<void, InvalidKey>
  <K, V>(self: StateStore<K, V>, key: K, value: V): Effect.Effect<void, InvalidKey>
} = dual(
  3,
  <K, V>(self: StateStore<K, V>, key: K, value: V): Effect.Effect<void, InvalidKey> =>
    withIdentities(self, [key], ([identity]) => write(self, (commit) => stage(commit, identity!, key, value, true)))
)

/**
 * Gives several keys their values in one transaction; of two values for one key the later one counts.
 *
 * @since 0.1.0
 * @category writing
 */
export const putMany: {
  <K, V>(entries: Iterable<readonly [K, V]>): (self: StateStore<K, V>) => Effect.Effect<void, InvalidKey>
  <K, V>(self: StateStore<K, V>, entries: Iterable<readonly [K, V]>): Effect.Effect<void, InvalidKey>
} = dual(
  2,
  <K, V>(self: StateStore<K, V>, entries: Iterable<readonly [K, V]>): Effect.Effect<void, InvalidKey> => {
    const pairs = Array.from(entries)
    return withIdentities(self, pairs.map(([key]) => key), (identities) =>
      write(self, (commit) => {
        for (let i = 0; i < pairs.length; i++) {
          const [key, value] = pairs[i]!
          stage(commit, identities[i]!, key, value, true)
        }
      }))
  }
)

/**
 * Removes a key, and says whether it was there.
 *
 * @since 0.1.0
 * @category writing
 */
const delete_: {
  <K>(key: K): <V>(self: StateStore<K, V>) => Effect.Effect<boolean, InvalidKey>
  <K, V>(self: StateStore<K, V>, key: K): Effect.Effect<boolean, InvalidKey>
} = dual(
  2,
  <K, V>(self: StateStore<K, V>, key: K): Effect.Effect<boolean, InvalidKey> =>
    Effect.map(deleteMany(self, [key]), (count) => count === 1)
)

export { delete_ as delete }

/**
 * Removes several keys in one transaction, and says how many were there.
 *
 * @since 0.1.0
 * @category writing
 */
export const deleteMany: {
  <K>(keys: Iterable<K>): <V>(self: StateStore<K, V>) => Effect.Effect<number, InvalidKey>
  <K, V>(self: StateStore<K, V>, keys: Iterable<K>): Effect.Effect<number, InvalidKey>
} = dual(2, <K, V>(self: StateStore<K, V>, keys: Iterable<K>): Effect.Effect<number, InvalidKey> => {
  const list = Array.from(keys)
  return withIdentities(self, list, (identities) =>
    write(self, (commit) => {
      const before = commit.size
      for (let i = 0; i < list.length; i++) {
        if (find(commit, identities[i]!) !== undefined) stage(commit, identities[i]!, list[i]!, undefined, false)
      }
      return before - commit.size
    }))
})

/**
 * What has changed since a version that a snapshot, earlier changes or `version` gave.
 *
 * **Example**
 *
 * ```ts run
 * import { Effect, Schema } from "effect"
 * import { StateStore } from "millrace"
 *
 * const program = Effect.gen(function*() {
 *   const store = yield* StateStore.make({ key: Schema.String, value: Schema.Number })
 *   yield* StateStore.putMany(store, [["a", 1], ["b", 2]])
 *   const since = yield* StateStore.version(store)
 *   yield* StateStore.put(store, "c", 3)
 *   yield* StateStore.delete(store, "a")
 *   const { deletes, puts } = yield* StateStore.changes(store, since)
 *   return { deletes, puts: puts.map(({ key }) => key) }
 * })
 *
 * Effect.runSync(program) // => { deletes: ["a"], puts: ["c"] }
 * ```
 *
 * @since 0.1.0
 * @category versions
 */
export const changes: {
  (since: number): <K, V>(self: StateStore<K, V>) => Effect.Effect<Changes<K, V>>
  <K, V>(self: StateStore<K, V>, since: number): Effect.Effect<Changes<K, V>>
} = dual(
  2,
  <K, V>(self: StateStore<K, V>, since: number): Effect.Effect<Changes<K, V>> =>
    read(self, (commit) => changesOf(self as Internal<K, V>, commit, since))
)

/**
 * Lets the store drop what it remembers of keys deleted up to a version; changes since an earlier one are given in full
 * from now on.
 *
 * **Details**
 *
 * This is housekeeping, not a write: it takes effect at once, also inside a transaction that fails.
 *
 * @since 0.1.0
 * @category versions
 */
export const forget: {
  (version: number): <K, V>(self: StateStore<K, V>) => Effect.Effect<void>
  <K, V>(self: StateStore<K, V>, version: number): Effect.Effect<void>
} = dual(2, <K, V>(self: StateStore<K, V>, version: number): Effect.Effect<void> =>
  Effect.sync(() => {
    const commit = (self as Internal<K, V>).ref.value
    fold(commit)
    commit.table.forget(version)
  }))

/**
 * The store as it is now, inside a transaction with the writes made so far.
 *
 * @since 0.1.0
 * @category versions
 */
export const snapshot = <K, V>(self: StateStore<K, V>): Effect.Effect<Snapshot<K, V>> =>
  read(self, (commit) => snapshotOf(self as Internal<K, V>, commit))

/**
 * Replaces everything by the content given, for instance a snapshot of this store or of another.
 *
 * **Details**
 *
 * Keys keep the versions they had. The store takes the version of the content, or its own next one if that is
 * greater: versions never go back, so nobody who compares them is deceived. Changes since before are given in full.
 *
 * **Example**
 *
 * ```ts run
 * import { Effect, Option, Schema } from "effect"
 * import { StateStore } from "millrace"
 *
 * const program = Effect.gen(function*() {
 *   const store = yield* StateStore.make({ key: Schema.String, value: Schema.Number })
 *   yield* StateStore.put(store, "a", 1)
 *   const snapshot = yield* StateStore.snapshot(store)
 *   yield* StateStore.put(store, "a", 2)
 *   yield* StateStore.restore(store, snapshot)
 *   return yield* StateStore.get(store, "a")
 * })
 *
 * Effect.runSync(program) // => Option.some(1)
 * ```
 *
 * @since 0.1.0
 * @category versions
 */
export const restore: {
  <K, V>(content: Content<K, V>): (self: StateStore<K, V>) => Effect.Effect<void, InvalidKey>
  <K, V>(self: StateStore<K, V>, content: Content<K, V>): Effect.Effect<void, InvalidKey>
} = dual(2, <K, V>(self: StateStore<K, V>, content: Content<K, V>): Effect.Effect<void, InvalidKey> => {
  const entries = Array.from(content.entries)
  return withIdentities(
    self,
    entries.map(({ key }) => key),
    (identities) =>
      replace(
        self,
        content.version,
        entries.map(({ key, value, version }, i) => ({
          key: identities[i]!,
          value: {
            key: key === 0 ? identities[i] as K : key,
            value,
            live: true,
            version: Math.min(version, content.version)
          },
          version
        }))
      )
  )
})

const identifyWith = <K>(schema: Schema.ConstraintCodec<K, unknown>, owner: string) => {
  const accepts = Schema.is(schema)
  const decode = Schema.decodeUnknownExit(Schema.toType(schema))
  const identity = keyIdentity(schema, owner)
  return (key: K): Identity | InvalidKey => {
    if (!accepts(key)) {
      const cause = Exit.getCause(decode(key)).pipe(Option.map(Cause.squash), Option.getOrUndefined)
      return new InvalidKey({ owner, key, problem: cause instanceof Error ? cause.message : "not accepted" })
    }
    try {
      return identity(key)
    } catch (error) {
      if (error instanceof InvalidKey) return error
      throw error
    }
  }
}

const withIdentities = <K, V, A>(
  self: StateStore<K, V>,
  keys: ReadonlyArray<K>,
  use: (identities: ReadonlyArray<Identity>) => Effect.Effect<A>
): Effect.Effect<A, InvalidKey> =>
  Effect.suspend((): Effect.Effect<A, InvalidKey> => {
    const identities: Array<Identity> = []
    for (const key of keys) {
      const identity = (self as Internal<K, V>).identify(key)
      if (identity instanceof InvalidKey) return Effect.fail(identity)
      identities.push(identity)
    }
    return use(identities)
  })

const fold = <K, V>(commit: Commit<K, V>): void => {
  const { table, writes } = commit
  commit.owner = undefined
  commit.closed = true
  if (writes === undefined) return
  if (table.version !== commit.base) throw new Error("StateStore: a commit is folded into the version it was made from")
  for (const [identity, held] of writes) {
    if (held.version > table.version) table.bump(held.version)
    if (held.live) {
      table.put(identity, held)
    } else if (!table.delete(identity)) {
      // The key came and went in one transaction, which may have shown it to somebody in between.
      table.put(identity, held)
      table.delete(identity)
    }
  }
  if (table.version < commit.version) table.bump(commit.version)
  commit.base = commit.version
  commit.writes = undefined
}

/**
 * Whether a commit can still be read. It cannot once a later one has been folded into its table: the transaction that
 * holds it is doomed by then, and is better rerun at once than shown a mixture.
 */
const stands = <K, V>(self: Internal<K, V>, commit: Commit<K, V>): boolean => {
  if (commit === self.ref.value) fold(commit)
  return commit.base === commit.table.version
}

const read = <K, V, A>(store: StateStore<K, V>, f: (commit: Commit<K, V>) => A): Effect.Effect<A> => {
  const self = store as Internal<K, V>
  return Effect.tx(
    Effect.flatMap(TxRef.get(self.ref), (commit) => stands(self, commit) ? Effect.succeed(f(commit)) : Effect.txRetry)
  )
}

const doomed = Symbol()

/** Runs `next` on the commit that this transaction may change, which is still the one that stands if it has none. */
const modify = <K, V, A>(
  store: StateStore<K, V>,
  next: (commit: Commit<K, V>, own: boolean, tx: Effect.Transaction["Service"]) => readonly [A, Commit<K, V>]
): Effect.Effect<A> => {
  const self = store as Internal<K, V>
  return Effect.tx(Effect.flatMap(Effect.Transaction, (tx) =>
    Effect.flatMap(
      TxRef.modify(self.ref, (commit): [A | typeof doomed, Commit<K, V>] => {
        // The journal decides: a fiber may outlive the transaction it was forked in, whose commit is no longer its own.
        const own = commit.owner === tx && tx.journal.get(self.ref)?.value === commit
        if (!(own || commit === self.ref.value) || !stands(self, commit)) return [doomed, commit]
        const [result, after] = next(commit, own, tx)
        return [result, after]
      }),
      (result) => result === doomed ? Effect.txRetry : Effect.succeed(result)
    )))
}

const write = <K, V, A>(store: StateStore<K, V>, f: (commit: Commit<K, V>) => A): Effect.Effect<A> =>
  modify(store, (commit, own, tx) => {
    const draft = own ? commit : { ...commit, owner: tx }
    const result = f(draft)
    return [result, draft.version === commit.version ? commit : draft]
  })

const replace = <K, V>(
  store: StateStore<K, V>,
  version: number,
  entries: ReadonlyArray<TableEntry<Identity, Held<K, V>>>
): Effect.Effect<void> =>
  modify(store, (commit, own, tx) => {
    const table = (store as Internal<K, V>).emptyTable()
    table.restore(entries, Math.max(version, own && !commit.closed ? commit.version : commit.version + 1))
    const { size, version: base } = table
    return [undefined, { version: base, base, size, writes: undefined, closed: true, owner: tx, table }]
  })

const stage = <K, V>(
  commit: Commit<K, V>,
  identity: Identity,
  key: K,
  value: V | undefined,
  live: boolean
): void => {
  commit.size += Number(live) - Number(find(commit, identity) !== undefined)
  if (commit.closed) {
    commit.version++
    commit.closed = false
  }
  const writes = commit.writes ??= new Map()
  writes.delete(identity)
  // −0 and 0 are one key, written as 0.
  writes.set(identity, { key: key === 0 ? identity as K : key, value, live, version: commit.version })
}

const find = <K, V>(commit: Commit<K, V>, identity: Identity): Held<K, V> | undefined => {
  const held = commit.writes?.get(identity) ?? commit.table.get(identity)
  return held?.live === true ? held : undefined
}

// A live holder has a value, which may be undefined if V allows it.
const valueOf = <K, V>(held: Held<K, V> | undefined): Option.Option<V> =>
  held === undefined ? Option.none() : Option.some(held.value as V)

const entryOf = <K, V>({ key, value, version }: Held<K, V>): Entry<K, V> => ({ key, value: value as V, version })

const snapshotOf = <K, V>(self: Internal<K, V>, commit: Commit<K, V>): Snapshot<K, V> => {
  commit.closed = true
  const view = commit.table.snapshot()
  const writes = new Map(commit.writes)
  const { size, version } = commit
  return {
    version,
    size,
    get: (key) => {
      const identity = self.identify(key)
      if (identity instanceof InvalidKey) return Option.none()
      const held = writes.get(identity) ?? view.get(identity)
      return valueOf(held?.live === true ? held : undefined)
    },
    entries: {
      *[Symbol.iterator]() {
        for (const entry of view.entries()) if (!writes.has(entry.key)) yield entryOf(entry.value)
        for (const held of writes.values()) if (held.live) yield entryOf(held)
      }
    },
    release: () => view.release()
  }
}

const changesOf = <K, V>(self: Internal<K, V>, commit: Commit<K, V>, since: number): Changes<K, V> => {
  commit.closed = true
  const { base, table, version, writes } = commit
  const { deletes, full, puts } = table.changesSince(since > version ? Infinity : Math.min(since, base))
  const changed = new Map<Identity, Entry<K, V>>()
  const deleted = new Map<Identity, K>()
  for (const entry of puts) changed.set(entry.key, entryOf(entry.value))
  for (const identity of deletes) deleted.set(identity, self.keyOf(identity))
  for (const [identity, held] of writes ?? []) {
    if (!full && held.version <= since) continue
    changed.delete(identity)
    deleted.delete(identity)
    if (held.live) changed.set(identity, entryOf(held))
    else if (!full) deleted.set(identity, held.key)
  }
  return { version, full, puts: inOrder(changed), deletes: inOrder(deleted) }
}

const inOrder = <A>(map: ReadonlyMap<Identity, A>): ReadonlyArray<A> =>
  Array.from(map).sort(byIdentity).map(([, a]) => a)

const byIdentity = (a: readonly [Identity, unknown], b: readonly [Identity, unknown]): number =>
  compareIdentity(a[0], b[0])
