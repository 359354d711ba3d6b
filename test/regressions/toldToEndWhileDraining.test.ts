/** A job that is drained when its scope closes, with the finalizer of the guide that stops it: it ends, and does not wait for ever. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { CheckpointStore, Flow, Job, Sink } from "millrace"
import { settle } from "../support/jobs.ts"
import { numbers, Rationed } from "../support/sickness.ts"

/** A store whose commits wait for permission once they are told to. */
const held = Effect.gen(function*() {
  const inner = yield* CheckpointStore.CheckpointStore
  const open = yield* Deferred.make<void>()
  let isHeld = false
  return {
    open: Deferred.succeed(open, undefined),
    hold: Effect.sync(() => void (isHeld = true)),
    store: CheckpointStore.CheckpointStore.of({
      ...inner,
      commit: (commit) =>
        Effect.andThen(Effect.suspend(() => isHeld ? Deferred.await(open) : Effect.void), inner.commit(commit))
    })
  }
})

describe("a job that is told to end while it is drained", () => {
  it.effect.each([0, 1, 2, 3, 5, 8, 13, 50])(
    "ends, %i turns after the drain has begun",
    (turns) =>
      Effect.gen(function*() {
        const { hold, open, store } = yield* held
        const rows = Sink.memory<number>()
        const ration = new Rationed(100, 40)
        const life = Effect.scoped(Effect.gen(function*() {
          const handle = yield* Job.launch(
            Job.make("job", [Flow.from("rows", ration.source).pipe(Flow.to("rows", rows))])
          )
          yield* Effect.addFinalizer(() => Effect.ignore(handle.stop))
          yield* settle
          yield* hold
          const drained = yield* Effect.forkChild(handle.drain)
          for (let i = 0; i < turns; i++) yield* Effect.yieldNow
          yield* Fiber.interrupt(drained)
        })).pipe(Effect.provideService(CheckpointStore.CheckpointStore, store))
        const fiber = yield* Effect.forkChild(life)
        yield* settle
        yield* settle
        yield* open
        for (let i = 0; i < 12; i++) yield* Effect.andThen(TestClock.adjust("1 second"), settle)
        const exit = fiber.pollUnsafe()
        assert.isTrue(exit !== undefined && Exit.isSuccess(exit), "it has not ended")
        // It has finished with what it had taken in, or was stopped before the drain had begun.
        assert.deepStrictEqual(yield* rows.contents, numbers(40))
      }).pipe(Effect.provide(Layer.fresh(CheckpointStore.layerMemory)))
  )
})
