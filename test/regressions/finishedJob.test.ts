/**
 * A launch of a job that has finished before took a checkpoint when it was asked to. It said that the job was running and
 * that every sink stood nowhere, so that no launch after it could go on.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { MinimumLogLevel } from "effect/References"
import { CheckpointStore, Flow, Job, Sink, Source } from "millrace"
import * as SeededScheduler from "../../src/testing/SeededScheduler.ts"

describe("a job that has finished", () => {
  for (const door of ["checkpoint", "stop", "drain"] as const) {
    it(`can be launched again after it was asked for ${door}`, async () => {
      for (let seed = 0; seed < 20; seed++) {
        const rows = seed % 2 === 0 ? [] : [1, 2, 3]
        const out = Sink.memory<number>()
        const job = Job.make("job", [Flow.from("rows", Source.memory<number>(rows)).pipe(Flow.to("out", out))])
        const scenario = Effect.gen(function*() {
          yield* Job.run(job)
          yield* Effect.scoped(Effect.flatMap(Job.launch(job), (handle) => Effect.exit(handle[door])))
          yield* Job.run(job)
          return yield* out.contents
        }).pipe(Effect.provide(CheckpointStore.layerMemory), Effect.provideService(MinimumLogLevel, "None"))
        const exit = await SeededScheduler.run(scenario, { seed })
        assert.deepStrictEqual(exit._tag === "Success" ? exit.value : String(exit), rows, `seed ${seed}`)
      }
    })
  }
})
