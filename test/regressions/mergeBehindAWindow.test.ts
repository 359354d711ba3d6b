/**
 * Rows that a restore carried over into a merge are read before the window in front of that merge goes on. Whoever reads
 * the window elsewhere was told meanwhile that event time had moved on, and the panes that came then were late.
 */
import { it } from "@effect/vitest"
import { liveOften } from "../laws/crashes.ts"
import type { Operation, Spec } from "../laws/randomFlows.ts"

const record = (key: number) => ({ ahead: 0, lag: 0, key, n: 0 })

const window = (lateness: number): Operation => ({
  _tag: "window",
  keyed: "by key",
  window: { _tag: "tumbling", size: 1, offset: 0 },
  lateness,
  fields: [{ _tag: "sum" }],
  refusal: undefined,
  late: "kept"
})

// Panes of the first window go to a merge with the source, and to the last window; another one keeps the source busy.
const spec: Spec = {
  disorder: "within",
  distinct: false,
  sources: [{ bound: 0, start: 0, splits: [[record(0), record(1), record(0)], []] }],
  steps: [
    { reads: 0, operation: window(0) },
    { reads: 4, operation: { _tag: "merge", with: 0 } },
    { reads: 0, operation: window(0) },
    { reads: 1, operation: window(2) }
  ]
}

it("what a restore carries into a merge does not make the window before it late", async () => {
  for (let seed = 910248470; seed < 910248500; seed++) {
    await liveOften(spec, {
      habits: {
        batchSize: 6,
        bufferSize: 18,
        checkpointEvery: "1 millis",
        asks: 6,
        retain: 1000,
        maxPendingBytes: 2 ** 26,
        retries: 0
      },
      lives: [{ partitions: 7, turns: 33, ending: "crash" }],
      last: 7,
      fault: Infinity,
      interleaving: { seed, operations: 24, preempt: 0 }
    })
  }
})
