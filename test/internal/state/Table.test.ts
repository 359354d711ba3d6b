import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Table } from "../../../src/internal/state/Table.ts"
import { type Key, type KeyedState, keyedStateLaws } from "../../laws/stateStoreLaws.ts"

/** The table as the laws want it. Versions go on growing over a restore, as those of a store do. */
const keyedTable = (maxTombstones?: number): KeyedState => {
  const table = new Table<Key, number>(maxTombstones === undefined ? {} : { maxTombstones })
  return {
    commit: (writes) =>
      Effect.sync(() => {
        if (writes.length > 0) table.bump()
        for (const write of writes) {
          if (write._tag === "Put") table.put(write.key, write.value)
          else table.delete(write.key)
        }
      }),
    get: (key) => Effect.sync(() => Option.fromUndefinedOr(table.get(key))),
    versionOf: (key) => Effect.sync(() => Option.fromUndefinedOr(table.versionOf(key))),
    version: Effect.sync(() => table.version),
    size: Effect.sync(() => table.size),
    keys: Effect.sync(() => [...table.changesSince(Infinity).puts].map(({ key }) => key)),
    snapshot: Effect.sync(() => {
      const view = table.snapshot()
      return {
        version: view.version,
        size: view.size,
        get: (key) => Option.fromUndefinedOr(view.get(key)),
        entries: { [Symbol.iterator]: () => view.entries() },
        release: () => view.release()
      }
    }),
    changes: (since) => Effect.sync(() => table.changesSince(since)),
    forget: (version) => Effect.sync(() => table.forget(version)),
    restore: ({ entries }) => Effect.sync(() => table.restore(Array.from(entries), table.version + 1))
  }
}

describe("Table", () => {
  keyedStateLaws("a table", () => keyedTable())
  keyedStateLaws("a table that remembers two deletions", () => keyedTable(2))
  keyedStateLaws("a table that remembers none", () => keyedTable(0))

  it("opens a version by itself for a write to one that was looked at", () => {
    const table = new Table<string, number>()
    table.put("a", 1)
    table.put("b", 1)
    expect(table.version).toBe(1)
    table.snapshot()
    table.put("a", 2)
    expect(table.version).toBe(2)
    expect(table.changesSince(1).puts).toEqual([{ key: "a", value: 2, version: 2 }])
    table.delete("a")
    expect(table.version).toBe(3)
  })

  it("keeps the iteration over a snapshot whole while everything is deleted, forgotten and written anew", () => {
    const table = new Table<number, number>()
    for (let i = 0; i < 100; i++) table.put(i, i)
    const view = table.snapshot()
    const seen: Array<number> = []
    for (const { key, value } of view.entries()) {
      expect(value).toBe(key)
      seen.push(key)
      for (const other of [key, 99 - key, (key + 50) % 100]) {
        table.delete(other)
        table.forget(table.bump())
        table.put(other, -1)
      }
    }
    expect(seen).toEqual(Array.from({ length: 100 }, (_, i) => i))
  })

  it("forgets deletions when told to, and above its bound the older half of them", () => {
    const table = new Table<number, number>({ maxTombstones: 10 })
    for (let i = 0; i < 10_000; i++) {
      table.bump()
      table.put(i, i)
      table.bump()
      table.delete(i)
      expect(table.tombstones).toBeLessThanOrEqual(10)
    }
    expect(table.changesSince(table.version - 2).full).toBe(false)
    expect(table.changesSince(table.version - 2).deletes).toEqual([9_999])
    expect(table.changesSince(0).full).toBe(true)
    table.forget(Infinity)
    expect(table.tombstones).toBe(0)
    expect(table.changesSince(table.version).full).toBe(false)
  })

  it("forgets that a key was deleted when the key comes back", () => {
    const table = new Table<string, number>()
    table.put("a", 1)
    table.delete("a")
    expect(table.tombstones).toBe(1)
    table.put("a", 2)
    expect(table.tombstones).toBe(0)
    table.forget(Infinity)
    expect([...table.keys()]).toEqual(["a"])
  })

  it("drops what it keeps for a snapshot when the snapshot is released", () => {
    const table = new Table<string, number>()
    table.put("a", 1)
    const [older, newer] = [table.snapshot(), table.snapshot()]
    older.release()
    older.release()
    table.put("a", 2)
    expect(newer.get("a")).toBe(1)
    newer.release()
    table.put("a", 3)
    expect(() => newer.get("a")).toThrow("a released snapshot is not read")
    expect(table.get("a")).toBe(3)
  })

  it("treats −0 and 0 as one key, written 0", () => {
    const table = new Table<number, string>()
    table.put(-0, "zero")
    expect([...table.keys()]).toEqual([0])
    expect(table.get(0)).toBe("zero")
    expect(table.delete(-0)).toBe(true)
    table.restore([{ key: -0, value: "zero", version: 1 }], 1)
    expect([...table.keys()]).toEqual([0])
  })

  it("refuses versions that do not grow", () => {
    const table = new Table<number, number>()
    table.bump(5)
    expect(() => table.bump(5)).toThrow("versions grow")
    expect(() => table.bump(NaN)).toThrow("versions grow")
  })
})
