/** What every store refuses, in the same words. */
import type { Commit, Committed } from "../../CheckpointStore.ts"
import { AlongsideRefused, CheckpointStoreError, Fenced } from "../plan/storeErrors.ts"

export { AlongsideRefused, CheckpointStoreError, Fenced }

/** How operations are called in errors. */
export const operations = {
  acquire: "take the job over",
  commit: (epoch: number) => `commit epoch ${epoch}`,
  list: "list its epochs",
  manifest: (epoch: number) => `read the manifest of epoch ${epoch}`,
  blob: (id: string) => `read "${id}"`,
  remove: "remove what it does not need"
}

/** Where a job stands in a store. */
export interface Standing {
  /** The latest attempt; 0 before the first. */
  readonly attempt: number
  /** Newest first. */
  readonly epochs: ReadonlyArray<Committed>
}

/** Whether somebody with this attempt may still write. */
export const fenced = (job: string, attempt: number, operation: string, latest: number): Fenced | undefined =>
  attempt === latest && attempt > 0
    ? undefined
    : new Fenced({ job, operation, problem: `its attempt is ${attempt}, and the latest is ${latest}` })

/** Whether a commit is to be done, is done already, or is refused. */
export const judge = (
  { attempt, digest, epoch, job, previous }: Commit,
  { attempt: latest, epochs }: Standing
): "new" | "done" | Fenced => {
  const operation = operations.commit(epoch)
  const refusal = fenced(job, attempt, operation, latest)
  if (refusal !== undefined) return refusal
  const same = epochs.find((committed) => committed.epoch === epoch)
  if (same !== undefined && same.attempt === attempt && same.digest === digest) return "done"
  const refuse = (problem: string) => new Fenced({ job, operation, problem })
  if (same !== undefined) return refuse(`attempt ${same.attempt} has committed it with the digest ${same.digest}`)
  const head = epochs[0]?.epoch ?? 0
  if (head !== previous) return refuse(`it follows epoch ${previous}, and the store stands at ${head}`)
  return Number.isSafeInteger(epoch) && epoch > head
    ? "new"
    : refuse(`it does not come after epoch ${head}, where the store stands`)
}

/** What a commit holds that a store cannot keep. */
export const unkept = (
  { alongside, blobs }: Commit,
  { database, isDurable }: { readonly database: boolean; readonly isDurable: boolean }
): Error | undefined => {
  if (!database && alongside.length > 0) {
    return new Error(
      "it has no database for statements alongside; use CheckpointStore.layerSqlite or Postgres.layerCheckpointStore"
    )
  }
  const opaque = isDurable ? blobs.find((blob) => (blob.opaque ?? []).length > 0) : undefined
  return opaque === undefined
    ? undefined
    : new Error(`"${opaque.id}" holds values without an encoding; give the records a schema, or use layerMemory`)
}
