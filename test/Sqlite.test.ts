import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, type Scope } from "effect"
import * as fc from "fast-check"
import * as Sqlite from "millrace/Sqlite"
import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { DatabaseSync } from "node:sqlite"
import { pathToFileURL } from "node:url"
import { runs } from "./laws/runs.ts"

const file = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "millrace-sqlite-"))),
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
  ),
  (folder) => `${folder}/data.db`
)

const open = (path: string, options?: Sqlite.Options) =>
  Effect.map(Layer.build(Sqlite.layer(path, options)), Context.get(Sqlite.Sqlite))

const failure = <E extends { readonly _tag: string; readonly message: string }>(effect: Effect.Effect<unknown, E>) =>
  Effect.map(Effect.flip(effect), ({ _tag, message }) => `${_tag}: ${message}`)

const json = (rows: unknown) => new TextEncoder().encode(JSON.stringify(rows))

/** A database with an empty table `t` of two columns of no type. */
const database = Effect.gen(function*() {
  const path = yield* file
  const db = yield* open(path)
  yield* db.transaction([{ sql: "CREATE TABLE t (a, b)" }])
  return { db, path }
})

const all = (db: Sqlite.Database) =>
  Effect.map(
    db.transaction([{ sql: "SELECT a, b FROM t ORDER BY rowid" }]),
    ([rows = []]) => rows.map(({ a, b }) => [a, b])
  )

const put = (a: Sqlite.Value, b: Sqlite.Value = null): Sqlite.Statement => ({
  sql: "INSERT INTO t VALUES (?, ?)",
  parameters: [a, b]
})

const live = (title: string, test: () => Effect.Effect<unknown, unknown, Scope.Scope>) =>
  it.live(title, () => Effect.scoped(test()))

describe("Sqlite.layer", () => {
  live("makes the file and its folders, with a write-ahead log that reaches the disk", () =>
    Effect.gen(function*() {
      const path = Path.join(Path.dirname(yield* file), "deep", "er", "data.db")
      const db = yield* open(path)
      assert.strictEqual(db.path, path)
      const answer = yield* db.transaction(
        ["journal_mode", "synchronous", "busy_timeout"].map((name) => ({ sql: `PRAGMA ${name}` }))
      )
      assert.deepStrictEqual(answer, [[{ journal_mode: "wal" }], [{ synchronous: 2 }], [{ timeout: 5000 }]])
    }))

  live("answers each statement with its rows", () =>
    Effect.gen(function*() {
      const { db } = yield* database
      assert.deepStrictEqual(
        yield* db.transaction([
          put(1, "x"),
          { sql: "INSERT INTO t VALUES (2, 'y') RETURNING a + 1 AS more" },
          { sql: "SELECT count(*) AS __proto__, max(a) AS constructor FROM t" }
        ]),
        [[], [{ more: 3 }], [JSON.parse(`{ "__proto__": 2, "constructor": 2 }`)]]
      )
      assert.deepStrictEqual(yield* db.transaction([]), [])
    }))

  live("values come back as they were", () =>
    Effect.gen(function*() {
      const { db } = yield* database
      const text = fc.string({ unit: "binary", maxLength: 30 })
      const value: fc.Arbitrary<Sqlite.Value> = fc.oneof(
        fc.constant(null),
        fc.double({ noNaN: true }),
        fc.integer(),
        fc.constantFrom(-0, Infinity, -Infinity, 2 ** 53, -(2 ** 60), 5e-324),
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        text,
        fc.constantFrom("", "a\0b", "🌊", "\ufeffx", "1", "1.0"),
        fc.uint8Array({ maxLength: 300 })
      )
      yield* Effect.promise(() =>
        fc.assert(
          fc.asyncProperty(fc.array(fc.tuple(value, value), { maxLength: 20 }), (rows) =>
            Effect.runPromise(Effect.gen(function*() {
              yield* db.transaction([
                { sql: "DELETE FROM t" },
                ...rows.map(([a, b]) => put(a, b))
              ])
              const wanted = rows.map((row) =>
                row.map((value) =>
                  typeof value === "bigint" && Number.isSafeInteger(Number(value)) ? Number(value) : value
                )
              )
              assert.deepStrictEqual(yield* all(db), wanted)
            }))),
          { numRuns: runs(100) }
        )
      )
    }))

  live("the caller keeps the buffers that it gives", () =>
    Effect.gen(function*() {
      const { db } = yield* database
      const whole = new Uint8Array(64).fill(7)
      const rows = json([["r", 1]])
      yield* db.transaction([put(whole.subarray(8, 11), whole), { sql: "INSERT INTO t VALUES (?, ?)", rows }])
      assert.strictEqual(whole.length, 64)
      assert.strictEqual(rows.length, json([["r", 1]]).length)
      assert.deepStrictEqual(yield* all(db), [[new Uint8Array(3).fill(7), whole], ["r", 1]])
    }))

  live("rows are a statement for each, after the parameters that all have", () =>
    Effect.gen(function*() {
      const { db } = yield* database
      const rows = json([[1], [-0.5], ["text"], [true], [false], [null], [{ a: [1] }], [["x"]], [2 ** 53]])
      yield* db.transaction([{
        sql: "INSERT INTO t (b, a) VALUES (?, ?)",
        parameters: ["all"],
        rows,
        changes: 9
      }])
      const values = [1, -0.5, "text", 1, 0, null, `{"a":[1]}`, `["x"]`, 2 ** 53]
      assert.deepStrictEqual(yield* all(db), values.map((value) => [value, "all"]))
      const types = yield* db.transaction([{ sql: "SELECT typeof(a) AS type FROM t ORDER BY rowid LIMIT 4" }])
      assert.deepStrictEqual(types[0]?.map(({ type }) => type), ["integer", "real", "text", "integer"])
      // None at all.
      assert.deepStrictEqual(
        yield* db.transaction([{ sql: "INSERT INTO t (a) VALUES (?)", rows: json([]), changes: 0 }]),
        [[]]
      )
    }))

  live("a statement that fails takes everything back, and the database goes on", () =>
    Effect.gen(function*() {
      const { db, path } = yield* database
      const refusals: ReadonlyArray<readonly [Sqlite.Statement, RegExp]> = [
        [
          { sql: "INSERT INTO nowhere VALUES (1)" },
          /could not run "INSERT INTO nowhere VALUES \(1\)" in .*: no such table/
        ],
        [{ sql: "nonsense" }, /syntax error/],
        [{ sql: "INSERT INTO t VALUES (?)", parameters: [1] }, /table t has 2 columns/],
        [{ sql: "INSERT INTO t VALUES (1, ?)", parameters: [1, 2] }, /column index out of range/],
        [{ sql: "INSERT INTO t VALUES (1, ?)", parameters: [2n ** 64n] }, /BigInt value is too large to bind/],
        [{ sql: "INSERT INTO t VALUES (1, ?)", rows: json({ a: 1 }) }, /rows must be a JSON array of arrays/],
        [{ sql: "INSERT INTO t VALUES (1, ?)", rows: json([[1], 2]) }, /rows must be a JSON array of arrays/],
        [{ sql: "INSERT INTO t VALUES (1, ?)", rows: new Uint8Array([0x5b]) }, /JSON/],
        [{ sql: "INSERT INTO t VALUES (1, ?)", rows: new Uint8Array([0xff]) }, /encoded data was not valid/],
        // The last one is taken back by SQLite itself.
        [{ sql: "INSERT OR ROLLBACK INTO one VALUES (1), (1)" }, /UNIQUE constraint failed/]
      ]
      yield* db.transaction([{ sql: "CREATE TABLE one (x UNIQUE)" }])
      for (const [statement, problem] of refusals) {
        const message = yield* failure(db.transaction([put("before"), statement, put("after")]))
        assert.match(message, problem)
        assert.include(message, `SqliteError: SQLite could not run `)
        assert.include(message, ` in ${path}: `)
      }
      assert.deepStrictEqual(yield* all(db), [])
      yield* db.transaction([put("later")])
      assert.deepStrictEqual(yield* all(db), [["later", null]])
    }))

  live("an error carries SQLite's code", () =>
    Effect.gen(function*() {
      const { db } = yield* database
      const error = yield* Effect.flip(db.transaction([{ sql: "nonsense" }]))
      assert(error._tag === "SqliteError")
      assert.include(error.cause, { code: "ERR_SQLITE_ERROR", errcode: 1 })
    }))

  live("a statement that ends its own transaction is refused", () =>
    Effect.gen(function*() {
      const { db } = yield* database
      const message = yield* failure(db.transaction([put(1), { sql: "ROLLBACK" }, put(2)]))
      assert.include(message, "a statement has ended the transaction that it is part of")
      assert.deepStrictEqual(yield* all(db), [])
    }))

  live("another number of changes than expected takes everything back", () =>
    Effect.gen(function*() {
      const { db } = yield* database
      yield* db.transaction([put(1), put(1), put(2)])
      const moved = (from: number, changes: number) => ({
        sql: "UPDATE t SET b = 1 WHERE a = ?",
        parameters: [from],
        changes
      })
      const refusals: ReadonlyArray<readonly [Sqlite.Statement, number]> = [
        [moved(1, 1), 2],
        [moved(7, 1), 0],
        [{ ...moved(1, 3), sql: `${moved(1, 3).sql} RETURNING a` }, 2],
        [{ sql: "UPDATE t SET b = 1 WHERE a = ?", rows: json([[1], [2], [7]]), changes: 4 }, 3],
        // What the statement before has changed is not counted again.
        [{ sql: "CREATE TABLE u (x)", changes: 1 }, 0],
        [{ sql: "SELECT a FROM t", changes: 1 }, 0]
      ]
      for (const [statement, changes] of refusals) {
        const exit = yield* Effect.result(db.transaction([put("x"), statement]))
        assert(exit._tag === "Failure" && exit.failure._tag === "Unexpected")
        const { expected, statement: index } = exit.failure
        assert.deepStrictEqual([index, exit.failure.changes, expected], [1, changes, statement.changes])
      }
      yield* db.transaction([moved(1, 2), moved(7, 0), { ...moved(2, 1), sql: `${moved(2, 1).sql} RETURNING a` }])
      assert.deepStrictEqual(yield* all(db), [[1, 1], [1, 1], [2, 1]])
    }))

  live("more statements than are kept prepared", () =>
    Effect.gen(function*() {
      const { db } = yield* database
      for (let round = 0; round < 2; round++) {
        for (let i = 0; i < 300; i += 100) {
          yield* db.transaction(
            Array.from({ length: 100 }, (_, j) => ({ sql: `INSERT INTO t VALUES (${i + j}, ?)`, parameters: [round] }))
          )
        }
      }
      const [rows] = yield* db.transaction([{ sql: "SELECT count(*) AS n, sum(a) AS sum, sum(b) AS rounds FROM t" }])
      assert.deepStrictEqual(rows, [{ n: 600, sum: 300 * 299, rounds: 300 }])
    }))

  live("transactions come one after the other", () =>
    Effect.gen(function*() {
      const { db } = yield* database
      yield* db.transaction([put(0)])
      const counted = { sql: "UPDATE t SET a = a + 1 RETURNING a" }
      const seen = yield* Effect.forEach(Array.from({ length: 50 }), () => db.transaction([counted, counted]), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(seen.map(([, rows]) => rows?.[0]?.["a"]), Array.from({ length: 50 }, (_, i) => 2 * i + 2))
    }))

  live("two databases on one file", () =>
    Effect.gen(function*() {
      const { db, path } = yield* database
      const others = yield* Effect.all([open(path), open(path)], { concurrency: "unbounded" })
      yield* db.transaction([put(0)])
      yield* Effect.forEach(
        Array.from({ length: 30 }, (_, i) => [db, ...others][i % 3]!),
        (each) => each.transaction([{ sql: "UPDATE t SET a = a + 1" }]),
        { concurrency: "unbounded" }
      )
      for (const each of [db, ...others]) assert.deepStrictEqual(yield* all(each), [[30, null]])
    }))

  live("a new file that several open at once", () =>
    Effect.gen(function*() {
      const path = yield* file
      const opened = yield* Effect.forEach([1, 2, 3, 4], () => open(path), { concurrency: "unbounded" })
      yield* Effect.forEach(opened, (db, i) => db.transaction([{ sql: `CREATE TABLE t${i} (x)` }]), {
        concurrency: "unbounded"
      })
      const [rows] = yield* opened[0]!.transaction([{ sql: "SELECT name FROM sqlite_schema ORDER BY name" }])
      assert.deepStrictEqual(rows, [0, 1, 2, 3].map((i) => ({ name: `t${i}` })))
    }))

  live("a database that somebody else holds too long is a typed error", () =>
    Effect.gen(function*() {
      const path = yield* file
      const db = yield* open(path, { busyTimeout: "50 millis" })
      yield* db.transaction([{ sql: "CREATE TABLE t (a, b)" }])
      const other = new DatabaseSync(path)
      other.exec("BEGIN IMMEDIATE")
      const message = yield* failure(db.transaction([put(1)]))
      assert.strictEqual(message, `SqliteError: SQLite could not begin a transaction in ${path}: database is locked`)
      other.exec("COMMIT")
      other.close()
      yield* db.transaction([put(1)])
      assert.deepStrictEqual(yield* all(db), [[1, null]])
    }))

  live("what is not a database is a typed error, and stays as it is", () =>
    Effect.gen(function*() {
      const path = yield* file
      Fs.writeFileSync(path, "This is somebody's letter, and it is long enough to be looked at. ".repeat(9))
      const before = Fs.readFileSync(path)
      const message = yield* failure(Effect.scoped(open(path, { busyTimeout: "20 millis" })))
      assert.strictEqual(message, `SqliteError: SQLite could not open the database in ${path}: file is not a database`)
      assert.deepStrictEqual(Fs.readFileSync(path), before)
    }))

  live("closing waits for the transactions under way, and refuses later ones", () =>
    Effect.gen(function*() {
      const { path } = yield* database
      let kept: Sqlite.Database | undefined
      const fibers = yield* Effect.scoped(Effect.gen(function*() {
        const db = kept = yield* open(path)
        const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
        for (let i = 0; i < 20; i++) {
          fibers.push(yield* Effect.forkDetach(db.transaction([put(i), put(new Uint8Array(1e5))])))
        }
        // Each has sent its own by then, and few are answered.
        yield* Effect.sleep("1 millis")
        return fibers
      }))
      for (const fiber of fibers) assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)))
      const message = yield* failure(kept!.transaction([put(1)]))
      assert.strictEqual(
        message,
        `SqliteError: SQLite could not begin a transaction in ${path}: the database is closed`
      )
      const [rows] = yield* (yield* open(path)).transaction([{ sql: "SELECT count(*) AS n FROM t" }])
      assert.deepStrictEqual(rows, [{ n: 40 }])
    }))

  live("an interrupted caller leaves a transaction that happened or not", () =>
    Effect.gen(function*() {
      const { db } = yield* database
      for (let i = 0; i < 20; i++) {
        const fiber = yield* Effect.forkChild(db.transaction([put(i), put(i)]))
        for (let j = 0; j < i; j++) yield* Effect.yieldNow
        yield* Fiber.interrupt(fiber)
      }
      const [rows] = yield* db.transaction([{ sql: "SELECT a, count(*) AS n FROM t GROUP BY a HAVING n <> 2" }])
      assert.deepStrictEqual(rows, [])
    }))

  live("what cannot be sent to the thread is a typed error", () =>
    Effect.gen(function*() {
      const { db } = yield* database
      // What arrives from JavaScript, or through a cast.
      const bad = (() => 1) as unknown as string
      assert.include(yield* failure(db.transaction([put(bad)])), "SqliteError: ")
      yield* db.transaction([put(1)])
      assert.deepStrictEqual(yield* all(db), [[1, null]])
    }))
})

/** Runs a program of its own in another process: some things can only be seen from outside. */
const program = (path: string, body: string) =>
  Effect.callback<{ readonly code: number; readonly output: string }>((resume) => {
    const module = (name: string) => JSON.stringify(pathToFileURL(Path.join(import.meta.dirname, "../src", name)).href)
    const script = `
      import { Context, Effect, Layer, Scope } from "effect"
      import * as Sqlite from ${module("Sqlite.ts")}
      const scope = Scope.makeUnsafe()
      const context = await Effect.runPromise(Layer.buildWithScope(Sqlite.layer(${JSON.stringify(path)}), scope))
      const db = Context.get(context, Sqlite.Sqlite)
      ${body}`
    const options = { cwd: Path.join(import.meta.dirname, ".."), timeout: 30_000 }
    execFile(
      process.execPath,
      ["--input-type=module", "--eval", script],
      options,
      (error, stdout, stderr) =>
        resume(Effect.succeed({ code: error === null ? 0 : Number(error.code), output: `${stdout}${stderr}`.trim() }))
    )
  })

describe("the thread of a database", () => {
  live("does not keep the process alive when it has nothing to do, and says nothing", () =>
    Effect.gen(function*() {
      const { db, path } = yield* database
      const { code, output } = yield* program(
        path,
        `await Effect.runPromise(db.transaction([{ sql: "INSERT INTO t VALUES (1, 2)" }]))`
      )
      assert.deepStrictEqual({ code, output }, { code: 0, output: "" })
      assert.deepStrictEqual(yield* all(db), [[1, 2]])
    }))

  live("keeps the process alive while it writes", () =>
    Effect.gen(function*() {
      const { db, path } = yield* database
      const { code, output } = yield* program(
        path,
        `Effect.runFork(Effect.gen(function*() {
          for (let i = 0; i < 20; i++) {
            yield* db.transaction([{ sql: "INSERT INTO t VALUES (?, ?)", parameters: [i, new Uint8Array(2e6)] }])
          }
          console.log("written")
        }))`
      )
      assert.deepStrictEqual({ code, output }, { code: 0, output: "written" })
      const [rows] = yield* db.transaction([{ sql: "SELECT count(*) AS n FROM t" }])
      assert.deepStrictEqual(rows, [{ n: 20 }])
    }))

  live("fails all that wait for it, and all that come later, when it dies", () =>
    Effect.gen(function*() {
      const { path } = yield* database
      const { code, output } = yield* program(
        path,
        `// The only active worker is the database's own.
        const { Worker } = await import("node:worker_threads")
        const post = Worker.prototype.postMessage
        let worker
        Worker.prototype.postMessage = function(...all) { worker = this; return post.apply(this, all) }
        await Effect.runPromise(db.transaction([]))
        const slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4e6) SELECT max(i) FROM n"
        const waiting = [slow, "SELECT 1"].map((sql) => Effect.runPromise(Effect.flip(db.transaction([{ sql }]))))
        setTimeout(() => worker.terminate(), 50)
        for (const error of await Promise.all(waiting)) console.log(error._tag, error.message)
        console.log((await Effect.runPromise(Effect.flip(db.transaction([])))).message)
        await Effect.runPromise(Scope.close(scope, (await import("effect")).Exit.void))
        console.log("closed")`
      )
      assert.strictEqual(code, 0, output)
      const finish = `SqliteError SQLite could not finish a transaction in ${path}: its thread has ended with code 1`
      const begin = `SQLite could not begin a transaction in ${path}: its thread has ended with code 1`
      assert.deepStrictEqual(output.split("\n"), [finish, finish, begin, "closed"])
    }))
})
