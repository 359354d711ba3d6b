/** The programs that the compiler accepts also build: each combinator tells its two forms apart at run time. */
import { assert, describe, it } from "@effect/vitest"
import * as Flow from "../../src/Flow.ts"
import * as Job from "../../src/Job.ts"

describe("the programs of the type tests build", () => {
  it("flows, in a pipe and with the subject first", async () => {
    const programs = await import("./programs.ts")
    assert.isTrue(Object.values(programs.first).every((value) => Flow.isFlow(value) || Flow.isFlow(value.otherwise)))
    for (const outputs of [programs.modest, programs.modestFirst, programs.waited]) {
      assert.isTrue([outputs.filtered, outputs.keyed, outputs.dealt, outputs.split.large].every(Flow.isFlow))
    }
    assert.isTrue([programs.spendingFirst.results, programs.onlyFirst, programs.daily].every(Flow.isFlow))
  })

  it("jobs", async () => {
    const jobs = await import("./jobs.ts")
    assert.isTrue([jobs.job, jobs.alone].every(Job.isJob))
  })
})
