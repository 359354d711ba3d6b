/**
 * Streams of events as they come in life: out of order, late, twice, in bursts, after silence, with a timestamp that is none.
 *
 * A stream is generated from a schema, and says of each of its records what it is. It shrinks towards fewer records, in
 * order, on time.
 *
 * @since 0.1.0
 */
import * as Arbitrary from "effect/Arbitrary"
import type * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { printed, wholeMillis } from "../internal/numbers.ts"

/**
 * One record of a stream, in the order of arrival.
 *
 * @since 0.1.0
 * @category models
 */
export interface Entry<out A> {
  readonly event: A
  /** Epoch milliseconds; NaN where the timestamp is bad. */
  readonly time: number
  readonly split: number
  /** How far the record is behind the latest one before it in its split, in milliseconds; 0 where the timestamp is bad. */
  readonly behindMillis: number
  /** It is further behind than the stream's bound: its timestamp was covered by a watermark when it came. */
  readonly isLate: boolean
  /** Its timestamp is no whole number of milliseconds. */
  readonly isBad: boolean
  /** The entry that it repeats, by its number in `entries`. */
  readonly duplicateOf: number | undefined
  /** The burst that it belongs to, from 0: all of one burst have one timestamp. */
  readonly burst: number | undefined
  /** It is the first after a silence. */
  readonly isAfterIdle: boolean
}

/**
 * A stream, and what it contains. The arrays of events are in the order of arrival.
 *
 * @since 0.1.0
 * @category models
 */
export interface EventStream<out A> {
  readonly entries: ReadonlyArray<Entry<A>>
  /** For `Source.memory`, or to be pushed into a queue. */
  readonly events: ReadonlyArray<A>
  /** For `Source.memorySplits`: an array for each split. */
  readonly splits: ReadonlyArray<ReadonlyArray<A>>
  /** Within the bound, with a timestamp: no window misses them under `Watermark.boundedOutOfOrderness(boundMillis)`. */
  readonly onTime: ReadonlyArray<A>
  /** Further behind than the bound. Whether a window has closed before them depends on the window. */
  readonly late: ReadonlyArray<A>
  readonly duplicates: ReadonlyArray<A>
  readonly bad: ReadonlyArray<A>
  /** The bound that `late` is about: the option `disorder`. */
  readonly boundMillis: number
}

/**
 * How the timestamp gets into an event where it is no field that holds epoch milliseconds or a `Date`. `millis` is NaN, a
 * fraction or infinite where the timestamp shall be bad.
 *
 * @since 0.1.0
 * @category models
 */
export interface TimeSetter<A> {
  readonly set: (event: A, millis: number) => A
}

/**
 * The fields of an event that can hold its timestamp.
 *
 * @since 0.1.0
 * @category models
 */
export type TimeField<A> = { readonly [K in keyof A]: A[K] extends number | Date ? K : never }[keyof A]

/**
 * What a stream contains. Shares are probabilities from 0 to 1, of each record; with 0, and left out, there is none.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<A, K extends keyof A = keyof A> {
  /** The field of the timestamp, epoch milliseconds or a `Date`, or how it is put into an event. */
  readonly time: TimeField<A> | TimeSetter<A>
  /** The earliest timestamp, in epoch milliseconds. 0 by default. */
  readonly from?: number
  /** How far event time goes on from one record to the next at most. A second by default. */
  readonly step?: Duration.Input
  /** Records at least. 0 by default. */
  readonly minLength?: number
  /** Records at most, 100 by default. How many there are below grows with the `size` of a check, up to its square. */
  readonly maxLength?: number
  /** Gives a field one of a few values, so that keys meet. */
  readonly keys?: { readonly field: K; readonly values: ReadonlyArray<A[K]> }
  /**
   * How far a record may be behind the latest before it, in its split, and be on time: the bound for
   * `Watermark.boundedOutOfOrderness`. 0 by default: in order.
   */
  readonly disorder?: Duration.Input
  /** Records that are further behind than `disorder`, by 1 ms to `by`. */
  readonly lateness?: { readonly share: number; readonly by: Duration.Input }
  /** Records that come again, within the bound. */
  readonly duplicates?: number
  /** Records that begin a burst: 2 to `size` records of one timestamp, one behind the other. */
  readonly bursts?: { readonly share: number; readonly size: number }
  /** Records before which event time jumps: by 1 ms to `by` more than `step`. */
  readonly idleGaps?: { readonly share: number; readonly by: Duration.Input }
  /** Records whose timestamp is NaN, a fraction or infinite, or an invalid `Date`. */
  readonly badTimestamps?: number
  /** How many splits there are, each in order within `disorder` for itself. 1 by default. */
  readonly splits?: number
}

/**
 * A stream was described with an option that makes no sense. Thrown when the arbitrary is made, or when it generates an event
 * whose field cannot hold a timestamp.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidEventStream
  extends Schema.TaggedError<InvalidEventStream>("millrace/testing/InvalidEventStream")("InvalidEventStream", {
    option: Schema.String,
    value: Schema.Unknown,
    remedy: Schema.String
  })
{
  override get message() {
    return `EventStream option "${this.option}" is ${printed(this.value)}: ${this.remedy}`
  }
}

/**
 * Generates streams of the events that a schema, or an arbitrary, describes.
 *
 * **Details**
 *
 * The arbitrary is one of `effect/Arbitrary`: check properties with `Arbitrary.checkEffect`, or with `it.effect.prop` of
 * `@effect/vitest`. Its failures come with a token that replays them.
 *
 * **Gotchas**
 *
 * Short streams get less of everything, and small shares may have none in many streams; `minLength` helps. A check stops
 * to shrink after 100 tries unless it is given `maxShrinks`: long streams with many knobs want some thousands.
 *
 * **Example**
 *
 * ```ts run
 * import { Arbitrary, Effect, Schema } from "effect"
 * import { EventStream } from "millrace/testing"
 *
 * const Click = Schema.Struct({ page: Schema.String, at: Schema.Number })
 *
 * const clicks = EventStream.arbitrary(Click, {
 *   time: "at",
 *   keys: { field: "page", values: ["/", "/help"] },
 *   disorder: "5 seconds",
 *   lateness: { share: 0.2, by: "1 minute" }
 * })
 *
 * const result = await Effect.runPromise(Arbitrary.checkEffect(clicks, ({ events, late, onTime }) =>
 *   late.length + onTime.length === events.length, { seed: 1 }))
 * result._tag // => "Passed"
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const arbitrary = <A, K extends keyof A = never>(
  events: Schema.Schema<A> | Arbitrary.Arbitrary<A>,
  options: Options<A, K>
): Arbitrary.Arbitrary<EventStream<A>> => {
  const settings = checked(options)
  const { maxLength, minLength } = settings
  const step = stepOf(Arbitrary.isArbitrary(events) ? events : Arbitrary.schema(events), settings)
  // An array of arrays, because an array alone has no more elements than the size of a check.
  const steps = Arbitrary.all([
    Arbitrary.array(step, { minLength, maxLength: minLength }),
    Arbitrary.array(Arbitrary.array(step, { maxLength }), { maxLength })
  ])
  const stamp = stamping(options.time)
  const keys = options.keys
  const keyed = (event: A, key: number): A => keys === undefined ? event : changed(event, keys.field, keys.values[key]!)
  return Arbitrary.map(steps, ([first, rest]) => {
    const all = [...first, ...rest.flat()].slice(0, maxLength)
    return streamOf(all.map((one) => ({ ...one, event: keyed(one.event, one.key) })), settings, stamp)
  })
}

/**
 * The entries that are late under another bound than the stream's own, per split: those further than `bound` behind.
 *
 * @since 0.1.0
 * @category reading
 */
export const lateFor = <A>(self: EventStream<A>, bound: Duration.Input): ReadonlyArray<Entry<A>> => {
  const boundMillis = wholeMillis(bound)
  return self.entries.filter(({ behindMillis }) => behindMillis > boundMillis)
}

// -------------------------------------------------------------------------------------------------------------------
// choices
// -------------------------------------------------------------------------------------------------------------------

interface Settings {
  readonly from: number
  readonly stepMillis: number
  readonly minLength: number
  readonly maxLength: number
  readonly keys: number
  readonly disorderMillis: number
  readonly lateness: { readonly share: number; readonly byMillis: number }
  readonly duplicates: number
  readonly bursts: { readonly share: number; readonly size: number }
  readonly idleGaps: { readonly share: number; readonly byMillis: number }
  readonly badTimestamps: number
  readonly splits: number
}

/** What is chosen for one record. All of it shrinks to 0, and 0 is nothing out of the ordinary. */
interface Step<A> {
  readonly event: A
  readonly key: number
  readonly gap: number
  readonly behind: number
  readonly late: number
  readonly beyond: number
  readonly duplicate: number
  readonly back: number
  readonly burst: number
  readonly length: number
  readonly idle: number
  readonly silence: number
  readonly bad: number
  readonly split: number
}

const draws = 2 ** 16

/**
 * Whether something of a share happens. The generator likes the ends of a range, so that the numbers are mixed first; 0
 * becomes the last to happen.
 */
const happens = (draw: number, share: number): boolean => (draws - 1 - draw * 40_503 % draws) / draws < share

const upTo = (maximum: number): Arbitrary.Arbitrary<number> =>
  maximum <= 0 ? Arbitrary.Constant(0) : Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum })))

const stepOf = <A>(event: Arbitrary.Arbitrary<A>, settings: Settings): Arbitrary.Arbitrary<Step<A>> => {
  const drawFor = (share: number) => upTo(share > 0 ? draws - 1 : 0)
  const { bursts, disorderMillis, duplicates, idleGaps, lateness } = settings
  return Arbitrary.all({
    event,
    key: upTo(settings.keys - 1),
    gap: upTo(settings.stepMillis),
    behind: upTo(disorderMillis),
    late: drawFor(lateness.share),
    beyond: upTo(lateness.byMillis - 1),
    duplicate: drawFor(duplicates),
    back: upTo(duplicates > 0 ? 7 : 0),
    burst: drawFor(bursts.share),
    length: upTo(bursts.size - 2),
    idle: drawFor(idleGaps.share),
    silence: upTo(idleGaps.byMillis - 1),
    bad: drawFor(settings.badTimestamps),
    split: upTo(settings.splits - 1)
  })
}

const invalid = (option: string, value: unknown, remedy: string): never => {
  throw new InvalidEventStream({ option, value, remedy })
}

const share = (option: string, value: number): number =>
  value >= 0 && value <= 1 ? value : invalid(option, value, "give a probability from 0 to 1")

const count = (option: string, value: number, least: number): number =>
  Number.isSafeInteger(value) && value >= least ? value : invalid(option, value, `give a whole number from ${least}`)

const millis = (option: string, value: Duration.Input, least: number): number => {
  const found = wholeMillis(value)
  return found >= least ? found : invalid(option, value, `give a duration of whole milliseconds, from ${least}`)
}

const checked = <A, K extends keyof A>(options: Options<A, K>): Settings => {
  const { bursts, idleGaps, keys, lateness } = options
  const minLength = count("minLength", options.minLength ?? 0, 0)
  return {
    from: Number.isSafeInteger(options.from ?? 0)
      ? options.from ?? 0
      : invalid("from", options.from, "give whole epoch milliseconds"),
    stepMillis: millis("step", options.step ?? "1 second", 0),
    minLength,
    maxLength: count("maxLength", options.maxLength ?? Math.max(100, minLength), minLength),
    keys: keys === undefined ? 0 : count("keys.values", keys.values.length, 1),
    disorderMillis: millis("disorder", options.disorder ?? 0, 0),
    lateness: lateness === undefined
      ? { share: 0, byMillis: 0 }
      : { share: share("lateness.share", lateness.share), byMillis: millis("lateness.by", lateness.by, 1) },
    duplicates: share("duplicates", options.duplicates ?? 0),
    bursts: bursts === undefined
      ? { share: 0, size: 0 }
      : { share: share("bursts.share", bursts.share), size: count("bursts.size", bursts.size, 2) },
    idleGaps: idleGaps === undefined
      ? { share: 0, byMillis: 0 }
      : { share: share("idleGaps.share", idleGaps.share), byMillis: millis("idleGaps.by", idleGaps.by, 1) },
    badTimestamps: share("badTimestamps", options.badTimestamps ?? 0),
    splits: count("splits", options.splits ?? 1, 1)
  }
}

// -------------------------------------------------------------------------------------------------------------------
// from choices to a stream
// -------------------------------------------------------------------------------------------------------------------

type Stamp<A> = (event: A, millis: number) => A

/** The event with another value in a field; of the same class, if it has one. */
const changed = <A, K extends keyof A>(event: A, field: K, value: unknown): A =>
  Object.assign(Object.create(Object.getPrototypeOf(event)), event, { [field]: value })

const stamping = <A>(time: Options<A>["time"]): Stamp<A> => {
  if (typeof time === "object") return time.set
  return (event, millis) => {
    const before: unknown = event[time]
    if (before instanceof Date) return changed(event, time, new Date(Number.isInteger(millis) ? millis : NaN))
    if (typeof before === "number") return changed(event, time, millis)
    return invalid("time", time, "name a field of milliseconds or a Date, or give { set }")
  }
}

const badTimes = [NaN, 0.5, Infinity, -Infinity]

const streamOf = <A>(steps: ReadonlyArray<Step<A>>, settings: Settings, stamp: Stamp<A>): EventStream<A> => {
  const { bursts, disorderMillis, lateness } = settings
  const entries: Array<Entry<A>> = []
  const latest = Array.from({ length: settings.splits }, () => -Infinity)
  // Nothing that is behind comes to lie before the beginning.
  let now = settings.from + 2 * disorderMillis + lateness.byMillis
  let burst = -1
  let burstLeft = 0

  const add = (event: A, time: number, split: number, rest: Partial<Entry<A>>): void => {
    const behindMillis = Number.isNaN(time) ? 0 : Math.max(0, latest[split]! - time)
    if (time > latest[split]!) latest[split] = time
    entries.push({
      event,
      time,
      split,
      behindMillis,
      isLate: behindMillis > disorderMillis,
      isBad: Number.isNaN(time),
      duplicateOf: undefined,
      burst: undefined,
      isAfterIdle: false,
      ...rest
    })
  }

  for (const step of steps) {
    const { split } = step
    if (burstLeft > 0) {
      burstLeft--
      add(stamp(step.event, now), now, split, { burst })
      continue
    }
    if (happens(step.bad, settings.badTimestamps)) {
      add(stamp(step.event, badTimes[step.gap % badTimes.length]!), NaN, split, {})
      continue
    }
    if (happens(step.duplicate, settings.duplicates)) {
      const known = entries.flatMap((entry, at) =>
        entry.split === split && !entry.isBad && latest[split]! - entry.time <= disorderMillis ? [at] : []
      )
      const at = known.at(-1 - step.back % Math.max(1, known.length))
      if (at !== undefined) {
        add(entries[at]!.event, entries[at]!.time, split, { duplicateOf: entries[at]!.duplicateOf ?? at })
        continue
      }
    }
    const isAfterIdle = happens(step.idle, settings.idleGaps.share)
    now += isAfterIdle ? settings.stepMillis + 1 + step.silence : step.gap
    if (happens(step.burst, bursts.share)) {
      burst++
      burstLeft = step.length + 1
      add(stamp(step.event, now), now, split, { burst, isAfterIdle })
      continue
    }
    const isLate = happens(step.late, lateness.share) && latest[split]! > -Infinity
    const time = isLate ? latest[split]! - disorderMillis - 1 - step.beyond : now - step.behind
    add(stamp(step.event, time), time, split, { isAfterIdle })
  }

  const eventsOf = (wanted: (entry: Entry<A>) => boolean) => entries.filter(wanted).map(({ event }) => event)
  return {
    entries,
    events: eventsOf(() => true),
    splits: latest.map((_, split) => eventsOf((entry) => entry.split === split)),
    onTime: eventsOf(({ isBad, isLate }) => !isBad && !isLate),
    late: eventsOf(({ isLate }) => isLate),
    duplicates: eventsOf(({ duplicateOf }) => duplicateOf !== undefined),
    bad: eventsOf(({ isBad }) => isBad),
    boundMillis: disorderMillis
  }
}
