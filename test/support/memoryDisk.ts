/**
 * A disk in memory that remembers what has reached it and what has only been written, and whose power can fail.
 */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { type PlatformError, systemError, type SystemErrorTag } from "effect/PlatformError"
import { nodeFileSystem } from "../../src/internal/runtime/nodeFileSystem.ts"
import { type Loss, losses } from "../../src/internal/simulation/disk.ts"

/** A file or, without bytes, a folder. */
interface Inode {
  bytes: Uint8Array | undefined
  synced: Uint8Array
}

export { type Loss, losses }

export class PowerLost extends Error {
  override readonly message = "the power is lost"
}

const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("/"))) || "/"

const concat = (a: Uint8Array, b: Uint8Array): Uint8Array => {
  const whole = new Uint8Array(a.length + b.length)
  whole.set(a)
  whole.set(b, a.length)
  return whole
}

export class MemoryDisk {
  private names = new Map<string, Inode>([["/", { bytes: undefined, synced: new Uint8Array() }]])
  private syncedNames = new Map(this.names)
  /** How many changes were begun. */
  changes = 0
  /** The change that the power fails at, counted from 1. */
  failAt = Infinity

  read(path: string): string | undefined {
    const bytes = this.names.get(path)?.bytes
    return bytes === undefined ? undefined : new TextDecoder().decode(bytes)
  }

  /** Puts a file there, on the disk, with the folders on the way. */
  write(path: string, content: string | Uint8Array): void {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content
    this.names.set(path, { bytes, synced: bytes })
    this.makeFolder(parentOf(path))
    for (let name = path; name !== "/"; name = parentOf(name)) this.syncedNames.set(name, this.names.get(name)!)
  }

  private makeFolder(path: string): void {
    for (let folder = path; !this.names.has(folder); folder = parentOf(folder)) {
      this.names.set(folder, { bytes: undefined, synced: new Uint8Array() })
    }
  }

  get paths(): ReadonlyArray<string> {
    return [...this.names.keys()].sort()
  }

  /** The same disk once more, with nothing in common. */
  copy(): MemoryDisk {
    const copy = new MemoryDisk()
    const inodes = new Map<Inode, Inode>()
    const copied = (inode: Inode) => {
      const known = inodes.get(inode) ?? { ...inode }
      inodes.set(inode, known)
      return known
    }
    copy.names = new Map([...this.names].map(([path, inode]) => [path, copied(inode)]))
    copy.syncedNames = new Map([...this.syncedNames].map(([path, inode]) => [path, copied(inode)]))
    return copy
  }

  /** What is found when the power is back. */
  reboot(loss: Loss): void {
    this.changes = 0
    this.failAt = Infinity
    if (loss === "new names lost") {
      for (const path of this.names.keys()) if (!this.syncedNames.has(path)) this.names.delete(path)
    }
    if (loss === "all lost" || loss === "names lost") {
      const isReachable = (path: string): boolean =>
        path === "/" || (this.syncedNames.has(path) && isReachable(parentOf(path)))
      this.names = new Map([...this.syncedNames].filter(([path]) => isReachable(path)))
    }
    for (const inode of this.names.values()) {
      if (inode.bytes === undefined) continue
      if (loss === "all lost" || loss === "contents lost") inode.bytes = inode.synced
      if (loss === "contents torn") {
        const kept = Math.min(inode.bytes.length, inode.synced.length)
        // The half of what is new.
        inode.bytes = inode.bytes.slice(0, kept + Math.ceil((inode.bytes.length - kept) / 2))
      }
      inode.synced = inode.bytes
    }
    this.syncedNames = new Map(this.names)
  }

  private fail(tag: SystemErrorTag, method: string, path: string) {
    return Effect.fail(systemError({ _tag: tag, module: "FileSystem", method, pathOrDescriptor: path }))
  }

  /** A change that the power may fail at; writing then gets half way. */
  private change<A>(use: (part: number) => A): Effect.Effect<A> {
    return Effect.suspend(() => {
      this.changes++
      if (this.changes < this.failAt) return Effect.succeed(use(1))
      if (this.changes === this.failAt) use(0.5)
      return Effect.die(new PowerLost())
    })
  }

  private found<A>(
    method: string,
    path: string,
    use: (inode: Inode) => Effect.Effect<A, PlatformError>
  ): Effect.Effect<A, PlatformError> {
    return Effect.suspend(() => {
      const inode = this.names.get(path)
      return inode === undefined ? this.fail("NotFound", method, path) : use(inode)
    })
  }

  private file(inode: Inode, path: string): FileSystem.File {
    const refuse = () => Effect.die("not needed here")
    return {
      [FileSystem.FileTypeId]: FileSystem.FileTypeId,
      // Nobody asks for more.
      stat: Effect.sync(() => ({ size: ByteSize.bytes(inode.bytes?.length ?? 0) }) as FileSystem.File.Info),
      sync: this.change((part) => {
        if (part < 1) return
        if (inode.bytes !== undefined) inode.synced = inode.bytes
        else this.syncNames(path)
      }),
      truncate: (length = 0) =>
        this.change((part) => {
          if (part === 1) inode.bytes = inode.bytes!.slice(0, Number(length))
        }),
      writeAll: (bytes) =>
        this.change((part) => {
          inode.bytes = concat(inode.bytes!, bytes.slice(0, Math.floor(bytes.length * part)))
        }),
      write: refuse,
      seek: refuse,
      read: refuse,
      readAlloc: refuse
    }
  }

  private syncNames(folder: string): void {
    for (const path of this.syncedNames.keys()) if (parentOf(path) === folder) this.syncedNames.delete(path)
    for (const [path, inode] of this.names) if (parentOf(path) === folder) this.syncedNames.set(path, inode)
  }

  readonly fileSystem: FileSystem.FileSystem = FileSystem.make({
    ...nodeFileSystem,
    access: (path) => this.found("access", path, () => Effect.void),
    stat: (path) => this.found("stat", path, (inode) => this.file(inode, path).stat),
    readFile: (path) => this.found("readFile", path, (inode) => Effect.succeed(inode.bytes!.slice())),
    truncate: (path, length) => this.found("truncate", path, (inode) => this.file(inode, path).truncate(length)),
    makeDirectory: (path) =>
      this.change((part) => {
        if (part === 1) this.makeFolder(path)
      }),
    lstat: (path) => this.found("lstat", path, (inode) => this.file(inode, path).stat),
    readDirectory: (folder) =>
      this.found(
        "readDirectory",
        folder,
        () =>
          Effect.succeed(
            [...this.names.keys()].filter((path) => path !== "/" && parentOf(path) === folder).map((path) =>
              path.slice(folder === "/" ? 1 : folder.length + 1)
            )
          )
      ),
    copyFile: (from, to) =>
      this.found("copyFile", from, ({ bytes }) =>
        this.change((part) => {
          const copied = bytes!.slice(0, Math.floor(bytes!.length * part))
          this.names.set(to, { bytes: copied, synced: new Uint8Array() })
        })),
    rename: (from, to) =>
      this.found("rename", from, (inode) =>
        this.change((part) => {
          if (part < 1) return
          this.names.delete(from)
          this.names.set(to, inode)
        })),
    remove: (path) =>
      this.found("remove", path, () =>
        this.change((part) => {
          if (part === 1) this.names.delete(path)
        })),
    open: (path, options) =>
      Effect.suspend(() => {
        const flag = options?.flag ?? "r"
        const inode = this.names.get(path)
        if (flag === "r") {
          return inode === undefined ? this.fail("NotFound", "open", path) : Effect.succeed(this.file(inode, path))
        }
        if (!this.names.has(parentOf(path))) return this.fail("NotFound", "open", path)
        if (inode !== undefined && flag === "a") return Effect.succeed(this.file(inode, path))
        return this.change((part) => {
          const opened = inode ?? { bytes: new Uint8Array(), synced: new Uint8Array() }
          if (part === 1) {
            opened.bytes = new Uint8Array()
            this.names.set(path, opened)
          }
          return this.file(opened, path)
        })
      })
  })
}
