/**
 * Who writes to a file, where a process that was stopped may wake in the middle of writing, after another has gone on.
 *
 * ```text
 * rows.ndjson                       what is read
 * rows.ndjson.millrace.json         the sidecar, which says how much of it counts
 * rows.ndjson.millrace-3            owner 3 is in charge; made by exclusive creation, the highest number counts
 * rows.ndjson.millrace-3.rows       what owner 3 is about to put in the place of the file
 * rows.ndjson.millrace-3.json       what owner 3 is about to put in the place of the sidecar
 * ```
 *
 * An owner changes what others see by renames only, and just before each makes sure that his own name is still there. Whoever
 * takes over makes a name with a higher number, removes the names of those before him, and then removes what they have
 * ready. So one who was stopped between his look and his rename finds nothing to rename, and one who had not got so far
 * finds that his name is gone. The successor puts a copy in the place of the file before he writes: what others have open
 * is then a file that nobody finds any more.
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import { at, type FileError, refusal } from "./FileError.ts"
import { folderOf, orMissing, syncFolder } from "./files.ts"

/** Somebody else has become the owner: what was read may be out of date. */
export class Overtaken {
  readonly _tag = "Overtaken"
}

/** How often an operation begins again because somebody else has come between. */
const mostTurns = 32

interface Name {
  readonly name: string
  readonly number: number
  /** Whether it says who is in charge, and is nothing made ready. */
  readonly isOwner: boolean
}

/** What owners have beside a file. */
const namesBeside = (
  fileSystem: FileSystem.FileSystem,
  path: string
): Effect.Effect<ReadonlyArray<Name>, FileError> => {
  const folder = folderOf(path)
  const prefix = `${path.slice(folder === "." ? 0 : folder.length).replace(/^[/\\]/, "")}.millrace-`
  return Effect.map(at(folder, "list")(fileSystem.readDirectory(folder)), (found) =>
    found.flatMap((name) => {
      const rest = name.startsWith(prefix) ? /^(\d{1,15})(\.rows|\.json)?$/.exec(name.slice(prefix.length)) : null
      return rest === null
        ? []
        : [{ name: `${path}.millrace-${rest[0]}`, number: Number(rest[1]), isOwner: rest[2] === undefined }]
    }))
}

const removeAll = (fileSystem: FileSystem.FileSystem, names: ReadonlyArray<Name>): Effect.Effect<void, FileError> =>
  Effect.forEach(names, ({ name }) => at(name, "remove")(orMissing(fileSystem.remove(name))), { discard: true })

/** Fences off all owners, without becoming one. */
export const withoutOwners = Effect.fnUntraced(function*(fileSystem: FileSystem.FileSystem, path: string) {
  yield* removeAll(fileSystem, (yield* namesBeside(fileSystem, path)).filter(({ isOwner }) => isOwner))
  yield* removeAll(fileSystem, yield* namesBeside(fileSystem, path))
})

/** One run that writes to a file. */
export class FileOwner {
  private readonly fileSystem: FileSystem.FileSystem
  private readonly path: string
  /** As it is in names; undefined for one who is not in charge. */
  private own: number | undefined
  /** Others may still have the file open. */
  private isShared = false
  /** The sidecar has this number, or nobody can have a number that it has not. */
  private isRecorded = false

  constructor(fileSystem: FileSystem.FileSystem, path: string) {
    this.fileSystem = fileSystem
    this.path = path
  }

  /** To be written into the sidecar, so that numbers are not used again. */
  get number(): number {
    return this.own ?? 0
  }

  /** Whether the file is to be replaced before it is written to. */
  get mustReplace(): boolean {
    return this.isShared
  }

  /** Tries an operation until nobody comes between. It must begin with reading what it relies on. */
  inTurn<A, E, R>(
    operation: Effect.Effect<A, E | Overtaken, R>
  ): Effect.Effect<A, Exclude<E, Overtaken> | FileError, R> {
    const isOvertaken = (error: E | Overtaken): error is Overtaken & E => error instanceof Overtaken
    return operation.pipe(
      Effect.retry({ while: isOvertaken, times: mostTurns }),
      Effect.catchIf(
        isOvertaken,
        () =>
          Effect.fail(
            refusal(
              this.path,
              "write epochs to",
              "another process takes it over again and again. Let one run at a time"
            )
          )
      )
    ) as Effect.Effect<A, Exclude<E, Overtaken> | FileError, R> // `catchIf` takes the guard's type from an error that is generic here.
  }

  /** Makes sure to be in charge. Fails with `Overtaken` after a change of owners. `last` is the number in the sidecar. */
  take(last: number | undefined): Effect.Effect<void, FileError | Overtaken> {
    return Effect.suspend(() => this.own === undefined ? this.takeOver(last) : Effect.void)
  }

  private readonly takeOver = Effect.fnUntraced(
    function*(this: FileOwner, last: number | undefined): Effect.fn.Return<never, FileError | Overtaken> {
      const { fileSystem, path } = this
      const kind = yield* at(path, "look at")(orMissing(fileSystem.lstat(path)))
      if (kind?.type === "SymbolicLink") {
        return yield* refusal(
          path,
          "write epochs to",
          "it is a symbolic link, which would be lost when the file is replaced after a crash. Give the path it leads to"
        )
      }
      const before = yield* namesBeside(fileSystem, path)
      const number = before.reduce((most, { number }) => Math.max(most, number), last ?? 0) + 1
      const name = this.nameOf(number)
      const isMade = yield* fileSystem.open(name, { flag: "wx" }).pipe(
        Effect.scoped,
        Effect.as(true),
        Effect.catchIf(({ reason }) => reason._tag === "AlreadyExists", () => Effect.succeed(false)),
        at(name, "make")
      )
      if (!isMade) return yield* Effect.fail(new Overtaken())
      const found = yield* namesBeside(fileSystem, path)
      const earlier = found.filter((name) => name.number < number)
      yield* removeAll(fileSystem, earlier.filter(({ isOwner }) => isOwner))
      // Looked up again: until his name was gone, one of them may have made something ready.
      const ready = yield* namesBeside(fileSystem, path)
      yield* removeAll(fileSystem, ready.filter((name) => name.number < number))
      // Without a number in the sidecar, there may have been an owner of whom nothing is known.
      const isUnknown = last === undefined && (yield* at(path, "look at")(fileSystem.exists(path)))
      this.isShared = earlier.length > 0 || isUnknown
      this.isRecorded = !this.isShared
      this.own = number
      return yield* Effect.fail(new Overtaken())
    }
  )

  /** Fails with `Overtaken` where somebody else is in charge by now. */
  readonly assure = Effect.fnUntraced(function*(this: FileOwner) {
    const name = this.nameOf(this.number)
    if (yield* at(name, "look at")(this.fileSystem.exists(name))) return
    this.own = undefined
    // Nobody else uses these names.
    yield* Effect.exit(this.fileSystem.remove(`${name}.rows`))
    yield* Effect.exit(this.fileSystem.remove(`${name}.json`))
    return yield* Effect.fail(new Overtaken())
  })

  /** Puts a sidecar with the owner's number in the place of the one that is there, on the disk. */
  replaceSidecar(sidecar: string, content: Uint8Array): Effect.Effect<void, FileError | Overtaken> {
    return Effect.suspend(() => {
      const ready = `${this.nameOf(this.number)}.json`
      const written = Effect.scoped(Effect.flatMap(
        at(ready, "open")(this.fileSystem.open(ready, { flag: "w" })),
        (file) => Effect.andThen(at(ready, "write")(file.writeAll(content)), at(ready, "sync")(file.sync))
      ))
      return Effect.andThen(written, this.publish(ready, sidecar)).pipe(
        Effect.andThen(Effect.sync(() => void (this.isRecorded = true)))
      )
    })
  }

  /** Puts a copy of the file's beginning in its place, on the disk, so that nobody else has it open. */
  readonly replaceFile = Effect.fnUntraced(function*(this: FileOwner, length: number) {
    const { fileSystem, path } = this
    const ready = `${this.nameOf(this.number)}.rows`
    if (length > 0) yield* at(ready, `copy ${path} to`)(fileSystem.copyFile(path, ready))
    const there = length > 0 ? undefined : yield* at(path, "look at")(orMissing(fileSystem.stat(path)))
    const mode = there?.mode === undefined ? {} : { mode: there.mode & 0o7777 }
    yield* Effect.scoped(Effect.gen(function*() {
      const file = yield* at(ready, "open")(fileSystem.open(ready, { flag: length > 0 ? "a" : "w", ...mode }))
      // What an earlier owner has not finished is copied as well.
      if (length > 0) yield* at(ready, "truncate")(file.truncate(length))
      yield* at(ready, "sync")(file.sync)
    }))
    yield* this.publish(ready, path)
    this.isShared = false
  })

  private readonly publish = Effect.fnUntraced(function*(this: FileOwner, ready: string, to: string) {
    yield* this.assure()
    const renamed = yield* Effect.result(this.fileSystem.rename(ready, to))
    if (renamed._tag === "Failure") {
      // Whoever has taken over has removed what was ready.
      if (renamed.failure.reason._tag === "NotFound") yield* this.assure()
      return yield* at(to, "replace")(Effect.fail(renamed.failure))
    }
    yield* syncFolder(this.fileSystem, folderOf(to))
  })

  /** The last word of a run that ends between two operations: nobody has the file open, and the next need not copy it. */
  get leave(): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.own === undefined || this.isShared || !this.isRecorded) return Effect.void
      const name = this.nameOf(this.own)
      this.own = undefined
      return Effect.asVoid(Effect.exit(this.fileSystem.remove(name)))
    })
  }

  private nameOf(number: number): string {
    return `${this.path}.millrace-${number}`
  }
}
