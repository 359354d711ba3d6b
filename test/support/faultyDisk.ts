/** A file system of which some calls fail: the n-th alone, or from the n-th on for a while; writes get as far as a sector. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { type PlatformError, systemError } from "effect/PlatformError"

/** What the disk says: there is no room, which only changes need; or it cannot. */
export type Fault = "ENOSPC" | "EIO"

const sectorBytes = 512

export class FaultyDisk {
  /** Calls that could have failed. */
  calls = 0
  /** Calls that have failed. */
  refused = 0
  readonly fileSystem: FileSystem.FileSystem
  private readonly fault: Fault
  private readonly from: number
  private readonly length: number
  private readonly slow: Effect.Effect<void>
  private readonly refusal: (refused: number) => void

  /** Fails at the call `from`, counted from 1, and as often as `length` says in all; `slow` is what a sync takes, `refusal` hears. */
  constructor(
    inner: FileSystem.FileSystem,
    fault: Fault,
    { from = Infinity, length = 1, refusal = () => {}, slow = Effect.void }: {
      readonly from?: number
      readonly length?: number
      readonly slow?: Effect.Effect<void>
      readonly refusal?: (refused: number) => void
    }
  ) {
    this.fault = fault
    this.from = from
    this.length = length
    this.slow = slow
    this.refusal = refusal
    this.fileSystem = this.over(inner)
  }

  /** A call, and what comes of it before it fails. */
  private call<A, R>(
    method: string,
    path: string,
    effect: Effect.Effect<A, PlatformError, R>,
    torn: Effect.Effect<unknown, PlatformError> = Effect.void
  ): Effect.Effect<A, PlatformError, R> {
    return Effect.suspend(() => {
      this.calls++
      if (this.calls < this.from || this.refused >= this.length) return effect
      this.refused++
      this.refusal(this.refused)
      const cause = Object.assign(new Error(`${this.fault}: ${method} ${path}`), { code: this.fault })
      const failure = systemError({ _tag: "Unknown", module: "FileSystem", method, pathOrDescriptor: path, cause })
      return Effect.andThen(Effect.ignore(torn), Effect.fail(failure))
    })
  }

  private over(inner: FileSystem.FileSystem): FileSystem.FileSystem {
    const isRoomless = this.fault === "ENOSPC"
    const read = <A, R>(method: string, path: string, effect: Effect.Effect<A, PlatformError, R>) =>
      isRoomless ? effect : this.call(method, path, effect)
    const file = (path: string, opened: FileSystem.File): FileSystem.File => ({
      ...opened,
      stat: read("stat", path, opened.stat),
      sync: this.call("sync", path, Effect.andThen(this.slow, opened.sync)),
      // Less needs no room.
      truncate: (length) => read("truncate", path, opened.truncate(length)),
      writeAll: (bytes) =>
        this.call(
          "write",
          path,
          opened.writeAll(bytes),
          opened.writeAll(bytes.slice(0, sectorBytes * Math.floor(bytes.length / 2 / sectorBytes)))
        )
    })
    return FileSystem.make({
      ...inner,
      access: (path) => read("access", path, inner.access(path)),
      stat: (path) => read("stat", path, inner.stat(path)),
      lstat: (path) => read("lstat", path, inner.lstat(path)),
      copyFile: (from, to) => this.call("copyFile", from, inner.copyFile(from, to)),
      readFile: (path) => read("readFile", path, inner.readFile(path)),
      readDirectory: (path) => read("readDirectory", path, inner.readDirectory(path)),
      makeDirectory: (path, options) => this.call("makeDirectory", path, inner.makeDirectory(path, options)),
      rename: (from, to) => this.call("rename", from, inner.rename(from, to)),
      remove: (path, options) => read("remove", path, inner.remove(path, options)),
      truncate: (path, length) => read("truncate", path, inner.truncate(path, length)),
      open: (path, options) => {
        const opened = Effect.map(inner.open(path, options), (opened) => file(path, opened))
        return (options?.flag ?? "r") === "r" ? read("open", path, opened) : this.call("open", path, opened)
      }
    })
  }
}
