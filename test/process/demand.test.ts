/** What is asked of a source is bounded by the buffers behind it, whoever is slow: a sink, a key, or another split. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Aggregate, CheckpointStore, Flow, Job, Sink, Source, Watermark, Window } from "millrace"
import { deep } from "../support/deep.ts"
import { settle } from "../support/jobs.ts"
import { report } from "../support/report.ts"

interface Reading {
  readonly key: number
  readonly at: number
}

const batchSize = 32
const bufferSize = 64

/** Gives all that it is asked for, and counts it. Splits whose `wait` never ends give nothing any more. */
const counting = (
  count: number,
  keyOf: (n: number) => number,
  splits: number,
  wait: (split: number, at: number) => Effect.Effect<void>
) => {
  const asked = Array.from({ length: splits }, () => 0)
  const source = Source.make<Reading>({
    description: "counting",
    bounded: true,
    replayable: true,
    splits: Effect.succeed(asked.map((_, i) => String(i))),
    open: (split, position) =>
      Effect.sync(() => {
        let at = Number(position ?? 0)
        return {
          pull: (max) =>
            Effect.map(wait(Number(split), at), () => {
              if (at >= count) return undefined
              const start = at
              at = Math.min(count, start + Math.min(max, batchSize))
              asked[Number(split)]! += at - start
              const rows = Array.from({ length: at - start }, (_, i) => ({ key: keyOf(start + i), at: start + i }))
              return { rows, positionAfter: (taken: number) => start + taken }
            })
        }
      })
  })
  return { source, asked }
}

const timed = { time: ({ at }: Reading) => at, watermark: Watermark.monotonic }

const counted = (source: Source.Source<Reading>) =>
  Flow.from("readings", source, timed).pipe(
    Flow.keyBy(({ key }) => key, Schema.Number),
    Flow.window("counted", Window.tumbling(100)),
    Flow.aggregate({ count: Aggregate.count }),
    Flow.only("results", { late: "they come in order" })
  )

/** Looks at all buffers until the job has ended, or for so many turns. */
const watched = (handle: Job.Handle<unknown>, turns = Infinity) =>
  Effect.gen(function*() {
    let looks = 0
    for (; looks < turns; looks++) {
      const { buffers, state } = yield* handle.status
      for (const { capacity, fill, name, peak } of buffers) {
        assert.isAtMost(fill, capacity, name)
        assert.isAtMost(peak, capacity, name)
      }
      if (state !== "running") break
      yield* Effect.yieldNow
    }
    return looks
  })

const options = { batchSize, bufferSize, checkpointEvery: "1 hour" } as const

describe("demand", () => {
  it.effect("stops where a sink never returns", () =>
    Effect.gen(function*() {
      let written = 0
      const stuck = Sink.make<Reading>({
        description: "stuck",
        open: () =>
          Effect.succeed({
            write: (rows) =>
              Effect.suspend(() => {
                if (written > 1000) return Effect.never
                written += rows.length
                return Effect.void
              })
          })
      })
      const { asked, source } = counting(1_000_000, (n) => n % 7, 1, () => Effect.void)
      const job = Job.make("stuck", [Flow.from("readings", source, timed).pipe(Flow.to("stuck", stuck))])
      const handle = yield* Job.launch(job, options)
      yield* watched(handle, 1000)
      const before = asked[0]!
      // Two buffers lie between the source and the sink: the inlet and the channel.
      assert.isAtMost(before - written, 2 * bufferSize + 2 * batchSize)
      assert.isAbove(written, 1000)
      yield* watched(handle, 500)
      assert.strictEqual(asked[0], before, "it is asked for more")
    }).pipe(Effect.provide(CheckpointStore.layerMemory)))

  it.effect("keeps to the buffers where nearly all records have one key", () =>
    Effect.gen(function*() {
      const began = performance.now()
      const count = deep(20_000, 1_000_000)
      let taken = 0
      const { asked, source } = counting(count, (n) => n % 20 === 0 ? n % 97 : 0, 1, () => Effect.void)
      const slow = Sink.make<{ readonly value: { readonly count: number } }>({
        description: "counting",
        open: () =>
          Effect.succeed({
            write: (rows) =>
              Effect.andThen(
                Effect.yieldNow,
                Effect.sync(() => {
                  for (const { value } of rows) taken += value.count
                })
              )
          })
      })
      const handle = yield* Job.launch(Job.make("skewed", [counted(source).pipe(Flow.to("counted", slow))]), {
        ...options,
        partitions: 4
      })
      const looks = yield* watched(handle)
      yield* handle.await
      assert.deepStrictEqual([asked[0], taken], [count, count])
      report(`${count} records, ${looks} looks`, began)
    }).pipe(Effect.provide(CheckpointStore.layerMemory)), deep(60_000, 900_000))

  it.effect("keeps to the buffers where one split holds event time back", () =>
    Effect.gen(function*() {
      const panes = Sink.memory<unknown>()
      const { asked, source } = counting(
        4000,
        (n) => n % 5,
        2,
        (split, at) => split === 1 && at >= 100 ? Effect.never : Effect.void
      )
      const handle = yield* Job.launch(Job.make("held", [counted(source).pipe(Flow.to("counted", panes))]), {
        ...options,
        partitions: 3
      })
      yield* watched(handle, 800)
      yield* settle
      yield* handle.checkpoint
      yield* settle
      const status = yield* handle.status
      // What is read is in state, window by window, until the other split goes on: it is the state that grows.
      assert.deepStrictEqual(asked, [4000, 128])
      assert.isAtMost(yield* Effect.map(panes.contents, (rows) => rows.length), 10)
      assert.isAbove(status.operators.reduce((sum, { keys }) => sum + keys, 0), 100)
    }).pipe(Effect.provide(CheckpointStore.layerMemory)))
})
