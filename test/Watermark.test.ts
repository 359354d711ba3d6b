import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import * as fc from "fast-check"
import * as Watermark from "../src/Watermark.ts"
import { lawRuns } from "./laws/runs.ts"

const check = <Ts extends [unknown, ...Array<unknown>]>(property: fc.IProperty<Ts>) =>
  fc.assert(property, { numRuns: lawRuns(300) })

const observed = (watermark: Watermark.Watermark, timestamps: ReadonlyArray<number>) => {
  const generator = Watermark.generator(watermark)
  return timestamps.map((timestamp) => generator.observe(timestamp, undefined))
}

interface Mark {
  readonly upTo?: number | undefined
}
const marks = Watermark.punctuated((mark: Mark) => mark.upTo)
const latest = Watermark.make({
  initial: { latest: -Infinity, slack: 0 },
  observe: (state, timestamp, _: unknown) => ({
    latest: Math.max(state.latest, timestamp),
    slack: (state.slack + 3) % 7
  }),
  watermark: (state) => state.latest - state.slack,
  state: Schema.Struct({ latest: Schema.Number, slack: Schema.Number })
})

const timestamps = fc.integer({ min: -1_000, max: 1_000 })

describe("Watermark", () => {
  it("of a bound is the largest timestamp, less the bound, less 1 (V1.2)", () => {
    assert.deepStrictEqual(observed(Watermark.boundedOutOfOrderness(5), [3, 14, 15, 4]), [-3, 8, 9, 9])
    assert.deepStrictEqual(observed(Watermark.boundedOutOfOrderness(0), [3, 9, 10]), [2, 8, 9])
    assert.deepStrictEqual(observed(Watermark.boundedOutOfOrderness("1 second"), [-5_000, -4_000]), [-6_001, -5_001])
  })

  it("of records in order is that of a bound of 0", () =>
    check(fc.property(fc.array(timestamps), (timestamps) => {
      assert.deepStrictEqual(
        observed(Watermark.monotonic, timestamps),
        observed(Watermark.boundedOutOfOrderness(0), timestamps)
      )
    })))

  it("starts at -Infinity", () => {
    for (const watermark of [Watermark.boundedOutOfOrderness(1), Watermark.monotonic, marks, latest]) {
      assert.strictEqual(Watermark.generator<Mark>(watermark).current, -Infinity)
    }
  })

  it("of punctuations is the last one asserted", () => {
    const generator = Watermark.generator(marks)
    assert.strictEqual(generator.observe(10, {}), -Infinity)
    assert.strictEqual(generator.observe(11, { upTo: 7 }), 7)
    assert.strictEqual(generator.observe(20, {}), 7)
  })

  it("ignores regressions and counts them (V1.6)", () => {
    const generator = Watermark.generator(marks)
    const asserted = [7, 5, NaN, 7, -Infinity, 8]
    assert.deepStrictEqual(asserted.map((upTo) => generator.observe(0, { upTo })), [7, 7, 7, 7, 7, 8])
    assert.strictEqual(generator.regressions, 3)
    const custom = Watermark.generator(latest)
    assert.deepStrictEqual([10, 10, 10].map((timestamp) => custom.observe(timestamp, undefined)), [7, 7, 8])
    assert.strictEqual(custom.regressions, 1)
  })

  const rules = fc.oneof(
    fc.integer({ min: 0, max: 50 }).map((bound) => Watermark.boundedOutOfOrderness(bound)),
    fc.constantFrom<Watermark.Watermark<Mark>>(Watermark.monotonic, marks, latest)
  )
  const records = fc.array(fc.tuple(timestamps, fc.record({ upTo: fc.option(timestamps, { nil: undefined }) })))

  it("never goes back", () =>
    check(fc.property(rules, records, (rule, records) => {
      const generator = Watermark.generator(rule)
      let before = generator.current
      for (const [timestamp, value] of records) {
        const after = generator.observe(timestamp, value)
        assert.isTrue(after >= before)
        assert.strictEqual(generator.current, after)
        before = after
      }
    })))

  it("goes on after a restore as if nothing had happened (V1.8), byte by byte", () =>
    check(fc.property(rules, records, records, (rule, before, after) => {
      const first = Watermark.generator(rule)
      for (const [timestamp, value] of before) first.observe(timestamp, value)
      const saved = JSON.stringify(first.snapshot())
      const second = Watermark.generator(rule)
      second.restore(JSON.parse(saved))
      assert.strictEqual(JSON.stringify(second.snapshot()), saved)
      assert.strictEqual(second.current, first.current)
      for (const [timestamp, value] of after) {
        assert.strictEqual(second.observe(timestamp, value), first.observe(timestamp, value))
      }
      assert.strictEqual(second.regressions, first.regressions)
    })))

  it("does not go back when a restore finds a larger bound", () => {
    const before = Watermark.generator(Watermark.boundedOutOfOrderness(1))
    before.observe(100, undefined)
    const after = Watermark.generator(Watermark.boundedOutOfOrderness(50))
    after.restore(before.snapshot())
    assert.deepStrictEqual([101, 150].map((timestamp) => after.observe(timestamp, undefined)), [98, 99])
  })

  it("refuses a snapshot that is none", () => {
    for (const watermark of [Watermark.monotonic, marks, latest]) {
      assert.throws(() => Watermark.generator<Mark>(watermark).restore({ current: "yesterday" }))
    }
  })

  it("refuses bounds that are negative, not whole or endless", () => {
    for (const bound of [-1, 0.5, NaN, Infinity, "-1 second", "Infinity", "soon" as "1 second"] as const) {
      try {
        Watermark.boundedOutOfOrderness(bound)
      } catch (error) {
        assert.instanceOf(error, Watermark.InvalidWatermark)
        assert.match(
          (error as Watermark.InvalidWatermark).message,
          /^Watermark\.boundedOutOfOrderness: bound is .+; give a whole number of milliseconds, 0 or more/
        )
        continue
      }
      assert.fail(`accepted ${bound}`)
    }
  })

  it("describes itself", () => {
    assert.deepStrictEqual(
      [Watermark.boundedOutOfOrderness("5 seconds"), Watermark.monotonic, marks, latest].map(Watermark.describe),
      [
        "boundedOutOfOrderness(5000 ms)",
        "monotonic",
        "punctuated",
        "custom"
      ]
    )
  })

  it("is a value that pipes, and is told from others", () => {
    assert.strictEqual(Watermark.monotonic.pipe(Watermark.describe), "monotonic")
    assert.isTrue(Watermark.isWatermark(marks))
    assert.isFalse(Watermark.isWatermark({ _tag: "Monotonic" }))
    // Contravariant: a rule for any record serves a flow of marks.
    const wider: Watermark.Watermark<Mark> = Watermark.boundedOutOfOrderness(1)
    // @ts-expect-error a rule for marks does not serve any record
    const narrower: Watermark.Watermark = marks
    assert.notStrictEqual(wider, narrower)
  })
})
