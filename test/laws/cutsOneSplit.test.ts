/** Law 3, one checkpoint at a time, for records beyond any bound on disorder. */
import { describe, it } from "@effect/vitest"
import { everyCut } from "./cuts.ts"
import { timeout } from "./running.ts"

describe.each(["one exchange", "one partition"] as const)("cuts, disorder: %s", { timeout }, (disorder) => {
  it("law 3: every cut leads to the same answer", () => everyCut(disorder))
})
