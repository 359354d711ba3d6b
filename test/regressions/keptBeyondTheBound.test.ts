/** What is kept for a sink is `maxPendingBytes` and one batch at most, however much waits in the channel before it. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { CheckpointStore, Flow, Job, Source } from "millrace"
import { numbers, Patient } from "../support/sickness.ts"

it.effect("a sink is given a batch at a time, not a whole channel", () =>
  Effect.gen(function*() {
    const patient = new Patient<string>("hanging")
    const rows = numbers(6000).map((n) => `row ${String(n).padStart(16, "0")}`)
    const job = Job.make("job", [Flow.from("rows", Source.memory(rows)).pipe(Flow.to("out", patient.sink))])
    const batchSize = 32
    const handle = yield* Job.launch(job, { maxPendingBytes: 1024, batchSize, bufferSize: 64 * batchSize })
    let most = 0
    for (let i = 0; i < 5000; i++) {
      most = Math.max(most, (yield* handle.status).pendingBytes)
      yield* Effect.yieldNow
    }
    assert.isAbove(most, 1024)
    assert.isAtMost(most, 1024 + JSON.stringify(rows.slice(0, batchSize)).length)
  }).pipe(Effect.provide(CheckpointStore.layerMemory)))
