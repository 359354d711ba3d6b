import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as fc from "fast-check"
import * as SeededScheduler from "../../src/testing/SeededScheduler.ts"
import { type Disorder, specs } from "./randomFlows.ts"
import { check, interleavings, launched, once, recorded, succeeded, timeout, turns } from "./running.ts"

describe.each<Disorder>(["within", "one exchange"])("disorder: %s", { timeout }, (disorder) => {
  it("law 2 and 4: the number of partitions and the interleaving do not matter", () =>
    check(
      1000,
      fc.asyncProperty(
        specs(disorder),
        fc.integer({ min: 1, max: 16 }),
        fc.constantFrom(1, 2, 7, 64, 4096),
        fc.constantFrom(1, 7, 64, 8192),
        interleavings,
        async (spec, partitions, batchSize, bufferSize, interleaving) => {
          await once(spec, { partitions, batchSize, bufferSize }, interleaving)
        }
      )
    ))
})

it("a seed replays a run", () =>
  check(
    50,
    fc.asyncProperty(specs("within"), interleavings, async (spec, { operations, preempt, seed }) => {
      const trace = async () => {
        const { built, received } = recorded(spec)
        const scheduler = SeededScheduler.make(seed, { preempt, ...operations === undefined ? {} : { operations } })
        const clocked = launched(built.job, { partitions: 3, batchSize: 2 }).pipe(
          Effect.provideService(Clock.Clock, turns(seed))
        )
        succeeded(await SeededScheduler.runWith(clocked, scheduler))
        return [scheduler.fingerprint, received()]
      }
      assert.deepStrictEqual(await trace(), await trace())
    })
  ))
