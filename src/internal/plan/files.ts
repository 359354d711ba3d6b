/** What sinks do to files and folders besides writing rows. */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import { at, type FileError } from "./FileError.ts"

/** What a path is in; `.` for a name alone. */
export const folderOf = (path: string): string => {
  const folder = path.replace(/[/\\][^/\\]*$/, "")
  return folder === path ? "." : folder === "" ? "/" : folder
}

/** Undefined where there is no such file. */
export const orMissing = <A>(effect: Effect.Effect<A, PlatformError>): Effect.Effect<A | undefined, PlatformError> =>
  Effect.catchIf(effect, ({ reason }) => reason._tag === "NotFound", () => Effect.succeed(undefined))

export const contentOf = (fileSystem: FileSystem.FileSystem, path: string) =>
  at(path, "read")(orMissing(fileSystem.readFile(path)))

export const sizeOf = (fileSystem: FileSystem.FileSystem, path: string) =>
  at(path, "look at")(orMissing(Effect.map(fileSystem.stat(path), ({ size }) => Number(size))))

/** Makes the folders on the way to a file, and each of them known to the one above on the disk. */
export const makeFolders = Effect.fnUntraced(function*(fileSystem: FileSystem.FileSystem, path: string) {
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
