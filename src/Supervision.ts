/**
 * How often a part of a job may be restarted before its failure is the job's.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"

/**
 * @since 0.1.0
 * @category models
 */
export interface RestartIntensity {
  readonly max: number
  readonly withinMillis: number
}

/**
 * At most `max` restarts within a sliding span of time, as in Erlang's supervisors; one more, and the job fails with the
 * cause.
 *
 * @since 0.1.0
 * @category constructors
 */
export const restarts = (options: { readonly max: number; readonly within: Duration.Input }): RestartIntensity => ({
  max: options.max,
  withinMillis: Duration.toMillis(options.within)
})

/**
 * The first failure is the job's.
 *
 * @since 0.1.0
 * @category constructors
 */
export const never: RestartIntensity = { max: 0, withinMillis: 0 }

/**
 * Three restarts a minute: a passing fault is survived, a poisoned record does not loop for ever.
 *
 * @since 0.1.0
 * @category constructors
 */
export const standard: RestartIntensity = restarts({ max: 3, within: "1 minute" })
