import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Option, Schema } from "effect"
import * as fc from "fast-check"
import { isUtf8 } from "node:buffer"
import * as csvFile from "../../src/internal/plan/csvFile.ts"
import type { FileError } from "../../src/internal/plan/FileError.ts"
import * as ndjsonFile from "../../src/internal/plan/ndjsonFile.ts"
import { nodeFileSystem } from "../../src/internal/runtime/nodeFileSystem.ts"
import type { Position, Reader, Undecodable } from "../../src/Source.ts"
import { runs } from "../laws/runs.ts"

const utf8 = new TextEncoder()

/** One file in memory that is read in pieces of the given sizes, over and over. */
const fileOf = (content: string | Uint8Array, sizes: ReadonlyArray<number> = [Infinity]): FileSystem.FileSystem => {
  const bytes = typeof content === "string" ? utf8.encode(content) : content
  return FileSystem.make({
    ...nodeFileSystem,
    open: () =>
      Effect.sync((): FileSystem.File => {
        let at = 0
        let reads = 0
        const refuse = () => Effect.die("not for reading")
        return {
          [FileSystem.FileTypeId]: FileSystem.FileTypeId,
          stat: Effect.succeed({ size: BigInt(bytes.length) } as FileSystem.File.Info),
          seek: (offset) => Effect.sync(() => BigInt(at = Number(offset))),
          readAlloc: (size) =>
            Effect.sync(() => {
              const piece = bytes.slice(at, at + Math.min(size, sizes[reads++ % sizes.length]!))
              at += piece.length
              return piece.length === 0 ? Option.none() : Option.some(piece)
            }),
          read: refuse,
          sync: refuse(),
          truncate: refuse,
          write: refuse,
          writeAll: refuse
        }
      })
  })
}

interface Rows {
  /** Records as they are, and what is none as `{ original, reason }`. */
  readonly rows: ReadonlyArray<unknown>
  /** The position after each row. */
  readonly positions: ReadonlyArray<Position>
}

/** Reads to the end, `max` rows at a time. */
const readAll = Effect.fnUntraced(function*(reader: Reader<unknown, FileError>, max: number) {
  const rows: Array<unknown> = []
  const positions: Array<Position> = []
  for (;;) {
    const chunk = yield* reader.pull(max)
    if (chunk === undefined) break
    assert.isAtLeast(chunk.rows.length, 1)
    assert.isAtMost(chunk.rows.length, max)
    chunk.rows.forEach((row, i) => {
      rows.push(chunk.undecodable?.get(i) ?? row)
      positions.push(chunk.positionAfter(i + 1))
    })
  }
  assert.isUndefined(yield* reader.pull(max), "the end is the end")
  return { rows, positions } satisfies Rows
})

interface Reading {
  readonly from?: Position
  readonly max?: number
  readonly sizes?: ReadonlyArray<number>
}

const ndjson = (schema: Schema.Codec<unknown, unknown>) => (content: string | Uint8Array, options: Reading = {}) =>
  Effect.scoped(Effect.flatMap(
    ndjsonFile.read("file.ndjson", schema, options.from),
    (reader) => readAll(reader, options.max ?? 1_000)
  )).pipe(Effect.provideService(FileSystem.FileSystem, fileOf(content, options.sizes)))

const csv =
  (schema: Schema.Codec<unknown, unknown>, separator = ",") => (content: string | Uint8Array, options: Reading = {}) =>
    Effect.scoped(Effect.flatMap(
      csvFile.read("file.csv", schema, options.from, separator),
      (reader) => readAll(reader, options.max ?? 1_000)
    )).pipe(Effect.provideService(FileSystem.FileSystem, fileOf(content, options.sizes)))

const reading = fc.record({
  max: fc.integer({ min: 1, max: 7 }),
  sizes: fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 5 })
})

type Read = (content: string | Uint8Array, options: Reading) => Effect.Effect<Rows, FileError>

/** From the start and from every position that was reported: exactly the rows that are left. */
const resumesAnywhere = Effect.fnUntraced(
  function*(read: Read, content: string | Uint8Array, options: Reading, expected: ReadonlyArray<unknown>) {
    const all = yield* read(content, options)
    assert.deepStrictEqual(all.rows, expected)
    for (const [i, position] of all.positions.entries()) {
      const left = yield* read(content, { ...options, from: position })
      assert.deepStrictEqual(left.rows, expected.slice(i + 1))
      assert.deepStrictEqual(left.positions, all.positions.slice(i + 1))
    }
  }
)

const Numbered = Schema.Struct({ n: Schema.Number })
const numbers = ndjson(Numbered)
const anything = ndjson(Schema.Unknown)

describe("ndjson", () => {
  const strange = fc.constantFrom("é", "\uFEFF", "日本", "😀", "\u2028", "\u00a0", "a", "\\", "\"")
  const value = fc.oneof(
    fc.record({ n: fc.integer(), text: fc.string({ unit: strange }) }),
    fc.string({ unit: "binary" })
  )
  const line = fc.oneof(
    { weight: 5, arbitrary: value.map((value) => utf8.encode(JSON.stringify(value))) },
    {
      weight: 1,
      arbitrary: fc.constantFrom("", " ", "\t", "\uFEFF", "{", "nul", "[1,").map((text) => utf8.encode(text))
    },
    // Mostly not UTF-8.
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 8 }).map((bytes) => bytes.filter((byte) => byte !== 10)) }
  )
  const content = fc.tuple(fc.array(fc.tuple(line, fc.constantFrom("\n", "\r\n")), { maxLength: 12 }), line)
    .map(([lines, last]) => Buffer.concat([...lines.flatMap(([line, end]) => [line, utf8.encode(end)]), last]))

  /** Cut where a newline is, decoded line by line. */
  const model = (bytes: Uint8Array): ReadonlyArray<unknown> =>
    Buffer.from(bytes).toString("latin1").split("\n")
      .map((line) => Buffer.from(line, "latin1"))
      .filter((line) => line.toString("utf8").trim() !== "")
      .map((bytes): unknown => {
        if (!isUtf8(bytes)) {
          return { original: { "~": ["bytes", bytes.toString("base64")] }, reason: "The line is not UTF-8" }
        }
        const line = bytes.toString("utf8").trim()
        try {
          return JSON.parse(line)
        } catch (cause) {
          const reason = (cause as Error).message.replaceAll(/\s*\n\s*/g, " ")
          return { original: line, reason } satisfies Undecodable
        }
      })

  it.effect("of any bytes, in any pieces, from any position gives the rows that are left", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(content, reading, (content, options) =>
          Effect.runPromise(resumesAnywhere(anything, content, options, model(content)))),
        { numRuns: runs(300) }
      )
    ))

  it.effect("reports the byte after each line", () =>
    Effect.map(
      numbers(`{"n":1}\n\n{"n":2}\r\n{"n":3}`),
      (all) => assert.deepStrictEqual(all, { rows: [{ n: 1 }, { n: 2 }, { n: 3 }], positions: [8, 18, 25] })
    ))

  it.effect("of characters of several bytes does not split them", () =>
    Effect.gen(function*() {
      const all = yield* anything(`"é"\n"日"\n"😀"\n`, { sizes: [1] })
      assert.deepStrictEqual(all, { rows: ["é", "日", "😀"], positions: [5, 11, 18] })
    }))

  it.effect("of nothing, or of empty lines, has no rows", () =>
    Effect.gen(function*() {
      for (const content of ["", "\n", "\r\n\r\n", " \n\t", "\uFEFF"]) {
        assert.deepStrictEqual((yield* numbers(content, { sizes: [1] })).rows, [], JSON.stringify(content))
      }
    }))

  it.effect("with a byte order mark is read without it", () =>
    Effect.map(numbers(`\uFEFF{"n":1}\n`), (all) => assert.deepStrictEqual(all, { rows: [{ n: 1 }], positions: [11] })))

  it.effect("keeps the text and the reason of what is no record, and goes on after it", () =>
    Effect.map(numbers(`{"n":1}\nnonsense\n{"n":"x"}\n{"n":2}\n`), ({ positions, rows }) => {
      assert.deepStrictEqual(positions, [8, 17, 27, 35])
      assert.deepStrictEqual(rows, [
        { n: 1 },
        { original: "nonsense", reason: `Unexpected token 'o', "nonsense" is not valid JSON` },
        { original: `{"n":"x"}`, reason: `Expected number at ["n"]` },
        { n: 2 }
      ])
    }))

  it.effect("is decoded from the JSON form of the schema", () => {
    const Exact = Schema.Struct({ at: Schema.Date, n: Schema.Number, big: Schema.BigInt })
    const values = [{ at: new Date(0), n: NaN, big: 2n ** 80n }, { at: new Date(1), n: -Infinity, big: 0n }]
    const encode = Schema.encodeUnknownSync(Schema.toCodecJson(Exact))
    return Effect.map(
      ndjson(Exact)(ndjsonFile.encodeLines(values, encode)),
      ({ rows }) => assert.deepStrictEqual(rows, values)
    )
  })

  it.effect("of a line of 3 MB is read in time that grows with its length", () =>
    Effect.gen(function*() {
      const long = "é".repeat(1_500_000)
      const content = `"a"\n${JSON.stringify(long)}\n"b"`
      const { positions, rows } = yield* anything(content, { sizes: [4096] })
      assert.deepStrictEqual(rows, ["a", long, "b"])
      assert.deepStrictEqual(positions, [4, 3_000_007, 3_000_010])
    }))

  it.effect(
    "of 100,000 lines can be pulled one by one: no pull looks at what the others take",
    () => Effect.map(numbers(`{"n":1}\n`.repeat(100_000), { max: 1 }), ({ rows }) => assert.lengthOf(rows, 100_000)),
    10_000
  )

  it.effect("fails at a line that does not end", () =>
    Effect.map(
      Effect.flip(anything(new Uint8Array(ndjsonFile.maximumLineBytes + 2).fill(32))),
      (error) =>
        assert.strictEqual(
          error.message,
          `Could not read "file.ndjson": the line at byte 0 is longer than 67108864 bytes`
        )
    ))

  it.effect("fails where the file has become shorter than what was read of it", () =>
    Effect.map(Effect.flip(numbers(`{"n":1}\n`, { from: 100 })), (error) =>
      assert.strictEqual(
        error.message,
        `Could not go on reading "file.ndjson": it ends at byte 8, but was read to byte 100 before: it is not the same file`
      )))

  it.effect("fails for a file that is missing, with its path", () =>
    Effect.scoped(ndjsonFile.read("nowhere/file.ndjson", Numbered, undefined)).pipe(
      Effect.provideService(FileSystem.FileSystem, nodeFileSystem),
      Effect.flip,
      Effect.map((error) => {
        assert.strictEqual(error._tag, "FileError")
        assert.strictEqual(error.operation, "open")
        assert.strictEqual(
          error.message,
          `Could not open "nowhere/file.ndjson": ENOENT: no such file or directory, open 'nowhere/file.ndjson'`
        )
      })
    ))
})

const People = Schema.Struct({ name: Schema.String, age: Schema.FiniteFromString })
const people = csv(People)
const pairs = csv(Schema.Struct({ a: Schema.String, "b c": Schema.String }))

describe("csv", () => {
  const cell = fc.string({ unit: fc.constantFrom("a", " ", ",", "\"", "\n", "\r\n", "é", "😀", "") })
  const quoted = (cell: string) => `"${cell.replaceAll("\"", "\"\"")}"`
  const row = fc.record({ a: cell, "b c": cell })
  const end = fc.constantFrom("\n", "\r\n")

  it.effect("of any rows, in any pieces, from any position gives the rows that are left", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(fc.array(row, { maxLength: 8 }), end, fc.boolean(), reading, (rows, end, isEnded, options) => {
          const lines = ["a,b c", ...rows.map((row) => `${quoted(row.a)},${quoted(row["b c"])}`)]
          const content = lines.join(end) + (isEnded ? end : "")
          return Effect.runPromise(resumesAnywhere(pairs, content, options, rows))
        }),
        { numRuns: runs(300) }
      )
    ))

  it.effect("reports row numbers", () =>
    Effect.map(people("name,age\nAda,36\n\n\"Grace\nHopper\",85\n"), (all) =>
      assert.deepStrictEqual(all, {
        rows: [{ name: "Ada", age: 36 }, { name: "Grace\nHopper", age: 85 }],
        positions: [1, 2]
      })))

  it.effect("with another separator, without a final newline, with a byte order mark", () =>
    Effect.map(
      csv(People, ";")("\uFEFFname;age\r\n\"Ada;\"\"A\"\"\";36"),
      ({ rows }) => assert.deepStrictEqual(rows, [{ name: "Ada;\"A\"", age: 36 }])
    ))

  it.effect("of nothing, or of nothing but names, has no rows", () =>
    Effect.gen(function*() {
      for (const content of ["", "\n", "name,age", "name,age\r\n", "name,age\n\n"]) {
        assert.deepStrictEqual((yield* people(content)).rows, [], JSON.stringify(content))
      }
    }))

  it.effect("keeps what is no record with the reason, and goes on after it", () =>
    Effect.map(people("name,age\nAda,36\nGrace\nAlan,x\nEdsger,72,NL\nBarbara,85\n"), ({ positions, rows }) => {
      assert.deepStrictEqual(positions, [1, 2, 3, 4, 5])
      assert.deepStrictEqual(rows, [
        { name: "Ada", age: 36 },
        { original: ["Grace"], reason: "Expected 2 cells, got 1" },
        { original: { name: "Alan", age: "x" }, reason: "Expected a finite number at [\"age\"]" },
        { original: ["Edsger", "72", "NL"], reason: "Expected 2 cells, got 3" },
        { name: "Barbara", age: 85 }
      ])
    }))

  it.effect("that is malformed fails with the path, the line and the reason", () =>
    Effect.gen(function*() {
      const messages = yield* Effect.forEach([
        "name,age\nAda,36\n\"Grace,85\n",
        "name,age\n\"Ada\nLovelace\",36\nGr\"ace,85\n",
        "name,age,name\n",
        `name,age\n${"x".repeat(2 ** 20 + 1)}`
      ], (content) => Effect.map(Effect.flip(people(content)), ({ message }) => message))
      assert.deepStrictEqual(messages, [
        `Could not read line 3 of "file.csv": Unterminated quoted field`,
        `Could not read line 4 of "file.csv": Unexpected quote in an unquoted field`,
        `Could not read the first line of "file.csv": two columns are named "name"`,
        `Could not read line 2 of "file.csv": CSV record exceeds maxRecordSize of 1048576`
      ])
    }))

  it.effect("fails for a file that is missing, with its path", () =>
    Effect.scoped(csvFile.read("nowhere/file.csv", People, undefined, ",")).pipe(
      Effect.provideService(FileSystem.FileSystem, nodeFileSystem),
      Effect.flip,
      Effect.map(({ message }) =>
        assert.strictEqual(
          message,
          `Could not open "nowhere/file.csv": ENOENT: no such file or directory, open 'nowhere/file.csv'`
        )
      )
    ))
})
