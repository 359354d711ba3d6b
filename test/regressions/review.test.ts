import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Order from "effect/Order"
import * as Schema from "effect/Schema"
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
import { Table } from "../../src/internal/state/Table.ts"
import * as SeededScheduler from "../../src/testing/SeededScheduler.ts"

describe("a table", () => {
  it("frees the keys that come and go, though a snapshot is always open", () => {
    const table = new Table<number, number>({ maxTombstones: 64 })
    let open = table.snapshot()
    for (let key = 0; key < 20_000; key++) {
      table.put(key, key)
      table.delete(key)
      if (key % 500 === 0) open = table.snapshot()
    }
    const slots = (table as unknown as { readonly slots: ReadonlyMap<number, unknown> }).slots
    assert.strictEqual(table.size, 0)
    assert.isBelow(slots.size, 1000)
    assert.deepStrictEqual([...open.entries()], [])
  })

  it("keeps the picture of a snapshot when it has freed what the snapshot shows", () => {
    const table = new Table<number, number>({ maxTombstones: 4 })
    for (let key = 0; key < 100; key++) table.put(key, key)
    const view = table.snapshot()
    for (let key = 0; key < 100; key++) table.delete(key)
    for (let key = 0; key < 1000; key++) {
      table.put(1000 + key, key)
      table.delete(1000 + key)
    }
    table.put(5, -5)
    assert.deepStrictEqual(
      [...view.entries()].map(({ key, value }) => [key, value]),
      Array.from({ length: 100 }, (_, i) => [i, i])
    )
    assert.strictEqual(table.get(5), -5)
    view.release()
    assert.strictEqual(table.get(5), -5)
  })
})

describe("user code that merges", () => {
  const rows = [{ at: 1, n: 1 }, { at: 6, n: null }, { at: 7, n: 2 }, { at: 30, n: 3 }]
  const throwing = Order.make<number | null>((a, b) => {
    if (a === null || b === null) throw new Error("no order for null")
    return a < b ? -1 : a > b ? 1 : 0
  })
  it.effect("and throws while sliding windows fire loses those panes, and nothing else", () =>
    Effect.gen(function*() {
      const results = Sink.memory<Window.Pane<void, unknown>>()
      const dead = Sink.memory<unknown>()
      const least = Flow.from("rows", Source.memory(rows), { time: ({ at }) => at, watermark: Watermark.monotonic })
        .pipe(
          Flow.global,
          Flow.window("least", Window.sliding({ size: 10, every: 5 }), { onError: ErrorPolicy.deadLetter }),
          Flow.aggregate({ least: Aggregate.minBy((row) => row.n, throwing, { schema: Schema.Any }) }),
          Flow.only("results", { late: "nothing is late here" })
        )
      const job = Job.make("merges", [least.pipe(Flow.to("results", results))], { deadLetters: dead })
      yield* Job.run(job, { restarts: Supervision.never }).pipe(Effect.provide(CheckpointStore.layerMemory))
      const ends = (yield* results.contents).map(({ window }) => window.end)
      assert.includeMembers(ends, [5, 35, 40])
      assert.isAbove((yield* dead.contents).length, 0)
    }))
})

describe("a running job", () => {
  const queue = Source.queue<number>()
  const out = Sink.memory<number>()
  const job = Job.make("job", [Flow.from("rows", queue).pipe(Flow.to("out", out))])

  it("goes on where a stop is interrupted, wherever that is", async () => {
    for (let seed = 0; seed < 150; seed++) {
      const scenario = Effect.scoped(Effect.gen(function*() {
        const handle = yield* Job.launch(job, { partitions: 2, batchSize: 1 })
        yield* handle.pushAll(queue, [1, 2, 3, 4])
        const stopping = yield* Effect.forkChild(handle.stop)
        for (let turn = seed % 30; turn > 0; turn--) yield* Effect.yieldNow
        yield* Fiber.interrupt(stopping)
        const { state } = yield* handle.status
        if (state === "stopped") return "stopped"
        yield* handle.drain
        return (yield* handle.status).state
      })).pipe(Effect.provide(CheckpointStore.layerMemory))
      const exit = await SeededScheduler.run(scenario, { seed, preempt: 0.3, maxSteps: 400_000 })
      assert.isTrue(
        exit._tag === "Success" && ["stopped", "finished"].includes(exit.value),
        `seed ${seed}: ${String(exit)}`
      )
    }
  })

  it.effect("does not drain for ever when the store fails", () =>
    Effect.gen(function*() {
      const broken = Layer.succeed(CheckpointStore.CheckpointStore, {
        isDurable: false,
        database: undefined,
        acquire: () => Effect.succeed(1),
        // The beginning of the job is epoch 1; the drain's own checkpoint is what finds no room.
        commit: ({ epoch }) => epoch === 1 ? Effect.void : Effect.die(new Error("disk full")),
        list: () => Effect.succeed([]),
        manifest: () => Effect.succeedNone,
        blob: () => Effect.succeedNone,
        remove: () => Effect.void
      })
      yield* Effect.scoped(Effect.gen(function*() {
        const handle = yield* Job.launch(job, { checkpointEvery: "1 hour" })
        const exit = yield* Effect.exit(handle.drain)
        assert.match(String(exit), /disk full/)
        assert.strictEqual((yield* handle.status).state, "failed")
      })).pipe(Effect.provide(broken))
    }))

  it.effect("is restarted when a sink interrupts itself", () =>
    Effect.gen(function*() {
      let calls = 0
      const once = Sink.forEach(() => calls++ === 0 ? Effect.interrupt : Effect.void)
      const interrupted = Job.make("interrupted", [Flow.from("rows", Source.memory([1])).pipe(Flow.to("out", once))])
      yield* Job.run(interrupted, { restarts: Supervision.restarts({ max: 1, within: "1 minute" }) }).pipe(
        Effect.provide(CheckpointStore.layerMemory)
      )
      assert.strictEqual(calls, 2)
    }))
})
