/** `Postgres.layerCheckpointStore` against a real server. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Layer, type Scope } from "effect"
import { CheckpointStore } from "millrace"
import { commitSurely } from "../../src/internal/runtime/patience.ts"
import { blobIn, bytes, commitOf, epochs, filled, job, storeLaws } from "../laws/storeLaws.ts"
import { deep } from "../support/deep.ts"
import { type Cut, cutter } from "./cutter.ts"
import { client, emptyDatabase, opened, rows, Server } from "./postgres.ts"

storeLaws("Postgres.layerCheckpointStore", {
  isDurable: true,
  hasDatabase: true,
  scripts: deep(15, 200),
  place: Effect.map(
    emptyDatabase(),
    (url) =>
      Layer.effect(
        CheckpointStore.CheckpointStore,
        Effect.map(opened(url, { schema: `kept "here"; DROP SCHEMA public` }), ({ store }) => store)
      )
  )
})

const live = (name: string, test: Effect.Effect<void, unknown, Scope.Scope>) => it.live(name, () => Effect.scoped(test))

const failure = (effect: Effect.Effect<unknown, { readonly _tag: string; readonly message: string }>) =>
  Effect.map(Effect.flip(effect), ({ _tag, message }) => `${_tag}: ${message}`)

const place = Effect.gen(function*() {
  const url = yield* emptyDatabase()
  return { url, ...yield* opened(url) }
})

const inserted = (n: number): CheckpointStore.Commit["alongside"][number] => ({
  sql: "INSERT INTO notes VALUES ($1)",
  parameters: [n]
})

describe("the tables of Postgres.layerCheckpointStore", () => {
  live(
    "come to be once, however many processes open the store at once",
    Effect.gen(function*() {
      const url = yield* emptyDatabase()
      const all = yield* Effect.all(Array.from({ length: 12 }, () => opened(url, { schema: "kept" })), {
        concurrency: "unbounded"
      })
      const attempts = yield* Effect.all(all.map(({ store }) => store.acquire(job)), { concurrency: "unbounded" })
      assert.deepStrictEqual(attempts.toSorted((a, b) => a - b), Array.from({ length: 12 }, (_, i) => i + 1))
    })
  )

  live(
    "need no right to make any where they are there",
    Effect.gen(function*() {
      const { sql, store, url } = yield* place
      yield* filled(store, 1)
      const user = `reader_${process.pid}`
      yield* rows(sql, `DROP ROLE IF EXISTS ${user}`)
      yield* rows(sql, `CREATE ROLE ${user} LOGIN`)
      yield* Effect.addFinalizer(() =>
        Effect.ignore(Effect.andThen(rows(sql, `DROP OWNED BY ${user}`), rows(sql, `DROP ROLE ${user}`)))
      )
      yield* rows(sql, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
      yield* rows(sql, `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ${user}`)
      const own = yield* opened(url.replace("postgres@", `${user}@`))
      assert.strictEqual(yield* own.store.acquire(job), 2)
      assert.include(
        yield* failure(Effect.scoped(opened(url.replace("postgres@", `${user}@`), { schema: "other" }))),
        "PostgresError: Postgres could not run \"CREATE SCHEMA IF NOT EXISTS"
      )
    })
  )

  live(
    "are in a schema that Postgres can name, or nowhere",
    Effect.gen(function*() {
      const { url } = yield* place
      const wrong = { "": "it is empty", ["x".repeat(64)]: "longer than 63 bytes", "\0": "no text" }
      for (const [schema, problem] of Object.entries(wrong)) {
        assert.include(yield* failure(Effect.scoped(opened(url, { schema }))), problem)
      }
    })
  )
})

describe("a transaction of Postgres.layerCheckpointStore", () => {
  live(
    "is durable when it is answered, and is not waited for when its process stands still",
    Effect.gen(function*() {
      const url = yield* emptyDatabase()
      const { database } = yield* opened(url, {}, { startupParameters: { synchronous_commit: "off" } })
      const [found] = yield* database.transaction([{
        sql:
          "SELECT current_setting('synchronous_commit') AS commit, current_setting('transaction_isolation') AS level, "
          + "current_setting('idle_in_transaction_session_timeout') AS idle"
      }])
      assert.deepStrictEqual(found, [{ commit: "on", level: "read committed", idle: "30s" }])
    })
  )

  live(
    "gives back its connection as it was, whatever became of it",
    Effect.gen(function*() {
      const url = yield* emptyDatabase()
      const { database, sql } = yield* opened(url, {}, { maxConnections: 1 })
      yield* database.transaction([{ sql: "CREATE TABLE notes (n integer)" }])
      const bad = [{ ...inserted(1), changes: 2 }, { sql: "SELECT 1 / 0" }, { sql: "COMMIT" }, { sql: "no sql" }]
      for (const statement of bad) {
        assert.isTrue(Exit.isFailure(yield* Effect.exit(database.transaction([inserted(0), statement, inserted(2)]))))
      }
      for (let turn = 0; turn < 20; turn++) {
        const fiber = yield* Effect.forkChild(database.transaction([inserted(1), inserted(1)]))
        yield* Effect.sleep(`${turn % 5} millis`)
        yield* Fiber.interrupt(fiber)
      }
      const { n } = (yield* rows(sql, "SELECT count(*)::integer AS n FROM notes WHERE n = 1"))[0]!
      assert.strictEqual(Number(n) % 2, 0)
      // A statement that ends the transaction takes nothing back of what was before it.
      assert.deepStrictEqual(yield* rows(sql, "SELECT count(*)::integer AS n FROM notes WHERE n <> 1"), [{ n: 1 }])
      assert.deepStrictEqual(yield* database.transaction([{ sql: "SELECT txid_current_if_assigned() AS id" }]), [[{
        id: null
      }]])
    })
  )
})

describe("what is alongside in Postgres.layerCheckpointStore", () => {
  const begun = Effect.gen(function*() {
    const all = yield* place
    yield* rows(all.sql, "CREATE TABLE notes (n integer CHECK (n <> 13))")
    const attempt = yield* filled(all.store, 1)
    const notes = Effect.map(rows(all.sql, "SELECT n FROM notes ORDER BY n"), (found) => found.map(({ n }) => n))
    return { ...all, attempt, notes }
  })

  live(
    "happens with the epoch, once",
    Effect.gen(function*() {
      const { attempt, database, notes, store } = yield* begun
      assert.strictEqual(store.database, database)
      const commit = commitOf({ attempt, epoch: 2, alongside: [inserted(1), inserted(2)] })
      for (let i = 0; i < 3; i++) yield* store.commit(commit)
      assert.deepStrictEqual(yield* notes, [1, 2])
      assert.deepStrictEqual(yield* epochs(store), [2, 1])
    })
  )

  live(
    "is a fence where it does not find what it must, and a refusal where Postgres does not take it: nothing happens",
    Effect.gen(function*() {
      const { attempt, notes, sql, store } = yield* begun
      const nowhere = { sql: "UPDATE notes SET n = 1 WHERE n = 5", changes: 1 }
      const commit = commitOf({ attempt, epoch: 2, drop: { epochs: [1], blobs: ["1.state-0"] } })
      assert.include(
        yield* failure(store.commit({ ...commit, alongside: [inserted(1), nowhere] })),
        "Fenced: Job \"fraud\" may not commit epoch 2: a sink in the same database does not stand where its last epoch left "
          + "it (statement 1 alongside changed 0 rows, not 1)"
      )
      for (const wrong of [inserted(13), { sql: "INSERT INTO nowhere VALUES (1)" }, { sql: "SELECT 1 / 0" }]) {
        const error = yield* Effect.flip(store.commit({ ...commit, alongside: [inserted(1), wrong] }))
        assert.deepInclude(error, { _tag: "AlongsideRefused", job, statement: 1 })
      }
      yield* Effect.scoped(Effect.gen(function*() {
        const other = yield* sql.reserve
        yield* other.executeRaw("BEGIN", [])
        yield* other.executeRaw("LOCK TABLE notes", [])
        const error = yield* Effect.flip(store.commit({ ...commit, alongside: [inserted(1)] }))
        yield* other.executeRaw("ROLLBACK", [])
        assert.deepInclude(error, { _tag: "AlongsideRefused", job, statement: 0 })
        assert.include(error.message, "lock timeout (55P03)")
      }))
      assert.deepStrictEqual(yield* notes, [])
      assert.deepStrictEqual(yield* epochs(store), [1])
      assert.deepStrictEqual(yield* blobIn(store, "1.state-0"), bytes("state 1"))
      yield* store.commit({ ...commit, alongside: [inserted(1)] })
      assert.deepStrictEqual(yield* notes, [1])
    })
  )

  live(
    "is no refusal where the connection is lost, and the same commit succeeds afterwards",
    Effect.gen(function*() {
      const { attempt, notes, sql, store, url } = yield* begun
      const killer = yield* client(url)
      const slow = commitOf({ attempt, epoch: 2, alongside: [inserted(1), { sql: "SELECT pg_sleep(5)" }] })
      const committing = yield* Effect.forkChild(Effect.flip(store.commit(slow)))
      let killed: ReadonlyArray<unknown> = []
      while (killed.length === 0) {
        killed = yield* rows(
          killer,
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND state = 'active' "
            + "AND datname = current_database() AND pid <> pg_backend_pid()"
        )
      }
      assert.deepInclude(yield* Fiber.join(committing), { _tag: "CheckpointStoreError", job })
      assert.deepStrictEqual(yield* epochs(store), [1])
      assert.deepStrictEqual(yield* notes, [])
      yield* store.commit(commitOf({ attempt, epoch: 2, alongside: [inserted(1)] }))
      assert.deepStrictEqual(yield* rows(sql, "SELECT n FROM notes"), [{ n: 1 }])
    })
  )

  for (const cut of ["unheard", "unanswered"] satisfies ReadonlyArray<Cut>) {
    live(
      `a COMMIT that is ${cut} is an error of the store, and whoever tries again learns what came of it`,
      Effect.gen(function*() {
        const { attempt, notes, url } = yield* begun
        const way = yield* cutter(Server.shared.port)
        const { store } = yield* opened(url.replace(/:\d+/, `:${way.port}`), {}, { prepare: false })
        const commit = commitOf({ attempt, epoch: 2, alongside: [inserted(1)] })
        way.plan([cut])
        assert.deepInclude(yield* Effect.flip(store.commit(commit)), { _tag: "CheckpointStoreError", job })
        assert.strictEqual(way.left(), 0)
        assert.deepStrictEqual(yield* epochs(store), cut === "unheard" ? [1] : [2, 1])
        yield* store.commit(commit)
        assert.deepStrictEqual(yield* notes, [1])

        way.plan([cut, cut, "unheard", "unanswered", cut])
        yield* commitSurely(store, commitOf({ attempt, epoch: 3, alongside: [inserted(2)] }))
        assert.deepStrictEqual(yield* notes, [1, 2])
        assert.deepStrictEqual(yield* epochs(store), [3, 2, 1])
      })
    )
  }
})

describe("bytes in Postgres.layerCheckpointStore", () => {
  live(
    "that are damaged or lacking are an error which names them",
    Effect.gen(function*() {
      const { sql, store } = yield* place
      const attempt = yield* store.acquire(job)
      const large = new Uint8Array(2.5 * 2 ** 20).fill(7)
      yield* store.commit(commitOf({
        attempt,
        epoch: 1,
        manifest: large,
        blobs: [{ id: "1.a", bytes: large }, { id: "1.b", bytes: large }, { id: "1.c", bytes: large }]
      }))
      assert.deepStrictEqual(yield* blobIn(store, "1.a"), large)
      const said = (id: string) => failure(store.blob(job, id))
      yield* rows(
        sql,
        "UPDATE millrace_pieces SET bytes = set_byte(bytes, 5, 8) WHERE kind = 'blob' AND id = '1.a' AND piece = 1"
      )
      yield* rows(sql, "DELETE FROM millrace_pieces WHERE id = '1.b' AND piece = 2")
      yield* rows(sql, "DELETE FROM millrace_pieces WHERE id = '1.c' AND piece = 1")
      yield* rows(sql, "UPDATE millrace_pieces SET piece = 1 - piece + 10 WHERE kind = 'manifest' AND piece < 2")
      yield* rows(sql, "UPDATE millrace_pieces SET piece = piece - 10 WHERE kind = 'manifest' AND piece >= 10")
      assert.include(
        yield* said("1.a"),
        "could not read \"1.a\" for job \"fraud\": blob \"1.a\" is damaged: the checksum of piece 1"
      )
      assert.include(yield* said("1.b"), "2 of its 3 pieces are there")
      assert.include(yield* said("1.c"), "2 of its 3 pieces are there")
      assert.include(
        yield* failure(store.manifest(job, 1)),
        "manifest \"1\" is damaged: the checksum of piece 0 is wrong"
      )
    })
  )

  live(
    "may be many",
    Effect.gen(function*() {
      const { store } = yield* place
      const attempt = yield* store.acquire(job)
      const mib = deep(24, 100)
      const one = new Uint8Array(mib * 2 ** 20)
      for (let at = 0; at < one.length; at += 4096) one.fill(at % 251, at, at + 4096)
      const blobs = Array.from(
        { length: mib },
        (_, n) => ({ id: `1.state-${n}`, bytes: one.subarray(n << 20, n + 1 << 20) })
      )
      const peak = { rss: 0 }
      const before = process.memoryUsage().rss
      const watch = setInterval(() => void (peak.rss = Math.max(peak.rss, process.memoryUsage().rss)), 5)
      const timed = <A, E>(effect: Effect.Effect<A, E>) =>
        Effect.map(
          Effect.timed(effect),
          ([took, value]) => [Math.round(Duration.toMillis(took)), value] as const
        )
      const [pieces] = yield* timed(store.commit(commitOf({ attempt, epoch: 1, blobs })))
      const [whole] = yield* timed(
        store.commit(commitOf({ attempt, epoch: 2, blobs: [{ id: "2.whole", bytes: one }] }))
      )
      const [reading, found] = yield* timed(blobIn(store, "2.whole"))
      clearInterval(watch)
      assert.deepStrictEqual(found, one)
      console.log(
        `${mib} MiB: committed in blobs of 1 MiB in ${pieces} ms, as one blob in ${whole} ms, read in ${reading} ms; `
          + `${Math.round((peak.rss - before) / 2 ** 20)} MiB more memory at most`
      )
      assert.isBelow(peak.rss - before, 6 * one.length + 200 * 2 ** 20)
    })
  )
})
