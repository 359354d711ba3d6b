/** A sink that is slow, fails or hangs: what is kept for it is bounded, others go on, and nothing is lost. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { CheckpointStore, Flow, FlowError, Job, Sink, Source } from "millrace"
import { settle, until } from "./support/jobs.ts"
import { endOf, errorOf, hasWritten, type Mood, numbers, Patient, Rationed, Ward } from "./support/sickness.ts"

const memory = CheckpointStore.layerMemory
const isStalled = (error: unknown): FlowError.SinkStalled => {
  if (error instanceof FlowError.SinkStalled) return error
  throw new Error(`This is no SinkStalled: ${String(error)}`)
}

const text = (n: number) => `row ${String(n).padStart(16, "0")}`
/** Of a row between its commas. */
const rowBytes = text(0).length + 3
const sorted = (rows: ReadonlyArray<string>) => [...rows].sort()

const rows = 6000
const all = numbers(rows).map(text)
const batchSize = 32
const maxPendingBytes = 16 * 1024

/** A sick sink beside a healthy one, both fed by the same source, and what was ever kept for them. */
const pair = (
  mood: Mood,
  options: { readonly plain?: ReadonlyArray<Array<string>>; readonly splits?: number } = {}
) => {
  const { plain = [], splits = 1 } = options
  const healthy = new Patient<string>()
  const sick = new Patient<string>(mood, { slowness: "3 seconds" })
  const ward = new Ward()
  const source = Source.memorySplits(
    numbers(splits).map((split) => all.filter((_, i) => i % splits === split))
  )
  const flow = Flow.from("rows", source)
  const job = Job.make("job", [
    flow.pipe(Flow.to("healthy", healthy.sink)),
    flow.pipe(Flow.to("sick", sick.sink)),
    ...plain.map((written, i) =>
      flow.pipe(Flow.to(`plain ${i}`, Sink.forEach((row: string) => Effect.sync(() => written.push(row)))))
    )
  ])
  let most = 0
  let samples = 0
  const watch = (handle: Job.Handle<unknown>) => {
    const sample = Effect.map(handle.status, ({ pendingBytes }) => {
      samples++
      most = Math.max(most, pendingBytes)
    })
    ward.around = healthy.around = sick.around = sample
  }
  const launch = (run: Job.RunOptions = {}) =>
    Effect.tap(
      Job.launch(job, { batchSize, bufferSize: batchSize, maxPendingBytes, sinkTimeout: "1 minute", ...run }),
      (handle) => Effect.sync(() => watch(handle))
    )
  const assertBounded = () => {
    assert.isAbove(samples, 10)
    assert.isAtMost(most, maxPendingBytes + 2 * (batchSize * rowBytes + 2))
  }
  const assertComplete = () => {
    assert.deepStrictEqual(sorted(healthy.rows), all)
    assert.deepStrictEqual(sorted(sick.rows), all)
  }
  return { healthy, sick, ward, job, launch, assertBounded, assertComplete }
}

for (const splits of [1, 4]) {
  describe(`${splits} splits and partitions`, () => {
    it.effect("a slow sink holds the job up and never fails it, and what is kept stays bounded", () => {
      const { assertBounded, assertComplete, launch, sick, ward } = pair("slow", { splits })
      return Effect.gen(function*() {
        const handle = yield* launch({ partitions: splits })
        const began = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
        const fiber = yield* Effect.forkChild(handle.await)
        assert.isTrue(Exit.isSuccess(yield* endOf(fiber, "1 second")))
        // As often as it was waited for, the time-out would have passed otherwise.
        assert.isAbove((yield* Effect.clockWith((clock) => clock.currentTimeMillis)) - began, 60_000)
        assert.isAbove(sick.applications, 5)
        assertBounded()
        assertComplete()
        assert.strictEqual((yield* handle.status).state, "finished")
      }).pipe(Effect.provide(ward.over(memory)))
    })

    for (const mood of ["failing", "hanging"] as const) {
      it.effect(`a ${mood} sink: others go on up to the bound, then SinkStalled; healed, all is there once`, () => {
        const { assertBounded, assertComplete, healthy, launch, sick, ward } = pair(mood, { splits })
        return Effect.gen(function*() {
          const handle = yield* launch({ partitions: splits })
          // Long before its time is over, as much is kept as may be, and the healthy one has all of its share.
          const full = yield* until(handle, ({ pendingBytes }) => pendingBytes >= maxPendingBytes)
          assert.strictEqual(full.state, "running")
          yield* TestClock.adjust("2 seconds")
          yield* settle
          assert.isAtLeast(healthy.rows.length, maxPendingBytes / 2 / rowBytes)
          assert.strictEqual((yield* handle.status).sinks.find(({ sink }) => sink === "healthy")!.pendingBytes, 0)
          const fiber = yield* Effect.forkChild(handle.await)
          const error = isStalled(errorOf(yield* endOf(fiber)))
          assert.strictEqual(error.sink, "sick")
          assert.isAtLeast(error.afterMillis, 60_000)
          assert.isAtMost(error.afterMillis, 75_000)
          assert.isAtLeast(error.pendingBytes, maxPendingBytes / 2)
          assert.match(error.message, mood === "failing" ? /the disk is full/ : /it does not answer/)
          assert.strictEqual((yield* handle.status).state, "failed")
          assert.deepStrictEqual(sick.rows, [])
          assert.isBelow(healthy.rows.length, rows)
          assertBounded()

          yield* sick.become("well")
          const again = yield* Effect.forkChild(Effect.flatMap(launch({ partitions: splits }), (next) => next.await))
          assert.isTrue(Exit.isSuccess(yield* endOf(again)))
          assertBounded()
          assertComplete()
        }).pipe(Effect.provide(ward.over(memory)))
      })

      it.effect(`a ${mood} sink that heals in time is caught up with, without a restart`, () => {
        const { assertBounded, assertComplete, launch, sick, ward } = pair(mood, { splits })
        return Effect.gen(function*() {
          const handle = yield* launch({ partitions: splits })
          yield* until(handle, ({ pendingBytes }) => pendingBytes >= maxPendingBytes)
          for (let i = 0; i < 40; i++) yield* Effect.andThen(TestClock.adjust("1 second"), settle)
          assert.strictEqual((yield* handle.status).state, "running")
          yield* sick.become("well")
          const fiber = yield* Effect.forkChild(handle.await)
          assert.isTrue(Exit.isSuccess(yield* endOf(fiber)))
          assert.strictEqual((yield* handle.status).restarts, 0)
          assertBounded()
          assertComplete()
        }).pipe(Effect.provide(ward.over(memory)))
      })

      it.effect(`a ${mood} sink and several plain ones: they get everything, in a life or two`, () => {
        const plain: ReadonlyArray<Array<string>> = [[], []]
        const { assertBounded, assertComplete, launch, sick, ward } = pair(mood, { splits, plain })
        return Effect.gen(function*() {
          const handle = yield* launch({ partitions: splits })
          const fiber = yield* Effect.forkChild(handle.await)
          assert.strictEqual(isStalled(errorOf(yield* endOf(fiber))).sink, "sick")
          for (const written of plain) assert.isAbove(written.length, 0)
          assertBounded()
          yield* sick.become("well")
          const again = yield* Effect.forkChild(Effect.flatMap(launch({ partitions: splits }), (next) => next.await))
          assert.isTrue(Exit.isSuccess(yield* endOf(again)))
          assertComplete()
          for (const written of plain) assert.deepStrictEqual([...new Set(written)].sort(), all)
        }).pipe(Effect.provide(ward.over(memory)))
      })
    }
  })
}

describe("what is kept for sinks", () => {
  it.effect("at half of the bound a checkpoint is taken, however far the next one is", () => {
    const { assertBounded, assertComplete, launch, ward } = pair("well")
    return Effect.gen(function*() {
      const handle = yield* launch({ checkpointEvery: "1 hour" })
      const kept: Array<number> = []
      const watching = ward.around
      ward.around = Effect.andThen(
        watching,
        Effect.map(handle.status, ({ pendingBytes }) => void kept.push(pendingBytes))
      )
      // No time passes.
      yield* handle.await
      const { checkpoints } = yield* handle.status
      assert.isAtLeast(checkpoints, Math.floor((2 * rows * rowBytes) / maxPendingBytes))
      assert.isAtLeast(kept[0]!, maxPendingBytes / 2)
      assertBounded()
      assertComplete()
    }).pipe(Effect.provide(ward.over(memory)))
  })

  it.effect("below half of the bound none is taken but those of the end", () => {
    const { assertComplete, launch, ward } = pair("well")
    return Effect.gen(function*() {
      const handle = yield* launch({ checkpointEvery: "1 hour", maxPendingBytes: 5 * rows * rowBytes })
      yield* handle.await
      // The last, and one that says that the sinks have it.
      assert.strictEqual((yield* handle.status).checkpoints, 2)
      assertComplete()
    }).pipe(Effect.provide(ward.over(memory)))
  })
})

/** Rows that are given one after the other, and the one sink they go to. */
const single = (n: number, allowed = n) => {
  const patient = new Patient<number>()
  const ration = new Rationed(n, allowed)
  const job = Job.make("job", [Flow.from("n", ration.source).pipe(Flow.to("sick", patient.sink))])
  return { patient, ration, job }
}

describe("the end of a job", () => {
  for (const mood of ["failing", "hanging"] as const) {
    it.effect(`a ${mood} sink is waited for; run again, it is given the rest`, () =>
      Effect.gen(function*() {
        const { job, patient } = single(100)
        yield* patient.become(mood)
        const handle = yield* Job.launch(job, { sinkTimeout: "20 seconds" })
        const fiber = yield* Effect.forkChild(handle.await)
        for (let i = 0; i < 10; i++) yield* Effect.andThen(TestClock.adjust("1 second"), settle)
        assert.strictEqual((yield* handle.status).state, "running")
        const error = isStalled(errorOf(yield* endOf(fiber)))
        assert.deepStrictEqual([error.sink, patient.rows.length], ["sick", 0])

        yield* patient.become("well")
        const next = yield* Job.launch(job)
        yield* next.await
        assert.strictEqual((yield* next.status).state, "finished")
        assert.deepStrictEqual(patient.rows, numbers(100))
        yield* Job.run(job)
        assert.deepStrictEqual(patient.rows, numbers(100))
      }).pipe(Effect.provide(memory)))

    it.effect(`stop does not wait for a ${mood} sink; the next run gives it what is pending`, () =>
      Effect.gen(function*() {
        const { job, patient, ration } = single(100, 40)
        yield* patient.become(mood)
        const handle = yield* Job.launch(job)
        yield* until(handle, ({ pendingBytes }) => pendingBytes > 0)
        yield* handle.checkpoint
        const fiber = yield* Effect.forkChild(handle.stop)
        const began = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
        assert.isTrue(Exit.isSuccess(yield* endOf(fiber)))
        assert.isAtMost((yield* Effect.clockWith((clock) => clock.currentTimeMillis)) - began, 6000)
        assert.strictEqual((yield* handle.status).state, "stopped")
        assert.deepStrictEqual(patient.rows, [])

        yield* patient.become("well")
        const next = yield* Job.launch(job)
        yield* until(next, hasWritten("sick", 40))
        assert.deepStrictEqual(patient.rows, numbers(40))
        yield* ration.allow(100)
        yield* next.await
        assert.deepStrictEqual(patient.rows, numbers(100))
      }).pipe(Effect.provide(memory)))

    it.effect(`stop ends although as much is kept for a ${mood} sink as may be`, () =>
      Effect.gen(function*() {
        const { job, patient } = single(5000)
        yield* patient.become(mood)
        const options = { maxPendingBytes: 1000, batchSize: 16, bufferSize: 16 }
        const handle = yield* Job.launch(job, options)
        yield* until(handle, ({ pendingBytes }) => pendingBytes >= 1000)
        const fiber = yield* Effect.forkChild(handle.stop)
        assert.isTrue(Exit.isSuccess(yield* endOf(fiber, "500 millis", 20)))
        assert.strictEqual((yield* handle.status).state, "stopped")
        yield* patient.become("well")
        yield* Job.run(job, options)
        assert.deepStrictEqual(patient.rows, numbers(5000))
      }).pipe(Effect.provide(memory)))
  }

  it.effect("an interrupted job does not wait for a hanging sink at all", () =>
    Effect.gen(function*() {
      const { job, patient, ration } = single(100, 40)
      yield* patient.become("hanging")
      const fiber = yield* Effect.forkChild(Job.run(job))
      yield* settle
      yield* TestClock.adjust("2 seconds")
      yield* settle
      assert.isAbove(patient.tries, 0)
      yield* Fiber.interrupt(fiber)
      yield* patient.become("well")
      yield* ration.allow(100)
      yield* Job.run(job)
      assert.deepStrictEqual(patient.rows, numbers(100))
    }).pipe(Effect.provide(memory)))
})
