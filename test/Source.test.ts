import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, FileSystem, Schema, Stream } from "effect"
import { nodeFileSystem } from "../src/internal/runtime/nodeFileSystem.ts"
import * as Source from "../src/Source.ts"

/** Opens the first split by hand, as the runtime does. */
const open = Effect.fnUntraced(function*<A, E, R>(source: Source.Source<A, E, R>, position?: Source.Position) {
  const { body } = source
  assert(body._tag === "Read")
  const [split] = yield* body.splits
  assert(split !== undefined)
  return yield* body.open(split, position)
}, Effect.provideService(FileSystem.FileSystem, nodeFileSystem))

const all = Effect.fnUntraced(function*<A, E>(reader: Source.Reader<A, E>, max: number) {
  const rows: Array<A> = []
  const positions: Array<Source.Position> = []
  for (let chunk = yield* reader.pull(max); chunk !== undefined; chunk = yield* reader.pull(max)) {
    assert.isAtMost(chunk.rows.length, max)
    rows.push(...chunk.rows)
    positions.push(...chunk.rows.map((_, i) => chunk!.positionAfter(i + 1)))
  }
  return { rows, positions }
})

const numbers = Array.from({ length: 10 }, (_, n) => n)
const oneToTen = numbers.map((n) => n + 1)

describe("Source describes, and opens nothing", () => {
  it("what it is, whether it ends, and how it is read", () => {
    const Row = Schema.Struct({ a: Schema.String })
    const facts = [
      Source.memory([1, 2]),
      Source.memorySplits([[1], [2, 3]]),
      Source.iterable([1]),
      Source.stream(Stream.make(1)),
      Source.ndjson("nowhere.ndjson", Row),
      Source.csv("nowhere.csv", Row),
      Source.queue()
    ].map(({ body, bounded, description }) => [
      description,
      bounded,
      body._tag === "Read" ? (body.replayable ? "replayed" : "kept") : body._tag
    ])
    assert.deepStrictEqual(facts, [
      ["memory", true, "Memory"],
      ["memory, 2 splits", true, "Memory"],
      ["iterable", true, "kept"],
      ["stream", true, "kept"],
      ["ndjson nowhere.ndjson", true, "replayed"],
      ["csv nowhere.csv", true, "replayed"],
      ["queue", false, "Queue"]
    ])
  })

  it("a source is one, also after a combinator", () => {
    const source = Source.memory([1])
    assert.isTrue(Source.isSource(source))
    assert.isTrue(Source.isSource(source.pipe((self) => Source.paced(self, { perSecond: 2 }))))
    assert.isFalse(Source.isSource({ body: source.body }))
    assert.isUndefined(source.perSecond)
    assert.strictEqual(Source.paced(source, { perSecond: 2 }).perSecond, 2)
  })

  it("a schema is kept with the source", () => {
    const schema = Schema.String
    for (
      const source of [Source.memory([""], { schema }), Source.iterable([""], { schema }), Source.queue({ schema })]
    ) {
      assert.strictEqual(source.schema, schema)
    }
  })
})

describe("Source refuses options that make no sense", () => {
  it.each([0, -1, 1.5, NaN, Infinity])("a queue of capacity %s", (capacity) => {
    assert.throws(
      () => Source.queue({ capacity }),
      Source.InvalidSource,
      `Source option "capacity" is ${capacity}: give a whole number of records, 1 or more`
    )
  })

  it.each([0, -1, NaN])("a pace of %s records a second", (perSecond) => {
    assert.throws(
      () => Source.paced(Source.memory([]), { perSecond }),
      Source.InvalidSource,
      `Source option "perSecond" is ${perSecond}: give a rate above 0`
    )
  })

  it("but takes what makes some", () => {
    assert.deepInclude(Source.queue({ capacity: 1, onFull: "fail" }).body, { capacity: 1, onFull: "fail" })
    assert.deepInclude(Source.queue().body, { capacity: 1024, onFull: "suspend" })
    assert.strictEqual(Source.paced(Source.memory([]), { perSecond: 0.5 }).perSecond, 0.5)
  })
})

describe("Source.iterable", () => {
  it.effect("gives all rows with the number of rows as position", () =>
    Effect.gen(function*() {
      for (const max of [1, 3, 10, 100]) {
        const read = yield* all(yield* open(Source.iterable(new Set(numbers))), max)
        assert.deepStrictEqual(read, { rows: numbers, positions: oneToTen })
      }
    }).pipe(Effect.scoped))

  it.effect("goes on only as far as it is pulled, so it may be endless", () =>
    Effect.gen(function*() {
      let given = 0
      const endless = {
        *[Symbol.iterator]() {
          for (;;) yield given++
        }
      }
      const reader = yield* open(Source.iterable(endless))
      assert.strictEqual(given, 0)
      assert.deepStrictEqual((yield* reader.pull(3))?.rows, [0, 1, 2])
      assert.strictEqual(given, 3)
      assert.deepStrictEqual((yield* reader.pull(2))?.rows, [3, 4])
    }).pipe(Effect.scoped))

  it.effect("is iterated anew by each reader, and not asked again after its end", () =>
    Effect.gen(function*() {
      const source = Source.iterable(numbers)
      assert.deepStrictEqual((yield* all(yield* open(source), 4)).rows, numbers)
      const reader = yield* open(source)
      assert.deepStrictEqual((yield* all(reader, 4)).rows, numbers)
      assert.isUndefined(yield* reader.pull(1))
    }).pipe(Effect.scoped))
})

describe("Source.stream", () => {
  it.effect("gives all rows with the number of rows as position, whatever the stream's own chunks", () =>
    Effect.gen(function*() {
      for (const size of [1, 3, 100]) {
        for (const max of [1, 4, 100]) {
          const read = yield* all(yield* open(Source.stream(Stream.rechunk(Stream.fromIterable(numbers), size))), max)
          assert.deepStrictEqual(read, { rows: numbers, positions: oneToTen })
        }
      }
    }).pipe(Effect.scoped))

  it.effect("of nothing ends at once, and stays ended", () =>
    Effect.gen(function*() {
      const reader = yield* open(Source.stream(Stream.empty))
      assert.isUndefined(yield* reader.pull(1))
      assert.isUndefined(yield* reader.pull(1))
    }).pipe(Effect.scoped))

  it.effect("fails as the stream does, after the rows before it", () =>
    Effect.gen(function*() {
      const failing = Stream.concat(Stream.make(1, 2), Stream.fail("broken" as const))
      const reader = yield* open(Source.stream(failing))
      assert.deepStrictEqual((yield* reader.pull(10))?.rows, [1, 2])
      assert.strictEqual(yield* Effect.flip(reader.pull(10)), "broken")
    }).pipe(Effect.scoped))

  it.effect("takes what the stream requires from where it is opened", () => {
    class Greeting extends Context.Service<Greeting, string>()("test/Greeting") {}
    const source: Source.Source<string, never, Greeting> = Source.stream(Stream.fromEffect(Effect.service(Greeting)))
    return Effect.gen(function*() {
      const reader = yield* Effect.provideService(open(source), Greeting, "hello")
      assert.deepStrictEqual((yield* reader.pull(1))?.rows, ["hello"])
    }).pipe(Effect.scoped)
  })

  it.effect("is given up with the scope of its reader", () =>
    Effect.gen(function*() {
      let released = false
      const stream = Stream.fromIterable(numbers).pipe(Stream.ensuring(Effect.sync(() => released = true)))
      yield* Effect.scoped(Effect.flatMap(open(Source.stream(stream)), (reader) => reader.pull(1)))
      assert.isTrue(released)
    }))

  it.effect("of one large chunk can be pulled row by row", () =>
    Effect.gen(function*() {
      const large = Array.from({ length: 100_000 }, (_, n) => n)
      assert.lengthOf((yield* all(yield* open(Source.stream(Stream.fromArray(large))), 1)).rows, 100_000)
    }).pipe(Effect.scoped), 10_000)
})

describe("Source.make", () => {
  it.effect("hands its reader the split and the position", () =>
    Effect.gen(function*() {
      const asked: Array<unknown> = []
      const source = Source.make<number>({
        description: "mine",
        bounded: true,
        replayable: true,
        splits: Effect.succeed(["a", "b"]),
        open: (split, position) =>
          Effect.sync(() => {
            asked.push([split, position])
            return { pull: () => Effect.succeed(undefined) }
          })
      })
      yield* open(source)
      yield* open(source, { offset: 3 })
      assert.deepStrictEqual(asked, [["a", undefined], ["a", { offset: 3 }]])
    }).pipe(Effect.scoped))
})

describe("Source.ndjson and Source.csv", () => {
  it.effect("name the missing file when they are opened, not before", () =>
    Effect.gen(function*() {
      const Row = Schema.Struct({ a: Schema.String })
      for (const source of [Source.ndjson("nowhere/file", Row), Source.csv("nowhere/file", Row)]) {
        const error = yield* Effect.flip(open(source))
        assert.instanceOf(error, Source.FileError)
        assert.deepInclude(error, { path: "nowhere/file", operation: "open" })
      }
    }).pipe(Effect.scoped))
})
