/**
 * Composable folds whose accumulators can be shared, merged, checkpointed and restored.
 *
 * An `Aggregate<In, Acc, Out>` is a value, never a running thing: a starting accumulator, a way to add one input, a way to
 * merge the accumulators of two stretches of input, a view of the answer, and a codec for the accumulator. Windows, tables
 * and joins all fold through it, so what is written once as an aggregate can be windowed, partitioned and recovered.
 *
 * **Laws**, for what `done` shows of an accumulator:
 *
 * 1. `zero` is the identity of `merge`, and `merge` is associative.
 * 2. `merge(self, add(that, input))` equals `add(merge(self, that), input)`: any split folds to the same answer.
 * 3. `decode(encode(acc))` equals `acc`.
 * 4. `add` and `merge` change none of their arguments.
 * 5. Inputs of different times give the same answer in whatever order they come and are merged.
 *
 * Law 5 is what makes an answer independent of how a flow is partitioned and of how late its records came. Every aggregate of
 * this module keeps it; one of your own need not, as `merge` need not be commutative: `self` came first. Sums of fractional
 * numbers keep laws 1, 2 and 5 up to the last bits, as no float sum is associative.
 *
 * @since 0.1.0
 */
import { dual, identity } from "effect/Function"
import * as Option from "effect/Option"
import type { Order } from "effect/Order"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import { hasProperty, type Predicate, type Refinement } from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import type { Contravariant, Covariant } from "effect/Types"
import { numbersPass } from "./internal/machine/stateCodec.ts"
import { ExactNumber, printed } from "./internal/numbers.ts"
import { earliest, Extended, inOrder, isRope, Joined, noItems, type Rope } from "./internal/rope.ts"

const TypeId = "~millrace/Aggregate"

/**
 * What to compute over the elements of a window, a group or a table.
 *
 * *Details.* Contravariant in `In`, covariant in `Out`. `Acc` is covariant on purpose: only the aggregate itself feeds its
 * accumulator back, so `Aggregate<In, unknown, Out>` is the form that combinators accept. The members below are what the
 * engine calls; call them on the accumulators of the same aggregate only. `time`, the event time of the input in epoch
 * milliseconds, is there to put inputs in order and to break ties by when things happened rather than by when they arrived.
 *
 * @category models
 * @since 0.1.0
 */
export interface Aggregate<in In, out Acc, out Out> extends Pipeable {
  readonly [TypeId]: {
    readonly _In: Contravariant<In>
    readonly _Acc: Covariant<Acc>
    readonly _Out: Covariant<Out>
  }
  /** What it computes, in words that stay the same from run to run, such as `filter(sum)`. */
  readonly label: string
  /** The accumulator of no input. */
  readonly zero: Acc
  /** The accumulator after one more input, which happened at `time`; 0 where there is no event time. */
  add(acc: Acc, input: In, time: number): Acc
  /** The accumulator of two stretches of input, of which `self` came first. */
  merge(self: Acc, that: Acc): Acc
  /** The answer so far. */
  done(acc: Acc): Out
  /** Which whole records the accumulator keeps, and so whose schema its codec needs. */
  readonly records: Records
  /** Whether `state` depends on a schema for whole records that the aggregate itself was not given. */
  readonly keepsRecords: boolean
  /** The codec of the accumulator, given the schema of the flow's elements; `undefined` when `records` cannot be encoded. */
  state(element: Schema.Codec<unknown, unknown> | undefined): Schema.Codec<Acc, unknown> | undefined
}

/**
 * Whose schema encodes the whole records that an accumulator keeps.
 *
 * *Details.* `"none"`: it keeps none, or brings their schema. `"flow"`: it keeps the flow's elements, so that the flow must
 * have a schema (`Flow.typed`). `"mapped"`: it keeps what `mapInput` made of them, which the flow's schema does not
 * describe, so that only a schema of its own helps (`collect({ schema })`).
 *
 * @category models
 * @since 0.1.0
 */
export type Records = "none" | "flow" | "mapped"

/**
 * One aggregate per field of `Out`, all over the same input; `Out` is inferred from the fields.
 *
 * @category models
 * @since 0.1.0
 */
export type Fields<In, Out> = { readonly [Name in keyof Out]: Aggregate<In, unknown, Out[Name]> }

/**
 * What an aggregate answers with.
 *
 * @category models
 * @since 0.1.0
 */
export type Output<A> = A extends Aggregate<never, unknown, infer Out> ? Out : never

/**
 * What every one of a union of aggregates accepts: the intersection of their inputs.
 *
 * @category models
 * @since 0.1.0
 */
export type InputOfAll<A> = (A extends Aggregate<infer In, unknown, unknown> ? (input: In) => void : never) extends
  (input: infer All) => void ? All : never

/**
 * An aggregate was built from an option that has no meaning.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidAggregate extends Schema.TaggedError<InvalidAggregate>("millrace/Aggregate/InvalidAggregate")(
  "InvalidAggregate",
  { aggregate: Schema.String, option: Schema.String, value: Schema.Unknown }
) {
  override get message(): string {
    return `Aggregate.${this.aggregate}: ${this.option} is ${printed(this.value)}; give a whole number, 0 or more`
  }
}

const variance = { _In: identity, _Acc: identity, _Out: identity }

const Proto = {
  [TypeId]: variance,
  pipe() {
    return pipeArguments(this, arguments)
  }
}

type Members<In, Acc, Out> = Omit<Aggregate<In, Acc, Out>, typeof TypeId | "pipe" | "keepsRecords">

const fromMembers = <In, Acc, Out>(members: Members<In, Acc, Out>): Aggregate<In, Acc, Out> => {
  // One order of assignment, so that all aggregates have one hidden class and the engine's calls stay monomorphic.
  const self = Object.create(Proto)
  self.label = members.label
  self.zero = members.zero
  self.add = members.add
  self.merge = members.merge
  self.done = members.done
  self.records = members.records
  self.keepsRecords = members.records !== "none"
  self.state = members.state
  return self
}

/** A codec of `A` by way of something simpler. */
const codecBy = <E, A>(
  via: Schema.Codec<E, unknown>,
  is: (u: unknown) => u is A,
  both: { readonly decode: (encoded: E) => A; readonly encode: (value: A) => E }
): Schema.Codec<A, unknown> => via.pipe(Schema.decodeTo(Schema.declare(is), SchemaTransformation.transform(both)))

/**
 * Returns whether a value is an aggregate.
 *
 * @category guards
 * @since 0.1.0
 */
export const isAggregate = (u: unknown): u is Aggregate<never, unknown, unknown> => hasProperty(u, TypeId)

// -------------------------------------------------------------------------------------------------------------------
// constructors
// -------------------------------------------------------------------------------------------------------------------

/**
 * Makes an aggregate from its parts.
 *
 * *Details.* `add` may leave out `time`. `merge(self, that)`: `self` came first. `state` is how the accumulator is written to
 * checkpoints and to disk.
 *
 * *Gotchas.* Accumulators are shared between snapshots: `add` and `merge` must return new ones and change none. The laws at
 * the top of this module are for you to keep; `fold` is what they are measured against. `Schema.Number` writes −0 as 0.
 *
 * ```ts run
 * import { Schema } from "effect"
 * import { Aggregate } from "millrace"
 *
 * const product = Aggregate.make({
 *   zero: 1,
 *   add: (product, factor: number) => product * factor,
 *   merge: (self, that) => self * that,
 *   done: (product) => product,
 *   state: Schema.Number
 * })
 *
 * Aggregate.fold(product, [2, 3, 4]) // => 24
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <In, Acc, Out>(options: {
  readonly zero: Acc
  readonly add: (acc: Acc, input: In, time: number) => Acc
  readonly merge: (self: Acc, that: Acc) => Acc
  readonly done: (acc: Acc) => Out
  readonly state: Schema.Codec<Acc, unknown>
}): Aggregate<In, Acc, Out> =>
  fromMembers({
    label: "make",
    zero: options.zero,
    add: options.add,
    merge: options.merge,
    done: options.done,
    records: "none",
    state: () => options.state
  })

/**
 * Counts inputs of any type, exactly up to 2^53.
 *
 * ```ts run
 * import { Aggregate } from "millrace"
 *
 * Aggregate.fold(Aggregate.count, ["a", "b", "c"]) // => 3
 * ```
 *
 * @category aggregates
 * @since 0.1.0
 */
export const count: Aggregate<unknown, number, number> = fromMembers({
  label: "count",
  zero: 0,
  add: (acc) => acc + 1,
  merge: (self, that) => self + that,
  done: identity,
  records: "none",
  state: () => Schema.Number
})

/** A running sum and the low bits it has lost so far. A class, so that V8 gives its instances one hidden class. */
class Compensated {
  readonly sum: number
  readonly lost: number
  constructor(sum: number, lost: number) {
    this.sum = sum
    this.lost = lost
  }
}

/** A bare number has lost nothing: sums of whole numbers, the common case, then cost half as much and stay readable. */
type Sum = number | Compensated

const isSum = (u: unknown): u is Sum => typeof u === "number" || u instanceof Compensated

/** Once a sum has overflowed, what it lost has no meaning: without it, an infinite sum stays infinite. */
const sumOf = (sum: number, lost: number): Sum => lost === 0 || sum - sum !== 0 ? sum : new Compensated(sum, lost)

/** Neumaier's step: the smaller of the two is the one whose low bits the addition has lost. */
const addSum = (acc: Sum, input: number): Sum => {
  const before = typeof acc === "number" ? acc : acc.sum
  const lost = typeof acc === "number" ? 0 : acc.lost
  const sum = before + input
  return sumOf(
    sum,
    lost + (Math.abs(before) >= Math.abs(input) ? (before - sum) + input : (input - sum) + before)
  )
}

const mergeSum = (self: Sum, that: Sum): Sum => {
  if (typeof that === "number") return addSum(self, that)
  const total = addSum(self, that.sum)
  return typeof total === "number" ? sumOf(total, that.lost) : sumOf(total.sum, total.lost + that.lost)
}

const valueOfSum = (acc: Sum): number => typeof acc === "number" ? acc : acc.sum + acc.lost

/**
 * Adds up a number of each input.
 *
 * *Details.* Compensated (A. Neumaier, *Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen*, 1974): the
 * low bits that float addition loses are carried along, so `1e16`, `1` and `-1e16` give 1 in every order. Any `NaN` makes
 * the sum `NaN`. The sum of nothing, and of nothing but −0, is 0.
 *
 * *Gotchas.* Whole numbers are exact up to 2^53. A running sum beyond ±1.8e308 is infinite and stays so.
 *
 * ```ts run
 * import { Aggregate } from "millrace"
 *
 * const spent = Aggregate.sum((payment: { readonly amount: number }) => payment.amount)
 *
 * Aggregate.fold(spent, [{ amount: 3 }, { amount: 4 }]) // => 7
 * Aggregate.fold(Aggregate.sum((n: number) => n), [1e16, 1, -1e16]) // => 1
 * ```
 *
 * @category aggregates
 * @since 0.1.0
 */
export const sum = <In>(f: (input: In) => number): Aggregate<In, unknown, number> =>
  fromMembers<In, Sum, number>({
    label: "sum",
    zero: 0,
    add: (acc, input) => addSum(acc, f(input)),
    merge: mergeSum,
    done: valueOfSum,
    records: "none",
    state: () => sumState
  })

const sumState = codecBy(Schema.Tuple([ExactNumber, ExactNumber]), isSum, {
  decode: ([sum, lost]): Sum => lost === 0 ? sum : new Compensated(sum, lost),
  encode: (acc) => typeof acc === "number" ? [acc, 0] as const : [acc.sum, acc.lost] as const
}).annotate({ [numbersPass]: true })

/** A class for the same reason as `Compensated`. */
class Mean {
  readonly total: Sum
  readonly count: number
  constructor(total: Sum, count: number) {
    this.total = total
    this.count = count
  }
}

const isMean = (u: unknown): u is Mean => u instanceof Mean

const noMean = new Mean(0, 0)

/**
 * The arithmetic mean of a number of each input; `Option.none()` when there was none.
 *
 * *Details.* The sum behind it is compensated as in {@link sum}, with the same answers for `NaN` and the infinities.
 *
 * ```ts run
 * import { Option } from "effect"
 * import { Aggregate } from "millrace"
 *
 * const mean = Aggregate.avg((n: number) => n)
 *
 * Aggregate.fold(mean, [1, 2, 6]) // => Option.some(3)
 * Aggregate.fold(mean, []) // => Option.none()
 * ```
 *
 * @category aggregates
 * @since 0.1.0
 */
export const avg = <In>(f: (input: In) => number): Aggregate<In, unknown, Option.Option<number>> =>
  fromMembers<In, Mean, Option.Option<number>>({
    label: "avg",
    zero: noMean,
    add: (acc, input) => new Mean(addSum(acc.total, f(input)), acc.count + 1),
    merge: (self, that) =>
      that.count === 0
        ? self
        : self.count === 0
        ? that
        : new Mean(mergeSum(self.total, that.total), self.count + that.count),
    done: (acc) => acc.count === 0 ? Option.none() : Option.some(valueOfSum(acc.total) / acc.count),
    records: "none",
    state: () => meanState
  })

const meanState = codecBy(Schema.Struct({ total: sumState, count: Schema.Number }), isMean, {
  decode: ({ total, count }) => new Mean(total, count),
  encode: ({ total, count }) => ({ total, count })
})

/** The least or largest number so far; `undefined` before the first. `NaN` only while there was nothing else. */
type Extreme = number | undefined

const extremeState: Schema.Codec<Extreme, unknown> = codecBy(
  Schema.NullOr(ExactNumber),
  (u: unknown): u is Extreme => u === undefined || typeof u === "number",
  { decode: (encoded): Extreme => encoded ?? undefined, encode: (acc) => acc ?? null }
).annotate({ [numbersPass]: true })

const extreme = (label: string, choose: (self: number, that: number) => number) => {
  const merge = (self: Extreme, that: Extreme): Extreme =>
    // A NaN loses to any number; `choose` would let it win.
    self === undefined || self !== self ? that ?? self : that === undefined || that !== that ? self : choose(self, that)
  return <In>(f: (input: In) => number): Aggregate<In, number | undefined, Option.Option<number>> =>
    fromMembers<In, Extreme, Option.Option<number>>({
      label,
      zero: undefined,
      add: (acc, input) => merge(acc, f(input)),
      merge,
      done: Option.fromUndefinedOr,
      records: "none",
      state: () => extremeState
    })
}

/**
 * The least number of all inputs; `Option.none()` when there was none.
 *
 * *Details.* `NaN` is ignored unless there is nothing else, and −0 is less than 0.
 *
 * ```ts run
 * import { Option } from "effect"
 * import { Aggregate } from "millrace"
 *
 * Aggregate.fold(Aggregate.min((n: number) => n), [3, NaN, 2]) // => Option.some(2)
 * ```
 *
 * @category aggregates
 * @since 0.1.0
 */
export const min: <In>(f: (input: In) => number) => Aggregate<In, number | undefined, Option.Option<number>> = extreme(
  "min",
  Math.min
)

/**
 * The largest number of all inputs; `Option.none()` when there was none.
 *
 * *Details.* `NaN` is ignored unless there is nothing else, and 0 is larger than −0.
 *
 * @category aggregates
 * @since 0.1.0
 */
export const max: <In>(f: (input: In) => number) => Aggregate<In, number | undefined, Option.Option<number>> = extreme(
  "max",
  Math.max
)

/** A record, its time, and its rank, kept so that a record whose `f` throws is refused when it comes, not later. */
class Ranked<out In, out B> {
  readonly record: In
  readonly time: number
  readonly rank: B
  constructor(record: In, time: number, rank: B) {
    this.record = record
    this.time = time
    this.rank = rank
  }
}

/** `compare` is negative when the first of its arguments is to be preferred. */
const chosenBy = <In, B>(
  label: string,
  f: (input: In) => B,
  compare: (rank: B, than: B) => number,
  schema: Schema.Codec<In, unknown> | undefined
): Aggregate<In, unknown, Option.Option<In>> => {
  const isAhead = (rank: B, time: number, than: Ranked<In, B>): boolean => {
    const compared = compare(rank, than.rank)
    return compared < 0 || (compared === 0 && time < than.time)
  }
  return fromMembers<In, Ranked<In, B> | undefined, Option.Option<In>>({
    label,
    zero: undefined,
    add: (acc, record, time) => {
      const rank = f(record)
      return acc === undefined || isAhead(rank, time, acc) ? new Ranked(record, time, rank) : acc
    },
    merge: (self, that) =>
      self === undefined || (that !== undefined && isAhead(that.rank, that.time, self)) ? that : self,
    done: (acc) => acc === undefined ? Option.none() : Option.some(acc.record),
    records: schema === undefined ? "flow" : "none",
    state: (element) => {
      // The element schema of the flow decodes to what this aggregate takes: Job.make pairs the two.
      const codec = schema ?? element as Schema.Codec<In, unknown> | undefined
      return codec === undefined ? undefined : codecBy(
        Schema.NullOr(Schema.Struct({ time: Schema.Number, record: codec })),
        (u): u is Ranked<In, B> | undefined => u === undefined || u instanceof Ranked,
        {
          decode: (kept) => kept === null ? undefined : new Ranked(kept.record, kept.time, f(kept.record)),
          encode: (acc) => acc === undefined ? null : { time: acc.time, record: acc.record }
        }
      )
    }
  })
}

/**
 * The input with the least `f`; `Option.none()` when there was none.
 *
 * *Details.* A tie goes to the input of the earlier time, then to the one that came first. Give an `Order` without ties to be
 * independent of both. Give `schema` for what a `mapInput` made; else the flow's schema encodes the input.
 *
 * ```ts run
 * import { Option, Order } from "effect"
 * import { Aggregate } from "millrace"
 *
 * const shortest = Aggregate.minBy((word: string) => word.length, Order.Number)
 *
 * Aggregate.fold(shortest, ["mill", "ox", "go"]) // => Option.some("ox")
 * ```
 *
 * @category aggregates
 * @since 0.1.0
 */
export const minBy = <In, B>(
  f: (input: In) => NoInfer<B>,
  order: Order<B>,
  options?: { readonly schema?: Schema.Codec<In, unknown> }
): Aggregate<In, unknown, Option.Option<In>> => chosenBy<In, B>("minBy", f, order, options?.schema)

/**
 * The input with the largest `f`; `Option.none()` when there was none.
 *
 * *Details.* Ties and `schema` are as in {@link minBy}: a tie goes to the input of the earlier time.
 *
 * @category aggregates
 * @since 0.1.0
 */
export const maxBy = <In, B>(
  f: (input: In) => NoInfer<B>,
  order: Order<B>,
  options?: { readonly schema?: Schema.Codec<In, unknown> }
): Aggregate<In, unknown, Option.Option<In>> =>
  chosenBy<In, B>("maxBy", f, (rank, than) => -order(rank, than), options?.schema)

/**
 * Keeps the inputs themselves, in order of their times; inputs of one time in the order in which they came.
 *
 * *Details.* `atMost` keeps so many of the earliest and forgets the rest; the state is never more than twice that. Give
 * `schema` for what a `mapInput` made; else the flow's schema encodes the inputs.
 *
 * *Gotchas.* Without `atMost` the state is as large as the window.
 *
 * *Errors.* Throws `InvalidAggregate` when `atMost` is not a whole number, 0 or more.
 *
 * ```ts run
 * import { Aggregate } from "millrace"
 *
 * Aggregate.fold(Aggregate.collect<string>({ atMost: 2 }), ["a", "b", "c"]) // => ["a", "b"]
 * ```
 *
 * @category aggregates
 * @since 0.1.0
 */
export const collect = <In>(options?: {
  readonly atMost?: number
  readonly schema?: Schema.Codec<In, unknown>
}): Aggregate<In, unknown, ReadonlyArray<In>> => {
  const atMost = options?.atMost ?? Infinity
  const schema = options?.schema
  if (atMost !== Infinity && (!Number.isSafeInteger(atMost) || atMost < 0)) {
    throw new InvalidAggregate({ aggregate: "collect", option: "atMost", value: atMost })
  }
  return fromMembers<In, Rope<In>, ReadonlyArray<In>>({
    label: atMost === Infinity ? "collect" : `collect(at most ${atMost})`,
    zero: noItems,
    add: (acc, input, time) => {
      // Once there are enough, an input as late as the latest of them cannot be one of the earliest: the usual case.
      if (acc.length >= atMost && time >= acc.latest) return acc
      const next = new Extended(acc, input, time)
      return next.length >= 2 * atMost ? earliest(next, atMost) : next
    },
    merge: (self, that) => {
      if (that.length === 0) return self
      if (self.length === 0) return that
      const both = new Joined(self, that)
      return both.length >= 2 * atMost ? earliest(both, atMost) : both
    },
    // A copy, as the caller may change it.
    done: (acc) => earliest(acc, atMost).items.slice(),
    records: schema === undefined ? "flow" : "none",
    state: (element) => {
      // The element schema of the flow decodes to what this aggregate takes: Job.make pairs the two.
      const codec = schema ?? element as Schema.Codec<In, unknown> | undefined
      return codec === undefined ? undefined : codecBy(
        Schema.Array(Schema.Tuple([Schema.Number, codec])),
        (u): u is Rope<In> => isRope(u),
        {
          decode: (timed): Rope<In> => inOrder(timed.map(([, item]) => item), timed.map(([time]) => time)),
          encode: (acc) => {
            const { items, times } = earliest(acc, atMost)
            return items.map((item, i) => [times[i]!, item] as const)
          }
        }
      )
    }
  })
}

// -------------------------------------------------------------------------------------------------------------------
// several in one pass
// -------------------------------------------------------------------------------------------------------------------

type Member = Aggregate<unknown, unknown, unknown>

const recordsOfAll = (members: ReadonlyArray<Member>): Records =>
  members.some((member) => member.records === "mapped")
    ? "mapped"
    : members.some((member) => member.records === "flow")
    ? "flow"
    : "none"

const isArrayOf = (length: number) => (u: unknown): u is ReadonlyArray<unknown> =>
  Array.isArray(u) && u.length === length

/** All members over the same input; their accumulators in an array, by position. */
const all = <Out>(options: {
  readonly label: string
  readonly members: ReadonlyArray<Member>
  readonly done: (outs: Array<unknown>) => Out
  readonly state: (
    codecs: ReadonlyArray<Schema.Codec<unknown, unknown>>
  ) => Schema.Codec<ReadonlyArray<unknown>, unknown>
}): Aggregate<unknown, ReadonlyArray<unknown>, Out> => {
  const { members } = options
  const width = members.length
  return fromMembers<unknown, ReadonlyArray<unknown>, Out>({
    label: options.label,
    zero: members.map((member) => member.zero),
    add: (accs, input, time) => {
      // Copies on the first change only: members that filter the input out cost no allocation.
      let next: Array<unknown> | undefined
      for (let i = 0; i < width; i++) {
        const acc = accs[i]
        const added = members[i]!.add(acc, input, time)
        if (added !== acc) (next ??= accs.slice())[i] = added
      }
      return next ?? accs
    },
    merge: (self, that) => members.map((member, i) => member.merge(self[i], that[i])),
    done: (accs) => options.done(members.map((member, i) => member.done(accs[i]))),
    records: recordsOfAll(members),
    state: (element) => {
      const codecs: Array<Schema.Codec<unknown, unknown>> = []
      for (const member of members) {
        const codec = member.state(element)
        if (codec === undefined) return undefined
        codecs.push(codec)
      }
      return options.state(codecs)
    }
  })
}

const byPosition = (label: string, members: ReadonlyArray<Member>) =>
  all({
    label: `${label}(${members.map((member) => member.label).join(", ")})`,
    members,
    done: identity,
    state: (codecs) => Schema.Tuple(codecs)
  })

/**
 * Several aggregates in one pass, as one value with the same field names.
 *
 * *Details.* The accumulators are written by field name, so that fields may change places. In a flow, lambdas inside see
 * the type of its elements; on its own, the input is what all fields accept.
 *
 * ```ts run
 * import { Aggregate } from "millrace"
 *
 * const stats = Aggregate.struct({ count: Aggregate.count, total: Aggregate.sum((n: number) => n) })
 *
 * Aggregate.fold(stats, [3, 1, 2]) // => { count: 3, total: 6 }
 * ```
 *
 * @category combining
 * @since 0.1.0
 */
export const struct: {
  <In, Out>(fields: Fields<In, Out>): Aggregate<In, unknown, { readonly [Name in keyof Out]: Out[Name] }>
  <F extends { readonly [name: string]: Aggregate<never, unknown, unknown> }>(
    fields: F
  ): Aggregate<InputOfAll<F[keyof F]>, unknown, { readonly [Name in keyof F]: Output<F[Name]> }>
} = <In, Out>(fields: Fields<In, Out>): Aggregate<In, unknown, { readonly [Name in keyof Out]: Out[Name] }> => {
  const names = Object.keys(fields)
  // `Fields` is a mapped type over an unknown `Out`: by name, each field is an aggregate of the same input.
  const members = names.map((name) => (fields as Readonly<Record<string, Member>>)[name]!)
  const named = (values: ReadonlyArray<unknown>) =>
    Object.fromEntries(names.map((name, i) => [name, values[i]] as const))
  const self = all({
    label: `struct(${names.map((name, i) => `${name}: ${members[i]!.label}`).join(", ")})`,
    members,
    done: named,
    state: (codecs) =>
      codecBy(
        Schema.Struct(Object.fromEntries(names.map((name, i) => [name, codecs[i]!] as const))),
        isArrayOf(names.length),
        {
          decode: (encoded) => names.map((name) => encoded[name]),
          encode: named
        }
      )
  })
  return self as Aggregate<In, unknown, { readonly [Name in keyof Out]: Out[Name] }>
}

/**
 * Several aggregates in one pass, by position.
 *
 * @category combining
 * @since 0.1.0
 */
export const tuple: {
  <In, Out extends readonly [unknown, ...ReadonlyArray<unknown>]>(
    aggregates: Fields<In, Out>
  ): Aggregate<In, unknown, { readonly [Position in keyof Out]: Out[Position] }>
  <const F extends readonly [Aggregate<never, unknown, unknown>, ...ReadonlyArray<Aggregate<never, unknown, unknown>>]>(
    aggregates: F
  ): Aggregate<InputOfAll<F[number]>, unknown, { readonly [Position in keyof F]: Output<F[Position]> }>
} = <In, Out extends readonly [unknown, ...ReadonlyArray<unknown>]>(
  aggregates: Fields<In, Out>
): Aggregate<In, unknown, { readonly [Position in keyof Out]: Out[Position] }> =>
  // A mapped tuple over an unknown `Out`: by position, each is an aggregate of the same input.
  byPosition("tuple", aggregates as unknown as ReadonlyArray<Member>) as Aggregate<In, unknown, unknown> as Aggregate<
    In,
    unknown,
    { readonly [Position in keyof Out]: Out[Position] }
  >

/**
 * Two aggregates in one pass, as a pair.
 *
 * *Gotchas.* Lambdas inside see the type of the flow's elements only in {@link struct} and {@link tuple}.
 *
 * @category combining
 * @since 0.1.0
 */
export const zip: {
  <In, Acc2, Out2>(
    that: Aggregate<In, Acc2, Out2>
  ): <Acc, Out>(self: Aggregate<In, Acc, Out>) => Aggregate<In, readonly [Acc, Acc2], readonly [Out, Out2]>
  <In, Acc, Out, Acc2, Out2>(
    self: Aggregate<In, Acc, Out>,
    that: Aggregate<In, Acc2, Out2>
  ): Aggregate<In, readonly [Acc, Acc2], readonly [Out, Out2]>
} = dual(
  2,
  <In, Acc, Out, Acc2, Out2>(
    self: Aggregate<In, Acc, Out>,
    that: Aggregate<In, Acc2, Out2>
  ): Aggregate<In, readonly [Acc, Acc2], readonly [Out, Out2]> =>
    // Two members by position: what `byPosition` knows only as an array is this pair.
    byPosition("zip", [self as Aggregate<unknown, Acc, Out>, that as Aggregate<unknown, Acc2, Out2>]) as Aggregate<
      unknown,
      unknown,
      unknown
    > as Aggregate<In, readonly [Acc, Acc2], readonly [Out, Out2]>
)

// -------------------------------------------------------------------------------------------------------------------
// mapping
// -------------------------------------------------------------------------------------------------------------------

/**
 * Transforms the answer.
 *
 * ```ts run
 * import { Aggregate } from "millrace"
 *
 * const total = Aggregate.map(Aggregate.sum((n: number) => n), (total) => total.toFixed(2))
 *
 * Aggregate.fold(total, [1, 2.5]) // => "3.50"
 * ```
 *
 * @category mapping
 * @since 0.1.0
 */
export const map: {
  <Out, Out2>(f: (out: Out) => Out2): <In, Acc>(self: Aggregate<In, Acc, Out>) => Aggregate<In, Acc, Out2>
  <In, Acc, Out, Out2>(self: Aggregate<In, Acc, Out>, f: (out: Out) => Out2): Aggregate<In, Acc, Out2>
} = dual(
  2,
  <In, Acc, Out, Out2>(self: Aggregate<In, Acc, Out>, f: (out: Out) => Out2): Aggregate<In, Acc, Out2> =>
    fromMembers<In, Acc, Out2>({
      label: `map(${self.label})`,
      zero: self.zero,
      add: self.add,
      merge: self.merge,
      done: (acc) => f(self.done(acc)),
      records: self.records,
      state: self.state
    })
)

/**
 * Feeds an aggregate from another type of input.
 *
 * *Gotchas.* An aggregate that keeps whole records then keeps what `f` returns, which the flow's schema does not describe:
 * give it a schema of its own, as in `Aggregate.collect({ schema: Schema.String })`.
 *
 * ```ts run
 * import { Schema } from "effect"
 * import { Aggregate } from "millrace"
 *
 * const ids = Aggregate.mapInput(Aggregate.collect({ schema: Schema.String }), (user: { readonly id: string }) => user.id)
 *
 * Aggregate.fold(ids, [{ id: "ada" }, { id: "grace" }]) // => ["ada", "grace"]
 * ```
 *
 * @category mapping
 * @since 0.1.0
 */
export const mapInput: {
  <In2, In>(f: (input: In2) => In): <Acc, Out>(self: Aggregate<In, Acc, Out>) => Aggregate<In2, Acc, Out>
  <In, Acc, Out, In2>(self: Aggregate<In, Acc, Out>, f: (input: In2) => In): Aggregate<In2, Acc, Out>
} = dual(
  2,
  <In, Acc, Out, In2>(self: Aggregate<In, Acc, Out>, f: (input: In2) => In): Aggregate<In2, Acc, Out> =>
    fromMembers<In2, Acc, Out>({
      label: `mapInput(${self.label})`,
      zero: self.zero,
      add: (acc, input, time) => self.add(acc, f(input), time),
      merge: self.merge,
      done: self.done,
      records: self.records === "none" ? "none" : "mapped",
      state: () => self.state(undefined)
    })
)

/**
 * Adds only the inputs that satisfy a predicate; a refinement widens what the aggregate accepts.
 *
 * ```ts run
 * import { Aggregate } from "millrace"
 *
 * const large = Aggregate.filter(Aggregate.count, (amount: number) => amount > 100)
 *
 * Aggregate.fold(large, [50, 150, 250]) // => 2
 * ```
 *
 * @category mapping
 * @since 0.1.0
 */
export const filter: {
  <In2, In extends In2>(
    refinement: Refinement<In2, In>
  ): <Acc, Out>(self: Aggregate<In, Acc, Out>) => Aggregate<In2, Acc, Out>
  <In>(predicate: Predicate<NoInfer<In>>): <Acc, Out>(self: Aggregate<In, Acc, Out>) => Aggregate<In, Acc, Out>
  // This overload fixes the types of lambdas without annotation, even when it does not apply. So they must see the input
  // here already: the predicate by `In2 = In`, those inside the aggregate by the second half of the union.
  <In, Acc, Out, In2 = In>(
    self: Aggregate<In, Acc, Out> | Aggregate<NoInfer<In2>, Acc, Out>,
    refinement: (input: In2) => input is In2 & In
  ): Aggregate<In2, Acc, Out>
  <In, Acc, Out>(self: Aggregate<In, Acc, Out>, predicate: Predicate<In>): Aggregate<In, Acc, Out>
} = dual(
  2,
  <In, Acc, Out>(self: Aggregate<In, Acc, Out>, predicate: Predicate<In>): Aggregate<In, Acc, Out> =>
    fromMembers<In, Acc, Out>({
      label: `filter(${self.label})`,
      zero: self.zero,
      add: (acc, input, time) => predicate(input) ? self.add(acc, input, time) : acc,
      merge: self.merge,
      done: self.done,
      records: self.records,
      state: self.state
    })
)

// -------------------------------------------------------------------------------------------------------------------
// running
// -------------------------------------------------------------------------------------------------------------------

/**
 * Folds a finite collection: the reference meaning, which every runtime must match.
 *
 * *Details.* The inputs count as simultaneous, so that their order is the order of arrival.
 *
 * @category running
 * @since 0.1.0
 */
export const fold: {
  <In>(inputs: Iterable<In>): <Acc, Out>(self: Aggregate<In, Acc, Out>) => Out
  <In, Acc, Out>(self: Aggregate<In, Acc, Out>, inputs: Iterable<In>): Out
} = dual(2, <In, Acc, Out>(self: Aggregate<In, Acc, Out>, inputs: Iterable<In>): Out => {
  let acc = self.zero
  for (const input of inputs) acc = self.add(acc, input, 0)
  return self.done(acc)
})
