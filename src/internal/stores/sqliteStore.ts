/**
 * Checkpoints in a SQLite database. A commit is one transaction, whose first statement is the fence: it touches one row
 * if the attempt is the latest and the head is the one that the epoch follows, and otherwise nothing comes to be.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { CheckpointStore, Committed, Drop } from "../../CheckpointStore.ts"
import type { Database, SqliteError, Statement, Unexpected, Value } from "../../Sqlite.ts"
import { nameText as text } from "../plan/tableSink.ts"
import {
  AlongsideRefused,
  CheckpointStoreError,
  Fenced,
  fenced,
  judge,
  operations,
  type Standing,
  unkept
} from "./refusals.ts"

type Row = Readonly<Record<string, Value>>

const tables: ReadonlyArray<string> = [
  `CREATE TABLE IF NOT EXISTS millrace_jobs (
    job TEXT NOT NULL PRIMARY KEY, attempt INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS millrace_epochs (
    job TEXT NOT NULL, epoch INTEGER NOT NULL, attempt INTEGER NOT NULL, digest TEXT NOT NULL, manifest BLOB NOT NULL,
    PRIMARY KEY (job, epoch)
  ) STRICT`,
  `CREATE TABLE IF NOT EXISTS millrace_blobs (
    job TEXT NOT NULL, id TEXT NOT NULL, bytes BLOB NOT NULL,
    PRIMARY KEY (job, id)
  ) STRICT`
]

const touched = (job: string, attempt: number): Statement => ({
  sql: "UPDATE millrace_jobs SET attempt = attempt WHERE job = ? AND attempt = ?",
  parameters: [text(job), attempt],
  changes: 1
})

const dropped = (job: string, { blobs, epochs }: Drop): ReadonlyArray<Statement> => [
  ...epochs.map((epoch): Statement => ({
    sql: "DELETE FROM millrace_epochs WHERE job = ? AND epoch = ?",
    parameters: [text(job), epoch]
  })),
  ...blobs.map((id): Statement => ({
    sql: "DELETE FROM millrace_blobs WHERE job = ? AND id = ?",
    parameters: [text(job), text(id)]
  }))
]

const committed = (rows: ReadonlyArray<Row>): ReadonlyArray<Committed> =>
  rows.map(({ attempt, digest, epoch }) => ({
    epoch: Number(epoch),
    attempt: Number(attempt),
    digest: String(digest)
  }))

export const sqliteStore = Effect.fnUntraced(function*(database: Database) {
  yield* Effect.catchTag(
    database.transaction(tables.map((sql) => ({ sql }))),
    "Unexpected",
    // None of these statements expects anything.
    Effect.die
  )

  /** A transaction in which no statement expects anything but what the store itself demands of it. */
  const transact = (job: string, operation: string, statements: ReadonlyArray<Statement>) =>
    Effect.mapError(database.transaction(statements), (cause) => storeError(job, operation, cause))

  const storeError = (job: string, operation: string, cause: SqliteError | Unexpected | Error) =>
    new CheckpointStoreError({ job, operation, cause })

  const standing = (job: string, operation: string): Effect.Effect<Standing, CheckpointStoreError> =>
    Effect.map(
      transact(job, operation, [
        { sql: "SELECT attempt FROM millrace_jobs WHERE job = ?", parameters: [text(job)] },
        {
          sql: "SELECT epoch, attempt, digest FROM millrace_epochs WHERE job = ? ORDER BY epoch DESC",
          parameters: [text(job)]
        }
      ]),
      ([jobs = [], epochs = []]) => ({ attempt: Number(jobs[0]?.["attempt"] ?? 0), epochs: committed(epochs) })
    )

  const store: CheckpointStore["Service"] = {
    isDurable: true,
    database,
    acquire: (job) =>
      Effect.map(
        transact(job, operations.acquire, [{
          sql: `INSERT INTO millrace_jobs (job, attempt) VALUES (?, 1)
            ON CONFLICT (job) DO UPDATE SET attempt = attempt + 1 RETURNING attempt`,
          parameters: [text(job)]
        }]),
        ([rows]) => Number(rows?.[0]?.["attempt"])
      ),
    commit: (commit) =>
      Effect.gen(function*() {
        const { attempt, digest, epoch, job, manifest, previous } = commit
        const operation = operations.commit(epoch)
        const cause = unkept(commit, { database: true, isDurable: true })
        if (cause !== undefined) return yield* Effect.fail(storeError(job, operation, cause))
        const fence: Statement = {
          sql: `UPDATE millrace_jobs SET attempt = attempt WHERE job = ? AND attempt = ? AND ? > ?
            AND (SELECT coalesce(max(epoch), 0) FROM millrace_epochs WHERE job = ?) = ?`,
          parameters: [text(job), attempt, epoch, previous, text(job), previous],
          changes: 1
        }
        const own: ReadonlyArray<Statement> = [
          fence,
          {
            sql: "INSERT INTO millrace_epochs (job, epoch, attempt, digest, manifest) VALUES (?, ?, ?, ?, ?)",
            parameters: [text(job), epoch, attempt, digest, manifest]
          },
          ...commit.blobs.map(({ bytes, id }): Statement => ({
            sql: "INSERT OR REPLACE INTO millrace_blobs (job, id, bytes) VALUES (?, ?, ?)",
            parameters: [text(job), text(id), bytes]
          })),
          ...dropped(job, commit.drop)
        ]

        const refused = Effect.fnUntraced(function*(unexpected: Unexpected) {
          if (unexpected.statement >= own.length) {
            const { changes, expected, statement } = unexpected
            const problem = `a sink in the same database does not stand where its last epoch left it `
              + `(statement ${statement - own.length} alongside changed ${changes} rows, not ${expected})`
            return yield* Effect.fail(new Fenced({ job, operation, problem }))
          }
          const judgement = judge(commit, yield* standing(job, operation))
          if (judgement === "done") return
          return yield* Effect.fail(
            judgement === "new"
              ? new Fenced({ job, operation, problem: "somebody else was writing at the same time" })
              : judgement
          )
        })

        yield* Effect.asVoid(database.transaction([...own, ...commit.alongside])).pipe(
          Effect.catchTags({
            Unexpected: refused,
            SqliteError: (cause) =>
              Effect.fail(
                cause.statement !== undefined && cause.statement >= own.length
                  ? new AlongsideRefused({ job, operation, statement: cause.statement - own.length, cause })
                  : storeError(job, operation, cause)
              )
          })
        )
      }),
    list: (job) => Effect.map(standing(job, operations.list), ({ epochs }) => epochs),
    manifest: (job, epoch) =>
      Effect.map(
        transact(job, operations.manifest(epoch), [{
          sql: "SELECT manifest FROM millrace_epochs WHERE job = ? AND epoch = ?",
          parameters: [text(job), epoch]
        }]),
        ([rows]) => bytesIn(rows, "manifest")
      ),
    blob: (job, id) =>
      Effect.map(
        transact(job, operations.blob(id), [{
          sql: "SELECT bytes FROM millrace_blobs WHERE job = ? AND id = ?",
          parameters: [text(job), text(id)]
        }]),
        ([rows]) => Option.map(bytesIn(rows, "bytes"), (bytes) => ({ id, bytes }))
      ),
    remove: (job, attempt, drop) =>
      database.transaction([touched(job, attempt), ...dropped(job, drop)]).pipe(
        Effect.asVoid,
        Effect.catchTags({
          Unexpected: () =>
            Effect.flatMap(standing(job, operations.remove), ({ attempt: latest }) =>
              Effect.fail(
                fenced(job, attempt, operations.remove, latest)
                  ?? new Fenced({ job, operation: operations.remove, problem: "the job was just taken over" })
              )),
          SqliteError: (cause) => Effect.fail(storeError(job, operations.remove, cause))
        })
      )
  }
  return store
})

const bytesIn = (rows: ReadonlyArray<Row> | undefined, column: string): Option.Option<Uint8Array> => {
  const value = rows?.[0]?.[column]
  return value instanceof Uint8Array ? Option.some(value) : Option.none()
}
