/**
 * How far event time has certainly come.
 *
 * A watermark `W`, in epoch milliseconds, asserts that no more records with a timestamp of `W` or less will come. It starts
 * at −Infinity and never goes back. A `Watermark` is the value that says how to tell; a `Generator` is that rule at work on
 * one partition.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import { ExactNumber, printed, wholeMillis } from "./internal/numbers.ts"

const TypeId = "~millrace/Watermark"

/**
 * A rule that derives watermarks from records; contravariant in the record.
 *
 * @category models
 * @since 0.1.0
 */
export type Watermark<A = unknown> = Bounded | Monotonic | Punctuated<A> | Custom<A>

/**
 * Records are out of order by no more than a bound: `W = largest timestamp − boundMillis − 1`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Bounded extends Pipeable {
  readonly [TypeId]: typeof TypeId
  readonly _tag: "Bounded"
  readonly boundMillis: number
}

/**
 * Records come in order of time: a bound of 0.
 *
 * @category models
 * @since 0.1.0
 */
export interface Monotonic extends Pipeable {
  readonly [TypeId]: typeof TypeId
  readonly _tag: "Monotonic"
  readonly boundMillis: 0
}

/**
 * Some records carry a watermark themselves.
 *
 * @category models
 * @since 0.1.0
 */
export interface Punctuated<in A> extends Pipeable {
  readonly [TypeId]: typeof TypeId
  readonly _tag: "Punctuated"
  readonly f: (value: A, timestamp: number) => number | undefined
}

/**
 * A rule with a state of its own; its type is known to the rule only.
 *
 * @category models
 * @since 0.1.0
 */
export interface Custom<in A> extends Pipeable {
  readonly [TypeId]: typeof TypeId
  readonly _tag: "Custom"
  readonly initial: unknown
  readonly observe: (state: unknown, timestamp: number, value: A) => unknown
  readonly watermark: (state: unknown) => number
  readonly state: Schema.Codec<unknown, unknown>
}

/**
 * A watermark was built from an option that has no meaning.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidWatermark extends Schema.TaggedError<InvalidWatermark>("millrace/Watermark/InvalidWatermark")(
  "InvalidWatermark",
  { watermark: Schema.Literals(["boundedOutOfOrderness"]), option: Schema.Literals(["bound"]), value: Schema.Unknown }
) {
  override get message(): string {
    return `Watermark.${this.watermark}: ${this.option} is ${printed(this.value)}; ` +
      "give a whole number of milliseconds, 0 or more, such as \"5 seconds\""
  }
}

const Proto = {
  [TypeId]: TypeId,
  pipe() {
    return pipeArguments(this, arguments)
  }
}

/**
 * Returns whether a value is a watermark rule.
 *
 * @category guards
 * @since 0.1.0
 */
export const isWatermark = (u: unknown): u is Watermark<never> => hasProperty(u, TypeId)

// -------------------------------------------------------------------------------------------------------------------
// constructors
// -------------------------------------------------------------------------------------------------------------------

/**
 * Records are out of order by no more than `bound`; what is further behind is late.
 *
 * *Details.* `W = largest timestamp − bound − 1`: with a bound of 5 ms, the window `[0, 10)` fires at a record of 15.
 *
 * *Errors.* Throws `InvalidWatermark` unless the bound is a whole number of milliseconds, 0 or more.
 *
 * ```ts run
 * import { Watermark } from "millrace"
 *
 * const generator = Watermark.generator(Watermark.boundedOutOfOrderness("5 seconds"))
 *
 * generator.observe(14_000, "a") // => 8_999
 * generator.observe(12_000, "b") // => 8_999
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const boundedOutOfOrderness = (bound: Duration.Input): Watermark => {
  const boundMillis = wholeMillis(bound)
  if (!(boundMillis >= 0)) {
    throw new InvalidWatermark({ watermark: "boundedOutOfOrderness", option: "bound", value: bound })
  }
  const self: Bounded = Object.assign(Object.create(Proto), { _tag: "Bounded" as const, boundMillis })
  return self
}

const inOrder: Monotonic = Object.assign(Object.create(Proto), { _tag: "Monotonic" as const, boundMillis: 0 as const })

/**
 * Records come in order of time, with ties: `W = largest timestamp − 1`; what goes back in time is late.
 *
 * @category constructors
 * @since 0.1.0
 */
export const monotonic: Watermark = inOrder

/**
 * Some records say how far event time has come.
 *
 * *Details.* `f` returns the watermark that the record asserts, or `undefined`. The record itself is judged before its own
 * watermark takes effect. A watermark behind the current one, and `NaN`, is ignored and counted. `f` must be pure.
 *
 * @category constructors
 * @since 0.1.0
 */
export const punctuated = <A>(f: (value: A, timestamp: number) => number | undefined): Watermark<A> => {
  const self: Punctuated<A> = Object.assign(Object.create(Proto), { _tag: "Punctuated" as const, f })
  return self
}

/**
 * A rule with a state of its own.
 *
 * *Details.* After each record the state is `observe(state, timestamp, value)`, and the watermark `watermark(state)`. A
 * watermark behind the current one, and `NaN`, is ignored and counted. Both functions must be pure and change no argument.
 *
 * ```ts run
 * import { Schema } from "effect"
 * import { Watermark } from "millrace"
 *
 * const everyTenth = Watermark.make({
 *   initial: { seen: 0, latest: -Infinity },
 *   observe: ({ latest, seen }, timestamp) => ({ seen: seen + 1, latest: Math.max(latest, timestamp) }),
 *   watermark: ({ latest, seen }) => seen % 10 === 0 ? latest - 1 : -Infinity,
 *   state: Schema.Struct({ seen: Schema.Number, latest: Schema.Number })
 * })
 *
 * Watermark.describe(everyTenth) // => "custom"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A, S>(options: {
  readonly initial: S
  readonly observe: (state: S, timestamp: number, value: A) => S
  readonly watermark: (state: S) => number
  readonly state: Schema.Codec<S, unknown>
}): Watermark<A> => {
  const self: Custom<A> = Object.assign(Object.create(Proto), {
    _tag: "Custom" as const,
    initial: options.initial,
    observe: options.observe,
    watermark: options.watermark,
    state: options.state
  })
  return self
}

// -------------------------------------------------------------------------------------------------------------------
// generating
// -------------------------------------------------------------------------------------------------------------------

/**
 * A rule at work on one partition, one record at a time.
 *
 * *Details.* `observe` takes the timestamp of a record, in integer epoch milliseconds, and its value, and returns the
 * watermark after it. `current` is that watermark, −Infinity at first; it never goes back. `regressions` counts the
 * watermarks that would have. A snapshot is JSON; `restore` throws a `SchemaError` on one that no generator of this rule
 * wrote, and takes the watermark back as it was, even where a new bound would have given an earlier one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Generator<in A> {
  readonly current: number
  readonly regressions: number
  observe(timestamp: number, value: A): number
  snapshot(): unknown
  restore(snapshot: unknown): void
}

const BoundedState = Schema.toCodecJson(Schema.Struct({ current: ExactNumber, latest: ExactNumber }))
const encodeBounded = Schema.encodeSync(BoundedState)
const decodeBounded = Schema.decodeUnknownSync(BoundedState)

/** Classes, here and below: one is called for every record. */
class BoundedGenerator implements Generator<unknown> {
  current = -Infinity
  readonly regressions = 0
  private latest = -Infinity
  private readonly distance: number

  constructor(boundMillis: number) {
    this.distance = boundMillis + 1
  }

  observe(timestamp: number): number {
    if (timestamp > this.latest) {
      this.latest = timestamp
      const watermark = timestamp - this.distance
      // Not always so: after a restore, the bound may be larger than it was.
      if (watermark > this.current) this.current = watermark
    }
    return this.current
  }

  snapshot(): unknown {
    return encodeBounded({ current: this.current, latest: this.latest })
  }

  restore(snapshot: unknown): void {
    const state = decodeBounded(snapshot)
    this.current = state.current
    this.latest = state.latest
  }
}

const PunctuatedState = Schema.toCodecJson(Schema.Struct({ current: ExactNumber, regressions: Schema.Number }))
const encodePunctuated = Schema.encodeSync(PunctuatedState)
const decodePunctuated = Schema.decodeUnknownSync(PunctuatedState)

class PunctuatedGenerator<in A> implements Generator<A> {
  current = -Infinity
  regressions = 0
  private readonly f: Punctuated<A>["f"]

  constructor(f: Punctuated<A>["f"]) {
    this.f = f
  }

  observe(timestamp: number, value: A): number {
    const asserted = this.f(value, timestamp)
    if (asserted === undefined) return this.current
    if (asserted >= this.current) return this.current = asserted
    this.regressions++
    return this.current
  }

  snapshot(): unknown {
    return encodePunctuated({ current: this.current, regressions: this.regressions })
  }

  restore(snapshot: unknown): void {
    const state = decodePunctuated(snapshot)
    this.current = state.current
    this.regressions = state.regressions
  }
}

const customState = (state: Schema.Codec<unknown, unknown>) =>
  Schema.toCodecJson(Schema.Struct({ current: ExactNumber, regressions: Schema.Number, state }))

class CustomGenerator<in A> implements Generator<A> {
  current = -Infinity
  regressions = 0
  private state: unknown
  private readonly rule: Custom<A>
  private readonly codec: ReturnType<typeof customState>

  constructor(rule: Custom<A>) {
    this.rule = rule
    this.state = rule.initial
    this.codec = customState(rule.state)
  }

  observe(timestamp: number, value: A): number {
    this.state = this.rule.observe(this.state, timestamp, value)
    const watermark = this.rule.watermark(this.state)
    if (watermark >= this.current) return this.current = watermark
    this.regressions++
    return this.current
  }

  snapshot(): unknown {
    return Schema.encodeSync(this.codec)({
      current: this.current,
      regressions: this.regressions,
      state: this.state
    })
  }

  restore(snapshot: unknown): void {
    const restored = Schema.decodeUnknownSync(this.codec)(snapshot)
    this.current = restored.current
    this.regressions = restored.regressions
    this.state = restored.state
  }
}

/**
 * Starts a rule on a partition, at −Infinity.
 *
 * @category generating
 * @since 0.1.0
 */
export const generator = <A>(self: Watermark<A>): Generator<A> => {
  switch (self._tag) {
    case "Bounded":
    case "Monotonic":
      return new BoundedGenerator(self.boundMillis)
    case "Punctuated":
      return new PunctuatedGenerator(self.f)
    case "Custom":
      return new CustomGenerator(self)
  }
}

// -------------------------------------------------------------------------------------------------------------------
// printing
// -------------------------------------------------------------------------------------------------------------------

/**
 * A rule in words that stay the same from run to run.
 *
 * @category printing
 * @since 0.1.0
 */
export const describe = (self: Watermark<never>): string => {
  switch (self._tag) {
    case "Bounded":
      return `boundedOutOfOrderness(${self.boundMillis} ms)`
    case "Monotonic":
      return "monotonic"
    case "Punctuated":
      return "punctuated"
    case "Custom":
      return "custom"
  }
}
