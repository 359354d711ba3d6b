/** A real Postgres for tests: a server, a database of its own for each test, and clients as other processes have them. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Context, Effect, Layer, Redacted, type Scope } from "effect"
import { CheckpointStore } from "millrace"
import * as Postgres from "millrace/Postgres"
import { execFileSync } from "node:child_process"
import * as Path from "node:path"

const script = Path.join(import.meta.dirname, "../../scripts/services/postgres.sh")

export class Server {
  static readonly shared = new Server(Number(process.env["PG_PORT"] ?? 5440))
  readonly port: number

  constructor(port: number) {
    this.port = port
  }

  private run(command: "up" | "down" | "crash" | "restart"): void {
    execFileSync(script, [command], {
      env: { ...process.env, PG_PORT: String(this.port) },
      stdio: ["ignore", "pipe", 2]
    })
  }

  up(): void {
    this.run("up")
  }

  down(): void {
    this.run("down")
  }

  /** SIGKILL, and a new start on the same data. */
  restart(): void {
    this.run("restart")
  }

  crash(): void {
    this.run("crash")
  }

  url(database = "test"): string {
    return `postgres://postgres@127.0.0.1:${this.port}/${database}`
  }
}

export type Options = Omit<PgClient.PgPoolConfig, "url">

/** A client as another process has it, with connections of its own. */
export const client = (url: string, options?: Options) =>
  Effect.map(
    Layer.build(Layer.fresh(PgClient.layer({ ...options, url: Redacted.make(url) }))),
    (context) => Context.get(context, PgClient.PgClient)
  )

/** One statement with its parameters, past Millrace. */
export const rows = (sql: PgClient.PgClient, statement: string, parameters: ReadonlyArray<unknown> = []) =>
  sql.unsafe<Readonly<Record<string, unknown>>>(statement, parameters)

let made = 0

/** An empty database that goes with the scope: its URL. */
export const emptyDatabase = (server = Server.shared): Effect.Effect<string, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const name = `t${process.pid}_${++made}`
    const own = yield* client(server.url())
    yield* Effect.acquireRelease(
      rows(own, `CREATE DATABASE ${name}`),
      () => Effect.ignore(rows(own, `DROP DATABASE ${name} WITH (FORCE)`))
    )
    return server.url(name)
  })

export interface Opened {
  readonly sql: PgClient.PgClient
  readonly store: CheckpointStore.CheckpointStore["Service"]
  readonly database: Postgres.Database
  readonly context: Context.Context<CheckpointStore.CheckpointStore | Postgres.Postgres>
}

/** Store and database over a client of their own. */
export const opened = (url: string, options?: Postgres.Options, config?: Options) =>
  Effect.gen(function*() {
    const sql = yield* client(url, config)
    const context = yield* Layer.build(Layer.fresh(Postgres.layerCheckpointStore(options))).pipe(
      Effect.provideService(PgClient.PgClient, sql)
    )
    return {
      sql,
      context,
      store: Context.get(context, CheckpointStore.CheckpointStore),
      database: Context.get(context, Postgres.Postgres)
    } satisfies Opened
  })
