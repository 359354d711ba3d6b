/**
 * Checkpoints in a Postgres database. A commit is one transaction: it locks the job's row if the attempt is the latest, then
 * looks at the head, which nobody else can move any more, and writes. The lock and the look are two statements, because under
 * READ COMMITTED a statement that has waited sees the row as it is now and everything else as it was before.
 *
 * Bytes are cut into pieces of a bounded size, each a row with its checksum.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { CheckpointStore, Committed, Drop } from "../../CheckpointStore.ts"
import type { Statement, Unexpected, Value } from "../../Database.ts"
import { crcOf } from "../checkpoint/digest.ts"
import { Malformed } from "../checkpoint/malformed.ts"
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
} from "../stores/refusals.ts"
import { type Database, ensureTables, type PostgresError, qualified } from "./database.ts"

type Row = Readonly<Record<string, Value>>

/** Of what is kept in pieces. */
type Kind = "manifest" | "blob"

const pieceBytes = 1024 * 1024

/** How long a statement of a sink waits for a lock that somebody else has on its table, while the job's row is locked. */
const alongsideLockMillis = 5000

const utf8 = new TextEncoder()

/** Covers what the bytes are, so that one piece in the place of another is as wrong as a flipped bit. */
const checksumOf = (job: string, kind: Kind, id: string, piece: number, pieces: number, bytes: Uint8Array): number =>
  crcOf(utf8.encode(JSON.stringify([job, kind, id, piece, pieces, bytes.length, crcOf(bytes)])))

/** SQLSTATE classes that say nothing against a statement: the connection, a conflict, the server's resources and health. */
const passing = /^(?:08|40|53|57|58|XX)/
/** It was stopped because it took too long, by the user's own limit. */
const tookTooLong = "57014"

const isRefused = ({ code }: PostgresError): boolean =>
  code !== undefined && (code === tookTooLong || !passing.test(code))

const committed = (rows: ReadonlyArray<Row>): ReadonlyArray<Committed> =>
  rows.map(({ attempt, digest, epoch }) => ({
    epoch: Number(epoch),
    attempt: Number(attempt),
    digest: String(digest)
  }))

const definitions = {
  millrace_jobs: `(job text COLLATE "C" NOT NULL PRIMARY KEY, attempt bigint NOT NULL)`,
  millrace_epochs:
    `(job text COLLATE "C" NOT NULL, epoch bigint NOT NULL, attempt bigint NOT NULL, digest text NOT NULL,
    PRIMARY KEY (job, epoch))`,
  millrace_pieces: `(job text COLLATE "C" NOT NULL, kind text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL,
    piece integer NOT NULL, pieces integer NOT NULL, checksum bigint NOT NULL, bytes bytea NOT NULL,
    PRIMARY KEY (job, kind, id, piece))`
}

export const postgresStore = Effect.fnUntraced(function*(database: Database) {
  const { schema } = database
  yield* ensureTables(
    database,
    Object.entries(definitions).map(([name, definition]) => ({ schema, name, definition }))
  )
  const jobs = qualified(schema, "millrace_jobs")
  const epochs = qualified(schema, "millrace_epochs")
  const pieces = qualified(schema, "millrace_pieces")

  const storeError = (job: string, operation: string, cause: PostgresError | Unexpected | Error) =>
    new CheckpointStoreError({ job, operation, cause })

  /** A transaction in which no statement expects anything but what the store itself demands of it. */
  const transact = (job: string, operation: string, statements: ReadonlyArray<Statement>) =>
    Effect.mapError(database.transaction(statements), (cause) => storeError(job, operation, cause))

  const standing = (job: string, operation: string): Effect.Effect<Standing, CheckpointStoreError> =>
    Effect.map(
      transact(job, operation, [
        { sql: `SELECT attempt FROM ${jobs} WHERE job = $1`, parameters: [text(job)] },
        {
          sql: `SELECT epoch, attempt, digest FROM ${epochs} WHERE job = $1 ORDER BY epoch DESC`,
          parameters: [text(job)]
        }
      ]),
      ([found = [], all = []]) => ({ attempt: Number(found[0]?.["attempt"] ?? 0), epochs: committed(all) })
    )

  /** Locks the job until the end of the transaction, if the attempt is the latest. */
  const lock = (job: string, attempt: number): Statement => ({
    sql: `SELECT attempt FROM ${jobs} WHERE job = $1 AND attempt = $2 FOR UPDATE`,
    parameters: [text(job), attempt],
    changes: 1
  })

  const removed = (job: string, kind: Kind, ids: ReadonlyArray<string>): ReadonlyArray<Statement> =>
    ids.length === 0 ? [] : [{
      sql: `DELETE FROM ${pieces} WHERE job = $1 AND kind = $2 AND id IN (SELECT jsonb_array_elements_text($3::jsonb))`,
      parameters: [text(job), kind, JSON.stringify(ids.map(text))]
    }]

  const dropped = (job: string, drop: Drop): ReadonlyArray<Statement> => {
    const known = drop.epochs.filter(Number.isSafeInteger).map(String)
    return [
      ...(known.length === 0 ? [] : [{
        sql: `DELETE FROM ${epochs} WHERE job = $1 AND epoch IN (SELECT jsonb_array_elements_text($2::jsonb)::bigint)`,
        parameters: [text(job), JSON.stringify(known)]
      }]),
      ...removed(job, "manifest", known),
      ...removed(job, "blob", drop.blobs)
    ]
  }

  function* inserted(job: string, kind: Kind, id: string, bytes: Uint8Array): Generator<Statement> {
    const count = Math.max(1, Math.ceil(bytes.length / pieceBytes))
    for (let piece = 0; piece < count; piece++) {
      const part = bytes.subarray(piece * pieceBytes, (piece + 1) * pieceBytes)
      yield {
        sql:
          `INSERT INTO ${pieces} (job, kind, id, piece, pieces, checksum, bytes) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
        parameters: [text(job), kind, text(id), piece, count, checksumOf(job, kind, id, piece, count, part), part]
      }
    }
  }

  const found = (job: string, operation: string, kind: Kind, id: string) =>
    Effect.flatMap(
      transact(job, operation, [{
        sql:
          `SELECT piece, pieces, checksum, bytes FROM ${pieces} WHERE job = $1 AND kind = $2 AND id = $3 ORDER BY piece`,
        parameters: [text(job), kind, text(id)]
      }]),
      ([rows = []]) =>
        Effect.try({
          try: () => rows.length === 0 ? Option.none() : Option.some(joined(job, kind, id, rows)),
          // What `joined` throws.
          catch: (cause) => storeError(job, operation, cause as Malformed)
        })
    )

  const store: CheckpointStore["Service"] = {
    isDurable: true,
    database,
    acquire: (job) =>
      Effect.map(
        transact(job, operations.acquire, [{
          sql: `INSERT INTO ${jobs} AS known (job, attempt) VALUES ($1, 1)
            ON CONFLICT (job) DO UPDATE SET attempt = known.attempt + 1 RETURNING attempt`,
          parameters: [text(job)]
        }]),
        ([rows]) => Number(rows?.[0]?.["attempt"])
      ),
    commit: (commit) =>
      Effect.gen(function*() {
        const { alongside, attempt, blobs, digest, epoch, job, manifest, previous } = commit
        const operation = operations.commit(epoch)
        const cause = unkept(commit, { database: true, isDurable: true })
        if (cause !== undefined) return yield* Effect.fail(storeError(job, operation, cause))

        const refused: Effect.Effect<void, CheckpointStoreError | Fenced> = Effect.gen(function*() {
          const judgement = judge(commit, yield* standing(job, operation))
          if (judgement === "done") return
          return yield* Effect.fail(
            judgement === "new"
              ? new Fenced({ job, operation, problem: "somebody else was writing at the same time" })
              : judgement
          )
        })
        if (!Number.isSafeInteger(attempt) || !Number.isSafeInteger(epoch) || epoch <= previous) return yield* refused

        // Of those with the same id, the last one counts.
        const byId = new Map(blobs.map(({ bytes, id }) => [id, bytes]))
        const own: ReadonlyArray<Statement> = [
          lock(job, attempt),
          {
            sql: `SELECT 1 AS n WHERE (SELECT coalesce(max(epoch), 0) FROM ${epochs} WHERE job = $1) = $2`,
            parameters: [text(job), previous],
            changes: 1
          },
          {
            sql: `INSERT INTO ${epochs} (job, epoch, attempt, digest) VALUES ($1, $2, $3, $4)`,
            parameters: [text(job), epoch, attempt, digest]
          },
          ...removed(job, "manifest", [String(epoch)]),
          ...inserted(job, "manifest", String(epoch), manifest),
          ...removed(job, "blob", [...byId.keys()]),
          ...[...byId].flatMap(([id, bytes]) => [...inserted(job, "blob", id, bytes)]),
          ...dropped(job, commit.drop),
          ...alongside.length === 0 ? [] : [{
            sql: `SELECT set_config('lock_timeout', '${alongsideLockMillis}', true)`
          }]
        ]
        yield* Effect.asVoid(database.transaction([...own, ...alongside])).pipe(
          Effect.catchTags({
            Unexpected: ({ changes, expected, statement }) => {
              if (statement < own.length) return refused
              const problem = `a sink in the same database does not stand where its last epoch left it `
                + `(statement ${statement - own.length} alongside changed ${changes} rows, not ${expected})`
              return Effect.fail(new Fenced({ job, operation, problem }))
            },
            PostgresError: (cause) =>
              Effect.fail(
                cause.statement !== undefined && cause.statement >= own.length && isRefused(cause)
                  ? new AlongsideRefused({ job, operation, statement: cause.statement - own.length, cause })
                  : storeError(job, operation, cause)
              )
          })
        )
      }),
    list: (job) => Effect.map(standing(job, operations.list), ({ epochs }) => epochs),
    manifest: (job, epoch) => found(job, operations.manifest(epoch), "manifest", String(epoch)),
    blob: (job, id) => Effect.map(found(job, operations.blob(id), "blob", id), Option.map((bytes) => ({ id, bytes }))),
    remove: (job, attempt, drop) => {
      const refused = Effect.flatMap(standing(job, operations.remove), ({ attempt: latest }) =>
        Effect.fail(
          fenced(job, attempt, operations.remove, latest)
            ?? new Fenced({ job, operation: operations.remove, problem: "the job was just taken over" })
        ))
      if (!Number.isSafeInteger(attempt)) return refused
      return database.transaction([lock(job, attempt), ...dropped(job, drop)]).pipe(
        Effect.asVoid,
        Effect.catchTags({
          Unexpected: () => refused,
          PostgresError: (cause) => Effect.fail(storeError(job, operations.remove, cause))
        })
      )
    }
  }
  return store
})

/** All pieces in order, each as it was written. Throws otherwise. */
const joined = (job: string, kind: Kind, id: string, rows: ReadonlyArray<Row>): Uint8Array => {
  const damaged = (problem: string) => new Malformed(`${kind} "${id}" is damaged: ${problem}`)
  const parts = rows.map(({ bytes, checksum, piece, pieces }, at): Uint8Array => {
    if (!(bytes instanceof Uint8Array) || piece !== at || pieces !== rows.length) {
      throw damaged(`${rows.length} of its ${pieces} pieces are there`)
    }
    if (checksumOf(job, kind, id, at, rows.length, bytes) !== checksum) {
      throw damaged(`the checksum of piece ${at} is wrong`)
    }
    return bytes
  })
  if (parts.length === 1) return parts[0]!
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}
