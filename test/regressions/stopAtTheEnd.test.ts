/** Whoever stopped a job at the moment when it finished was interrupted, together with the epoch that came too late. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { CheckpointStore, Flow, Job, Sink, Source } from "millrace"
import * as SeededScheduler from "../../src/testing/SeededScheduler.ts"
import { onTurns, pass, slowStore } from "../laws/lives.ts"

describe("a job that ends by itself", () => {
  for (const door of ["stop", "drain", "checkpoint"] as const) {
    it(`interrupts nobody who asks for ${door} meanwhile`, async () => {
      for (let seed = 0; seed < 60; seed++) {
        const job = Job.make("job", [Flow.from("rows", Source.memory([1, 2, 3])).pipe(Flow.to("out", Sink.memory()))])
        const scenario = Effect.scoped(Effect.gen(function*() {
          const handle = yield* Job.launch(job, { batchSize: 1, bufferSize: 1, checkpointEvery: "1 millis" })
          yield* pass(seed)
          return yield* Effect.exit(handle[door])
        })).pipe(Effect.provideService(CheckpointStore.CheckpointStore, slowStore(seed).store))
        const exit = await SeededScheduler.run(onTurns(scenario, seed), { seed, operations: 34, preempt: 0 })
        assert.isTrue(Exit.isSuccess(exit), `seed ${seed}: ${String(exit)}`)
        const isInterrupted = Exit.isSuccess(exit) && Exit.isFailure(exit.value) &&
          Cause.hasInterrupts(exit.value.cause)
        assert.isFalse(isInterrupted, `seed ${seed}: ${String(exit)}`)
      }
    })
  }
})
