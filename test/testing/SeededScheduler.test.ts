import { describe, expect, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Ref from "effect/Ref"
import * as TxRef from "effect/TxRef"
import * as SeededScheduler from "../../src/testing/SeededScheduler.ts"
import { runs } from "../laws/runs.ts"

const seeds = Array.from({ length: runs(200) }, (_, seed) => seed)
const together = { concurrency: "unbounded" } as const

const racy = Effect.gen(function*() {
  const counter = yield* Ref.make(0)
  const add = Effect.flatMap(Ref.get(counter), (n) => Ref.set(counter, n + 1))
  yield* Effect.all(Array.from({ length: 4 }, () => add), together)
  return yield* Ref.get(counter)
})

const transactional = Effect.gen(function*() {
  const counter = yield* TxRef.make(0)
  const add = Effect.tx(Effect.flatMap(TxRef.get(counter), (n) => TxRef.set(counter, n + 1)))
  yield* Effect.all(Array.from({ length: 4 }, () => add), together)
  return yield* TxRef.get(counter)
})

/** Who took which turn: the order is the interleaving. */
const turns = Effect.gen(function*() {
  const order: Array<string> = []
  const worker = (name: string) =>
    Effect.gen(function*() {
      for (let i = 0; i < 10; i++) {
        order.push(`${name}${i}`)
        yield* Effect.yieldNow
      }
    })
  yield* Effect.all(["a", "b", "c"].map(worker), together)
  return order.join(" ")
})

const variants: ReadonlyArray<readonly [string, SeededScheduler.Options]> = [
  ["by default", {}],
  ["never pre-empting", { preempt: 0 }],
  ["nearly always pre-empting", { preempt: 0.9 }],
  ["with a budget of one operation", { operations: 1 }],
  ["with a budget of seven operations", { operations: 7 }]
]

describe.each(variants)("a seeded scheduler, %s", (_, options) => {
  const runOf = async (seed: number) => {
    const scheduler = SeededScheduler.make(seed, options)
    const exit = await SeededScheduler.runWith(turns, scheduler)
    const { fingerprint, operations, steps, trace } = scheduler
    return { exit, fingerprint, operations, steps, trace: [...trace] }
  }

  it("repeats a run exactly from its seed", async () => {
    for (const seed of seeds) expect(await runOf(seed)).toEqual(await runOf(seed))
  })

  it("gives other runs for other seeds", async () => {
    const all = await Promise.all(seeds.map(runOf))
    expect(new Set(all.map(({ fingerprint }) => fingerprint)).size).toBeGreaterThan(seeds.length * 0.95)
    expect(new Set(all.map(({ exit }) => String(Exit.getSuccess(exit)))).size).toBeGreaterThan(seeds.length * 0.9)
  })

  it("loses no update of a transaction", async () => {
    for (const seed of seeds) {
      expect(await SeededScheduler.run(transactional, { seed, ...options })).toEqual(Exit.succeed(4))
    }
  })
})

describe("a seeded scheduler", () => {
  it.each([["probability", {}], ["budget", { operations: 1 }]])("finds a lost update by %s", async (_, options) => {
    const exits = await Promise.all(seeds.map((seed) => SeededScheduler.run(racy, { seed, ...options })))
    expect(exits.some((exit) => Exit.isSuccess(exit) && exit.value < 4)).toBe(true)
  })

  it("finds both outcomes of a race", async () => {
    const race = Effect.gen(function*() {
      const winner = yield* Deferred.make<string>()
      const run = (name: string) => Effect.andThen(Effect.yieldNow, Deferred.succeed(winner, name))
      yield* Effect.all([run("a"), run("b")], together)
      return yield* Deferred.await(winner)
    })
    const exits = await Promise.all(seeds.map((seed) => SeededScheduler.run(race, { seed, preempt: 0 })))
    expect(new Set(exits.map((exit) => Exit.isSuccess(exit) ? exit.value : "none"))).toEqual(new Set(["a", "b"]))
  })

  it("takes timers and promises into the queue", async () => {
    const waiting = Effect.gen(function*() {
      const counter = yield* Ref.make(0)
      const add = Ref.update(counter, (n) => n + 1)
      yield* Effect.all([
        Effect.andThen(Effect.sleep(1), add),
        Effect.andThen(Effect.promise(() => Promise.resolve()), add),
        Effect.andThen(Effect.yieldNow, add)
      ], together)
      return yield* Ref.get(counter)
    })
    expect(await SeededScheduler.run(waiting, { seed: 7 })).toEqual(Exit.succeed(3))
  })

  it("gives failures and defects as they are", async () => {
    expect(await SeededScheduler.run(Effect.fail("no"), { seed: 1 })).toEqual(Exit.fail("no"))
    expect(await SeededScheduler.run(Effect.die("oh"), { seed: 1 })).toEqual(Exit.die("oh"))
  })

  it.each([
    ["fibers that wake each other", Effect.all([Effect.forever(Effect.yieldNow), Effect.never], together)],
    ["a fiber that never yields", Effect.forever(Effect.void, { disableYield: true })],
    ["a fiber that survives its defects", Effect.forever(Effect.ignoreCause(Effect.yieldNow))]
  ])("ends a livelock with an error: %s", async (_, effect) => {
    const exit = await SeededScheduler.run(Effect.asVoid(effect), { seed: 3, maxSteps: 1000 })
    const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
    expect(defect).toBeInstanceOf(SeededScheduler.Livelock)
    expect((defect as SeededScheduler.Livelock).message).toContain("seed 3")
  })

  it.each([{ preempt: 1 }, { preempt: -0.1 }, { preempt: NaN }, { operations: 0 }, { operations: 1.5 }])(
    "refuses %o",
    (options) => expect(() => SeededScheduler.make(1, options)).toThrow(RangeError)
  )
})
