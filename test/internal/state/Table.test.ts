import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as fc from "fast-check"
import type { TableCut } from "../../../src/internal/state/cut.ts"
import { Table } from "../../../src/internal/state/Table.ts"
import { runs } from "../../laws/runs.ts"
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

/** How many keys a table has in its memory, deleted ones among them. */
const remembered = (table: Table<number, number>): number => {
  const { slots, touched } = table as unknown as {
    readonly slots: ReadonlyMap<number, unknown>
    readonly touched: ReadonlyArray<unknown> | undefined
  }
  return Math.max(slots.size, touched?.length ?? 0)
}

describe("Table that tracks cuts", () => {
  type Step =
    | { readonly _tag: "Put" | "Delete"; readonly key: number }
    | { readonly _tag: "Cut" }
    | { readonly _tag: "Read" | "Drop"; readonly which: number }

  const key = fc.oneof({ weight: 3, arbitrary: fc.nat({ max: 5 }) }, { weight: 1, arbitrary: fc.nat({ max: 300 }) })
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 6, arbitrary: fc.record({ _tag: fc.constant("Put" as const), key }) },
    { weight: 4, arbitrary: fc.record({ _tag: fc.constant("Delete" as const), key }) },
    { weight: 2, arbitrary: fc.constant({ _tag: "Cut" as const }) },
    { weight: 2, arbitrary: fc.record({ _tag: fc.constantFrom("Read" as const, "Drop" as const), which: fc.nat() }) }
  )
  // Now and then a hundred keys come or go at once, so that more is touched than there is.
  const crowd = fc.record({ _tag: fc.constantFrom("Put" as const, "Delete" as const), from: fc.nat({ max: 200 }) }).map(
    (
      { _tag, from }
    ) => Array.from({ length: 100 }, (_, i): Step => ({ _tag, key: from + i }))
  )
  const steps = fc.array(
    fc.oneof({ weight: 20, arbitrary: step.map((one) => [one]) }, { weight: 1, arbitrary: crowd }),
    {
      maxLength: 80,
      size: "max"
    }
  ).map((many) => many.flat())

  /** What a checkpoint would write of a cut. */
  interface Written {
    readonly isFull: boolean
    readonly rows: ReadonlyArray<readonly [key: number, value: number | undefined]>
  }

  const written = ({ touched, view }: TableCut<number, number>): Written => ({
    isFull: touched === undefined,
    rows: (touched ?? [...view.slots()]).map((slot) => [slot.key, view.valueOf(slot)] as const)
  })

  const sorted = (entries: Iterable<readonly [number, number]>) => [...entries].sort(([a], [b]) => a - b)

  it("gives with each cut what leads from the one before to it, whenever the cuts are read", () =>
    fc.assert(
      fc.property(steps, (steps) => {
        const table = new Table<number, number>({ track: "cuts" })
        const model = new Map<number, number>()
        const cuts: Array<{ readonly cut: TableCut<number, number>; readonly content: ReadonlyArray<unknown> }> = []
        const found: Array<Written> = []
        const open: Array<number> = []
        const read = (number: number) => {
          const { content, cut } = cuts[number]!
          expect(cut.view.size).toBe(content.length)
          expect(sorted(Array.from(cut.view.slots(), (slot) => [slot.key, cut.view.valueOf(slot)!] as const)))
            .toEqual(content)
          expect(sorted(Array.from(cut.view.entries(), ({ key, value }) => [key, value] as const))).toEqual(content)
          found[number] = written(cut)
          const { rows } = found[number]
          expect(new Set(rows.map(([key]) => key)).size).toBe(rows.length)
        }
        const drop = (number: number) => {
          read(number)
          cuts[number]!.cut.view.release()
          open.splice(open.indexOf(number), 1)
        }
        steps.forEach((step, i) => {
          switch (step._tag) {
            case "Put": {
              const slot = table.slot(step.key)
              if (slot === undefined || i % 2 === 0) table.put(step.key, i)
              else table.write(slot, i)
              model.set(step.key, i)
              break
            }
            case "Delete":
              expect(table.delete(step.key)).toBe(model.delete(step.key))
              break
            case "Cut":
              open.push(cuts.length)
              cuts.push({ cut: table.cut(), content: sorted(model) })
              break
            case "Read":
              if (open.length > 0) read(open[step.which % open.length]!)
              break
            case "Drop":
              if (open.length > 0) drop(open[step.which % open.length]!)
          }
          expect(table.size).toBe(model.size)
        })
        while (open.length > 0) drop(open[0]!)
        const replayed = new Map<number, number>()
        cuts.forEach(({ content }, number) => {
          const { isFull, rows } = found[number]!
          if (isFull) replayed.clear()
          for (const [key, value] of rows) {
            if (value === undefined) replayed.delete(key)
            else replayed.set(key, value)
          }
          expect(sorted(replayed)).toEqual(content)
        })
      }),
      { numRuns: runs(1000) }
    ))

  it("gives everything at first and after a restore, and then what was touched", () => {
    const table = new Table<string, number>({ track: "cuts" })
    table.put("a", 1)
    table.put("b", 1)
    expect(table.cut().touched).toBeUndefined()
    expect(table.cut().touched).toEqual([])
    table.put("a", 2)
    table.put("a", 3)
    table.delete("b")
    const { touched, view } = table.cut()
    expect(touched!.map((slot) => [slot.key, view.valueOf(slot)])).toEqual([["a", 3], ["b", undefined]])
    table.restore([{ key: "c", value: 1, version: 1 }], table.version + 1)
    expect(table.cut().touched).toBeUndefined()
    expect(table.cut().touched).toEqual([])
  })

  it("knows a key that came back by one place, though it has made room while a cut was open", () => {
    const table = new Table<number, number>({ track: "cuts" })
    const first = table.cut()
    for (let key = 0; key < 50; key++) table.put(key, key)
    // More than can be told one by one, so that the next cut would be in full, and too few to make room.
    for (let key = 100; key < 400; key++) {
      table.put(key, key)
      table.delete(key)
    }
    const second = table.cut()
    expect(second.touched).toBeUndefined()
    for (let key = 0; key < 40; key++) table.delete(key)
    expect(remembered(table)).toBeLessThan(100)
    for (let key = 0; key < 40; key++) table.put(key, -1)
    const { touched, view } = table.cut()
    expect(touched!.map(({ key }) => key).sort((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, i) => i))
    for (const slot of touched!) {
      expect([first, second].map(({ view }) => view.valueOf(slot))).toEqual([undefined, slot.key])
    }
    expect(view.size).toBe(50)
    expect([...second.view.slots()].length).toBe(50)
  })

  it("may be read in slices while it changes", () => {
    const table = new Table<number, number>({ track: "cuts" })
    for (let i = 0; i < 1000; i++) table.put(i, i)
    const { view } = table.cut()
    const slots = view.slots()
    const seen: Array<number> = []
    for (let slice = 0; slice < 12; slice++) {
      let left = 100
      for (const slot of slots) {
        seen.push(slot.key)
        expect(view.valueOf(slot)).toBe(slot.key)
        if (--left === 0) break
      }
      for (let i = slice; i < 1000; i += 7) table.delete(i)
      for (let i = slice; i < 1000; i += 11) table.put(i, -1)
      table.put(2000 + slice, 0)
    }
    expect(seen).toEqual(Array.from({ length: 1000 }, (_, i) => i))
    view.release()
    expect(() => view.valueOf(table.slot(11)!)).toThrow("a released snapshot is not read")
  })

  it.each([
    ["is cut now and then", (table: Table<number, number>, i: number) => {
      if (i % 1000 === 0) table.cut().view.release()
    }],
    ["was cut once", (table: Table<number, number>, i: number) => {
      if (i === 0) table.cut().view.release()
    }],
    ["has never been cut", () => {}]
  ])("forgets the keys that come and go when it %s", (_, cutting) => {
    const table = new Table<number, number>({ track: "cuts" })
    let most = 0
    for (let i = 0; i < 20_000; i++) {
      table.put(i, i)
      if (i >= 50) table.delete(i - 50)
      cutting(table, i)
      most = Math.max(most, remembered(table))
    }
    expect(table.tombstones).toBe(0)
    expect(most).toBeLessThanOrEqual(250)
  })

  it("forgets them though a cut is always open", () => {
    const table = new Table<number, number>({ track: "cuts" })
    const { view } = table.cut()
    let last = view
    let most = 0
    for (let i = 0; i < 20_000; i++) {
      table.put(i, i)
      if (i >= 50) table.delete(i - 50)
      if (i % 1000 === 0) {
        const next = table.cut().view
        last.release()
        last = next
      }
      most = Math.max(most, remembered(table))
    }
    expect(most).toBeLessThanOrEqual(600)
  })

  it("knows no changes, as one that tracks changes knows no cuts", () => {
    expect(() => new Table<number, number>({ track: "cuts" }).changesSince(0)).toThrow("track changes instead")
    expect(() => new Table<number, number>().cut()).toThrow("track cuts instead")
  })
})
