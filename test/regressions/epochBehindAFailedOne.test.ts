/** An epoch was committed behind one that had failed: it lacked what the picture of the failed one had taken. */
/** After an epoch has failed, no later one may be committed: what its picture took is nowhere else. */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Layer, Scope } from "effect"

import { CheckpointStore, Flow, Job, Sink } from "millrace"
import { memoryStore } from "../../src/internal/stores/memoryStore.ts"
import { settle } from "../support/jobs.ts"
import { endOf, eventually, hasSeen, numbers, Rationed } from "../support/sickness.ts"

const world = () => {
  const inner = memoryStore()
  const state = { sick: undefined as undefined | "waits" | "fails" }
  const go = Deferred.makeUnsafe<void>()
  const layer = Layer.succeed(CheckpointStore.CheckpointStore, {
    ...inner,
    commit: (commit) =>
      Effect.suspend(() => {
        if (state.sick === undefined || commit.epoch !== 2) return inner.commit(commit)
        const failed = Effect.suspend(() =>
          Effect.fail(
            new CheckpointStore.CheckpointStoreError({ job: "job", operation: "commit", cause: new Error("no") })
          )
        )
        return Effect.andThen(Deferred.await(go), failed)
      })
  })
  const ration = new Rationed(20, 10)
  const out = Sink.memory<number>()
  const job = Job.make("job", [
    Flow.from("n", ration.source).pipe(Flow.map((n) => n, { name: "passed" }), Flow.to("out", out))
  ])
  return { inner, state, go, layer, ration, out, job }
}

it.effect("an epoch queued behind one that fails", () => {
  const w = world()
  return Effect.gen(function*() {
    w.state.sick = "waits"
    const scope = yield* Scope.make()
    const handle = yield* Scope.provide(Job.launch(w.job, { checkpointEvery: "1 hour" }), scope)
    yield* eventually(handle, hasSeen("passed", 10))
    yield* settle
    yield* Effect.forkChild(handle.checkpoint, { startImmediately: true })
    yield* settle
    yield* Effect.forkChild(handle.checkpoint, { startImmediately: true })
    yield* settle
    yield* Deferred.succeed(w.go, undefined)
    yield* endOf(yield* Effect.forkChild(handle.await))
    yield* Scope.close(scope, Exit.void)
    w.state.sick = undefined
    yield* w.ration.allow(20)
    yield* Job.run(w.job)
    assert.deepStrictEqual(yield* w.out.contents, numbers(20))
  }).pipe(Effect.provide(w.layer))
})

it.effect("the last epoch behind one that fails", () => {
  const w = world()
  return Effect.gen(function*() {
    w.state.sick = "waits"
    const handle = yield* Job.launch(w.job, { checkpointEvery: "1 hour" })
    yield* eventually(handle, hasSeen("passed", 10))
    yield* settle
    yield* Effect.forkChild(handle.checkpoint, { startImmediately: true })
    yield* settle
    yield* w.ration.allow(20)
    yield* eventually(handle, hasSeen("passed", 20))
    yield* settle
    yield* Deferred.succeed(w.go, undefined)
    const end = yield* endOf(yield* Effect.forkChild(handle.await))
    if (Exit.isSuccess(end)) assert.deepStrictEqual(yield* w.out.contents, numbers(20))
  }).pipe(Effect.provide(w.layer))
})
