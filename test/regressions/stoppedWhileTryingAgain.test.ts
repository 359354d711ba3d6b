/** A job that was stopped left a record that waited to be tried again in the checkpoint, however soon it would have gone through. */
import { assert, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { Checkpoint, CheckpointStore, ErrorPolicy, Flow, Job, Sink, Source } from "millrace"

it.live("a stop waits for a record that is tried again", () =>
  Effect.gen(function*() {
    const numbers = Source.queue<number>()
    const seen = Sink.memory<number>()
    let tries = 0
    const job = Job.make("job", [
      Flow.from("numbers", numbers).pipe(
        Flow.map((n) => {
          if (n === 2 && ++tries < 4) throw new Error("not yet")
          return n
        }, { onError: ErrorPolicy.retry(Schedule.spaced("20 millis"), { then: ErrorPolicy.fail }) }),
        Flow.to("seen", seen)
      )
    ])
    const handle = yield* Job.launch(job)
    yield* handle.pushAll(numbers, [1, 2])
    while (tries === 0) yield* Effect.sleep(1)
    yield* handle.stop
    assert.deepStrictEqual(yield* seen.contents, [1, 2])
    const checkpoint = yield* Effect.flatMap(Checkpoint.latest("job"), Effect.fromOption)
    assert.deepStrictEqual(checkpoint.parts.flatMap(({ rows }) => rows), [])
  }).pipe(Effect.scoped, Effect.provide(CheckpointStore.layerMemory)))
