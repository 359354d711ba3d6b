import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, FileSystem, Latch, Schema, Scope, Stream } from "effect"
import * as fc from "fast-check"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as ndjsonFile from "../src/internal/plan/ndjsonFile.ts"
import { nodeFileSystem } from "../src/internal/runtime/nodeFileSystem.ts"
import * as Sink from "../src/Sink.ts"
import type { Ambient } from "../src/Source.ts"
import { runs } from "./laws/runs.ts"

/** Opens a sink, writes batches one after the other, and closes it with the outcome, as a job does. */
const write = <A, E, R>(
  sink: Sink.Sink<A, E, R>,
  batches: ReadonlyArray<ReadonlyArray<A>>,
  attempt = 1,
  fileSystem = nodeFileSystem,
  isFresh = true
) =>
  Effect.scoped(
    Effect.flatMap(sink.open({ attempt, isFresh }), (writer) =>
      Effect.andThen(Effect.forEach(batches, writer.write, { discard: true }), writer.end ?? Effect.void))
  ).pipe(provided(fileSystem))

const provided = (fileSystem: FileSystem.FileSystem) => Effect.provideService(FileSystem.FileSystem, fileSystem)

/** Opens a sink in a scope that the test closes. */
const opened = Effect.fnUntraced(function*<A, E>(sink: Sink.Sink<A, E>) {
  const scope = yield* Scope.make()
  const writer = yield* sink.open({ attempt: 1, isFresh: true }).pipe(provided(nodeFileSystem), Scope.provide(scope))
  return { writer, close: (exit: Exit.Exit<unknown, unknown>) => Scope.close(scope, exit) }
})

const inFolder = <A, E, R>(use: (path: (name: string) => string) => Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "millrace-sink-"))),
    (folder) => use((name) => Path.join(folder, name)),
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
  )

const contents = (path: string) => Fs.readFileSync(path, "utf8")

describe("Sink.ndjson, written at once", () => {
  it.effect("replaces the file at first and goes on where it was later", () =>
    inFolder((path) =>
      Effect.gen(function*() {
        const file = path("out.ndjson")
        Fs.writeFileSync(file, "what was there before\n")
        const sink = Sink.ndjson(file)
        yield* write(sink, [[1, { a: "é" }], [], [null]])
        assert.strictEqual(contents(file), `1\n{"a":"é"}\nnull\n`)
        yield* write(sink, [["again"]], 2)
        assert.strictEqual(contents(file), `1\n{"a":"é"}\nnull\n"again"\n`)
        yield* write(sink, [["resumed"]], 1, nodeFileSystem, false)
        assert.strictEqual(contents(file), `1\n{"a":"é"}\nnull\n"again"\n"resumed"\n`)
        yield* write(sink, [], 1)
        assert.strictEqual(contents(file), "")
      })
    ))

  it.effect("makes the folders on the way, and one that is there does no harm", () =>
    inFolder((path) =>
      Effect.gen(function*() {
        const file = path("a/b/out.ndjson")
        yield* write(Sink.ndjson(file), [[1]])
        yield* write(Sink.ndjson(file), [[2]])
        assert.strictEqual(contents(file), "2\n")
      })
    ))

  it.effect("with a schema, writes what Source.ndjson reads with the same", () => {
    const Row = Schema.Struct({
      at: Schema.Date,
      n: Schema.Number,
      big: Schema.BigInt,
      note: Schema.optional(Schema.String)
    })
    const row = fc.record({
      at: fc.date({ noInvalidDate: true }),
      n: fc.double(),
      big: fc.bigInt(),
      note: fc.string({ unit: "binary" })
    }, { requiredKeys: ["at", "n", "big"] })
    return inFolder((path) =>
      Effect.promise(() =>
        fc.assert(
          fc.asyncProperty(fc.array(row, { minLength: 1, maxLength: 5 }), (rows) =>
            Effect.gen(function*() {
              yield* write(Sink.ndjson(path("rows"), { schema: Row }), [rows])
              const reader = yield* ndjsonFile.read(path("rows"), Row, undefined)
              const chunk = yield* reader.pull(10)
              assert.isUndefined(chunk?.undecodable)
              // JSON has one zero.
              assert.deepStrictEqual(chunk?.rows, rows.map((row) => ({ ...row, n: row.n + 0 })))
            }).pipe(Effect.scoped, provided(nodeFileSystem), Effect.runPromise)),
          { numRuns: runs(50) }
        )
      )
    )
  })

  it.effect("fails for what JSON cannot hold, and writes nothing of its batch", () =>
    inFolder((path) =>
      Effect.gen(function*() {
        const file = path("out.ndjson")
        const circle: Record<string, unknown> = {}
        circle["self"] = circle
        for (
          const [value, reason] of [
            [1n, "Do not know how to serialize a BigInt"],
            [circle, "Converting circular structure to JSON"],
            [undefined, "JSON has no form for undefined"],
            [Symbol("s"), "JSON has no form for Symbol(s)"]
          ]
        ) {
          const error = yield* Effect.flip(write(Sink.ndjson(file), [["before"], ["with it", value]]))
          assert.strictEqual(error._tag, "FileError")
          assert.include(error.message, `Could not encode a record for "${file}": ${String(reason)}`)
          assert.strictEqual(contents(file), `"before"\n`)
        }
      })
    ))

  it.effect("fails for what its schema refuses", () =>
    inFolder((path) =>
      Effect.gen(function*() {
        const file = path("out.ndjson")
        const error = yield* Effect.flip(write(Sink.ndjson<unknown>(file, { schema: Schema.String }), [[1]]))
        assert.include(error.message, `Could not encode a record for "${file}": Expected string`)
      })
    ))

  it.effect("fails where the file or its folder cannot be made, with the path", () =>
    inFolder((path) =>
      Effect.gen(function*() {
        Fs.writeFileSync(path("file"), "")
        const below = yield* Effect.flip(write(Sink.ndjson(path("file/out.ndjson")), []))
        assert.match(below.message, /^Could not make the folder ".*file": E/)
        const folder = yield* Effect.flip(write(Sink.ndjson(path(".")), []))
        assert.match(folder.message, /^Could not open ".*": EISDIR/)
      })
    ))

  it.effect("leaves no half line when a write fails", () =>
    inFolder((path) =>
      Effect.gen(function*() {
        const file = path("out.ndjson")
        /** A disk that is full after 20 bytes. */
        const full: FileSystem.FileSystem = {
          ...nodeFileSystem,
          open: (path, options) =>
            Effect.map(nodeFileSystem.open(path, options), (file) => ({
              ...file,
              writeAll: (bytes) =>
                bytes.length <= 20
                  ? file.writeAll(bytes)
                  : Effect.andThen(file.writeAll(bytes.subarray(0, 20)), nodeFileSystem.readFile("/nowhere")).pipe(
                    Effect.asVoid
                  )
            }))
        }
        for (const attempt of [1, 2]) {
          const batches = [["short"], ["far too long for this disk"]]
          const error = yield* Effect.flip(write(Sink.ndjson(file), batches, attempt, full))
          assert.strictEqual(error.operation, "write")
        }
        assert.strictEqual(contents(file), `"short"\n"short"\n`)
      })
    ))
})

describe("Sink.stream", () => {
  it.effect("gives every row in order, then the end, and waits for the consumer", () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      yield* write(
        Sink.stream((rows: Stream.Stream<number>) =>
          Stream.runForEach(rows, (row) => Effect.sync(() => seen.push(row))).pipe(
            Effect.andThen(Effect.yieldNow),
            Effect.andThen(Effect.sync(() => seen.push("end")))
          )
        ),
        [[1, 2], [], [3], [4, 5]]
      )
      assert.deepStrictEqual(seen, [1, 2, 3, 4, 5, "end"])
    }))

  it.effect("holds writes back while the consumer is slow", () =>
    Effect.gen(function*() {
      const gate = yield* Latch.make()
      const { close, writer } = yield* opened(
        Sink.stream((rows: Stream.Stream<number>) => Stream.runForEach(rows, () => gate.await))
      )
      let written = 0
      const writing = yield* Effect.forkChild(
        Effect.forEach([1, 2, 3, 4, 5, 6], (row) => Effect.andThen(writer.write([row]), Effect.sync(() => written++))),
        { startImmediately: true }
      )
      yield* Effect.forEach(Array.from({ length: 100 }), () => Effect.yieldNow)
      // One batch with the consumer, one in the queue; whoever waits to offer the next has not returned.
      assert.strictEqual(written, 2)
      yield* gate.open
      yield* Fiber.join(writing)
      assert.strictEqual(written, 6)
      yield* close(Exit.void)
    }))

  it.effect("ignores what comes after the consumer has ended", () =>
    Effect.gen(function*() {
      let first: unknown
      yield* write(
        Sink.stream((rows: Stream.Stream<number>) =>
          Effect.tap(Stream.runCollect(Stream.take(rows, 1)), (rows) => Effect.sync(() => first = rows))
        ),
        Array.from({ length: 50 }, (_, n) => [n])
      )
      assert.deepStrictEqual(first, [0])
      yield* write(Sink.stream(() => Effect.void), [[1], [2], [3]])
    }))

  it.effect("fails as the consumer does, also a write that waits", () =>
    Effect.gen(function*() {
      const gate = yield* Latch.make()
      const { close, writer } = yield* opened(
        Sink.stream((_: Stream.Stream<number>) => Effect.andThen(gate.await, Effect.fail("consumer" as const)))
      )
      yield* writer.write([1])
      const waiting = yield* Effect.forkChild(Effect.flip(writer.write([2])), { startImmediately: true })
      yield* gate.open
      assert.strictEqual(yield* Fiber.join(waiting), "consumer")
      assert.strictEqual(yield* Effect.flip(writer.write([3])), "consumer")
      yield* close(Exit.fail("consumer"))
    }))

  it.effect("does not lose a failure after the last row", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(write(
        Sink.stream((rows: Stream.Stream<number>) => Effect.andThen(Stream.runDrain(rows), Effect.fail("at the end"))),
        [[1]]
      ))
      assert.deepStrictEqual(exit, Exit.fail("at the end"))
    }))

  it.effect("interrupts the consumer when the job fails, and waits until it is gone", () =>
    Effect.gen(function*() {
      const events: Array<string> = []
      const { close, writer } = yield* opened(Sink.stream((rows: Stream.Stream<number>) =>
        Stream.runDrain(rows).pipe(
          Effect.onInterrupt(() => Effect.andThen(Effect.yieldNow, Effect.sync(() => events.push("interrupted")))),
          Effect.tap(() => Effect.sync(() => events.push("ended")))
        )
      ))
      yield* writer.write([1])
      yield* close(Exit.fail("the job"))
      assert.deepStrictEqual(events, ["interrupted"])
    }))

  it.effect("lives as long as its scope, not as the fiber that opened it", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      const sink = Sink.stream((rows: Stream.Stream<number>) =>
        Stream.runForEach(rows, (row) => Effect.sync(() => seen.push(row)))
      )
      const { close, writer } = yield* Effect.flatMap(Effect.forkChild(opened(sink)), Fiber.join)
      yield* Effect.yieldNow
      yield* writer.write([1])
      yield* writer.end ?? Effect.void
      yield* close(Exit.void)
      assert.deepStrictEqual(seen, [1])
    }))

  it.effect("a write that waits can be interrupted", () =>
    Effect.gen(function*() {
      const { close, writer } = yield* opened(Sink.stream((_: Stream.Stream<number>) => Effect.never))
      yield* writer.write([1])
      const waiting = yield* Effect.forkChild(writer.write([2]), { startImmediately: true })
      yield* Fiber.interrupt(waiting)
      yield* close(Exit.interrupt())
    }))
})

describe("Sink.memory, written at once", () => {
  it.effect("keeps what was written, starts empty with a job, and goes on after a restart", () =>
    Effect.gen(function*() {
      const sink = Sink.memory<number>()
      assert.deepStrictEqual(yield* sink.contents, [])
      yield* write(sink, [[1, 2], [3]])
      const before = yield* sink.contents
      yield* write(sink, [[4]], 2)
      assert.deepStrictEqual(yield* sink.contents, [1, 2, 3, 4])
      yield* write(sink, [], 1, nodeFileSystem, false)
      assert.deepStrictEqual(yield* sink.contents, [1, 2, 3, 4])
      assert.deepStrictEqual(before, [1, 2, 3], "a copy")
      yield* write(sink, [[5]])
      assert.deepStrictEqual(yield* sink.contents, [5])
    }))

  it.effect("takes a batch of a million rows", () =>
    Effect.gen(function*() {
      const sink = Sink.memory<number>()
      yield* write(sink, [Array.from({ length: 1_000_000 }, (_, n) => n)])
      assert.lengthOf(yield* sink.contents, 1_000_000)
    }))
})

describe("Sink.forEach", () => {
  it.effect("runs one effect after the other, with what they require", () =>
    Effect.gen(function*() {
      const events: Array<string> = []
      const sink = Sink.forEach((row: number) =>
        Effect.gen(function*() {
          events.push(`from ${row}`)
          yield* Effect.yieldNow
          const fs: FileSystem.FileSystem = yield* FileSystem.FileSystem
          events.push(`to ${row}: ${fs === nodeFileSystem}`)
        })
      )
      yield* write(sink, [[1, 2], [3]])
      assert.deepStrictEqual(events, ["from 1", "to 1: true", "from 2", "to 2: true", "from 3", "to 3: true"])
    }))

  it.effect("fails with the first failure and runs nothing after it", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      const sink = Sink.forEach((row: number) =>
        Effect.suspend(() => seen.push(row) === 2 ? Effect.fail("second") : Effect.void)
      )
      assert.strictEqual(yield* Effect.flip(write(sink, [[1, 2, 3]])), "second")
      assert.deepStrictEqual(seen, [1, 2])
    }))
})

describe("Sink.make", () => {
  it.effect("opens with the attempt, in a scope that closes with the job", () =>
    Effect.gen(function*() {
      const closed = yield* Deferred.make<number>()
      const sink = Sink.make<number, never, Ambient>({
        description: "mine",
        open: ({ attempt, isFresh }) =>
          Effect.as(Effect.addFinalizer(() => Deferred.succeed(closed, isFresh ? attempt : NaN)), {
            write: () => Effect.void
          })
      })
      assert.isTrue(Sink.isSink(sink))
      assert.isFalse(Sink.isSink({ description: "mine" }))
      assert.deepInclude(sink, { description: "mine", guarantee: "plain", openEpochs: undefined })
      yield* write(sink, [[1]], 3)
      assert.strictEqual(yield* Deferred.await(closed), 3)
    }))
})
