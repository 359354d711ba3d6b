/**
 * Ambiguous outcomes on random jobs: calls to the store, the sinks and the sources happen or do not, and are reported as
 * they were or as failures. What is tried again is tried so often and no more, after pauses that grow and are never the
 * same for all. `MILLRACE_SCHEDULE=7` replays one run.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import { CheckpointStore } from "millrace"
import { commitSurely, patient } from "../../src/internal/runtime/patience.ts"
import { memoryStore } from "../../src/internal/stores/memoryStore.ts"
import { runs } from "../laws/runs.ts"
import { deep } from "../support/deep.ts"
import { SeededTime } from "../support/seededTime.ts"
import { ambiguousOf } from "./scenarios.ts"
import { schedule } from "./schedules.ts"

const file = "test/simulation/ambiguous.test.ts"
const { MILLRACE_SCHEDULE: only } = process.env
const count = runs(deep(30, 10_000))

/** Between half of what is due before the n-th try that follows and all of it. */
const dueMillis = (n: number): number => Math.min(5000, 50 * 2 ** n)

/** Milliseconds of the virtual clock, which moves by ticks. */
const tickMillis = 0.5

const commitTries = 20
const readTries = 7

it("commits and reads are tried so often, after pauses that grow and differ", async () => {
  const inner = memoryStore()
  const pausesOf = async (seed: number, use: (store: typeof inner) => Effect.Effect<unknown, unknown>) => {
    const time = new SeededTime({ seed, operations: undefined, preempt: 0, tickMillis: 0.01 })
    const times: Array<number> = []
    const down = Effect.suspend(() => {
      times.push(time.now)
      return Effect.fail(new CheckpointStore.CheckpointStoreError({ job: "job", operation: "try", cause: "down" }))
    })
    const exit = await time.run(
      Effect.exit(use({ ...inner, commit: () => down, blob: () => down })).pipe(Random.withSeed(`${seed}`))
    )
    assert.isTrue(Exit.isSuccess(exit) && Exit.isFailure(exit.value), "it has not given up")
    return times.slice(1).map((at, i) => at - times[i]!)
  }
  const commit = (store: typeof inner) =>
    commitSurely(store, {
      job: "job",
      attempt: 1,
      epoch: 1,
      previous: 0,
      digest: "d",
      manifest: new Uint8Array(),
      blobs: [],
      drop: { epochs: [], blobs: [] },
      alongside: []
    })
  const seen = new Set<string>()
  for (let seed = 0; seed < 20; seed++) {
    const commits = await pausesOf(seed, commit)
    const reads = await pausesOf(seed, (store) => patient(store).blob("job", "1.x"))
    assert.strictEqual(commits.length, commitTries - 1)
    assert.strictEqual(reads.length, readTries - 1)
    for (const pauses of [commits, reads]) {
      pauses.forEach((pause, i) => {
        assert.isAtLeast(pause, dueMillis(i + 1) / 2, `pause ${i + 1}`)
        assert.isAtMost(pause, dueMillis(i + 1) + tickMillis, `pause ${i + 1}`)
      })
    }
    assert.deepStrictEqual(await pausesOf(seed, commit), commits, "equal seeds, equal pauses")
    seen.add(commits.map(Math.round).join())
  }
  assert.strictEqual(seen.size, 20)
})

describe("ambiguous outcomes of random jobs", { timeout: deep(180_000, 7_200_000) * runs(1) }, () => {
  it("are no more than delays", async () => {
    const began = performance.now()
    let [again, most, shortest] = [0, 0, Infinity]
    const [from, to] = only === undefined ? [0, count] : [Number(only), Number(only) + 1]
    for (let seed = from; seed < to; seed++) {
      const { tries } = await schedule(seed, ambiguousOf(seed), file)
      for (const calls of tries) {
        most = Math.max(most, calls.length)
        assert.isAtMost(calls.length, commitTries, `schedule ${seed}`)
        calls.slice(1).forEach(({ from }, i) => {
          again++
          const pause = from - calls[i]!.to
          shortest = Math.min(shortest, pause)
          assert.isAtLeast(pause, dueMillis(i + 1) / 2, `schedule ${seed}, pause ${i + 1}`)
        })
      }
    }
    const seconds = ((performance.now() - began) / 1000).toFixed(0)
    console.log(
      `${to - from} runs in ${seconds} s: ${again} commits tried again, one of them ${most} times, the shortest pause `
        + `${shortest.toFixed(0)} ms`
    )
    if (only === undefined) assert.isAbove(again, (to - from) / 20)
  })
})
