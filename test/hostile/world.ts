/** Jobs whose checkpoints and results lie on a disk in memory, to be damaged, forged, or written to when nothing works. */
import { Effect, type Exit, FileSystem } from "effect"
import { CheckpointStore, Sink, Source } from "millrace"
import { decodeManifest, type Manifest } from "../../src/internal/checkpoint/manifest.ts"
import { type Kind, Reading, tumbling } from "../recovery/jobs.ts"
import { expected, type Medium, type Outcome, Outside, pass, run, type Store, toTheEnd } from "../recovery/world.ts"
import { type Around, live, Power } from "../support/crashing.ts"
import { FolderDisk } from "../support/folderDisk.ts"

export const seed = 7

/** Small: a checkpoint of it has a few kilobytes. */
export const kind: Kind = tumbling(90)

export const reference: Outcome = expected(kind)

export const results = "/results"

export const linesOf = (text: string | undefined): ReadonlyArray<unknown> =>
  (text ?? "").split("\n").filter((line) => line !== "").map((line) => JSON.parse(line))

export const onDisk = (disk: FolderDisk): Medium => ({
  sink: (name) => Sink.ndjson<unknown>(`${results}/${name}.ndjson`),
  contents: (name) => Effect.sync(() => linesOf(disk.read(`${results}/${name}.ndjson`)))
})

const nothing: Around = (_, effect) => effect

/** Uses the store in the files of a disk. */
export const inFiles = <A>(
  fileSystem: FileSystem.FileSystem,
  use: (store: Store) => Effect.Effect<A, unknown>
): Effect.Effect<A, unknown> =>
  Effect.flatMap(CheckpointStore.CheckpointStore, use).pipe(
    Effect.provide(CheckpointStore.layerFileSystem("/store")),
    Effect.provideService(FileSystem.FileSystem, fileSystem)
  )

/** One life of the job, to its end. `opened` hears where its source is opened. */
export const lifeOn = (
  disk: FolderDisk,
  options: {
    readonly around?: Around
    readonly fileSystem?: FileSystem.FileSystem
    readonly store?: (store: Store) => Store
    readonly retain?: number
    readonly start?: "resume" | "afresh"
    readonly opened?: (position: Source.Position | undefined) => void
  } = {}
): Effect.Effect<Outcome, unknown> => {
  const { around = nothing, fileSystem = disk.fileSystem, opened = () => {}, store = (store) => store } = options
  const outside = new Outside(onDisk(disk))
  const parts = outside.parts(around, () => pass(12))
  const job = kind.make({
    ...parts,
    source: (name, splits) => {
      const source = parts.source(name, splits)
      const { body } = source
      if (body._tag !== "Read") throw new Error("it can be read")
      return Source.make({
        ...body,
        description: name,
        bounded: true,
        schema: Reading,
        open: (split, position) =>
          Effect.suspend(() => {
            opened(position)
            return body.open(split, position)
          })
      }) as Source.Source<Reading, unknown>
    }
  })
  const { retain = 3, start = "resume" } = options
  return Effect.andThen(inFiles(fileSystem, (inner) => toTheEnd(job, store(inner), { retain, start })), outside.outcome)
}

export const manifestsOn = (disk: FolderDisk): ReadonlyArray<readonly [path: string, manifest: Manifest]> =>
  disk.files.filter((path) => path.includes("/manifest-"))
    // Behind the frame.
    .map((path) => [path, decodeManifest(disk.bytes(path).slice(16))] as const)
    .sort(([, a], [, b]) => a.epoch - b.epoch)

/**
 * A disk as the job left it when its power failed: after so many epochs or a few more, the last of which is durable and has
 * rows that are not in the files of its sinks yet.
 */
export const left = async (epochs: number, retain = 3): Promise<FolderDisk> => {
  const disk = new FolderDisk()
  const power = new Power((point) => point === "after the last commit")
  const store = (inner: Store): Store => ({
    ...inner,
    commit: (commit) => {
      const isLast = commit.epoch >= epochs && commit.blobs.some(({ id }) => id.includes("sink"))
      return power.around(isLast ? "the last commit" : "a commit", inner.commit(commit))
    }
  })
  await run(live(power, lifeOn(disk, { store, retain })), seed, { pace: 5 })
  if (!power.hasFailed) throw new Error(`it has ended before epoch ${epochs}`)
  return disk.copy()
}

/** The number of the last epoch on a disk. */
export const headOn = (disk: FolderDisk): number => manifestsOn(disk).at(-1)![1].epoch

/** With no time passing. */
export const runOn = (
  disk: FolderDisk,
  options?: Parameters<typeof lifeOn>[1]
): Promise<Exit.Exit<Outcome, unknown>> => run(lifeOn(disk, options), seed, { pace: 5 })
