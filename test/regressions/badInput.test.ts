import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import {
  Aggregate,
  CheckpointStore,
  ErrorPolicy,
  Flow,
  Job,
  Sink,
  Source,
  Supervision,
  Watermark,
  Window
} from "millrace"

/** The keys that a schema lets through, and those it sends to the dead letters, at one partition and at four. */
const keysOf = <K>(schema: Schema.Codec<K, unknown>, keys: ReadonlyArray<unknown>, partitions: number) =>
  Effect.gen(function*() {
    const panes = Sink.memory<Window.Pane<K, { readonly count: number }>>()
    const dead = Sink.memory<{ readonly original: unknown }>()
    const counted = Flow.from("keys", Source.memory(keys), { time: () => 0, watermark: Watermark.monotonic }).pipe(
      Flow.keyBy((key) => key as K, schema),
      Flow.window("counts", Window.tumbling(10)),
      Flow.aggregate({ count: Aggregate.count }),
      Flow.only("results", { late: "nothing is late here" })
    )
    const job = Job.make("keys", [Flow.to(counted, "panes", panes)], {
      onError: ErrorPolicy.deadLetter,
      deadLetters: dead
    })
    yield* Job.run(job, { partitions }).pipe(Effect.provide(CheckpointStore.layerMemory))
    return {
      counts: (yield* panes.contents).map(({ key, value }) => [key, value.count]).sort(),
      refused: (yield* dead.contents).map(({ original }) => original)
    }
  })

describe.each([1, 4])("keys at %i partitions", (partitions) => {
  it.effect("that their schema does not accept are refused, primitives too", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* keysOf(Schema.Int, [1, 1.5, 2, NaN, "1"], partitions), {
        counts: [[1, 1], [2, 1]],
        refused: [1.5, NaN, "1"]
      })
      assert.deepStrictEqual(yield* keysOf(Schema.String, ["", 1, null], partitions), {
        counts: [["", 1]],
        refused: [1, null]
      })
      assert.deepStrictEqual(yield* keysOf(Schema.Literals(["a"]), ["a", "b", 5], partitions), {
        counts: [["a", 1]],
        refused: ["b", 5]
      })
    }))

  it.effect("are equal where their encoded forms are", () =>
    Effect.gen(function*() {
      const { counts } = yield* keysOf(Schema.NumberFromString, [1, 1, 2], partitions)
      assert.deepStrictEqual(counts, [[1, 2], [2, 1]])
    }))
})

describe("a source of one's own", () => {
  const source = (splits: ReadonlyArray<string>, rows: number) =>
    Source.make<number>({
      description: "own",
      bounded: true,
      replayable: true,
      splits: Effect.succeed(splits),
      open: () =>
        Effect.succeed({
          pull: () => Effect.succeed({ rows: Array.from({ length: rows }, (_, i) => i), positionAfter: (n) => n })
        })
    })
  const failure = (own: Source.Source<number>) =>
    Job.run(Job.make("own", [Flow.from("own", own).pipe(Flow.to("out", Sink.memory()))]), {
      batchSize: 4,
      restarts: Supervision.never
    }).pipe(Effect.provide(CheckpointStore.layerMemory), Effect.flip, Effect.map(String))

  it.effect("with two splits of one name is refused: a restart would read one of them twice", () =>
    Effect.gen(function*() {
      assert.match(yield* failure(source(["a", "b", "a"], 1)), /Source "own", split "a" is the name of two splits/)
    }))

  it.effect("that gives no rows, or more than asked for, is refused", () =>
    Effect.gen(function*() {
      assert.match(yield* failure(source(["a"], 0)), /was asked for 1 to 8 rows and gave 0/)
      assert.match(yield* failure(source(["a"], 100)), /was asked for 1 to 8 rows and gave 100/)
    }))
})

describe("durations that are none", () => {
  const job = Job.make("job", [Flow.from("rows", Source.memory([1])).pipe(Flow.to("out", Sink.memory()))])
  it.each([0, -1, NaN, Infinity, 0.5, "nonsense"])("checkpointEvery: %s", (checkpointEvery) => {
    assert.throws(() => Job.run(job, { checkpointEvery: checkpointEvery as number }), /checkpointEvery/)
  })
  it.each([-1, NaN, 0.5, "nonsense"])("within: %s", (within) => {
    assert.throws(() => Supervision.restarts({ max: 1, within: within as number }), /within/)
  })
  it.each([-1, NaN, 0.5, "nonsense"])("allowedLateness: %s", (allowedLateness) => {
    const { late, results } = Flow.from("rows", Source.memory([1]), { time: () => 0, watermark: Watermark.monotonic })
      .pipe(
        Flow.global,
        Flow.window("window", Window.tumbling(1), { allowedLateness: allowedLateness as number }),
        Flow.aggregate({ count: Aggregate.count })
      )
    assert.throws(
      () => Job.make("job", [results.pipe(Flow.discard("no")), late.pipe(Flow.discard("no"))]),
      /Operator "window" has an allowed lateness/
    )
  })
})

describe("a running job", () => {
  const queue = Source.queue<{ readonly key: { readonly id: number } }>({ capacity: 2, onFull: "fail" })
  const counted = Flow.from("rows", queue, { time: () => 0, watermark: Watermark.monotonic }).pipe(
    Flow.keyBy(({ key }) => key, Schema.Struct({ id: Schema.Int })),
    Flow.window("counts", Window.tumbling(10)),
    Flow.aggregate({ count: Aggregate.count })
  )
  const job = Job.make("running", [
    counted.results.pipe(Flow.to("out", Sink.memory())),
    counted.late.pipe(Flow.discard("nothing is late here"))
  ])
  const launched = <A, E>(use: (handle: Job.Handle) => Effect.Effect<A, E>) =>
    Effect.scoped(Effect.flatMap(Job.launch(job), use)).pipe(Effect.provide(CheckpointStore.layerMemory))

  it.effect("answers a query by a key that is none with a typed error", () =>
    launched((handle) =>
      Effect.gen(function*() {
        const refused = yield* Effect.flip(Job.query(handle, counted.results, { id: 1.5 }))
        assert.strictEqual(refused._tag, "InvalidKey")
        assert.deepStrictEqual(yield* Job.query(handle, counted.results, { id: 1 }), [])
      })
    ))

  it.effect("says how many of several records it took", () =>
    launched((handle) =>
      Effect.gen(function*() {
        yield* handle.pause
        const rows = [1, 2, 3, 4].map((id) => ({ key: { id } }))
        const full = yield* Effect.flip(handle.pushAll(queue, rows))
        assert.deepStrictEqual(full._tag === "BufferFull" && [full.accepted, full.capacity], [2, 2])
      })
    ))

  it.effect("cannot be paused once it drains", () =>
    launched((handle) =>
      Effect.gen(function*() {
        yield* handle.push(queue, { key: { id: 1 } })
        const draining = yield* Effect.forkChild(handle.drain, { startImmediately: true })
        yield* handle.pause
        yield* TestClock.adjust("1 second")
        yield* handle.await
        assert.strictEqual((yield* handle.status).state, "finished")
        yield* Effect.sync(() => draining)
      })
    ))
})
