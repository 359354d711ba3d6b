import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as fc from "fast-check"
import * as Aggregate from "../../src/Aggregate.ts"
import { lawRuns } from "./runs.ts"

/** An input with its event time. */
type Timed<In> = readonly [input: In, time: number]

/** The laws every aggregate must keep, whatever it computes. */
export const aggregateLaws = <In, Acc, Out>(
  name: string,
  self: Aggregate.Aggregate<In, Acc, Out>,
  options: {
    readonly inputs: fc.Arbitrary<In>
    /** The schema of the flow's elements, for aggregates that keep them. */
    readonly element?: Schema.Codec<In, unknown>
    /** Set for one of your own whose answer depends on the order of arrival, which nothing in the module's does. */
    readonly seesArrival?: true
  }
) => {
  const timed = (time: fc.Arbitrary<number>): fc.Arbitrary<Timed<In>> => fc.tuple(options.inputs, time)
  // Few times, so that many inputs share one.
  const stretch = fc.array(timed(fc.integer({ min: -3, max: 3 })), { maxLength: 12 })
  const absorb = (inputs: ReadonlyArray<Timed<In>>, from: Acc = self.zero) =>
    inputs.reduce((acc, [input, time]) => self.add(acc, input, time), from)
  const same = (a: Acc, b: Acc) => assert.deepStrictEqual(self.done(a), self.done(b))
  const check = <Ts extends [unknown, ...Array<unknown>]>(property: fc.IProperty<Ts>) =>
    fc.assert(property, { numRuns: lawRuns(100) })

  describe(`${name} keeps the laws`, () => {
    it("zero is the identity of merge", () =>
      check(fc.property(stretch, (xs) => {
        const acc = absorb(xs)
        same(self.merge(self.zero, acc), acc)
        same(self.merge(acc, self.zero), acc)
      })))

    it("merge is associative", () =>
      check(fc.property(stretch, stretch, stretch, (xs, ys, zs) => {
        const [a, b, c] = [absorb(xs), absorb(ys), absorb(zs)] as const
        same(self.merge(self.merge(a, b), c), self.merge(a, self.merge(b, c)))
      })))

    it("any split folds to the same answer", () =>
      check(fc.property(fc.array(stretch, { maxLength: 5 }), stretch, (stretches, rest) => {
        const merged = stretches.map((xs) => absorb(xs)).reduce(self.merge, self.zero)
        same(absorb(rest, merged), absorb([...stretches.flat(), ...rest]))
      })))

    it("fold is what simultaneous inputs give", () =>
      check(fc.property(fc.array(options.inputs, { maxLength: 12 }), fc.integer(), (inputs, time) => {
        const acc = absorb(inputs.map((input) => [input, time] as const))
        assert.deepStrictEqual(self.done(acc), Aggregate.fold(self, inputs))
      })))

    if (options.seesArrival === undefined) {
      it("any permutation with its own times gives the same answer, in any split and order of merging", () => {
        const distinct = fc.uniqueArray(timed(fc.integer()), { maxLength: 16, selector: ([, time]) => time })
        const permuted = distinct.chain((inputs) =>
          fc.tuple(
            fc.constant(inputs),
            fc.shuffledSubarray(inputs, { minLength: inputs.length }),
            fc.nat(inputs.length)
          )
        )
        check(fc.property(permuted, ([inputs, shuffled, cut]) => {
          const expected = absorb(inputs)
          const [a, b] = [absorb(shuffled.slice(0, cut)), absorb(shuffled.slice(cut))] as const
          same(absorb(shuffled), expected)
          same(self.merge(a, b), expected)
          same(self.merge(b, a), expected)
        }))
      })
    }

    it("add and merge change none of their arguments", () =>
      check(fc.property(stretch, stretch, (xs, ys) => {
        const [a, b] = [absorb(xs), absorb(ys)] as const
        const before = [self.done(a), self.done(b), self.done(self.zero)]
        absorb(ys, a)
        self.merge(a, b)
        self.merge(b, a)
        absorb(xs, self.merge(a, b))
        assert.deepStrictEqual([self.done(a), self.done(b), self.done(self.zero)], before)
      })))

    it("a checkpoint between any two inputs changes nothing", () => {
      const state = self.state(options.element)
      assert.isDefined(state)
      const codec = Schema.toCodecJson(state!)
      const save = Schema.encodeSync(codec)
      const restore = Schema.decodeUnknownSync(codec)
      check(fc.property(stretch, stretch, (xs, ys) => {
        const saved = JSON.stringify(save(absorb(xs)))
        const restored = restore(JSON.parse(saved)) as Acc
        same(absorb(ys, restored), absorb(ys, absorb(xs)))
        same(self.merge(absorb(ys), restored), self.merge(absorb(ys), absorb(xs)))
        assert.strictEqual(JSON.stringify(save(restored)), saved)
      }))
    })
  })
}
