/** `Postgres.sink` against a real server. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Scope } from "effect/Scope"
import * as Postgres from "millrace/Postgres"
import type { Changes } from "../../src/Flow.ts"
import { quoted } from "../../src/internal/plan/tableSink.ts"
import type * as Sink from "../../src/Sink.ts"
import { marker, type Place, type PositionedWriter, type Row, sinkLaws } from "../laws/sinkLaws.ts"
import { deep } from "../support/deep.ts"
import { emptyDatabase, type Opened, opened, rows } from "./postgres.ts"

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
    runs: deep(6, 60),
    place: place<never>(Postgres.sink<Row>({ table }), inOrder)
  })
  describe("replacing what is there", () =>
    sinkLaws({
      isVolatile: false,
      onBegin: "removes",
      rewinds: 0,
      runs: deep(3, 30),
      place: place<never>(Postgres.sink<Row>({ table, onFresh: "replace" }), inOrder)
    }))
  describe("by key", () =>
    sinkLaws({
      isVolatile: false,
      onBegin: "keeps",
      rewinds: 0,
      runs: deep(3, 30),
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

const live = (name: string, test: Effect.Effect<void, unknown, Scope>) => it.live(name, () => Effect.scoped(test))

const failure = (effect: Effect.Effect<unknown, unknown, never>) =>
  Effect.map(Effect.flip(effect), (error) => String((error as Error).message))

const opening: Sink.EpochOpening = { job: "job", sink: "out" }

/** Writes rows to a sink as one epoch. */
const written = <A, C extends Changes>(
  { context }: Opened,
  sink: Sink.Sink<A, Postgres.PostgresError, Postgres.Postgres, "transactional", C>,
  batches: ReadonlyArray<ReadonlyArray<A>>
) =>
  Effect.gen(function*() {
    const writer = yield* sink.openEpochs!(opening)
    const from = yield* writer.position!.current
    if (from === undefined) yield* writer.position!.begin(marker(0), undefined)
    const after = from ?? marker(0)
    yield* writer.apply({
      after,
      marker: marker(after.epoch + 1),
      prepared: batches.map((batch) => writer.prepare(batch)),
      rows: batches.flat().length
    })
    // What is ambient is asked for by none of these sinks.
  }).pipe(Effect.provideContext(context)) as Effect.Effect<void, unknown>

describe("the columns of Postgres.sink", () => {
  interface Any {
    readonly value: unknown
  }
  const table = (type: Postgres.ColumnType) =>
    Postgres.sink<Any, "v">({ table: type, columns: { v: ({ value }) => value }, types: { v: type } })
  const cases: ReadonlyArray<
    readonly [Postgres.ColumnType, ReadonlyArray<readonly [value: unknown, text: string | null]>]
  > = [
    ["text", [
      ["é\n\"'\\;--", "é\n\"'\\;--"],
      ["\\u0000 ", "\\u0000 "],
      [5, "5"],
      [true, "true"],
      [{ a: [1] }, "{\"a\": [1]}"],
      [
        undefined,
        null
      ],
      [null, null],
      ["", ""]
    ]],
    ["double precision", [[0.1, "0.1"], [5e-324, "5e-324"], [1.7976931348623157e308, "1.7976931348623157e+308"], [
      NaN,
      "NaN"
    ], [-Infinity, "-Infinity"]]],
    ["bigint", [[2 ** 53 - 1, "9007199254740991"], [2n ** 63n - 1n, "9223372036854775807"], [-5, "-5"]]],
    ["numeric", [[10n ** 40n, `1${"0".repeat(40)}`], [0.1, "0.1"]]],
    ["boolean", [[true, "true"], [false, "false"]]],
    ["timestamptz", [[new Date(86_400_001), "1970-01-02 00:00:00.001+00"]]],
    ["bytea", [[new Uint8Array([0, 255, 10]), "\\x00ff0a"], [new Uint8Array(0), "\\x"]]],
    ["jsonb", [["text", "\"text\""], [{ a: [null, 1] }, "{\"a\": [null, 1]}"], [7, "7"]]],
    ["uuid", [["00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000a"]]],
    ["date", [["2024-02-29", "2024-02-29"]]]
  ]

  live(
    "hold what they were given",
    Effect.gen(function*() {
      const all = yield* opened(yield* emptyDatabase())
      for (const [type, pairs] of cases) {
        yield* written(all, table(type), [pairs.map(([value]) => ({ value }))])
        const found = yield* all.database.transaction([
          { sql: "SET LOCAL TIME ZONE 'UTC'" },
          { sql: `SELECT v::text AS v FROM "${type}" ORDER BY ctid` }
        ]).pipe(Effect.map((results) => results[1]!))
        assert.deepStrictEqual(found.map(({ v }) => v), pairs.map(([, text]) => text), type)
      }
    })
  )

  live(
    "of a table that is there keep their types, and need not be all of its columns",
    Effect.gen(function*() {
      const all = yield* opened(yield* emptyDatabase())
      yield* rows(
        all.sql,
        "CREATE TABLE t (id bigserial PRIMARY KEY, k varchar(10) NOT NULL, n smallint[], at timestamptz DEFAULT now(), UNIQUE (k))"
      )
      const sink = Postgres.sink({
        table: "t",
        key: "k",
        columns: { k: ({ k }: { readonly k: string; readonly n: ReadonlyArray<number> }) => k, n: ({ n }) => n }
      })
      yield* written(all, sink, [[{ k: "a", n: [1] }, { k: "b", n: [] }, { k: "a", n: [2, 3] }], [{ k: "b", n: [4] }]])
      assert.deepStrictEqual(yield* rows(all.sql, "SELECT k, n::text AS n, at IS NULL AS bare FROM t ORDER BY k"), [
        { k: "a", n: "{2,3}", bare: false },
        { k: "b", n: "{4}", bare: false }
      ])
    })
  )

  const names = [`"; DROP TABLE millrace_sinks; --`, "a'b", "$1", "ordinality", "e", "r", "r.v", "select", "Ä ö", "\\"]

  live(
    "have any name that Postgres can have, and none is taken for anything else",
    Effect.gen(function*() {
      const all = yield* opened(yield* emptyDatabase(), { schema: `"); --` })
      const columns = Object.fromEntries(names.map((name) => [name, (row: number) => `${name} of ${row}`]))
      let epoch = 0
      for (const name of names) {
        for (const key of [undefined, names]) {
          const table = { table: key === undefined ? name : `${name} by key`, databaseSchema: name, columns }
          const sink = key === undefined ? Postgres.sink<number, string>(table) : Postgres.sink({ ...table, key })
          yield* written(all, sink, [[1, 1, 2]])
          epoch++
          const found = yield* rows(all.sql, `SELECT * FROM ${quoted(name)}.${quoted(table.table)} ORDER BY 1`)
          const expected = [1, 1, 2].slice(key === undefined ? 0 : 1)
            .map((row) => Object.fromEntries(names.map((name) => [name, `${name} of ${row}`])))
          assert.deepStrictEqual(found, expected, name)
        }
      }
      const [marked] = yield* rows(all.sql, `SELECT epoch::integer FROM ${quoted(`"); --`)}.millrace_sinks`)
      assert.deepStrictEqual(marked, { epoch })
    })
  )

  live(
    "and tables that Postgres cannot name, or not so, are typed errors",
    Effect.gen(function*() {
      const all = yield* opened(yield* emptyDatabase())
      const wrong = [
        [
          Postgres.sink({ table: "" }),
          `Postgres could not write to table "": "" cannot be a name in Postgres: it is empty`
        ],
        [Postgres.sink({ table: "é".repeat(32) }), "it is longer than 63 bytes"],
        [Postgres.sink({ table: "a\0b" }), "it holds what no text in Postgres can"],
        [Postgres.sink({ table: "t", columns: { "\ud800": () => 1 } }), "it holds what no text in Postgres can"],
        // What arrives from JavaScript.
        [
          Postgres.sink({ table: "t", columns: { v: () => 1 }, types: { v: "text); --" as "text" } }),
          `Column "v" cannot be made with the type text); --: make the table yourself`
        ]
      ] as const
      for (const [sink, problem] of wrong) assert.include(yield* failure(written(all, sink, [[1]])), problem)
      assert.deepStrictEqual(
        yield* rows(all.sql, "SELECT 1 FROM pg_tables WHERE tablename IN ('t', 'millrace_sinks')"),
        []
      )
    })
  )

  live(
    "refuse, when rows are written down, what Postgres has no form for",
    Effect.gen(function*() {
      const { context } = yield* opened(yield* emptyDatabase())
      const sink = Postgres.sink({ table: "t", key: "k", columns: { k: (row: { readonly k: unknown }) => row.k } })
      const open = sink.openEpochs!(opening).pipe(Effect.provideContext(context)) as Effect.Effect<
        Sink.EpochWriter<{ readonly k: unknown }>
      >
      const { prepare } = yield* open
      for (
        const k of [null, undefined, "\0", "a\\\0", "\ud800", { a: ["\udfff"] }, new Date(NaN), Symbol("s"), () => 1]
      ) {
        assert.throws(() => prepare([{ k }]), undefined, undefined, String(k))
      }
      for (const k of ["\\u0000", "\\\\ud800", "🌊", { a: "\\\\\\u0000" }, 5n]) {
        assert.doesNotThrow(() => prepare([{ k }]))
      }
    })
  )
})

describe("Postgres.sink with eager delivery", () => {
  live(
    "writes at once, and empties the table only for a job that begins",
    Effect.gen(function*() {
      const { context, sql } = yield* opened(yield* emptyDatabase())
      const write = (onFresh: "append" | "replace", own: Sink.Opening, row: number) =>
        Effect.flatMap(Postgres.sink<number>({ table: "eager", onFresh }).open(own), (writer) => writer.write([row]))
          .pipe(
            Effect.provideContext(context)
            // What is ambient is not asked for.
          ) as Effect.Effect<void, unknown>
      const values = Effect.map(
        rows(sql, "SELECT value::integer AS value FROM eager ORDER BY ctid"),
        (found) => found.map(({ value }) => value)
      )
      yield* write("append", { attempt: 1, isFresh: true }, 1)
      yield* write("replace", { attempt: 2, isFresh: true }, 2)
      yield* write("replace", { attempt: 1, isFresh: false }, 3)
      assert.deepStrictEqual(yield* values, [1, 2, 3])
      yield* write("replace", { attempt: 1, isFresh: true }, 4)
      assert.deepStrictEqual(yield* values, [4])
    })
  )
})
