import { assert, describe, it } from "@effect/vitest"
import * as Window from "../../src/Window.ts"
import { bench, end } from "./bench.ts"

describe("watermarks and lateness", () => {
  it("V1.1: a window fires when a record at its end has come, and what comes then is late", () => {
    const it = bench(Window.tumbling(10)).at(3).at(9)
    assert.deepStrictEqual(it.panes, [])
    it.at(10)
    assert.deepStrictEqual(it.panes, ["[0,10) a: 2 on-time"])
    it.at(9)
    assert.deepStrictEqual(it.late, ["9 of [0,10) at W=9, late by 0"])
    assert.strictEqual(it.counts.late, 1)
    it.advance(end)
    assert.deepStrictEqual(it.panes, ["[0,10) a: 2 on-time", "[10,20) a: 1 on-time"])
    assert.strictEqual(it.machine.size, 0)
    assert.strictEqual(it.machine.nextTimer, Infinity)
  })

  it("V1.2: a bound of 5 fires at 15, not at 14", () => {
    const it = bench(Window.tumbling(10), { bound: 5 }).at(3).at(14)
    assert.deepStrictEqual(it.panes, [])
    assert.deepStrictEqual(it.at(15).panes, ["[0,10) a: 1 on-time"])
  })

  it("V1.3: a window waits for its lateness and no longer", () => {
    const it = bench(Window.tumbling(10), { lateness: 5 }).at(9).at(10)
    assert.deepStrictEqual(it.panes, ["[0,10) a: 1 on-time, more may follow"])
    it.at(14).at(9)
    assert.deepStrictEqual(it.panes.slice(1), ["[0,10) a: 2 late #1, more may follow"])
    assert.deepStrictEqual(it.late, [])
    it.at(15).at(9)
    assert.deepStrictEqual(it.panes.length, 2)
    assert.deepStrictEqual(it.late, ["9 of [0,10) at W=14, late by 5"])
  })

  it.each([
    ["slices", Window.sliding({ size: 10, every: 5 })],
    [
      "buckets",
      Window.custom({
        name: "like sliding",
        assign: (time) => Window.assign(Window.sliding({ size: 10, every: 5 }), time)
      })
    ]
  ])("V1.4: late for the older windows, in time for the newer (%s)", (_, window) => {
    // 10 closes [0,10); 7 belongs to it and to [5,15).
    const it = bench(window).at(10).at(7)
    assert.deepStrictEqual(it.late, [])
    assert.deepStrictEqual(it.counts, { late: 0, partlyLate: 1, outside: 0 })
    it.advance(end)
    assert.deepStrictEqual(it.panes, ["[5,15) a: 2 on-time", "[10,20) a: 1 on-time"])
    const gone = bench(window).at(15).at(7)
    assert.deepStrictEqual(gone.late, ["7 of [0,10) [5,15) at W=14, late by 7"])
  })

  it("V1.5: two windows on one flow judge for themselves", () => {
    const patient = bench(Window.tumbling(10), { lateness: 5 })
    const strict = bench(Window.tumbling(10))
    for (const it of [patient, strict]) it.at(3).at(12).at(4)
    assert.deepStrictEqual([patient.late, strict.late], [[], ["4 of [0,10) at W=11, late by 7"]])
    assert.deepStrictEqual(patient.panes, [
      "[0,10) a: 1 on-time, more may follow",
      "[0,10) a: 2 late #1, more may follow"
    ])
  })

  it.each<[number, Array<string>, Array<string>]>([
    [0, [], ["9 of [0,20) at W=21, late by 12"]],
    [15, ["[0,20) a: 2 late #1, more may follow"], []]
  ])(
    "V1.7: a late pane is late downstream, unless the window there waits (lateness %i)",
    (lateness, again, late) => {
      const downstream = bench(Window.tumbling(20), { lateness })
      let upstreamTime = -Infinity
      const upstream = bench(Window.tumbling(10), {
        lateness: 15,
        onPane: (pane, time) => {
          assert.strictEqual(time, pane.window.end - 1)
          downstream.machine.record("", time, pane.key, upstreamTime)
        }
      })
      for (const time of [3, 22, 4]) {
        upstream.at(time)
        upstreamTime = Math.max(upstreamTime, time - 1)
        downstream.advance(upstreamTime)
      }
      assert.deepStrictEqual(downstream.panes.slice(1), again)
      assert.deepStrictEqual(downstream.late, late)
    }
  )
})
