/**
 * How often a part of a job may be restarted before its failure is the job's.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { wholeMillis } from "./internal/numbers.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface RestartIntensity {
  readonly max: number
  readonly withinMillis: number
  readonly delayMillis: number
}

/**
 * An intensity that makes no sense. Thrown where it is made.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidIntensity
  extends Schema.TaggedError<InvalidIntensity>("millrace/InvalidIntensity")("InvalidIntensity", {
    option: Schema.Literals(["max", "within", "delay"]),
    value: Schema.Unknown
  })
{
  override get message() {
    return this.option === "max"
      ? `A restart intensity has a max of ${String(this.value)}: give a whole number, zero or more`
      : `A restart intensity has a ${this.option} of ${
        String(this.value)
      }: give a duration in whole milliseconds, zero or more`
  }
}

/**
 * At most `max` restarts within a sliding span of time, as in Erlang's supervisors; one more, and the job fails with the
 * cause.
 *
 * **Details**
 *
 * The first of those restarts comes after `delay` (none by default), each further one after twice the pause before it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const restarts = (options: {
  readonly max: number
  readonly within: Duration.Input
  readonly delay?: Duration.Input
}): RestartIntensity => {
  if (!Number.isSafeInteger(options.max) || options.max < 0) {
    throw new InvalidIntensity({ option: "max", value: options.max })
  }
  const millis = (option: "within" | "delay", input: Duration.Input): number => {
    const value = wholeMillis(input)
    if (!(value >= 0)) throw new InvalidIntensity({ option, value: input })
    return value
  }
  return {
    max: options.max,
    withinMillis: millis("within", options.within),
    delayMillis: millis("delay", options.delay ?? 0)
  }
}

/**
 * The first failure is the job's.
 *
 * @since 0.1.0
 * @category constructors
 */
export const never: RestartIntensity = restarts({ max: 0, within: 0 })

/**
 * Three restarts a minute, after 100, 200 and 400 milliseconds: a passing fault is survived, a poisoned record does not
 * loop for ever.
 *
 * @since 0.1.0
 * @category constructors
 */
export const standard: RestartIntensity = restarts({ max: 3, within: "1 minute", delay: "100 millis" })
