/**
 * What an operator does with a record on which user code throws.
 *
 * @since 0.1.0
 */
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import { hasProperty } from "effect/Predicate"
import type { Schedule } from "effect/Schedule"

const TypeId = "~millrace/ErrorPolicy"

/**
 * What an operator does with a record on which user code throws.
 *
 * @category models
 * @since 0.1.0
 */
export type ErrorPolicy = Settled | Retry

/**
 * A policy that settles the record's fate at once.
 *
 * @category models
 * @since 0.1.0
 */
export type Settled = Fail | Skip | DeadLetter

/**
 * Ends the job with the error.
 *
 * @category models
 * @since 0.1.0
 */
export interface Fail extends Pipeable {
  readonly [TypeId]: typeof TypeId
  readonly _tag: "Fail"
}

/**
 * Counts the record and goes on without it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Skip extends Pipeable {
  readonly [TypeId]: typeof TypeId
  readonly _tag: "Skip"
}

/**
 * Sends the record and its error to the operator's dead letters.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeadLetter extends Pipeable {
  readonly [TypeId]: typeof TypeId
  readonly _tag: "DeadLetter"
}

/**
 * Tries the record again on a schedule, and settles it when the schedule has ended.
 *
 * @category models
 * @since 0.1.0
 */
export interface Retry extends Pipeable {
  readonly [TypeId]: typeof TypeId
  readonly _tag: "Retry"
  readonly schedule: Schedule<unknown>
  readonly then: Settled
}

const Proto = {
  [TypeId]: TypeId,
  pipe() {
    return pipeArguments(this, arguments)
  }
}

/**
 * Returns whether a value is an error policy.
 *
 * @category guards
 * @since 0.1.0
 */
export const isErrorPolicy = (u: unknown): u is ErrorPolicy => hasProperty(u, TypeId)

/**
 * Ends the job with the error, naming the operator and the record.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fail: Fail = Object.assign(Object.create(Proto), { _tag: "Fail" })

/**
 * Counts the record and goes on without it; event time still advances by it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const skip: Skip = Object.assign(Object.create(Proto), { _tag: "Skip" })

/**
 * Sends the record and its error to the operator's dead letters, under the same guarantee as its results.
 *
 * @category constructors
 * @since 0.1.0
 */
export const deadLetter: DeadLetter = Object.assign(Object.create(Proto), { _tag: "DeadLetter" })

/**
 * Tries the record again on a schedule, and does what `then` says once the schedule has ended.
 *
 * *Gotchas.* The records behind it wait: a schedule without an end never settles the record.
 *
 * ```ts run
 * import { Schedule } from "effect"
 * import { ErrorPolicy } from "millrace"
 *
 * const policy = ErrorPolicy.retry(Schedule.recurs(3), { then: ErrorPolicy.deadLetter })
 *
 * ErrorPolicy.describe(policy) // => "retry(then dead letter)"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const retry = (schedule: Schedule<unknown>, options: { readonly then: Settled }): Retry =>
  Object.assign(Object.create(Proto), { _tag: "Retry" as const, schedule, then: options.then })

/**
 * A policy in words that stay the same from run to run.
 *
 * @category printing
 * @since 0.1.0
 */
export const describe = (self: ErrorPolicy): string => {
  switch (self._tag) {
    case "Fail":
      return "fail"
    case "Skip":
      return "skip"
    case "DeadLetter":
      return "dead letter"
    case "Retry":
      return `retry(then ${describe(self.then)})`
  }
}
