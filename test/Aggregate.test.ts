import { assert, describe, it } from "@effect/vitest"
import { Option, Order, pipe, Predicate, Schema } from "effect"
import * as fc from "fast-check"
import * as Aggregate from "../src/Aggregate.ts"
import { ExactNumber } from "../src/internal/numbers.ts"
import { aggregateLaws } from "./laws/aggregateLaws.ts"
import { runs } from "./laws/runs.ts"

const Payment = Schema.Struct({ id: Schema.String, amount: Schema.Number })
interface Payment extends Schema.Schema.Type<typeof Payment> {}

const self = <A>(a: A) => a
const numbers = (...values: ReadonlyArray<number>) => values
const permutations = <A>(values: ReadonlyArray<A>): ReadonlyArray<ReadonlyArray<A>> =>
  values.length === 0
    ? [[]]
    : values.flatMap((value, i) => permutations(values.toSpliced(i, 1)).map((rest) => [value, ...rest]))

/** The accumulator of inputs that happen at the times given, or all at once. */
const absorb = <In, Acc, Out>(
  aggregate: Aggregate.Aggregate<In, Acc, Out>,
  inputs: ReadonlyArray<In>,
  timeOf: (input: In) => number = () => 0,
  from: Acc = aggregate.zero
): Acc => inputs.reduce((acc, input) => aggregate.add(acc, input, timeOf(input)), from)

/** Every way of cutting the inputs in two, each folded apart and merged. */
const inEverySplit = <In, Acc, Out>(
  aggregate: Aggregate.Aggregate<In, Acc, Out>,
  inputs: ReadonlyArray<In>,
  timeOf?: (input: In) => number
) =>
  Array.from({ length: inputs.length + 1 }, (_, cut) =>
    aggregate.done(aggregate.merge(
      absorb(aggregate, inputs.slice(0, cut), timeOf),
      absorb(aggregate, inputs.slice(cut), timeOf)
    )))

const assertAlways = <In, Acc, Out>(
  aggregate: Aggregate.Aggregate<In, Acc, Out>,
  inputs: ReadonlyArray<In>,
  expected: Out
) => {
  for (const order of permutations(inputs)) {
    assert.deepStrictEqual(Aggregate.fold(aggregate, order), expected)
    for (const out of inEverySplit(aggregate, order)) assert.deepStrictEqual(out, expected)
  }
}

const sum = Aggregate.sum<number>(self)
const avg = Aggregate.avg<number>(self)
const min = Aggregate.min<number>(self)
const max = Aggregate.max<number>(self)

// Sums of these are exact, so that the laws hold to the last bit.
const whole = fc.oneof(fc.integer(), fc.constantFrom(-0, 2 ** 40, -(2 ** 40)))
const wild = fc.oneof(whole, fc.constantFrom(NaN, Infinity, -Infinity, 1e16, 0.1, -0.3))
const special = fc.oneof(whole, fc.constantFrom(NaN, Infinity, -Infinity))
const payment: fc.Arbitrary<Payment> = fc.record(
  { id: fc.string(), amount: fc.constantFrom(0, 1, 2, NaN) },
  { noNullPrototype: true }
)

describe("Aggregate", () => {
  describe("laws", () => {
    const laws: Record<string, () => void> = {
      count: () => aggregateLaws("count", Aggregate.count, { inputs: fc.anything() }),
      sum: () => aggregateLaws("sum", sum, { inputs: special }),
      avg: () => aggregateLaws("avg", avg, { inputs: special }),
      min: () => aggregateLaws("min", min, { inputs: wild }),
      max: () => aggregateLaws("max", max, { inputs: wild }),
      minBy: () => {
        const minBy = Aggregate.minBy((payment: Payment) => payment.amount, Order.Number)
        aggregateLaws("minBy", minBy, { inputs: payment, element: Payment })
      },
      maxBy: () => {
        const maxBy = Aggregate.maxBy((payment: Payment) => payment.amount, Order.Number, { schema: Payment })
        aggregateLaws("maxBy", maxBy, { inputs: payment })
      },
      collect: () => {
        aggregateLaws("collect", Aggregate.collect<Payment>(), { inputs: payment, element: Payment })
        aggregateLaws("collect at most 4", Aggregate.collect({ atMost: 4, schema: Schema.Date }), {
          inputs: fc.date({ noInvalidDate: true })
        })
        aggregateLaws("collect at most 0", Aggregate.collect({ atMost: 0, schema: Schema.BigInt }), {
          inputs: fc.bigInt()
        })
      },
      struct: () =>
        aggregateLaws("struct", Aggregate.struct({ total: sum, least: min, all: Aggregate.collect<number>() }), {
          inputs: whole,
          element: ExactNumber
        }),
      tuple: () => aggregateLaws("tuple", Aggregate.tuple([Aggregate.count, avg, max]), { inputs: whole }),
      zip: () => aggregateLaws("zip", Aggregate.zip(Aggregate.count, min), { inputs: wild }),
      map: () => aggregateLaws("map", Aggregate.map(sum, String), { inputs: special }),
      mapInput: () =>
        aggregateLaws(
          "mapInput",
          Aggregate.mapInput(Aggregate.collect({ schema: Schema.String }), (payment: Payment) => payment.id),
          { inputs: payment }
        ),
      filter: () => aggregateLaws("filter", Aggregate.filter(sum, (n) => n > 0), { inputs: special }),
      make: () => {
        const earlier = Order.Struct({ time: Order.Number, text: Order.String })
        const Last = Schema.Struct({ text: Schema.String, time: ExactNumber })
        aggregateLaws(
          "make with a time",
          Aggregate.make({
            zero: { text: "", time: -Infinity },
            add: (last, text: string, time) => Order.max(earlier)(last, { text, time }),
            merge: Order.max(earlier),
            done: (last) => last.text,
            state: Last
          }),
          { inputs: fc.string() }
        )
        aggregateLaws(
          "make without a time",
          Aggregate.make({
            zero: "",
            add: (text, input: string) => text + input,
            merge: (self, that) => self + that,
            done: (text) => text,
            state: Schema.String
          }),
          { inputs: fc.string(), seesArrival: true }
        )
      }
    }
    for (const register of Object.values(laws)) register()

    it("cover everything that makes an aggregate", () => {
      const notAggregates = ["fold", "isAggregate", "InvalidAggregate"]
      assert.deepStrictEqual(
        Object.keys(Aggregate).filter((name) => !notAggregates.includes(name)).sort(),
        Object.keys(laws).sort()
      )
    })
  })

  describe("sum", () => {
    it("gives what the low bits say, in every order and every split (V8.68)", () => {
      assertAlways(sum, numbers(1e16, 1, -1e16), 1)
      assertAlways(sum, numbers(1, 1e100, 1, -1e100), 2)
      assertAlways(avg, numbers(1e16, 3, -1e16), Option.some(1))
    })

    it("is NaN as soon as one input is (V8.66)", () => {
      assertAlways(sum, numbers(1, NaN, 2, Infinity), NaN)
      assertAlways(sum, numbers(Infinity, -Infinity), NaN)
      assertAlways(avg, numbers(1, NaN, 0.1), Option.some(NaN))
    })

    it("keeps infinities", () => {
      assertAlways(sum, numbers(0.1, Infinity, 1e16, -0.3), Infinity)
      assertAlways(sum, numbers(0.1, -Infinity, 1e16), -Infinity)
      assertAlways(avg, numbers(0.1, Infinity, -0.3), Option.some(Infinity))
      assert.strictEqual(Aggregate.fold(sum, [1e308, 1e308]), Infinity)
    })

    it("is never -0 (V8.67)", () => {
      assert.isTrue(Object.is(Aggregate.fold(sum, []), 0))
      assertAlways(sum, numbers(-0), 0)
      assertAlways(sum, numbers(-0, -0), 0)
      assertAlways(sum, numbers(0.1, -0.1), 0)
      assertAlways(avg, numbers(-0), Option.some(0))
    })

    it("stays within the bound of Neumaier's method, in any order and split", () => {
      // Exact, as every double is a whole number of 2^-1074.
      const units = (n: number): bigint => {
        const bits = new DataView(new ArrayBuffer(8))
        bits.setFloat64(0, n)
        const word = bits.getBigUint64(0)
        const exponent = (word >> 52n) & 0x7ffn
        const fraction = word & 0xfffffffffffffn
        const size = exponent === 0n ? fraction : (fraction | 0x10000000000000n) << (exponent - 1n)
        return word >> 63n === 0n ? size : -size
      }
      const abs = (n: bigint) => n < 0n ? -n : n
      const double = fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e300, max: 1e300 })
      fc.assert(
        fc.property(fc.array(double, { maxLength: 30 }), (inputs) => {
          const exact = inputs.reduce((total, input) => total + units(input), 0n)
          const size = inputs.reduce((total, input) => total + abs(units(input)), 0n)
          const n = BigInt(inputs.length)
          // |error| <= u |exact| + (n u)^2 size with u = 2^-53, twice as much to cover the merges.
          const bound = 2n * (abs(exact) >> 53n) + 2n * (n * n * size >> 106n) + 2n
          for (const out of [Aggregate.fold(sum, inputs), ...inEverySplit(sum, inputs)]) {
            assert.isTrue(abs(units(out) - exact) <= bound)
          }
        }),
        { numRuns: runs(200) }
      )
    })
  })

  describe("min and max", () => {
    it("ignore NaN unless there is nothing else (V8.66)", () => {
      assertAlways(min, numbers(3, NaN, 2), Option.some(2))
      assertAlways(max, numbers(3, NaN, 2), Option.some(3))
      assertAlways(min, numbers(NaN, NaN), Option.some(NaN))
      assertAlways(max, numbers(NaN, Infinity), Option.some(Infinity))
      assertAlways(min, numbers(NaN, Infinity), Option.some(Infinity))
    })

    it("know -0 from 0 (V8.67)", () => {
      assertAlways(min, numbers(0, -0), Option.some(-0))
      assertAlways(max, numbers(0, -0), Option.some(0))
      const codec = Schema.toCodecJson(min.state(undefined)!)
      const restored = Schema.decodeUnknownSync(codec)(JSON.parse(JSON.stringify(Schema.encodeSync(codec)(-0))))
      assert.isTrue(Object.is(restored, -0))
    })
  })

  it("has none to give for no input (V8.70)", () => {
    const none = Option.none()
    for (
      const aggregate of [
        avg,
        min,
        max,
        Aggregate.minBy<number, number>(self, Order.Number),
        Aggregate.maxBy<number, number>(self, Order.Number)
      ]
    ) {
      assert.deepStrictEqual<Option.Option<number>>(Aggregate.fold(aggregate, []), none)
    }
    assert.strictEqual(Aggregate.fold(Aggregate.count, []), 0)
    assert.deepStrictEqual(Aggregate.fold(Aggregate.collect(), []), [])
  })

  describe("minBy and maxBy", () => {
    const byAmount = (payment: Payment) => payment.amount
    const a = { id: "a", amount: 1 }
    const b = { id: "b", amount: 1 }
    const c = { id: "c", amount: 2 }
    const d = { id: "d", amount: 2 }

    it("give ties to the earlier time, in whatever order they come (V8.71)", () => {
      const times = new Map([[a, 4], [b, 3], [c, 2], [d, 1]])
      const timeOf = (payment: Payment) => times.get(payment)!
      for (const order of permutations([a, b, c, d])) {
        for (const out of inEverySplit(Aggregate.minBy(byAmount, Order.Number), order, timeOf)) {
          assert.deepStrictEqual(out, Option.some(b))
        }
        for (const out of inEverySplit(Aggregate.maxBy(byAmount, Order.Number), order, timeOf)) {
          assert.deepStrictEqual(out, Option.some(d))
        }
      }
    })

    it("give ties of one time to the input that came first (V8.71)", () => {
      for (const out of inEverySplit(Aggregate.minBy(byAmount, Order.Number), [c, a, b, d])) {
        assert.deepStrictEqual(out, Option.some(a))
      }
      for (const out of inEverySplit(Aggregate.maxBy(byAmount, Order.Number), [a, c, b, d])) {
        assert.deepStrictEqual(out, Option.some(c))
      }
    })

    it("carry the time across a checkpoint", () => {
      const first = Aggregate.minBy(byAmount, Order.Number, { schema: Payment })
      const codec = Schema.toCodecJson(first.state(undefined)!)
      const saved = Schema.encodeSync(codec)(first.add(first.zero, a, 5))
      assert.deepStrictEqual(saved, { time: 5, record: a })
      const restored = Schema.decodeUnknownSync(codec)(saved)
      assert.deepStrictEqual(first.done(first.add(restored, b, 5)), Option.some(a))
      assert.deepStrictEqual(first.done(first.add(restored, b, 4)), Option.some(b))
    })

    it("with an order without ties do not see the order of arrival (V8.71)", () => {
      const total = Order.Struct({ amount: Order.Number, id: Order.String })
      assertAlways(Aggregate.minBy((payment: Payment) => payment, total), [a, b, c, d], Option.some(a))
      assertAlways(Aggregate.maxBy((payment: Payment) => payment, total), [a, b, c, d], Option.some(d))
    })

    it("blame the record on which f throws, not the next one", () => {
      const strict = Aggregate.minBy((payment: Payment | undefined) => payment!.amount, Order.Number)
      assert.throws(() => strict.add(strict.zero, undefined, 0))
    })
  })

  describe("collect", () => {
    const collect = Aggregate.collect<number>()
    const million = 1_000_000

    it("takes a million inputs without a deep stack, added or merged", () => {
      const inputs = Array.from({ length: million }, (_, i) => i)
      assert.strictEqual(Aggregate.fold(collect, inputs).length, million)
      const singles = inputs.map((i) => collect.add(collect.zero, i, 0))
      const fromLeft = singles.reduce((acc, one) => collect.merge(acc, one), collect.zero)
      const fromRight = singles.reduceRight((acc, one) => collect.merge(one, acc), collect.zero)
      for (const acc of [fromLeft, fromRight]) {
        const out = collect.done(acc)
        assert.strictEqual(out.length, million)
        assert.isTrue(out.every((value, i) => value === i))
      }
    })

    it("branches: two futures of one accumulator do not see each other", () => {
      const past = absorb(collect, [1, 2])
      const one = collect.add(past, 3, 0)
      const other = collect.add(past, 4, 0)
      assert.deepStrictEqual([past, one, other].map(collect.done), [[1, 2], [1, 2, 3], [1, 2, 4]])
    })

    it("hands out an array of its own each time", () => {
      const codec = Schema.toCodecJson(collect.state(Schema.Number)!)
      const acc = Schema.decodeUnknownSync(codec)([[0, 1], [0, 2]])
      ;(collect.done(acc) as Array<number>).push(3)
      assert.deepStrictEqual(collect.done(acc), [1, 2])
    })

    it("answers in order of time, ties in order of arrival", () => {
      const words = ["cat", "a", "dog", "an", "I", "emu", "of"]
      for (const out of inEverySplit(Aggregate.collect<string>(), words, (word) => word.length)) {
        assert.deepStrictEqual(out, ["a", "I", "an", "of", "cat", "dog", "emu"])
      }
    })

    it("keeps so many of the earliest: of one time, those that came first", () => {
      const two = Aggregate.collect<number>({ atMost: 2 })
      for (const out of inEverySplit(two, [1, 2, 3, 4])) assert.deepStrictEqual(out, [1, 2])
      for (const order of permutations([1, 2, 3, 4, 5])) {
        for (const out of inEverySplit(two, order, self)) assert.deepStrictEqual(out, [1, 2])
      }
    })

    it("holds fewer than twice as many as it keeps, and saves no more than those", () => {
      const five = Aggregate.collect({ atMost: 5, schema: Schema.Number })
      const sizeOf = (acc: unknown) => (acc as { readonly length: number }).length
      const save = Schema.encodeSync(Schema.toCodecJson(five.state(undefined)!))
      let descending = five.zero
      let merged = five.zero
      for (let i = 0; i < 1000; i++) {
        descending = five.add(descending, i, -i)
        merged = five.merge(absorb(five, [i, i + 0.25, i + 0.5, i + 0.75], (n) => -n), merged)
        assert.isBelow(sizeOf(descending), 10)
        assert.isBelow(sizeOf(merged), 10)
      }
      assert.deepStrictEqual(save(descending), [999, 998, 997, 996, 995].map((i) => [-i, i]))
      assert.deepStrictEqual(five.done(merged), [999.75, 999.5, 999.25, 999, 998.75])
      const ascending = absorb(five, [1, 2, 3, 4, 5], self)
      assert.strictEqual(five.add(ascending, 6, 6), ascending)
    })

    it("refuses an atMost that is no count", () => {
      for (const atMost of [-1, 1.5, NaN, -Infinity]) {
        assert.throws(() => Aggregate.collect({ atMost }), /Aggregate\.collect: atMost is .*; give a whole number/)
      }
    })
  })

  describe("records", () => {
    const collect = Aggregate.collect<Payment>()
    const own = Aggregate.collect({ schema: Payment })

    it("says whose schema it needs", () => {
      const cases = [
        [Aggregate.count, "none"],
        [collect, "flow"],
        [own, "none"],
        [Aggregate.minBy((payment: Payment) => payment.amount, Order.Number), "flow"],
        [Aggregate.minBy((payment: Payment) => payment.amount, Order.Number, { schema: Payment }), "none"],
        [Aggregate.map(collect, (payments) => payments.length), "flow"],
        [Aggregate.filter(collect, (payment) => payment.amount > 1), "flow"],
        [Aggregate.mapInput(collect, (id: string) => ({ id, amount: 1 })), "mapped"],
        [Aggregate.mapInput(own, (id: string) => ({ id, amount: 1 })), "none"],
        [Aggregate.struct({ n: Aggregate.count, all: collect }), "flow"],
        [
          Aggregate.tuple([collect, Aggregate.mapInput(Aggregate.collect<string>(), (payment: Payment) => payment.id)]),
          "mapped"
        ],
        [Aggregate.zip(Aggregate.count, own), "none"]
      ] as const
      for (const [aggregate, records] of cases) {
        assert.strictEqual(aggregate.records, records)
        assert.strictEqual(aggregate.keepsRecords, records !== "none")
        assert.strictEqual(aggregate.state(undefined) === undefined, records !== "none")
        assert.strictEqual(aggregate.state(Payment) === undefined, records === "mapped")
      }
    })

    it("uses its own schema before the flow's", () => {
      const codec = Aggregate.collect({ schema: Schema.FiniteFromString }).state(Schema.Number)!
      const acc = Schema.decodeUnknownSync(Schema.toCodecJson(codec))([[7, "1"], [8, "2"]])
      assert.deepStrictEqual(Schema.encodeSync(Schema.toCodecJson(codec))(acc), [[7, "1"], [8, "2"]])
    })
  })

  it("struct writes accumulators by name, so that fields may change places", () => {
    const before = Aggregate.struct({ count: Aggregate.count, total: sum })
    const after = Aggregate.struct({ total: sum, count: Aggregate.count })
    const saved = Schema.encodeSync(Schema.toCodecJson(before.state(undefined)!))(
      absorb(before, [1, 2])
    )
    assert.deepStrictEqual(saved, { count: 2, total: [3, 0] })
    assert.deepStrictEqual(after.done(Schema.decodeUnknownSync(Schema.toCodecJson(after.state(undefined)!))(saved)), {
      count: 2,
      total: 3
    })
  })

  it("struct and filter return the very accumulator that an input leaves as it is", () => {
    const large = Aggregate.struct({ n: Aggregate.filter(Aggregate.count, (n: number) => n > 9) })
    assert.strictEqual(large.add(large.zero, 1, 0), large.zero)
  })

  it("has a label that says what it computes", () => {
    assert.strictEqual(
      Aggregate.struct({
        n: Aggregate.filter(Aggregate.count, Predicate.isString),
        pair: Aggregate.tuple([sum, Aggregate.collect({ atMost: 2 })])
      })
        .label,
      "struct(n: filter(count), pair: tuple(sum, collect(at most 2)))"
    )
  })

  it("is a value that pipes, and is told from others", () => {
    const strings = Aggregate.count.pipe(Aggregate.filter(Predicate.isString), Aggregate.map(String))
    assert.strictEqual(Aggregate.fold(strings, ["a", 1, "b"]), "2")
    assert.strictEqual(pipe(sum, Aggregate.fold(numbers(1, 2))), 3)
    assert.isTrue(Aggregate.isAggregate(strings))
    assert.isFalse(Aggregate.isAggregate({ zero: 0 }))
    assert.isFalse(Aggregate.isAggregate(Aggregate.collect))
  })
})

// -------------------------------------------------------------------------------------------------------------------
// What the compiler infers, in the position in which a flow takes its aggregates. Checked by `tsc`, never called.
// -------------------------------------------------------------------------------------------------------------------

interface Of<out A> {
  readonly of: A
  pipe<B>(f: (self: this) => B): B
}
declare const aggregate: <A, Out>(
  fields: Aggregate.Fields<A, Out>
) => (self: Of<A>) => { readonly [Name in keyof Out]: Out[Name] }
type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
type True<T extends true> = T

export const inference = (payments: Of<Payment>) => {
  const out = payments.pipe(aggregate({
    count: Aggregate.count,
    spent: Aggregate.sum((payment) => payment.amount),
    mean: Aggregate.avg((payment) => payment.amount),
    least: Aggregate.min((payment) => payment.amount),
    largest: Aggregate.maxBy((payment) => payment.amount, Order.Number),
    everything: Aggregate.collect(),
    both: Aggregate.tuple([Aggregate.count, Aggregate.sum((payment) => payment.amount)]),
    nested: Aggregate.struct({ n: Aggregate.count, s: Aggregate.sum((payment) => payment.amount) }),
    text: Aggregate.map(Aggregate.sum((payment) => payment.amount), (sum) => sum.toFixed(2)),
    large: Aggregate.filter(Aggregate.count, (payment) => payment.amount > 100),
    ids: Aggregate.mapInput(Aggregate.collect<string>(), (payment) => payment.id),
    typedIds: Aggregate.mapInput(Aggregate.collect({ schema: Schema.String }), (payment) => payment.id),
    own: Aggregate.minBy((payment) => payment.amount, Order.Number, { schema: Payment }),
    cards: Aggregate.collect<Payment>().pipe(
      Aggregate.map((payments) => new Set(payments.map((payment) => payment.id)).size)
    ),
    product: Aggregate.make({
      zero: 1,
      add: (product, payment) => product * payment.amount,
      merge: (self, that) => self * that,
      done: (product) => product.toFixed(2),
      state: Schema.Number
    })
  }))
  type Out = typeof out
  type Checks = [
    True<Equal<Out["count"], number>>,
    True<Equal<Out["spent"], number>>,
    True<Equal<Out["mean"], Option.Option<number>>>,
    True<Equal<Out["least"], Option.Option<number>>>,
    True<Equal<Out["largest"], Option.Option<Payment>>>,
    True<Equal<Out["everything"], ReadonlyArray<Payment>>>,
    True<Equal<Out["both"], readonly [number, number]>>,
    True<Equal<Out["nested"], { readonly n: number; readonly s: number }>>,
    True<Equal<Out["text"], string>>,
    True<Equal<Out["large"], number>>,
    True<Equal<Out["ids"], ReadonlyArray<string>>>,
    True<Equal<Out["typedIds"], ReadonlyArray<string>>>,
    True<Equal<Out["own"], Option.Option<Payment>>>,
    True<Equal<Out["cards"], number>>,
    True<Equal<Out["product"], string>>
  ]
  const stats = { count: Aggregate.count, spent: Aggregate.sum((payment: Payment) => payment.amount) }
  payments.pipe(aggregate({ ...stats, least: Aggregate.min((payment) => payment.amount) }))
  const wider: Aggregate.Aggregate<Payment, unknown, number | string> = Aggregate.sum((
    value: { readonly amount: number }
  ) => value.amount)
  const zipped: Aggregate.Aggregate<Payment, unknown, readonly [number, number]> = Aggregate.zip(
    Aggregate.count,
    stats.spent
  )
  const total: number = Aggregate.fold(stats.spent, [])

  const alone = Aggregate.struct({
    n: Aggregate.count,
    pair: Aggregate.tuple([stats.spent, Aggregate.sum((value: { readonly fee: number }) => value.fee)])
  })
  type Alone = True<
    Equal<
      typeof alone,
      Aggregate.Aggregate<
        Payment & { readonly fee: number },
        unknown,
        { readonly n: number; readonly pair: readonly [number, number] }
      >
    >
  >
  const largeOnly: Aggregate.Aggregate<Payment, unknown, number> = Aggregate.filter(
    stats.spent,
    (payment) => payment.amount > 1
  )
  const strings: Aggregate.Aggregate<unknown, unknown, ReadonlyArray<string>> = Aggregate.filter(
    Aggregate.collect<string>(),
    Predicate.isString
  )

  const clickTime = Aggregate.max((click: { readonly page: string }) => click.page.length)
  // @ts-expect-error an aggregate over other elements
  payments.pipe(aggregate({ last: clickTime }))
  // @ts-expect-error a typo in a lambda
  payments.pipe(aggregate({ spent: Aggregate.sum((payment) => payment.amont) }))
  // @ts-expect-error an aggregate that is not one
  payments.pipe(aggregate({ n: Aggregate.collect }))
  // @ts-expect-error a schema of other elements
  payments.pipe(aggregate({ all: Aggregate.collect({ schema: Schema.String }) }))
  // @ts-expect-error an accumulator is covariant only for those who do not feed it back
  const narrower: Aggregate.Aggregate<Payment, never, number> = stats.spent
  // @ts-expect-error inputs are contravariant
  const anything: Aggregate.Aggregate<unknown, unknown, number> = stats.spent
  return {
    checks: null as Checks | Alone | null,
    values: [wider, zipped, total, largeOnly, strings, narrower, anything]
  }
}
