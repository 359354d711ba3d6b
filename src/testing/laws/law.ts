/**
 * What a law is, and how it is found broken.
 *
 * @since 0.1.0
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { format } from "effect/Formatter"
import * as Schema from "effect/Schema"
import { isDeepStrictEqual } from "node:util"

/**
 * Something that every part of a kind must keep: a name, and an effect that fails where it is not kept.
 *
 * @since 0.1.0
 * @category models
 */
export interface Law {
  readonly name: string
  readonly check: Effect.Effect<void, LawBroken>
}

/**
 * How hard a law is tried.
 *
 * @since 0.1.0
 * @category models
 */
export interface Checks {
  /** How many random cases a law gets. */
  readonly runs?: number
  /** Where random cases begin. Another one in every run unless it is given. */
  readonly seed?: string | number
}

/**
 * A part does not keep a law: which one, for what, what was expected, and what was found.
 *
 * @since 0.1.0
 * @category errors
 */
export class LawBroken extends Schema.TaggedError<LawBroken>("millrace/testing/LawBroken")("LawBroken", {
  /** What kind of part it is: `aggregate`, `sink`, … */
  subject: Schema.String,
  law: Schema.String,
  /** The smallest case that was found. */
  counterexample: Schema.String,
  expected: Schema.String,
  found: Schema.String
}) {
  override get message() {
    const where = this.counterexample === "" ? "" : `\n  for       ${this.counterexample}`
    return `The ${this.subject} breaks the law "${this.law}"${where}\n  expected  ${this.expected}\n  found     ${this.found}`
  }
}

/** How a law says to those who run it that it is broken. It is thrown where laws compute, and fails where they wait. */
export class Violation extends Error {
  readonly expected: string
  readonly found: string
  readonly at: string
  constructor(found: string, expected: string, at: string) {
    super(`${at}: ${found} instead of ${expected}`)
    this.found = found
    this.expected = expected
    this.at = at
  }
}

/** Compares by value: NaN equals NaN, and -0 is not 0. */
export const same = (found: unknown, expected: unknown, at = ""): void => {
  if (!isDeepStrictEqual(found, expected)) throw new Violation(format(found), format(expected), at)
}

export const holds = (condition: boolean, expected: string, found: unknown, at = ""): void => {
  if (!condition) throw new Violation(format(found), expected, at)
}

const violationOf = (cause: Cause.Cause<unknown>): Violation => {
  const error = Cause.squash(cause)
  if (error instanceof Violation) return error
  return new Violation(error instanceof Error ? `${error.name}: ${error.message}` : format(error), "no failure", "")
}

/** A law from what checks it; whatever goes wrong in it breaks the law. */
export const law = (subject: string, name: string, check: Effect.Effect<void, unknown>): Law => ({
  name,
  check: Effect.catchCause(check, (cause) => {
    if (Cause.hasInterruptsOnly(cause)) return Effect.failCause(cause as Cause.Cause<never>)
    const { at, expected, found } = violationOf(cause)
    return Effect.fail(new LawBroken({ subject, law: name, counterexample: at, expected, found }))
  })
})

/** Looks for a case that fails, and for the smallest of them. */
export const forAll = <A>(
  cases: Arbitrary.Arbitrary<A>,
  property: (value: A) => void | Effect.Effect<void, unknown>,
  { runs = 100, seed, size = 10 }: Checks & { readonly size?: number }
): Effect.Effect<void, Violation> =>
  Effect.flatMap(
    Arbitrary.checkEffect(
      cases,
      (value) =>
        Effect.suspend(() => property(value) ?? Effect.void).pipe(
          Effect.as(true),
          Effect.catchCause((cause) => Effect.fail(violationOf(cause)))
        ),
      { runs, size, maxShrinks: 2000, ...seed === undefined ? {} : { seed } }
    ),
    (result): Effect.Effect<void, Violation> => {
      if (result._tag === "Passed") return Effect.void
      if (result._tag === "Falsified" && result.failure._tag === "PropertyError") {
        const { at, expected, found } = result.failure.error
        const input = format(result.shrunkInput)
        return Effect.fail(new Violation(found, expected, at === "" ? input : `${input}, ${at}`))
      }
      return Effect.fail(new Violation(Arbitrary.formatCheckFailure(result) ?? "", "cases to try", ""))
    }
  )

/**
 * What random values come from: a schema, an arbitrary, or some values of your own, the simplest first.
 *
 * @since 0.1.0
 * @category models
 */
export type Values<A> = Schema.Schema<A> | Arbitrary.Arbitrary<A> | ReadonlyArray<A>

export const arbitraryOf = <A>(values: Values<A>): Arbitrary.Arbitrary<A> => {
  if (Arbitrary.isArbitrary(values)) return values
  if (Schema.isSchema(values)) return Arbitrary.schema(values as Schema.Schema<A>)
  // Neither of the others.
  const all = values as ReadonlyArray<A>
  return Arbitrary.map(between(0, all.length - 1), (at) => all[at]!)
}

export const between = (minimum: number, maximum: number): Arbitrary.Arbitrary<number> =>
  Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum, maximum })))

export const boolean: Arbitrary.Arbitrary<boolean> = Arbitrary.schema(Schema.Boolean)
