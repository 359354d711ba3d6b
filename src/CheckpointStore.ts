/**
 * Where checkpoints live.
 *
 * A job asks for a store, so that the choice is said aloud: `CheckpointStore.layerMemory` keeps checkpoints in the
 * process, enough to restart a part of the job that failed; the others outlive the process.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import type * as Database from "./Database.ts"
import { fileStore } from "./internal/stores/fileStore.ts"
import { memoryStore } from "./internal/stores/memoryStore.ts"
import { AlongsideRefused, CheckpointStoreError, Fenced } from "./internal/stores/refusals.ts"
import { open } from "./internal/stores/sqliteDatabase.ts"
import { sqliteStore } from "./internal/stores/sqliteStore.ts"
import * as Sqlite from "./Sqlite.ts"

/**
 * A piece of a checkpoint. Its id begins with the epoch that wrote it and a dot: `12.state-0`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Blob {
  readonly id: string
  readonly bytes: Uint8Array
  /** Values that have no encoding and are kept by reference; given only to stores that are not durable. */
  readonly opaque?: ReadonlyArray<unknown> | undefined
}

/**
 * What no kept checkpoint needs any more.
 *
 * @since 0.1.0
 * @category models
 */
export interface Drop {
  readonly epochs: ReadonlyArray<number>
  readonly blobs: ReadonlyArray<string>
}

/**
 * An epoch on its way into the store: everything in it takes effect together, or nothing.
 *
 * @since 0.1.0
 * @category models
 */
export interface Commit {
  readonly job: string
  /** Who writes: what `acquire` answered. */
  readonly attempt: number
  /** Greater than every epoch before. */
  readonly epoch: number
  /** The head of the store that this epoch follows; 0 if it is the first. */
  readonly previous: number
  /** SHA-256 of the manifest, in hexadecimal. */
  readonly digest: string
  readonly manifest: Uint8Array
  /** What is new. The manifest may name blobs of earlier epochs, too. */
  readonly blobs: ReadonlyArray<Blob>
  /** Removed together with the commit, or soon after it. */
  readonly drop: Drop
  /** For the store's own database, in the same transaction; empty for a store without one. */
  readonly alongside: ReadonlyArray<Database.Statement>
}

/**
 * A committed epoch, as a store lists it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Committed {
  readonly epoch: number
  readonly attempt: number
  readonly digest: string
}

/**
 * @since 0.1.0
 * @category services
 */
export class CheckpointStore extends Context.Service<CheckpointStore, {
  /** Whether what was committed outlives the process. */
  readonly isDurable: boolean
  /** The database that checkpoints are written to, if sinks may join their transactions. */
  readonly database: Database.Database | undefined
  /** Takes a job over: answers with the next attempt, from 1. Whoever has an earlier one can commit no more. */
  readonly acquire: (job: string) => Effect.Effect<number, CheckpointStoreError>
  /**
   * Makes an epoch the head. The same commit again (attempt, epoch, digest) changes nothing and succeeds. `Fenced`: the
   * attempt is not the latest, or the head is not `previous`. `AlongsideRefused`: the database does not take a statement of
   * a sink, and nothing was committed; without it, the commit is another one, with another digest.
   */
  readonly commit: (commit: Commit) => Effect.Effect<void, CheckpointStoreError | Fenced | AlongsideRefused>
  /** The epochs that are kept, newest first. */
  readonly list: (job: string) => Effect.Effect<ReadonlyArray<Committed>, CheckpointStoreError>
  /** The manifest of an epoch. */
  readonly manifest: (job: string, epoch: number) => Effect.Effect<Option.Option<Uint8Array>, CheckpointStoreError>
  readonly blob: (job: string, id: string) => Effect.Effect<Option.Option<Blob>, CheckpointStoreError>
  /** Removes what is not needed, outside a commit. */
  readonly remove: (job: string, attempt: number, drop: Drop) => Effect.Effect<void, CheckpointStoreError | Fenced>
}>()("millrace/CheckpointStore") {}

/**
 * Keeps checkpoints in the process: enough to restart a part of the job that failed, gone when the process ends.
 *
 * **Gotchas**
 *
 * Bytes are kept as they are given, not copied: whoever commits them must not write to them afterwards.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<CheckpointStore> = Layer.sync(CheckpointStore, memoryStore)

/**
 * Keeps checkpoints in a SQLite file, in tables named `millrace_…`, written by a thread of its own. Sinks that write to
 * the same database take part in the transaction of a checkpoint.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerSqlite = (
  path: string,
  options?: Sqlite.Options
): Layer.Layer<CheckpointStore | Sqlite.Sqlite, Sqlite.SqliteError> =>
  Layer.effectContext(
    Effect.gen(function*() {
      const database = yield* open(path, options)
      const store = yield* sqliteStore(database)
      return Context.make(Sqlite.Sqlite, database).pipe(Context.add(CheckpointStore, store))
    })
  )

/**
 * Keeps checkpoints in a folder, in a folder per job: files with a length and a checksum, made durable before an epoch is
 * published by the one rename that makes it the head.
 *
 * **Details**
 *
 * Takes the `FileSystem` of the context, or Node's where there is none. It relies on what POSIX says of `rename`: a folder
 * does not replace one that holds something. A file that is damaged is an error which names it, never wrong bytes; who can
 * write to the folder is trusted.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerFileSystem = (folder: string): Layer.Layer<CheckpointStore, CheckpointStoreError> =>
  Layer.effect(CheckpointStore, fileStore(folder))

export {
  /**
   * A database took back a commit because of a statement that a sink had put alongside. The fault is the sink's, not the
   * store's: a job commits without it and lets the sink apply the rows on its own.
   *
   * @since 0.1.0
   * @category errors
   */
  AlongsideRefused,
  /**
   * A store could not do what it was asked: the job, what was tried, the reason. What came of a commit that failed so is
   * not known before the store has been read again.
   *
   * @since 0.1.0
   * @category errors
   */
  CheckpointStoreError,
  /**
   * Somebody else has taken the job over, in this process or another: what this one would write is refused.
   *
   * @since 0.1.0
   * @category errors
   */
  Fenced
}
