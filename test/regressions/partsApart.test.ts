/** Parts that closed slowly stopped the others, splits were read twice, and a sink's own interruption ended the job. */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect } from "effect"
import { CheckpointStore, Flow, Job, Sink, Source } from "millrace"

import { atOnce, settle } from "../support/jobs.ts"
import { endOf, eventually, hasSeen, numbers, Rationed } from "../support/sickness.ts"

it.effect("a part that fails and is slow to close does not stop the others", () =>
  Effect.gen(function*() {
    const closed = Deferred.makeUnsafe<void>()
    const slow = Source.make<number>({
      description: "slow to close",
      bounded: false,
      replayable: true,
      splits: Effect.succeed(["0"]),
      open: () =>
        Effect.acquireRelease(
          Effect.succeed({ pull: () => Effect.sync(() => ({ rows: [1], positionAfter: (n: number) => n })) }),
          () => Deferred.await(closed)
        )
    })
    const ration = new Rationed(100, 10)
    const rows: Array<number> = []
    const job = Job.make("job", [
      Flow.from("sick", slow).pipe(
        Flow.map((): number => {
          throw new Error("boom")
        }),
        Flow.to("a", Sink.forEach(() => Effect.void))
      ),
      Flow.from("n", ration.source).pipe(
        Flow.map((n) => n, { name: "passed" }),
        Flow.to("b", Sink.forEach((n: number) => Effect.sync(() => void rows.push(n))))
      )
    ])
    const handle = yield* Job.launch(job, { checkpointEvery: "1 hour", restarts: atOnce })
    yield* eventually(handle, hasSeen("passed", 10))
    yield* Effect.forkChild(handle.checkpoint, { startImmediately: true })
    yield* settle
    yield* ration.allow(50)
    for (let i = 0; i < 20; i++) yield* settle
    const seen = rows.length
    yield* Deferred.succeed(closed, undefined)
    assert.strictEqual(seen, 50)
  }).pipe(Effect.provide(CheckpointStore.layerMemory)), 20000)

it.effect("of a source without positions no split is read by two", () =>
  Effect.gen(function*() {
    let next = 0, failures = 1, opened = 0
    const got: Array<number> = []
    const source = Source.make<number, Error>({
      description: "once",
      bounded: true,
      replayable: false,
      splits: Effect.succeed(["a", "b"]),
      open: (split) =>
        Effect.suspend((): Effect.Effect<Source.Reader<number>, Error> => {
          if (split === "b") {
            return failures-- > 0
              ? Effect.andThen(Effect.yieldNow, Effect.fail(new Error("not yet")))
              : Effect.succeed({ pull: () => Effect.sync(() => undefined) })
          }
          opened++
          return Effect.succeed({
            pull: (max) =>
              Effect.sync(() => {
                if (next >= 100) return undefined
                const start = next
                next = Math.min(100, next + Math.min(max, 10))
                return { rows: numbers(next - start).map((i) => start + i), positionAfter: (n: number) => n }
              })
          })
        })
    })
    const job = Job.make("job", [
      Flow.from("once", source).pipe(Flow.to("out", Sink.forEach((n: number) => Effect.sync(() => void got.push(n)))))
    ])
    yield* Effect.ignore(Job.run(job, { restarts: atOnce }))
    assert.strictEqual(got.length, 100)
  }).pipe(Effect.provide(CheckpointStore.layerMemory)))

it.effect("a sink by epoch that interrupts itself is tried again", () =>
  Effect.gen(function*() {
    let calls = 0
    const sink = Sink.upsert<number, never, never>(() => calls++ === 0 ? Effect.interrupt : Effect.void)
    const job = Job.make("job", [Flow.from("n", Source.memory([1])).pipe(Flow.to("out", sink))])
    const fiber = yield* Effect.forkChild(Effect.exit(Effect.scoped(Effect.flatMap(Job.launch(job), (h) => h.await))))
    yield* endOf(fiber)
    assert.strictEqual(calls, 2)
  }).pipe(Effect.provide(CheckpointStore.layerMemory)))

it("an output may not have the name of the dead letters, which is that of their sink in checkpoints", () => {
  const numbers = Flow.from("n", Source.memory([1]))
  assert.throws(() => Job.make("job", [Flow.to(numbers, "dead letters", Sink.memory())]), /"dead letters" has the name/)
})
