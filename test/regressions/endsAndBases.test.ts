/** Ends that were reported wrong, and a damaged manifest that took the place of a base. */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Scope } from "effect"
import { CheckpointStore, Flow, Job, Sink, Source } from "millrace"
import { memoryStore } from "../../src/internal/stores/memoryStore.ts"
import { settle, until } from "../support/jobs.ts"
import { eventually, hasSeen, numbers, Patient, Rationed, Ward } from "../support/sickness.ts"

it.effect("an epoch queued behind one that fails, while the job waits for its sinks for the last time", () => {
  const inner = memoryStore()
  let sick = false
  const go = Deferred.makeUnsafe<void>()
  const layer = Layer.succeed(CheckpointStore.CheckpointStore, {
    ...inner,
    commit: (commit) =>
      Effect.suspend(() =>
        !sick || commit.epoch !== 3 ?
          inner.commit(commit)
          : Effect.andThen(
            Deferred.await(go),
            Effect.fail(
              new CheckpointStore.CheckpointStoreError({ job: "job", operation: "commit", cause: new Error("no") })
            )
          )
      )
  })
  return Effect.gen(function*() {
    sick = true
    const ration = new Rationed(30, 10)
    const patient = new Patient<number>("hanging")
    const job = Job.make("job", [
      Flow.from("n", ration.source).pipe(Flow.map((n) => n, { name: "passed" }), Flow.to("out", patient.sink))
    ])
    const scope = yield* Scope.make()
    const handle = yield* Scope.provide(Job.launch(job, { checkpointEvery: "1 hour" }), scope)
    yield* eventually(handle, hasSeen("passed", 10))
    yield* settle
    yield* handle.checkpoint
    yield* ration.allow(20)
    yield* eventually(handle, hasSeen("passed", 20))
    yield* settle
    yield* Effect.forkChild(handle.checkpoint, { startImmediately: true })
    yield* settle
    yield* Effect.forkChild(handle.stop, { startImmediately: true })
    yield* settle
    yield* Deferred.succeed(go, undefined)
    yield* Scope.close(scope, Exit.void)
    sick = false
    yield* patient.become("well")
    yield* ration.allow(30)
    yield* Job.run(job)
    assert.deepStrictEqual(patient.rows, numbers(30))
  }).pipe(Effect.provide(layer))
})

it.effect("a damaged manifest does not stand for the base before", () => {
  const ward = new Ward()
  return Effect.gen(function*() {
    const ration = new Rationed(200, 0)
    const kept = Sink.memory<number>()
    const job = Job.make("job", [
      Flow.from("n", ration.source).pipe(Flow.map((n) => n, { name: "passed" }), Flow.to("kept", kept))
    ])
    const run = (from: number) =>
      Effect.scoped(Effect.gen(function*() {
        const handle = yield* Job.launch(job, { checkpointEvery: "1 hour" })
        for (const n of numbers(5)) {
          yield* ration.allow(from + n * 10 + 10)
          yield* eventually(handle, hasSeen("passed", from + n * 10 + 10))
          yield* handle.checkpoint
          yield* until(handle, ({ pendingBytes }) => pendingBytes === 0)
        }
      }))
    yield* run(0)
    const head = ward.commits.at(-1)!.epoch
    ward.isManifestDamaged = (epoch) => epoch === head
    // Goes on from the one before, on a base of its own.
    yield* run(40)
    // Everything the second run wrote is lost: there should be a base before.
    ward.isDamaged = (id) => Number(id.split(".")[0]) > head
    yield* ration.allow(200)
    yield* Job.run(job)
    assert.deepStrictEqual(yield* kept.contents, numbers(200))
  }).pipe(Effect.provide(ward.over(CheckpointStore.layerMemory)))
})

it.effect("a finished job that is launched again gives its sinks nothing again", () =>
  Effect.gen(function*() {
    const rows: Array<number> = []
    const sink = Sink.upsert<number, never, never>((n) => Effect.sync(() => void rows.push(n)))
    const job = Job.make("job", [Flow.from("n", Source.memory([1, 2, 3])).pipe(Flow.to("out", sink))])
    for (const _ of numbers(4)) yield* Job.run(job)
    assert.deepStrictEqual(rows, [1, 2, 3])
  }).pipe(Effect.provide(CheckpointStore.layerMemory)))

it.effect("a stop that is interrupted leaves a paused job paused", () =>
  Effect.gen(function*() {
    const ward = new Ward()
    yield* Effect.gen(function*() {
      const handle = yield* Job.launch(
        Job.make("job", [Flow.from("q", Source.queue<number>()).pipe(Flow.to("o", Sink.memory<number>()))]),
        { checkpointEvery: "1 hour" }
      )
      yield* settle
      yield* handle.pause
      ward.commitsLeft = 0
      const stop = yield* Effect.forkChild(handle.stop, { startImmediately: true })
      yield* settle
      yield* Fiber.interrupt(stop)
      assert.strictEqual((yield* handle.status).state, "paused")
    }).pipe(Effect.provide(ward.over(CheckpointStore.layerMemory)))
  }))
