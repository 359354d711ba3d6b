/**
 * The thread that owns a database: it takes transactions one after the other, in the order in which they come.
 *
 * Started by `sqliteDatabase.ts`, from the sources or from the build; so it imports nothing of Millrace but types.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { DatabaseSync, type StatementSync } from "node:sqlite"
import { parentPort, workerData } from "node:worker_threads"
import type { Statement, Value } from "../../Sqlite.ts"

export interface Opening {
  readonly path: string
  readonly busyMillis: number
}

export type Request =
  | { readonly _tag: "Transaction"; readonly id: number; readonly statements: ReadonlyArray<Statement> }
  | { readonly _tag: "Close" }

export type Row = Readonly<Record<string, Value>>

/** What SQLite said. An error loses its code on the way from thread to thread, so it travels in pieces. */
export interface Refusal {
  readonly operation: string
  /** Which of the transaction's statements. */
  readonly statement?: number
  readonly message: string
  readonly code: string | undefined
  readonly errcode: number | undefined
}

export type Answer =
  | { readonly _tag: "Opened" }
  | { readonly _tag: "NotOpened"; readonly refusal: Refusal }
  | { readonly _tag: "Done"; readonly id: number; readonly rows: ReadonlyArray<ReadonlyArray<Row>> }
  | { readonly _tag: "Failed"; readonly id: number; readonly refusal: Refusal }
  | {
    readonly _tag: "Unexpected"
    readonly id: number
    readonly statement: number
    readonly changes: number
    readonly expected: number
  }

const maximumPrepared = 128

/** How often a database that somebody else is opening, too, is asked for its journal again. */
const pauseMillis = 10

const refusalOf = (operation: string, cause: unknown): Refusal => {
  const { code, errcode, message } = (cause ?? {}) as {
    readonly message?: unknown
    readonly code?: unknown
    readonly errcode?: unknown
  }
  return {
    operation,
    message: typeof message === "string" ? message : String(cause),
    code: typeof code === "string" ? code : undefined,
    errcode: typeof errcode === "number" ? errcode : undefined
  }
}

const sleep = (millis: number) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, millis)

/** Changing the journal does not wait for a busy database as everything else does. */
const writeAhead = (database: DatabaseSync, busyMillis: number): void => {
  for (let waited = 0;; waited += pauseMillis) {
    try {
      return database.exec("PRAGMA journal_mode = WAL")
    } catch (cause) {
      if (waited >= busyMillis) throw cause
      sleep(pauseMillis)
    }
  }
}

const open = ({ busyMillis, path }: Opening): DatabaseSync => {
  Fs.mkdirSync(Path.dirname(path), { recursive: true })
  const database = new DatabaseSync(path)
  try {
    database.exec(`PRAGMA busy_timeout = ${busyMillis}`)
    writeAhead(database, busyMillis)
    // `fullfsync` is for macOS, whose ordinary fsync does not reach the disk.
    database.exec("PRAGMA synchronous = FULL; PRAGMA fullfsync = ON")
    return database
  } catch (cause) {
    database.close()
    throw cause
  }
}

interface Prepared {
  readonly statement: StatementSync
  readonly returnsRows: boolean
}

type Bound = null | number | bigint | string | Uint8Array

/** JavaScript has one kind of number: whole ones are stored as integers, which is what a column without a type shows. */
const bound = (value: Value): Bound =>
  typeof value === "number" && Number.isSafeInteger(value) && !Object.is(value, -0) ? BigInt(value) : value

const fromJson = (value: unknown): Bound => {
  if (value === null || typeof value === "string") return value
  if (typeof value === "number") return bound(value)
  if (typeof value === "boolean") return value ? 1n : 0n
  return JSON.stringify(value)
}

/** Every integer is read as a bigint and stays one where a number could not hold it. */
const readable = (row: Readonly<Record<string, unknown>>): Row =>
  Object.fromEntries(
    Object.entries(row as Row).map(([column, value]) => [
      column,
      typeof value === "bigint" && Number.isSafeInteger(Number(value)) ? Number(value) : value
    ])
  )

const utf8 = new TextDecoder("utf-8", { fatal: true })

const parametersOf = ({ parameters = [], rows }: Statement): ReadonlyArray<ReadonlyArray<Bound>> => {
  const first = parameters.map(bound)
  if (rows === undefined) return [first]
  const parsed: unknown = JSON.parse(utf8.decode(rows))
  if (!Array.isArray(parsed)) throw new TypeError("rows must be a JSON array of arrays")
  return parsed.map((row: unknown) => {
    if (!Array.isArray(row)) throw new TypeError("rows must be a JSON array of arrays")
    return [...first, ...row.map(fromJson)]
  })
}

const serve = (database: DatabaseSync) => {
  const cache = new Map<string, Prepared>()

  const prepare = (sql: string): Prepared => {
    const known = cache.get(sql)
    cache.delete(sql)
    const prepared = known ?? fresh(sql)
    cache.set(sql, prepared)
    // The one that was used longest ago comes first.
    for (const oldest of cache.keys()) {
      if (cache.size <= maximumPrepared) break
      cache.delete(oldest)
    }
    return prepared
  }

  const fresh = (sql: string): Prepared => {
    const statement = database.prepare(sql)
    statement.setReadBigInts(true)
    return { statement, returnsRows: statement.columns().length > 0 }
  }

  const count = (sql: string): number => Number(prepare(sql).statement.get()?.["n"])

  const run = (statement: Statement): { readonly rows: ReadonlyArray<Row>; readonly changes: number } => {
    const { returnsRows, statement: prepared } = prepare(statement.sql)
    const counted = statement.changes !== undefined
    const rows: Array<Row> = []
    let changes = 0
    for (const parameters of parametersOf(statement)) {
      // What SQLite calls the last changes stays as it was after a statement that can change nothing.
      const before = counted ? count("SELECT total_changes() AS n") : 0
      if (returnsRows) { for (const row of prepared.all(...parameters)) rows.push(readable(row)) }
      else prepared.run(...parameters)
      if (counted && count("SELECT total_changes() AS n") !== before) changes += count("SELECT changes() AS n")
    }
    return { rows, changes }
  }

  const takeBack = (): void => {
    // Some errors have done so already. If this fails, nobody knows what is open: the thread dies of it.
    if (database.isTransaction) database.exec("ROLLBACK")
  }

  return (id: number, statements: ReadonlyArray<Statement>): Answer => {
    let operation = "begin a transaction"
    let at: number | undefined
    try {
      database.exec("BEGIN IMMEDIATE")
      const rows: Array<ReadonlyArray<Row>> = []
      for (const [index, statement] of statements.entries()) {
        at = index
        operation = `run ${
          JSON.stringify(statement.sql.length > 200 ? `${statement.sql.slice(0, 200)}…` : statement.sql)
        }`
        const { changes, rows: found } = run(statement)
        if (!database.isTransaction) throw new Error("a statement has ended the transaction that it is part of")
        if (statement.changes !== undefined && changes !== statement.changes) {
          takeBack()
          return { _tag: "Unexpected", id, statement: index, changes, expected: statement.changes }
        }
        rows.push(found)
      }
      operation = "commit a transaction"
      at = undefined
      database.exec("COMMIT")
      return { _tag: "Done", id, rows }
    } catch (cause) {
      takeBack()
      return {
        _tag: "Failed",
        id,
        refusal: { ...refusalOf(operation, cause), ...at === undefined ? {} : { statement: at } }
      }
    }
  }
}

const port = parentPort
if (port === null) throw new Error("sqliteThread.ts is started by sqliteDatabase.ts, as a thread")

const answer = (message: Answer) => port.postMessage(message)

try {
  // What `sqliteDatabase.ts` gave to this thread.
  const database = open(workerData as Opening)
  const transact = serve(database)
  port.on("message", (request: Request) => {
    if (request._tag === "Transaction") return answer(transact(request.id, request.statements))
    database.close()
    port.close()
  })
  answer({ _tag: "Opened" })
} catch (cause) {
  answer({ _tag: "NotOpened", refusal: refusalOf("open the database", cause) })
}
