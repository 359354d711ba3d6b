import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as fc from "fast-check"
import { Flow, Job, Sink, Source } from "millrace"
import { Simulation } from "millrace/testing"
import { certain, type Comparison, differenceIn, show } from "../../src/internal/simulation/verdict.ts"
import { runs } from "../laws/runs.ts"
import { deep } from "../support/deep.ts"
import { clean, honestTable, mistakes, silent } from "./worlds.ts"

/** Other seeds only where somebody asks for them. */
const isExploring = process.env["MILLRACE_SEED"] !== undefined
const seed = isExploring ? fc.readConfigureGlobal().seed ?? Math.floor(Math.random() * 1e9) : 0

const all: Record<string, number> = {}

describe("jobs that are as they should be", () => {
  for (const [i, [name, world]] of [...Object.entries(clean), ["an honest table", honestTable] as const].entries()) {
    // Each has seeds of its own: the same ones would bring the same weather.
    const first = seed + 10_000 * i
    it.effect(name, () =>
      Effect.gen(function*() {
        const began = performance.now()
        const report = yield* Simulation.check(world, { runs: runs(deep(30, 10_000)), seed: first })
        const { faults, seen, virtualMillis } = report
        for (const [marker, count] of Object.entries(seen)) all[marker] = (all[marker] ?? 0) + count
        assert.isAbove(faults, report.runs)
        console.log(
          `simulated ${name}: ${report.runs} runs from seed ${first}, ${faults} faults, ${
            Math.round(virtualMillis / 1000)
          } s of simulated time, ` +
            `${Math.round(performance.now() - began)} ms`
        )
      }), 1_200_000)
  }

  it("have been in every rare state", () => {
    const rare = [
      "ambiguous commit read again",
      "application repeated",
      "commit tried again",
      "crash after a checkpoint",
      "crash around a call",
      "crash before the first checkpoint",
      "crash between checkpoint and sink",
      "crash between sink and the next checkpoint",
      "crash between two operations",
      "crash within a call",
      "crash of a recovery",
      "disk: all lost",
      "disk: contents torn",
      "disk: names lost",
      "fail late: sink",
      "fail late: store",
      "fail: sink",
      "fail: source",
      "fail: store",
      "hang: source",
      "hang: store",
      "job failed and was launched again",
      "launch from a checkpoint",
      "launch from several segments",
      "launch of a finished job",
      "launch on other partitions",
      "launch with epochs owed to sinks",
      "launch with records under way",
      "lose the answer: sink",
      "lose the answer: source",
      "lose the answer: store",
      "move the clock: sink",
      "move the clock: source",
      "move the clock: store",
      "pause around a call",
      "pause between two operations",
      "restart of a part",
      "slow: sink",
      "slow: source",
      "slow: store",
      "stopped in good order",
      "zombie commit refused"
    ]
    console.log(`rare states: ${JSON.stringify(all)}`)
    const least = isExploring ? 0 : runs(deep(1, 90))
    assert.deepStrictEqual(rare.filter((marker) => (all[marker] ?? 0) < least), [])
  })
})

describe("mistakes are found, and made small", () => {
  for (const [name, world] of Object.entries(mistakes)) {
    it.effect(name, () =>
      Effect.gen(function*() {
        const failure = yield* Effect.flip(Simulation.check(world, { runs: 200 }))
        assert(failure._tag === "SimulationFailed")
        console.log(failure.message)
        assert.notStrictEqual(failure.reason, "stuck")
        assert.isAtMost(failure.plan.faults.length, 3)
        assert.isAtMost(failure.records, 4)
        // What it says replays it.
        const again = yield* Effect.flip(Simulation.run(world, { plan: failure.plan }))
        assert(again._tag === "SimulationFailed")
        assert.deepStrictEqual(again.log, failure.log)
        assert.deepStrictEqual(again.differences, failure.differences)
      }), 120_000)
  }

  it.effect("a sink that does not answer any more", () =>
    Effect.gen(function*() {
      const failure = yield* Effect.flip(Simulation.check(silent, { runs: 200, options: { sinkTimeout: "1 hour" } }))
      assert(failure._tag === "SimulationFailed")
      assert.strictEqual(failure.reason, "stuck")
      assert.include(failure.details, `sink "numbers" has not answered for`)
      assert.include(failure.details, `sink "numbers" is owed`)
      assert.isAtMost(failure.plan.faults.length, 2)
      assert.isAtMost(failure.records, 4)
    }), 120_000)

  it.effect("what a check throws", () =>
    Effect.gen(function*() {
      const check = () => {
        throw new Error("too few")
      }
      const failure = yield* Effect.flip(Simulation.check(honestTable, { runs: 1, check }))
      assert(failure._tag === "SimulationFailed")
      assert.include(failure.message, "check: too few")
      assert.strictEqual(failure.plan.faults.length, 0)
      assert.strictEqual(failure.records, 0)
    }))
})

describe("equal seeds", () => {
  it.effect("give equal runs", () =>
    Effect.gen(function*() {
      const fingerprints = new Set<string>()
      for (const world of Object.values(clean)) {
        for (let i = 0; i < deep(2, 100); i++) {
          const first = yield* Simulation.run(world, { seed: seed + i })
          const second = yield* Simulation.run(world, { seed: seed + i })
          assert.strictEqual(first.fingerprint, second.fingerprint)
          assert.deepStrictEqual(first.log, second.log)
          assert.deepStrictEqual(first.plan, second.plan)
          assert.strictEqual(first.virtualMillis, second.virtualMillis)
          fingerprints.add(first.fingerprint)
        }
      }
      assert.strictEqual(fingerprints.size, Object.keys(clean).length * deep(2, 100))
    }), 1_200_000)

  it.effect("and a plan says all of them, also as text", () =>
    Effect.gen(function*() {
      for (let i = 0; i < deep(4, 100); i++) {
        const { fingerprint, log, plan } = yield* Simulation.run(clean.sessions, { seed: seed + i })
        const read = Schema.decodeUnknownSync(Schema.fromJsonString(Simulation.Plan))(JSON.stringify(plan))
        const again = yield* Simulation.run(clean.sessions, { plan: read })
        assert.deepStrictEqual(again.log, log)
        assert.strictEqual(again.fingerprint, fingerprint)
      }
    }), 1_200_000)
})

describe("what cannot be simulated is refused, with the remedy", () => {
  const refusalOf = (world: Simulation.World) =>
    Effect.map(Effect.flip(Simulation.run(world)), (error) => {
      assert.strictEqual(error._tag, "SimulationRefused")
      return error.message
    })
  const to = (sink: Sink.Sink<number>, source: Source.Source<number> = Source.memory([1])) =>
    Job.make("job", [Flow.from("in", source).pipe(Flow.to("out", sink))])

  it.effect("a queue without records", () =>
    Effect.gen(function*() {
      const message = yield* refusalOf(() => to(Sink.memory(), Source.queue<number>()))
      assert.include(message, `source "in" never ends`)
      assert.include(message, `records: { "in": [...] }`)
    }))

  it.effect("records for nobody", () =>
    Effect.gen(function*() {
      const message = yield* refusalOf(() => ({ job: to(Sink.memory()), records: { input: [1] } }))
      assert.include(message, `there are records for "input"`)
    }))

  it.effect("nothing to read", () =>
    Effect.gen(function*() {
      assert.include(yield* refusalOf(() => to(Sink.forEach(() => Effect.void))), "no output that could be read")
    }))

  it.effect("sinks that are made anew for every life", () =>
    Effect.gen(function*() {
      assert.include(yield* refusalOf(() => ({ job: () => to(Sink.memory()) })), `another one in every life`)
    }))

  it.effect("a job that fails undisturbed", () =>
    Effect.gen(function*() {
      const job = () =>
        Job.make("job", [
          Flow.from("in", Source.memory([1])).pipe(
            Flow.map((): number => {
              throw new Error("never")
            }),
            Flow.to("out", Sink.memory<number>())
          )
        ])
      assert.include(yield* refusalOf(job), "undisturbed")
    }))
})

describe("the verdict", () => {
  const once: Comparison = { atLeastOnce: false, essence: certain, orderedBy: undefined }
  const none = { lost: [], duplicated: [], madeUp: [], disordered: [] }
  const counts = { lost: 0, duplicated: 0, madeUp: 0, disordered: 0 }

  it("names what is lost, what came again, what was made up", () => {
    assert.deepStrictEqual(differenceIn("out", [1, 1, 3], [1, 2], once), {
      output: "out",
      ...none,
      lost: ["2"],
      duplicated: ["1"],
      madeUp: ["3"],
      counts: { ...counts, lost: 1, duplicated: 1, madeUp: 1 }
    })
    assert.isUndefined(differenceIn("out", [2, 1], [1, 2], once))
  })

  it("lets rows that are written at once come again, and no others", () => {
    const again = { ...once, atLeastOnce: true }
    assert.isUndefined(differenceIn("out", [1, 1, 2], [1, 2], again))
    assert.deepStrictEqual(differenceIn("out", [1, 3], [1, 1], again)?.counts, { ...counts, lost: 1, madeUp: 1 })
  })

  it("sees an order within a key", () => {
    const ordered = { ...once, orderedBy: (row: unknown) => (row as string)[0] }
    assert.isUndefined(differenceIn("out", ["b1", "a1", "a2"], ["a1", "b1", "a2"], ordered))
    assert.deepStrictEqual(differenceIn("out", ["a2", "a1"], ["a1", "a2"], ordered)?.disordered, [`"a"`])
  })

  it("knows values apart that are not the same", () => {
    const values = [0, -0, NaN, "1", 1, 1n, null, undefined, [], {}, [1], { a: 1 }, new Date(0), new Map([[1, 2]])]
    assert.strictEqual(new Set(values.map(show)).size, values.length)
    assert.strictEqual(show({ a: 1, b: undefined, c: 2 }), show({ c: 2, a: 1 }))
  })
})

describe("without faults", () => {
  it.effect("nothing happens", () =>
    Effect.gen(function*() {
      const { log, outputs, plan } = yield* Simulation.run(clean.letters, { faults: Simulation.faults.none })
      assert.deepStrictEqual(plan.faults, [])
      assert.strictEqual(log.length, 1)
      assert.strictEqual(outputs["dead letters"]?.length, 8)
    }))
})
