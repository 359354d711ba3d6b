/**
 * How event time is cut into windows.
 *
 * A window is a value, and assigning is pure: it looks at a timestamp, in integer epoch milliseconds, and answers with
 * half-open bounds `[start, end)`, never at a clock. Negative timestamps are as good as others.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import { dual } from "effect/Function"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import { printed, wholeMillis } from "./internal/numbers.ts"

const TypeId = "~millrace/Window"

/**
 * A rule that gives each timestamp its windows.
 *
 * @category models
 * @since 0.1.0
 */
export type Window = Aligned | Session | Custom

/**
 * Windows of one size at equal distances on the timeline, the same for every key.
 *
 * *Details.* `offsetMillis` is within `[0, everyMillis)`. All bounds are multiples of `sliceMillis` (plus the offset), so a
 * window is a whole number of slices. With `everyMillis > sizeMillis` there are gaps between the windows.
 *
 * @category models
 * @since 0.1.0
 */
export interface Aligned extends Pipeable {
  readonly [TypeId]: typeof TypeId
  readonly _tag: "Aligned"
  readonly sizeMillis: number
  readonly everyMillis: number
  readonly offsetMillis: number
  readonly sliceMillis: number
}

/**
 * Windows that grow for as long as records of the key keep coming within the gap.
 *
 * @category models
 * @since 0.1.0
 */
export interface Session extends Pipeable {
  readonly [TypeId]: typeof TypeId
  readonly _tag: "Session"
  readonly gapMillis: number
}

/**
 * Windows that a function of the timestamp gives.
 *
 * *Details.* `maxSizeMillis` is what no window is longer than, where the author says so.
 *
 * @category models
 * @since 0.1.0
 */
export interface Custom extends Pipeable {
  readonly [TypeId]: typeof TypeId
  readonly _tag: "Custom"
  readonly name: string
  readonly assign: (timestamp: number) => ReadonlyArray<Bounds>
  readonly maxSizeMillis: number | undefined
}

/**
 * A half-open stretch of event time, in epoch milliseconds: `start <= t < end`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Bounds {
  readonly start: number
  readonly end: number
}

/**
 * One firing of one window for one key.
 *
 * *Details.* `index` counts the firings of this window from 0. `isLast` says that no other firing can follow. The event time
 * of a pane is `window.end - 1`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Pane<out K, out Out> {
  readonly window: Bounds
  readonly key: K
  readonly value: Out
  readonly timing: "early" | "on-time" | "late"
  readonly index: number
  readonly isLast: boolean
}

/**
 * A record that came after all its windows had expired, with the reason.
 *
 * *Details.* `windows` are the ones it would have been in, `watermark` the one that judged it, and `lateByMillis` how far
 * that watermark had passed the record's timestamp.
 *
 * @category models
 * @since 0.1.0
 */
export interface Late<out A> {
  readonly value: A
  readonly windows: ReadonlyArray<Bounds>
  readonly lateByMillis: number
  readonly watermark: number
}

/**
 * A window was built from an option that has no meaning.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidWindow extends Schema.TaggedError<InvalidWindow>("millrace/Window/InvalidWindow")("InvalidWindow", {
  window: Schema.Literals(["tumbling", "sliding", "session", "custom"]),
  option: Schema.Literals(["size", "every", "offset", "gap", "maxSize", "name"]),
  value: Schema.Unknown
}) {
  override get message(): string {
    const remedy = this.option === "name"
      ? "give a name that is not empty; it identifies the window's state"
      : this.option === "offset"
      ? "give a whole number of milliseconds, such as \"15 minutes\" or \"-1 hour\""
      : "give a whole number of milliseconds above 0, such as \"1 minute\""
    return `Window.${this.window}: ${this.option} is ${printed(this.value)}; ${remedy}`
  }
}

const Proto = {
  [TypeId]: TypeId,
  pipe() {
    return pipeArguments(this, arguments)
  }
}

const fromFields = <W extends Window>(fields: Omit<W, typeof TypeId | "pipe">): W =>
  Object.assign(Object.create(Proto), fields)

const positiveMillis = (
  window: InvalidWindow["window"],
  option: InvalidWindow["option"],
  input: Duration.Input
): number => {
  const millis = wholeMillis(input)
  if (millis > 0) return millis
  throw new InvalidWindow({ window, option, value: input })
}

/** The remainder that JavaScript's `%` would make negative for a negative dividend. */
const modulo = (dividend: number, divisor: number): number => ((dividend % divisor) + divisor) % divisor

const greatestCommonDivisor = (a: number, b: number): number => {
  while (b !== 0) [a, b] = [b, a % b]
  return a
}

const aligned = (
  window: "tumbling" | "sliding",
  options: { readonly size: Duration.Input; readonly every: Duration.Input; readonly offset?: Duration.Input }
): Aligned => {
  const sizeMillis = positiveMillis(window, "size", options.size)
  const everyMillis = positiveMillis(window, "every", options.every)
  const offset = wholeMillis(options.offset ?? 0)
  if (Number.isNaN(offset)) throw new InvalidWindow({ window, option: "offset", value: options.offset })
  return fromFields<Aligned>({
    _tag: "Aligned",
    sizeMillis,
    everyMillis,
    offsetMillis: modulo(offset, everyMillis),
    sliceMillis: greatestCommonDivisor(sizeMillis, everyMillis)
  })
}

/**
 * Returns whether a value is a window.
 *
 * @category guards
 * @since 0.1.0
 */
export const isWindow = (u: unknown): u is Window => hasProperty(u, TypeId)

// -------------------------------------------------------------------------------------------------------------------
// constructors
// -------------------------------------------------------------------------------------------------------------------

/**
 * Windows of a fixed size, one after the other: each timestamp has exactly one.
 *
 * *Details.* They start at the epoch plus `offset`, which may be negative or larger than the size.
 *
 * *Errors.* Throws `InvalidWindow` unless the size is a whole number of milliseconds above 0, and the offset a whole number.
 *
 * ```ts run
 * import { Window } from "millrace"
 *
 * const minute = Window.tumbling("1 minute")
 *
 * Window.assign(minute, 90_000) // => [{ start: 60_000, end: 120_000 }]
 * Window.assign(minute, -1) // => [{ start: -60_000, end: 0 }]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const tumbling = (size: Duration.Input, options?: { readonly offset?: Duration.Input }): Window =>
  aligned("tumbling", { ...options, size, every: size })

/**
 * Overlapping windows of a fixed size, of which a new one starts at every multiple of `every` (plus `offset`).
 *
 * *Details.* A timestamp has `size / every` windows, rounded up or down. `every` may exceed `size`: a timestamp in the gap
 * between two windows has none, and its record counts as outside, never as late.
 *
 * *Errors.* Throws `InvalidWindow` unless size and every are whole numbers of milliseconds above 0, and the offset a whole
 * number.
 *
 * ```ts run
 * import { Window } from "millrace"
 *
 * const recent = Window.sliding({ size: "10 seconds", every: "5 seconds" })
 *
 * Window.assign(recent, 7_000) // => [{ start: 0, end: 10_000 }, { start: 5_000, end: 15_000 }]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const sliding = (options: {
  readonly size: Duration.Input
  readonly every: Duration.Input
  readonly offset?: Duration.Input
}): Window => aligned("sliding", options)

/**
 * Windows that last until no record of the key has come for `gap`; a record exactly `gap` after the last one still joins.
 *
 * *Details.* A session of records from `first` to `last` has the bounds `[first, last + gap)`.
 *
 * *Errors.* Throws `InvalidWindow` unless the gap is a whole number of milliseconds above 0.
 *
 * ```ts run
 * import { Window } from "millrace"
 *
 * const visit = Window.session({ gap: "30 minutes" })
 *
 * Window.assign(visit, 0) // => [{ start: 0, end: 1_800_000 }]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const session = (options: { readonly gap: Duration.Input }): Window =>
  fromFields<Session>({ _tag: "Session", gapMillis: positiveMillis("session", "gap", options.gap) })

/**
 * Windows that a function of the timestamp gives: calendar months, trading days, shifts.
 *
 * *Details.* `assign` must be deterministic and look at nothing but the timestamp, and return each window once, with integer
 * bounds and `start < end`. The windows need not contain the timestamp, and there may be none: the record is then outside.
 * The engine checks the bounds of each call. `name` identifies the state of these windows: give another when the rule
 * changes. `maxSize` promises that no window is longer.
 *
 * *Errors.* Throws `InvalidWindow` when the name is empty, or `maxSize` not a whole number of milliseconds above 0.
 *
 * ```ts run
 * import { Window } from "millrace"
 *
 * const year = Window.custom({
 *   name: "year",
 *   assign: (timestamp) => {
 *     const year = new Date(timestamp).getUTCFullYear()
 *     return [{ start: Date.UTC(year, 0), end: Date.UTC(year + 1, 0) }]
 *   }
 * })
 *
 * Window.assign(year, Date.UTC(1970, 5, 1)) // => [{ start: 0, end: 31_536_000_000 }]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const custom = (options: {
  readonly name: string
  readonly assign: (timestamp: number) => ReadonlyArray<Bounds>
  readonly maxSize?: Duration.Input
}): Window => {
  if (options.name === "") throw new InvalidWindow({ window: "custom", option: "name", value: options.name })
  return fromFields<Custom>({
    _tag: "Custom",
    name: options.name,
    assign: options.assign,
    maxSizeMillis: options.maxSize === undefined ? undefined : positiveMillis("custom", "maxSize", options.maxSize)
  })
}

// -------------------------------------------------------------------------------------------------------------------
// assigning
// -------------------------------------------------------------------------------------------------------------------

const alignedBounds = (self: Aligned, timestamp: number): ReadonlyArray<Bounds> => {
  const { everyMillis, offsetMillis, sizeMillis } = self
  // The first start after `timestamp - size`: the earliest window that has not ended at `timestamp`. Floor, since `%` keeps
  // the sign; adding the offset, which is never -0, turns a -0 into 0.
  let start = (Math.floor((timestamp - sizeMillis - offsetMillis) / everyMillis) + 1) * everyMillis + offsetMillis
  const out: Array<Bounds> = []
  for (; start <= timestamp; start += everyMillis) out.push({ start, end: start + sizeMillis })
  return out
}

const byStart = (self: Bounds, that: Bounds): number => self.start - that.start || self.end - that.end

/**
 * The windows of a timestamp, earliest first.
 *
 * *Details.* For a session it is the one of a record on its own, to be merged with {@link coalesce}. For custom windows it
 * is what the function returned, in order, unchecked. No bound is −0.
 *
 * @category assigning
 * @since 0.1.0
 */
export const assign: {
  (timestamp: number): (self: Window) => ReadonlyArray<Bounds>
  (self: Window, timestamp: number): ReadonlyArray<Bounds>
} = dual(2, (self: Window, timestamp: number): ReadonlyArray<Bounds> => {
  switch (self._tag) {
    case "Aligned":
      return alignedBounds(self, timestamp)
    case "Session":
      return [{ start: timestamp + 0, end: timestamp + self.gapMillis }]
    case "Custom":
      return self.assign(timestamp).map(({ end, start }) => ({ start: start + 0, end: end + 0 })).sort(byStart)
  }
})

/**
 * The length of the slices that aligned windows share, in milliseconds: the greatest common divisor of size and every.
 *
 * *Details.* State kept per slice serves every window that covers the slice (Li et al., *No pane, no gain*, 2005).
 *
 * @category assigning
 * @since 0.1.0
 */
export const sliceMillis = (self: Aligned): number => self.sliceMillis

/**
 * The start of the slice that a timestamp is in, in epoch milliseconds.
 *
 * *Details.* A plain function, without a data-last form, as the engine calls it for every record.
 *
 * @category assigning
 * @since 0.1.0
 */
export const sliceStart = (self: Aligned, timestamp: number): number =>
  Math.floor((timestamp - self.offsetMillis) / self.sliceMillis) * self.sliceMillis + self.offsetMillis

/**
 * Merges the bounds of sessions that overlap or touch; returns those of other windows as they are.
 *
 * *Details.* The bounds may come in any order; what returns is in order of start. Touching counts, as in Flink: with a gap
 * of 10, records at 0 and 10 are one session.
 *
 * ```ts run
 * import { Window } from "millrace"
 *
 * Window.coalesce(Window.session({ gap: 10 }), [{ start: 10, end: 20 }, { start: 0, end: 10 }]) // => [{ start: 0, end: 20 }]
 * ```
 *
 * @category assigning
 * @since 0.1.0
 */
export const coalesce: {
  (bounds: ReadonlyArray<Bounds>): (self: Window) => ReadonlyArray<Bounds>
  (self: Window, bounds: ReadonlyArray<Bounds>): ReadonlyArray<Bounds>
} = dual(2, (self: Window, bounds: ReadonlyArray<Bounds>): ReadonlyArray<Bounds> => {
  if (self._tag !== "Session") return bounds
  const out: Array<Bounds> = []
  for (const next of bounds.toSorted(byStart)) {
    const open = out.at(-1)
    if (open !== undefined && next.start <= open.end) {
      out[out.length - 1] = { start: open.start, end: Math.max(open.end, next.end) }
    } else {
      out.push(next)
    }
  }
  return out
})

// -------------------------------------------------------------------------------------------------------------------
// printing
// -------------------------------------------------------------------------------------------------------------------

/**
 * A window in words that stay the same from run to run; equal words mean the same windows.
 *
 * ```ts run
 * import { Window } from "millrace"
 *
 * Window.describe(Window.tumbling("1 minute")) // => "tumbling(60000 ms)"
 * ```
 *
 * @category printing
 * @since 0.1.0
 */
export const describe = (self: Window): string => {
  switch (self._tag) {
    case "Aligned": {
      const offset = self.offsetMillis === 0 ? "" : `, offset ${self.offsetMillis} ms`
      return self.sizeMillis === self.everyMillis
        ? `tumbling(${self.sizeMillis} ms${offset})`
        : `sliding(${self.sizeMillis} ms every ${self.everyMillis} ms${offset})`
    }
    case "Session":
      return `session(gap ${self.gapMillis} ms)`
    case "Custom":
      return `custom(${JSON.stringify(self.name)})`
  }
}
