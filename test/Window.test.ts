import { assert, describe, it } from "@effect/vitest"
import { Duration, pipe } from "effect"
import * as fc from "fast-check"
import * as Window from "../src/Window.ts"
import { lawRuns } from "./laws/runs.ts"

const starts = (window: Window.Window, timestamp: number) => Window.assign(window, timestamp).map(({ start }) => start)
const check = <Ts extends [unknown, ...Array<unknown>]>(property: fc.IProperty<Ts>) =>
  fc.assert(property, { numRuns: lawRuns(500) })

const asAligned = (window: Window.Window): Window.Aligned => {
  if (window._tag !== "Aligned") throw new Error(`not aligned: ${window._tag}`)
  return window
}

const timestamps = fc.oneof(
  fc.integer({ min: -1_000, max: 1_000 }),
  fc.integer({ min: -8_640_000_000_000_000, max: 8_640_000_000_000_000 })
)
const alignedWindows = fc.record({
  size: fc.integer({ min: 1, max: 100 }),
  every: fc.integer({ min: 1, max: 100 }),
  offset: fc.integer({ min: -300, max: 300 })
})

describe("Window", () => {
  describe("aligned windows", () => {
    it("hold negative timestamps (V3.20)", () => {
      const ten = Window.tumbling(10)
      assert.deepStrictEqual(Window.assign(ten, -1), [{ start: -10, end: 0 }])
      assert.deepStrictEqual(Window.assign(ten, -10), [{ start: -10, end: 0 }])
      assert.deepStrictEqual(Window.assign(ten, 0), [{ start: 0, end: 10 }])
      assert.deepStrictEqual(Window.assign(ten, -0), [{ start: 0, end: 10 }])
    })

    it("overlap, the earliest first (V3.21)", () => {
      const sliding = Window.sliding({ size: 10, every: 3 })
      assert.deepStrictEqual(starts(sliding, 0), [-9, -6, -3, 0])
      assert.deepStrictEqual(starts(sliding, 1), [-6, -3, 0])
      assert.deepStrictEqual(starts(sliding, 2), [-6, -3, 0])
      assert.deepStrictEqual(starts(sliding, 3), [-6, -3, 0, 3])
    })

    it("leave gaps when every exceeds size (V3.22)", () => {
      const sparse = Window.sliding({ size: 5, every: 10 })
      assert.deepStrictEqual(Window.assign(sparse, 7), [])
      assert.deepStrictEqual(Window.assign(sparse, 4), [{ start: 0, end: 5 }])
      assert.deepStrictEqual(Window.assign(sparse, 5), [])
      assert.deepStrictEqual(Window.assign(sparse, -6), [{ start: -10, end: -5 }])
    })

    it("mean the same with an offset and with its remainder (V3.23)", () => {
      for (const offset of [-11, -1, 9, 19, "-1001 millis"] as const) {
        const window = Window.tumbling(10, { offset })
        assert.deepStrictEqual(window, Window.tumbling(10, { offset: 9 }))
        assert.deepStrictEqual(Window.assign(window, 8), [{ start: -1, end: 9 }])
      }
      const far = Window.sliding({ size: 1_600, every: 700, offset: "-20000 days" })
      check(fc.property(timestamps, (timestamp) => {
        assert.isAtLeast(Window.assign(far, timestamp).length, 2)
      }))
    })

    it("are those that a search of every start finds", () =>
      check(fc.property(alignedWindows, fc.integer({ min: -500, max: 500 }), (options, timestamp) => {
        const found: Array<Window.Bounds> = []
        for (let k = -2_000; k <= 2_000; k++) {
          const start = k * options.every + options.offset
          if (start <= timestamp && timestamp < start + options.size) found.push({ start, end: start + options.size })
        }
        assert.deepStrictEqual(
          Window.assign(Window.sliding(options), timestamp),
          found.map(({ end, start }) => ({ start: start + 0, end: end + 0 }))
        )
      })))

    it("are exact over the whole range of dates, and never bounded by -0", () =>
      check(fc.property(alignedWindows, timestamps, (options, timestamp) => {
        const { every, offset, size } = options
        const bounds = Window.assign(Window.sliding(options), timestamp)
        assert.isTrue(bounds.length === Math.floor(size / every) || bounds.length === Math.ceil(size / every))
        bounds.forEach(({ end, start }, i) => {
          assert.isTrue(start <= timestamp && timestamp < end && end - start === size)
          assert.isTrue((start - offset) % every === 0)
          assert.isFalse(Object.is(start, -0) || Object.is(end, -0))
          if (i > 0) assert.strictEqual(start - bounds[i - 1]!.start, every)
        })
      })))

    it("are whole numbers of slices", () => {
      const window = asAligned(Window.sliding({ size: "10 minutes", every: "4 minutes", offset: "1 minute" }))
      assert.strictEqual(Window.sliceMillis(window), 120_000)
      assert.strictEqual(Window.sliceStart(window, 59_999), -60_000)
      assert.strictEqual(Window.sliceStart(window, 60_000), 60_000)
      check(fc.property(alignedWindows, timestamps, (options, timestamp) => {
        const window = asAligned(Window.sliding(options))
        const start = Window.sliceStart(window, timestamp)
        assert.isTrue(start <= timestamp && timestamp < start + window.sliceMillis)
        assert.isFalse(Object.is(start, -0))
        // All timestamps of a slice have the same windows.
        assert.deepStrictEqual(Window.assign(window, start), Window.assign(window, timestamp))
        assert.deepStrictEqual(Window.assign(window, start + window.sliceMillis - 1), Window.assign(window, timestamp))
      }))
    })
  })

  describe("sessions", () => {
    const gap = Window.session({ gap: 10 })
    const sessions = (...timestamps: ReadonlyArray<number>) =>
      Window.coalesce(gap, timestamps.flatMap((timestamp) => Window.assign(gap, timestamp)))

    it("merge when they touch (V3.24)", () => {
      assert.deepStrictEqual(sessions(0, 10), [{ start: 0, end: 20 }])
      assert.deepStrictEqual(sessions(0, 11), [{ start: 0, end: 10 }, { start: 11, end: 21 }])
      assert.deepStrictEqual(sessions(-0), [{ start: 0, end: 10 }])
    })

    it("merge when a record bridges them (V3.26)", () => {
      assert.deepStrictEqual(sessions(0, 5, 20, 25), [{ start: 0, end: 15 }, { start: 20, end: 35 }])
      assert.deepStrictEqual(sessions(0, 5, 20, 25, 13), [{ start: 0, end: 35 }])
    })

    it("are those of a linear scan, in whatever order the records come", () =>
      check(fc.property(fc.array(fc.integer({ min: -200, max: 200 }), { maxLength: 30 }), (timestamps) => {
        const expected: Array<{ start: number; end: number }> = []
        for (const timestamp of timestamps.toSorted((a, b) => a - b)) {
          const open = expected.at(-1)
          if (open !== undefined && timestamp - (open.end - 10) <= 10) open.end = timestamp + 10
          else expected.push({ start: timestamp + 0, end: timestamp + 10 })
        }
        assert.deepStrictEqual(sessions(...timestamps), expected)
      })))

    it("of other windows there are none to merge", () => {
      const bounds = [{ start: 5, end: 15 }, { start: 0, end: 10 }]
      assert.strictEqual(Window.coalesce(Window.sliding({ size: 10, every: 5 }), bounds), bounds)
    })
  })

  it("custom windows are what the function returns, the earliest first", () => {
    const window = Window.custom({
      name: "around",
      assign: (timestamp) => timestamp < 0 ? [] : [{ start: timestamp, end: timestamp + 5 }, { start: -5, end: -0 }],
      maxSize: "5 millis"
    })
    assert.deepStrictEqual(Window.assign(window, 2), [{ start: -5, end: 0 }, { start: 2, end: 7 }])
    assert.deepStrictEqual(Window.assign(window, -2), [])
    assert.strictEqual(window._tag === "Custom" && window.maxSizeMillis, 5)
  })

  describe("what is refused when built (V3.32)", () => {
    const refusal = (build: () => unknown) => {
      try {
        build()
      } catch (error) {
        assert.instanceOf(error, Window.InvalidWindow)
        return error as Window.InvalidWindow
      }
      return assert.fail("was accepted")
    }

    it("sizes, steps and gaps that are not whole and above 0", () => {
      const wrong = [
        0,
        -1,
        0.5,
        1.5,
        NaN,
        Infinity,
        "Infinity",
        "0 seconds",
        "-1 minute",
        1n,
        Duration.infinity
      ] as const
      for (const value of wrong) {
        assert.strictEqual(refusal(() => Window.tumbling(value)).option, "size")
        assert.strictEqual(refusal(() => Window.sliding({ size: value, every: 1 })).option, "size")
        assert.strictEqual(refusal(() => Window.sliding({ size: 1, every: value })).option, "every")
        assert.strictEqual(refusal(() => Window.session({ gap: value })).option, "gap")
        const custom = () => Window.custom({ name: "c", assign: () => [], maxSize: value })
        assert.strictEqual(refusal(custom).option, "maxSize")
      }
    })

    it("offsets that are not whole", () => {
      for (const offset of [0.5, NaN, Infinity, "-Infinity"] as const) {
        assert.strictEqual(refusal(() => Window.tumbling(10, { offset })).option, "offset")
      }
    })

    it("what is no duration at all, and names that are empty", () => {
      assert.strictEqual(refusal(() => Window.tumbling("one minute" as "1 minute")).value, "one minute")
      assert.strictEqual(refusal(() => Window.custom({ name: "", assign: () => [] })).option, "name")
    })

    it("with the option, the value and the remedy", () => {
      const error = refusal(() => Window.sliding({ size: "1 minute", every: "-5 seconds" }))
      assert.strictEqual(error._tag, "InvalidWindow")
      assert.strictEqual(
        error.message,
        "Window.sliding: every is \"-5 seconds\"; give a whole number of milliseconds above 0, such as \"1 minute\""
      )
      assert.match(refusal(() => Window.tumbling(0)).message, /^Window\.tumbling: size is 0; /)
    })
  })

  it("describes itself", () => {
    const described = [
      [Window.tumbling("1 minute"), "tumbling(60000 ms)"],
      [Window.sliding({ size: 10, every: 10, offset: -1 }), "tumbling(10 ms, offset 9 ms)"],
      [Window.sliding({ size: "1 minute", every: "10 seconds" }), "sliding(60000 ms every 10000 ms)"],
      [Window.sliding({ size: 5, every: 10, offset: 3 }), "sliding(5 ms every 10 ms, offset 3 ms)"],
      [Window.session({ gap: "30 minutes" }), "session(gap 1800000 ms)"],
      [Window.custom({ name: "shift", assign: () => [] }), "custom(\"shift\")"]
    ] as const
    for (const [window, text] of described) assert.strictEqual(Window.describe(window), text)
  })

  it("is a value that pipes, and is told from others", () => {
    const window = Window.tumbling("1 second")
    assert.deepStrictEqual(pipe(window, Window.assign(1)), window.pipe(Window.assign(1)))
    assert.isTrue(Window.isWindow(window))
    assert.isFalse(Window.isWindow({ _tag: "Aligned" }))
  })
})
