/** Law 3, faults: parts of a job that fail are restarted inside the process, and nobody sees it in what came of the job. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as fc from "fast-check"
import * as Sink from "../../src/Sink.ts"
import * as Source from "../../src/Source.ts"
import * as Supervision from "../../src/Supervision.ts"
import { kept, onTurns } from "./lives.ts"
import { type Disorder, type Parts, type Row, rowSchema, specs } from "./randomFlows.ts"
import { check, covers, expected, interleavings, launched, recorded, run, same, succeeded, timeout } from "./running.ts"
import { runs } from "./runs.ts"

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

interface Settings {
  readonly partitions: number
  readonly batchSize: number
  readonly bufferSize: number
}

const settingsFor = (disorder: Disorder): fc.Arbitrary<Settings> =>
  fc.record({
    partitions: fc.integer({ min: 1, max: disorder === "one partition" ? 1 : 4 }),
    batchSize: fc.integer({ min: 1, max: 16 }),
    bufferSize: fc.integer({ min: 1, max: 24 })
  })

const often = {
  checkpointEvery: "1 millis",
  restarts: Supervision.restarts({ max: 1, within: "1 hour" })
} as const

describe.each<Disorder>(["within", "one exchange", "one partition"])(
  "restarts, disorder: %s",
  { timeout },
  (disorder) => {
    const given = [specs(disorder), settingsFor(disorder), interleavings, faults] as const

    it("law 3: after a failure, plain sinks have seen everything and nothing else", async () => {
      let restarted = 0
      let taken = 0
      await check(
        1000,
        fc.asyncProperty(...given, async (spec, settings, interleaving, fault) => {
          const undisturbed = expected(recorded(spec).built)
          const { hasStruck, onWrite, parts } = planted(fault)
          const { built, received } = recorded(spec, parts, onWrite)
          const running = onTurns(launched(built.job, { ...settings, ...often }), interleaving.seed)
          const { checkpoints, operators, restarts } = succeeded(await run(running, interleaving))
          assert.strictEqual(restarts, hasStruck() ? 1 : 0)
          restarted += restarts
          taken += checkpoints
          covers(spec, built, received(), undisturbed, "after a restart")
          for (const { keys, operator } of operators) assert.strictEqual(keys, 0, `${operator} remembers`)
        })
      )
      assert.isAbove(restarted, runs(150))
      // Otherwise every restart would begin at the beginning.
      assert.isAbove(taken, runs(1000))
    })

    it("law 3: after a failure, transactional sinks have just what they would have had", async () => {
      let restarted = 0
      let refused = 0
      let taken = 0
      await check(
        500,
        fc.asyncProperty(...given, async (spec, settings, interleaving, fault) => {
          const undisturbed = expected(recorded(spec).built)
          const { hasStruck, onWrite, parts } = planted(fault)
          const { built, received } = kept(spec, parts, striking(onWrite))
          const running = onTurns(launched(built.job, { ...settings, ...often }), interleaving.seed)
          const { checkpoints, operators, restarts } = succeeded(await run(running, interleaving))
          // A sink that fails to take an epoch is given it again; nothing else notices.
          assert.strictEqual(restarts, hasStruck() && fault.where !== "sink" ? 1 : 0)
          restarted += restarts
          refused += hasStruck() && fault.where === "sink" ? 1 : 0
          taken += checkpoints
          same(spec, built, await Effect.runPromise(received), undisturbed, "after a restart")
          for (const { keys, operator } of operators) assert.strictEqual(keys, 0, `${operator} remembers`)
        })
      )
      assert.isAbove(restarted, runs(16))
      assert.isAbove(refused, runs(6))
      assert.isAbove(taken, runs(500))
    })
  }
)

/** Plants a fault into the applications of a sink. */
const striking = (onWrite: ReturnType<typeof planted>["onWrite"]) => (inner: Sink.MemorySink<unknown>) =>
  Sink.transactional<unknown, unknown>({
    description: inner.description,
    open: inner.open,
    openEpochs: (opening) =>
      Effect.map(inner.openEpochs!(opening), ({ position, ...writer }) => ({
        ...writer,
        // A memory sink has a position.
        position: position!,
        apply: (application) => onWrite(() => Effect.runSync(writer.apply(application)))
      }))
  })
