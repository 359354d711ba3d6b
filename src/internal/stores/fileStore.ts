/**
 * Checkpoints in a folder.
 *
 * ```text
 * <folder>/job-<name>/attempt-3              taken by exclusive creation; the highest number is the attempt in charge
 *                     staging-3-0/           an epoch on its way
 *                     after-11/              the epoch that follows epoch 11
 *                       manifest-12-3-<digest>
 *                       blob-12.state-0
 *                     kept-3-0/              what others still need of an epoch that was dropped
 *                       blob-4.state-0
 * ```
 *
 * An epoch is written into a folder of its own, made durable, and published by one `rename` to the name of what it
 * follows. That rename is the compare-and-set: a folder never replaces one that holds something. Whoever takes a job over
 * first makes its attempt known and then renames the folders of earlier attempts away, so that a writer who was stopped
 * between his look at the attempts and his rename finds nothing to publish: when `acquire` answers, no earlier attempt can
 * move the head any more.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import { isPlatformError, type PlatformError } from "effect/PlatformError"
import * as Semaphore from "effect/Semaphore"
import type { Blob, CheckpointStore, Commit, Committed, Drop } from "../../CheckpointStore.ts"
import { Malformed } from "../checkpoint/malformed.ts"
import { nodeFileSystem } from "../runtime/nodeFileSystem.ts"
import * as Name from "./fileNames.ts"
import { type Crc32, header, unframe } from "./frame.ts"
import { CheckpointStoreError, Fenced, fenced, judge, operations, type Standing, unkept } from "./refusals.ts"

/** How many files are written or looked at together: each waits for the disk. */
const together = { concurrency: 8 }

/** What comes from Node besides the file system. */
interface Sums {
  readonly crc32: Crc32
  readonly hash: Name.Hash
}

/** A folder with what was published at once: an epoch with its blobs, or what is left of it. */
interface Room {
  readonly name: string
  readonly files: ReadonlyArray<string>
}

interface Picture extends Standing {
  readonly rooms: ReadonlyArray<Room>
  /** Epochs that were committed and have no manifest that could be read, by their numbers. */
  readonly lost: ReadonlyMap<number, Malformed>
}

const failedWith = (tag: "NotFound" | "AlreadyExists") => (error: unknown): boolean =>
  isPlatformError(error) && error.reason._tag === tag

const isRoom = (name: string): boolean => Name.isFollowing(name) || Name.isKept(name)

const latestOf = (names: ReadonlyArray<string>): number =>
  names.reduce((latest, name) => Math.max(latest, Name.attemptOf(name) ?? 0), 0)

/** Stands for what the name of a manifest would have said. No commit has this digest, so none is taken for it. */
const unknown = (epoch: number): Committed => ({ epoch, attempt: 0, digest: "" })

/**
 * The number of an epoch that has lost its manifest: beyond the one that it follows, and as high as that of any piece that
 * is with it, but never beyond an epoch that others follow, so that it is put in its place and nobody takes its number.
 */
const lostIn = ({ files, name }: Room, rooms: ReadonlyArray<Room>): number | undefined => {
  const previous = Name.previousOf(name)
  if (previous === undefined || files.some((file) => Name.committedOf(file) !== undefined)) return undefined
  const next = rooms.reduce((next, room) => {
    const other = Name.previousOf(room.name) ?? NaN
    return other > previous ? Math.min(next, other) : next
  }, Number.MAX_SAFE_INTEGER)
  const written = files.reduce((latest, file) => Math.max(latest, Name.writtenBy(file) ?? 0), previous + 1)
  return Math.min(written, next)
}

const damaged = (path: string, problem: string): Malformed => new Malformed(`${path} is damaged: ${problem}`)

/** What can be done in the folder of one job. */
const jobFolder = (fs: FileSystem.FileSystem, { crc32, hash }: Sums, folder: string, job: string) => {
  const home = `${folder}/${Name.jobFolder(job, hash)}`
  const within = (...names: ReadonlyArray<string>) => [home, ...names].join("/")

  /** Makes durable which names a folder holds. */
  const sync = (path: string) => Effect.scoped(Effect.flatMap(fs.open(path, { flag: "r" }), (file) => file.sync))

  const removeFolder = (path: string) => fs.remove(path, { recursive: true, force: true })

  /** Sorted, because a file system lists in any order; a job that nobody has taken yet has no folder. */
  const names = Effect.map(fs.readDirectory(home), (found) => found.toSorted()).pipe(
    Effect.catchIf(failedWith("NotFound"), () => Effect.succeed<Array<string>>([]))
  )

  const latest = Effect.map(names, latestOf)

  const blobIdentity = (id: string) => `blob ${Name.encoded(job)} ${Name.encoded(id)}`
  const manifestIdentity = (committed: Committed) => `${Name.encoded(job)} ${Name.manifestFile(committed)}`

  const write = (path: string, identity: string, bytes: Uint8Array) =>
    Effect.scoped(Effect.gen(function*() {
      const file = yield* fs.open(path, { flag: "wx" })
      yield* file.writeAll(header(crc32, identity, bytes))
      yield* file.writeAll(bytes)
      yield* file.sync
    }))

  /** The bytes of a file, or nothing if there is none. */
  const read = (path: string, identity: string): Effect.Effect<Option.Option<Uint8Array>, PlatformError | Error> =>
    fs.readFile(path).pipe(
      Effect.flatMap((file) => {
        const bytes = unframe(crc32, identity, file)
        return typeof bytes === "string" ? Effect.fail(damaged(path, bytes)) : Effect.succeed(Option.some(bytes))
      }),
      Effect.catchIf(failedWith("NotFound"), () => Effect.succeed(Option.none()))
    )

  const look = Effect.fnUntraced(function*() {
    while (true) {
      const found = yield* names
      const rooms = yield* Effect.forEach(
        found.filter(isRoom),
        (name) =>
          Effect.map(fs.readDirectory(within(name)), (files): Room => ({ name, files })).pipe(
            Effect.catchIf(failedWith("NotFound"), () => Effect.succeed(undefined))
          ),
        together
      )
      const standing = rooms.filter((room) => room !== undefined)
      // Somebody has moved a folder between the two looks: what it holds is elsewhere by now.
      if (standing.length === rooms.length) return { attempt: latestOf(found), rooms: standing }
    }
  })

  /**
   * What is damaged is said of its epoch alone, and by whoever reads it: one epoch that has lost its manifest must not stand
   * in the way of the others, nor of a job that begins afresh.
   */
  const picture = Effect.fnUntraced(function*(): Effect.fn.Return<Picture, PlatformError | Error> {
    const { attempt, rooms } = yield* look()
    const epochs = new Map<number, Committed>()
    const lost = new Map<number, Malformed>()
    for (const { files } of rooms) {
      for (const one of files.flatMap((file) => Name.committedOf(file) ?? [])) {
        const other = epochs.get(one.epoch)
        epochs.set(one.epoch, one)
        if (other === undefined || Name.manifestFile(other) === Name.manifestFile(one)) continue
        const twice = `both ${Name.manifestFile(other)} and ${Name.manifestFile(one)} claim to be epoch ${one.epoch}`
        lost.set(one.epoch, damaged(home, twice))
      }
    }
    for (const room of rooms) {
      const epoch = lostIn(room, rooms)
      if (epoch !== undefined && !epochs.has(epoch)) {
        lost.set(epoch, damaged(within(room.name), "its manifest is missing"))
      }
    }
    for (const epoch of lost.keys()) epochs.set(epoch, unknown(epoch))
    return { attempt, rooms, lost, epochs: [...epochs.values()].sort((a, b) => b.epoch - a.epoch) }
  })

  const take = Effect.fnUntraced(function*() {
    while (true) {
      const attempt = (yield* latest) + 1
      const isTaken = yield* fs.open(within(Name.attemptFile(attempt)), { flag: "wx" }).pipe(
        Effect.flatMap((file) => file.sync),
        Effect.scoped,
        Effect.as(true),
        Effect.catchIf(failedWith("AlreadyExists"), () => Effect.succeed(false))
      )
      // Since the look, somebody may have taken a higher one and removed what is below.
      if (isTaken && (yield* latest) === attempt) return attempt
    }
  })

  const acquire = Effect.fnUntraced(function*() {
    yield* fs.makeDirectory(home, { recursive: true })
    // The folder may be new; what is above it may belong to somebody else.
    yield* Effect.ignore(sync(`${folder}/..`))
    yield* sync(folder)
    const attempt = yield* take()
    yield* sync(home)
    const found = yield* names
    for (const [number, name] of found.entries()) {
      const writer = Name.stagedBy(name)
      if (writer === undefined || writer >= attempt) continue
      yield* Effect.catchIf(
        fs.rename(within(name), within(Name.trashFolder(attempt, number))),
        failedWith("NotFound"),
        () => Effect.void
      )
    }
    for (const name of yield* names) {
      if (Name.isTrash(name)) yield* removeFolder(within(name))
      if ((Name.attemptOf(name) ?? attempt) < attempt) yield* fs.remove(within(name), { force: true })
    }
    return attempt
  })

  /**
   * First manifests, then blobs, so that no epoch that is listed lacks what it names. A folder named after what it follows
   * always holds its manifest; so it gets another name before it loses it.
   */
  const drop = Effect.fnUntraced(function*(attempt: number, what: Drop) {
    if (what.epochs.length === 0 && what.blobs.length === 0) return
    const epochs = new Set(what.epochs)
    const blobs = new Set(what.blobs.map((id) => Name.blobFile(id, hash)))
    const { rooms } = yield* look()
    const places = rooms.map((room) => ({
      name: room.name,
      manifests: room.files.filter((file) => epochs.has(Name.committedOf(file)?.epoch ?? NaN)),
      isLost: epochs.has(lostIn(room, rooms) ?? NaN),
      blobs: room.files.filter((file) => blobs.has(file)),
      files: room.files.length
    }))
    const taken = new Set(rooms.map(({ name }) => name))
    let number = 0
    for (const place of places) {
      if ((place.manifests.length === 0 && !place.isLost) || Name.isKept(place.name)) continue
      while (taken.has(Name.keptFolder(attempt, number))) number++
      const kept = Name.keptFolder(attempt, number++)
      yield* fs.rename(within(place.name), within(kept))
      place.name = kept
    }
    if (places.some(({ isLost, manifests }) => isLost || manifests.length > 0)) yield* sync(home)
    for (const { manifests, name } of places) {
      for (const file of manifests) yield* fs.remove(within(name, file), { force: true })
      if (manifests.length > 0) yield* sync(within(name))
    }
    for (const { blobs, files, manifests, name } of places) {
      for (const file of blobs) yield* fs.remove(within(name, file), { force: true })
      if (files === manifests.length + blobs.length) yield* removeFolder(within(name))
    }
  })

  const staging = Effect.fnUntraced(function*(attempt: number) {
    for (let number = 0;; number++) {
      const name = Name.stagingFolder(attempt, number)
      const isMade = yield* fs.makeDirectory(within(name)).pipe(
        Effect.as(true),
        Effect.catchIf(failedWith("AlreadyExists"), () => Effect.succeed(false))
      )
      if (isMade) return { name, isPublished: false }
    }
  })

  const stage = Effect.fnUntraced(function*(name: string, commit: Commit) {
    const blobs = new Map(commit.blobs.map((blob) => [Name.blobFile(blob.id, hash), blob]))
    yield* Effect.forEach(
      blobs,
      ([file, { bytes, id }]) => write(within(name, file), blobIdentity(id), bytes),
      { ...together, discard: true }
    )
    yield* write(within(name, Name.manifestFile(commit)), manifestIdentity(commit), commit.manifest)
    yield* sync(within(name))
  })

  const publish = Effect.fnUntraced(function*(staged: { readonly name: string; isPublished: boolean }, commit: Commit) {
    const { attempt, epoch, previous } = commit
    const refusal = fenced(job, attempt, operations.commit(epoch), yield* latest)
    if (refusal !== undefined) return yield* Effect.fail(refusal)
    const exit = yield* Effect.result(fs.rename(within(staged.name), within(Name.followingFolder(previous))))
    staged.isPublished = exit._tag === "Success"
    if (exit._tag === "Success") return
    // Somebody was faster, with the same commit or another; or the disk has failed.
    const judgement = judge(commit, yield* picture())
    if (judgement !== "done") return yield* Effect.fail(judgement === "new" ? exit.failure : judgement)
  })

  /** Whoever was overtaken finds his files gone: he is to hear that, not how he noticed. */
  const orFenced = (commit: Commit) => (error: PlatformError | Error | Fenced) =>
    error instanceof Fenced ? Effect.fail(error) : Effect.flatMap(
      Effect.orElseSucceed(latest, () => commit.attempt),
      (latest) => Effect.fail(fenced(job, commit.attempt, operations.commit(commit.epoch), latest) ?? error)
    )

  const commit = Effect.fnUntraced(function*(commit: Commit) {
    const judgement = judge(commit, yield* picture())
    if (judgement instanceof Fenced) return yield* Effect.fail(judgement)
    if (judgement === "new") {
      yield* Effect.acquireUseRelease(
        staging(commit.attempt),
        (staged) => Effect.andThen(stage(staged.name, commit), Effect.uninterruptible(publish(staged, commit))),
        (staged) => staged.isPublished ? Effect.void : Effect.ignore(removeFolder(within(staged.name)))
      ).pipe(Effect.catch(orFenced(commit)))
    }
    // Also of a commit that was done before, which may have failed here.
    yield* sync(home)
    yield* drop(commit.attempt, commit.drop)
  })

  const remove = Effect.fnUntraced(function*(attempt: number, what: Drop) {
    const refusal = fenced(job, attempt, operations.remove, yield* latest)
    if (refusal !== undefined) return yield* Effect.fail(refusal)
    yield* drop(attempt, what)
  })

  const manifest = Effect.fnUntraced(function*(epoch: number) {
    while (true) {
      const { epochs, lost, rooms } = yield* picture()
      const damage = lost.get(epoch)
      if (damage !== undefined) return yield* Effect.fail(damage)
      const committed = epochs.find((one) => one.epoch === epoch)
      if (committed === undefined) return Option.none<Uint8Array>()
      const file = Name.manifestFile(committed)
      const room = rooms.find(({ files }) => files.includes(file))
      if (room === undefined) return Option.none<Uint8Array>()
      const bytes = yield* read(within(room.name, file), manifestIdentity(committed))
      // Without it, the epoch is just being dropped.
      if (Option.isSome(bytes)) return bytes
    }
  })

  const blob = Effect.fnUntraced(function*(id: string) {
    const file = Name.blobFile(id, hash)
    while (true) {
      const rooms = (yield* names).filter(isRoom).sort(nearest(id))
      for (const room of rooms) {
        const bytes = yield* read(within(room, file), blobIdentity(id))
        if (Option.isSome(bytes)) return Option.some<Blob>({ id, bytes: bytes.value })
      }
      const now = new Set(yield* names)
      // If a folder was moved meanwhile, the blob may have been in it.
      if (rooms.every((room) => now.has(room))) return Option.none<Blob>()
    }
  })

  return { acquire, commit, remove, list: Effect.map(Effect.suspend(picture), ({ epochs }) => epochs), manifest, blob }
}

/** First the folders of epochs that follow an epoch just before the one that wrote the blob: it is likely there. */
const nearest = (id: string) => {
  const epoch = Number.parseInt(id, 10)
  const distance = (room: string) => {
    const previous = Name.previousOf(room) ?? NaN
    return previous < epoch ? epoch - previous : Infinity
  }
  return (a: string, b: string) => {
    const [near, far] = [distance(a), distance(b)]
    return near === far ? 0 : near - far
  }
}

const sums = Effect.map(
  Effect.tryPromise({
    try: () => Promise.all([import("node:crypto"), import("node:zlib")]),
    catch: (cause) => new CheckpointStoreError({ job: "*", operation: "load node:crypto and node:zlib", cause })
  }),
  ([{ createHash }, { crc32 }]): Sums => ({
    crc32,
    hash: (text) => createHash("sha256").update(text).digest("hex")
  })
)

export const fileStore = Effect.fnUntraced(function*(folder: string) {
  const fs = Option.getOrElse(yield* Effect.serviceOption(FileSystem.FileSystem), () => nodeFileSystem)
  const fromNode = yield* sums
  const turns = yield* Semaphore.make(1)
  const of = (job: string) => jobFolder(fs, fromNode, folder, job)

  const failing = (job: string, operation: string) => (cause: unknown) =>
    cause instanceof CheckpointStoreError ? cause : new CheckpointStoreError({ job, operation, cause })

  const orRefused = (job: string, operation: string) => (cause: PlatformError | Error | Fenced) =>
    cause instanceof Fenced ? cause : failing(job, operation)(cause)

  const store: CheckpointStore["Service"] = {
    isDurable: true,
    database: undefined,
    acquire: (job) => turns.withPermits(1)(of(job).acquire()).pipe(Effect.mapError(failing(job, operations.acquire))),
    commit: (commit) => {
      const { digest, epoch, job } = commit
      const cause = unkept(commit, { database: false, isDurable: true })
        ?? (Name.isDigest(digest) ? undefined : new Error(`the digest "${digest}" is not hexadecimal`))
      return (cause === undefined ? turns.withPermits(1)(of(job).commit(commit)) : Effect.fail(cause)).pipe(
        Effect.mapError(orRefused(job, operations.commit(epoch)))
      )
    },
    list: (job) => Effect.mapError(of(job).list, failing(job, operations.list)),
    manifest: (job, epoch) => Effect.mapError(of(job).manifest(epoch), failing(job, operations.manifest(epoch))),
    blob: (job, id) => Effect.mapError(of(job).blob(id), failing(job, operations.blob(id))),
    remove: (job, attempt, drop) =>
      turns.withPermits(1)(of(job).remove(attempt, drop)).pipe(Effect.mapError(orRefused(job, operations.remove)))
  }
  return store
})
