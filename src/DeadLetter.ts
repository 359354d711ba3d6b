/**
 * Records that user code refused, kept with the reason.
 *
 * @since 0.1.0
 */

/**
 * A record that an operator with the policy `deadLetter` could not process.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeadLetter {
  /** The operator that refused it. */
  readonly operator: string
  readonly partition: number
  /** The record as the operator got it; what the source read, if it could not be decoded. */
  readonly original: unknown
  readonly reason: string
  /** Event time in epoch milliseconds, where there is one. */
  readonly timestamp: number | undefined
  /** Its key in encoded form, where it has one. */
  readonly key: unknown
}
