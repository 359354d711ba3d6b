/**
 * Numbers at the edges: a codec that loses none of them, and durations read as whole milliseconds.
 */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"

/** Every double, as JSON: `NaN`, the infinities and −0 are written as strings, which `Schema.Number` does for all but −0. */
export const ExactNumber: Schema.Codec<number, number | string> = Schema.Union([
  Schema.Finite,
  Schema.Literals(["NaN", "Infinity", "-Infinity", "-0"])
]).pipe(Schema.decodeTo(
  Schema.Number,
  SchemaTransformation.transform<number, number | "NaN" | "Infinity" | "-Infinity" | "-0">({
    decode: (encoded) => typeof encoded === "number" ? encoded : Number(encoded),
    encode: (value) =>
      value !== value
        ? "NaN"
        : value === Infinity
        ? "Infinity"
        : value === -Infinity
        ? "-Infinity"
        : Object.is(value, -0)
        ? "-0"
        : value
  })
))

/** The milliseconds of a duration; `NaN` when it is not one, or not a whole number that a double holds exactly. */
export const wholeMillis = (input: Duration.Input): number => {
  // Effect reads NaN as the duration zero, which would pass for a legal offset or bound.
  if (typeof input === "number" && Number.isNaN(input)) return NaN
  try {
    const millis = Duration.toMillis(input)
    return Number.isSafeInteger(millis) ? millis + 0 : NaN
  } catch {
    return NaN
  }
}

/** How an error message prints what it was given. */
export const printed = (input: unknown): string => {
  if (Duration.isDuration(input)) return String(input)
  if (typeof input === "string") return JSON.stringify(input)
  if (typeof input === "bigint") return `${input}n`
  if (typeof input === "object" && input !== null) {
    try {
      return JSON.stringify(input)
    } catch {
      return String(input)
    }
  }
  return String(input)
}
