/** What a `TestJob` does to event time and to the world around a job. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { type DeadLetter, ErrorPolicy, Flow, Job, Sink, Source, Supervision } from "millrace"
import { TestJob } from "millrace/testing"
import { Health, Life } from "../../src/testing/Faults.ts"
import { counted, countedOnTime, paneNames, Reading, reading, timed } from "../support/jobs.ts"

type Panes = Parameters<typeof paneNames>[0][number]

const make = (options?: Parameters<typeof Source.queue>[0]) => {
  const source = Source.queue<Reading>({ ...options, schema: Reading })
  const results = Sink.memory<Panes>()
  const flow = countedOnTime(Flow.from("readings", source, timed))
  return { source, results, flow, job: Job.make("test", [flow.pipe(Flow.to("results", results))]) }
}

describe("TestJob.advanceEventTime", () => {
  for (const partitions of [1, 4]) {
    it.effect(`fires windows without a record, ${partitions} partitions`, () =>
      Effect.gen(function*() {
        const { job, results, source } = make()
        const test = yield* TestJob.make(job, { partitions })
        yield* test.pushAll(source, [reading("a", 1), reading("b", 2)])
        yield* test.advanceEventTime(source, 8)
        assert.deepStrictEqual(paneNames(yield* test.outputs(results)), [])
        yield* test.advanceEventTime(source, 9)
        assert.deepStrictEqual(paneNames(yield* test.outputs(results)), ["a@0: 1", "b@0: 1"])
        const { operators } = yield* test.status
        const own = operators.find(({ operator }) => operator === "readings")!
        assert.deepStrictEqual([own.in, own.out, own.watermark], [2, 2, 9])
      }))
  }

  it.effect("says that no record at or before it will come: such a one is late", () =>
    Effect.gen(function*() {
      const source = Source.queue<Reading>()
      const late = Sink.memory<unknown>()
      const outputs = counted(Flow.from("readings", source, timed))
      const test = yield* TestJob.make(
        Job.make("late", [
          outputs.results.pipe(Flow.discard("not looked at")),
          outputs.late.pipe(Flow.to("late", late))
        ])
      )
      yield* test.advanceEventTime(source, 9)
      yield* test.pushAll(source, [reading("a", 9), reading("a", 10)])
      assert.deepStrictEqual(yield* test.outputs(late), [
        { value: reading("a", 9), windows: [{ start: 0, end: 10 }], lateByMillis: 0, watermark: 9 }
      ])
      // Behind the watermark it says nothing new.
      yield* test.advanceEventTime(source, 3)
      assert.strictEqual((yield* test.status).operators[0]!.watermark, 9)
    }))

  it.effect("keeps its place among the records, and is read again with them", () =>
    Effect.gen(function*() {
      const { flow, results, source } = make()
      let failures = 0
      const failing = flow.pipe(Flow.map((pane) => {
        if (failures++ === 0) throw new Error("once")
        return pane
      }))
      const test = yield* TestJob.make(Job.make("again", [failing.pipe(Flow.to("results", results))]), {
        restarts: Supervision.restarts({ max: 3, within: "1 minute" })
      })
      yield* test.handle.pause
      yield* test.push(source, reading("a", 1))
      yield* test.advanceEventTime(source, 9)
      yield* test.push(source, reading("a", 5))
      yield* test.push(source, reading("a", 12))
      yield* test.handle.resume
      // The advance fires the window, which fails; the part restarts from a checkpoint before all of them.
      assert.deepStrictEqual(paneNames(yield* test.outputs(results)), ["a@0: 1"])
      const { operators, restarts } = yield* test.status
      assert.deepStrictEqual([restarts, operators.find(({ operator }) => operator === "counted")!.late], [1, 1])
    }))

  for (const partitions of [1, 3]) {
    it.effect(`is in a checkpoint: a job that goes on is as far as it was, on ${partitions} partitions`, () =>
      Effect.gen(function*() {
        const { job, results, source } = make({ durable: true })
        const test = yield* TestJob.make(job)
        yield* test.push(source, reading("a", 1))
        yield* test.advanceEventTime(source, 9)
        yield* test.crash
        yield* test.restart({ partitions })
        yield* test.pushAll(source, [reading("a", 5), reading("a", 11)])
        const { operators } = yield* test.status
        const late = operators.filter(({ operator }) => operator === "counted").reduce((sum, { late }) => sum + late, 0)
        assert.strictEqual(late, 1)
        yield* test.drain
        assert.deepStrictEqual(paneNames(yield* test.outputs(results)), ["a@0: 1", "a@10: 1"])
      }))
  }

  it.effect("never takes the place of a record", () =>
    Effect.gen(function*() {
      for (const onFull of ["drop-newest", "drop-oldest", "fail"] as const) {
        const { job, results, source } = make({ capacity: 2, onFull })
        const test = yield* TestJob.make(job)
        yield* test.handle.pause
        yield* test.pushAll(source, [reading("a", 1), reading("a", 2)])
        const failure = yield* Effect.option(Effect.flip(test.advanceEventTime(source, 9)))
        assert.strictEqual(failure._tag, onFull === "fail" ? "Some" : "None")
        yield* test.handle.resume
        yield* test.drain
        assert.deepStrictEqual(paneNames(yield* test.outputs(results)), ["a@0: 2"])
        const { buffers } = yield* test.status
        assert.deepStrictEqual(buffers.map(({ dropped }) => dropped).filter((n) => n > 0), [])
      }
    }))

  it.effect("is dropped as the oldest without being counted as a record", () =>
    Effect.gen(function*() {
      const { job, results, source } = make({ capacity: 2, onFull: "drop-oldest" })
      const test = yield* TestJob.make(job)
      yield* test.handle.pause
      yield* test.advanceEventTime(source, 9)
      yield* test.pushAll(source, [reading("a", 1), reading("a", 2)])
      assert.deepStrictEqual((yield* test.status).buffers.map(({ dropped }) => dropped).filter((n) => n > 0), [])
      yield* test.handle.resume
      yield* test.drain
      assert.deepStrictEqual(paneNames(yield* test.outputs(results)), ["a@0: 2"])
    }))

  it.effect("refuses what is no event time", () =>
    Effect.gen(function*() {
      const { job, source } = make()
      const test = yield* TestJob.make(job)
      const message = (effect: Effect.Effect<void, { readonly message: string }>) =>
        Effect.map(Effect.flip(effect), ({ message }) => message)
      assert.strictEqual(
        yield* message(test.advanceEventTime(source, NaN)),
        `Source "readings", split "0" was told that event time is NaN: give whole epoch milliseconds`
      )
      const plain = Source.queue<number>()
      const untimed = yield* TestJob.make(Job.make("n", [Flow.from("n", plain).pipe(Flow.to("n", Sink.memory()))]))
      assert.strictEqual(
        yield* message(untimed.advanceEventTime(plain, 1)),
        `Source "n", split "0" is read without event time: give Flow.from { time, watermark }`
      )
      assert.strictEqual(
        yield* message(untimed.advanceEventTime(source, 1)),
        yield* message(untimed.push(source, reading("a", 1)))
      )
    }))
})

describe("TestJob.crash and restart", () => {
  it.effect("what a checkpoint has is there again, on other partitions", () =>
    Effect.gen(function*() {
      const { flow, job, results, source } = make()
      const test = yield* TestJob.make(job, { partitions: 2 })
      yield* test.pushAll(source, ["a", "b", "c"].map((key) => reading(key, 1)))
      assert.deepStrictEqual(yield* test.outputs(results), [])
      yield* test.crash
      assert.strictEqual(yield* test.state, "interrupted")
      assert.strictEqual((yield* Effect.flip(test.push(source, reading("a", 2)))).message, `Job "test" is crashed`)
      yield* test.restart({ partitions: 5 })
      assert.strictEqual(yield* test.state, "running")
      assert.strictEqual((yield* test.status).operators.filter(({ operator }) => operator === "counted").length, 5)
      assert.deepStrictEqual(yield* test.query(flow, "b"), [{ window: { start: 0, end: 10 }, value: { count: 1 } }])
      yield* test.push(source, reading("a", 11))
      assert.deepStrictEqual(paneNames(yield* test.outputs(results)), ["a@0: 1", "b@0: 1", "c@0: 1"])
    }))

  for (const durable of [false, true]) {
    it.effect(`what was offered and is in no checkpoint is ${durable ? "not there: there is none" : "lost"}`, () =>
      Effect.gen(function*() {
        const { job, results, source } = make({ durable })
        const test = yield* TestJob.make(job, { checkpointEvery: "1 hour" })
        yield* test.pushAll(source, [reading("a", 1), reading("a", 2)])
        yield* test.restart()
        yield* test.push(source, reading("a", 3))
        yield* test.drain
        assert.deepStrictEqual(paneNames(yield* test.outputs(results)), [durable ? "a@0: 3" : "a@0: 1"])
      }))
  }

  it.effect("the old life does nothing any more: not to the store, not to sinks, however long one waits", () =>
    Effect.gen(function*() {
      const written: Array<number> = []
      let isSlow = true
      const sink = Sink.make<number>({
        description: "slow",
        open: () =>
          Effect.succeed({
            write: (rows) =>
              Effect.suspend(() => isSlow ? Effect.sleep("1 minute") : Effect.void).pipe(
                Effect.andThen(Effect.sync(() => void written.push(...rows))),
                // As a driver does that cannot be stopped in the middle.
                Effect.uninterruptible
              )
          })
      })
      const source = Source.queue<number>()
      const transactional = Sink.memory<number>()
      const flow = Flow.from("n", source)
      const test = yield* TestJob.make(
        Job.make("zombie", [flow.pipe(Flow.to("plain", sink)), flow.pipe(Flow.to("rows", transactional))])
      )
      yield* test.push(source, 1)
      const old = test.handle
      yield* test.crash
      const before = yield* transactional.contents
      const status = yield* old.status
      yield* test.advanceTime("1 hour")
      // The write that was under way is done, as a packet that has left arrives; nothing follows it.
      assert.deepStrictEqual(written, [1])
      assert.deepStrictEqual(yield* transactional.contents, before)
      assert.strictEqual((yield* old.status).checkpoints, status.checkpoints)
      isSlow = false
      yield* test.restart()
      yield* test.push(source, 2)
      assert.deepStrictEqual(yield* test.outputs(transactional), [2])
      assert.deepStrictEqual(written, [1, 2])
    }))

  it.effect("a call of a life that is over is not made, and one under way is not answered", () =>
    Effect.gen(function*() {
      const life = new Life()
      const health = new Health("the store", Effect.void)
      const made: Array<string> = []
      const call = (name: string) =>
        Effect.forkChild(
          life.around(health, name, Effect.andThen(Effect.sync(() => void made.push(name)), Effect.sleep("1 second"))),
          { startImmediately: true }
        )
      yield* health.faults.slow("1 second")
      const answered = yield* call("before")
      yield* TestClock.adjust("2 seconds")
      const [waiting, underWay] = [yield* call("waiting"), yield* Effect.andThen(health.faults.heal, call("under way"))]
      yield* TestClock.adjust("500 millis")
      life.isOver = true
      const late = yield* call("late")
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(made, ["before", "under way"])
      const ended = [answered, waiting, underWay, late].map((fiber) => fiber.pollUnsafe() !== undefined)
      assert.deepStrictEqual(ended, [true, false, false, false])
    }))

  it.effect("a job that began afresh goes on after a restart", () =>
    Effect.gen(function*() {
      const { job, results, source } = make({ durable: true })
      const test = yield* TestJob.make(job, { start: "afresh" })
      yield* test.push(source, reading("a", 1))
      yield* test.restart()
      yield* test.drain
      assert.deepStrictEqual(paneNames(yield* test.outputs(results)), ["a@0: 1"])
    }))
})

describe("TestJob makes sinks, sources and the store ill", () => {
  const plain = () => {
    const source = Source.queue<number>()
    const rows = Sink.memory<number>()
    return { source, rows, job: Job.make("ill", [Flow.from("n", source).pipe(Flow.to("rows", rows))]) }
  }

  it.effect("a sink that hangs takes nothing, and all when it is well", () =>
    Effect.gen(function*() {
      const { job, rows, source } = plain()
      const test = yield* TestJob.make(job)
      yield* test.sink("rows").hang
      yield* test.pushAll(source, [1, 2])
      assert.deepStrictEqual(yield* test.outputs(rows), [])
      yield* test.sink("rows").heal
      assert.deepStrictEqual(yield* test.outputs(rows), [1, 2])
    }))

  it.effect("a slow sink takes rows when time has passed", () =>
    Effect.gen(function*() {
      const { job, rows, source } = plain()
      const test = yield* TestJob.make(job)
      yield* test.sink("rows").slow("10 seconds")
      yield* test.push(source, 1)
      assert.deepStrictEqual(yield* test.outputs(rows), [])
      yield* test.advanceTime("9 seconds")
      assert.deepStrictEqual(yield* rows.contents, [])
      yield* test.advanceTime("1 second")
      assert.deepStrictEqual(yield* rows.contents, [1])
    }))

  it.effect("a sink that fails is tried again", () =>
    Effect.gen(function*() {
      const { job, rows, source } = plain()
      const test = yield* TestJob.make(job)
      yield* test.sink("rows").fail(1)
      yield* test.push(source, 1)
      assert.deepStrictEqual(yield* test.outputs(rows), [])
      yield* test.advanceTime("50 millis")
      assert.deepStrictEqual(yield* rows.contents, [1])
    }))

  it.effect("the sink of the dead letters has a name too", () =>
    Effect.gen(function*() {
      const source = Source.queue<number>()
      const letters = Sink.memory<DeadLetter.DeadLetter>()
      const flow = Flow.from("n", source).pipe(
        Flow.map((): number => {
          throw new Error("no")
        }, { name: "no", onError: ErrorPolicy.deadLetter })
      )
      const test = yield* TestJob.make(
        Job.make("letters", [flow.pipe(Flow.to("rows", Sink.memory()))], { deadLetters: letters })
      )
      yield* test.sink("dead letters").hang
      yield* test.push(source, 1)
      assert.deepStrictEqual(yield* test.outputs(letters), [])
      yield* test.sink("dead letters").heal
      assert.deepStrictEqual((yield* test.outputs(letters)).map(({ original }) => original), [1])
    }))

  it.effect("a source that fails is opened again where it was", () =>
    Effect.gen(function*() {
      const rows = Sink.memory<number>()
      let opened = 0
      const source = Source.make<number>({
        description: "numbers",
        bounded: true,
        replayable: true,
        splits: Effect.succeed(["0"]),
        open: (_, position) =>
          Effect.sync(() => {
            opened++
            let next = position === undefined ? 0 : Number(position)
            return {
              pull: () =>
                Effect.as(
                  Effect.sleep("1 second"),
                  next < 5 ? { rows: [next], positionAfter: () => next } : undefined
                ).pipe(Effect.tap(() => Effect.sync(() => void next++)))
            }
          })
      })
      const test = yield* TestJob.make(Job.make("source", [Flow.from("n", source).pipe(Flow.to("rows", rows))]), {
        checkpointEvery: "500 millis"
      })
      yield* test.advanceTime("2 seconds")
      yield* test.source("n").fail(1)
      yield* test.advanceTime("1 minute")
      assert.deepStrictEqual(yield* test.outputs(rows), [0, 1, 2, 3, 4])
      assert.deepStrictEqual([opened, (yield* test.status).restarts], [2, 1])
    }))

  it.effect("a source that fails for ever fails the job with what was planted", () =>
    Effect.gen(function*() {
      const source = Source.iterable(function*() {
        for (let n = 0;; n++) yield n
      }())
      const test = yield* TestJob.make(
        Job.make("source", [
          Flow.from("n", Source.paced(source, { perSecond: 1 })).pipe(Flow.to("rows", Sink.memory()))
        ]),
        { restarts: Supervision.never, batchSize: 1 }
      )
      yield* test.source("n").fail()
      yield* test.advanceTime("1 minute")
      const error = yield* Effect.flip(test.drain)
      assert.strictEqual(error.message, `The test has made source "n" fail (pull); \`heal\` makes it well`)
      assert.instanceOf(error, TestJob.Planted)
    }))

  it.effect("a store that fails is asked again; one that hangs holds what waits for it, and nothing else", () =>
    Effect.gen(function*() {
      const { job, rows, source } = plain()
      const test = yield* TestJob.make(job, { checkpointEvery: "1 hour" })
      yield* test.store.hang
      yield* test.push(source, 1)
      assert.deepStrictEqual(yield* test.outputs(rows), [])
      assert.strictEqual((yield* test.status).operators[0]!.out, 1)
      yield* test.store.heal
      assert.deepStrictEqual(yield* test.outputs(rows), [1])
      yield* test.push(source, 2)
      yield* test.store.fail(3)
      const waiting = yield* Effect.forkChild(test.outputs(rows))
      yield* test.advanceTime("1 minute")
      assert.deepStrictEqual(yield* Fiber.join(waiting), [1, 2])
    }))

  it.effect("a crash while the sink hangs: the epoch is applied by the next life, once", () =>
    Effect.gen(function*() {
      const { job, rows, source } = plain()
      const test = yield* TestJob.make(job)
      yield* test.sink("rows").hang
      yield* test.pushAll(source, [1, 2])
      yield* test.outputs(rows)
      yield* test.crash
      yield* test.sink("rows").heal
      assert.deepStrictEqual(yield* rows.contents, [])
      yield* test.restart()
      assert.deepStrictEqual(yield* test.outputs(rows), [1, 2])
    }))

  it.effect("a name that the job does not have is a defect with those that it has", () =>
    Effect.gen(function*() {
      const { job } = plain()
      const test = yield* TestJob.make(job)
      assert.throws(() => test.sink("row"), `Job "ill" has no sink "row" that can be made ill: give one of "rows"`)
      assert.throws(() => test.source("n"), `Job "ill" has no source "n" that can be made ill: there is none`)
    }))
})
