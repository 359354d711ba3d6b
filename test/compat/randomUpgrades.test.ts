/** Random jobs that are stopped or crash, and go on with stateless operators added, removed and renamed. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as fc from "fast-check"
import * as CheckpointStore from "../../src/CheckpointStore.ts"
import * as Flow from "../../src/Flow.ts"
import * as Job from "../../src/Job.ts"
import * as Sink from "../../src/Sink.ts"
import * as Upgrade from "../../src/Upgrade.ts"
import { habits, live, onTurns, partitionsFor, slowStore, toTheEnd } from "../laws/lives.ts"
import { build, type Disorder, type Parts, specs } from "../laws/randomFlows.ts"
import {
  check,
  expected,
  interleavings,
  random,
  type Received,
  recorded,
  run,
  same,
  succeeded,
  timeout
} from "../laws/running.ts"
import { runs } from "../laws/runs.ts"
import { deep } from "../support/deep.ts"

/** For each place, by what name a filter stands there that lets everything pass; none where it is undefined. */
type Filters = ReadonlyArray<string | undefined>

const filters: fc.Arbitrary<Filters> = fc.array(fc.constantFrom(undefined, undefined, "first", "second"), {
  minLength: 4,
  maxLength: 12
})

const passingBy = (filters: Filters): Parts["passing"] => (flow, place) => {
  const name = filters[place % filters.length]
  return name === undefined ? flow : Flow.filter(flow, () => true, { name: `${name} ${place}` })
}

/** The operators that make no windows have names made from their place, which is another. */
const nameless = ({ outputs, refused }: Received): Received => ({
  outputs,
  refused: refused.map((letter) => ({ ...letter, operator: "" }))
})

describe.each<Disorder>(["within", "one exchange"])("disorder: %s", { timeout }, (disorder) => {
  it("what came of a job is what the reference says, however often it has changed", async () => {
    const census = { upgraded: 0, "with state": 0, unchanged: 0, refused: 0 }
    const began = performance.now()
    const life = fc.record({
      filters,
      partitions: partitionsFor(disorder),
      turns: fc.nat({ max: 200 }),
      ending: fc.constantFrom("stop", "stop", "crash")
    })
    await check(
      deep(60, 1000),
      fc.asyncProperty(
        specs(disorder),
        fc.array(life, { minLength: 1, maxLength: 3 }),
        filters,
        fc.record({ habits, interleaving: interleavings, last: partitionsFor(disorder) }),
        async (spec, lives, lastFilters, { habits, interleaving, last }) => {
          const { seed } = interleaving
          const sinks = new Map<string, Sink.MemorySink<unknown>>()
          const sink = (name: string) => {
            const known = sinks.get(name) ?? Sink.memory<unknown>()
            sinks.set(name, known)
            return known
          }
          const built = (filters: Filters) =>
            build(spec, {
              sink,
              deadLetters: sink("dead letters"),
              retries: habits.retries,
              passing: passingBy(filters)
            })
          const next = random(seed)
          const { store } = slowStore(seed)
          let current = lives[0]!.filters
          /** No life has left records under way: those before it have all been stopped. */
          let isClean = true
          /** The next program, unless it is refused for what is under way. */
          const changedTo = Effect.fnUntraced(function*(filters: Filters) {
            const { job } = built(filters)
            const plan = yield* Effect.provideService(Job.plan(job), CheckpointStore.CheckpointStore, store)
            const held = plan.entries.filter(({ status }) => status === "refused")
            if (held.length > 0) {
              // A job may come to its end while it is being stopped.
              const isUnderWay = held.some(({ what }) => what !== "job")
              assert.isFalse(isClean && isUnderWay, `after a stop nothing is under way: ${Upgrade.toText(plan)}`)
              const about = held.every(({ reason, what }) => what === "job" || /under way|waiting for it/.test(reason))
              assert.isTrue(about, Upgrade.toText(plan))
              census.refused++
              return built(current)
            }
            assert.strictEqual(Upgrade.verdict(plan), "safe", Upgrade.toText(plan))
            const hasChanged = plan.epoch !== undefined && plan.entries.some(({ status }) => status !== "kept")
            census[hasChanged ? "upgraded" : "unchanged"]++
            if (hasChanged && plan.entries.some(({ reason }) => reason.includes("of state"))) census["with state"]++
            current = filters
            return built(filters)
          })
          const lived = Effect.gen(function*() {
            for (const { ending, filters, partitions, turns } of lives) {
              const { state } = yield* live(
                yield* changedTo(filters),
                store,
                habits,
                { ending, partitions, turns },
                next
              )
              isClean &&= state === "stopped"
              // With the end of a job nothing can go on.
              if (state === "finished") break
            }
            const { operators, state } = yield* toTheEnd(yield* changedTo(lastFilters), store, habits, last, next)
            const contents: Record<string, ReadonlyArray<unknown>> = {}
            for (const [name, { contents: rows }] of sinks) contents[name] = yield* rows
            return { operators, state, contents }
          })
          const { contents, operators, state } = succeeded(await run(onTurns(lived, seed), interleaving))
          assert.strictEqual(state, "finished")
          const { "dead letters": refused, ...outputs } = contents
          // Nothing but dead letters goes to the sink of that name.
          const received = nameless({ outputs, refused: refused as Received["refused"] })
          same(spec, built([]), received, nameless(expected(recorded(spec).built)), "in the end")
          for (const { keys, operator } of operators) assert.strictEqual(keys, 0, `${operator} remembers`)
        }
      )
    )
    console.log(
      `random upgrades, ${disorder}: ${JSON.stringify(census)} in ${Math.round(performance.now() - began)} ms`
    )
    assert.isAbove(census.upgraded, runs(deep(15, 300)), JSON.stringify(census))
    assert.isAbove(census["with state"], runs(deep(1, 30)), JSON.stringify(census))
  })
})
