/**
 * A consistent picture of a part of a job: positions, event time, states and what is under way, all of one instant.
 *
 * @since 0.1.0
 */
import type { Cursor } from "./internal/runtime/batch.ts"
import type { TaskSnapshot } from "./internal/runtime/task.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Checkpoint {
  readonly job: string
  /** The connected part of the job; parts that share no operator have checkpoints of their own. */
  readonly part: number
  /** Counts the checkpoints of the part, from 1. */
  readonly epoch: number
  /** @internal */
  readonly tasks: ReadonlyArray<TaskSnapshot>
  /** @internal */
  readonly sinks: ReadonlyArray<ReadonlyArray<Cursor>>
}
