/**
 * A row that the table of a sink in the store's own database refuses took the whole checkpoint back with it, again and again
 * for more than a minute; nothing was committed any more, and the failure was the store's instead of the sink's.
 */
import { assert, describe, it } from "@effect/vitest"
import { Context, Duration, Effect, Fiber, Layer } from "effect"
import { MinimumLogLevel } from "effect/References"
import { CheckpointStore, Flow, FlowError, Job, Sink, Source, Sqlite } from "millrace"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "millrace-refused-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
)

const all = Array.from({ length: 400 }, (_, n) => n)

/** A job with two tables in one database, one of which refuses the row 100; and what the store was given to commit. */
const world = Effect.gen(function*() {
  const context = yield* Layer.build(CheckpointStore.layerSqlite(Path.join(yield* folder, "jobs.db")))
  const database = Context.get(context, Sqlite.Sqlite)
  yield* database.transaction([{ sql: "CREATE TABLE picky (n INTEGER CHECK (n <> 100))" }])
  const source = Source.queue<number>()
  const rows = Flow.from("rows", source)
  const table = (name: string) => Sink.sqlite({ table: name, columns: { n: (n: number) => n } })
  const job = Job.make("job", [rows.pipe(Flow.to("picky", table("picky"))), rows.pipe(Flow.to("easy", table("easy")))])
  const store = Context.get(context, CheckpointStore.CheckpointStore)
  const commits: Array<CheckpointStore.Commit> = []
  const launch = (options: Job.RunOptions) =>
    Job.launch(job, { checkpointEvery: "5 millis", ...options }).pipe(
      Effect.provideService(CheckpointStore.CheckpointStore, {
        ...store,
        commit: (commit) => Effect.tap(store.commit(commit), () => Effect.sync(() => void commits.push(commit)))
      }),
      Effect.provideContext(context)
    )
  const contents = (name: string) =>
    Effect.map(
      database.transaction([{ sql: `SELECT n FROM ${name} ORDER BY n` }]),
      ([rows]) => rows!.map(({ n }) => Number(n))
    )
  return { commits, contents, database, launch, source }
})

const live = <E>(name: string, test: Effect.Effect<void, E, never>) =>
  it.live(name, () => Effect.provideService(test, MinimumLogLevel, "None"))

const eventually = (condition: Effect.Effect<boolean, unknown>) =>
  Effect.gen(function*() {
    while (!(yield* condition)) yield* Effect.sleep("5 millis")
  }).pipe(Effect.timeout("20 seconds"), Effect.orDie)

describe("a row that a joined table refuses", () => {
  live(
    "fails its sink, not the checkpoint: others go on, until the sink has stalled",
    Effect.scoped(Effect.gen(function*() {
      const { commits, contents, launch, source } = yield* world
      const handle = yield* launch({ maxPendingBytes: 1024, sinkTimeout: "300 millis", batchSize: 8, bufferSize: 16 })
      const pushing = yield* Effect.forkChild(Effect.ignore(handle.pushAll(source, all)))
      const [took, error] = yield* Effect.timed(Effect.flip(handle.await))
      yield* Fiber.interrupt(pushing)
      assert.instanceOf(error, FlowError.SinkStalled)
      assert.include(error.message, `"picky"`)
      assert.include(error.message, "CHECK constraint failed")
      assert.isBelow(Duration.toSeconds(took), 10)
      assert.isAbove(commits.length, 1)
      // Nothing behind the row, and nothing beside it was held up by it.
      const picky = yield* contents("picky")
      assert.deepStrictEqual(picky, all.slice(0, picky.length))
      assert.isAtMost(picky.length, 100)
      assert.include(yield* contents("easy"), 100)
    }))
  )

  live(
    "is tried again on its own, and when it is taken the sink joins again",
    Effect.scoped(Effect.gen(function*() {
      const { commits, contents, database, launch, source } = yield* world
      const handle = yield* launch({})
      yield* handle.pushAll(source, all)
      yield* eventually(Effect.map(handle.status, ({ sinks }) => sinks.some(({ pendingBytes }) => pendingBytes > 0)))
      yield* database.transaction([
        { sql: "ALTER TABLE picky RENAME TO former" },
        { sql: "CREATE TABLE picky AS SELECT * FROM former" }
      ])
      yield* eventually(Effect.map(handle.status, ({ sinks }) => sinks.every(({ pendingBytes }) => pendingBytes === 0)))
      const before = commits.length
      yield* handle.pushAll(source, [1000])
      yield* handle.drain
      assert.deepStrictEqual(yield* contents("picky"), [...all, 1000])
      assert.deepStrictEqual(yield* contents("easy"), [...all, 1000])
      // A marker and a row, for each of the two.
      assert.isTrue(commits.slice(before).some(({ alongside }) => alongside.length === 4))
    }))
  )
})
