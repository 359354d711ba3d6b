/**
 * Records that cannot be processed, in every place where one can be refused: where it is read, where it is worked on, where it is
 * written. With dead letters every one of them ends there as it was, and nothing else is disturbed.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Option, Schema } from "effect"
import {
  Aggregate,
  Checkpoint,
  CheckpointStore,
  type DeadLetter,
  ErrorPolicy,
  Flow,
  FlowError,
  Job,
  Sink,
  Source,
  Supervision,
  Watermark,
  Window
} from "millrace"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { memoryStore } from "../../src/internal/stores/memoryStore.ts"
import { pass, run } from "../recovery/world.ts"
import { live, Power } from "../support/crashing.ts"
import { deep } from "../support/deep.ts"

type Letter = DeadLetter.DeadLetter

const names = [
  "__proto__",
  "constructor",
  "toString",
  "hasOwnProperty",
  "valueOf",
  "",
  "\u0000",
  "\u0000|",
  "\u0000-",
  "\ud800"
]

const inherited = () =>
  [Object.prototype, Array.prototype, Function.prototype, Map.prototype].map((prototype) =>
    Reflect.ownKeys(prototype).map(String)
  )
const before = inherited()
const assertUntouched = () => {
  assert.deepStrictEqual(inherited(), before)
  assert.notProperty({}, "polluted")
}

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "millrace-poison-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
)

const Row = Schema.Struct({ key: Schema.String, at: Schema.Number })

const onErrors = { onError: ErrorPolicy.deadLetter }

/** Everything that JavaScript can throw, with words or without. */
const thrown: ReadonlyArray<unknown> = [
  new Error("an error"),
  "a text",
  undefined,
  null,
  0,
  Symbol("s"),
  Object.create(null),
  {
    toString: () => {
      throw new Error("no words")
    }
  },
  Object.assign(new Error("x"), { message: undefined }),
  new Proxy(new Error("x"), {
    get: () => {
      throw new Error("no looking")
    }
  }),
  new RangeError("deep")
]

describe("what cannot be read", () => {
  const bytes = (...parts: ReadonlyArray<string | Uint8Array>): Buffer =>
    Buffer.concat(parts.map((part) => typeof part === "string" ? Buffer.from(part) : part))

  it.live(
    "ends in the dead letters as it was: lines that are no JSON, no text, or not by the schema",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const folder = yield* temporary
        const path = Path.join(folder, "in.ndjson")
        const long = `{"key":"${"x".repeat(10 * 1024 * 1024)}","at":"late"}`
        const bad: ReadonlyArray<readonly [line: string | Uint8Array, original: unknown]> = [
          ["{", "{"],
          ["nul", "nul"],
          ["{\"key\":1,\"at\":2}", "{\"key\":1,\"at\":2}"],
          ["{\"key\":\"a\"}", "{\"key\":\"a\"}"],
          ["null", "null"],
          ["[".repeat(100_000), "[".repeat(100_000)],
          ["{\"__proto__\":{\"polluted\":true}}", "{\"__proto__\":{\"polluted\":true}}"],
          [long, long],
          [
            bytes("{\"key\":\"", Uint8Array.of(0xff, 0xfe), "\",\"at\":1}"),
            { "~": ["bytes", bytes("{\"key\":\"", Uint8Array.of(0xff, 0xfe), "\",\"at\":1}").toString("base64")] }
          ],
          [Uint8Array.of(0xc3), { "~": ["bytes", "ww=="] }]
        ]
        const good = (n: number) => `{"key":"k\ufffd${n}","at":${n}}`
        Fs.writeFileSync(
          path,
          bytes(...bad.flatMap(([line], n) => [good(n), "\n", line, "\n"]), good(bad.length))
        )
        const rows = Sink.memory<typeof Row.Type>()
        const letters = Sink.memory<Letter>()
        const job = Job.make("poison", [
          Flow.from("lines", Source.ndjson(path, Row), onErrors).pipe(Flow.to("rows", rows))
        ], { deadLetters: letters })
        yield* Job.run(job).pipe(Effect.provide(CheckpointStore.layerMemory))
        assert.deepStrictEqual(
          yield* rows.contents,
          Array.from({ length: bad.length + 1 }, (_, n) => ({ key: `k\ufffd${n}`, at: n }))
        )
        const found = yield* letters.contents
        assert.deepStrictEqual(found.map(({ original }) => original), bad.map(([, original]) => original))
        for (const { operator, origin, reason } of found) {
          assert.strictEqual(operator, "lines")
          assert.deepStrictEqual(origin, { source: "lines", split: path })
          assert.isAbove(reason.length, 0)
        }
        assertUntouched()
      })),
    30_000
  )

  it.live("ends there from a file of CSV: rows of another length, or not by the schema", () =>
    Effect.scoped(Effect.gen(function*() {
      const folder = yield* temporary
      const path = Path.join(folder, "in.csv")
      Fs.writeFileSync(path, "__proto__,at\na,1\nb\nc,2,3\nd,x\ne,5\n")
      const rows = Sink.memory<unknown>()
      const letters = Sink.memory<Letter>()
      const schema = Schema.Struct({
        ["__proto__"]: Schema.String,
        at: Schema.NumberFromString.check(Schema.isFinite())
      })
      const job = Job.make("poison", [
        Flow.from("cells", Source.csv(path, schema), onErrors).pipe(
          Flow.map((row) => Object.entries(row)),
          Flow.to("rows", rows)
        )
      ], { deadLetters: letters })
      yield* Job.run(job).pipe(Effect.provide(CheckpointStore.layerMemory))
      const own = (key: string, at: unknown) => [["__proto__", key], ["at", at]]
      assert.deepStrictEqual(yield* rows.contents, [own("a", 1), own("e", 5)])
      const found = (yield* letters.contents).map(({ original }) => original)
      assert.deepStrictEqual(found.slice(0, 2), [["b"], ["c", "2", "3"]])
      assert.deepStrictEqual(Object.entries(found[2] as object), own("d", "x"))
      assert.strictEqual(found.length, 3)
      assertUntouched()
    })))
})

describe("what cannot be worked on", () => {
  it("ends in the dead letters whatever is thrown, on any number of partitions", async () => {
    for (const partitions of [1, 3]) {
      const numbers = Array.from({ length: 200 }, (_, n) => n)
      const isBad = (n: number) => n % 9 === 4
      const rows = Sink.memory<number>()
      const letters = Sink.memory<Letter>()
      const job = Job.make("poison", [
        Flow.from("numbers", Source.memory(numbers)).pipe(
          Flow.map((n) => {
            if (isBad(n)) throw thrown[n % thrown.length]
            return n
          }, { name: "work", ...onErrors }),
          Flow.to("rows", rows)
        )
      ], { deadLetters: letters })
      await Effect.runPromise(
        Job.run(job, { partitions, restarts: Supervision.never }).pipe(Effect.provide(CheckpointStore.layerMemory))
      )
      assert.deepStrictEqual(
        (await Effect.runPromise(rows.contents)).toSorted((a, b) => a - b),
        numbers.filter((n) => !isBad(n))
      )
      const found = await Effect.runPromise(letters.contents)
      assert.deepStrictEqual(found.map(({ original }) => Number(original)).sort((a, b) => a - b), numbers.filter(isBad))
      for (const { operator, reason } of found) {
        assert.strictEqual(operator, "work")
        assert.isString(reason)
      }
    }
  })

  it.live("ends there for its time: none, infinite, of a fraction, of no number; far away is a time like any other", () =>
    Effect.gen(function*() {
      const far = Date.UTC(9999, 11, 31)
      const bad: ReadonlyArray<unknown> = [NaN, Infinity, -Infinity, 0.5, 2 ** 53, "0", null, undefined, {}]
      const times: ReadonlyArray<unknown> = [-1, 0, ...bad, -62_135_596_800_000, 1, far, -0]
      const panes = Sink.memory<{ readonly window: Window.Bounds; readonly value: { readonly count: number } }>()
      const letters = Sink.memory<Letter>()
      const late = Sink.memory<unknown>()
      const outputs = Flow.from("times", Source.memory(times.map((at, n) => ({ at, n }))), {
        // Whoever wrote this has lied to the compiler, as data does.
        time: ({ at }) => at as number,
        watermark: Watermark.boundedOutOfOrderness("400000000 seconds"),
        ...onErrors
      }).pipe(
        Flow.global,
        Flow.window("counted", Window.tumbling(10)),
        Flow.aggregate({ count: Aggregate.count })
      )
      const job = Job.make("poison", [
        outputs.results.pipe(Flow.to("panes", panes)),
        outputs.late.pipe(Flow.to("late", late))
      ], { deadLetters: letters })
      yield* Job.run(job, { restarts: Supervision.never }).pipe(Effect.provide(CheckpointStore.layerMemory))
      const found = yield* letters.contents
      assert.deepStrictEqual(found.map(({ original }) => (original as { readonly at: unknown }).at), bad)
      const seen = (yield* panes.contents).reduce((sum, { value }) => sum + value.count, 0)
      assert.strictEqual(seen + (yield* late.contents).length, times.length - bad.length)
    }))

  it("ends there for its key; keys that are names of every object's are keys like any other, also across a crash", async () => {
    const key = Schema.NullOr(Schema.String)
    const good = [...names, null]
    const bad = [1, undefined, {}]
    const records = Array.from({ length: 12 }, (_, n) => [...good, ...bad].map((key) => ({ key, at: n * 5 }))).flat()
    const build = (around: Power["around"], panes: Sink.MemorySink<unknown>, letters: Sink.MemorySink<Letter>) =>
      Job.make("poison", [
        Flow.from(
          "records",
          Source.make<(typeof records)[number]>({
            description: "records",
            bounded: true,
            replayable: true,
            splits: Effect.succeed(["0"]),
            open: (_, position) => {
              let next = Number(position ?? 0)
              return Effect.succeed({
                pull: (max) =>
                  around(
                    "pull",
                    Effect.andThen(
                      pass(3),
                      Effect.sync(() => {
                        const start = next
                        const rows = records.slice(start, start + Math.min(max, 7))
                        next += rows.length
                        return rows.length === 0 ? undefined : { rows, positionAfter: (taken: number) => start + taken }
                      })
                    )
                  )
              })
            }
          }),
          { time: ({ at }) => at, watermark: Watermark.monotonic }
        ).pipe(
          // What the schema refuses is in the data all the same.
          Flow.keyBy(({ key }) => key as string | null, key, onErrors),
          Flow.window("counted", Window.tumbling(20)),
          Flow.aggregate({
            count: Aggregate.count,
            latest: Aggregate.max((record: (typeof records)[number]) => record.at)
          }),
          Flow.only("results", { late: "none is" }),
          Flow.map(({ key, value, window }) => ({
            key,
            count: value.count,
            latest: value.latest,
            start: window.start
          })),
          Flow.to("panes", panes)
        )
      ], { deadLetters: letters })

    const outcome = async (end: number, partitions: number) => {
      const panes = Sink.memory<unknown>()
      const letters = Sink.memory<Letter>()
      const store: CheckpointStore.CheckpointStore["Service"] = memoryStore()
      const options = {
        partitions,
        batchSize: 4,
        bufferSize: 8,
        checkpointEvery: "1 millis",
        restarts: Supervision.never
      } as const
      const life = (power: Power) =>
        Job.run(build(power.around, panes, letters), options).pipe(
          Effect.provideService(CheckpointStore.CheckpointStore, store)
        )
      const power = new Power(end)
      const exit = await run(
        Effect.andThen(
          live(power, life(power)),
          Effect.suspend(() => power.hasFailed ? life(new Power()) : Effect.void)
        ).pipe(Effect.andThen(Effect.all([panes.contents, letters.contents]))),
        end + 3,
        { pace: 6 }
      )
      if (Exit.isFailure(exit)) throw new Error(String(exit.cause))
      const [rows, found] = exit.value
      const sorted = (all: ReadonlyArray<unknown>) => all.map((one) => JSON.stringify(one)).toSorted()
      return { panes: sorted(rows), letters: sorted(found.map(({ operator, original }) => [operator, original])) }
    }
    const whole = await outcome(Infinity, 1)
    assert.strictEqual(whole.letters.length, 12 * bad.length)
    assert.strictEqual(whole.panes.length, 3 * good.length)
    for (const partitions of [1, 4]) {
      for (let end = 2; end < 40; end += deep(7, 1)) {
        assert.deepStrictEqual(await outcome(end, partitions), whole, `crash at ${end} of ${partitions}`)
      }
    }
    assertUntouched()
  })

  it.live("is asked for by such keys, and comes back from a file of a checkpoint", () =>
    Effect.scoped(Effect.gen(function*() {
      const folder = yield* temporary
      const queue = Source.queue({ durable: true, schema: Schema.Struct({ key: Schema.String, at: Schema.Number }) })
      const job = Job.make("poison", [
        Flow.from("queue", queue, { time: ({ at }) => at, watermark: Watermark.monotonic }).pipe(
          Flow.keyBy(({ key }) => key, Schema.String),
          Flow.window("counted", Window.tumbling("1 hour")),
          Flow.aggregate({ count: Aggregate.count }),
          Flow.only("results", { late: "none is" }),
          Flow.to("panes", Sink.memory<unknown>())
        )
      ])
      const ask = (handle: Job.Handle<unknown>) =>
        Effect.forEach(
          names,
          (name) =>
            Effect.map(Job.query(handle as never, "counted" as never, name as never), (found) =>
              (found as ReadonlyArray<{ readonly value: { readonly count: number } }>).map(({ value }) =>
                value.count
              ))
        )
      const path = Path.join(folder, "value.json")
      const first = yield* Effect.scoped(Effect.gen(function*() {
        const handle = yield* Job.launch(job)
        yield* handle.pushAll(queue, names.flatMap((key, n) => Array.from({ length: n + 1 }, () => ({ key, at: 1 }))))
        const counts = yield* ask(handle as never)
        yield* Checkpoint.writeFile(yield* handle.savepoint("keys"), path)
        return counts
      })).pipe(Effect.provide(CheckpointStore.layerFileSystem(Path.join(folder, "one"))))
      assert.deepStrictEqual(first, names.map((_, n) => [n + 1]))
      const value = yield* Checkpoint.readFile(path)
      const second = yield* Effect.scoped(Effect.gen(function*() {
        const handle = yield* Job.launch(job, { partitions: 5 })
        const counts = yield* ask(handle as never)
        yield* handle.drain
        return counts
      })).pipe(
        Effect.provide(Checkpoint.layer(value)),
        Effect.provide(CheckpointStore.layerSqlite(Path.join(folder, "two.db")))
      )
      assert.deepStrictEqual(second, first)
      assertUntouched()
    })))
})

describe("what cannot be written", () => {
  it.live("ends in the dead letters, and the rows around it in the file", () =>
    Effect.scoped(Effect.gen(function*() {
      const folder = yield* temporary
      const circle: { self?: unknown } = {}
      circle.self = circle
      const bad: ReadonlyArray<unknown> = [1n, circle, undefined, () => 1, Symbol("s")]
      const rows = Array.from({ length: 40 }, (_, n): unknown => n % 8 === 3 ? bad[(n - 3) / 8] : { n })
      const letters = Sink.memory<Letter>()
      const job = Job.make("poison", [
        Flow.from("rows", Source.memory(rows)).pipe(Flow.to("file", Sink.ndjson(Path.join(folder, "out.ndjson"))))
      ], { deadLetters: letters, ...onErrors })
      yield* Job.run(job, { restarts: Supervision.never }).pipe(Effect.provide(CheckpointStore.layerMemory))
      const written = Fs.readFileSync(Path.join(folder, "out.ndjson"), "utf8").trim().split("\n")
      assert.deepStrictEqual(written.map((line) => JSON.parse(line)), rows.filter((_, n) => n % 8 !== 3))
      const found = yield* letters.contents
      assert.strictEqual(found.length, bad.length)
      found.forEach(({ operator, original }, n) => {
        assert.strictEqual(operator, "file")
        assert.strictEqual(original, bad[n])
      })
    })))

  it.live("ends there with a durable store as well, whose checkpoints it must not stop", () =>
    Effect.scoped(Effect.gen(function*() {
      const folder = yield* temporary
      const path = Path.join(folder, "dead.ndjson")
      const job = Job.make("poison", [
        Flow.from("rows", Source.memory([{ n: 1n }, { n: 2 }])).pipe(
          Flow.to("file", Sink.ndjson(Path.join(folder, "out.ndjson")))
        )
      ], { deadLetters: Sink.ndjson(path), ...onErrors })
      yield* Job.run(job, { restarts: Supervision.never }).pipe(
        Effect.provide(CheckpointStore.layerFileSystem(Path.join(folder, "store")))
      )
      assert.strictEqual(Fs.readFileSync(Path.join(folder, "out.ndjson"), "utf8"), "{\"n\":2}\n")
      const [letter] = Fs.readFileSync(path, "utf8").trim().split("\n").map((line) => JSON.parse(line))
      assert.strictEqual(letter.operator, "file")
      assert.include(String(letter.original), "1n")
    })))
})

describe("a record that kills the job, whatever is done", () => {
  it.live("fails it with its cause when the restarts are used up, and the next run fails likewise, and then goes on", () =>
    Effect.gen(function*() {
      let mended = false
      let tries = 0
      const seen = Sink.memory<number>()
      const job = Job.make("poison", [
        Flow.from("numbers", Source.memory(Array.from({ length: 20 }, (_, n) => n))).pipe(
          Flow.map((n) => {
            if (n === 13 && !mended) {
              tries++
              throw new Error("thirteen")
            }
            return n
          }, { name: "work" }),
          Flow.to("seen", seen)
        )
      ])
      const restarts = Supervision.restarts({ max: 2, within: "1 minute", delay: "1 millis" })
      for (const expected of [3, 6]) {
        const error = yield* Effect.flip(Job.run(job, { restarts }))
        assert.instanceOf(error, FlowError.OperatorFailed)
        assert.match(String(error), /thirteen/)
        assert.strictEqual(tries, expected)
      }
      mended = true
      yield* Job.run(job, { restarts })
      assert.deepStrictEqual(yield* seen.contents, Array.from({ length: 20 }, (_, n) => n))
    }).pipe(Effect.provide(CheckpointStore.layerMemory)))

  it.live("as a defect of a sink's own code does", () =>
    Effect.gen(function*() {
      let tries = 0
      const sink = Sink.make<number>({
        description: "broken",
        open: () =>
          Effect.succeed({
            write: () =>
              Effect.suspend(() => {
                tries++
                return Effect.die(new Error("a defect"))
              })
          })
      })
      const job = Job.make("poison", [Flow.from("n", Source.memory([1])).pipe(Flow.to("broken", sink))])
      const restarts = Supervision.restarts({ max: 2, within: "1 minute", delay: "1 millis" })
      const exit = yield* Effect.exit(Job.run(job, { restarts }))
      assert.isTrue(Exit.isFailure(exit) && Option.isNone(Exit.findErrorOption(exit)))
      assert.match(String(exit), /a defect/)
      assert.strictEqual(tries, 3)
    }).pipe(Effect.provide(CheckpointStore.layerMemory)))
})
