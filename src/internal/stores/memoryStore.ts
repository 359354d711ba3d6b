/** Checkpoints in the process. Every operation is one step, so nothing can come between. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Blob, CheckpointStore, Committed, Drop } from "../../CheckpointStore.ts"
import { CheckpointStoreError, type Fenced, fenced, judge, operations, unkept } from "./refusals.ts"

interface Kept {
  attempt: number
  readonly epochs: Map<number, Committed & { readonly manifest: Uint8Array }>
  readonly blobs: Map<string, Blob>
}

export const memoryStore = (): CheckpointStore["Service"] => {
  const jobs = new Map<string, Kept>()
  const nothing: Kept = { attempt: 0, epochs: new Map(), blobs: new Map() }
  const find = (job: string): Kept => jobs.get(job) ?? nothing

  const list = ({ epochs }: Kept): ReadonlyArray<Committed> =>
    Array.from(epochs.values(), ({ attempt, digest, epoch }) => ({ epoch, attempt, digest }))
      .sort((a, b) => b.epoch - a.epoch)

  const drop = (kept: Kept, { blobs, epochs }: Drop) => {
    for (const epoch of epochs) kept.epochs.delete(epoch)
    for (const id of blobs) kept.blobs.delete(id)
  }

  return {
    isDurable: false,
    database: undefined,
    acquire: (job) =>
      Effect.sync(() => {
        const kept = jobs.get(job) ?? { attempt: 0, epochs: new Map(), blobs: new Map() }
        jobs.set(job, kept)
        return ++kept.attempt
      }),
    commit: (commit) =>
      Effect.suspend((): Effect.Effect<void, CheckpointStoreError | Fenced> => {
        const { attempt, digest, epoch, job, manifest } = commit
        const cause = unkept(commit, { database: false, isDurable: false })
        if (cause !== undefined) {
          return Effect.fail(new CheckpointStoreError({ job, operation: operations.commit(epoch), cause }))
        }
        const kept = find(job)
        const judgement = judge(commit, { attempt: kept.attempt, epochs: list(kept) })
        if (judgement === "done") return Effect.void
        if (judgement !== "new") return Effect.fail(judgement)
        for (const blob of commit.blobs) kept.blobs.set(blob.id, blob)
        kept.epochs.set(epoch, { epoch, attempt, digest, manifest })
        drop(kept, commit.drop)
        return Effect.void
      }),
    list: (job) => Effect.sync(() => list(find(job))),
    manifest: (job, epoch) => Effect.sync(() => Option.fromUndefinedOr(find(job).epochs.get(epoch)?.manifest)),
    blob: (job, id) => Effect.sync(() => Option.fromUndefinedOr(find(job).blobs.get(id))),
    remove: (job, attempt, what) =>
      Effect.suspend(() => {
        const kept = find(job)
        const refusal = fenced(job, attempt, operations.remove, kept.attempt)
        if (refusal !== undefined) return Effect.fail(refusal)
        drop(kept, what)
        return Effect.void
      })
  }
}
