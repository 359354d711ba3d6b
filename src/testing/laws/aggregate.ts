/** The laws every aggregate must keep, whatever it computes. */
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Aggregate from "../../Aggregate.ts"
import { arbitraryOf, between, type Checks, forAll, holds, type Law, law, same, type Values } from "./law.ts"

/** An input with its event time. */
type Timed<In> = readonly [input: In, time: number]

/**
 * @since 0.1.0
 * @category models
 */
export interface AggregateOptions<In> extends Checks {
  /** Inputs that the aggregate takes. */
  readonly values: Values<In>
  /** The schema of the flow's elements, for aggregates that keep them. */
  readonly element?: Schema.Codec<In, unknown>
  /** Set for one whose answer depends on the order of arrival, which nothing in Millrace does. */
  readonly seesArrival?: true
}

/**
 * What windows, partitions and checkpoints rely on: `zero` and `merge` are a monoid, inputs may be split and merged in any
 * way, and in any order if each has a time of its own, nothing is changed in place, and what is saved is all.
 *
 * @since 0.1.0
 * @category laws
 */
export const aggregate = <In, Acc, Out>(
  self: Aggregate.Aggregate<In, Acc, Out>,
  options: AggregateOptions<In>
): ReadonlyArray<Law> => {
  const input = arbitraryOf(options.values)
  const timed = (from: number, to: number): Arbitrary.Arbitrary<Timed<In>> => Arbitrary.all([input, between(from, to)])
  // Few times, so that many inputs share one.
  const stretch = Arbitrary.array(timed(-3, 3), { maxLength: 12 })
  const absorb = (inputs: ReadonlyArray<Timed<In>>, from: Acc = self.zero) =>
    inputs.reduce((acc, [input, time]) => self.add(acc, input, time), from)
  const agree = (found: Acc, expected: Acc, at = "") => same(self.done(found), self.done(expected), at)
  const always = <A>(name: string, cases: Arbitrary.Arbitrary<A>, property: (value: A) => void) =>
    law("aggregate", name, forAll(cases, property, options))

  const laws = [
    always("zero is the identity of merge", stretch, (xs) => {
      const acc = absorb(xs)
      agree(self.merge(self.zero, acc), acc, "merge(zero, a) and a")
      agree(self.merge(acc, self.zero), acc, "merge(a, zero) and a")
    }),

    always("merge is associative", Arbitrary.all([stretch, stretch, stretch]), ([xs, ys, zs]) => {
      const [a, b, c] = [absorb(xs), absorb(ys), absorb(zs)] as const
      agree(self.merge(self.merge(a, b), c), self.merge(a, self.merge(b, c)), "merge(merge(a, b), c)")
    }),

    always(
      "any split folds to the same answer",
      Arbitrary.all([Arbitrary.array(stretch, { maxLength: 5 }), stretch]),
      ([stretches, rest]) => {
        const merged = stretches.map((xs) => absorb(xs)).reduce((a, b) => self.merge(a, b), self.zero)
        agree(
          absorb(rest, merged),
          absorb([...stretches.flat(), ...rest]),
          "folded apart and merged, then the rest added"
        )
      }
    ),

    always(
      "fold is what simultaneous inputs give",
      Arbitrary.all([Arbitrary.array(input, { maxLength: 12 }), between(-1000, 1000)]),
      ([inputs, time]) => {
        const acc = absorb(inputs.map((input) => [input, time] as const))
        same(self.done(acc), Aggregate.fold(self, inputs))
      }
    ),

    always("add and merge change none of their arguments", Arbitrary.all([stretch, stretch]), ([xs, ys]) => {
      const [a, b] = [absorb(xs), absorb(ys)] as const
      // What `done` answers may be changed with the accumulator: so it is computed anew, from another one.
      const before = [self.done(absorb(xs)), self.done(absorb(ys)), self.done(absorb([]))]
      absorb(ys, a)
      self.merge(a, b)
      self.merge(b, a)
      absorb(xs, self.merge(a, b))
      same([self.done(a), self.done(b), self.done(self.zero)], before, "a, b and zero after add and merge")
    }),

    law(
      "aggregate",
      "a checkpoint between any two inputs changes nothing",
      Effect.suspend(() => {
        const state = self.state(options.element)
        holds(state !== undefined, "a schema of its state, or `element`", state)
        const codec = Schema.toCodecJson(state!)
        const save = Schema.encodeSync(codec)
        const restore = Schema.decodeUnknownSync(codec)
        return forAll(Arbitrary.all([stretch, stretch]), ([xs, ys]) => {
          const saved = JSON.stringify(save(absorb(xs)))
          // What the schema of the state decodes is an accumulator.
          const restored = restore(JSON.parse(saved)) as Acc
          agree(absorb(ys, restored), absorb(ys, absorb(xs)), `restored from ${saved}, then the rest added`)
          agree(self.merge(absorb(ys), restored), self.merge(absorb(ys), absorb(xs)), `${saved} merged into the rest`)
          same(JSON.stringify(save(restored)), saved, "restored and saved again")
        }, options)
      })
    )
  ]
  if (options.seesArrival !== undefined) return laws

  const ranked = Arbitrary.map(
    Arbitrary.array(Arbitrary.all([timed(-1000, 1000), between(0, 1000)]), { maxLength: 16 }),
    (all) => all.filter(([[, time]], at) => all.findIndex(([[, other]]) => other === time) === at)
  )
  return [
    ...laws,
    always(
      "any order of arrival gives the same answer where each input has a time of its own",
      Arbitrary.all([ranked, between(0, 16)]),
      ([inputs, cut]) => {
        const expected = absorb(inputs.map(([one]) => one))
        const shuffled = inputs.toSorted(([, a], [, b]) => a - b).map(([one]) => one)
        const [a, b] = [absorb(shuffled.slice(0, cut)), absorb(shuffled.slice(cut))] as const
        agree(absorb(shuffled), expected, "in the order of the second numbers")
        agree(self.merge(a, b), expected, "in that order, in two parts")
        agree(self.merge(b, a), expected, "in that order, in two parts, the second first")
      }
    )
  ]
}
