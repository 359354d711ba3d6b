/** A job that is started with its own latest checkpoint as a layer goes on from its own progress when it is started again. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { Checkpoint, CheckpointStore, Flow, Job, Sink } from "millrace"
import { eventually, hasSeen, numbers, Rationed } from "../support/sickness.ts"

it.effect("the layer of the store's own head does not take the job back the second time", () =>
  Effect.gen(function*() {
    const ration = new Rationed(100, 20)
    const seen: Array<number> = []
    const passed = Flow.map((n: number) => {
      seen.push(n)
      return n
    }, { name: "passed" })
    const job = Job.make("job", [Flow.from("n", ration.source).pipe(passed, Flow.to("out", Sink.memory()))])
    const value = yield* Effect.scoped(Effect.gen(function*() {
      const handle = yield* Job.launch(job, { checkpointEvery: "1 hour" })
      yield* eventually(handle, hasSeen("passed", 20))
      return yield* handle.savepoint("here")
    }))
    for (const allowed of [40, 60]) {
      yield* ration.allow(allowed)
      yield* Effect.scoped(Effect.gen(function*() {
        const handle = yield* Job.launch(job, { checkpointEvery: "1 hour" })
        yield* eventually(handle, hasSeen("passed", allowed))
        yield* handle.stop
      })).pipe(Effect.provide(Checkpoint.layer(value)))
      assert.deepStrictEqual(seen, numbers(allowed))
    }
  }).pipe(Effect.provide(CheckpointStore.layerMemory)))
