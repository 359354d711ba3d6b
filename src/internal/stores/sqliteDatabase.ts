/**
 * A database and the thread that owns it, seen from the thread that uses it.
 *
 * Node's modules are loaded when a database is opened, so that importing Millrace works where there is no Node.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import type * as Threads from "node:worker_threads"
import { type Database, type Options, SqliteError, type Statement, Unexpected } from "../../Sqlite.ts"
import type { Answer, Opening, Refusal, Request, Row } from "./sqliteThread.ts"

type Rows = ReadonlyArray<ReadonlyArray<Row>>
type Resume = (result: Effect.Effect<Rows, SqliteError | Unexpected>) => void

interface Connection {
  readonly transaction: (statements: ReadonlyArray<Statement>) => Effect.Effect<Rows, SqliteError | Unexpected>
  readonly close: Effect.Effect<void>
}

const defaultBusyTimeout: Duration.Input = "5 seconds"

/** The thread runs what is beside this file: the source, or what was compiled from it. */
const threadUrl = () =>
  new URL(import.meta.url.endsWith(".ts") ? "./sqliteThread.ts" : "./sqliteThread.js", import.meta.url)

const errorOf = ({ code, errcode, message }: Refusal): Error => Object.assign(new Error(message), { code, errcode })

/** A copy of just these bytes, which the other thread may have. Sending a view would copy all that it looks upon. */
const ownCopy = (bytes: Uint8Array, owned: Array<ArrayBuffer>): Uint8Array<ArrayBuffer> => {
  const copy = new Uint8Array(bytes)
  owned.push(copy.buffer)
  return copy
}

const ownStatement = (statement: Statement, owned: Array<ArrayBuffer>): Statement => ({
  ...statement,
  ...(statement.parameters === undefined
    ? {}
    : {
      parameters: statement.parameters.map((value) => value instanceof Uint8Array ? ownCopy(value, owned) : value)
    }),
  ...(statement.rows === undefined ? {} : { rows: ownCopy(statement.rows, owned) })
})

const connect = (threads: typeof Threads, opening: Opening): Effect.Effect<Connection, SqliteError> =>
  Effect.callback<Connection, SqliteError>((opened) => {
    const { path } = opening
    const waiting = new Map<number, Resume>()
    const whenEnded: Array<() => void> = []
    let state: "open" | "closing" | "ended" = "open"
    let reason: unknown
    let lastId = 0

    const failure = (operation: string, cause: unknown, statement?: number) =>
      new SqliteError({ path, operation, statement, cause })

    const start = (): Threads.Worker | undefined => {
      try {
        return new threads.Worker(threadUrl(), {
          workerData: opening,
          // What this process was started with is not for the thread; and that `node:sqlite` is young is known.
          execArgv: ["--disable-warning=ExperimentalWarning"]
        })
      } catch (cause) {
        opened(Effect.fail(failure("start its thread", cause)))
        return undefined
      }
    }
    const worker = start()
    if (worker === undefined) return

    const settle = (id: number, result: Effect.Effect<Rows, SqliteError | Unexpected>) => {
      const resume = waiting.get(id)
      waiting.delete(id)
      // A thread that has nothing to do must not keep the process alive; one that writes must.
      if (waiting.size === 0 && state === "open") worker.unref()
      resume?.(result)
    }

    const transaction: Connection["transaction"] = (statements) =>
      Effect.callback<Rows, SqliteError | Unexpected>((resume) => {
        if (state !== "open") {
          return resume(Effect.fail(failure("begin a transaction", reason ?? new Error("the database is closed"))))
        }
        const id = ++lastId
        const owned: Array<ArrayBuffer> = []
        const request: Request = {
          _tag: "Transaction",
          id,
          statements: statements.map((statement) => ownStatement(statement, owned))
        }
        try {
          worker.postMessage(request, owned)
        } catch (cause) {
          return resume(Effect.fail(failure("begin a transaction", cause)))
        }
        waiting.set(id, resume)
        worker.ref()
      })

    const close = Effect.callback<void>((resume) => {
      if (state === "ended") return resume(Effect.void)
      whenEnded.push(() => resume(Effect.void))
      if (state === "closing") return
      state = "closing"
      worker.ref()
      worker.postMessage({ _tag: "Close" } satisfies Request)
    })

    worker.on("message", (answer: Answer) => {
      switch (answer._tag) {
        case "Opened":
          worker.unref()
          return opened(Effect.succeed({ transaction, close }))
        case "NotOpened":
          return opened(Effect.fail(failure(answer.refusal.operation, errorOf(answer.refusal))))
        case "Done":
          return settle(answer.id, Effect.succeed(answer.rows))
        case "Failed":
          return settle(
            answer.id,
            Effect.fail(failure(answer.refusal.operation, errorOf(answer.refusal), answer.refusal.statement))
          )
        case "Unexpected": {
          const { changes, expected, id, statement } = answer
          return settle(id, Effect.fail(new Unexpected({ statement, changes, expected })))
        }
      }
    })
    const broken = (cause: unknown) => {
      reason ??= cause
      void worker.terminate()
    }
    worker.on("error", broken)
    worker.on("messageerror", broken)
    worker.on("exit", (code) => {
      if (state === "open") reason ??= new Error(`its thread has ended with code ${code}`)
      state = "ended"
      opened(Effect.fail(failure("open the database", reason)))
      for (const id of waiting.keys()) {
        settle(id, Effect.fail(failure("finish a transaction", reason ?? new Error("the database is closed"))))
      }
      for (const resume of whenEnded) resume()
    })
  })

/** Opens a database; it is closed with the scope, after the transactions under way. */
export const open = (path: string, options?: Options): Effect.Effect<Database, SqliteError, Scope> => {
  const busyMillis = Math.ceil(Duration.toMillis(options?.busyTimeout ?? defaultBusyTimeout))
  const connection = Effect.tryPromise({
    try: () => import("node:worker_threads"),
    catch: (cause) => new SqliteError({ path, operation: "load node:worker_threads", cause })
  }).pipe(Effect.flatMap((threads) => connect(threads, { path, busyMillis })))
  return Effect.map(
    Effect.acquireRelease(connection, ({ close }) => close),
    ({ transaction }): Database => ({ path, transaction })
  )
}
