import { assert, describe, it } from "@effect/vitest"
import { Effect, Option, Schedule, Schema } from "effect"
import { TestClock } from "effect/testing"
import {
  Aggregate,
  CheckpointStore,
  type DeadLetter,
  ErrorPolicy,
  Flow,
  Job,
  Partitioner,
  Sink,
  Source,
  Supervision,
  Watermark,
  Window
} from "millrace"
import { asOperatorFailed, settle, total } from "./support/jobs.ts"

const memory = CheckpointStore.layerMemory

interface Item {
  readonly id: number
  readonly at: number
}
const items: ReadonlyArray<Item> = Array.from({ length: 9 }, (_, id) => ({ id, at: id * 4 }))
/** What user code throws on. */
const bad = 4
const refuse = <A>({ id }: Item, result: A): A => {
  if (id === bad) throw new Error("bad item")
  return result
}

const timed = { time: ({ at }: Item) => at, watermark: Watermark.monotonic }
const source = Flow.from("items", Source.memory(items), timed)
const grouped = Flow.keyBy(({ id }: Item) => `group ${id % 2}`, Schema.String, { name: "grouped" })

interface Kind {
  readonly name: string
  /** The ids that come out at the other end: all but the bad one. */
  readonly flow: (onError: ErrorPolicy.ErrorPolicy | undefined) => Flow.Flow<number>
  /** The operator that refuses. */
  readonly operator: string
  readonly key?: string
  /** Where it has no option of its own. */
  readonly jobLevel?: boolean
  /** Where it does something at all. */
  readonly partitions?: ReadonlyArray<number>
}
const named = (name: string, onError: ErrorPolicy.ErrorPolicy | undefined) =>
  onError === undefined ? { name } : { name, onError }
const optional = (onError: ErrorPolicy.ErrorPolicy | undefined) => onError === undefined ? {} : { onError }
const idOf = (item: Item) => item.id

/** An aggregate that throws, after another one has taken the record. */
const picky = Aggregate.make<Item, ReadonlyArray<number>, ReadonlyArray<number>>({
  zero: [],
  add: (ids, item) => refuse(item, [...ids, item.id]),
  merge: (left, right) => [...left, ...right],
  done: (ids) => ids,
  state: Schema.Array(Schema.Number)
})
const windowed = (window: Window.Window) => (onError: ErrorPolicy.ErrorPolicy | undefined): Flow.Flow<number> =>
  source.pipe(
    grouped,
    Flow.window("window", window, optional(onError)),
    Flow.aggregate({ count: Aggregate.count, ids: picky }),
    Flow.only("results", { late: "in order" }),
    Flow.flatMap(({ value }) => value.count === value.ids.length ? value.ids : [-1])
  )

const kinds: ReadonlyArray<Kind> = [
  {
    name: "map",
    operator: "it",
    flow: (onError) => source.pipe(Flow.map((item) => refuse(item, item.id), named("it", onError)))
  },
  {
    name: "filter",
    operator: "it",
    flow: (onError) => source.pipe(Flow.filter((item) => refuse(item, true), named("it", onError)), Flow.map(idOf))
  },
  {
    name: "filterMap",
    operator: "it",
    flow: (onError) => source.pipe(Flow.filterMap((item) => refuse(item, Option.some(item.id)), named("it", onError)))
  },
  {
    name: "flatMap",
    operator: "it",
    flow: (onError) => source.pipe(Flow.flatMap((item) => refuse(item, [item.id]), named("it", onError)))
  },
  {
    name: "flatMap, in the middle of its iterable",
    operator: "it",
    flow: (onError) =>
      source.pipe(Flow.flatMap(function*(item) {
        yield item.id
        refuse(item, 0)
      }, named("it", onError)))
  },
  {
    name: "map behind keyBy",
    operator: "it",
    key: "group 0",
    flow: (onError) => source.pipe(grouped, Flow.map((item) => refuse(item, item.id), named("it", onError)))
  },
  {
    name: "keyBy",
    operator: "it",
    flow: (onError) =>
      source.pipe(Flow.keyBy((item) => refuse(item, item.id % 3), Schema.Number, named("it", onError)), Flow.map(idOf))
  },
  {
    name: "keyBy, with a key that its schema refuses",
    operator: "it",
    flow: (onError) =>
      source.pipe(
        Flow.keyBy(
          (item) => ({ n: item.id === bad ? "bad item" as never : item.id }),
          Schema.Struct({ n: Schema.Number }),
          named("it", onError)
        ),
        Flow.map(idOf)
      )
  },
  {
    name: "partitionBy hash",
    operator: "items.partitionBy",
    partitions: [4],
    flow: (onError) =>
      source.pipe(
        Flow.partitionBy(Partitioner.hash((item: Item) => refuse(item, item.id)), optional(onError)),
        Flow.map(idOf)
      )
  },
  {
    name: "partitionBy custom, out of range",
    operator: "items.partitionBy",
    partitions: [4],
    flow: (onError) =>
      source.pipe(
        Flow.partitionBy(
          Partitioner.custom("bad item", (item: Item, n) => item.id === bad ? n : item.id % n),
          optional(onError)
        ),
        Flow.map(idOf)
      )
  },
  {
    name: "split",
    operator: "parts",
    jobLevel: true,
    flow: () => {
      const { even, otherwise } = source.pipe(Flow.split("parts", { even: (item) => refuse(item, item.id % 2 === 0) }))
      return even.pipe(Flow.merge(otherwise), Flow.map(idOf))
    }
  },
  { name: "an aggregate, tumbling", operator: "window", key: "group 0", flow: windowed(Window.tumbling(10)) },
  { name: "an aggregate, session", operator: "window", key: "group 0", flow: windowed(Window.session({ gap: 20 })) },
  {
    name: "an aggregate, sliding",
    operator: "window",
    key: "group 0",
    flow: windowed(Window.sliding({ size: 20, every: 10 }))
  },
  {
    name: "an aggregate, in windows of one's own",
    operator: "window",
    key: "group 0",
    flow: windowed(Window.custom({
      name: "pairs",
      assign: (time) => {
        const start = Math.floor(time / 10) * 10
        return [{ start, end: start + 10 }, { start: start - 10, end: start + 10 }]
      }
    }))
  },
  {
    name: "the time of a source, by a throw",
    operator: "timing",
    flow: (onError) =>
      Flow.from("timing", Source.memory(items), {
        ...timed,
        time: (item) => refuse(item, item.at),
        ...optional(onError)
      }).pipe(
        Flow.map(idOf)
      )
  },
  ...[NaN, Infinity, -Infinity, 1.5, undefined, "4", 2 ** 60].map((time): Kind => ({
    name: `the time of a source: ${String(time)}`,
    operator: "timing",
    flow: (onError) =>
      Flow.from("timing", Source.memory(items), {
        ...timed,
        time: (item) => item.id === bad ? time as number : item.at,
        ...optional(onError)
      }).pipe(Flow.map(idOf))
  }))
]

const expected = (all: ReadonlyArray<number>) => [...new Set(all)].sort((a, b) => a - b)
const good = items.map(idOf).filter((id) => id !== bad)

const running = (
  output: Sink.Sink<number>,
  flow: Flow.Flow<number>,
  options: {
    readonly partitions: number
    readonly onError?: ErrorPolicy.ErrorPolicy
    readonly deadLetters?: Sink.Sink<DeadLetter.DeadLetter>
    readonly batchSize?: number
    /** For a test that looks into the sink while the job runs. */
    readonly delivery?: "eager"
  }
) => {
  const { batchSize = 4096, delivery, partitions, ...of } = options
  const ending = delivery === undefined ? Flow.to("out", output) : Flow.to("out", output, { delivery })
  const job = Job.make("job", [flow.pipe(ending)], of)
  // Some tests run it more than once on one store.
  return Job.launch(job, { partitions, batchSize, restarts: Supervision.never, start: "afresh" })
}

for (const partitions of [1, 4]) {
  describe(`policies, ${partitions} partitions`, () => {
    for (const { flow, jobLevel, key, name, operator, partitions: only } of kinds) {
      if (only !== undefined && !only.includes(partitions)) continue
      /** The policy where the operator takes it: on itself, or on the job. */
      const at = (policy: ErrorPolicy.ErrorPolicy) =>
        jobLevel === true ? { flow: flow(undefined), onError: policy } : { flow: flow(policy) }

      it.effect(`${name}: fail ends the job with the operator and the record`, () =>
        Effect.gen(function*() {
          const handle = yield* running(Sink.memory<number>(), flow(undefined), { partitions })
          const error = yield* Effect.flip(handle.await)
          const failed = asOperatorFailed(error)
          assert.deepStrictEqual([failed.operator, failed.record], [operator, items[bad]])
        }).pipe(Effect.provide(memory)))

      it.effect(`${name}: skip goes on at the next record, and counts`, () =>
        Effect.gen(function*() {
          const output = Sink.memory<number>()
          const { flow, onError } = at(ErrorPolicy.skip)
          const handle = yield* running(output, flow, { partitions, ...optional(onError) })
          yield* handle.await
          assert.deepStrictEqual(expected(yield* output.contents), good)
          const status = yield* handle.status
          assert.deepStrictEqual(
            [total(status, operator, "in"), total(status, operator, "skipped"), total(status, operator, "dead")],
            [items.length, 1, 0]
          )
        }).pipe(Effect.provide(memory)))

      it.effect(`${name}: deadLetter keeps operator, original, reason, key and time`, () =>
        Effect.gen(function*() {
          const output = Sink.memory<number>()
          const letters = Sink.memory<DeadLetter.DeadLetter>()
          const { flow, onError } = at(ErrorPolicy.deadLetter)
          const handle = yield* running(output, flow, { partitions, deadLetters: letters, ...optional(onError) })
          yield* handle.await
          assert.deepStrictEqual(expected(yield* output.contents), good)
          const status = yield* handle.status
          assert.deepStrictEqual([total(status, operator, "skipped"), total(status, operator, "dead")], [0, 1])
          const [letter, ...others] = yield* letters.contents
          assert.deepStrictEqual(others, [])
          assert.strictEqual(letter!.operator, operator)
          assert.deepStrictEqual(letter!.original, items[bad])
          assert.match(letter!.reason, /bad item|time|Expected/)
          assert.strictEqual(letter!.timestamp, operator === "timing" ? undefined : bad * 4)
          assert.strictEqual(letter!.key, key)
        }).pipe(Effect.provide(memory)))

      it.effect(`${name}: the policy of the operator goes before that of the job`, () =>
        Effect.gen(function*() {
          if (jobLevel === true) return
          const output = Sink.memory<number>()
          const letters = Sink.memory<DeadLetter.DeadLetter>()
          const handle = yield* running(output, flow(ErrorPolicy.skip), {
            partitions,
            onError: ErrorPolicy.deadLetter,
            deadLetters: letters
          })
          yield* handle.await
          assert.deepStrictEqual(yield* letters.contents, [])
          assert.strictEqual(total(yield* handle.status, operator, "skipped"), 1)
        }).pipe(Effect.provide(memory)))
    }

    // Retrying, where trying again can help.
    for (const { flow, jobLevel, name, operator, partitions: only } of kinds) {
      // The time of a record, and its decoding, are a matter of the record alone.
      if ((only !== undefined && !only.includes(partitions)) || operator === "timing") continue
      it.effect(`${name}: retry gives up to what comes then, and nothing is lost around it`, () =>
        Effect.gen(function*() {
          const output = Sink.memory<number>()
          const letters = Sink.memory<DeadLetter.DeadLetter>()
          const policy = ErrorPolicy.retry(Schedule.spaced("1 minute").pipe(Schedule.upTo({ times: 3 })), {
            then: ErrorPolicy.deadLetter
          })
          const given = jobLevel === true ? { onError: policy } : {}
          const handle = yield* running(output, flow(jobLevel === true ? undefined : policy), {
            partitions,
            batchSize: 3,
            deadLetters: letters,
            ...given
          })
          yield* settle
          yield* TestClock.adjust("179 seconds")
          yield* settle
          assert.deepStrictEqual(yield* letters.contents, [])
          yield* TestClock.adjust("1 second")
          yield* handle.await
          assert.deepStrictEqual(expected(yield* output.contents), good)
          assert.deepStrictEqual((yield* letters.contents).map(({ original }) => original), [items[bad]])
          const status = yield* handle.status
          assert.deepStrictEqual([total(status, operator, "in"), total(status, operator, "dead")], [items.length, 1])
        }).pipe(Effect.provide(memory)))
    }

    it.effect("an aggregate that cannot be finished: the pane is refused, once", () =>
      Effect.gen(function*() {
        for (
          const policy of [
            ErrorPolicy.deadLetter,
            ErrorPolicy.retry(Schedule.recurs(5), { then: ErrorPolicy.deadLetter })
          ]
        ) {
          const output = Sink.memory<number>()
          const letters = Sink.memory<DeadLetter.DeadLetter>()
          const unfinished = Aggregate.map(Aggregate.count, (count) => {
            if (count === 1) throw new Error("too few")
            return count
          })
          const flow = source.pipe(
            Flow.keyBy(({ id }) => id < 8 ? "many" : "one", Schema.String),
            Flow.window("window", Window.tumbling(1000), { onError: policy }),
            Flow.aggregate({ n: unfinished }),
            Flow.only("results", { late: "in order" }),
            Flow.map(({ value }) => value.n)
          )
          const handle = yield* running(output, flow, { partitions, deadLetters: letters })
          yield* handle.await
          assert.deepStrictEqual(yield* output.contents, [8])
          const [letter, ...others] = yield* letters.contents
          assert.deepStrictEqual(others, [])
          assert.deepStrictEqual(
            [letter!.operator, letter!.original, letter!.reason, letter!.timestamp, letter!.key],
            ["window", { window: { start: 0, end: 1000 }, key: "one" }, "too few", 999, "one"]
          )
          assert.strictEqual(total(yield* handle.status, "window", "dead"), 1)
        }
      }).pipe(Effect.provide(memory)))

    it.effect("a line that cannot be decoded", () =>
      Effect.gen(function*() {
        const undecodable = Source.make<Item>({
          description: "lines",
          bounded: true,
          replayable: true,
          splits: Effect.succeed(["0"]),
          open: (_, position) => {
            let isDone = position !== undefined
            return Effect.succeed({
              pull: () =>
                Effect.sync(() => {
                  if (isDone) return undefined
                  isDone = true
                  return {
                    rows: items,
                    undecodable: new Map([[bad, { original: "{\"id\":", reason: "no JSON" }]]),
                    positionAfter: (rows) => rows
                  }
                })
            })
          }
        })
        const flow = (onError: ErrorPolicy.ErrorPolicy) =>
          Flow.from("lines", undecodable, { ...timed, onError }).pipe(Flow.map(idOf))
        const output = Sink.memory<number>()
        const letters = Sink.memory<DeadLetter.DeadLetter>()
        const handle = yield* running(output, flow(ErrorPolicy.deadLetter), { partitions, deadLetters: letters })
        yield* handle.await
        assert.deepStrictEqual(yield* output.contents, good)
        const [letter] = yield* letters.contents
        assert.deepStrictEqual(
          [letter!.operator, letter!.original, letter!.timestamp, letter!.key],
          ["lines", "{\"id\":", undefined, undefined]
        )
        assert.match(letter!.reason, /Source "lines" could not decode a record: no JSON/)
        assert.deepStrictEqual(
          [total(yield* handle.status, "lines", "in"), total(yield* handle.status, "lines", "dead")],
          [items.length, 1]
        )
        const failing = yield* running(Sink.memory<number>(), flow(ErrorPolicy.fail), { partitions })
        const { operator, record } = asOperatorFailed(yield* Effect.flip(failing.await))
        assert.deepStrictEqual([operator, record], ["lines", "{\"id\":"])
      }).pipe(Effect.provide(memory)))
  })
}

describe("retry", () => {
  const flaky = (failures: number) => {
    const tries: Array<number> = []
    return {
      tries,
      f: (item: Item): Item => {
        if (item.id !== bad) return item
        tries.push(item.id)
        if (tries.length <= failures) throw new Error(`try ${tries.length}`)
        return item
      }
    }
  }
  const spaced = (then: ErrorPolicy.Settled = ErrorPolicy.fail) =>
    ErrorPolicy.retry(Schedule.spaced("1 minute"), { then })

  for (const batchSize of [1, 4, 4096]) {
    it.effect(`keeps the order of records, and the time between tries, batches of ${batchSize}`, () =>
      Effect.gen(function*() {
        const { f, tries } = flaky(3)
        const output = Sink.memory<number>()
        const handle = yield* running(
          output,
          source.pipe(Flow.map(f, { name: "flaky", onError: spaced() }), Flow.map(idOf)),
          { partitions: 1, batchSize, delivery: "eager" }
        )
        for (const minute of [1, 2, 3]) {
          yield* settle
          assert.strictEqual(tries.length, minute)
          assert.deepStrictEqual(yield* output.contents, [0, 1, 2, 3])
          yield* TestClock.adjust("59 seconds")
          yield* settle
          assert.strictEqual(tries.length, minute)
          yield* TestClock.adjust("1 second")
        }
        yield* handle.await
        assert.deepStrictEqual(yield* output.contents, items.map(idOf))
        assert.deepStrictEqual([tries.length, total(yield* handle.status, "flaky", "in")], [4, items.length])
      }).pipe(Effect.provide(memory)))

    it.effect(`holds event time: what waits is not late afterwards, batches of ${batchSize}`, () =>
      Effect.gen(function*() {
        for (const partitions of [1, 4]) {
          const { f } = flaky(2)
          const output = Sink.memory<string>()
          const { late, results } = source.pipe(
            Flow.map(f, { name: "flaky", onError: spaced() }),
            grouped,
            Flow.window("window", Window.tumbling(4)),
            Flow.aggregate({ count: Aggregate.count })
          )
          const job = Job.make("job", [
            results.pipe(
              Flow.map(({ window }) => `window ${window.start}`),
              Flow.to("out", output, { delivery: "eager" })
            ),
            late.pipe(Flow.discard("none comes"))
          ])
          const handle = yield* Job.launch(job, {
            partitions,
            batchSize,
            restarts: Supervision.never,
            start: "afresh"
          })
          yield* settle
          assert.isTrue((yield* output.contents).every((name) => Number(name.slice(7)) < bad * 4))
          yield* TestClock.adjust("2 minutes")
          yield* handle.await
          assert.strictEqual(total(yield* handle.status, "window", "late"), 0)
          assert.deepStrictEqual([...(yield* output.contents)].sort(), items.map(({ at }) => `window ${at}`).sort())
        }
      }).pipe(Effect.provide(memory)))
  }

  it.effect("begins its schedule anew for every record", () =>
    Effect.gen(function*() {
      const tries = new Map<number, number>()
      const output = Sink.memory<number>()
      const flow = source.pipe(
        Flow.map((item) => {
          const made = (tries.get(item.id) ?? 0) + 1
          tries.set(item.id, made)
          if (made <= 2) throw new Error("not yet")
          return item.id
        }, { onError: ErrorPolicy.retry(Schedule.recurs(2), { then: ErrorPolicy.fail }) })
      )
      const handle = yield* running(output, flow, { partitions: 1 })
      yield* handle.await
      assert.deepStrictEqual(yield* output.contents, items.map(idOf))
    }).pipe(Effect.provide(memory)))

  it.effect("waits without event time, too, and without more input", () =>
    Effect.gen(function*() {
      const queue = Source.queue<number>()
      const output = Sink.memory<number>()
      let down = true
      const flow = Flow.from("queue", queue).pipe(Flow.map((n) => {
        if (down) throw new Error("down")
        return n
      }, { onError: spaced() }))
      const handle = yield* running(output, flow as Flow.Flow<number>, { partitions: 1, delivery: "eager" })
      yield* handle.push(queue, 1)
      yield* settle
      down = false
      yield* TestClock.adjust("1 minute")
      yield* settle
      assert.deepStrictEqual(yield* output.contents, [1])
    }).pipe(Effect.provide(memory)))

  it.effect("one retry behind another, and a window that fires into it: no more than a step waits", () =>
    Effect.gen(function*() {
      const output = Sink.memory<number>()
      let down = true
      const often = (name: string) =>
        Flow.map((n: number) => {
          if (down && n % 5 === 0) throw new Error("down")
          return n
        }, { name, onError: spaced() })
      const flow = Flow.from("items", Source.memory(Array.from({ length: 100 }, (_, id) => ({ id, at: 0 }))), timed)
        .pipe(
          Flow.keyBy(idOf, Schema.Number),
          Flow.window("window", Window.tumbling(10)),
          Flow.aggregate({ count: Aggregate.count }),
          Flow.only("results", { late: "in order" }),
          Flow.map(({ key }) => key),
          often("first"),
          often("second")
        )
      const handle = yield* running(output, flow, { partitions: 1, batchSize: 8 })
      yield* settle
      assert.isAtMost(total(yield* handle.status, "window", "out"), 8)
      down = false
      yield* TestClock.adjust("1 hour")
      yield* handle.await
      assert.deepStrictEqual(yield* output.contents, Array.from({ length: 100 }, (_, id) => id))
    }).pipe(Effect.provide(memory)))

  it.effect("what waits for another try is in the checkpoint, and so is the time behind it", () =>
    Effect.gen(function*() {
      for (const partitions of [1, 4]) {
        const queue = Source.queue<Item>()
        let down = true
        let crash = false
        const { late, results } = Flow.from("items", queue, timed).pipe(
          Flow.map((item) => {
            if (down && item.id === 1) throw new Error("down")
            return item
          }, { name: "flaky", onError: spaced() }),
          grouped,
          Flow.window("window", Window.tumbling(10)),
          Flow.aggregate({ count: Aggregate.count })
        )
        const panes: Array<string> = []
        const sink = Sink.forEach((name: string) =>
          crash ? Effect.suspend(() => (crash = false, Effect.die("crash"))) : Effect.sync(() => void panes.push(name))
        )
        const job = Job.make("job", [
          results.pipe(Flow.map(({ value, window }) => `${window.start}: ${value.count}`), Flow.to("out", sink)),
          late.pipe(
            Flow.map(({ value }) => `late ${value.id}`),
            Flow.to("late", Sink.forEach((name: string) => Effect.sync(() => void panes.push(name))))
          )
        ])
        const handle = yield* Job.launch(job, { partitions, checkpointEvery: "10 seconds", start: "afresh" })
        // 1 fails; its time is 5, and that of 2 behind it is 25.
        yield* handle.pushAll(queue, [{ id: 1, at: 5 }, { id: 2, at: 25 }])
        yield* settle
        yield* TestClock.adjust("50 seconds")
        yield* settle
        assert.isAtLeast((yield* handle.status).checkpoints, 4)
        assert.deepStrictEqual(panes, [])
        crash = true
        down = false
        yield* TestClock.adjust("10 seconds")
        yield* settle
        yield* TestClock.adjust("2 minutes")
        yield* settle
        assert.strictEqual((yield* handle.status).restarts, 1)
        yield* handle.drain
        assert.deepStrictEqual([...new Set(panes)], ["0: 1", "20: 1"], `${partitions} partitions`)
      }
    }).pipe(Effect.provide(memory)))
})

it.effect("a record that fails leaves no trace in the state", () =>
  Effect.gen(function*() {
    // Two sliding windows, two fields: the second one throws.
    const output = Sink.memory<string>()
    const flow = source.pipe(
      grouped,
      Flow.window("window", Window.sliding({ size: 20, every: 10 }), { onError: ErrorPolicy.skip }),
      Flow.aggregate({ count: Aggregate.count, ids: picky }),
      Flow.only("results", { late: "in order" }),
      Flow.map(({ key, value, window }) => `${key} ${window.start}: ${value.count} [${value.ids.join()}]`)
    )
    yield* Job.run(Job.make("job", [flow.pipe(Flow.to("out", output))]))
    for (const line of yield* output.contents) {
      const [, count, ids] = /: (\d+) \[(.*)\]/.exec(line)!
      assert.strictEqual(Number(count), ids!.split(",").filter((id) => id !== "").length, line)
    }
  }).pipe(Effect.provide(memory)))
