import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { MinimumLogLevel } from "effect/References"
import * as fc from "fast-check"
import * as Source from "../../src/Source.ts"
import * as Supervision from "../../src/Supervision.ts"
import { type Disorder, type Parts, type Row, rowSchema, specs } from "./randomFlows.ts"
import {
  check,
  covers,
  cutEverywhere,
  type CutSettings,
  expected,
  interleavings,
  launched,
  recorded,
  run,
  succeeded,
  turns
} from "./running.ts"
import { runs } from "./runs.ts"

/** More runs may take longer. */
const timeout = 180_000 * runs(1)

/** Something that fails once, after so many calls. */
interface Fault {
  readonly where: "operator" | "sink" | "source"
  readonly after: number
}

const faults: fc.Arbitrary<Fault> = fc.record({
  where: fc.constantFrom("operator", "sink", "source"),
  after: fc.oneof(fc.nat({ max: 5 }), fc.nat({ max: 60 }))
})

/** The parts of a job of which one fails. */
const planted = ({ after, where }: Fault) => {
  let left = after
  const strikes = (here: Fault["where"]): boolean => where === here && left-- === 0
  const fails = () => strikes("operator")
  return {
    hasStruck: () => left < 0,
    onWrite: (keep: () => void) =>
      Effect.suspend(() => {
        if (strikes("sink")) {
          // What came of a write that fails is not known: here all of it, or nothing.
          if (after % 2 === 0) keep()
          return Effect.fail("the sink fails")
        }
        keep()
        return Effect.void
      }),
    parts: {
      touch: () => {
        if (fails()) throw new Error("the operator fails")
      },
      source: (name, splits) =>
        Source.make<Row, string>({
          description: name,
          bounded: true,
          replayable: after % 3 !== 0,
          schema: rowSchema,
          splits: Effect.succeed(splits.map((_, i) => String(i))),
          open: (split, position) =>
            Effect.sync(() => {
              const rows = splits[Number(split)]!
              let at = position === undefined ? 0 : Number(position)
              return {
                pull: (max) =>
                  Effect.suspend(() => {
                    // A source that cannot be opened again is lost when it fails.
                    if (after % 3 !== 0 && strikes("source")) return Effect.fail("the source fails")
                    if (at >= rows.length) return Effect.undefined
                    const start = at
                    const chunk = rows.slice(start, start + Math.min(max, 3))
                    at += chunk.length
                    return Effect.succeed({ rows: chunk, positionAfter: (n: number) => start + n })
                  })
              }
            })
        })
    } satisfies Partial<Parts>
  }
}

const cutSettings = (disorder: Disorder, sabotage: boolean): fc.Arbitrary<CutSettings> =>
  fc.record({
    partitions: fc.integer({ min: 1, max: disorder === "one partition" ? 1 : 4 }),
    batchSize: fc.integer({ min: 1, max: 16 }),
    bufferSize: fc.integer({ min: 1, max: 24 }),
    sabotage: fc.constant(sabotage)
  })

describe.each<Disorder>(["within", "one exchange", "one partition"])(
  "restarts, disorder: %s",
  { timeout },
  (disorder) => {
    it("law 3: after a failure, sinks have seen everything and nothing else", async () => {
      let restarted = 0
      let taken = 0
      await check(
        1000,
        fc.asyncProperty(
          specs(disorder),
          cutSettings(disorder, false),
          interleavings,
          faults,
          async (spec, settings, interleaving, fault) => {
            const undisturbed = expected(recorded(spec).built)
            const { hasStruck, onWrite, parts } = planted(fault)
            const { built, received } = recorded(spec, parts, onWrite)
            const running = launched(built.job, {
              ...settings,
              checkpointEvery: "1 millis",
              restarts: Supervision.restarts({ max: 1, within: "1 hour" })
            }).pipe(
              Effect.provideService(Clock.Clock, turns(interleaving.seed)),
              Effect.provideService(MinimumLogLevel, "None")
            )
            const { checkpoints, operators, restarts } = succeeded(await run(running, interleaving))
            assert.strictEqual(restarts, hasStruck() ? 1 : 0)
            restarted += restarts
            taken += checkpoints
            covers(spec, built, received(), undisturbed, "after a restart")
            for (const { keys, operator } of operators) assert.strictEqual(keys, 0, `${operator} remembers`)
          }
        )
      )
      assert.isAbove(restarted, runs(150))
      // Otherwise every restart would begin at the beginning.
      assert.isAbove(taken, runs(1000))
    })
  }
)

describe.each<Disorder>(["within", "one exchange", "one partition"])("cuts, disorder: %s", { timeout }, (disorder) => {
  it("law 3: every cut leads to the same answer", async () => {
    let restored = 0
    await check(
      1000,
      fc.asyncProperty(
        specs(disorder),
        cutSettings(disorder, false),
        interleavings,
        async (spec, settings, interleaving) => {
          restored += await cutEverywhere(spec, settings, interleaving)
        }
      )
    )
    assert.isAbove(restored, runs(1000))
  })
})

it("a cut that ignores steps is found", async () => {
  const found = await fc.check(
    fc.asyncProperty(
      specs("within"),
      cutSettings("within", true),
      interleavings,
      async (spec, settings, interleaving) => {
        await cutEverywhere(spec, settings, interleaving)
      }
    ),
    { numRuns: runs(350), endOnFailure: true }
  )
  assert.isTrue(found.failed)
  assert.match(String(found.errorInstance), /from cut/)
})
