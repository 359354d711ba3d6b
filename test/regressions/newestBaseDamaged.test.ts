/**
 * Two independent bases are kept so that the loss of one is survived: however many epochs stand on the newest base, a
 * checkpoint on the one before it is found without anybody's help.
 */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { CheckpointStore, Flow, Job, Sink } from "millrace"
import { eventually, hasSeen, numbers, Rationed, Ward } from "../support/sickness.ts"

it.effect("a job goes on from the base before, with the pieces of the newest base gone", () => {
  const ward = new Ward()
  return Effect.gen(function*() {
    const ration = new Rationed(100, 0)
    const kept = Sink.memory<number>()
    const job = Job.make("job", [
      Flow.from("n", ration.source).pipe(Flow.map((n) => n, { name: "passed" }), Flow.to("kept", kept))
    ])
    // Each run begins with a base of its own.
    let newest = 0
    for (const run of numbers(2)) {
      yield* Effect.scoped(Effect.gen(function*() {
        const handle = yield* Job.launch(job, { checkpointEvery: "1 hour" })
        newest = ward.commits.at(-1)?.epoch ?? 0
        for (const n of numbers(4)) {
          yield* ration.allow(run * 40 + n * 10 + 10)
          yield* eventually(handle, hasSeen("passed", run * 40 + n * 10 + 10))
          yield* handle.checkpoint
        }
      }))
    }
    // Everything that the second run wrote.
    ward.isDamaged = (id) => Number(id.split(".")[0]) > newest
    yield* ration.allow(100)
    yield* Job.run(job)
    assert.deepStrictEqual(yield* kept.contents, numbers(100))
  }).pipe(Effect.provide(ward.over(CheckpointStore.layerMemory)))
})
