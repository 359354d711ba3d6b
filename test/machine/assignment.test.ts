import { assert, describe, it } from "@effect/vitest"
import * as Window from "../../src/Window.ts"
import { bench, concat, end } from "./bench.ts"

const starts = (panes: ReadonlyArray<string>) => panes.map((pane) => Number(/^\[(-?\d+)/.exec(pane)![1]))

describe("window assignment", () => {
  it("V3.20: negative timestamps", () => {
    const it = bench(Window.tumbling(10), { bound: 100 }).at(-1).at(-10).at(0)
    it.advance(end)
    assert.deepStrictEqual(it.panes, ["[-10,0) a: 2 on-time", "[0,10) a: 1 on-time"])
    const sliding = bench(Window.sliding({ size: 10, every: 5 }), { bound: 100 }).at(-1).at(-10)
    sliding.advance(end)
    assert.deepStrictEqual(sliding.panes, ["[-15,-5) a: 1 on-time", "[-10,0) a: 2 on-time", "[-5,5) a: 1 on-time"])
  })

  it("V3.21: size 10 every 3 gives four windows, or three", () => {
    const expected = new Map([[0, [-9, -6, -3, 0]], [1, [-6, -3, 0]], [2, [-6, -3, 0]], [3, [-6, -3, 0, 3]]])
    for (const [time, starting] of expected) {
      const it = bench(Window.sliding({ size: 10, every: 3 })).at(time)
      it.advance(end)
      assert.deepStrictEqual(starts(it.panes), starting)
    }
  })

  it("V3.22: a record between two windows is outside, never late", () => {
    const it = bench(Window.sliding({ size: 5, every: 10 })).at(30).at(7).at(17)
    assert.deepStrictEqual(it.counts, { late: 0, partlyLate: 0, outside: 2 })
    assert.deepStrictEqual(it.late, [])
    it.at(4)
    assert.deepStrictEqual(it.late, ["4 of [0,5) at W=29, late by 25"])
  })

  it("V3.23: an offset means its remainder", () => {
    const panesOf = (offset: number) => {
      const it = bench(Window.sliding({ size: 1600, every: 700, offset }), { bound: 10_000 }).at(0).at(699).at(1700).at(
        -1
      )
      it.advance(end)
      return it.panes
    }
    for (const offset of [-1_000_000_001, -201, 499 + 700, 499 + 700_000]) {
      const remainder = ((offset % 700) + 700) % 700
      assert.deepStrictEqual(panesOf(offset), panesOf(remainder))
    }
  })

  it("V3.24: records exactly a gap apart are one session", () => {
    const it = bench(Window.session({ gap: 10 }), { bound: 10 }).at(0).at(10)
    it.advance(end)
    assert.deepStrictEqual(it.panes, ["[0,20) a: 2 on-time"])
    const apart = bench(Window.session({ gap: 10 }), { bound: 10 }).at(0).at(11)
    apart.advance(end)
    assert.deepStrictEqual(apart.panes, ["[0,10) a: 1 on-time", "[11,21) a: 1 on-time"])
  })

  it("V3.25: a session closes exactly at last + gap - 1, and is forgotten a lateness later", () => {
    const it = bench(Window.session({ gap: 10 }), { lateness: 5 }).at(0).at(4)
    it.advance(12)
    assert.deepStrictEqual(it.panes, [])
    it.advance(13)
    assert.deepStrictEqual(it.panes, ["[0,14) a: 2 on-time, more may follow"])
    it.advance(17)
    assert.strictEqual(it.machine.size, 1)
    it.advance(18)
    assert.strictEqual(it.machine.size, 0)
    assert.strictEqual(it.machine.nextTimer, Infinity)
  })

  it("V3.26: a record that bridges two sessions makes them one, fired or not", () => {
    const two = (lateness: number) =>
      bench(Window.session({ gap: 10 }), { lateness, bound: 100 }).at(0).at(5).at(20).at(25)
    const open = two(0).at(13)
    open.advance(end)
    assert.deepStrictEqual(open.panes, ["[0,35) a: 5 on-time"])
    const fired = two(50)
    fired.advance(15)
    fired.at(13)
    assert.deepStrictEqual(fired.panes, ["[0,15) a: 2 on-time, more may follow"])
    fired.advance(34)
    assert.deepStrictEqual(fired.panes.slice(1), ["[0,35) a: 5 on-time #1, more may follow"])
    const both = two(50)
    both.advance(40)
    both.at(13)
    assert.deepStrictEqual(both.panes, [
      "[0,15) a: 2 on-time, more may follow",
      "[20,35) a: 2 on-time, more may follow",
      "[0,35) a: 5 late #1, more may follow"
    ])
  })

  it("V3.27: a late record that touches a live session is accepted", () => {
    // W = 29: a session of its own, [18,28), would have expired.
    const it = bench(Window.session({ gap: 10 }), { bound: 0 }).at(25).at(30).at(18)
    assert.deepStrictEqual(it.late, [])
    it.at(7).at(8)
    assert.deepStrictEqual(it.late, ["7 of [7,17) at W=29, late by 22"])
    it.advance(end)
    assert.deepStrictEqual(it.panes, ["[8,40) a: 4 on-time"])
  })

  it("V3.28: accumulators merge in the order of the sessions, not of their arrival", () => {
    const it = bench(Window.session({ gap: 10 }), { bound: 1000, aggregate: concat })
    it.at(40, "a", "C").at(0, "a", "A").at(20, "a", "B").at(30, "a", "+").at(10, "a", "-")
    it.advance(end)
    assert.deepStrictEqual(it.panes, ["[0,50) a: ABC+- on-time"])
  })

  it("V3.29: timers merge with their sessions: one pane, at the end of the whole", () => {
    const it = bench(Window.session({ gap: 10 }), { bound: 100 }).at(0).at(20).at(10)
    it.advance(9)
    it.advance(28)
    assert.deepStrictEqual(it.panes, [])
    it.advance(29)
    assert.deepStrictEqual(it.panes, ["[0,30) a: 3 on-time"])
    assert.strictEqual(it.machine.nextTimer, Infinity)
  })
})
