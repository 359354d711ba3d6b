/**
 * Law 3 under seeded schedules: the seed chooses the job, how its fibers take turns, and all that goes wrong around it.
 * `MILLRACE_SCHEDULE=7` replays one schedule, `MILLRACE_SCHEDULES=1000` runs so many, `MILLRACE_SEED` begins elsewhere.
 */
import { assert, describe, it } from "@effect/vitest"
import { runs } from "../laws/runs.ts"
import { deep, isDeep } from "../support/deep.ts"
import { type Marker, markers } from "./markers.ts"
import { schedule } from "./schedules.ts"

const { MILLRACE_SCHEDULE: only, MILLRACE_SEED: seed = "0" } = process.env
const first = seed === "random" ? Math.floor(Math.random() * 1e9) : Number(seed)
const count = runs(deep(80, 10_000))

describe("seeded schedules", { timeout: deep(180_000, 7_200_000) * runs(1) }, () => {
  it.runIf(only !== undefined)("the one that was asked for", async () => {
    const { seen } = await schedule(Number(only))
    console.log([...seen].join("\n"))
  })

  it.runIf(only === undefined)("nothing is lost, nothing comes twice, and every run comes to its end", async () => {
    const hits = new Map<Marker, number>(markers.map((marker) => [marker, 0]))
    const began = performance.now()
    let [again, epochs, worst] = [0, 0, 0]
    for (let n = first; n < first + count; n++) {
      const report = await schedule(n)
      for (const marker of report.seen) hits.set(marker, hits.get(marker)! + 1)
      epochs += report.epochs
      worst = Math.max(worst, report.steps / report.cleanSteps)
      if (n % 100 !== 0) continue
      again++
      assert.strictEqual(
        (await schedule(n)).fingerprint,
        report.fingerprint,
        `schedule ${n} is another one when replayed`
      )
    }
    const seconds = (performance.now() - began) / 1000
    console.log(
      `${count} schedules, ${epochs} epochs, ${again} replayed, in ${
        seconds.toFixed(0)
      } s; the last life of a run took at `
        + `most ${worst.toFixed(2)} times the steps of a clean one\n`
        + [...hits].sort((a, b) => a[1] - b[1]).map(([marker, hits]) => `${hits}\t${marker}`).join("\n")
    )
    const least = Math.floor(10 * count / 10_000)
    const rare = [...hits].filter(([, hits]) => hits < (isDeep ? Math.max(1, least) : 0))
    assert.deepStrictEqual(rare, [], "states that were too rare for the schedules to prove much about them")
  })
})
