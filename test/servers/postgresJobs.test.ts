/** Jobs whose checkpoints and results are in Postgres: crashes, zombies, servers that come and go. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Duration, Effect, Fiber, Layer } from "effect"
import { MinimumLogLevel } from "effect/References"
import type { Scope } from "effect/Scope"
import { CheckpointStore, Flow, FlowError, Job, Sink, Source } from "millrace"
import * as Postgres from "millrace/Postgres"
import { spawn } from "node:child_process"
import * as Path from "node:path"
import { postgresStore } from "../../src/internal/postgres/store.ts"
import { countOf, crashed, slowly, type Watched } from "../recovery/crashed.ts"
import { tumbling } from "../recovery/jobs.ts"
import * as World from "../recovery/world.ts"
import type { Around } from "../support/crashing.ts"
import { deep } from "../support/deep.ts"
import { counting, expected, run } from "./counting.ts"
import { client, emptyDatabase, opened, rows, Server } from "./postgres.ts"

const live = (name: string, test: Effect.Effect<void, unknown, Scope>) =>
  it.live(name, () => Effect.scoped(Effect.provideService(test, MinimumLogLevel, "None")))

const contents = Effect.fnUntraced(function*(sql: PgClient.PgClient) {
  return {
    numbers: (yield* rows(sql, "SELECT n FROM numbers ORDER BY n")).map(({ n }) => n),
    counts: yield* rows(sql, "SELECT start, key, count, sum FROM counts ORDER BY start, key")
  }
})

const countOfRows = (sql: PgClient.PgClient, table: string) =>
  rows(sql, `SELECT count(*)::integer AS n FROM ${table}`).pipe(
    Effect.map(([row]) => Number(row!["n"])),
    // Before it is there, or while nobody answers.
    Effect.catchTag("SqlError", () => Effect.succeed(0))
  )

/** A database of which every transaction is counted. A store and sinks must be given the same one. */
const counted = (around: Around, inner: Postgres.Database): Postgres.Database => ({
  schema: inner.schema,
  transaction: (statements) => around("transaction", inner.transaction(statements))
})

describe("checkpoints and results in one database", () => {
  live(
    "are the same after a crash around every transaction",
    Effect.gen(function*() {
      const kind = tumbling(deep(12, 20))
      const reference = World.expected(kind)
      // The clock of this world has no time for connecting, so connections are there before.
      const { database: inner, sql } = yield* opened(yield* emptyDatabase(), {}, {
        connectTimeout: "1 hour",
        idleTimeout: "1 day",
        minConnections: 4,
        maxConnections: 4
      })
      const tables = ["panes", "late", "millrace_sinks", "millrace_jobs", "millrace_epochs", "millrace_pieces"]
      const [took, points] = yield* Effect.timed(Effect.promise(() =>
        crashed(
          (): Watched<World.Outcome> => {
            // Sinks and the store of a life share one, or they could not share a transaction.
            let lent: { readonly around: Around; readonly database: Postgres.Database } | undefined
            const outside = new World.Outside({
              sink: (name, around) => {
                const table = Postgres.sink<unknown>({ table: name })
                return Sink.transactional<unknown, unknown>({
                  description: name,
                  open: () => Effect.die("nobody has asked for eager delivery"),
                  openEpochs: (opening) =>
                    // A table has a position.
                    table.openEpochs!(opening).pipe(
                      Effect.map((writer) => ({ ...writer, position: writer.position! })),
                      Effect.provideService(
                        Postgres.Postgres,
                        around === lent?.around ? lent.database : counted(around, inner)
                      )
                    )
                })
              },
              contents: (name) =>
                Effect.map(rows(sql, `SELECT value FROM ${name}`), (all) => all.map(({ value }) => value))
            })
            return {
              outcome: outside.outcome,
              life: ({ around }, life) =>
                Effect.gen(function*() {
                  if (life === 0) yield* rows(sql, `DROP TABLE IF EXISTS ${tables.join(", ")}`)
                  const own = counted(around, inner)
                  lent = { around, database: own }
                  const store = yield* postgresStore(own)
                  yield* World.toTheEnd(kind.make(outside.parts(around, slowly)), store, {
                    partitions: World.partitionsOf(kind, life)
                  })
                })
            }
          },
          deep(40, 20),
          (outcome, what) => World.assertSame(outcome, reference, what)
        )
      ))
      console.log(`crashes around every transaction: ${points.length} lives in ${Duration.toSeconds(took)} s`)
      assert.isAtLeast(countOf(points, "before transaction"), 8)
    })
  )

  live(
    "become one transaction per epoch, and two where they are not the same database",
    Effect.gen(function*() {
      for (const isShared of [true, false]) {
        const url = yield* emptyDatabase()
        const joined: Array<number> = []
        const layer = Layer.effectContext(Effect.gen(function*() {
          const { context, store } = yield* opened(url)
          const watched = CheckpointStore.CheckpointStore.of({
            ...store,
            commit: (commit) =>
              Effect.tap(store.commit(commit), () => Effect.sync(() => void joined.push(commit.alongside.length)))
          })
          return yield* Effect.map(
            Layer.build(isShared ? Layer.succeedContext(context) : Postgres.layer()),
            (built) => Context.add(built, CheckpointStore.CheckpointStore, watched)
          )
        }))
        yield* run(url, counting(Effect.void, "0 millis"), layer)
        const { sql } = yield* opened(url)
        assert.deepStrictEqual(yield* contents(sql), expected)
        assert.strictEqual(joined.some((statements) => statements > 0), isShared)
      }
    })
  )
})

describe("a server that is killed and comes back", () => {
  live(
    "does not end a job, which goes on with it: each row is there once",
    Effect.gen(function*() {
      const server = new Server(Server.shared.port + 1)
      yield* Effect.acquireRelease(Effect.sync(() => server.up()), () => Effect.sync(() => server.down()))
      const sql = yield* client(server.url())
      const job = yield* Effect.forkChild(run(server.url(), counting()))
      let seen = 0
      const restarts = deep(2, 6)
      for (let restart = 0; restart < restarts; restart++) {
        while ((yield* countOfRows(sql, "numbers")) <= seen) yield* Effect.sleep("5 millis")
        server.restart()
        seen = yield* countOfRows(sql, "numbers")
      }
      assert.isBelow(seen, expected.numbers.length, "the job was still at work")
      yield* Fiber.join(job)
      assert.deepStrictEqual(yield* contents(sql), expected)
    })
  )
})

describe("another process", () => {
  const program = (url: string) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const child = spawn(process.execPath, [Path.join(import.meta.dirname, "counting.ts"), url], {
          stdio: ["ignore", "pipe", "inherit"]
        })
        let said = ""
        const ended = Deferred.makeUnsafe<string>()
        child.stdout.on("data", (bytes) => void (said += String(bytes)))
        child.on("close", () => Deferred.doneUnsafe(ended, Effect.succeed(said)))
        return { child, ended: Deferred.await(ended) }
      }),
      ({ child }) => Effect.sync(() => child.kill("SIGKILL"))
    )

  live(
    "that had been stopped in the middle finds the job taken over, and writes nothing",
    Effect.gen(function*() {
      const url = yield* emptyDatabase()
      const sql = yield* client(url)
      const { child, ended } = yield* program(url)
      while ((yield* countOfRows(sql, "numbers")) < 100) yield* Effect.sleep("5 millis")
      child.kill("SIGSTOP")
      const before = yield* countOfRows(sql, "numbers")
      assert.isBelow(before, expected.numbers.length)
      yield* run(url, counting(Effect.void, "0 millis"))
      assert.deepStrictEqual(yield* contents(sql), expected)
      const epochs =
        "SELECT job, epoch::integer AS epoch, attempt::integer AS attempt, digest FROM millrace_epochs ORDER BY epoch"
      const committed = yield* rows(sql, epochs)
      child.kill("SIGCONT")
      const said = yield* ended
      assert.include(said, "Fenced")
      assert.deepStrictEqual(yield* contents(sql), expected)
      assert.deepStrictEqual(yield* rows(sql, epochs), committed)
    })
  )

  live(
    "that is killed at any moment is gone on for: each row is there once",
    Effect.gen(function*() {
      const url = yield* emptyDatabase()
      const sql = yield* client(url)
      for (let kill = 1; kill <= deep(2, 12); kill++) {
        const { child, ended } = yield* program(url)
        const from = yield* countOfRows(sql, "numbers")
        while ((yield* countOfRows(sql, "numbers")) <= from && child.exitCode === null) yield* Effect.sleep("2 millis")
        child.kill("SIGKILL")
        yield* ended
      }
      yield* run(url, counting(Effect.void, "0 millis"))
      assert.deepStrictEqual(yield* contents(sql), expected)
    })
  )
})

describe("a row that the table refuses", () => {
  const all = Array.from({ length: 300 }, (_, n) => n)
  const world = Effect.gen(function*() {
    const { context, sql } = yield* opened(yield* emptyDatabase())
    yield* rows(sql, "CREATE TABLE picky (n integer CHECK (n <> 100))")
    const source = Source.queue<number>()
    const flow = Flow.from("rows", source)
    const table = (name: string) =>
      Postgres.sink({ table: name, columns: { n: (n: number) => n }, types: { n: "integer" } })
    const job = Job.make("job", [
      flow.pipe(Flow.to("picky", table("picky"))),
      flow.pipe(Flow.to("easy", table("easy")))
    ])
    const launch = (own: Job.RunOptions) =>
      Effect.provideContext(Job.launch(job, { checkpointEvery: "5 millis", ...own }), context)
    return { launch, source, sql }
  })

  live(
    "fails its sink, not the checkpoint",
    Effect.gen(function*() {
      const { launch, source, sql } = yield* world
      const handle = yield* launch({ maxPendingBytes: 1024, sinkTimeout: "300 millis", batchSize: 8, bufferSize: 16 })
      const pushing = yield* Effect.forkChild(Effect.ignore(handle.pushAll(source, all)))
      const error = yield* Effect.flip(handle.await)
      yield* Fiber.interrupt(pushing)
      assert.instanceOf(error, FlowError.SinkStalled)
      assert.include(error.message, `"picky"`)
      assert.include(error.message, "(23514)")
      assert.isAbove(yield* countOfRows(sql, "easy"), 100)
    })
  )

  live(
    "is tried again until it is taken",
    Effect.gen(function*() {
      const { launch, source, sql } = yield* world
      const handle = yield* launch({})
      yield* handle.pushAll(source, all)
      while ((yield* handle.status).sinks.every(({ pendingBytes }) => pendingBytes === 0)) {
        yield* Effect.sleep("5 millis")
      }
      yield* rows(sql, "ALTER TABLE picky DROP CONSTRAINT picky_n_check")
      yield* handle.drain
      for (const table of ["picky", "easy"]) {
        const found = yield* rows(sql, `SELECT n FROM ${table} ORDER BY n`)
        assert.deepStrictEqual(found.map(({ n }) => n), all)
      }
    })
  )
})
