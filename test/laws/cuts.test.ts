/** Law 3, one checkpoint at a time: whichever a job goes on from, on however many partitions, the answer is the same. */
import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { cutEverywhere, everyCut, settingsFor } from "./cuts.ts"
import { specs } from "./randomFlows.ts"
import { timeout } from "./running.ts"
import { runs } from "./runs.ts"

describe("cuts, disorder: within", { timeout }, () => {
  it("law 3: every cut leads to the same answer", () => everyCut("within"))
})

it("a cut that ignores steps is found", { timeout }, async () => {
  const found = await fc.check(
    fc.asyncProperty(
      specs("within"),
      settingsFor("within"),
      (spec, settings) => cutEverywhere(spec, { ...settings, most: 8 }, undefined, "cut ignores steps")
    ),
    { numRuns: runs(350), endOnFailure: true }
  )
  assert.isTrue(found.failed)
  assert.match(String(found.errorInstance), /from epoch/)
})
