import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, FileSystem, Layer, Schema } from "effect"
import { systemError } from "effect/PlatformError"
import * as Scope from "effect/Scope"
import * as fc from "fast-check"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import type { Changes } from "../src/Flow.ts"
import { FileError } from "../src/internal/plan/FileError.ts"
import { nodeFileSystem } from "../src/internal/runtime/nodeFileSystem.ts"
import * as Sink from "../src/Sink.ts"
import * as Sqlite from "../src/Sqlite.ts"
import { runs } from "./laws/runs.ts"
import { application, marker, type Place, type PositionedWriter, type Row, sinkLaws } from "./laws/sinkLaws.ts"
import { losses, MemoryDisk, PowerLost } from "./support/memoryDisk.ts"

const opening: Sink.EpochOpening = { job: "job", sink: "out" }
const row = (id: number): Row => ({ id, text: "é" })

const epochs = <A, E, R, C extends Changes>(
  sink: Sink.Sink<A, E, R, Sink.Guarantee, C>,
  own: Sink.EpochOpening = opening
) => sink.openEpochs!(own)

/** Opens a transactional sink: it has a position, says its guarantee. */
const positioned = <E, R, C extends Changes>(
  sink: Sink.Sink<Row, E, R, "transactional", C>,
  own?: Sink.EpochOpening
) => Effect.map(epochs(sink, own), (writer) => writer as PositionedWriter)

const provided = (fileSystem: FileSystem.FileSystem) => Effect.provideService(FileSystem.FileSystem, fileSystem)

const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "millrace-epochs-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
)

const database = Effect.gen(function*() {
  const path = Path.join(yield* folder, "rows.db")
  return yield* Effect.map(Layer.build(Sqlite.layer(path)), (context) => ({ path, context }))
})

const selected = (sql: string) =>
  Effect.map(Effect.flatMap(Sqlite.Sqlite, (db) => db.transaction([{ sql }])), ([rows]) => rows!)

const rowsOf = (text: string): ReadonlyArray<Row> =>
  text.trimEnd().split("\n").filter((line) => line !== "").map((line) => JSON.parse(line))

// ---------------------------------------------------------------------------------------------------------------------
// the laws
// ---------------------------------------------------------------------------------------------------------------------

describe("Sink.memory obeys the laws of transactional sinks", () => {
  sinkLaws({
    isVolatile: true,
    onBegin: "removes",
    rewinds: Infinity,
    place: Effect.sync((): Place => {
      const sink = Sink.memory<Row>()
      return { open: (own) => provided(nodeFileSystem)(positioned(sink, own)), contents: sink.contents }
    })
  })
})

describe("Sink.ndjson obeys the laws of transactional sinks", () => {
  sinkLaws({
    isVolatile: false,
    onBegin: "removes",
    rewinds: 16,
    runs: 20,
    place: Effect.map(folder, (folder): Place => {
      const path = Path.join(folder, "a/b/rows.ndjson")
      return {
        open: (own) => provided(nodeFileSystem)(positioned(Sink.ndjson<Row>(path), own)),
        contents: Effect.sync(() => Fs.existsSync(path) ? rowsOf(Fs.readFileSync(path, "utf8")) : [])
      }
    })
  })
})

describe("Sink.ndjson obeys them on a disk in memory", () => {
  sinkLaws({
    isVolatile: false,
    onBegin: "removes",
    rewinds: 16,
    runs: 200,
    place: Effect.sync((): Place => {
      const disk = new MemoryDisk()
      return {
        open: (own) => provided(disk.fileSystem)(positioned(Sink.ndjson<Row>("/a/b/rows.ndjson"), own)),
        contents: Effect.sync(() => rowsOf(disk.read("/a/b/rows.ndjson") ?? ""))
      }
    })
  })
})

const sqlitePlace = <C extends Changes>(
  sink: Sink.Sink<Row, Sqlite.SqliteError, Sqlite.Sqlite, "transactional", C>,
  select: string
): Effect.Effect<Place, unknown, Scope.Scope> =>
  Effect.map(database, ({ context }) => ({
    open: (own) => Effect.provideContext(provided(nodeFileSystem)(positioned(sink, own)), context),
    contents: Effect.provideContext(selected(select), context).pipe(
      Effect.map((rows) => rows.map((row) => JSON.parse(String(row["value"])))),
      // Before the first writer has made the table.
      Effect.catchTag("SqliteError", () => Effect.succeed([]))
    )
  }))

describe("Sink.sqlite obeys the laws of transactional sinks", () => {
  const inOrder = `SELECT value FROM "my ""rows""" ORDER BY rowid`
  sinkLaws({
    isVolatile: false,
    onBegin: "keeps",
    rewinds: 0,
    runs: 20,
    place: sqlitePlace<never>(Sink.sqlite<Row>({ table: `my "rows"` }), inOrder)
  })
  describe("replacing what is there", () =>
    sinkLaws({
      isVolatile: false,
      onBegin: "removes",
      rewinds: 0,
      runs: 10,
      place: sqlitePlace<never>(Sink.sqlite<Row>({ table: `my "rows"`, onFresh: "replace" }), inOrder)
    }))
  describe("by key", () =>
    sinkLaws({
      isVolatile: false,
      onBegin: "keeps",
      rewinds: 0,
      runs: 10,
      shown: (rows) => {
        const byKey = new Map(rows.map((row) => [row.id % 3, row]))
        return [...byKey].sort(([a], [b]) => a - b).map(([, row]) => row)
      },
      place: sqlitePlace<"updates">(
        Sink.sqlite({ table: "latest", key: (row: Row) => row.id % 3 }),
        "SELECT value FROM latest ORDER BY key"
      )
    }))
})

// ---------------------------------------------------------------------------------------------------------------------
// memory
// ---------------------------------------------------------------------------------------------------------------------

describe("Sink.memory, by epoch", () => {
  it.effect("keeps plain values as they are and others by reference", () =>
    Effect.gen(function*() {
      class Money {
        readonly cents = 1
      }
      const money = new Money()
      const sink = Sink.memory<unknown>()
      const writer = yield* epochs(sink)
      const rows = [{ at: new Date(0), big: 1n, missing: undefined, zero: -0 }, money, new Map([[1, NaN]])]
      const prepared = writer.prepare(rows)
      assert.lengthOf(prepared.opaque ?? [], 1)
      yield* writer.position!.begin(marker(0), undefined)
      yield* writer.apply({ after: marker(0), marker: marker(1), prepared: [prepared], rows: 3 })
      const contents = yield* sink.contents
      assert.deepStrictEqual(contents, rows)
      assert.strictEqual(contents[1], money)
    }).pipe(Effect.scoped, provided(nodeFileSystem)))

  it.effect("belongs to one output: another one that begins takes it over", () =>
    Effect.gen(function*() {
      const sink = Sink.memory<Row>()
      const mine = yield* positioned(sink)
      yield* mine.position.begin(marker(0), undefined)
      yield* mine.apply(application(mine, marker(0), marker(1), [[row(1)]]))
      const other = yield* positioned(sink, { job: "other", sink: "out" })
      assert.isUndefined(yield* other.position.current)
      assert.isFalse(yield* other.position.rewind!(marker(0)))
      yield* other.position.begin(marker(0), undefined)
      assert.deepStrictEqual(yield* sink.contents, [])
      assert.isUndefined(yield* mine.position.current)
      const late = yield* Effect.flip(mine.apply(application(mine, marker(1), marker(2), [[row(2)]])))
      assert.deepInclude(late, { _tag: "SinkFenced", found: "no epoch" })
    }).pipe(Effect.scoped, provided(nodeFileSystem)))
})

// ---------------------------------------------------------------------------------------------------------------------
// ndjson
// ---------------------------------------------------------------------------------------------------------------------

const file = "/data/out/rows.ndjson"
const sidecar = `${file}.millrace.json`
const line = (id: number) => `{"id":${id},"text":"é"}\n`

/** Runs something on a disk until it ends or the power fails. */
const on = <A>(
  disk: MemoryDisk,
  use: (writer: PositionedWriter) => Effect.Effect<A, unknown, Scope.Scope>,
  own = opening
) => Effect.scoped(Effect.flatMap(positioned(Sink.ndjson<Row>(file), own), use)).pipe(provided(disk.fileSystem))

const hasFailed = (exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isFailure(exit) &&
  exit.cause.reasons.some((reason) => reason._tag === "Die" && reason.defect instanceof PowerLost)

const applied = (after: Sink.Marker, to: Sink.Marker, ...ids: ReadonlyArray<number>) => (writer: PositionedWriter) =>
  writer.apply(application(writer, after, to, ids.map((id) => [row(id)])))

const begun = (to: Sink.Marker, from: Sink.Marker | undefined) => (writer: PositionedWriter) =>
  writer.position.begin(to, from)

const standing = (writer: PositionedWriter) => writer.position.current

/** A disk on which two epochs were applied. */
const twoEpochs = Effect.gen(function*() {
  const disk = new MemoryDisk()
  yield* on(disk, begun(marker(0), undefined))
  yield* on(disk, applied(marker(0), marker(1), 1))
  yield* on(disk, applied(marker(1), marker(2), 2))
  return disk
})

interface Step {
  readonly name: string
  readonly before: Effect.Effect<MemoryDisk, unknown>
  readonly old: { readonly marker: Sink.Marker | undefined; readonly content: string }
  readonly run: (writer: PositionedWriter) => Effect.Effect<unknown, unknown, Scope.Scope>
  readonly next: { readonly marker: Sink.Marker; readonly content: string }
}

const steps: ReadonlyArray<Step> = [
  {
    name: "the first begin, where there is no folder",
    before: Effect.sync(() => new MemoryDisk()),
    old: { marker: undefined, content: "" },
    run: begun(marker(0), undefined),
    next: { marker: marker(0), content: "" }
  },
  {
    name: "a begin over a file of nobody",
    before: Effect.sync(() => {
      const disk = new MemoryDisk()
      disk.write(file, "not ours\nnor th")
      return disk
    }),
    old: { marker: undefined, content: "not ours\nnor th" },
    run: begun(marker(0), undefined),
    next: { marker: marker(0), content: "" }
  },
  {
    name: "a begin over earlier epochs",
    before: twoEpochs,
    old: { marker: marker(2), content: line(1) + line(2) },
    run: begun(marker(0, "b"), marker(2)),
    next: { marker: marker(0, "b"), content: "" }
  },
  {
    name: "the first application",
    before: Effect.tap(Effect.sync(() => new MemoryDisk()), (disk) => on(disk, begun(marker(0), undefined))),
    old: { marker: marker(0), content: "" },
    run: applied(marker(0), marker(1), 1),
    next: { marker: marker(1), content: line(1) }
  },
  {
    name: "the application of an epoch",
    before: twoEpochs,
    old: { marker: marker(2), content: line(1) + line(2) },
    run: applied(marker(2), marker(3), 3, 4),
    next: { marker: marker(3), content: line(1) + line(2) + line(3) + line(4) }
  },
  {
    name: "a way back",
    before: twoEpochs,
    old: { marker: marker(2), content: line(1) + line(2) },
    run: (writer) => writer.position.rewind!(marker(1)),
    next: { marker: marker(1), content: line(1) }
  }
]

/** What is there is exactly what the marker says, and going on leads to the same as if nothing had happened. */
const goesOn = Effect.fnUntraced(function*(disk: MemoryDisk, { next, old, run }: Step, said: string) {
  const current = yield* on(disk, standing)
  const isNew = current !== undefined && current.epoch === next.marker.epoch && current.lineage === next.marker.lineage
  assert.deepStrictEqual(current, isNew ? next.marker : old.marker, said)
  assert.strictEqual(disk.read(file) ?? "", isNew ? next.content : old.content, said)
  yield* on(disk, run)
  assert.deepStrictEqual(yield* on(disk, standing), next.marker, said)
  assert.strictEqual(disk.read(file), next.content, said)
  yield* on(disk, applied(next.marker, marker(9, next.marker.lineage), 9))
  assert.strictEqual(disk.read(file), next.content + line(9), said)
  disk.reboot("all lost")
  assert.strictEqual(disk.read(file), next.content + line(9), `${said}: what was applied is on the disk`)
  return isNew
})

describe("Sink.ndjson, when the power fails", () => {
  it.effect.each(steps)("at any change of $name, and again while it is repeated", (step) =>
    Effect.gen(function*() {
      const seen = new Set<boolean>()
      const before = yield* step.before
      let crashes = 0
      for (const loss of losses) {
        for (let first = 1;; first++) {
          const crashed = before.copy()
          crashed.failAt = first
          if (!hasFailed(yield* Effect.exit(on(crashed, step.run)))) break
          crashed.reboot(loss)
          seen.add(yield* goesOn(crashed.copy(), step, `change ${first}, ${loss}`))
          crashes++
          for (let second = 1;; second++) {
            const again = crashed.copy()
            again.failAt = second
            const exit = yield* Effect.exit(on(again, (writer) => Effect.andThen(standing(writer), step.run(writer))))
            if (!hasFailed(exit)) break
            again.reboot(loss)
            yield* goesOn(again, step, `change ${first}, then ${second}, ${loss}`)
          }
        }
      }
      assert.isAbove(crashes, 5 * losses.length)
      assert.deepStrictEqual(seen, new Set([false, true]), "before and after the sidecar is replaced")
    }))

  it.effect("an epoch that was applied is on the disk, and no half line stands behind it", () =>
    Effect.gen(function*() {
      for (const loss of losses) {
        const disk = yield* twoEpochs
        disk.reboot(loss)
        assert.strictEqual(disk.read(file), line(1) + line(2), loss)
        assert.deepStrictEqual(yield* on(disk, standing), marker(2), loss)
      }
      const disk = yield* twoEpochs
      disk.write(file, line(1) + line(2) + line(3).slice(0, 5))
      yield* on(disk, standing)
      assert.strictEqual(disk.read(file), line(1) + line(2))
    }))
})

describe("Sink.ndjson, by epoch", () => {
  const refused = Effect.fnUntraced(function*(disk: MemoryDisk, words: ReadonlyArray<string>, own = opening) {
    for (
      const use of [
        standing,
        begun(marker(0, "b"), marker(2)),
        applied(marker(2), marker(3), 3),
        (writer: PositionedWriter) => writer.position.rewind!(marker(1))
      ]
    ) {
      const content = [disk.read(file), disk.read(sidecar)]
      const error = yield* Effect.flip(on<unknown>(disk, use, own))
      assert.instanceOf(error, FileError)
      for (const word of words) assert.include(error.message, word)
      assert.deepStrictEqual([disk.read(file), disk.read(sidecar)], content, "nothing was changed")
    }
  })

  it.effect("refuses a sidecar that ends early, wherever it does", () =>
    Effect.gen(function*() {
      const disk = yield* twoEpochs
      const whole = disk.read(sidecar)!
      for (let length = 0; length < whole.length; length++) {
        disk.write(sidecar, whole.slice(0, length))
        yield* refused(disk, [`Could not trust "${sidecar}": it is damaged`, `remove it together with ${file}`])
      }
      disk.write(sidecar, whole)
      assert.deepStrictEqual(yield* on(disk, standing), marker(2))
    }))

  it.effect("refuses a sidecar with any bit turned", () =>
    Effect.gen(function*() {
      const disk = yield* twoEpochs
      const whole = new TextEncoder().encode(disk.read(sidecar))
      for (let bit = 0; bit < whole.length * 8; bit++) {
        const damaged = whole.slice()
        damaged[bit >> 3]! ^= 1 << (bit & 7)
        disk.write(sidecar, damaged)
        const error = yield* Effect.flip(on(disk, standing))
        assert.include((error as Error).message, `Could not trust "${sidecar}"`, `bit ${bit}`)
      }
    }))

  it.effect("refuses a file that ends before its sidecar says, until a job begins from nothing", () =>
    Effect.gen(function*() {
      for (
        const [content, words] of [[line(1), `it has ${line(1).length + 1} bytes`], [
          undefined,
          "it is missing"
        ]] as const
      ) {
        const disk = yield* twoEpochs
        if (content === undefined) yield* disk.fileSystem.remove(file)
        else disk.write(file, content)
        const error = yield* Effect.flip(on(disk, applied(marker(2), marker(3), 3)))
        assert.include((error as Error).message, `Could not append an epoch to "${file}": ${words}`)
        assert.include((error as Error).message, "put back a copy, or remove both files and start the job afresh")
        assert.strictEqual(disk.read(file), content)
        yield* on(disk, begun(marker(0, "b"), marker(2)))
        yield* on(disk, applied(marker(0, "b"), marker(1, "b"), 7))
        assert.strictEqual(disk.read(file), line(7))
      }
    }))

  it.effect("refuses a file that another job, or another output, writes to", () =>
    Effect.gen(function*() {
      const disk = yield* twoEpochs
      const words = [`Could not write epochs to "${file}": sink "out" of job "job" writes to it`, "a file of its own"]
      yield* refused(disk, words, { job: "another", sink: "out" })
      yield* refused(disk, words, { job: "job", sink: "another" })
    }))

  it.effect("can be taken back sixteen epochs, and no further", () =>
    Effect.gen(function*() {
      const disk = new MemoryDisk()
      yield* on(disk, begun(marker(0), undefined))
      for (let n = 1; n <= 20; n++) yield* on(disk, applied(marker(n - 1), marker(n), n))
      const back = (n: number) => on(disk, (writer) => writer.position.rewind!(marker(n)))
      assert.isFalse(yield* back(3))
      assert.isTrue(yield* back(4))
      assert.strictEqual(disk.read(file), [1, 2, 3, 4].map(line).join(""))
    }))

  it.effect("written at once, has no epochs any more", () =>
    Effect.gen(function*() {
      for (
        const [opening, expected] of [
          [{ attempt: 1, isFresh: true }, `"eager"\n`],
          [{ attempt: 2, isFresh: true }, `${line(1)}${line(2)}"eager"\n`],
          [{ attempt: 1, isFresh: false }, `${line(1)}${line(2)}"eager"\n`]
        ] as const
      ) {
        const disk = yield* twoEpochs
        disk.write(file, `${disk.read(file)}{"half`)
        yield* Effect.scoped(Effect.flatMap(Sink.ndjson(file).open(opening), ({ write }) => write(["eager"]))).pipe(
          provided(disk.fileSystem)
        )
        assert.strictEqual(disk.read(file), expected)
        assert.isUndefined(disk.read(sidecar))
        assert.isUndefined(yield* on(disk, standing))
        yield* on(disk, begun(marker(0), undefined))
        assert.strictEqual(disk.read(file), "")
      }
    }))

  it.effect("leaves nothing behind but the file and its sidecar, which names what it belongs to", () =>
    Effect.gen(function*() {
      const disk = yield* twoEpochs
      assert.deepStrictEqual(disk.paths, ["/", "/data", "/data/out", file, sidecar])
      const { check, ...content } = JSON.parse(disk.read(sidecar)!)
      assert.isNumber(check)
      const length = line(1).length + 1
      assert.deepStrictEqual(content, {
        format: 1,
        job: "job",
        sink: "out",
        ...marker(2),
        length: 2 * length,
        // Three have opened it by now, one after the other.
        writer: 3,
        history: [{ ...marker(0), length: 0 }, { ...marker(1), length }]
      })
    }))

  it.effect("goes on from a sidecar that names no owner, as it was written before there were any", () =>
    Effect.gen(function*() {
      const disk = new MemoryDisk()
      disk.write(file, line(1))
      const history = [{ lineage: "a", epoch: 0, digest: "", length: 0 }]
      const known = {
        format: 1,
        job: "job",
        sink: "out",
        lineage: "a",
        epoch: 1,
        digest: "rows 1",
        length: 21,
        history
      }
      disk.write(sidecar, JSON.stringify({ ...known, check: 1896805461 }, undefined, 1))
      assert.deepStrictEqual(yield* on(disk, standing), marker(1, "a", "rows 1"))
      yield* on(disk, applied(marker(1, "a", "rows 1"), marker(2), 2))
      assert.strictEqual(disk.read(file), line(1) + line(2))
      assert.strictEqual(JSON.parse(disk.read(sidecar)!).writer, 2)
    }))

  it.effect("copies its file after a crash, and not after a run that has ended", () =>
    Effect.gen(function*() {
      const disk = yield* twoEpochs
      const copies: Array<string> = []
      const counting = FileSystem.make({
        ...disk.fileSystem,
        copyFile: (from, to) => Effect.andThen(Effect.sync(() => copies.push(to)), disk.fileSystem.copyFile(from, to))
      })
      // Each is a run of its own.
      const open = Effect.suspend(() =>
        Effect.provideService(positioned(Sink.ndjson<Row>(file)), FileSystem.FileSystem, counting)
      )
      yield* Effect.scoped(Effect.flatMap(open, applied(marker(2), marker(3), 3)))
      assert.deepStrictEqual(copies, [])
      assert.deepStrictEqual(disk.paths, ["/", "/data", "/data/out", file, sidecar])
      // It never comes to close it.
      const crashed = yield* Scope.provide(open, yield* Scope.make())
      yield* applied(marker(3), marker(4), 4)(crashed)
      assert.include(disk.paths, `${file}.millrace-5`)
      yield* Effect.scoped(Effect.flatMap(open, standing))
      assert.deepStrictEqual(copies, [`${file}.millrace-6.rows`])
      assert.strictEqual(disk.read(file), [1, 2, 3, 4].map(line).join(""))
    }))

  it.effect("keeps to its file, whatever fails, for as long as it runs", () =>
    Effect.gen(function*() {
      const disk = yield* twoEpochs
      let isFull = false
      const full = () => Effect.fail(systemError({ _tag: "Unknown", module: "FileSystem", method: "copyFile" }))
      const filling = FileSystem.make({
        ...disk.fileSystem,
        copyFile: full,
        open: (path, options) =>
          Effect.map(disk.fileSystem.open(path, options), (file) => ({
            ...file,
            writeAll: (bytes) =>
              isFull ? Effect.andThen(file.writeAll(bytes.slice(0, 5)), full()) : file.writeAll(bytes)
          }))
      })
      const open = Effect.provideService(positioned(Sink.ndjson<Row>(file)), FileSystem.FileSystem, filling)
      yield* Effect.scoped(Effect.flatMap(open, applied(marker(2), marker(3), 3)))
      for (isFull of [true, true, false]) {
        const exit = yield* Effect.exit(Effect.scoped(Effect.flatMap(open, applied(marker(3), marker(4), 4))))
        assert.strictEqual(Exit.isFailure(exit), isFull)
      }
      // There is no room for a copy, and none is needed.
      assert.strictEqual(disk.read(file), [1, 2, 3, 4].map(line).join(""))
      assert.deepStrictEqual(disk.paths, ["/", "/data", "/data/out", file, sidecar])
    }))

  it.effect("refuses a symbolic link, which a copy would take the place of", () =>
    Effect.gen(function*() {
      const path = Path.join(yield* folder, "rows.ndjson")
      Fs.writeFileSync(`${path}.elsewhere`, "")
      Fs.symlinkSync(`${path}.elsewhere`, path)
      const writer = yield* positioned(Sink.ndjson<Row>(path))
      const error = yield* Effect.flip(writer.position.begin(marker(0), undefined))
      assert.include((error as Error).message, "it is a symbolic link")
      assert.include((error as Error).message, "Give the path it leads to")
    }).pipe(Effect.scoped, provided(nodeFileSystem)))

  it.effect("has no form for what JSON has none, and says so before the epoch is durable", () =>
    Effect.gen(function*() {
      const writer = yield* epochs(Sink.ndjson(file))
      assert.throws(() => writer.prepare([1, undefined]), "JSON has no form for undefined")
      assert.throws(() => writer.prepare([1n]), "BigInt")
      const strings = yield* epochs(Sink.ndjson<unknown>(file, { schema: Schema.String }))
      assert.throws(() => strings.prepare([1]), "Expected string")
      assert.strictEqual(new TextDecoder().decode(strings.prepare(["a", "b"]).bytes), `"a"\n"b"\n`)
    }).pipe(Effect.scoped, provided(new MemoryDisk().fileSystem)))
})

// ---------------------------------------------------------------------------------------------------------------------
// sqlite
// ---------------------------------------------------------------------------------------------------------------------

const inDatabase = <A, E>(use: Effect.Effect<A, E, Sqlite.Sqlite | Scope.Scope | FileSystem.FileSystem>) =>
  Effect.scoped(Effect.flatMap(database, ({ context }) => Effect.provideContext(use, context))).pipe(
    provided(nodeFileSystem)
  )

/** Everything of one epoch, into a table that is new. */
const intoTable = Effect.fnUntraced(function*<A, C extends Changes>(
  sink: Sink.Sink<A, Sqlite.SqliteError, Sqlite.Sqlite, "transactional", C>,
  rows: ReadonlyArray<A>
) {
  const writer = yield* epochs(sink, { job: "job", sink: sink.description })
  yield* writer.position!.begin(marker(0), undefined)
  yield* writer.apply({ after: marker(0), marker: marker(1), prepared: [writer.prepare(rows)], rows: rows.length })
})

describe("Sink.sqlite", () => {
  it.effect("writes a row as JSON, whatever it is, by its schema if it has one", () =>
    inDatabase(Effect.gen(function*() {
      yield* intoTable(Sink.sqlite({ table: "plain" }), ["text", 1, { a: [null] }])
      const plain = yield* selected("SELECT value FROM plain ORDER BY rowid")
      assert.deepStrictEqual(plain.map(({ value }) => value), [`"text"`, "1", `{"a":[null]}`])
      const At = Schema.Struct({ at: Schema.Date, n: Schema.BigInt })
      yield* intoTable(Sink.sqlite({ table: "coded", schema: At }), [{ at: new Date(0), n: 2n ** 70n }])
      const [coded] = yield* selected("SELECT value FROM coded")
      assert.strictEqual(coded?.["value"], `{"at":"1970-01-01T00:00:00.000Z","n":"1180591620717411303424"}`)
      const writer = yield* epochs(Sink.sqlite({ table: "plain" }))
      assert.throws(() => writer.prepare([undefined]), "JSON has no form for undefined")
    })))

  it.effect("gives values columns of their own, which keep their kind", () =>
    inDatabase(Effect.gen(function*() {
      interface Values {
        readonly value: unknown
      }
      const sink = Sink.sqlite({
        table: "t",
        columns: { "the \"n\"": (_: Values) => 1, value: ({ value }: Values) => value }
      })
      const cases: ReadonlyArray<readonly [unknown, unknown, string]> = [
        ["1", "1", "text"],
        [1, 1, "integer"],
        [1.5, 1.5, "real"],
        [2 ** 53 - 1, 2 ** 53 - 1, "integer"],
        [-7n, -7, "integer"],
        [true, 1, "integer"],
        [null, null, "null"],
        [undefined, null, "null"],
        [NaN, null, "null"],
        [Infinity, null, "null"],
        [new Date(0), "1970-01-01T00:00:00.000Z", "text"],
        [new Uint8Array([1, 2, 255]), "AQL/", "text"],
        [{ a: 1 }, `{"a":1}`, "text"],
        [["a"], `["a"]`, "text"],
        [{ toJSON: () => "said" }, "said", "text"]
      ]
      yield* intoTable(sink, cases.map(([value]) => ({ value })))
      const found = yield* selected("SELECT \"the \"\"n\"\"\" AS n, value, typeof(value) AS kind FROM t ORDER BY rowid")
      assert.deepStrictEqual(
        found.map((row) => ({ ...row })),
        cases.map(([, value, kind]) => ({ n: 1, value, kind } as never))
      )
      const writer = yield* epochs(sink)
      assert.throws(() => writer.prepare([{ value: 2n ** 53n }]), `Column "value" takes whole numbers up to 2 ** 53`)
      assert.throws(() => writer.prepare([{ value: new Date(NaN) }]), "Invalid time value")
      assert.throws(() => writer.prepare([{ value: Symbol("s") }]), "JSON has no form for Symbol(s)")
    })))

  it.effect("replaces by key: one of its own, a column, or several", () =>
    inDatabase(Effect.gen(function*() {
      const rows = [{ a: 1, b: "x", n: 1 }, { a: 1, b: "y", n: 2 }, { a: 1, b: "x", n: 3 }]
      type Of = (typeof rows)[number]
      const columns = { a: (row: Of) => row.a, b: (row: Of) => row.b, n: (row: Of) => row.n }
      yield* intoTable(Sink.sqlite({ table: "own", key: (row: Of) => [row.a, row.b] }), rows)
      yield* intoTable(Sink.sqlite({ table: "one", columns, key: "a" }), rows)
      yield* intoTable(Sink.sqlite({ table: "two", columns, key: ["a", "b"] }), rows)
      yield* intoTable(Sink.sqlite({ table: "both", columns: { n: columns.n }, key: (row: Of) => row.b }), rows)
      yield* intoTable(Sink.sqlite({ table: "only", columns: { b: columns.b }, key: "b" }), rows)
      yield* intoTable<string | number, "updates">(
        Sink.sqlite({ table: "kinds", key: (value: string | number) => value }),
        [1, "1"]
      )
      const found = (sql: string) => Effect.map(selected(sql), (rows) => rows.map((row) => Object.values(row)))
      assert.deepStrictEqual(yield* found("SELECT key, value ->> 'n' FROM own ORDER BY key"), [
        [`[1,"x"]`, 3],
        [`[1,"y"]`, 2]
      ])
      assert.deepStrictEqual(yield* found("SELECT * FROM one"), [[1, "x", 3]])
      assert.deepStrictEqual(yield* found("SELECT * FROM two ORDER BY b"), [[1, "x", 3], [1, "y", 2]])
      assert.deepStrictEqual(yield* found("SELECT key, n FROM both ORDER BY key"), [["x", 3], ["y", 2]])
      assert.deepStrictEqual(yield* found("SELECT b FROM only ORDER BY b"), [["x"], ["y"]])
      assert.deepStrictEqual(yield* found("SELECT key FROM kinds ORDER BY typeof(key)"), [[1], ["1"]])
      const writer = yield* epochs(Sink.sqlite({ table: "own", key: () => undefined }))
      assert.throws(() => writer.prepare([1]), `The key "key" of a row is missing: give every row one`)
    })))

  it.effect("writes to a table that is there, several sinks to one", () =>
    inDatabase(Effect.gen(function*() {
      const db = yield* Sqlite.Sqlite
      yield* db.transaction([
        { sql: "CREATE TABLE totals (id INTEGER PRIMARY KEY, name TEXT UNIQUE, total REAL)" },
        { sql: "INSERT INTO totals (name, total) VALUES ('a', 0), ('z', 26)" }
      ])
      type Total = { readonly name: string; readonly total: number }
      const sink = Sink.sqlite({
        table: "totals",
        columns: { name: (row: Total) => row.name, total: (row: Total) => row.total },
        key: "name"
      })
      const one = yield* epochs(sink, { job: "job", sink: "one" })
      const two = yield* epochs(sink, { job: "job", sink: "two" })
      for (const writer of [one, two]) yield* writer.position!.begin(marker(0), undefined)
      const epoch = (writer: Sink.EpochWriter<Total, unknown>, ...rows: ReadonlyArray<Total>): Sink.Application => ({
        after: marker(0),
        marker: marker(1),
        prepared: [writer.prepare(rows)],
        rows: rows.length
      })
      yield* one.apply(epoch(one, { name: "a", total: 1 }))
      yield* two.apply(epoch(two, { name: "b", total: 2 }))
      const found = yield* selected("SELECT name, total FROM totals ORDER BY name")
      assert.deepStrictEqual(found.map((row) => Object.values(row)), [["a", 1], ["b", 2], ["z", 26]])
      const standing = yield* selected("SELECT * FROM millrace_sinks ORDER BY sink")
      assert.deepStrictEqual(standing.map((row) => ({ ...row })), [
        { job: "job", sink: "one", ...marker(1) },
        { job: "job", sink: "two", ...marker(1) }
      ])
    })))

  it.effect("takes no part of an epoch when the table refuses a row, and says what SQLite says", () =>
    inDatabase(Effect.gen(function*() {
      const db = yield* Sqlite.Sqlite
      yield* db.transaction([{ sql: "CREATE TABLE few (n CHECK (n < 3))" }])
      const writer = yield* epochs(Sink.sqlite({ table: "few", columns: { n: (n: number) => n } }))
      yield* writer.position!.begin(marker(0), undefined)
      const epoch = {
        after: marker(0),
        marker: marker(1),
        prepared: [writer.prepare([1, 2]), writer.prepare([3])],
        rows: 3
      }
      const error = yield* Effect.flip(writer.apply(epoch))
      assert.deepInclude(error, { _tag: "SqliteError" })
      assert.include(error.message, "CHECK constraint failed: n < 3")
      assert.deepStrictEqual(yield* selected("SELECT n FROM few"), [])
      assert.deepStrictEqual(yield* writer.position!.current, marker(0))
    })))

  it.effect("joins the transaction of whoever writes to the same database", () =>
    inDatabase(Effect.gen(function*() {
      const writer = yield* epochs(Sink.sqlite<Row>({ table: "rows" }))
      yield* writer.position!.begin(marker(0), undefined)
      const epoch = application(writer, marker(0), marker(1), [[row(1)], [row(2)]])
      const { database, statements } = writer.alongside!
      yield* database.transaction([{ sql: "CREATE TABLE other (n)" }, ...statements(epoch)])
      assert.lengthOf(yield* selected("SELECT * FROM rows"), 2)
      assert.deepStrictEqual(yield* writer.position!.current, marker(1))
      // Repeated, the marker does not move, and the whole transaction is taken back.
      const error = yield* Effect.flip(
        database.transaction([{ sql: "INSERT INTO other VALUES (1)" }, ...statements(epoch)])
      )
      assert.deepInclude(error, { _tag: "Unexpected", statement: 1, changes: 0, expected: 1 })
      assert.deepStrictEqual(yield* selected("SELECT * FROM other"), [])
      // By itself it sees that this has been done.
      yield* writer.apply(epoch)
      assert.lengthOf(yield* selected("SELECT * FROM rows"), 2)
    })))

  it.effect("writes at once where it is asked to, and replaces only in the first attempt of a fresh job", () =>
    inDatabase(Effect.gen(function*() {
      const write = (
        sink: Sink.Sink<unknown, Sqlite.SqliteError, Sqlite.Sqlite>,
        opening: Sink.Opening,
        rows: ReadonlyArray<unknown>
      ) => Effect.flatMap(sink.open(opening), (writer) => writer.write(rows))
      const values = Effect.map(
        selected("SELECT value FROM eager ORDER BY rowid"),
        (rows) => rows.map(({ value }) => value)
      )
      const appends = Sink.sqlite({ table: "eager" })
      const replaces = Sink.sqlite({ table: "eager", onFresh: "replace" })
      yield* write(appends, { attempt: 1, isFresh: true }, [1])
      yield* write(appends, { attempt: 1, isFresh: true }, [2])
      yield* write(replaces, { attempt: 2, isFresh: true }, [3])
      yield* write(replaces, { attempt: 1, isFresh: false }, [4])
      assert.deepStrictEqual(yield* values, ["1", "2", "3", "4"])
      yield* write(replaces, { attempt: 1, isFresh: true }, [5])
      assert.deepStrictEqual(yield* values, ["5"])
      const error = yield* Effect.flip(write(appends, { attempt: 1, isFresh: true }, [6, 1n]))
      assert.include(error.message, `could not write a row to table "eager" in`)
      assert.deepStrictEqual(yield* values, ["5"])
    })))

  it.effect("applies an epoch once, though any answer may be lost and any question never arrive", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.array(fc.constantFrom("answered", "lost on the way", "answer lost"), { maxLength: 30 }),
          (fates) => {
            let left = fates
            const lost = (path: string) =>
              Effect.fail(new Sqlite.SqliteError({ path, operation: "answer", cause: "lost" }))
            const unreliable = (db: Sqlite.Database): Sqlite.Database => ({
              path: db.path,
              transaction: (statements) =>
                Effect.suspend(() => {
                  const [fate, ...rest] = left
                  left = rest
                  if (fate === "lost on the way") return lost(db.path)
                  const answer = db.transaction(statements)
                  return fate === "answer lost" ? Effect.andThen(answer, lost(db.path)) : answer
                })
            })
            const again = <A, E>(effect: Effect.Effect<A, E>) =>
              Effect.retry(effect, { while: (error: unknown) => error instanceof Sqlite.SqliteError, times: 40 })
            return inDatabase(Effect.gen(function*() {
              const writer = yield* epochs(Sink.sqlite<Row>({ table: "rows" }))
              const reliable = yield* Sqlite.Sqlite
              const own = yield* Effect.provideService(
                epochs(Sink.sqlite<Row>({ table: "rows" })),
                Sqlite.Sqlite,
                unreliable(reliable)
              ).pipe(
                Effect.retry({ times: 40 })
              )
              yield* again(own.position!.begin(marker(0), undefined))
              for (let n = 1; n <= 5; n++) {
                yield* again(own.apply(application(own, marker(n - 1), marker(n), [[row(n)]])))
              }
              assert.deepStrictEqual(yield* writer.position!.current, marker(5))
              const found = yield* selected("SELECT value ->> 'id' AS id FROM rows ORDER BY rowid")
              assert.deepStrictEqual(found.map(({ id }) => id), [1, 2, 3, 4, 5])
            })).pipe(Effect.runPromise)
          }
        ),
        { numRuns: runs(20) }
      )
    ))
})

// ---------------------------------------------------------------------------------------------------------------------
// sinks of one's own
// ---------------------------------------------------------------------------------------------------------------------

describe("Sink.upsert", () => {
  class Money extends Schema.Class<Money>("Money")({ cents: Schema.BigInt }) {}

  it.effect("writes what was kept, row by row and in order, and again when asked again", () =>
    Effect.gen(function*() {
      const written: Array<unknown> = []
      const sink = Sink.upsert((row: Map<string, Date>) =>
        Effect.gen(function*() {
          yield* Effect.yieldNow
          written.push(row)
        })
      )
      assert.deepInclude(sink, { guarantee: "idempotent", description: "upsert" })
      const writer = yield* epochs(sink)
      assert.isUndefined(writer.position)
      const rows = [new Map([["a", new Date(1)]]), new Map([["b", new Date(2)]])]
      const epoch = {
        after: marker(0),
        marker: marker(1),
        prepared: [writer.prepare(rows), writer.prepare([]), writer.prepare(rows)],
        rows: 4
      }
      yield* writer.apply(epoch)
      assert.deepStrictEqual(written, [...rows, ...rows])
      yield* writer.apply(epoch)
      assert.lengthOf(written, 8)
    }).pipe(Effect.scoped, provided(nodeFileSystem)))

  it.effect("keeps rows as their schema says, which makes them bytes", () =>
    Effect.gen(function*() {
      const written: Array<Money> = []
      const sink = Sink.upsert({
        description: "accounts",
        schema: Money,
        write: (money) => Effect.sync(() => written.push(money))
      })
      assert.strictEqual(sink.description, "accounts")
      const writer = yield* epochs(sink)
      const prepared = writer.prepare([new Money({ cents: 5n })])
      assert.isUndefined(prepared.opaque)
      yield* writer.apply({ after: marker(0), marker: marker(1), prepared: [prepared], rows: 1 })
      assert.deepStrictEqual(written, [new Money({ cents: 5n })])
      assert.instanceOf(written[0], Money)
      yield* Effect.flatMap(sink.open({ attempt: 1, isFresh: true }), ({ write }) => write([new Money({ cents: 6n })]))
      assert.deepStrictEqual(written.map(({ cents }) => cents), [5n, 6n])
    }).pipe(Effect.scoped, provided(nodeFileSystem)))

  it.effect("fails with the first failure and writes nothing after it", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      const sink = Sink.upsert((row: number) =>
        Effect.suspend(() => seen.push(row) === 2 ? Effect.fail("second") : Effect.void)
      )
      const writer = yield* epochs(sink)
      const prepared = [[1, 2], [3]].map((rows) => writer.prepare(rows))
      const error = yield* Effect.flip(writer.apply({ after: marker(0), marker: marker(1), prepared, rows: 3 }))
      assert.strictEqual(error, "second")
      assert.deepStrictEqual(seen, [1, 2])
    }).pipe(Effect.scoped, provided(nodeFileSystem)))
})

describe("Sink.idempotent and Sink.transactional", () => {
  it.effect("an idempotent sink without epochs of its own writes them as it writes rows", () =>
    Effect.gen(function*() {
      const events: Array<unknown> = []
      const sink = Sink.idempotent<number>({
        description: "mine",
        open: (opening) =>
          Effect.sync(() => {
            events.push(opening)
            return { write: (rows) => Effect.sync(() => events.push(rows)), end: Effect.sync(() => events.push("end")) }
          })
      })
      assert.deepInclude(sink, { description: "mine", guarantee: "idempotent" })
      const writer = yield* epochs(sink)
      const prepared = [writer.prepare([1, 2]), writer.prepare([3])]
      yield* writer.apply({ after: marker(0), marker: marker(1), prepared, rows: 3 })
      assert.deepStrictEqual(events, [{ attempt: 1, isFresh: false }, [1, 2], [3]])
    }).pipe(Effect.scoped, provided(nodeFileSystem)))

  it.effect("a sink is given what it was asked to open", () =>
    Effect.gen(function*() {
      const writer: PositionedWriter = {
        prepare: () => ({ bytes: new Uint8Array() }),
        apply: () => Effect.void,
        position: { isVolatile: false, current: Effect.succeed(marker(7)), begin: () => Effect.void }
      }
      const asked: Array<Sink.EpochOpening> = []
      const openEpochs = (opening: Sink.EpochOpening) => Effect.as(Effect.sync(() => asked.push(opening)), writer)
      const open = () => Effect.succeed({ write: () => Effect.void })
      const transactional = Sink.transactional({ description: "t", open, openEpochs })
      const idempotent = Sink.idempotent({ description: "i", open, openEpochs })
      assert.deepStrictEqual([transactional.guarantee, idempotent.guarantee], ["transactional", "idempotent"])
      assert.strictEqual(yield* epochs(transactional), writer)
      assert.strictEqual(yield* epochs(idempotent, { job: "j", sink: "s" }), writer)
      assert.deepStrictEqual(asked, [opening, { job: "j", sink: "s" }])
      for (
        const plain of [
          Sink.make({ description: "p", open }),
          Sink.forEach(() => Effect.void),
          Sink.stream(() => Effect.void)
        ]
      ) {
        assert.strictEqual(plain.guarantee, "plain")
        assert.isUndefined(plain.openEpochs)
      }
    }).pipe(Effect.scoped, provided(nodeFileSystem)))
})
