/**
 * Lines of JSON in a file, with a sidecar beside it that says which epoch wrote it last and how long it was then.
 *
 * What lies beyond that length was never applied: a crash came between the rows and the sidecar. The sidecar is replaced
 * as a whole, after the rows are on the disk.
 */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import * as Schema from "effect/Schema"
import type { Application, EpochOpening, EpochWriter, Marker, Opening, SinkPosition, Writer } from "../../Sink.ts"
import { hashKey } from "../state/keyIdentity.ts"
import { at, FileError, refusal } from "./FileError.ts"
import { encodeLines } from "./ndjsonFile.ts"
import { hasMoved, isSame } from "./SinkFenced.ts"

/** How many earlier epochs a file can be taken back to. */
const keptEpochs = 16

const format = 1

type Encode = (row: unknown) => unknown

const utf8 = new TextEncoder()

const bytesOf = (rows: ReadonlyArray<unknown>, encode: Encode): Uint8Array => utf8.encode(encodeLines(rows, encode))

// ---------------------------------------------------------------------------------------------------------------------
// rows at once
// ---------------------------------------------------------------------------------------------------------------------

export const open = (path: string, encode: Encode) =>
  Effect.fnUntraced(function*({ attempt, isFresh }: Opening) {
    const fileSystem = yield* FileSystem.FileSystem
    const replaced = isFresh && attempt === 1
    yield* makeFolders(fileSystem, path)
    yield* leaveEpochs(fileSystem, path, replaced)
    const file = yield* at(path, "open")(fileSystem.open(path, { flag: replaced ? "w" : "a" }))
    let { size } = yield* at(path, "look at")(file.stat)
    const writer: Writer<unknown, FileError> = {
      write: Effect.fnUntraced(function*(rows) {
        const bytes = yield* Effect.try({
          try: () => bytesOf(rows, encode),
          catch: (cause) => new FileError({ path, operation: "encode a record for", cause })
        })
        yield* at(path, "write")(file.writeAll(bytes)).pipe(
          // Later attempts append: half a line would spoil their first one.
          Effect.tapError(() => Effect.ignore(file.truncate(Number(size)))),
          Effect.uninterruptible
        )
        size = ByteSize.bytes(size + BigInt(bytes.length))
      })
    }
    return writer
  })

/** Rows that are written at once belong to no epoch, so that the sidecar would tell less than the truth. */
const leaveEpochs = Effect.fnUntraced(function*(fileSystem: FileSystem.FileSystem, path: string, replaced: boolean) {
  const sidecar = sidecarOf(path)
  const bytes = yield* contentOf(fileSystem, sidecar)
  if (bytes === undefined) return
  if (!replaced) {
    const { length } = yield* decodeSidecar(path, bytes)
    yield* cutAt(fileSystem, path, length)
  }
  yield* at(sidecar, "remove")(fileSystem.remove(sidecar))
})

// ---------------------------------------------------------------------------------------------------------------------
// rows by epoch
// ---------------------------------------------------------------------------------------------------------------------

export const openEpochs = (path: string, encode: Encode) => (opening: EpochOpening) =>
  Effect.map(FileSystem.FileSystem, (fileSystem): EpochWriter<unknown, FileError> & {
    readonly position: SinkPosition<FileError>
  } => {
    const file = new EpochFile(fileSystem, path, opening)
    return {
      prepare: (rows) => ({ bytes: bytesOf(rows, encode) }),
      // Node goes on with what it was asked for: after an interruption it could replace the sidecar of a later attempt.
      apply: (application) => Effect.uninterruptible(file.apply(application)),
      position: {
        isVolatile: false,
        current: Effect.uninterruptible(Effect.suspend(() => file.recover())),
        begin: (marker, from) => Effect.uninterruptible(file.begin(marker, from)),
        knows: (to) => file.knows(to),
        rewind: (to) => Effect.uninterruptible(file.rewind(to))
      }
    }
  })

/** Each operation reads the sidecar again: it is the only thing that all writers of the file share. */
class EpochFile {
  private readonly fileSystem: FileSystem.FileSystem
  private readonly path: string
  private readonly opening: EpochOpening

  constructor(fileSystem: FileSystem.FileSystem, path: string, opening: EpochOpening) {
    this.fileSystem = fileSystem
    this.path = path
    this.opening = opening
  }

  readonly recover = Effect.fnUntraced(function*(this: EpochFile) {
    const found = yield* this.standing()
    if (found === undefined) return undefined
    yield* cutAt(this.fileSystem, this.path, found.length)
    return markerOf(found)
  })

  readonly apply = Effect.fnUntraced(function*(this: EpochFile, { after, marker, prepared }: Application) {
    const found = yield* this.standing()
    const moved = hasMoved(this.opening.sink, found, after, marker)
    if (typeof moved !== "boolean") return yield* moved
    if (moved) return
    // What stands where another epoch ended stands somewhere.
    const { history, length, ...last } = found!
    const written = prepared.reduce((sum, { bytes }) => sum + bytes.length, 0)
    yield* this.append(length, prepared)
    const earlier = [...history, { ...markerOf(last), length }].slice(-keptEpochs)
    yield* this.replaceSidecar({ ...this.opening, ...marker, length: length + written, history: earlier })
  })

  /** The sidecar first: whatever the file holds then lies beyond its length. */
  readonly begin = Effect.fnUntraced(function*(this: EpochFile, marker: Marker, from: Marker | undefined) {
    yield* makeFolders(this.fileSystem, this.path)
    const moved = hasMoved(this.opening.sink, yield* this.standing(), from, marker)
    if (typeof moved !== "boolean") return yield* moved
    if (!moved) yield* this.replaceSidecar({ ...this.opening, ...marker, length: 0, history: [] })
    yield* this.append(0, [])
  })

  readonly knows = Effect.fnUntraced(function*(this: EpochFile, to: Marker) {
    const found = yield* this.standing()
    return found !== undefined && (isSame(found, to) || found.history.some((earlier) => isSame(earlier, to)))
  })

  readonly rewind = Effect.fnUntraced(function*(this: EpochFile, to: Marker) {
    const found = yield* this.standing()
    if (found === undefined) return false
    if (isSame(found, to)) return true
    const place = found.history.findLastIndex((earlier) => isSame(earlier, to))
    const target = found.history[place]
    if (target === undefined) return false
    yield* this.refuseShorter(target.length)
    yield* this.replaceSidecar({ ...this.opening, ...target, history: found.history.slice(0, place) })
    yield* this.append(target.length, [])
    return true
  })

  /** What the sidecar says, if it is there and ours. */
  private readonly standing = Effect.fnUntraced(function*(this: EpochFile) {
    const bytes = yield* contentOf(this.fileSystem, sidecarOf(this.path))
    if (bytes === undefined) return undefined
    const found = yield* decodeSidecar(this.path, bytes)
    if (found.job === this.opening.job && found.sink === this.opening.sink) return found
    return yield* refusal(
      this.path,
      "write epochs to",
      `sink "${found.sink}" of job "${found.job}" writes to it, and sink "${this.opening.sink}" of job `
        + `"${this.opening.job}" may not. Give each sink a file of its own; if the other is gone for good, remove the file `
        + `and ${sidecarOf(this.path)}`
    )
  })

  private readonly refuseShorter = Effect.fnUntraced(function*(this: EpochFile, length: number) {
    const size = yield* sizeOf(this.fileSystem, this.path)
    if (size !== undefined && size >= length) return size
    if (size === undefined && length === 0) return undefined
    return yield* refusal(
      this.path,
      "append an epoch to",
      `${size === undefined ? "it is missing" : `it has ${size} bytes`}, and ${
        sidecarOf(this.path)
      } says that ${length} `
        + "were written. Somebody has changed it: put back a copy, or remove both files and start the job afresh"
    )
  })

  /** Makes the file end at a length and the pieces after it, on the disk. */
  private readonly append = Effect.fnUntraced(
    function*(this: EpochFile, length: number, pieces: Application["prepared"]) {
      const size = yield* this.refuseShorter(length)
      const { path } = this
      const file = yield* at(path, "open")(this.fileSystem.open(path, { flag: "a" }))
      if (size !== undefined && size > length) yield* at(path, "truncate")(file.truncate(length))
      for (const { bytes } of pieces) yield* at(path, "write")(file.writeAll(bytes))
      yield* at(path, "sync")(file.sync)
      if (size === undefined) yield* syncFolder(this.fileSystem, folderOf(path))
    },
    Effect.scoped
  )

  private readonly replaceSidecar = Effect.fnUntraced(function*(this: EpochFile, content: Sidecar) {
    const sidecar = sidecarOf(this.path)
    const temporary = `${sidecar}.tmp`
    yield* Effect.scoped(Effect.flatMap(
      at(temporary, "open")(this.fileSystem.open(temporary, { flag: "w" })),
      (file) =>
        Effect.andThen(
          at(temporary, "write")(file.writeAll(utf8.encode(encodeSidecar(content)))),
          at(temporary, "sync")(file.sync)
        )
    ))
    yield* at(sidecar, "replace")(this.fileSystem.rename(temporary, sidecar))
    yield* syncFolder(this.fileSystem, folderOf(this.path))
  })
}

// ---------------------------------------------------------------------------------------------------------------------
// the sidecar
// ---------------------------------------------------------------------------------------------------------------------

const Natural = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

const placeFields = { lineage: Schema.String, epoch: Natural, digest: Schema.String, length: Natural }

const sidecarFields = {
  job: Schema.String,
  sink: Schema.String,
  ...placeFields,
  /** Where the file ended after earlier epochs, oldest first. */
  history: Schema.Array(Schema.Struct(placeFields))
}

const Sidecar = Schema.Struct(sidecarFields)
type Sidecar = typeof Sidecar.Type

const decodeStored = Schema.decodeUnknownSync(
  Schema.Struct({ format: Schema.Literal(format), ...sidecarFields, check: Schema.Int })
)

const sidecarOf = (path: string): string => `${path}.millrace.json`

const markerOf = ({ digest, epoch, lineage }: Marker): Marker => ({ lineage, epoch, digest })

/** A fixed order of fields, because the check is made over the text. */
const checked = ({ digest, epoch, history, job, length, lineage, sink }: Sidecar) => ({
  format,
  job,
  sink,
  lineage,
  epoch,
  digest,
  length,
  history: history.map(({ digest, epoch, length, lineage }) => ({ lineage, epoch, digest, length }))
})

const checkOf = (content: Sidecar): number => hashKey(JSON.stringify(checked(content)))

const encodeSidecar = (content: Sidecar): string =>
  JSON.stringify({ ...checked(content), check: checkOf(content) }, undefined, 1)

/** A sidecar that cannot be trusted is refused: a wrong length would cut off what was applied, or keep what was not. */
const decodeSidecar = (path: string, bytes: Uint8Array): Effect.Effect<Sidecar, FileError> =>
  Effect.try({
    try: () => {
      const parsed: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes))
      const stored = decodeStored(parsed)
      if (checkOf(stored) !== stored.check) throw new Error("its check does not fit")
      return stored
    },
    catch: (cause) =>
      refusal(
        sidecarOf(path),
        "trust",
        `it is damaged, or of another version of Millrace (${cause instanceof Error ? cause.message : String(cause)}). `
          + `Put back a copy of it, or remove it together with ${path} and start the job afresh`
      )
  })

// ---------------------------------------------------------------------------------------------------------------------
// files and folders
// ---------------------------------------------------------------------------------------------------------------------

export const folderOf = (path: string): string => {
  const folder = path.replace(/[/\\][^/\\]*$/, "")
  return folder === path ? "." : folder === "" ? "/" : folder
}

const orMissing = <A>(effect: Effect.Effect<A, PlatformError>): Effect.Effect<A | undefined, PlatformError> =>
  Effect.catchIf(effect, ({ reason }) => reason._tag === "NotFound", () => Effect.succeed(undefined))

const contentOf = (fileSystem: FileSystem.FileSystem, path: string) =>
  at(path, "read")(orMissing(fileSystem.readFile(path)))

const sizeOf = (fileSystem: FileSystem.FileSystem, path: string) =>
  at(path, "look at")(orMissing(Effect.map(fileSystem.stat(path), ({ size }) => Number(size))))

/** Takes away what a crash has left beyond a length; a file that ends before it is for the next application to refuse. */
const cutAt = Effect.fnUntraced(function*(fileSystem: FileSystem.FileSystem, path: string, length: number) {
  const size = yield* sizeOf(fileSystem, path)
  if (size !== undefined && size > length) yield* at(path, "truncate")(fileSystem.truncate(path, length))
})

/** Makes the folders on the way to a file, and each of them known to the one above on the disk. */
const makeFolders = Effect.fnUntraced(function*(fileSystem: FileSystem.FileSystem, path: string) {
  const missing: Array<string> = []
  for (let folder = folderOf(path); folder !== "." && folder !== folderOf(folder); folder = folderOf(folder)) {
    if (yield* at(folder, "look at")(fileSystem.exists(folder))) break
    missing.push(folder)
  }
  const folder = folderOf(path)
  if (folder !== ".") yield* at(folder, "make the folder")(fileSystem.makeDirectory(folder, { recursive: true }))
  for (const made of missing.reverse()) yield* syncFolder(fileSystem, folderOf(made))
})

/** Makes the names in a folder outlive a loss of power. */
export const syncFolder = (fileSystem: FileSystem.FileSystem, folder: string): Effect.Effect<void, FileError> =>
  Effect.scoped(Effect.gen(function*() {
    const opened = yield* fileSystem.open(folder, { flag: "r" }).pipe(
      // Windows opens no folders, and keeps their names by itself.
      Effect.catchIf(
        ({ reason }) => reason._tag === "BadResource" || reason._tag === "PermissionDenied",
        () => Effect.succeed(undefined)
      ),
      at(folder, "open the folder")
    )
    if (opened !== undefined) yield* at(folder, "sync the folder")(opened.sync)
  }))
