/** A queue that says yes only to what is in a checkpoint. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope } from "effect"
import { CheckpointStore, Flow, FlowError, Job, Source, Supervision } from "millrace"
import { settle, until } from "./support/jobs.ts"
import { errorOf, numbers, Patient, Ward } from "./support/sickness.ts"

const memory = CheckpointStore.layerMemory

/** A job from a queue to a sink that outlives it, and a mine that goes off once. */
const world = (options: Parameters<typeof Source.queue<number>>[0] = { durable: true }) => {
  const source = Source.queue<number>(options)
  const patient = new Patient<number>()
  const mine = { at: Infinity, left: 0 }
  const seen: Array<number> = []
  const job = Job.make("job", [
    Flow.from("queue", source).pipe(
      Flow.map((n) => {
        seen.push(n)
        if (n === mine.at && mine.left-- > 0) throw new Error("mined")
        return n
      }, { name: "passed" }),
      Flow.to("out", patient.sink)
    )
  ])
  return { source, patient, job, mine, seen }
}

const rarely = { checkpointEvery: "1 hour" } as const

/** Commits that wait for permission. */
const gated = () => {
  const ward = new Ward()
  const gate = Deferred.makeUnsafe<void>()
  return { ward, shut: () => void (ward.around = Deferred.await(gate)), open: Deferred.succeed(gate, undefined) }
}

const notRunning = (exit: Exit.Exit<unknown, unknown>): FlowError.JobNotRunning => {
  const error = errorOf(exit)
  if (error instanceof FlowError.JobNotRunning) return error
  throw new Error(`This is no JobNotRunning: ${String(error)}`)
}

describe("a durable queue", () => {
  it.effect("answers only when a checkpoint holds the record, which is taken at once", () => {
    const { open, shut, ward } = gated()
    return Effect.gen(function*() {
      const { job, patient, seen, source } = world()
      const handle = yield* Job.launch(job, rarely)
      yield* settle
      const before = ward.commits.length
      shut()
      const offer = yield* Effect.forkChild(handle.push(source, 7), { startImmediately: true })
      yield* settle
      // Processed, but not kept yet.
      assert.deepStrictEqual(seen, [7])
      assert.isUndefined(offer.pollUnsafe())
      yield* open
      yield* Fiber.join(offer)
      assert.strictEqual(ward.commits.length, before + 1)
      yield* until(handle, ({ pendingBytes }) => pendingBytes === 0)
      assert.deepStrictEqual(patient.rows, [7])
      // Nobody waits any more, so none is taken.
      yield* settle
      assert.strictEqual(ward.commits.length, before + 1)
    }).pipe(Effect.provide(ward.over(memory)))
  })

  it.effect("answers many at once with few checkpoints, without time passing", () => {
    const ward = new Ward()
    return Effect.gen(function*() {
      const { job, patient, source } = world({ durable: true, capacity: 8 })
      const handle = yield* Job.launch(job, rarely)
      yield* Effect.forEach(numbers(100), (n) => handle.push(source, n), { concurrency: "unbounded", discard: true })
      yield* handle.pushAll(source, numbers(100).map((n) => n + 100))
      assert.isBelow(ward.commits.length, 60)
      yield* handle.stop
      assert.deepStrictEqual([...patient.rows].sort((a, b) => a - b), numbers(200))
    }).pipe(Effect.provide(ward.over(memory)))
  })

  it.effect("a crash before the commit: the offer fails, and the record is nowhere unless it is offered again", () => {
    const ward = new Ward()
    return Effect.gen(function*() {
      const { job, patient, source } = world()
      const scope = yield* Scope.make()
      const first = yield* Scope.provide(Job.launch(job, rarely), scope)
      yield* first.push(source, 1)
      ward.commitsLeft = 0
      const offer = yield* Effect.forkChild(first.push(source, 2), { startImmediately: true })
      yield* settle
      assert.isUndefined(offer.pollUnsafe())
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(notRunning(yield* Fiber.await(offer)).state, "interrupted")
      ward.commitsLeft = Infinity

      const next = yield* Job.launch(job, rarely)
      yield* next.push(source, 3)
      yield* until(next, ({ pendingBytes }) => pendingBytes === 0)
      assert.deepStrictEqual(patient.rows, [1, 3])
      yield* next.push(source, 2)
      yield* next.drain
      assert.deepStrictEqual(patient.rows, [1, 3, 2])
    }).pipe(Effect.provide(ward.over(memory)))
  })

  it.effect("a crash after the commit and before the sink: what was answered is there once", () =>
    Effect.gen(function*() {
      const { job, patient, source } = world()
      yield* patient.become("hanging")
      const scope = yield* Scope.make()
      const first = yield* Scope.provide(Job.launch(job, rarely), scope)
      yield* first.pushAll(source, [1, 2, 3])
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(patient.rows, [])
      yield* patient.become("well")
      const next = yield* Job.launch(job, rarely)
      yield* next.push(source, 4)
      yield* next.drain
      assert.deepStrictEqual(patient.rows, [1, 2, 3, 4])
    }).pipe(Effect.provide(memory)))

  for (const onFull of ["drop-newest", "drop-oldest"] as const) {
    it(`does not go with ${onFull}`, () => {
      assert.throws(() => Source.queue({ durable: true, onFull }), /durable.*give onFull "suspend" or "fail"/)
    })
  }

  it.effect("with `fail`, what does not fit fails and the rest is kept", () =>
    Effect.gen(function*() {
      const { job, patient, source } = world({ durable: true, onFull: "fail", capacity: 4 })
      const handle = yield* Job.launch(job, rarely)
      yield* until(handle, ({ operators }) => operators.length > 0)
      yield* handle.pause
      const taken = yield* Effect.forkChild(handle.pushAll(source, [1, 2, 3, 4]), { startImmediately: true })
      yield* settle
      const error: unknown = errorOf(yield* Effect.exit(handle.push(source, 5)))
      assert.instanceOf(error, FlowError.BufferFull)
      yield* handle.resume
      yield* Fiber.join(taken)
      yield* handle.stop
      assert.deepStrictEqual(patient.rows, [1, 2, 3, 4])
    }).pipe(Effect.provide(memory)))

  it.effect("a job that fails tells those who wait", () =>
    Effect.gen(function*() {
      const { job, mine, source } = world()
      mine.at = 2
      mine.left = Infinity
      const handle = yield* Job.launch(job, { ...rarely, restarts: Supervision.never })
      yield* handle.push(source, 1)
      const error = notRunning(yield* Effect.exit(handle.push(source, 2)))
      assert.strictEqual(error.state, "failed")
      notRunning(yield* Effect.exit(handle.push(source, 3)))
    }).pipe(Effect.provide(memory)))

  it.effect("a job that is stopped answers what its savepoint holds", () => {
    const ward = new Ward()
    return Effect.gen(function*() {
      const { job, patient, source } = world()
      const handle = yield* Job.launch(job, rarely)
      yield* until(handle, ({ operators }) => operators.length > 0)
      yield* handle.pause
      // Waits in the queue, and nobody reads it any more.
      const offer = yield* Effect.forkChild(handle.push(source, 1), { startImmediately: true })
      yield* settle
      yield* handle.stop
      assert.strictEqual(notRunning(yield* Fiber.await(offer)).state, "stopped")
      assert.deepStrictEqual(patient.rows, [])
    }).pipe(Effect.provide(ward.over(memory)))
  })

  it.effect("a failure inside the process loses nothing of what waits for an answer", () =>
    Effect.gen(function*() {
      const { job, mine, patient, source } = world()
      mine.at = 2
      mine.left = 1
      const handle = yield* Job.launch(job, { ...rarely, restarts: Supervision.restarts({ max: 3, within: "1 hour" }) })
      yield* handle.pushAll(source, [1, 2, 3])
      assert.strictEqual((yield* handle.status).restarts, 1)
      yield* handle.drain
      assert.deepStrictEqual(patient.rows, [1, 2, 3])
    }).pipe(Effect.provide(memory)))
})

describe("a queue that is not durable", () => {
  it.effect("answers at once; what it took survives a failure inside the process", () => {
    const ward = new Ward()
    return Effect.gen(function*() {
      const { job, mine, patient, seen, source } = world({})
      mine.at = 2
      mine.left = 1
      ward.commitsLeft = 1
      const handle = yield* Job.launch(job, { ...rarely, restarts: Supervision.restarts({ max: 3, within: "1 hour" }) })
      yield* handle.pushAll(source, [1, 2, 3])
      yield* until(handle, ({ restarts }) => restarts === 1)
      yield* until(handle, () => seen.at(-1) === 3)
      ward.commitsLeft = Infinity
      yield* handle.drain
      assert.deepStrictEqual(patient.rows, [1, 2, 3])
    }).pipe(Effect.provide(ward.over(memory)))
  })

  it.effect("what was in no checkpoint does not survive the process, and what was does", () =>
    Effect.gen(function*() {
      const { job, patient, source } = world({})
      const scope = yield* Scope.make()
      const first = yield* Scope.provide(Job.launch(job, rarely), scope)
      yield* first.push(source, 1)
      yield* until(first, ({ operators }) =>
        operators.some(({ in: count, operator }) => operator === "passed" && count === 1))
      yield* first.checkpoint
      yield* first.push(source, 2)
      yield* settle
      yield* Scope.close(scope, Exit.void)
      const next = yield* Job.launch(job, rarely)
      yield* next.push(source, 3)
      yield* next.drain
      assert.deepStrictEqual(patient.rows, [1, 3])
    }).pipe(Effect.provide(memory)))
})
