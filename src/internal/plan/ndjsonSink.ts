/**
 * Lines of JSON in a file, with a sidecar beside it that says which epoch wrote it last and how long it was then.
 *
 * What lies beyond that length was never applied: a crash came between the rows and the sidecar. The sidecar is replaced
 * as a whole, after the rows are on the disk. `fileOwner.ts` keeps those out who have been taken over.
 */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import type { Scope } from "effect/Scope"
import type { Application, EpochOpening, EpochWriter, Marker, Opening, SinkPosition, Writer } from "../../Sink.ts"
import { hashKey } from "../state/keyIdentity.ts"
import { at, FileError, refusal } from "./FileError.ts"
import { FileOwner, type Overtaken, withoutOwners } from "./fileOwner.ts"
import { contentOf, folderOf, makeFolders, sizeOf, syncFolder } from "./files.ts"
import { encodeLines } from "./ndjsonFile.ts"
import { hasMoved, isSame, type SinkFenced } from "./SinkFenced.ts"

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
  yield* withoutOwners(fileSystem, path)
  const bytes = yield* contentOf(fileSystem, sidecar)
  if (bytes === undefined) return
  if (!replaced) {
    const { length } = yield* decodeSidecar(path, bytes)
    const size = yield* sizeOf(fileSystem, path)
    if (size !== undefined && size > length) yield* at(path, "truncate")(fileSystem.truncate(path, length))
  }
  yield* at(sidecar, "remove")(fileSystem.remove(sidecar))
})

// ---------------------------------------------------------------------------------------------------------------------
// rows by epoch
// ---------------------------------------------------------------------------------------------------------------------

export const openEpochs = (path: string, encode: Encode) => (opening: EpochOpening) => {
  // Who opens the sink again is the same owner still, and writes on where a failure has left the file.
  let owner: FileOwner | undefined
  return Effect.gen(function*(): Effect.fn.Return<
    EpochWriter<unknown, FileError> & { readonly position: SinkPosition<FileError> },
    never,
    FileSystem.FileSystem | Scope
  > {
    const fileSystem = yield* FileSystem.FileSystem
    const file = new EpochFile(fileSystem, path, opening, owner ??= new FileOwner(fileSystem, path))
    yield* Effect.addFinalizer(() => file.leave)
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
}

/** Each operation reads the sidecar again: it is the only thing that all writers of the file share. */
class EpochFile {
  private readonly fileSystem: FileSystem.FileSystem
  private readonly path: string
  private readonly opening: EpochOpening
  private readonly owner: FileOwner
  /** Where the file stood when this writer saw it last. */
  private seen: Marker | undefined
  /** An operation has begun, and not come to its end. */
  private isAtWork = false

  constructor(fileSystem: FileSystem.FileSystem, path: string, opening: EpochOpening, owner: FileOwner) {
    this.fileSystem = fileSystem
    this.path = path
    this.opening = opening
    this.owner = owner
  }

  /** After a failure the file stays with its owner, who will be back. */
  get leave(): Effect.Effect<void> {
    return Effect.suspend(() => this.isAtWork ? Effect.void : this.owner.leave)
  }

  recover(): Effect.Effect<Marker | undefined, FileError> {
    return this.inTurn(Effect.gen({ self: this }, function*() {
      const found = yield* this.standing()
      if (found === undefined) return undefined
      yield* this.owner.take(found.writer)
      const size = yield* sizeOf(this.fileSystem, this.path)
      // A file that ends before its length is for the next application to refuse.
      const isShorter = size === undefined || size < found.length
      if (!isShorter && (size > found.length || this.owner.mustReplace)) yield* this.append(found.length, [])
      this.seen = markerOf(found)
      return this.seen
    }))
  }

  apply({ after, marker, prepared }: Application): Effect.Effect<void, FileError | SinkFenced> {
    return this.inTurn(Effect.gen({ self: this }, function*() {
      const found = yield* this.standing()
      const moved = hasMoved(this.opening.sink, found, after, marker)
      if (typeof moved !== "boolean") return yield* moved
      this.seen = markerOf(found!)
      if (moved) return
      // What stands where another epoch ended stands somewhere.
      const { history, length, ...last } = found!
      yield* this.owner.take(last.writer)
      const written = prepared.reduce((sum, { bytes }) => sum + bytes.length, 0)
      yield* this.append(length, prepared)
      const earlier = [...history, { ...markerOf(last), length }].slice(-keptEpochs)
      yield* this.replaceSidecar({ ...this.opening, ...marker, length: length + written, history: earlier })
      this.seen = marker
    }))
  }

  /** The sidecar first: whatever the file holds then lies beyond its length. */
  begin(marker: Marker, from: Marker | undefined): Effect.Effect<void, FileError | SinkFenced> {
    return this.inTurn(Effect.gen({ self: this }, function*() {
      yield* makeFolders(this.fileSystem, this.path)
      const found = yield* this.standing()
      const moved = hasMoved(this.opening.sink, found, from, marker)
      if (typeof moved !== "boolean") return yield* moved
      yield* this.owner.take(found?.writer)
      if (!moved) yield* this.replaceSidecar({ ...this.opening, ...marker, length: 0, history: [] })
      yield* this.append(0, [])
      this.seen = marker
    }))
  }

  readonly knows = Effect.fnUntraced(function*(this: EpochFile, to: Marker) {
    const found = yield* this.standing()
    return found !== undefined && (isSame(found, to) || found.history.some((earlier) => isSame(earlier, to)))
  })

  rewind(to: Marker): Effect.Effect<boolean, FileError> {
    return this.inTurn(Effect.gen({ self: this }, function*() {
      const found = yield* this.standing()
      if (found === undefined) return false
      if (isSame(found, to)) return true
      // What another run has applied since is not to be taken back by one that knows nothing of it.
      if (!isSame(found, this.seen ??= markerOf(found))) return false
      const place = found.history.findLastIndex((earlier) => isSame(earlier, to))
      const target = found.history[place]
      if (target === undefined) return false
      yield* this.owner.take(found.writer)
      yield* this.refuseShorter(target.length)
      yield* this.replaceSidecar({ ...this.opening, ...target, history: found.history.slice(0, place) })
      yield* this.append(target.length, [])
      this.seen = to
      return true
    }))
  }

  private inTurn<A, E>(operation: Effect.Effect<A, E>): Effect.Effect<A, Exclude<E, Overtaken> | FileError> {
    return Effect.suspend(() => {
      this.isAtWork = true
      return Effect.tap(this.owner.inTurn(operation), () => Effect.sync(() => void (this.isAtWork = false)))
    })
  }

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
      const isReplaced = this.owner.mustReplace
      if (isReplaced) yield* this.owner.replaceFile(length)
      const file = yield* at(path, "open")(this.fileSystem.open(path, { flag: "a" }))
      // What is open now was in its place while this owner was in charge: nobody else takes it for theirs.
      yield* this.owner.assure()
      if (isReplaced && pieces.length === 0) return
      if (!isReplaced && size !== undefined && size > length) yield* at(path, "truncate")(file.truncate(length))
      for (const { bytes } of pieces) yield* at(path, "write")(file.writeAll(bytes))
      yield* at(path, "sync")(file.sync)
      if (size === undefined) yield* syncFolder(this.fileSystem, folderOf(path))
    },
    Effect.scoped
  )

  private replaceSidecar(content: Omit<Sidecar, "writer">): Effect.Effect<void, FileError | Overtaken> {
    return Effect.suspend(() =>
      this.owner.replaceSidecar(
        sidecarOf(this.path),
        utf8.encode(encodeSidecar({ ...content, writer: this.owner.number }))
      )
    )
  }
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
  /** The number of the owner who wrote it; missing where there were none yet. */
  writer: Schema.optionalKey(Natural),
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
const checked = ({ digest, epoch, history, job, length, lineage, sink, writer }: Sidecar) => ({
  format,
  job,
  sink,
  lineage,
  epoch,
  digest,
  length,
  ...writer === undefined ? {} : { writer },
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
