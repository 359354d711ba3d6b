import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, FileSystem, Layer, Option } from "effect"
import { systemError } from "effect/PlatformError"
import { CheckpointStore } from "millrace"
import * as Sqlite from "millrace/Sqlite"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { nodeFileSystem } from "../src/internal/runtime/nodeFileSystem.ts"
import { blobIn, bytes, commitOf, epochs, filled, job, type Store, storeLaws } from "./laws/storeLaws.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "millrace-store-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
)

const built = <E>(layer: Layer.Layer<CheckpointStore.CheckpointStore, E>) =>
  Effect.map(Layer.build(Layer.fresh(layer)), (context): Store => Context.get(context, CheckpointStore.CheckpointStore))

storeLaws("CheckpointStore.layerMemory", {
  isDurable: false,
  hasDatabase: false,
  scripts: 300,
  place: Effect.succeed(CheckpointStore.layerMemory)
})

storeLaws("CheckpointStore.layerSqlite", {
  isDurable: true,
  hasDatabase: true,
  scripts: 12,
  place: Effect.map(temporary, (folder) => CheckpointStore.layerSqlite(`${folder}/deep/jobs.db`))
})

storeLaws("CheckpointStore.layerFileSystem", {
  isDurable: true,
  hasDatabase: false,
  scripts: 40,
  place: Effect.map(temporary, (folder) => CheckpointStore.layerFileSystem(`${folder}/deep/jobs`))
})

const failure = (effect: Effect.Effect<unknown, { readonly _tag: string; readonly message: string }>) =>
  Effect.map(Effect.flip(effect), ({ _tag, message }) => `${_tag}: ${message}`)

describe("CheckpointStore.layerSqlite", () => {
  const opened = Effect.gen(function*() {
    const folder = yield* temporary
    const layer = CheckpointStore.layerSqlite(`${folder}/jobs.db`)
    const context = yield* Layer.build(layer)
    const store: Store = Context.get(context, CheckpointStore.CheckpointStore)
    const database = Context.get(context, Sqlite.Sqlite)
    yield* database.transaction([
      { sql: "CREATE TABLE markers (sink TEXT PRIMARY KEY, epoch INTEGER NOT NULL)" },
      { sql: "INSERT INTO markers VALUES ('spending', 0)" }
    ])
    return { store, database, attempt: yield* store.acquire(job) }
  })

  const moved = (from: number, to: number): Sqlite.Statement => ({
    sql: "UPDATE markers SET epoch = ? WHERE sink = 'spending' AND epoch = ?",
    parameters: [to, from],
    changes: 1
  })

  const marker = (database: Sqlite.Database) =>
    Effect.map(database.transaction([{ sql: "SELECT epoch FROM markers" }]), ([rows]) => rows?.[0]?.["epoch"])

  it.live("the database is the one that sinks get", () =>
    Effect.scoped(Effect.map(opened, ({ database, store }) => assert.strictEqual(store.database, database))))

  it.live("what is alongside happens with the epoch, once", () =>
    Effect.scoped(Effect.gen(function*() {
      const { attempt, database, store } = yield* opened
      const commit = commitOf({ attempt, epoch: 1, alongside: [moved(0, 1)] })
      yield* store.commit(commit)
      yield* store.commit(commit)
      assert.strictEqual(yield* marker(database), 1)
      assert.deepStrictEqual(yield* epochs(store), [1])
    })))

  it.live("a sink that does not stand where expected is a fence: nothing is committed", () =>
    Effect.scoped(Effect.gen(function*() {
      const { attempt, database, store } = yield* opened
      yield* store.commit(commitOf({ attempt, epoch: 1, alongside: [moved(0, 1)] }))
      const first = { sql: "INSERT INTO markers VALUES ('other', 5)" }
      const drop = { epochs: [1], blobs: ["1.state-0"] }
      const commit = commitOf({ attempt, epoch: 2, alongside: [first, moved(0, 2)], drop })
      assert.strictEqual(
        yield* failure(store.commit(commit)),
        `Fenced: Job "fraud" may not commit epoch 2: a sink in the same database does not stand where its last epoch left `
          + "it (statement 1 alongside changed 0 rows, not 1). "
          + "Another run of the job has taken over; let one run at a time, or give the other another name"
      )
      assert.deepStrictEqual(yield* epochs(store), [1])
      assert.deepStrictEqual(yield* blobIn(store, "1.state-0"), bytes("state 1"))
      assert.deepStrictEqual(yield* blobIn(store, "2.state-0"), undefined)
      assert.deepStrictEqual(
        yield* database.transaction([{ sql: "SELECT sink, epoch FROM markers" }]),
        [[{ sink: "spending", epoch: 1 }]]
      )
    })))

  it.live("a statement that SQLite refuses takes the epoch back", () =>
    Effect.scoped(Effect.gen(function*() {
      const { attempt, store } = yield* opened
      const commit = commitOf({ attempt, epoch: 1, alongside: [{ sql: "INSERT INTO nowhere VALUES (1)" }] })
      assert.match(
        yield* failure(store.commit(commit)),
        /^AlongsideRefused: Job "fraud" could not commit epoch 1 together with its sinks: statement 0 alongside was refused, and all was taken back. SQLite could not run "INSERT INTO nowhere .*no such table/
      )
      assert.deepStrictEqual(yield* store.list(job), [])
      yield* store.commit({ ...commit, alongside: [] })
      assert.deepStrictEqual(yield* epochs(store), [1])
    })))

  it.live("a folder in the place of the file is a typed error", () =>
    Effect.scoped(Effect.gen(function*() {
      const folder = yield* temporary
      assert.match(
        yield* failure(Effect.asVoid(built(CheckpointStore.layerSqlite(folder))).pipe(Effect.scoped)),
        /^SqliteError: SQLite could not open the database in .*: unable to open database file$/
      )
    })))
})

describe("CheckpointStore.layerFileSystem", () => {
  const over = (folder: string, fs: FileSystem.FileSystem = nodeFileSystem) =>
    built(CheckpointStore.layerFileSystem(folder)).pipe(Effect.provideService(FileSystem.FileSystem, fs))

  const home = (folder: string) => `${folder}/job-fraud`

  const files = (folder: string) => Fs.readdirSync(folder, { recursive: true, encoding: "utf8" }).sort()

  /** One epoch with a small blob, in files. */
  const small = Effect.gen(function*() {
    const folder = yield* temporary
    const store = yield* over(folder)
    const attempt = yield* store.acquire(job)
    const manifest = bytes("small")
    const blobs = [{ id: "1.a", bytes: bytes("left") }, { id: "1.b", bytes: bytes("more") }]
    yield* store.commit(commitOf({ attempt, epoch: 1, manifest, blobs }))
    const names = Fs.readdirSync(`${home(folder)}/after-0`).sort().map((name) => `${home(folder)}/after-0/${name}`)
    const [a = "", b = "", manifestFile = ""] = names
    return { folder, store, attempt, a, b, manifestFile }
  })

  it.live("writes where it says, and nowhere else", () =>
    Effect.scoped(Effect.gen(function*() {
      const folder = yield* temporary
      const store = yield* over(`${folder}/jobs`)
      for (const name of ["../x", "..", "/etc", "a/../../b", "C:\\x", "\0"]) {
        const attempt = yield* store.acquire(name)
        const blobs = ["../../../x", "/tmp/x", ".."].map((id) => ({ id, bytes: bytes("x") }))
        yield* store.commit(commitOf({ job: name, attempt, epoch: 1, blobs }))
      }
      assert.deepStrictEqual(Fs.readdirSync(folder), ["jobs"])
      assert.strictEqual(Fs.readdirSync(`${folder}/jobs`).length, 6)
      const digest = "../../x"
      const message = yield* failure(store.commit(commitOf({ job: "..", attempt: 1, epoch: 2, digest })))
      assert.match(message, /^CheckpointStoreError: .* the digest "\.\.\/\.\.\/x" is not hexadecimal$/)
    })))

  const damages: ReadonlyArray<readonly [string, (content: Buffer) => ReadonlyArray<Buffer>]> = [
    ["cut off at any length", (content) => Array.from(content, (_, length) => content.subarray(0, length))],
    ["with any bit flipped", (content) =>
      Array.from({ length: content.length * 8 }, (_, bit) => {
        const flipped = Buffer.from(content)
        flipped[bit >> 3]! ^= 1 << (bit & 7)
        return flipped
      })],
    ["with a byte too many", (content) => [Buffer.concat([content, Buffer.of(0)])]],
    ["of zeros", (content) => [Buffer.alloc(content.length)]]
  ]

  it.live.each(damages)("a file %s is an error that names it", ([, damage]) =>
    Effect.scoped(Effect.gen(function*() {
      const { a, folder, manifestFile, store } = yield* small
      const listed = yield* store.list(job)
      const readers = [[a, blobIn(store, "1.a")], [manifestFile, store.manifest(job, 1)]] as const
      for (const [path, read] of readers) {
        const content = Fs.readFileSync(path)
        for (const damaged of damage(content)) {
          Fs.writeFileSync(path, damaged)
          const message = yield* failure(read)
          assert.include(message, "CheckpointStoreError: The checkpoint store could not read ")
          assert.include(message, `${path} is damaged: `)
        }
        assert.deepStrictEqual(yield* store.list(job), listed)
        Fs.writeFileSync(path, content)
        assert.notDeepEqual<unknown>(yield* read, undefined)
      }
      assert.include(files(folder), "job-fraud/after-0/blob-1.b")
    })))

  it.live("a file in the place of another is an error", () =>
    Effect.scoped(Effect.gen(function*() {
      const { a, attempt, b, folder, store } = yield* small
      yield* store.commit(commitOf({ attempt, epoch: 2 }))
      Fs.copyFileSync(b, a)
      assert.include(yield* failure(store.blob(job, "1.a")), `${a} is damaged: its checksum is wrong`)
      const later = Fs.readdirSync(`${home(folder)}/after-1`).find((name) => name.startsWith("manifest")) ?? ""
      const first = Fs.readdirSync(`${home(folder)}/after-0`).find((name) => name.startsWith("manifest")) ?? ""
      Fs.copyFileSync(`${home(folder)}/after-0/${first}`, `${home(folder)}/after-1/${later}`)
      assert.include(yield* failure(store.manifest(job, 2)), `${later} is damaged: its checksum is wrong`)
      // The folder of another job.
      Fs.cpSync(home(folder), `${folder}/job-other`, { recursive: true })
      assert.include(yield* failure(store.blob("other", "1.b")), "its checksum is wrong")
    })))

  it.live("a manifest that is missing is that of a damaged epoch, which stands in nobody's way", () =>
    Effect.scoped(Effect.gen(function*() {
      const { attempt, manifestFile, store } = yield* small
      Fs.rmSync(manifestFile)
      const problem = `${Path.dirname(manifestFile)} is damaged: its manifest is missing`
      assert.deepStrictEqual(yield* store.list(job), [{ epoch: 1, attempt: 0, digest: "" }])
      assert.include(yield* failure(store.manifest(job, 1)), problem)
      yield* store.commit(commitOf({ attempt, epoch: 2, drop: { epochs: [1], blobs: ["1.a", "1.b"] } }))
      assert.deepStrictEqual(yield* epochs(store), [2])
      assert.isFalse(Fs.existsSync(Path.dirname(manifestFile)))
      assert.deepStrictEqual(yield* store.blob(job, "1.a"), Option.none())
    })))

  it.live("two different manifests of one epoch are not chosen between", () =>
    Effect.scoped(Effect.gen(function*() {
      const { manifestFile, store } = yield* small
      Fs.copyFileSync(manifestFile, manifestFile.replace(/-[^-]*$/, "-abc"))
      assert.deepStrictEqual(yield* store.list(job), [{ epoch: 1, attempt: 0, digest: "" }])
      assert.match(
        yield* failure(store.manifest(job, 1)),
        /both manifest-1-1-\w+ and manifest-1-1-\w+ claim to be epoch 1$/
      )
    })))

  it.live("a missing blob is none", () =>
    Effect.scoped(Effect.gen(function*() {
      const { a, store } = yield* small
      Fs.rmSync(a)
      assert.deepStrictEqual(yield* store.blob(job, "1.a"), Option.none())
    })))

  it.live("what others put there stays; what was left unfinished goes", () =>
    Effect.scoped(Effect.gen(function*() {
      const { attempt, folder, store } = yield* small
      const here = home(folder)
      const before = files(here)
      const foreign = [
        "notes.txt",
        "attempt-x",
        "attempt-007",
        "after-0/notes.txt",
        "after-x",
        ".DS_Store",
        "manifest-9-9-ff"
      ]
      for (const name of foreign) Fs.writeFileSync(`${here}/${name}`, "foreign")
      for (const name of ["staging-1-0", "trash-1-0"]) {
        Fs.mkdirSync(`${here}/${name}`)
        Fs.writeFileSync(`${here}/${name}/blob-2.state-0`, "torn")
      }
      assert.deepStrictEqual(yield* epochs(store), [1])
      yield* store.commit(commitOf({ attempt, epoch: 2 }))
      assert.strictEqual(yield* store.acquire(job), 2)
      const after = files(here).filter((name) => !name.startsWith("after-1"))
      assert.deepStrictEqual(after, [...before.filter((name) => name !== "attempt-1"), "attempt-2", ...foreign].sort())
      assert.deepStrictEqual(yield* epochs(store), [2, 1])
    })))

  it.live("a folder that cannot be is a typed error", () =>
    Effect.scoped(Effect.gen(function*() {
      const folder = yield* temporary
      Fs.writeFileSync(`${folder}/file`, "")
      const store = yield* over(`${folder}/file`)
      const message = yield* failure(store.acquire(job))
      assert.include(
        message,
        `CheckpointStoreError: The checkpoint store could not take the job over for job "fraud": `
      )
    })))

  type Call = "open" | "makeDirectory" | "rename" | "readDirectory" | "readFile"

  /** Node's file system, where somebody else does something, once, just before a call on a path that ends so. */
  const overtaken = (call: Call, end: string) => {
    let others: Effect.Effect<unknown, unknown> = Effect.void
    const before = (name: Call, path: string) =>
      Effect.suspend(() => {
        if (name !== call || !path.endsWith(end)) return Effect.void
        const now = others
        others = Effect.void
        return Effect.orDie(now)
      })
    const fs: FileSystem.FileSystem = {
      ...nodeFileSystem,
      open: (path, options) => Effect.andThen(before("open", path), nodeFileSystem.open(path, options)),
      makeDirectory: (path, options) =>
        Effect.andThen(before("makeDirectory", path), nodeFileSystem.makeDirectory(path, options)),
      rename: (from, to) => Effect.andThen(before("rename", to), nodeFileSystem.rename(from, to)),
      readDirectory: (path, options) =>
        Effect.andThen(before("readDirectory", path), nodeFileSystem.readDirectory(path, options)),
      readFile: (path) => Effect.andThen(before("readFile", path), nodeFileSystem.readFile(path))
    }
    return { fs, by: (effect: Effect.Effect<unknown, unknown>) => void (others = effect) }
  }

  it.live.each<readonly [string, Call, string]>([
    ["before he could write", "makeDirectory", "staging-1-0"],
    ["while he was writing", "open", "blob-2.state-0"],
    ["before he could publish", "rename", "after-1"]
  ])(
    "a writer who was overtaken %s finds that the job is another's",
    ([, call, end]) =>
      Effect.scoped(Effect.gen(function*() {
        const folder = yield* temporary
        const other = yield* over(folder)
        const { by, fs } = overtaken(call, end)
        const slow = yield* over(folder, fs)
        const first = yield* filled(slow, 1)
        let next = 0
        by(Effect.map(other.acquire(job), (attempt) => next = attempt))
        assert.match(
          yield* failure(slow.commit(commitOf({ attempt: first, epoch: 2 }))),
          /^Fenced: .* its attempt is 1, and the latest is 2/
        )
        assert.deepStrictEqual(yield* epochs(other), [1])
        assert.deepStrictEqual(yield* blobIn(other, "2.state-0"), undefined)
        yield* other.commit(commitOf({ attempt: next, epoch: 2 }))
        assert.deepStrictEqual(yield* epochs(other), [2, 1])
        assert.deepStrictEqual(files(folder).filter((name) => /staging|trash/.test(name)), [])
      }))
  )

  it.live("an attempt that was taken and is gone is not taken again", () =>
    Effect.scoped(Effect.gen(function*() {
      const folder = yield* temporary
      const other = yield* over(folder)
      const { by, fs } = overtaken("open", "attempt-1")
      const slow = yield* over(folder, fs)
      by(Effect.andThen(other.acquire(job), other.acquire(job)))
      assert.strictEqual(yield* slow.acquire(job), 3)
    })))

  it.live("what another is moving while somebody looks is not missed", () =>
    Effect.scoped(Effect.gen(function*() {
      const folder = yield* temporary
      const other = yield* over(folder)
      const attempt = yield* filled(other, 3)
      const dropping = (epoch: number) => other.remove(job, attempt, { epochs: [epoch], blobs: [] })
      const reading = overtaken("readFile", "after-0/blob-1.state-0")
      const reader = yield* over(folder, reading.fs)
      reading.by(dropping(1))
      assert.deepStrictEqual(yield* blobIn(reader, "1.state-0"), bytes("state 1"))
      const looking = overtaken("readDirectory", "after-1")
      const looker = yield* over(folder, looking.fs)
      looking.by(dropping(2))
      yield* looker.remove(job, attempt, { epochs: [], blobs: ["2.state-0"] })
      assert.deepStrictEqual(yield* blobIn(other, "2.state-0"), undefined)
      assert.deepStrictEqual(yield* epochs(other), [3])
    })))

  type Fault = (call: string) => Effect.Effect<void, ReturnType<typeof systemError>>

  /** Node's file system, with something that happens before each call. */
  const faulty = (before: Fault): FileSystem.FileSystem => {
    const file = (file: FileSystem.File): FileSystem.File => ({
      ...file,
      // What is written when the power goes may be there in part.
      writeAll: (buffer) =>
        Effect.onError(before("write"), () => Effect.ignore(file.writeAll(buffer.subarray(0, buffer.length >> 1))))
          .pipe(
            Effect.andThen(file.writeAll(buffer))
          ),
      sync: Effect.andThen(before("sync"), file.sync)
    })
    return {
      ...nodeFileSystem,
      open: (path, options) => Effect.andThen(before("open"), Effect.map(nodeFileSystem.open(path, options), file)),
      makeDirectory: (path, options) => Effect.andThen(before("mkdir"), nodeFileSystem.makeDirectory(path, options)),
      readDirectory: (path, options) => Effect.andThen(before("list"), nodeFileSystem.readDirectory(path, options)),
      readFile: (path) => Effect.andThen(before("read"), nodeFileSystem.readFile(path)),
      rename: (from, to) => Effect.andThen(before("rename"), nodeFileSystem.rename(from, to)),
      remove: (path, options) => Effect.andThen(before("remove"), nodeFileSystem.remove(path, options))
    }
  }

  /** Two epochs are there; somebody takes the job over and commits the third, which drops the first. */
  const third = (attempt: number) =>
    commitOf({ attempt, epoch: 3, drop: { epochs: [1], blobs: ["1.state-0", "2.dropped"] } })

  const prepared = Effect.gen(function*() {
    const folder = yield* temporary
    const store = yield* over(folder)
    const attempt = yield* filled(store, 1)
    const blobs = ["2.state-0", "2.dropped"].map((id) => ({ id, bytes: bytes("state 2") }))
    yield* store.commit(commitOf({ attempt, epoch: 2, blobs }))
    return { folder, store }
  })

  /** The store is as it was, or as it was to be, with everything that belongs to its head; and it goes on. */
  const whole = Effect.fnUntraced(function*(folder: string) {
    const store = yield* over(folder)
    const attempt = yield* store.acquire(job)
    assert.deepStrictEqual(files(folder).filter((name) => /staging|trash/.test(name)), [])
    const [head = 0, ...others] = yield* epochs(store)
    assert.include([2, 3], head)
    for (const epoch of [head, ...others]) {
      assert.deepStrictEqual(yield* store.manifest(job, epoch), Option.some(bytes(`manifest ${epoch}`)))
    }
    assert.deepStrictEqual(yield* blobIn(store, "2.state-0"), bytes("state 2"))
    assert.deepStrictEqual(yield* blobIn(store, "3.state-0"), head === 3 ? bytes("state 3") : undefined)
    if (head === 2) {
      assert.deepStrictEqual(others, [1])
      assert.deepStrictEqual(yield* blobIn(store, "1.state-0"), bytes("state 1"))
    }
    // Whatever the interrupted one has not dropped, the next can.
    const drop = { epochs: [1, 2], blobs: ["1.state-0", "2.dropped", "2.state-0"] }
    yield* store.commit(commitOf({ attempt, epoch: head + 1, drop }))
    assert.deepStrictEqual(yield* epochs(store), head === 2 ? [3] : [4, 3])
    const rest = files(home(folder)).filter((name) => name.includes("/"))
    assert.strictEqual(rest.length, head === 2 ? 2 : 4, rest.join())
    return head
  })

  it.live("after a crash between any two calls the head is the old or the new epoch, complete", () =>
    Effect.gen(function*() {
      const heads = new Set<number>()
      for (let last = 0, crashed = true; crashed; last++) {
        crashed = yield* Effect.scoped(Effect.gen(function*() {
          const { folder } = yield* prepared
          let calls = 0
          const store = yield* over(
            folder,
            faulty(() => calls++ >= last ? Effect.die(new Error("power")) : Effect.void)
          )
          const exit = yield* Effect.exit(Effect.flatMap(store.acquire(job), (attempt) => store.commit(third(attempt))))
          const head = yield* whole(folder)
          heads.add(head)
          if (Exit.isSuccess(exit)) assert.strictEqual(head, 3)
          return Exit.isFailure(exit)
        }))
        assert.isBelow(last, 200)
      }
      assert.deepStrictEqual([...heads], [2, 3])
    }))

  it.live("any call may fail once: the commit is done, or can be done again", () =>
    Effect.gen(function*() {
      const outcomes = { failed: 0, done: 0 }
      for (let at = 0, failed = true; failed; at++) {
        failed = yield* Effect.scoped(Effect.gen(function*() {
          const { folder } = yield* prepared
          let calls = 0
          let isSick = true
          const fault = systemError({ _tag: "Unknown", module: "FileSystem", method: "any", description: "EIO" })
          const fs = faulty(() => isSick && calls++ === at ? Effect.fail(fault) : Effect.void)
          const store = yield* over(folder, fs)
          const taken = yield* Effect.exit(store.acquire(job))
          const attempt = Exit.isSuccess(taken) ? taken.value : yield* store.acquire(job)
          const exit = yield* Effect.result(store.commit(third(attempt)))
          if (exit._tag === "Failure") {
            assert.strictEqual(exit.failure._tag, "CheckpointStoreError")
            assert.include(exit.failure.message, "EIO")
          }
          isSick = false
          outcomes[exit._tag === "Failure" ? "failed" : "done"]++
          yield* store.commit(third(attempt))
          assert.deepStrictEqual(yield* epochs(store), [3, 2])
          assert.deepStrictEqual(yield* blobIn(store, "1.state-0"), undefined)
          assert.strictEqual(yield* whole(folder), 3)
          return calls > at
        }))
        assert.isBelow(at, 200)
      }
      assert.isAbove(outcomes.failed, 10)
      assert.isAbove(outcomes.done, 10)
    }))

  it.live("everything is durable before it is relied upon", () =>
    Effect.scoped(Effect.gen(function*() {
      const { folder } = yield* prepared
      const calls: Array<string> = []
      const named = (call: string, path: string) => void calls.push(`${call} ${Path.relative(home(folder), path)}`)
      const recording: FileSystem.FileSystem = {
        ...nodeFileSystem,
        open: (path, options) =>
          Effect.map(nodeFileSystem.open(path, options), (file) => {
            if (options?.flag === "wx") named("write", path)
            return { ...file, sync: Effect.andThen(file.sync, Effect.sync(() => named("sync", path))) }
          }),
        rename: (from, to) => Effect.andThen(nodeFileSystem.rename(from, to), Effect.sync(() => named("publish", to))),
        remove: (path, options) =>
          Effect.andThen(nodeFileSystem.remove(path, options), Effect.sync(() => named("drop", path)))
      }
      const store = yield* over(folder, recording)
      const attempt = yield* store.acquire(job)
      const commit = third(attempt)
      yield* store.commit(commit)
      const manifest = `manifest-3-2-${commit.digest}`
      const first = `manifest-1-1-${commitOf({ attempt, epoch: 1 }).digest}`
      assert.deepStrictEqual(calls, [
        "sync ../..",
        "sync ..",
        "write attempt-2",
        "sync attempt-2",
        "sync ",
        "drop attempt-1",
        "write staging-2-0/blob-3.state-0",
        "sync staging-2-0/blob-3.state-0",
        `write staging-2-0/${manifest}`,
        `sync staging-2-0/${manifest}`,
        "sync staging-2-0",
        "publish after-2",
        "sync ",
        "publish kept-2-0",
        "sync ",
        `drop kept-2-0/${first}`,
        "sync kept-2-0",
        "drop kept-2-0/blob-1.state-0",
        "drop kept-2-0",
        "drop after-1/blob-2.dropped"
      ])
    })))

  it.live("takes Node's file system where the context has none", () =>
    Effect.scoped(Effect.gen(function*() {
      const folder = yield* temporary
      yield* filled(yield* built(CheckpointStore.layerFileSystem(folder)), 1)
      assert.deepStrictEqual(yield* epochs(yield* over(folder)), [1])
    })))
})
