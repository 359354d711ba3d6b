/**
 * Checkpoints that have been damaged by chance: whatever has happened to the bytes, it is noticed, and what follows is a run
 * from an older epoch with the right results, or a refusal that says so. Never a fresh start, never a wrong answer.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, FileSystem, Option } from "effect"
import { Checkpoint, CheckpointStore, FlowError, Sink, Source } from "millrace"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { Malformed } from "../../src/internal/checkpoint/malformed.ts"
import { blobsOf } from "../../src/internal/runtime/coordinator.ts"
import { readEpoch } from "../../src/internal/runtime/recovery.ts"
import { assertSame, random, type Store } from "../recovery/world.ts"
import { deep, isDeep } from "../support/deep.ts"
import type { FolderDisk } from "../support/folderDisk.ts"
import { headOn, inFiles, left, manifestsOn, reference, runOn } from "./world.ts"

const job = "tumbling"
/** As a crash has left it; every test has a copy. */
const whole = await left(8)
const epochs = headOn(whole)

const told = (what: string, count: number, began: number): void => {
  if (isDeep) console.log(`damage: ${what}: ${count} in ${((Date.now() - began) / 1000).toFixed(1)} s`)
}

/** Every way in which bytes are changed: all lengths, bits of all bytes, all blocks, and more at the end; not all unless deep. */
function* damages(
  bytes: Uint8Array,
  next: (n: number) => number,
  sparse = 1
): Generator<readonly [string, Uint8Array]> {
  const step = deep(1 + Math.floor(sparse * bytes.length / 400), 1)
  for (let length = 0; length < bytes.length; length += step) yield [`cut at ${length}`, bytes.slice(0, length)]
  for (let at = 0; at < bytes.length; at += deep(sparse, 1)) {
    for (const bit of deep([next(8)], [0, 1, 2, 3, 4, 5, 6, 7])) {
      const copy = bytes.slice()
      copy[at] = copy[at]! ^ 1 << bit
      yield [`bit ${bit} of byte ${at}`, copy]
    }
  }
  for (let from = 0; from < bytes.length; from += 512) {
    const copy = bytes.slice()
    copy.fill(0, from, from + 512)
    // A block of zeros is what it was.
    if (copy.some((byte, at) => byte !== bytes[at])) yield [`zeros from ${from}`, copy]
  }
  for (const more of [1, 2, 512]) {
    const longer = new Uint8Array(bytes.length + more)
    longer.set(bytes)
    yield [`${more} zeros at the end`, longer]
    yield [`${more} of its own bytes at the end`, Buffer.concat([bytes, bytes.slice(0, more)])]
  }
}

/** How an epoch reads: what is damaged, or undefined if it is sound. Anything thrown goes on. */
const damageIn = (store: Store, epoch: number): Effect.Effect<string | undefined> =>
  Effect.map(Effect.exit(readEpoch(store, job, epoch)), (exit) => {
    if (Exit.isSuccess(exit)) return undefined
    const error = Exit.findErrorOption(exit)
    if (Option.isNone(error)) throw new Error(`a defect: ${String(exit.cause)}`)
    const { value } = error
    const cause = value instanceof Malformed ? value : value.cause
    assert.instanceOf(cause, Malformed)
    return value.message
  })

describe("every damage to a piece of a checkpoint is found", () => {
  it("by checksums that the checkpoint has itself, as SQLite keeps it", async () => {
    const disk = whole.copy()
    const began = Date.now()
    const next = random(1)
    let count = 0
    await Effect.runPromise(inFiles(disk.fileSystem, (store) =>
      Effect.gen(function*() {
        assert.isUndefined(yield* damageIn(store, epochs))
        const { manifest } = yield* readEpoch(store, job, epochs)
        const text = Option.getOrThrow(yield* store.manifest(job, epochs))
        const ids = blobsOf(manifest)
        assert.isTrue(ids.some((id) => id.includes("sink")) && ids.some((id) => id.includes("state")))
        const pieces = new Map<string, Uint8Array>()
        for (const id of ids) pieces.set(id, Option.getOrThrow(yield* store.blob(job, id)).bytes)
        // Nothing is read twice from the disk.
        const over = (manifest: Uint8Array, damaged?: readonly [id: string, bytes: Uint8Array | undefined]): Store => ({
          ...store,
          manifest: () => Effect.succeed(Option.some(manifest)),
          blob: (_, id) => {
            const bytes = damaged?.[0] === id ? damaged[1] : pieces.get(id)
            return Effect.succeed(bytes === undefined ? Option.none() : Option.some({ id, bytes }))
          }
        })
        for (const [what, bytes] of damages(text, next, 4)) {
          count++
          assert.isDefined(yield* damageIn(over(bytes), epochs), `manifest, ${what}`)
        }
        for (const [id, whole] of pieces) {
          assert.isDefined(yield* damageIn(over(text, [id, undefined]), epochs), `${id} missing`)
          for (const [what, bytes] of damages(whole, next, 4)) {
            count++
            assert.isDefined(yield* damageIn(over(text, [id, bytes]), epochs), `${id}, ${what}`)
          }
          for (const [other, bytes] of pieces) {
            if (Buffer.compare(bytes, whole) === 0) continue
            assert.isDefined(yield* damageIn(over(text, [id, bytes]), epochs), `${other} in the place of ${id}`)
          }
        }
        // The manifest of another epoch.
        const older = Option.getOrThrow(yield* store.manifest(job, epochs - 1))
        assert.isDefined(yield* damageIn(over(older), epochs), "a stale manifest")
      })))
    assert.isAbove(count, 1000)
    told("pieces by their own checksums", count, began)
  })

  it("in the files of a folder", async () => {
    const disk = whole.copy()
    const began = Date.now()
    const next = random(2)
    let count = 0
    await Effect.runPromise(inFiles(disk.fileSystem, (store) =>
      Effect.gen(function*() {
        const { manifest } = yield* readEpoch(store, job, epochs)
        const needed = new Set(blobsOf(manifest).map((id) => `/blob-${id}`))
        const own = disk.files.filter((path) =>
          path.includes(`/manifest-${epochs}-`) || needed.has(path.slice(path.lastIndexOf("/")))
        )
        assert.isAtLeast(own.length, 3)
        for (const path of own) {
          const whole = disk.bytes(path)
          for (const [what, bytes] of damages(whole, next, 16)) {
            count++
            disk.put(path, bytes)
            assert.isDefined(yield* damageIn(store, epochs), `${path}, ${what}`)
          }
          disk.put(path, undefined)
          assert.isDefined(yield* damageIn(store, epochs), `${path} missing`)
          for (const other of disk.files) {
            disk.put(path, disk.bytes(other))
            assert.isDefined(yield* damageIn(store, epochs), `${other} in the place of ${path}`)
          }
          disk.put(path, whole)
        }
        assert.isUndefined(yield* damageIn(store, epochs))
      })))
    assert.isAbove(count, 300)
    told("files of a folder", count, began)
  })

  it("in a checkpoint in a file for people", async () => {
    const disk = whole.copy()
    const began = Date.now()
    const next = random(3)
    let count = 0
    const path = "/results/value.json"
    await Effect.runPromise(
      inFiles(disk.fileSystem, (store) =>
        Effect.gen(function*() {
          const value = yield* Checkpoint.atEpoch(job, epochs).pipe(
            Effect.provideService(CheckpointStore.CheckpointStore, store)
          )
          yield* Checkpoint.writeFile(value, path)
          const whole = disk.bytes(path)
          const canonical = JSON.stringify(value)
          for (const [what, bytes] of damages(whole, next, 4)) {
            count++
            disk.put(path, bytes)
            const exit = yield* Effect.exit(Checkpoint.readFile(path))
            // White space more or less is none.
            if (Exit.isSuccess(exit)) assert.strictEqual(JSON.stringify(exit.value), canonical, what)
            else assert.instanceOf(Option.getOrThrow(Exit.findErrorOption(exit)), FlowError.CheckpointRefused, what)
          }
          // Who edits it says so.
          const edited = JSON.parse(new TextDecoder().decode(whole))
          edited.takenAt++
          disk.put(path, new TextEncoder().encode(JSON.stringify(edited)))
          const refusal = yield* Effect.flip(Checkpoint.readFile(path))
          assert.match(refusal.message, /If you have edited it, remove the field checksum/)
          delete edited.checksum
          disk.put(path, new TextEncoder().encode(JSON.stringify(edited)))
          assert.deepStrictEqual(yield* Checkpoint.readFile(path), { ...value, takenAt: value.takenAt + 1 })
        })).pipe(Effect.provideService(FileSystem.FileSystem, disk.fileSystem))
    )
    assert.isAbove(count, 1000)
    told("a file for people", count, began)
  })

  it("in the file of a database", async () => {
    const disk = whole.copy()
    const began = Date.now()
    const next = random(4)
    const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "millrace-damage-"))
    const path = Path.join(folder, "whole.db")
    const using = <A>(path: string, use: (store: Store) => Effect.Effect<A, unknown>) =>
      Effect.flatMap(CheckpointStore.CheckpointStore, use).pipe(
        Effect.provide(CheckpointStore.layerSqlite(path)),
        Effect.runPromise
      )
    const found = { sound: 0, damaged: 0, unreadable: 0 }
    try {
      // The same epoch as in the folder.
      const [text, blobs] = await Effect.runPromise(inFiles(disk.fileSystem, (store) =>
        Effect.gen(function*() {
          const { manifest } = yield* readEpoch(store, job, epochs)
          const blobs = yield* Effect.forEach(blobsOf(manifest), (id) =>
            Effect.map(store.blob(job, id), Option.getOrThrow))
          return [Option.getOrThrow(yield* store.manifest(job, epochs)), blobs] as const
        })))
      const digest = new TextDecoder().decode(text).trimEnd().slice(-64)
      await using(path, (store) =>
        Effect.gen(function*() {
          const attempt = yield* store.acquire(job)
          yield* store.commit({
            job,
            attempt,
            epoch: epochs,
            previous: 0,
            digest,
            manifest: text,
            blobs,
            drop: { epochs: [], blobs: [] },
            alongside: []
          })
        }))
      const bytes = Fs.readFileSync(path)
      // Where the rows are, and anywhere.
      const rows = [
        bytes.indexOf(Buffer.from(text.slice(0, 64))),
        ...blobs.map(({ bytes: blob }) => bytes.indexOf(blob))
      ]
      for (let n = 0; n < deep(8, 400); n++) {
        const copy = Buffer.from(bytes)
        const at = n % 3 === 0 ? next(bytes.length) : Math.min(bytes.length - 1, rows[n % rows.length]! + next(600))
        if (n % 7 === 6) copy.fill(0, at & ~511, (at & ~511) + 512)
        else copy[at] = copy[at]! ^ 1 << next(8)
        const own = Path.join(folder, `${n}.db`)
        Fs.writeFileSync(own, copy)
        const exit = await using(own, (store) =>
          Effect.gen(function*() {
            // A store that cannot be read says so, and one that has lost a row has never had it.
            const all = yield* store.list(job)
            if (!all.some(({ epoch }) => epoch === epochs)) return "unreadable" as const
            const exit = yield* Effect.exit(readEpoch(store, job, epochs))
            if (Exit.isSuccess(exit)) return "sound" as const
            const error = Option.getOrThrow(Exit.findErrorOption(exit))
            return error instanceof Malformed ? "damaged" as const : "unreadable" as const
          })).catch((): "unreadable" => "unreadable")
        found[exit]++
        Fs.rmSync(own)
      }
      assert.isAbove(found.damaged, deep(1, 80))
    } finally {
      Fs.rmSync(folder, { recursive: true })
    }
    told(`a file of SQLite (${JSON.stringify(found)})`, deep(8, 400), began)
  })
})

// ---------------------------------------------------------------------------------------------------------------------
// runs
// ---------------------------------------------------------------------------------------------------------------------

/** What a run may say instead of going on. */
const isTyped = (error: unknown): boolean =>
  error instanceof FlowError.CheckpointRefused || error instanceof FlowError.SinkAheadOfCheckpoint
  || error instanceof CheckpointStore.CheckpointStoreError || error instanceof Source.FileError
  || error instanceof Sink.SinkFenced

type Wound = readonly [name: string, inflict: (disk: FolderDisk, next: (n: number) => number) => void]

const inStore = (disk: FolderDisk): ReadonlyArray<string> => disk.files.filter((path) => path.startsWith("/store/"))

const one = <A>(all: ReadonlyArray<A>, next: (n: number) => number): A => all[next(all.length)]!

const changed =
  (change: (bytes: Uint8Array, next: (n: number) => number) => Uint8Array | undefined): Wound[1] => (disk, next) => {
    const path = one(inStore(disk).filter((path) => disk.bytes(path).length > 0), next)
    disk.put(path, change(disk.bytes(path), next))
  }

const newest = (disk: FolderDisk, n: number): ReadonlyArray<string> => manifestsOn(disk).slice(-n).map(([path]) => path)

const wounds: ReadonlyArray<Wound> = [
  ["a file is cut", changed((bytes, next) => bytes.slice(0, next(bytes.length)))],
  [
    "a bit is flipped",
    changed((bytes, next) => {
      const copy = bytes.slice()
      const at = next(copy.length)
      copy[at] = copy[at]! ^ 1 << next(8)
      return copy
    })
  ],
  [
    "a block is zero",
    changed((bytes, next) => {
      const copy = bytes.slice()
      const from = 512 * next(Math.ceil(copy.length / 512))
      return copy.fill(0, from, from + 512)
    })
  ],
  ["there is more at the end", changed((bytes, next) => Buffer.concat([bytes, new Uint8Array(1 + next(600))]))],
  ["a file is missing", changed(() => undefined)],
  ["two files are swapped", (disk, next) => {
    const [a, b] = [one(inStore(disk), next), one(inStore(disk), next)]
    const bytes = disk.bytes(a)
    disk.put(a, disk.bytes(b))
    disk.put(b, bytes)
  }],
  ["the newest manifest is an older one", (disk) => {
    const [older, newer] = newest(disk, 2)
    disk.put(newer!, disk.bytes(older!))
  }],
  ["the newest manifest says that it is of another epoch", (disk) => {
    const [path] = newest(disk, 1)
    disk.put(path!.replace(/manifest-(\d+)/, (_, epoch) => `manifest-${Number(epoch) + 3}`), disk.bytes(path!))
    disk.put(path!, undefined)
  }],
  ["there are two newest manifests", (disk) => {
    const [path] = newest(disk, 1)
    disk.put(path!.replace(/[0-9a-f]{8}$/, "00000000"), disk.bytes(path!))
  }],
  ["the newest manifest is missing", (disk) => disk.put(newest(disk, 1)[0]!, undefined)],
  ["the newest manifest but one is missing", (disk) => disk.put(newest(disk, 2)[0]!, undefined)],
  ["the sidecar of a sink has a flipped bit", (disk, next) => {
    const path = one(disk.files.filter((path) => path.endsWith(".millrace.json")), next)
    const copy = disk.bytes(path).slice()
    const at = next(copy.length)
    copy[at] = copy[at]! ^ 1 << next(8)
    disk.put(path, copy)
  }]
]

describe("a run on a damaged store", () => {
  it.each(wounds)(
    "where %s gives the right results or a typed refusal, and can begin afresh",
    async (name, inflict) => {
      const began = Date.now()
      const outcomes = { right: 0, refused: 0 }
      for (let n = 0; n < deep(6, 400); n++) {
        const disk = whole.copy()
        inflict(disk, random(n + 11))
        const what = `${name}, ${n}`
        const opened: Array<Source.Position | undefined> = []
        const exit = await runOn(disk, { retain: 1000, opened: (position) => opened.push(position) })
        if (Exit.isSuccess(exit)) {
          assertSame(exit.value, reference, what)
          // Never from the beginning; a source that has ended is not opened.
          assert.isTrue(opened.every((position) => Number(position ?? 0) > 0), what)
          outcomes.right++
          continue
        }
        const error = Exit.findErrorOption(exit)
        assert.isTrue(Option.isSome(error) && isTyped(error.value), `${what}: ${String(exit.cause)}`)
        outcomes.refused++
        // Whoever gives it all up can do so, and nothing of the damage is left in the end.
        if (name.includes("sidecar")) continue
        const again = await runOn(disk, { retain: 1, start: "afresh" })
        assert.isTrue(Exit.isSuccess(again), `${what}, afresh: ${String(again)}`)
        if (Exit.isSuccess(again)) assertSame(again.value, reference, `${what}, afresh`)
      }
      // Where a sink stands, nobody knows but its sidecar.
      if (name.includes("sidecar")) assert.strictEqual(outcomes.right, 0)
      else assert.isAbove(outcomes.right, 0, `${name}: ${JSON.stringify(outcomes)}`)
      told(`${name} (${JSON.stringify(outcomes)})`, deep(6, 400), began)
    }
  )

  it("refuses where all epochs are damaged, and keeps nothing of them when it begins afresh", async () => {
    for (const how of ["missing", "flipped"] as const) {
      const disk = whole.copy()
      const before = new Set(disk.files.filter((path) => path.includes("/blob-")).map((path) => Path.basename(path)))
      for (const [path] of manifestsOn(disk)) {
        const bytes = disk.bytes(path).slice()
        bytes[40] = bytes[40]! ^ 1
        disk.put(path, how === "missing" ? undefined : bytes)
      }
      const exit = await runOn(disk)
      assert.isTrue(Exit.isFailure(exit))
      if (Exit.isFailure(exit)) {
        const error = Exit.findErrorOption(exit)
        assert.instanceOf(Option.getOrThrow(error), FlowError.CheckpointRefused)
      }
      const again = await runOn(disk, { retain: 1, start: "afresh" })
      if (Exit.isFailure(again)) throw new Error(String(again.cause))
      assertSame(again.value, reference, how)
      const rest = disk.files.filter((path) => before.has(Path.basename(path)) && path.includes("/blob-"))
      assert.deepStrictEqual(rest, [], how)
    }
  })

  it("goes to an older epoch where the newest three are damaged, and its sinks with it; refuses if none is kept", async () => {
    for (const retain of [1000, 3]) {
      const disk = retain === 3 ? whole.copy() : await left(8, retain)
      const all = manifestsOn(disk)
      const damaged = retain === 3 ? all : all.slice(-3)
      for (const [path] of damaged) {
        const bytes = disk.bytes(path).slice()
        bytes[60] = bytes[60]! ^ 4
        disk.put(path, bytes)
      }
      const opened: Array<Source.Position | undefined> = []
      const exit = await runOn(disk, { opened: (position) => opened.push(position) })
      if (retain === 1000) {
        if (Exit.isFailure(exit)) throw new Error(String(exit.cause))
        assertSame(exit.value, reference, "the fourth newest")
        assert.isTrue(opened.every((position) => Number(position ?? 0) > 0))
      } else {
        assert.isTrue(Exit.isFailure(exit))
        const error = Option.getOrThrow(Exit.findErrorOption(exit as Exit.Exit<never, unknown>))
        assert.instanceOf(error, FlowError.CheckpointRefused)
      }
    }
  })
})
