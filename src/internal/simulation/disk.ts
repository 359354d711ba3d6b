/**
 * A disk in memory with folders that can be listed, moved and removed, which loses what was not synced when its power
 * fails: names belong to their folder, and reach the disk with it.
 */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import { type PlatformError, systemError, type SystemErrorTag } from "effect/PlatformError"
import { nodeFileSystem } from "../runtime/nodeFileSystem.ts"

/** What is left of what was written and not synced. */
export type Loss = "nothing lost" | "all lost" | "contents lost" | "contents torn" | "names lost" | "new names lost"

export const losses: readonly [Loss, ...Array<Loss>] = [
  "nothing lost",
  "all lost",
  "contents lost",
  "contents torn",
  "names lost",
  "new names lost"
]

interface File {
  bytes: Uint8Array
  synced: Uint8Array
}

interface Folder {
  names: Map<string, File | Folder>
  synced: Map<string, File | Folder>
}

const isFolder = (node: File | Folder): node is Folder => "names" in node

const concat = (a: Uint8Array, b: Uint8Array): Uint8Array => {
  const whole = new Uint8Array(a.length + b.length)
  whole.set(a)
  whole.set(b, a.length)
  return whole
}

type Answer<A> = Effect.Effect<A, PlatformError>

const failed = (tag: SystemErrorTag, method: string, path: string): Answer<never> =>
  Effect.fail(systemError({ _tag: tag, module: "FileSystem", method, pathOrDescriptor: path }))

/** The names on the way to a path; `a/..` leads nowhere. */
const namesOf = (path: string): ReadonlyArray<string> => {
  const names: Array<string> = []
  for (const name of path.split("/")) {
    if (name === "..") names.pop()
    else if (name !== "" && name !== ".") names.push(name)
  }
  return names
}

const newFolder = (): Folder => ({ names: new Map(), synced: new Map() })

export class FolderDisk {
  private root = newFolder()

  /** The same disk once more, with nothing in common; everything on it is synced. */
  copy(): FolderDisk {
    const copied = (node: File | Folder): File | Folder => {
      if (!isFolder(node)) return { bytes: node.bytes, synced: node.bytes }
      const names = new Map([...node.names].map(([name, child]) => [name, copied(child)] as const))
      return { names, synced: new Map(names) }
    }
    const disk = new FolderDisk()
    disk.root = copied(this.root) as Folder // which it is a copy of
    return disk
  }

  /** The paths of all files, in order. */
  get files(): ReadonlyArray<string> {
    const within = (folder: Folder, path: string): ReadonlyArray<string> =>
      [...folder.names].flatMap(([name, node]) =>
        isFolder(node) ? within(node, `${path}/${name}`) : [`${path}/${name}`]
      )
    return within(this.root, "").toSorted()
  }

  bytes(path: string): Uint8Array {
    const node = this.at(path)
    if (node === undefined || isFolder(node)) throw new Error(`no file ${path}`)
    return node.bytes
  }

  /** Puts bytes there, or takes the name away. The folder must be there. */
  put(path: string, bytes: Uint8Array | undefined): void {
    const [folder, name] = this.parent(path)
    if (folder === undefined) throw new Error(`no folder for ${path}`)
    if (bytes === undefined) folder.names.delete(name)
    else folder.names.set(name, { bytes, synced: bytes })
  }

  read(path: string): string | undefined {
    const node = this.at(path)
    return node === undefined || isFolder(node) ? undefined : new TextDecoder().decode(node.bytes)
  }

  /** What is found when the power is back. */
  reboot(loss: Loss): void {
    const seen = new Set<File | Folder>()
    const restored = (node: File | Folder): void => {
      if (seen.has(node)) return
      seen.add(node)
      if (isFolder(node)) {
        if (loss === "all lost" || loss === "names lost") node.names = new Map(node.synced)
        if (loss === "new names lost") {
          for (const [name, child] of node.names) {
            if (node.synced.has(name)) continue
            node.names.delete(name)
            // A rename within a folder is one change: where the new name is lost, the old one is still there.
            for (const [old, synced] of node.synced) if (synced === child) node.names.set(old, child)
          }
        }
        node.synced = new Map(node.names)
        for (const child of node.names.values()) restored(child)
        return
      }
      if (loss === "all lost" || loss === "contents lost") node.bytes = node.synced
      if (loss === "contents torn") {
        const kept = Math.min(node.bytes.length, node.synced.length)
        // The half of what is new.
        node.bytes = node.bytes.slice(0, kept + Math.ceil((node.bytes.length - kept) / 2))
      }
      node.synced = node.bytes
    }
    restored(this.root)
  }

  private at(path: string): File | Folder | undefined {
    let node: File | Folder | undefined = this.root
    for (const name of namesOf(path)) node = node !== undefined && isFolder(node) ? node.names.get(name) : undefined
    return node
  }

  /** The folder that holds the name at the end of a path. */
  private parent(path: string): readonly [folder: Folder | undefined, name: string] {
    const names = namesOf(path)
    const folder = this.at(names.slice(0, -1).join("/"))
    return [folder !== undefined && isFolder(folder) ? folder : undefined, names.at(-1)!]
  }

  private found<A>(method: string, path: string, use: (node: File | Folder) => Answer<A>): Answer<A> {
    return Effect.suspend(() => {
      const node = this.at(path)
      return node === undefined ? failed("NotFound", method, path) : use(node)
    })
  }

  private foundFile<A>(method: string, path: string, use: (file: File) => Answer<A>): Answer<A> {
    return this.found(method, path, (node) => isFolder(node) ? failed("BadResource", method, path) : use(node))
  }

  /** Does something in the folder of a path. */
  private within<A>(method: string, path: string, use: (folder: Folder, name: string) => Answer<A>): Answer<A> {
    return Effect.suspend(() => {
      const [folder, name] = this.parent(path)
      return folder === undefined ? failed("NotFound", method, path) : use(folder, name)
    })
  }

  /** Puts a file there, durably, with the folders on the way. */
  write(path: string, content: string): void {
    const names = namesOf(path)
    let folder = this.root
    for (const name of names.slice(0, -1)) {
      const next = folder.names.get(name)
      const inner = next !== undefined && isFolder(next) ? next : newFolder()
      folder.names.set(name, inner)
      folder.synced.set(name, inner)
      folder = inner
    }
    const bytes = new TextEncoder().encode(content)
    const file: File = { bytes, synced: bytes }
    folder.names.set(names.at(-1)!, file)
    folder.synced.set(names.at(-1)!, file)
  }

  private handle(node: File | Folder): FileSystem.File {
    const refuse = () => Effect.die("not needed here")
    let position = 0
    const bytesOf = () => isFolder(node) ? new Uint8Array() : node.bytes
    const readAlloc = (size: number) =>
      Effect.sync(() => {
        const bytes = bytesOf().slice(position, position + size)
        position += bytes.length
        return bytes.length === 0 ? Option.none<Uint8Array>() : Option.some(bytes)
      })
    const change = (use: (file: File) => void) =>
      Effect.sync(() => {
        if (!isFolder(node)) use(node)
      })
    return {
      [FileSystem.FileTypeId]: FileSystem.FileTypeId,
      // Nobody asks for more.
      stat: Effect.sync(() =>
        ({ size: ByteSize.bytes(isFolder(node) ? 0 : node.bytes.length) }) as FileSystem.File.Info
      ),
      sync: Effect.sync(() => {
        if (isFolder(node)) node.synced = new Map(node.names)
        else node.synced = node.bytes
      }),
      truncate: (length = 0) => change((file) => void (file.bytes = file.bytes.slice(0, Number(length)))),
      writeAll: (bytes) => change((file) => void (file.bytes = concat(file.bytes, bytes))),
      write: refuse,
      seek: (offset, from) =>
        Effect.sync(() => {
          position = Number(offset) + (from === "start" ? 0 : position)
          return BigInt(position)
        }),
      read: (buffer) =>
        Effect.map(readAlloc(buffer.length), (read) => {
          if (Option.isNone(read)) return 0
          buffer.set(read.value)
          return read.value.length
        }),
      readAlloc
    }
  }

  readonly fileSystem: FileSystem.FileSystem = FileSystem.make({
    ...nodeFileSystem,
    access: (path) => this.found("access", path, () => Effect.void),
    stat: (path) => this.found("stat", path, (node) => this.handle(node).stat),
    readFile: (path) => this.foundFile("readFile", path, ({ bytes }) => Effect.succeed(bytes.slice())),
    readDirectory: (path) =>
      this.found(
        "readDirectory",
        path,
        (node) => isFolder(node) ? Effect.succeed([...node.names.keys()]) : failed("BadResource", "readDirectory", path)
      ),
    truncate: (path, length) => this.foundFile("truncate", path, (file) => this.handle(file).truncate(length)),
    makeDirectory: (path, options) =>
      options?.recursive === true
        ? Effect.sync(() => {
          let folder = this.root
          for (const name of namesOf(path)) {
            const next = folder.names.get(name)
            const inner = next !== undefined && isFolder(next) ? next : newFolder()
            folder.names.set(name, inner)
            folder = inner
          }
        })
        : this.within("makeDirectory", path, (folder, name) => {
          if (folder.names.has(name)) return failed("AlreadyExists", "makeDirectory", path)
          folder.names.set(name, newFolder())
          return Effect.void
        }),
    lstat: (path) => this.found("lstat", path, (node) => this.handle(node).stat),
    copyFile: (from, to) =>
      this.foundFile("copyFile", from, ({ bytes }) =>
        this.within("copyFile", to, (folder, name) => {
          folder.names.set(name, { bytes, synced: new Uint8Array() })
          return Effect.void
        })),
    rename: (from, to) =>
      this.found(
        "rename",
        from,
        (node) =>
          this.within("rename", from, (source, before) =>
            this.within("rename", to, (target, after) => {
              const there = target.names.get(after)
              if (there !== undefined && isFolder(there) && there.names.size > 0) return failed("Unknown", "rename", to)
              source.names.delete(before)
              target.names.set(after, node)
              return Effect.void
            }))
      ),
    remove: (path, options) =>
      this.within("remove", path, (folder, name) => {
        const node = folder.names.get(name)
        if (node === undefined) return options?.force === true ? Effect.void : failed("NotFound", "remove", path)
        if (isFolder(node) && options?.recursive !== true) return failed("BadResource", "remove", path)
        const empty = (folder: Folder): void => {
          for (const child of folder.names.values()) if (isFolder(child)) empty(child)
          folder.names.clear()
        }
        if (isFolder(node)) empty(node)
        folder.names.delete(name)
        return Effect.void
      }).pipe(Effect.catchIf(
        ({ reason }) => options?.force === true && reason._tag === "NotFound",
        () => Effect.void
      )),
    open: (path, options) => {
      const flag = options?.flag ?? "r"
      if (flag === "r") return this.found("open", path, (node) => Effect.succeed(this.handle(node)))
      return this.within("open", path, (folder, name) => {
        const node = folder.names.get(name)
        if (node !== undefined && flag === "wx") return failed("AlreadyExists", "open", path)
        if (node !== undefined && isFolder(node)) return failed("BadResource", "open", path)
        const file: File = node ?? { bytes: new Uint8Array(), synced: new Uint8Array() }
        if (flag !== "a") file.bytes = new Uint8Array()
        folder.names.set(name, file)
        return Effect.succeed(this.handle(file))
      })
    }
  })
}
