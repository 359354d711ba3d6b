/**
 * A checkpoint kept the watermark that judges each row under way, and none of the steps of event time behind the last of
 * them. A job that went on from it made one step of several, and a pane that others may follow said that it was the last.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { CheckpointStore, Supervision } from "millrace"
import * as Job from "../../src/Job.ts"
import * as SeededScheduler from "../../src/testing/SeededScheduler.ts"
import { kept, onTurns } from "../laws/lives.ts"
import type { Spec } from "../laws/randomFlows.ts"
import { expected, recorded, same } from "../laws/running.ts"

const record = (ahead: number) => ({ ahead, lag: 0, key: 0, n: 0 })

// The window [0,1) fires when event time is at 1, and a late record could still come until 2.
const spec: Spec = {
  disorder: "one exchange",
  distinct: false,
  sources: [{ bound: 0, start: 0, splits: [[record(0), record(0), record(0), record(1)]] }],
  steps: [{
    reads: 0,
    operation: {
      _tag: "window",
      keyed: "by key",
      window: { _tag: "tumbling", size: 1, offset: 0 },
      lateness: 1,
      fields: [{ _tag: "sum" }],
      refusal: undefined,
      late: "kept"
    }
  }]
}

it("a restored job makes the steps of event time that the channels held", async () => {
  const reference = expected(recorded(spec).built)
  for (let seed = 0; seed < 100; seed++) {
    let rows = 0
    const { built, received } = kept(spec, {
      touch: () => {
        if (++rows === 1 + seed % 5) throw new Error("once")
      }
    })
    const running = Job.run(built.job, {
      partitions: 2,
      batchSize: 1,
      bufferSize: 3,
      checkpointEvery: "1 millis",
      restarts: Supervision.restarts({ max: 1, within: "1 hour" })
    }).pipe(Effect.provide(CheckpointStore.layerMemory))
    const exit = await SeededScheduler.run(onTurns(running, seed), { seed, preempt: 0.05 })
    assert.strictEqual(exit._tag, "Success", `seed ${seed}: ${String(exit)}`)
    same(spec, built, await Effect.runPromise(received), reference, `seed ${seed}`)
  }
})
