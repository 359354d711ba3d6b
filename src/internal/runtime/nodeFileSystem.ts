/**
 * The file system of Node, for jobs whose context holds none: what sources and sinks need, over `node:fs/promises`.
 *
 * Node's module is loaded by the first operation, so that importing Millrace loads nothing and works where there is no
 * Node. Results and error tags are those of `@effect/platform-node`; what is missing here fails and says so.
 */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import { badArgument, PlatformError, systemError, type SystemErrorTag } from "effect/PlatformError"
import type { Scope } from "effect/Scope"
import * as Stream from "effect/Stream"
import type { BigIntStats, Dirent } from "node:fs"
import type * as Fs from "node:fs/promises"

type Node = typeof Fs

const module = "FileSystem"

const tags: Readonly<Record<string, SystemErrorTag>> = {
  EACCES: "PermissionDenied",
  EBUSY: "Busy",
  EEXIST: "AlreadyExists",
  EISDIR: "BadResource",
  ELOOP: "BadResource",
  ENOENT: "NotFound",
  ENOTDIR: "BadResource",
  EPERM: "PermissionDenied"
}

const platformError = (method: string, path: string) => (cause: unknown): PlatformError => {
  if (cause instanceof PlatformError) return cause
  const { code, message, syscall } = cause as NodeJS.ErrnoException
  return code?.startsWith("ERR_INVALID_") === true || code === "ERR_OUT_OF_RANGE"
    ? badArgument({ module, method, description: message, cause })
    : systemError({
      _tag: tags[code ?? ""] ?? "Unknown",
      module,
      method,
      pathOrDescriptor: path,
      syscall,
      description: message,
      cause
    })
}

const unable = (method: string, path: unknown, description: string): PlatformError =>
  systemError({
    _tag: "Unknown",
    module,
    method,
    pathOrDescriptor: typeof path === "string" ? path : undefined,
    description
  })

const missing = "not supported by Millrace's built-in file system: provide NodeServices.layer"

const refuse = (method: string) => (path?: unknown): Effect.Effect<never, PlatformError> =>
  Effect.fail(unable(method, path, missing))

let loaded: Promise<Node> | undefined

const call = <A>(
  method: string,
  path: string,
  use: (node: Node, signal: AbortSignal) => Promise<A>
): Effect.Effect<A, PlatformError> =>
  Effect.tryPromise({
    try: (signal) =>
      (loaded ??= import("node:fs/promises")).then(
        (node) => use(node, signal),
        () => Promise.reject(unable(method, path, "there is no node:fs here: provide a FileSystem"))
      ),
    catch: platformError(method, path)
  })

type Kinds = "isFile" | "isDirectory" | "isSymbolicLink" | "isBlockDevice" | "isCharacterDevice" | "isFIFO" | "isSocket"

const typeOf = (is: Pick<Dirent, Kinds>): FileSystem.File.Type => {
  if (is.isFile()) return "File"
  if (is.isDirectory()) return "Directory"
  if (is.isSymbolicLink()) return "SymbolicLink"
  if (is.isBlockDevice()) return "BlockDevice"
  if (is.isCharacterDevice()) return "CharacterDevice"
  if (is.isFIFO()) return "FIFO"
  return is.isSocket() ? "Socket" : "Unknown"
}

/** Node reports unsigned 64-bit numbers as signed ones. */
const unsigned = (value: bigint): bigint => BigInt.asUintN(64, value)

const infoOf = (stat: BigIntStats): FileSystem.File.Info => ({
  type: typeOf(stat),
  mtime: Option.some(stat.mtime),
  atime: Option.some(stat.atime),
  birthtime: Option.some(stat.birthtime),
  dev: unsigned(stat.dev),
  ino: Option.some(unsigned(stat.ino)),
  mode: Number(stat.mode),
  nlink: Option.some(unsigned(stat.nlink)),
  uid: Option.some(Number(stat.uid)),
  gid: Option.some(Number(stat.gid)),
  rdev: Option.some(unsigned(stat.rdev)),
  size: ByteSize.bytes(stat.size),
  blksize: Option.some(ByteSize.bytes(stat.blksize)),
  blocks: Option.some(stat.blocks)
})

/** An open file. It keeps its own position, as every file of Effect does; in append mode only reading moves it. */
const fileOver = (handle: Fs.FileHandle, path: string, append: boolean): FileSystem.File => {
  let position = 0n

  const attempt = <A>(method: string, use: () => Promise<A>): Effect.Effect<A, PlatformError> =>
    Effect.tryPromise({ try: use, catch: platformError(method, path) })

  const fill = (method: string, buffer: Uint8Array, options: FileSystem.File.ReadOptions | undefined) =>
    Effect.suspend(() => {
      const start = options?.position ?? position
      if (start < 0n) {
        return Effect.fail(badArgument({ module, method, description: "Cannot read before the start of the file" }))
      }
      return Effect.map(
        attempt(method, () => handle.read(buffer, 0, buffer.length, start)),
        ({ bytesRead }) => {
          if (options?.position === undefined) position = start + BigInt(bytesRead)
          return bytesRead
        }
      )
    })

  const put = (method: string, buffer: Uint8Array) =>
    Effect.suspend(() => {
      const start = position
      return Effect.map(
        attempt(method, () => handle.write(buffer, 0, buffer.length, append ? null : Number(start))),
        ({ bytesWritten }) => {
          if (!append) position = start + BigInt(bytesWritten)
          return bytesWritten
        }
      )
    })

  return {
    [FileSystem.FileTypeId]: FileSystem.FileTypeId,
    stat: Effect.map(attempt("stat", () => handle.stat({ bigint: true })), infoOf),
    sync: attempt("sync", () => handle.sync()),
    seek: (offset, from) =>
      Effect.suspend(() => {
        const target = from === "start" ? offset : position + offset
        if (target < 0n) {
          const description = "Cannot seek before the start of the file"
          return Effect.fail(badArgument({ module, method: "seek", description }))
        }
        position = target
        return Effect.succeed(target)
      }),
    read: (buffer, options) => fill("read", buffer, options),
    readAlloc: (size, options) =>
      Effect.suspend(() => {
        if (!Number.isSafeInteger(size) || size < 0) {
          const description = "size must be a non-negative integer"
          return Effect.fail(badArgument({ module, method: "readAlloc", description }))
        }
        const buffer = new Uint8Array(size)
        return Effect.map(
          fill("readAlloc", buffer, options),
          (read) => read === 0 ? Option.none() : Option.some(read === size ? buffer : buffer.slice(0, read))
        )
      }),
    truncate: (length) =>
      Effect.map(attempt("truncate", () => handle.truncate(length)), () => {
        const end = BigInt(length ?? 0)
        if (!append && position > end) position = end
      }),
    write: (buffer) => put("write", buffer),
    writeAll: Effect.fnUntraced(function*(buffer) {
      let rest = buffer
      while (rest.length > 0) {
        const written = yield* put("writeAll", rest)
        if (written === 0) {
          return yield* Effect.fail(systemError({
            _tag: "WriteZero",
            module,
            method: "writeAll",
            pathOrDescriptor: path,
            description: "write returned 0 bytes written"
          }))
        }
        rest = rest.subarray(written)
      }
    })
  }
}

const open = (
  path: string,
  options?: Parameters<FileSystem.FileSystem["open"]>[1]
): Effect.Effect<FileSystem.File, PlatformError, Scope> => {
  if (options?.noFollow === true) return refuse("open with noFollow")(path)
  const flag = options?.flag ?? "r"
  return Effect.acquireRelease(
    call("open", path, (node) => node.open(path, flag, options?.mode)),
    (handle) => Effect.orDie(Effect.tryPromise({ try: () => handle.close(), catch: platformError("close", path) }))
  ).pipe(Effect.map((handle) => fileOver(handle, path, flag.startsWith("a"))))
}

export const nodeFileSystem: FileSystem.FileSystem = FileSystem.make({
  open,
  access: (path, options) =>
    call("access", path, (node) => {
      const { F_OK, R_OK, W_OK } = node.constants
      return node.access(path, F_OK | (options?.readable === true ? R_OK : 0) | (options?.writable === true ? W_OK : 0))
    }),
  stat: (path) => Effect.map(call("stat", path, (node) => node.stat(path, { bigint: true })), infoOf),
  lstat: (path) => Effect.map(call("lstat", path, (node) => node.lstat(path, { bigint: true })), infoOf),
  realPath: (path) => call("realPath", path, (node) => node.realpath(path)),
  readFile: (path) => call("readFile", path, (node, signal) => node.readFile(path, { signal })),
  writeFile: (path, data, options) =>
    call("writeFile", path, (node, signal) => node.writeFile(path, data, { ...options, signal })),
  truncate: (path, length) => call("truncate", path, (node) => node.truncate(path, length)),
  makeDirectory: (path, options) => Effect.asVoid(call("makeDirectory", path, (node) => node.mkdir(path, options))),
  readDirectory: (path, options) => call("readDirectory", path, (node) => node.readdir(path, options)),
  readDirectoryEntries: (path) =>
    Effect.map(
      call("readDirectoryEntries", path, (node) => node.readdir(path, { withFileTypes: true })),
      (entries) => entries.map((entry) => ({ name: entry.name, type: typeOf(entry) }))
    ),
  // Where the file system can, the copy shares its blocks with the original.
  copyFile: (from, to) => call("copyFile", from, (node) => node.copyFile(from, to, node.constants.COPYFILE_FICLONE)),
  rename: (oldPath, newPath) => call("rename", oldPath, (node) => node.rename(oldPath, newPath)),
  remove: (path, options) => call("remove", path, (node) => node.rm(path, options)),
  chmod: refuse("chmod"),
  chown: refuse("chown"),
  copy: refuse("copy"),
  link: refuse("link"),
  makeTempDirectory: refuse("makeTempDirectory"),
  makeTempDirectoryScoped: refuse("makeTempDirectoryScoped"),
  makeTempFile: refuse("makeTempFile"),
  makeTempFileScoped: refuse("makeTempFileScoped"),
  readLink: refuse("readLink"),
  symlink: refuse("symlink"),
  utimes: refuse("utimes"),
  watch: (path) => Stream.fail(unable("watch", path, missing))
})
