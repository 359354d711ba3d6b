/** Where the flights job keeps its checkpoints and its results: three pairs, each as a process finds it. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Effect, FileSystem, Layer, Redacted } from "effect"
import { CheckpointStore, Flow, Job, Sink } from "millrace"
import * as Postgres from "millrace/Postgres"
import * as Fs from "node:fs"
import { DatabaseSync } from "node:sqlite"
import type { Flight } from "../../examples/flights/flights.ts"
import * as FlightsJob from "../../examples/flights/job.ts"
import { DelayedRun, Departures, LateFlight } from "../../examples/flights/results.ts"
import { nodeFileSystem } from "../../src/internal/runtime/nodeFileSystem.ts"
import { client, rows } from "../servers/postgres.ts"
import { type Around, fileSystem, store } from "../support/crashing.ts"

export const tables = ["hourly", "three_hours", "delayed_runs", "late"] as const
export type Table = (typeof tables)[number]

/** Makes the tables of a database at a URL, with a column that says which row came first: Postgres itself forgets it. */
export const makeTables = (at: string) =>
  Effect.scoped(
    Effect.flatMap(client(at), (sql) =>
      Effect.forEach(tables, (table) =>
        rows(sql, `CREATE TABLE ${table} (id bigserial, value jsonb)`), { discard: true }))
  )

/** One run of the job: a folder of its own, or a database at a URL. */
export interface Place {
  readonly pair: "sqlite" | "files" | "postgres"
  readonly at: string
}

export interface Options {
  readonly dataset: string
  readonly perSecond?: number | undefined
}

const databaseOf = (at: string): string => `${at}/job.db`
const checkpointsOf = (at: string): string => `${at}/checkpoints`
const fileOf = (at: string, table: Table): string => `${at}/results/${table}.ndjson`

/** The job of a place, ready to be run with what it needs; side effects go through `around`. */
export const job = ({ at, pair }: Place, flights: ReadonlyArray<Flight>, options: Options, around: Around) => {
  const { delayedRuns, hourly, late, threeHours } = FlightsJob.answers(flights, options)
  const wrapped = Layer.effect(
    CheckpointStore.CheckpointStore,
    Effect.map(CheckpointStore.CheckpointStore, (inner) => store(around, inner))
  )
  const jobOptions = { delivery: "exactly-once" } as const
  switch (pair) {
    case "sqlite":
      return Effect.provide(
        launched(Job.make(FlightsJob.name, [
          hourly.pipe(Flow.to("hourly", Sink.sqlite({ table: "hourly", schema: Departures }))),
          threeHours.pipe(Flow.to("three-hours", Sink.sqlite({ table: "three_hours", schema: Departures }))),
          delayedRuns.pipe(Flow.to("delayed-runs", Sink.sqlite({ table: "delayed_runs", schema: DelayedRun }))),
          late.pipe(Flow.to("late", Sink.sqlite({ table: "late", schema: LateFlight })))
        ], jobOptions)),
        Layer.provideMerge(wrapped, CheckpointStore.layerSqlite(databaseOf(at)))
      )
    case "files":
      return Effect.provide(
        launched(Job.make(FlightsJob.name, [
          hourly.pipe(Flow.to("hourly", Sink.ndjson(fileOf(at, "hourly"), { schema: Departures }))),
          threeHours.pipe(Flow.to("three-hours", Sink.ndjson(fileOf(at, "three_hours"), { schema: Departures }))),
          delayedRuns.pipe(Flow.to("delayed-runs", Sink.ndjson(fileOf(at, "delayed_runs"), { schema: DelayedRun }))),
          late.pipe(Flow.to("late", Sink.ndjson(fileOf(at, "late"), { schema: LateFlight })))
        ], jobOptions)),
        wrapped.pipe(
          Layer.provideMerge(CheckpointStore.layerFileSystem(checkpointsOf(at))),
          Layer.provideMerge(Layer.succeed(FileSystem.FileSystem, fileSystem(around, nodeFileSystem)))
        )
      )
    case "postgres":
      return Effect.provide(
        launched(Job.make(FlightsJob.name, [
          hourly.pipe(Flow.to("hourly", Postgres.sink({ table: "hourly", schema: Departures }))),
          threeHours.pipe(Flow.to("three-hours", Postgres.sink({ table: "three_hours", schema: Departures }))),
          delayedRuns.pipe(Flow.to("delayed-runs", Postgres.sink({ table: "delayed_runs", schema: DelayedRun }))),
          late.pipe(Flow.to("late", Postgres.sink({ table: "late", schema: LateFlight })))
        ], jobOptions)),
        wrapped.pipe(
          Layer.provideMerge(Postgres.layerCheckpointStore()),
          Layer.provideMerge(PgClient.layer({ url: Redacted.make(at), maxConnections: 4 }))
        )
      )
  }
}

const launched = <E, R>(job: Job.Job<E, R>) => Job.run(job, { partitions: 4, checkpointEvery: "100 millis" })

/** The last epoch in the store, 0 if there is none. */
export const lastEpoch = ({ at, pair }: Place): Promise<number> => {
  const last = Effect.gen(function*() {
    const { list } = yield* CheckpointStore.CheckpointStore
    return (yield* list(FlightsJob.name))[0]?.epoch ?? 0
  })
  switch (pair) {
    case "sqlite": {
      // A copy, so that the next process finds the database as the kill has left it.
      const copy = Fs.mkdtempSync(`${at}/copy-`)
      for (const name of Fs.readdirSync(at)) {
        if (name.startsWith("job.db") && !name.endsWith("-shm")) Fs.copyFileSync(`${at}/${name}`, `${copy}/${name}`)
      }
      return Effect.provide(last, CheckpointStore.layerSqlite(databaseOf(copy))).pipe(
        Effect.ensuring(Effect.sync(() => Fs.rmSync(copy, { recursive: true }))),
        Effect.runPromise
      )
    }
    case "files":
      return Effect.runPromise(Effect.provide(last, CheckpointStore.layerFileSystem(checkpointsOf(at))))
    case "postgres":
      return Effect.provide(last, Postgres.layerCheckpointStore()).pipe(
        Effect.provide(PgClient.layer({ url: Redacted.make(at), maxConnections: 1 })),
        Effect.runPromise
      )
  }
}

type Row = Readonly<Record<string, unknown>>

/** What the sinks hold, in the order in which it came. */
export const results = async ({ at, pair }: Place): Promise<Readonly<Record<Table, ReadonlyArray<Row>>>> => {
  const read = await reader({ at, pair })
  const found: Partial<Record<Table, ReadonlyArray<Row>>> = {}
  for (const table of tables) found[table] = await read(table)
  return found as Record<Table, ReadonlyArray<Row>> // All of them, now.
}

const reader = async ({ at, pair }: Place): Promise<(table: Table) => Promise<ReadonlyArray<Row>>> => {
  switch (pair) {
    case "sqlite":
      return async (table) => {
        const database = new DatabaseSync(databaseOf(at))
        const found = database.prepare(`SELECT value FROM ${table} ORDER BY rowid`).all()
        database.close()
        return found.map(({ value }) => JSON.parse(String(value)))
      }
    case "files":
      return async (table) =>
        Fs.readFileSync(fileOf(at, table), "utf8").trimEnd().split("\n").map((line) => JSON.parse(line))
    case "postgres":
      return (table) =>
        Effect.flatMap(client(at), (sql) => rows(sql, `SELECT value FROM ${table} ORDER BY id`)).pipe(
          Effect.map((found) => found.map(({ value }) => value as Row)),
          Effect.scoped,
          Effect.runPromise
        )
  }
}
