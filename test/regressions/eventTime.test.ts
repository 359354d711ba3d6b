import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { MinimumLogLevel } from "effect/References"
import * as Flow from "../../src/Flow.ts"
import * as Job from "../../src/Job.ts"
import * as Sink from "../../src/Sink.ts"
import * as Source from "../../src/Source.ts"
import * as Supervision from "../../src/Supervision.ts"
import * as Window from "../../src/Window.ts"
import { cutEverywhere } from "../laws/cuts.ts"
import type { Operation, Spec } from "../laws/randomFlows.ts"
import { launched, once, run, succeeded, turns } from "../laws/running.ts"
import { bench, end } from "../machine/bench.ts"

/** Records as `[time, key]`, of one split without disorder; times go up. */
const specOf = (
  disorder: Spec["disorder"],
  records: ReadonlyArray<readonly [time: number, key: number]>,
  ...steps: Spec["steps"]
): Spec => ({
  disorder,
  distinct: false,
  sources: [{
    bound: 0,
    start: 0,
    splits: [records.map(([time, key], i) => ({ ahead: time - (records[i - 1]?.[0] ?? 0), lag: 0, key, n: 0 }))]
  }],
  steps
})

const windowOf = (window: Extract<Operation, { readonly _tag: "window" }>["window"], lateness?: number): Operation => ({
  _tag: "window",
  keyed: "by key",
  window,
  lateness,
  fields: [{ _tag: "count" }],
  refusal: undefined,
  late: "kept"
})

const tumbling = { _tag: "tumbling", size: 1, offset: 0 } as const
const cutOften = (spec: Spec, partitions: number, seed: number) =>
  cutEverywhere(spec, {
    habits: {
      batchSize: 1,
      bufferSize: 1,
      checkpointEvery: "1 hour",
      asks: 6,
      retain: 1,
      maxPendingBytes: 2 ** 26,
      retries: 0
    },
    before: partitions,
    after: partitions,
    interleaving: { seed, operations: undefined, preempt: 0.05 },
    most: 8
  })

const seeds = Array.from({ length: 40 }, (_, seed) => seed)

describe("event time", () => {
  it("a sliding window that was empty when its time came does not fire for a record that comes later", () => {
    // At W = -1 [-2,0) is over. No slice was there to set off an advance, and -1 opened one.
    const it = bench(Window.sliding({ size: 2, every: 1 })).at(0).at(-1)
    it.advance(end)
    assert.deepStrictEqual(it.panes, ["[-1,1) a: 2 on-time", "[0,2) a: 1 on-time"])
    assert.deepStrictEqual(it.counts, { late: 0, partlyLate: 1, outside: 0 })
  })

  it("a partition without a split holds nobody back, not even at the start", async () => {
    const spec = specOf("one exchange", [[0, 0], [1, 0], [3, 1], [5, 0]], {
      reads: 0,
      operation: windowOf(tumbling, 1)
    })
    for (const seed of seeds) {
      await once(spec, { partitions: 4, batchSize: 1, bufferSize: 1 }, { seed, operations: undefined, preempt: 0.2 })
    }
  })

  it("the last watermark of a split is told before its end, so that a pane knows whether it was the last", async () => {
    const spec = specOf(
      "one exchange",
      [[0, 0], [1, 0]],
      { reads: 0, operation: windowOf(tumbling, 1) },
      { reads: 0, operation: { _tag: "map", m: 2, refusal: undefined } }
    )
    for (const batchSize of [1, 2, 64]) await once(spec, { partitions: 2, batchSize })
  })

  it("what a checkpoint cuts in the middle of a firing is not late when it goes on", async () => {
    const spec = specOf(
      "within",
      [[0, 0], [0, 1], [0, 2]],
      { reads: 0, operation: windowOf({ _tag: "custom", size: 1 }) },
      { reads: 1, operation: windowOf(tumbling, 0) }
    )
    for (const seed of seeds) {
      for (const partitions of [1, 2]) await cutOften(spec, partitions, seed)
    }
  })

  it("while one window uses up the step, event time behind another that is due stays where it was", async () => {
    const spec = specOf(
      "within",
      [[0, 0], [0, 1], [0, 2], [3, 0]],
      { reads: 0, operation: { _tag: "keyBy" } },
      { reads: 1, operation: { ...windowOf(tumbling), keyed: "as it is" } as Operation },
      { reads: 1, operation: { ...windowOf(tumbling), keyed: "as it is" } as Operation },
      { reads: 2, operation: windowOf(tumbling, 0) },
      { reads: 4, operation: windowOf(tumbling, 0) }
    )
    for (const batchSize of [1, 2, 64]) await once(spec, { partitions: 2, batchSize })
  })

  it("a reader between its step and its commit misses no watermark", async () => {
    // 0@0 of the second key is behind the watermark that 0@1 of the first has moved.
    const spec: Spec = {
      ...specOf("one exchange", [], { reads: 0, operation: windowOf(tumbling) }),
      sources: [{
        bound: 0,
        start: 0,
        splits: [[
          { ahead: 0, lag: 0, key: 0, n: 0 },
          { ahead: 1, lag: 0, key: 0, n: 0 },
          { ahead: 0, lag: 1, key: 1, n: 0 }
        ]]
      }]
    }
    for (const seed of [42723659, ...seeds]) {
      await once(spec, { partitions: 2, batchSize: 1, bufferSize: 7 }, { seed, operations: undefined, preempt: 0.5 })
    }
  })

  it("an operator that a checkpoint found waiting for its turn does not hold event time for ever", async () => {
    // The timer of key 1 is stale, as its session has grown: due before the cut, not due in the machine that is restored.
    // A dead letter uses up the step while it waits behind window 0, and the cut comes then.
    const refusing = (policy: "skip" | "deadLetter", operation: Operation) =>
      ({ ...operation, refusal: { multiplesOf: 4, policy } }) as Operation
    const spec: Spec = {
      disorder: "one partition",
      distinct: false,
      sources: [{
        bound: 0,
        start: -57,
        splits: [[
          { ahead: 0, lag: 1, key: 0, n: 3 },
          { ahead: 0, lag: 0, key: 1, n: 5 },
          { ahead: 1, lag: 0, key: 0, n: 0 },
          { ahead: 5, lag: 0, key: 0, n: 0 },
          { ahead: 2, lag: 0, key: 1, n: 1 }
        ]]
      }],
      steps: [
        {
          reads: 0,
          operation: {
            ...refusing("skip", windowOf({ _tag: "session", gap: 8 })),
            fields: [{ _tag: "maxBy" }],
            late: "discarded"
          } as Operation
        },
        { reads: 3, operation: { ...windowOf(tumbling, 1), fields: [{ _tag: "avg" }] } as Operation },
        {
          reads: 5,
          operation: { ...refusing("deadLetter", windowOf(tumbling, 0)), fields: [{ _tag: "avg" }] } as Operation
        }
      ]
    }
    for (const seed of seeds) await cutOften(spec, 1, seed)
  })

  it("a source that outlives a restart is not left waiting by the attempt that ends", async () => {
    for (const seed of seeds) {
      let left = 0
      let at = 0
      const written: Array<number> = []
      const source = Source.make<number>({
        description: "two records",
        bounded: true,
        replayable: false,
        splits: Effect.succeed(["0"]),
        open: () =>
          Effect.succeed({
            pull: () => Effect.sync(() => at++ === 0 ? { rows: [1, 2], positionAfter: (n: number) => n } : undefined)
          })
      })
      const sink = Sink.make<number, string>({
        description: "fails once",
        open: () =>
          Effect.succeed({
            write: (rows) =>
              Effect.suspend(() => left-- === 0 ? Effect.fail("once") : Effect.sync(() => void written.push(...rows)))
          })
      })
      const job = Job.make("restarted", [Flow.from("records", source).pipe(Flow.to("sink", sink))]) as Job.Job
      const running = launched(job, {
        batchSize: 1,
        bufferSize: 1,
        restarts: Supervision.restarts({ max: 1, within: "1 hour" })
      }).pipe(Effect.provideService(Clock.Clock, turns(seed)), Effect.provideService(MinimumLogLevel, "None"))
      succeeded(await run(running, { seed, operations: 25, preempt: 0 }))
      assert.deepStrictEqual(written, [1, 2])
    }
  })
})
