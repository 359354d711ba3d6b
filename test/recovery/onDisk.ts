/** Checkpoints and results as files of a disk in memory. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { CheckpointStore, Sink } from "millrace"
import { type Around, fileSystem } from "../support/crashing.ts"
import type { FolderDisk } from "../support/folderDisk.ts"
import type { Medium, Store } from "./world.ts"

const linesOf = (text: string | undefined): ReadonlyArray<unknown> =>
  (text ?? "").split("\n").filter((line) => line !== "").map((line) => JSON.parse(line))

export const fileOf = (name: string) => `/results/${name}.ndjson`

/** A sink that never goes back behind what was applied to it. */
const onwards = <E>(inner: Sink.Sink<unknown, E, never, "transactional">) =>
  Sink.transactional<unknown, unknown>({
    description: inner.description,
    open: inner.open,
    openEpochs: (opening) =>
      Effect.map(inner.openEpochs!(opening), (writer) => {
        // A transactional sink has a position.
        const { begin, current, isVolatile } = writer.position!
        const position: Sink.SinkPosition<unknown> = {
          isVolatile,
          current,
          begin: (marker, from) =>
            from === undefined || from.digest === ""
              ? begin(marker, from)
              : Effect.fail(new Error(`${inner.description} was to begin anew at epoch ${from.epoch}`))
        }
        return { ...writer, position }
      })
  })

/** The rows of sinks as files of a disk. */
export const onDisk = (disk: FolderDisk): Medium => ({
  // The disk is what is wrapped. A file could be taken back or begun anew, which would hide that a checkpoint is gone.
  sink: (name) => onwards(Sink.ndjson<unknown>(fileOf(name))),
  contents: (name) => Effect.sync(() => linesOf(disk.read(fileOf(name))))
})

/** Uses a store in files of the disk; every change of the disk is counted. */
export const inFiles = <A>(
  disk: FolderDisk,
  around: Around,
  use: (store: Store) => Effect.Effect<A, unknown>
): Effect.Effect<A, unknown> =>
  Effect.flatMap(CheckpointStore.CheckpointStore, use).pipe(
    Effect.provide(CheckpointStore.layerFileSystem("/store")),
    // Last, because the store and the sinks write to the same disk.
    Effect.provideService(FileSystem.FileSystem, fileSystem(around, disk.fileSystem))
  )
