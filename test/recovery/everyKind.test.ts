/** Crashes at every side effect of jobs with the kinds of state that `everySideEffect.test.ts` does not have, in virtual time. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Flow, Job, Sink, Source } from "millrace"
import { memoryStore } from "../../src/internal/stores/memoryStore.ts"
import { everyPoint, livesOf, type Power, sink, store, type World } from "../support/crashing.ts"
import { deep } from "../support/deep.ts"
import { report } from "../support/report.ts"
import { VirtualTime } from "../support/virtualTime.ts"
import { type Kind, session, sliding, tumbling } from "./jobs.ts"
import { merged, paced, uneven } from "./moreJobs.ts"
import { assertSame, expected, launched, succeeded, worldOf } from "./world.ts"

/** Sources take their time, so that there are some checkpoints meanwhile. */
const slowly = () => Effect.sleep("1 millis")

type Crashes = ReadonlyArray<number>

const through = async <A>(
  { outcome, ...world }: World & { readonly outcome: Effect.Effect<A, unknown> },
  crashes: Crashes,
  same: (outcome: A, what: string) => void
): Promise<ReadonlyArray<Power>> => {
  const all = Effect.gen(function*() {
    const powers = yield* livesOf(world, crashes)
    return { powers, outcome: yield* outcome }
  })
  const done = succeeded(await new VirtualTime(0).run(all), `crashes at ${crashes.join(", ")}`)
  const where = done.powers.flatMap(({ hasFailed, points }) => hasFailed ? [points.at(-1)] : [])
  same(done.outcome, `crashes at ${where.join("; ")}`)
  return done.powers
}

describe.each<Kind>([uneven(deep(8, 24)), merged(deep(4, 12)), paced(deep(8, 24))])("$name", (kind) => {
  it("is the same after a crash at every side effect", async () => {
    const began = performance.now()
    const reference = expected(kind)
    let points = 0
    const last = await everyPoint(async (n) => {
      const [first] = await through(worldOf(kind, slowly), [n], (outcome, what) => assertSame(outcome, reference, what))
      points++
      return first
    })
    assert.isAbove(last!.points.filter((point) => point.startsWith("before commit")).length, 3)
    assert.isAbove(last!.points.filter((point) => point.startsWith("before apply")).length, 0)
    report(`${points - 1} crashes`, began)
  }, deep(60_000, 900_000))
})

describe.each<Kind>(deep([uneven(3)], [uneven(14), merged(8), tumbling(14), sliding(10), session(10)]))(
  "%j, twice",
  (kind) => {
    it("is the same after a crash at every point, and another one at every point of the recovery", async () => {
      const began = performance.now()
      const reference = expected(kind)
      let pairs = 0
      await everyPoint(async (n) => {
        let first: Power | undefined
        await everyPoint(async (m) => {
          const powers = await through(worldOf(kind), [n, m], (outcome, what) => assertSame(outcome, reference, what))
          first = powers[0]
          if (powers[0]!.hasFailed) pairs++
          // There is no second life after one that has ended.
          return powers[0]!.hasFailed ? powers[1] : undefined
        }, deep(5, Infinity))
        return first
      })
      assert.isAbove(pairs, deep(30, 400))
      report(`${pairs} pairs of crashes`, began)
    }, deep(60_000, 900_000))
  }
)

describe("a durable queue", () => {
  it("has each record once whose offer has succeeded, and no other one twice, after a crash at every side effect", async () => {
    const began = performance.now()
    const count = deep(5, 12)
    const queue = Source.queue({ durable: true, schema: Schema.Number, capacity: 4 })
    let points = 0
    await everyPoint(async (n) => {
      const inner = memoryStore()
      const rows = Sink.memory<number>()
      const answered: Array<number> = []
      let next = 0
      const world = {
        outcome: rows.contents,
        life: ({ around }: Power) =>
          Effect.scoped(Effect.gen(function*() {
            const job = Job.make("queue", [Flow.from("queue", queue).pipe(Flow.to("rows", sink(around, "rows", rows)))])
            const handle = yield* launched(job, store(around, inner), { checkpointEvery: "1 hour" })
            while (next < count) {
              // Whose offer was cut short is not offered again: nobody knows what came of it.
              const offered = next++
              yield* handle.push(queue, offered)
              answered.push(offered)
            }
            yield* handle.drain
          }))
      }
      const [first] = await through(world, [n], (contents, what) => {
        assert.deepStrictEqual([...new Set(contents)], contents, what)
        assert.deepStrictEqual(contents.filter((one) => answered.includes(one)), answered, what)
        assert.isAtLeast(answered.length, count - 1, what)
      })
      points++
      return first
    })
    assert.isAbove(points, deep(16, 40))
    report(`${points - 1} crashes`, began)
  })
})
