/**
 * A consistent picture of a job, as a value: taken from a running job, written to a file that people can read, and given to
 * a job to go on from, on any number of partitions.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { CheckpointStoreError, Fenced } from "./CheckpointStore.ts"
import { CheckpointStore } from "./CheckpointStore.ts"
import { CheckpointRefused, RowNotEncodable } from "./FlowError.ts"
import { Malformed, OtherFormat } from "./internal/checkpoint/malformed.ts"
import { format } from "./internal/checkpoint/manifest.ts"
import { canonical as canonicalText, Value, valueOf } from "./internal/checkpoint/value.ts"
import { checkedText, textOf } from "./internal/checkpoint/valueFile.ts"
import { at, type FileError } from "./internal/plan/FileError.ts"
import { folderOf, syncFolder } from "./internal/plan/files.ts"
import { blobsOf } from "./internal/runtime/coordinator.ts"
import { readEpoch, readManifest, refuseFormat, sound } from "./internal/runtime/recovery.ts"
import { ambient } from "./internal/runtime/surroundings.ts"

/**
 * What a job was at one instant: where its sources stood, event time, the state of its operators, the records under way,
 * and what its sinks were still owed. The reference `checkpoint-format` says what each field means.
 *
 * @since 0.1.0
 * @category models
 */
export type Checkpoint = Value

/**
 * The schema of a checkpoint. Its JSON form loses nothing, numbers that JSON has no word for included.
 *
 * @since 0.1.0
 * @category schemas
 */
export const schema: Schema.Codec<Checkpoint, Schema.Json> = Schema.toCodecJson(Value)

/**
 * The checkpoint that a job goes on from, if its program brings one; see `Checkpoint.layer`.
 *
 * @since 0.1.0
 * @category services
 */
export const Start: Context.Reference<Checkpoint | undefined> = Context.Reference<Checkpoint | undefined>(
  "millrace/Checkpoint/Start",
  { defaultValue: () => undefined }
)

/**
 * Has jobs go on from this checkpoint, which becomes the head of a new lineage in their store.
 *
 * **Details**
 *
 * The store remembers that it has taken the checkpoint: when the program is started again with the same layer, the job goes
 * on from where it was. With `{ start: "afresh" }` it goes back to the checkpoint every time.
 *
 * **Gotchas**
 *
 * A transactional sink that has been given later epochs must be able to go back, or the job refuses with
 * `SinkAheadOfCheckpoint`: `Sink.memory` and `Sink.ndjson` can, to their last 16 epochs.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (checkpoint: Checkpoint): Layer.Layer<never> => Layer.succeed(Start, checkpoint)

/**
 * The latest checkpoint of a job; none if nothing was ever committed.
 *
 * @since 0.1.0
 * @category reading
 */
export const latest = (
  job: string
): Effect.Effect<
  Option.Option<Checkpoint>,
  CheckpointStoreError | CheckpointRefused | RowNotEncodable,
  CheckpointStore
> =>
  Effect.gen(function*() {
    const store = yield* CheckpointStore
    const [head] = yield* store.list(job)
    return head === undefined ? Option.none() : Option.some(yield* atEpoch(job, head.epoch))
  })

/**
 * The checkpoint of an epoch that the store still keeps.
 *
 * @since 0.1.0
 * @category reading
 */
export const atEpoch = (
  job: string,
  epoch: number
): Effect.Effect<Checkpoint, CheckpointStoreError | CheckpointRefused | RowNotEncodable, CheckpointStore> =>
  Effect.gen(function*() {
    const store = yield* CheckpointStore
    const read = yield* Effect.catchIf(
      readEpoch(store, job, epoch),
      (failure) => failure instanceof Malformed,
      (malformed) => Effect.fail(refusedAs(job, epoch)(malformed))
    )
    let lost: string | undefined
    const value = yield* sound(() =>
      valueOf(read.manifest, read.tables, ({ id }) => read.blobs.get(id)!, (where) => lost ??= where)
    ).pipe(Effect.mapError(refusedAs(job, epoch)))
    if (lost !== undefined) {
      return yield* new RowNotEncodable({
        at: job,
        problem: "it is no plain data, and the store keeps it by reference"
      })
    }
    return value
  })

/**
 * A checkpoint that a store keeps, as it can be listed without reading what it holds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Listed {
  readonly epoch: number
  /** Of a savepoint. */
  readonly name: string | undefined
  /**
   * `running`: taken under way. `stopped`, `finished`: the last of a run that ended so. `beginning`: nothing has happened yet.
   * `unreadable`: damaged, or of another release, as `problem` says.
   */
  readonly state: "beginning" | "running" | "stopped" | "finished" | "unreadable"
  readonly lineage: string | undefined
  readonly partitions: number | undefined
  /** Epoch milliseconds. */
  readonly takenAt: number | undefined
  /** Rows that its sinks were still owed. */
  readonly pendingRows: number
  readonly problem: string | undefined
}

/**
 * The checkpoints of a job that the store keeps, newest first.
 *
 * @since 0.1.0
 * @category reading
 */
export const list = (job: string): Effect.Effect<ReadonlyArray<Listed>, CheckpointStoreError, CheckpointStore> =>
  Effect.gen(function*() {
    const store = yield* CheckpointStore
    const listed: Array<Listed> = []
    for (const { epoch } of yield* store.list(job)) {
      const manifest = yield* readManifest(store, job, epoch)
      if (manifest instanceof Malformed) {
        const unknown = {
          name: undefined,
          lineage: undefined,
          partitions: undefined,
          takenAt: undefined,
          pendingRows: 0
        }
        listed.push({ epoch, state: "unreadable", ...unknown, problem: manifest.message })
        continue
      }
      const { chain, lineage, name, partitions, sinks, state, takenAt } = manifest
      const pendingRows = sinks.flatMap(({ pending }) => pending).reduce((sum, { rows }) => sum + rows, 0)
      const own = { name, lineage, partitions, takenAt, pendingRows, problem: undefined }
      listed.push({ epoch, state: chain.length === 0 ? "beginning" : state, ...own })
    }
    return listed
  })

/**
 * The savepoints of a job: their names and epochs, newest first.
 *
 * @since 0.1.0
 * @category reading
 */
export const savepoints = (
  job: string
): Effect.Effect<
  ReadonlyArray<{ readonly name: string; readonly epoch: number }>,
  CheckpointStoreError,
  CheckpointStore
> =>
  Effect.gen(function*() {
    const store = yield* CheckpointStore
    const found: Array<{ readonly name: string; readonly epoch: number }> = []
    for (const { epoch } of yield* store.list(job)) {
      const manifest = yield* readManifest(store, job, epoch)
      if (!(manifest instanceof Malformed) && manifest.name !== undefined) found.push({ name: manifest.name, epoch })
    }
    return found
  })

/**
 * The newest savepoint of a name; none if there is none.
 *
 * @since 0.1.0
 * @category reading
 */
export const savepoint = (
  job: string,
  name: string
): Effect.Effect<
  Option.Option<Checkpoint>,
  CheckpointStoreError | CheckpointRefused | RowNotEncodable,
  CheckpointStore
> =>
  Effect.gen(function*() {
    const found = (yield* savepoints(job)).find((one) => one.name === name)
    return found === undefined ? Option.none() : Option.some(yield* atEpoch(job, found.epoch))
  })

/**
 * Removes the savepoints of a name from the store of a job that is not running: it takes the job over for the moment. Answers
 * with how many it has removed; one that is the latest checkpoint stays.
 *
 * @since 0.1.0
 * @category reading
 */
export const removeSavepoint = (
  job: string,
  name: string
): Effect.Effect<number, CheckpointStoreError | Fenced, CheckpointStore> =>
  Effect.gen(function*() {
    const store = yield* CheckpointStore
    const attempt = yield* store.acquire(job)
    const [head, ...others] = yield* store.list(job)
    const kept = new Set<string>()
    const gone = new Map<number, ReadonlyArray<string>>()
    for (const { epoch } of head === undefined ? [] : [head, ...others]) {
      const manifest = yield* readManifest(store, job, epoch)
      if (manifest instanceof Malformed) continue
      if (epoch !== head!.epoch && manifest.name === name) gone.set(epoch, blobsOf(manifest))
      else for (const id of blobsOf(manifest)) kept.add(id)
    }
    const blobs = [...new Set([...gone.values()].flat())].filter((id) => !kept.has(id))
    yield* store.remove(job, attempt, { epochs: [...gone.keys()], blobs })
    return gone.size
  })

/**
 * Writes a checkpoint to a file of JSON, an entry of state to a line or two, for people and for other machines. What was in the
 * file before stays until all of the new is on the disk.
 *
 * @since 0.1.0
 * @category files
 */
export const writeFile = (self: Checkpoint, path: string): Effect.Effect<void, FileError> =>
  Effect.gen(function*() {
    const fileSystem = yield* FileSystem.FileSystem
    const text = textOf(Schema.encodeSync(schema)(self))
    const temporary = `${path}.tmp`
    yield* Effect.scoped(Effect.flatMap(
      fileSystem.open(temporary, { flag: "w" }),
      (file) => Effect.andThen(file.writeAll(new TextEncoder().encode(text)), file.sync)
    )).pipe(
      Effect.andThen(fileSystem.rename(temporary, path)),
      Effect.tapError(() => Effect.ignore(fileSystem.remove(temporary, { force: true }))),
      at(path, "write")
    )
    yield* syncFolder(fileSystem, folderOf(path))
  }).pipe(withFiles)

/**
 * Reads what `writeFile` has written. Anything else is refused.
 *
 * **Details**
 *
 * The last field, `checksum`, is that of all the others. Who edits a file removes it: then nothing is checked but the shape.
 *
 * @since 0.1.0
 * @category files
 */
export const readFile = (path: string): Effect.Effect<Checkpoint, FileError | CheckpointRefused> =>
  Effect.gen(function*() {
    const fileSystem = yield* FileSystem.FileSystem
    const bytes = yield* at(path, "read")(fileSystem.readFile(path))
    return yield* Effect.try({
      try: () => {
        const json = checkedText(bytes)
        const found = (json as { readonly format?: unknown }).format
        if (typeof found === "number" && found !== format) {
          throw new Error(`it has format ${found}, and this release reads format ${format}`)
        }
        return Schema.decodeUnknownSync(schema)(json)
      },
      catch: (cause) =>
        new CheckpointRefused({
          job: path,
          epoch: 0,
          problem: `the file holds no checkpoint: ${cause instanceof Error ? cause.message : String(cause)}`,
          remedy: "Give a file that Checkpoint.writeFile has written, of this release or one whose format it reads"
        })
    })
  }).pipe(withFiles)

/**
 * One text for one state, whatever the epoch, the lineage and the moment: two checkpoints with the same text mean the same.
 *
 * @since 0.1.0
 * @category comparing
 */
export const canonical = (self: Checkpoint): string => canonicalText(self)

/** On the file system of the context, or Node's where there is none. */
const withFiles = <A, E>(effect: Effect.Effect<A, E, FileSystem.FileSystem>): Effect.Effect<A, E> =>
  // The context that is asked for holds what it was asked for.
  Effect.flatMap(
    ambient as Effect.Effect<Context.Context<FileSystem.FileSystem>>,
    (context) => Effect.provideContext(effect, context)
  )

const refusedAs = (job: string, epoch: number) => (malformed: Malformed): CheckpointRefused =>
  malformed instanceof OtherFormat
    ? refuseFormat(job, epoch, malformed)
    : new CheckpointRefused({
      job,
      epoch,
      problem: malformed.message,
      remedy: "Take another epoch, or a savepoint"
    })
