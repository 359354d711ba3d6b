import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as TxRef from "effect/TxRef"
import * as fc from "fast-check"
import * as StateStore from "../src/StateStore.ts"
import * as SeededScheduler from "../src/testing/SeededScheduler.ts"
import { runs } from "./laws/runs.ts"
import { type Key, type KeyedState, keyedStateLaws } from "./laws/stateStoreLaws.ts"

const Keys = Schema.Union([Schema.String, Schema.Number, Schema.BigInt, Schema.Boolean])
const numbers = { key: Schema.String, value: Schema.Number }

/** The store as the laws want it; `commit` decides how a group of writes is written. */
const keyedStore = (
  commit: (writes: Effect.Effect<void, StateStore.InvalidKey>) => Effect.Effect<void, StateStore.InvalidKey> =
    Effect.tx,
  tombstones?: number
): KeyedState => {
  const options = tombstones === undefined ? {} : { tombstones }
  const store = Effect.runSync(StateStore.make<Key, number>({ key: Keys, value: Schema.Number, ...options }))
  return {
    commit: (writes) =>
      Effect.orDie(commit(Effect.forEach(
        writes,
        (write): Effect.Effect<unknown, StateStore.InvalidKey> =>
          write._tag === "Put" ? StateStore.put(store, write.key, write.value) : StateStore.delete(store, write.key),
        { discard: true }
      ))),
    get: (key) => Effect.orDie(StateStore.get(store, key)),
    versionOf: (key) => Effect.orDie(StateStore.versionOf(store, key)),
    version: StateStore.version(store),
    size: StateStore.size(store),
    keys: StateStore.keys(store),
    snapshot: StateStore.snapshot(store),
    changes: (since) => StateStore.changes(store, since),
    forget: (version) => StateStore.forget(store, version),
    restore: (content) => Effect.orDie(StateStore.restore(store, content))
  }
}

/** Runs a body, throws its transaction away, and runs it again. */
const retried = <A, E>(body: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.suspend(() => {
    const gate = TxRef.makeUnsafe(0)
    return Effect.tx(Effect.gen(function*() {
      const attempt = yield* TxRef.get(gate)
      const result = yield* body
      // A commit to what the transaction has read, from outside of it.
      if (attempt === 0) yield* Effect.sync(() => Effect.runSync(TxRef.set(gate, 1)))
      return result
    }))
  })

describe("StateStore, alone", () => {
  keyedStateLaws("a store", () => keyedStore())
  keyedStateLaws("a store that remembers two deletions", () => keyedStore(Effect.tx, 2))
  keyedStateLaws("a store whose transactions are all retried", () => keyedStore(retried))
  keyedStateLaws("a store in one long transaction", () => keyedStore(), Effect.tx)
  keyedStateLaws("a store in one long transaction that is retried", () => keyedStore(), retried)
})

describe("StateStore, in transactions", () => {
  const content = <K, V>(store: StateStore.StateStore<K, V>) =>
    Effect.map(StateStore.snapshot(store), ({ entries, size, version }) => ({ version, size, entries: [...entries] }))

  it.effect("a transaction that fails leaves no trace in any store", () =>
    Effect.gen(function*() {
      const [a, b] = [yield* StateStore.make(numbers), yield* StateStore.make(numbers)]
      yield* StateStore.putMany(a, [["x", 1], ["y", 2]])
      const before = [yield* content(a), yield* content(b)]
      const since = yield* StateStore.changes(a, 0)
      const exit = yield* Effect.exit(Effect.tx(Effect.gen(function*() {
        yield* StateStore.put(a, "x", 9)
        yield* StateStore.delete(a, "y")
        yield* StateStore.put(b, "z", 9)
        yield* StateStore.restore(a, { version: 99, entries: [] })
        yield* StateStore.snapshot(a)
        return yield* Effect.fail("no")
      })))
      expect(exit).toEqual(Exit.fail("no"))
      expect([yield* content(a), yield* content(b)]).toEqual(before)
      expect(yield* StateStore.changes(a, 0)).toEqual(since)
    }))

  it.effect("nested transactions are one", () =>
    Effect.gen(function*() {
      const store = yield* StateStore.make(numbers)
      const exit = yield* Effect.exit(Effect.tx(Effect.gen(function*() {
        yield* Effect.tx(StateStore.put(store, "inner", 1))
        expect(yield* StateStore.get(store, "inner")).toEqual(Option.some(1))
        return yield* Effect.fail("no")
      })))
      expect(Exit.isFailure(exit)).toBe(true)
      expect(yield* StateStore.size(store)).toBe(0)
    }))

  it.effect("a transaction is one version, unless it looks in between", () =>
    Effect.gen(function*() {
      const store = yield* StateStore.make(numbers)
      yield* StateStore.putMany(store, [["a", 1], ["b", 1], ["c", 1]])
      expect(yield* StateStore.version(store)).toBe(1)
      yield* Effect.tx(Effect.andThen(StateStore.put(store, "a", 2), StateStore.delete(store, "b")))
      expect(yield* StateStore.version(store)).toBe(2)
      expect(yield* StateStore.delete(store, "missing")).toBe(false)
      expect(yield* StateStore.version(store)).toBe(2)
      const between = yield* Effect.tx(Effect.gen(function*() {
        yield* StateStore.put(store, "d", 1)
        const snapshot = yield* StateStore.snapshot(store)
        yield* StateStore.delete(store, "d")
        return snapshot
      }))
      expect(between.get("d")).toEqual(Option.some(1))
      expect((yield* StateStore.changes(store, between.version)).deletes).toEqual(["d"])
    }))

  it.effect("the versions that a transaction has shown are those it commits", () =>
    Effect.gen(function*() {
      const store = yield* StateStore.make(numbers)
      const shown = yield* Effect.tx(Effect.gen(function*() {
        yield* StateStore.put(store, "a", 1)
        yield* StateStore.version(store)
        yield* StateStore.put(store, "b", 2)
        yield* StateStore.version(store)
        yield* StateStore.put(store, "a", 3)
        return [yield* StateStore.versionOf(store, "a"), yield* StateStore.versionOf(store, "b")]
      }))
      expect(shown).toEqual([Option.some(3), Option.some(2)])
      expect([yield* StateStore.versionOf(store, "a"), yield* StateStore.versionOf(store, "b")]).toEqual(shown)
      expect((yield* StateStore.changes(store, 2)).puts).toEqual([{ key: "a", value: 3, version: 3 }])
    }))

  it.effect("a snapshot taken in a transaction shows its writes and outlives it", () =>
    Effect.gen(function*() {
      const store = yield* StateStore.make(numbers)
      yield* StateStore.putMany(store, [["a", 1], ["b", 1]])
      const snapshot = yield* Effect.tx(Effect.gen(function*() {
        yield* StateStore.put(store, "a", 2)
        yield* StateStore.delete(store, "b")
        const snapshot = yield* StateStore.snapshot(store)
        yield* StateStore.put(store, "a", 3)
        return snapshot
      }))
      yield* StateStore.put(store, "a", 4)
      expect([...snapshot.entries].map(({ key, value }) => [key, value])).toEqual([["a", 2]])
      expect(yield* StateStore.get(store, "a")).toEqual(Option.some(4))
    }))

  it("txRetry on a store waits for a commit to it", async () => {
    for (let seed = 0; seed < runs(100); seed++) {
      const program = Effect.gen(function*() {
        const store = yield* StateStore.make(numbers)
        const take = Effect.tx(Effect.gen(function*() {
          const found = yield* StateStore.get(store, "token")
          if (Option.isNone(found)) return yield* Effect.txRetry
          yield* StateStore.delete(store, "token")
          return found.value
        }))
        const give = Effect.forEach([1, 2, 3], (n) =>
          Effect.tx(Effect.gen(function*() {
            if (Option.isSome(yield* StateStore.get(store, "token"))) return yield* Effect.txRetry
            yield* StateStore.put(store, "token", n)
          })))
        const [taken] = yield* Effect.all([Effect.all([take, take, take]), give], { concurrency: "unbounded" })
        return taken
      })
      expect(await SeededScheduler.run(program, { seed })).toEqual(Exit.succeed([1, 2, 3]))
    }
  })

  // Where such a fiber is between two worlds its write may be lost, as with a TxRef; it must not reach into a commit.
  it("a fiber forked in a transaction that outlives it changes nothing that is committed", async () => {
    for (let seed = 0; seed < runs(300); seed++) {
      const program = Effect.gen(function*() {
        const store = yield* StateStore.make(numbers)
        yield* StateStore.put(store, "n", 0)
        const add = (n: number) =>
          Effect.tx(
            Effect.flatMap(StateStore.get(store, "n"), (found) =>
              StateStore.put(store, "n", Option.getOrThrow(found) + n))
          )
        const late = yield* Effect.tx(Effect.gen(function*() {
          yield* StateStore.put(store, "first", 1)
          return yield* Effect.forkDetach(Effect.forEach([1, 2, 3, 4, 5, 6], (n) => StateStore.put(store, "late", n)))
        }))
        const version = yield* StateStore.version(store)
        const committed = (store as unknown as { readonly ref: TxRef.TxRef<unknown> }).ref
        const [reference, before] = [committed.value, JSON.stringify(yield* content(store))]
        yield* Effect.yieldNow
        const after = JSON.stringify(yield* content(store))
        if (committed.value === reference) expect(after).toBe(before)
        yield* Effect.all([add(1), add(100)], { concurrency: "unbounded" })
        yield* Fiber.join(late)
        const { entries, size } = yield* content(store)
        expect(entries.length).toBe(size)
        expect(yield* StateStore.version(store)).toBeGreaterThan(version)
        return Option.getOrThrow(yield* StateStore.get(store, "n"))
      })
      expect(await SeededScheduler.run(program, { seed }), `seed ${seed}`).toEqual(Exit.succeed(101))
    }
  })
})

describe("StateStore, with many fibers", () => {
  const accounts = ["ada", "bob", "cyd"]

  /** Money moves between two stores and a TxRef while others look, take snapshots, roll back and follow the changes. */
  const bank = Effect.gen(function*() {
    const [left, right] = [yield* StateStore.make(numbers), yield* StateStore.make(numbers)]
    const moves = yield* TxRef.make(0)
    for (const store of [left, right]) yield* StateStore.putMany(store, accounts.map((name) => [name, 10] as const))
    const torn: Array<string> = []

    const balance = (store: StateStore.StateStore<string, number>, name: string) =>
      Effect.map(StateStore.get(store, name), Option.getOrThrow)

    const transfer = (i: number) =>
      Effect.tx(Effect.gen(function*() {
        const name = accounts[i % 3]!
        const [from, to] = i % 2 === 0 ? [left, right] : [right, left]
        const amount = yield* balance(from, name)
        yield* StateStore.put(from, name, amount - 1)
        if (i % 4 === 0) yield* Effect.yieldNow
        yield* StateStore.put(to, name, (yield* balance(to, name)) + 1)
        yield* TxRef.update(moves, (n) => n + 1)
      }))

    const failing = (i: number) =>
      Effect.ignore(Effect.tx(Effect.gen(function*() {
        yield* StateStore.put(left, accounts[i % 3]!, 1_000_000)
        yield* StateStore.delete(right, accounts[0]!)
        return yield* Effect.fail("no")
      })))

    const total = (content: StateStore.Content<string, number>) =>
      Array.from(content.entries).reduce((sum, { value }) => sum + value, 0)

    const look = Effect.gen(function*() {
      const [a, b] = yield* Effect.tx(Effect.all([StateStore.snapshot(left), StateStore.snapshot(right)]))
      if (total(a) + total(b) !== 60) torn.push(`snapshots: ${total(a)} and ${total(b)}`)
      yield* Effect.yieldNow
      if (total(a) + total(b) !== 60) torn.push(`snapshots, later: ${total(a)} and ${total(b)}`)
      const [x, y] = yield* Effect.tx(Effect.all([
        StateStore.getMany(left, accounts),
        Effect.andThen(Effect.yieldNow, StateStore.getMany(right, accounts))
      ]))
      const sum = [...x, ...y].reduce((sum, found) => sum + Option.getOrThrow(found), 0)
      if (sum !== 60) torn.push(`values: ${sum}`)
    })

    // Within one body a store never shows a mixture, even to a transaction that is doomed.
    const opaque = Effect.tx(Effect.gen(function*() {
      const first = yield* balance(left, "ada")
      yield* Effect.yieldNow
      const second = yield* balance(left, "ada")
      if (first !== second) torn.push(`one body saw ${first}, then ${second}`)
    }))

    const follow = Effect.gen(function*() {
      const copy = new Map<string, number>()
      let version = 0
      for (let i = 0; i < 4; i++) {
        const [changes, now] = yield* Effect.tx(
          Effect.all([StateStore.changes(left, version), StateStore.snapshot(left)])
        )
        if (changes.full) copy.clear()
        for (const { key, value } of changes.puts) copy.set(key, value)
        for (const key of changes.deletes) copy.delete(key)
        version = changes.version
        const wanted = new Map(Array.from(now.entries, ({ key, value }) => [key, value]))
        for (const [key, value] of wanted) if (copy.get(key) !== value) torn.push(`changes: ${key}`)
        if (copy.size !== wanted.size) torn.push("changes: size")
        now.release()
        yield* Effect.yieldNow
      }
    })

    const rollBack = Effect.tx(Effect.gen(function*() {
      const [a, b] = [yield* StateStore.snapshot(left), yield* StateStore.snapshot(right)]
      yield* StateStore.put(left, "ada", -5)
      yield* StateStore.delete(right, "bob")
      yield* StateStore.restore(left, a)
      yield* StateStore.restore(right, b)
    }))

    yield* Effect.all([
      Effect.forEach([0, 1, 2, 3], transfer, { concurrency: "unbounded" }),
      Effect.forEach([4, 5, 6, 7], transfer),
      Effect.forEach([0, 1, 2], failing),
      look,
      opaque,
      rollBack,
      look,
      follow
    ], { concurrency: "unbounded" })
    yield* look
    return { torn, moves: yield* TxRef.get(moves) }
  })

  it.each<[string, SeededScheduler.Options]>([
    ["often", { preempt: 0.3 }],
    ["rarely", { preempt: 0.03 }],
    ["after three operations", { operations: 3 }],
    ["after 31 operations", { operations: 31 }]
  ])("nothing is lost and no pair is torn when fibers are stopped %s", async (_, options) => {
    for (let seed = 0; seed < runs(250); seed++) {
      const exit = await SeededScheduler.run(bank, { seed, ...options })
      expect(exit, `seed ${seed}`).toEqual(Exit.succeed({ torn: [], moves: 8 }))
    }
  })
})

describe("StateStore, its versions", () => {
  const writes = fc.array(fc.tuple(fc.constantFrom("a", "b", "c", "d"), fc.option(fc.nat(9))), { maxLength: 12 })

  const write = (store: StateStore.StateStore<string, number>, all: ReadonlyArray<readonly [string, number | null]>) =>
    Effect.forEach(
      all,
      ([key, value]): Effect.Effect<unknown, StateStore.InvalidKey> =>
        value === null ? StateStore.delete(store, key) : StateStore.put(store, key, value)
    )

  it("a snapshot restored elsewhere is the same content at the same version", () => {
    fc.assert(
      fc.property(writes, writes, (before, after) =>
        Effect.runSync(Effect.gen(function*() {
          const store = yield* StateStore.make(numbers)
          yield* write(store, before)
          const snapshot = yield* StateStore.snapshot(store)
          yield* write(store, after)
          const other = yield* StateStore.make(numbers)
          yield* StateStore.restore(other, snapshot)
          const again = yield* StateStore.snapshot(other)
          expect([...again.entries]).toEqual([...snapshot.entries])
          expect(again.version).toBe(Math.max(1, snapshot.version))
          // And the other way: both go on from there alike.
          yield* write(other, after)
          const [a, b] = [
            yield* StateStore.changes(store, snapshot.version),
            yield* StateStore.changes(other, again.version)
          ]
          expect(b.puts.map(({ key, value }) => [key, value])).toEqual(a.puts.map(({ key, value }) => [key, value]))
        }))),
      { numRuns: runs(1000) }
    )
  })

  it.effect("a version from the future, and one from before a restore, are answered in full", () =>
    Effect.gen(function*() {
      const store = yield* StateStore.make(numbers)
      yield* StateStore.put(store, "a", 1)
      const old = yield* StateStore.snapshot(store)
      yield* StateStore.put(store, "b", 1)
      expect((yield* StateStore.changes(store, 7)).full).toBe(true)
      yield* StateStore.restore(store, old)
      expect(yield* StateStore.version(store)).toBe(3)
      const changes = yield* StateStore.changes(store, 2)
      expect(changes).toEqual({ version: 3, full: true, puts: [{ key: "a", value: 1, version: 1 }], deletes: [] })
    }))
})

describe("StateStore, its keys", () => {
  const Card = Schema.Struct({ bank: Schema.String, number: Schema.Number })

  it.effect("composite keys are compared by content, and come back as they were", () =>
    Effect.gen(function*() {
      const store = yield* StateStore.make({ key: Card, value: Schema.String })
      yield* StateStore.put(store, { bank: "a", number: 1 }, "first")
      yield* StateStore.put(store, { number: 1, bank: "a" }, "second")
      yield* StateStore.put(store, { number: 2, bank: "a" }, "third")
      expect(yield* StateStore.keys(store)).toEqual([{ bank: "a", number: 1 }, { bank: "a", number: 2 }])
      const since = yield* StateStore.version(store)
      expect(yield* StateStore.delete(store, { bank: "a", number: 1 })).toBe(true)
      yield* StateStore.size(store)
      expect((yield* StateStore.changes(store, since)).deletes).toEqual([{ bank: "a", number: 1 }])
      expect((yield* StateStore.snapshot(store)).get({ number: 2, bank: "a" })).toEqual(Option.some("third"))
    }))

  it.effect("a key that the schema does not accept is a typed error, and nothing is written", () =>
    Effect.gen(function*() {
      const store = yield* StateStore.make({ name: "accounts", ...numbers })
      // What arrives from JavaScript, or through a cast.
      const bad = 3 as unknown as string
      const error = yield* Effect.flip(StateStore.putMany(store, [["a", 1], [bad, 2]]))
      expect(error).toBeInstanceOf(StateStore.InvalidKey)
      expect(error.message).toBe(
        `The state store "accounts" was given the key 3 (Expected string): use a key that its schema accepts, or widen the schema`
      )
      expect(yield* StateStore.size(store)).toBe(0)
      for (
        const operation of [
          StateStore.get(store, bad),
          StateStore.versionOf(store, bad),
          StateStore.getMany(store, [bad]),
          StateStore.put(store, bad, 1),
          StateStore.delete(store, bad),
          StateStore.deleteMany(store, [bad]),
          StateStore.restore(store, { version: 1, entries: [{ key: bad, value: 1, version: 1 }] })
        ] as ReadonlyArray<Effect.Effect<unknown, StateStore.InvalidKey>>
      ) expect((yield* Effect.flip(operation))._tag).toBe("InvalidKey")
      expect((yield* StateStore.snapshot(store)).get(bad)).toEqual(Option.none())
    }))

  it.effect("an undefined value is a value", () =>
    Effect.gen(function*() {
      const store = yield* StateStore.make({ key: Schema.String, value: Schema.Undefined })
      yield* StateStore.put(store, "a", undefined)
      expect(yield* StateStore.get(store, "a")).toEqual(Option.some(undefined))
      expect(yield* StateStore.size(store)).toBe(1)
    }))

  it.effect("every operation also takes the store last", () =>
    Effect.gen(function*() {
      const store = yield* StateStore.make(numbers)
      yield* store.pipe(StateStore.put("a", 1))
      yield* store.pipe(StateStore.putMany([["b", 2], ["c", 3]]))
      expect(yield* store.pipe(StateStore.get("a"))).toEqual(Option.some(1))
      expect(yield* store.pipe(StateStore.getMany(["b", "x"]))).toEqual([Option.some(2), Option.none()])
      expect(yield* store.pipe(StateStore.versionOf("b"))).toEqual(Option.some(2))
      expect(yield* store.pipe(StateStore.delete("a"))).toBe(true)
      expect(yield* store.pipe(StateStore.deleteMany(["b", "b", "x"]))).toBe(1)
      expect((yield* store.pipe(StateStore.changes(2))).deletes).toEqual(["a", "b"])
      yield* store.pipe(StateStore.forget(3))
      expect((yield* store.pipe(StateStore.changes(2))).full).toBe(true)
      yield* store.pipe(StateStore.restore({ version: 9, entries: [] }))
      expect(yield* StateStore.version(store)).toBe(9)
      expect(StateStore.isStateStore(store)).toBe(true)
      expect(StateStore.isStateStore({})).toBe(false)
    }))
})
