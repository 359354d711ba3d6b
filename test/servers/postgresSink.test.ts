/** `Postgres.sink` against a real server. */
import { describe } from "@effect/vitest"
import { Effect } from "effect"
import type { Scope } from "effect/Scope"
import * as Postgres from "millrace/Postgres"
import type { Changes } from "../../src/Flow.ts"
import type * as Sink from "../../src/Sink.ts"
import { type Place, type PositionedWriter, type Row, sinkLaws } from "../laws/sinkLaws.ts"
import { emptyDatabase, opened, rows } from "./postgres.ts"

const place = <C extends Changes>(
  sink: Sink.Sink<Row, Postgres.PostgresError, Postgres.Postgres, "transactional", C>,
  select: string
): Effect.Effect<Place, unknown, Scope> =>
  Effect.gen(function*() {
    const url = yield* emptyDatabase()
    const own = yield* opened(url)
    const other = yield* opened(url)
    let opening = 0
    return {
      open: (at) =>
        // Every second one over a client of its own, as another process has it. A transactional sink has a position.
        sink.openEpochs!(at).pipe(
          Effect.map((writer) => writer as PositionedWriter),
          Effect.provideContext((opening++ % 2 === 0 ? own : other).context)
        ) as Effect.Effect<PositionedWriter, unknown, Scope>,
      contents: rows(own.sql, select).pipe(
        Effect.map((found) => found.map(({ value }) => value as Row)),
        // Before the first writer has made the table.
        Effect.catchTag("SqlError", () => Effect.succeed([]))
      )
    }
  })

describe("Postgres.sink obeys the laws of transactional sinks", () => {
  const inOrder = `SELECT value FROM "my ""rows""; DROP TABLE millrace_sinks; --" ORDER BY ctid`
  const table = `my "rows"; DROP TABLE millrace_sinks; --`
  sinkLaws({
    isVolatile: false,
    onBegin: "keeps",
    rewinds: 0,
    runs: 10,
    place: place<never>(Postgres.sink<Row>({ table }), inOrder)
  })
  describe("replacing what is there", () =>
    sinkLaws({
      isVolatile: false,
      onBegin: "removes",
      rewinds: 0,
      runs: 5,
      place: place<never>(Postgres.sink<Row>({ table, onFresh: "replace" }), inOrder)
    }))
  describe("by key", () =>
    sinkLaws({
      isVolatile: false,
      onBegin: "keeps",
      rewinds: 0,
      runs: 5,
      shown: (rows) => {
        const byKey = new Map(rows.map((row) => [row.id % 3, row]))
        return [...byKey].sort(([a], [b]) => a - b).map(([, row]) => row)
      },
      place: place<"updates">(
        Postgres.sink({ table: "latest", key: (row: Row) => row.id % 3, types: { key: "integer" } }),
        "SELECT value FROM latest ORDER BY key"
      )
    }))
})
