/**
 * Records that user code refused, kept with the reason.
 *
 * @since 0.1.0
 */
import type { DeadLetter as TaskDeadLetter } from "./internal/runtime/task.ts"

/**
 * A record that an operator with the policy `deadLetter` could not process: the operator and partition, the original, the
 * reason, and its event time and key where it has them.
 *
 * @since 0.1.0
 * @category models
 */
export type DeadLetter = TaskDeadLetter
