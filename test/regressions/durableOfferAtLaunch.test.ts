/** A durable offer waits for its own checkpoint also when it comes before the job has found out where it goes on. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { CheckpointStore, Flow, Job, Source } from "millrace"
import { settle } from "../support/jobs.ts"
import { numbers, Patient, Ward } from "../support/sickness.ts"

it.effect("an offer right after the launch of a job that goes on is not taken for one of the run before", () => {
  const ward = new Ward()
  return Effect.gen(function*() {
    const source = Source.queue<number>({ durable: true })
    const patient = new Patient<number>()
    const job = Job.make("job", [Flow.from("queue", source).pipe(Flow.to("out", patient.sink))])
    const scope = yield* Scope.make()
    const first = yield* Scope.provide(Job.launch(job, { checkpointEvery: "1 hour" }), scope)
    yield* first.pushAll(source, numbers(10))
    yield* Scope.close(scope, Exit.void)

    ward.commitsLeft = 0
    // As a store does that is on a disk.
    ward.opening = Effect.yieldNow
    const next = yield* Job.launch(job, { checkpointEvery: "1 hour" })
    const offer = yield* Effect.forkChild(next.push(source, 10), { startImmediately: true })
    yield* settle
    // Whoever offers more wakes those who wait.
    yield* Effect.forkChild(next.push(source, 11), { startImmediately: true })
    yield* settle
    // No checkpoint can have been taken.
    assert.isUndefined(offer.pollUnsafe())
  }).pipe(Effect.provide(ward.over(CheckpointStore.layerMemory)))
})
