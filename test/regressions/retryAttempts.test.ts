import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { CheckpointStore, ErrorPolicy, Flow, Job, Sink, Source } from "millrace"

// Giving up called the function once more, only to hear the same failure again.
it.effect("a schedule of three retries means four calls", () =>
  Effect.gen(function*() {
    let calls = 0
    const dead = Sink.memory<unknown>()
    const job = Job.make("retries", [
      Flow.from("rows", Source.memory([1])).pipe(
        Flow.map((): number => {
          throw new Error(`call ${++calls}`)
        }, { onError: ErrorPolicy.retry(Schedule.recurs(3), { then: ErrorPolicy.deadLetter }) }),
        Flow.to("out", Sink.memory())
      )
    ], { deadLetters: dead })
    yield* Job.run(job).pipe(Effect.provide(CheckpointStore.layerMemory))
    assert.strictEqual(calls, 4)
    assert.deepStrictEqual((yield* dead.contents).map((letter) => (letter as { readonly reason: string }).reason), [
      "call 4"
    ])
  }))
