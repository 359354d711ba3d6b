/**
 * Where checkpoints live.
 *
 * A job asks for a store, so that the choice is said aloud: `CheckpointStore.layerMemory` keeps the latest checkpoint in
 * the process, enough to restart a part of the job that failed.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { Checkpoint } from "./Checkpoint.ts"

/**
 * @since 0.1.0
 * @category services
 */
export class CheckpointStore extends Context.Service<CheckpointStore, {
  /** Makes a checkpoint the latest of its part of the job. */
  readonly commit: (checkpoint: Checkpoint) => Effect.Effect<void>
  /** The latest checkpoint of a part of a job. */
  readonly latest: (job: string, part: number) => Effect.Effect<Option.Option<Checkpoint>>
  /** Forgets what an earlier run of the job has left. */
  readonly clear: (job: string) => Effect.Effect<void>
}>()("millrace/CheckpointStore") {}

/**
 * Keeps the latest checkpoint of each part of a job in memory. It is lost with the process.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<CheckpointStore> = Layer.sync(CheckpointStore, () => {
  const checkpoints = new Map<string, Map<number, Checkpoint>>()
  return CheckpointStore.of({
    commit: (checkpoint) =>
      Effect.sync(() => {
        const parts = checkpoints.get(checkpoint.job) ?? new Map<number, Checkpoint>()
        checkpoints.set(checkpoint.job, parts.set(checkpoint.part, checkpoint))
      }),
    latest: (job, part) => Effect.sync(() => Option.fromUndefinedOr(checkpoints.get(job)?.get(part))),
    clear: (job) => Effect.sync(() => void checkpoints.delete(job))
  })
})
