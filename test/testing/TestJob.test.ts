import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { CheckpointStore, ErrorPolicy, Flow, Job, Sink, Source, Supervision } from "millrace"
import { TestJob } from "millrace/testing"
import { asOperatorFailed, counted, countedOnTime, paneNames, type Reading, reading, timed } from "../support/jobs.ts"

const make = () => {
  const source = Source.queue<Reading>()
  const results = Sink.memory<Parameters<typeof paneNames>[0][number]>()
  const flow = countedOnTime(Flow.from("readings", source, timed))
  return { source, results, job: Job.make("test", [flow.pipe(Flow.to("results", results))]) }
}

describe("TestJob", () => {
  for (const partitions of [1, 4]) {
    it.effect(`shows what has come of what was pushed, ${partitions} partitions`, () =>
      Effect.gen(function*() {
        const { job, results, source } = make()
        const test = yield* TestJob.make(job, { partitions })
        yield* test.pushAll(source, [reading("a", 1), reading("b", 2), reading("a", 9)])
        assert.deepStrictEqual(paneNames(yield* test.outputs(results)), [])
        yield* test.push(source, reading("a", 11))
        assert.deepStrictEqual(paneNames(yield* test.outputs(results)), ["a@0: 2", "b@0: 1"])
        assert.deepStrictEqual(yield* Job.query(test.handle, "counted", "a"), [
          { window: { start: 10, end: 20 }, value: { count: 1 } }
        ])
        yield* test.drain
        assert.deepStrictEqual(paneNames(yield* test.outputs(results)), ["a@0: 2", "a@10: 1", "b@0: 1"])
        assert.strictEqual((yield* test.status).state, "finished")
      }))
  }

  it.live("brings its own clock where the test has none", () =>
    Effect.gen(function*() {
      const written = Sink.memory<number>()
      const source = Source.paced(Source.memory([1, 2, 3, 4]), { perSecond: 2 })
      const test = yield* TestJob.make(Job.make("paced", [Flow.from("n", source).pipe(Flow.to("written", written))]))
      assert.deepStrictEqual(yield* test.outputs(written), [])
      yield* test.advanceTime("1 second")
      assert.deepStrictEqual(yield* test.outputs(written), [1, 2])
      yield* test.advanceTime("1 hour")
      assert.deepStrictEqual(yield* test.outputs(written), [1, 2, 3, 4])
      assert.strictEqual((yield* test.status).state, "finished")
    }))

  it.effect("time passes for schedules and for checkpoints", () =>
    Effect.gen(function*() {
      const source = Source.queue<number>()
      const written = Sink.memory<number>()
      let down = true
      const flow = Flow.from("n", source).pipe(
        Flow.map((n) => {
          if (down) throw new Error("down")
          return n * 2
        }, { name: "double", onError: ErrorPolicy.retry(Schedule.spaced("1 minute"), { then: ErrorPolicy.fail }) })
      )
      const test = yield* TestJob.make(Job.make("retrying", [flow.pipe(Flow.to("written", written))]), {
        checkpointEvery: "10 seconds"
      })
      yield* test.pushAll(source, [1, 2])
      yield* test.advanceTime("59 seconds")
      assert.strictEqual((yield* test.status).checkpoints, 5)
      down = false
      assert.deepStrictEqual(yield* test.outputs(written), [])
      yield* test.advanceTime("1 second")
      assert.deepStrictEqual(yield* test.outputs(written), [2, 4])
    }))

  it.effect("a failure is seen in the status and in drain", () =>
    Effect.gen(function*() {
      const source = Source.queue<number>()
      const flow = Flow.from("n", source).pipe(Flow.map((n) => {
        if (n === 2) throw new Error("two")
        return n
      }, { name: "no two" }))
      const test = yield* TestJob.make(Job.make("failing", [flow.pipe(Flow.to("written", Sink.memory()))]), {
        restarts: Supervision.never
      })
      yield* test.pushAll(source, [1, 2])
      assert.strictEqual((yield* test.status).state, "failed")
      const error = yield* Effect.flip(test.drain)
      const { operator, record } = asOperatorFailed(error)
      assert.deepStrictEqual([operator, record], ["no two", 2])
      assert.strictEqual((yield* Effect.flip(test.push(source, 3)))._tag, "JobNotRunning")
    }))

  it.effect("stop leaves windows open", () =>
    Effect.gen(function*() {
      const { job, results, source } = make()
      const test = yield* TestJob.make(job)
      yield* test.push(source, reading("a", 1))
      yield* test.stop
      assert.strictEqual((yield* test.status).state, "stopped")
      assert.deepStrictEqual(yield* test.outputs(results), [])
    }))

  it.effect("the test's own store is used where there is one", () =>
    Effect.gen(function*() {
      const { job } = make()
      const test = yield* TestJob.make(job)
      yield* test.stop
      const store = yield* CheckpointStore.CheckpointStore
      // That of the beginning, and that of the stop.
      assert.deepStrictEqual((yield* store.list("test")).map(({ epoch }) => epoch), [2, 1])
    }).pipe(Effect.provide(CheckpointStore.layerMemory)))

  it.effect("late records and event time are those of the real runtime", () =>
    Effect.gen(function*() {
      const source = Source.queue<Reading>()
      const late = Sink.memory<unknown>()
      const { late: lateFlow, results } = counted(Flow.from("readings", source, timed))
      const test = yield* TestJob.make(
        Job.make("late", [results.pipe(Flow.discard("not looked at")), lateFlow.pipe(Flow.to("late", late))]),
        { partitions: 3 }
      )
      yield* test.pushAll(source, [reading("a", 25), reading("a", 3)])
      assert.deepStrictEqual(yield* test.outputs(late), [
        { value: reading("a", 3), windows: [{ start: 0, end: 10 }], lateByMillis: 21, watermark: 24 }
      ])
    }))

  it.live("real I/O is waited for", () =>
    Effect.gen(function*() {
      const written = Sink.memory<number>()
      const slow = Source.make<number>({
        description: "slow",
        bounded: true,
        replayable: true,
        splits: Effect.succeed(["0"]),
        open: () => {
          let next = 0
          return Effect.succeed({
            pull: () =>
              Effect.promise(() => new Promise<void>((resolve) => setTimeout(resolve, 3))).pipe(
                Effect.as(next++ < 5 ? { rows: [next], positionAfter: () => next } : undefined)
              )
          })
        }
      })
      const test = yield* TestJob.make(Job.make("slow", [Flow.from("n", slow).pipe(Flow.to("written", written))]))
      assert.strictEqual((yield* test.outputs(written)).length, 5)
    }))
})
