import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as Aggregate from "../../src/Aggregate.ts"
import * as Window from "../../src/Window.ts"
import { lawRuns } from "../laws/runs.ts"
import { type Bench, bench, end } from "./bench.ts"

const kinds: ReadonlyArray<readonly [string, Window.Window]> = [
  ["tumbling", Window.tumbling(10)],
  ["with gaps", Window.sliding({ size: 5, every: 10 })],
  ["sliding", Window.sliding({ size: 10, every: 4 })],
  ["session", Window.session({ gap: 10 })],
  [
    "custom",
    Window.custom({ name: "two", assign: (time) => [{ start: time - 5, end: time + 5 }, { start: 0, end: 30 }] })
  ]
]
const keys = ["a", "b", "c", "d", "e"]

describe.each(kinds)("the output budget: %s", (_, window) => {
  const filled = (budget: number | undefined, lateness: number) => {
    const it = bench(window, { bound: 1000, lateness, ...budget === undefined ? {} : { budget } })
    for (const [i, key] of keys.entries()) it.at(i, key).at(2 * i, key).at(20 + i, key)
    return it
  }

  it.each([0, 7])("stops an advance after each result and loses none (lateness %i)", (lateness) => {
    const whole = filled(undefined, lateness)
    const sliced = filled(1, lateness)
    assert.isAtMost(whole.advance(end), 2)
    assert.isAtLeast(sliced.advance(end), whole.panes.length)
    assert.deepStrictEqual(sliced.panes, whole.panes)
    assert.strictEqual(sliced.machine.size, 0)
    assert.strictEqual(sliced.machine.nextTimer, Infinity)
  })

  it.each([0, 7])("goes on from a cut in the middle of a firing (lateness %i)", (lateness) => {
    const whole = filled(undefined, lateness)
    whole.advance(end)
    let cut: Bench = filled(1, lateness)
    const panes: Array<string> = []
    // After every single pane another machine takes over.
    while (!cut.step(end)) {
      panes.push(...cut.panes)
      cut = bench(window, { lateness, budget: 1 }, cut.cut())
    }
    panes.push(...cut.panes)
    assert.deepStrictEqual(panes.sort(), [...whole.panes].sort())
    assert.strictEqual(cut.machine.size, 0)
    assert.strictEqual(cut.machine.nextTimer, Infinity)
  })
})

describe.each(kinds)("cuts: %s", (_, window) => {
  const records = fc.array(fc.tuple(fc.integer({ min: -30, max: 60 }), fc.constantFrom(...keys)), { maxLength: 30 })

  it("a machine restored anywhere goes on as if nothing had happened", () =>
    fc.assert(
      fc.property(
        records,
        records,
        fc.nat({ max: 20 }),
        fc.nat({ max: 20 }),
        fc.integer({ min: 1, max: 3 }),
        (before, after, lateness, bound, budget) => {
          const options = { lateness, bound, budget }
          const whole = bench(window, options)
          for (const [time, key] of before) whole.at(time, key)
          const restored = bench(window, options, whole.cut())
          const [panes, late] = [whole.panes.length, whole.late.length]
          for (const [time, key] of after) {
            whole.at(time, key)
            restored.at(time, key)
          }
          whole.advance(end)
          restored.advance(end)
          assert.deepStrictEqual([...restored.panes].sort(), whole.panes.slice(panes).sort())
          assert.deepStrictEqual(restored.late, whole.late.slice(late))
          assert.strictEqual(restored.machine.size, 0)
          assert.strictEqual(restored.machine.nextTimer, Infinity)
        }
      ),
      { numRuns: lawRuns(1000) }
    ))

  it("a cut stays as it is while the machine goes on", () =>
    fc.assert(
      fc.property(records, records, (before, after) => {
        const whole = bench(window, { bound: 20 })
        for (const [time, key] of before) whole.at(time, key)
        const cut = whole.cut()
        const now = bench(window, { bound: 20 }, cut)
        for (const [time, key] of after) whole.at(time, key)
        whole.advance(end)
        const later = bench(window, { bound: 20 }, cut)
        now.advance(end)
        later.advance(end)
        assert.deepStrictEqual(later.panes, now.panes)
      }),
      { numRuns: lawRuns(300) }
    ))
})

describe("the cost of overlapping windows", () => {
  const counting = () => {
    const calls = { add: 0, merge: 0 }
    const aggregate = Aggregate.make({
      zero: 0,
      add: (acc, _: unknown) => (calls.add++, acc + 1),
      merge: (self, that) => (calls.merge++, self + that),
      done: (acc) => acc,
      state: Aggregate.count.state(undefined)!
    }) as Aggregate.Aggregate<unknown, unknown, unknown>
    return { calls, aggregate }
  }

  const shapes = fc.record({ size: fc.integer({ min: 1, max: 200 }), every: fc.integer({ min: 1, max: 200 }) })
  const gaps = fc.constantFrom(1, 2, 7, 50, 300)

  it("a record is added once, however many windows it is in", () =>
    fc.assert(
      fc.property(shapes, gaps, ({ every, size }, gap) => {
        fc.pre(every <= size)
        const { aggregate, calls } = counting()
        const it = bench(Window.sliding({ size, every }), { aggregate })
        for (let i = 0; i < 300; i++) it.at(i * gap, `k${i % 3}`)
        it.advance(end)
        assert.strictEqual(calls.add, 300)
      }),
      { numRuns: lawRuns(200) }
    ))

  // Two for the stacks, and one for each change between two windows: the slice comes, the slice goes.
  it.each([["that has every slice", 1, 3], ["that has some of them", 3, 4]])(
    "of a key %s a slice is merged at most so often, however many windows it is in",
    (_, keys, atMost) =>
      fc.assert(
        fc.property(shapes, keys === 1 ? fc.constant(1) : gaps, ({ every, size }, gap) => {
          fc.pre(every <= size)
          const { aggregate, calls } = counting()
          const window = Window.sliding({ size, every }) as Window.Aligned
          const it = bench(window, { aggregate })
          const slices = new Set<string>()
          for (let i = 0; i < 300; i++) {
            it.at(i * gap, `k${i % keys}`)
            slices.add(`${Window.sliceStart(window, i * gap)} k${i % keys}`)
          }
          it.advance(end)
          assert.isAtMost(calls.merge / slices.size, atMost)
        }),
        { numRuns: lawRuns(200) }
      )
  )
})
