/** The chain of segments keeps its bound while a part waits for its source to open, and what that part held is kept. */
import { assert, it } from "@effect/vitest"
import { Effect, Option, Schema } from "effect"
import { Aggregate, CheckpointStore, Flow, Job, Sink, Source, Watermark, Window } from "millrace"
import { decodeManifest } from "../../src/internal/checkpoint/manifest.ts"
import { Rationed } from "../support/sickness.ts"

const longestChain = 256

/** Numbers that are counted in windows of ten, by their last digit. */
const counted = (name: string, source: Source.Source<number>, sink: Sink.MemorySink<string>) =>
  Flow.from(name, source, { time: (n) => n, watermark: Watermark.monotonic }).pipe(
    Flow.keyBy((n) => n % 10, Schema.Number),
    Flow.window(`${name} counted`, Window.tumbling(1000)),
    Flow.aggregate({ count: Aggregate.count }),
    Flow.only("results", { late: "they come in order" }),
    Flow.map(({ key, value }) => `${key}: ${value.count}`),
    Flow.to(name, sink)
  )

/** The same source, which opens when it is allowed to. */
const behind = (inner: Source.Source<number>, opening: Effect.Effect<void>): Source.Source<number> => {
  if (inner.body._tag !== "Read") throw new Error("a source that is read is meant")
  const { open, replayable, splits } = inner.body
  return Source.make({
    description: "late to open",
    bounded: true,
    replayable,
    splits,
    open: (split, position) => Effect.andThen(opening, open(split, position))
  })
}

it.effect("the chain begins anew without the part, and has what it held", () =>
  Effect.gen(function*() {
    const store = yield* CheckpointStore.CheckpointStore
    const [early, late] = [Sink.memory<string>(), Sink.memory<string>()]
    const allowed = { early: new Rationed(2000, 50), late: new Rationed(100, 50) }
    const launch = (opening: Effect.Effect<void>) =>
      Job.launch(
        Job.make("job", [
          counted("early", allowed.early.source, early),
          counted("late", behind(allowed.late.source, opening), late)
        ]),
        { checkpointEvery: "1 hour" }
      )
    const chain = Effect.gen(function*() {
      const [head] = yield* store.list("job")
      return decodeManifest(Option.getOrThrow(yield* store.manifest("job", head!.epoch))).chain
    })
    const settled = Effect.gen(function*() {
      for (let i = 0; i < 100; i++) yield* Effect.yieldNow
    })

    const first = yield* launch(Effect.void)
    yield* settled
    yield* first.stop

    let longest = 0
    const bases = new Set<number>()
    yield* Effect.scoped(Effect.gen(function*() {
      const second = yield* launch(Effect.never)
      yield* settled
      for (let i = 0; i < 2 * longestChain + 20; i++) {
        yield* allowed.early.allow(51 + i)
        yield* Effect.yieldNow
        yield* second.checkpoint
        const links = yield* chain
        longest = Math.max(longest, links.length)
        bases.add(links[0]!.epoch)
      }
    }))
    assert.strictEqual(longest, longestChain)
    // That of the first launch, and two since.
    assert.strictEqual(bases.size, 3)

    yield* allowed.early.allow(2000)
    yield* allowed.late.allow(100)
    const third = yield* launch(Effect.void)
    yield* third.await
    const digits = (count: number) => Array.from({ length: 10 }, (_, digit) => `${digit}: ${count}`)
    assert.deepStrictEqual([...yield* late.contents].sort(), digits(10))
    assert.deepStrictEqual([...yield* early.contents].sort(), [...digits(100), ...digits(100)].sort())
  }).pipe(Effect.provide(CheckpointStore.layerMemory)))
