/** Law 3, whole jobs, for records beyond any bound on disorder. */
import { describe, it } from "@effect/vitest"
import { crashes } from "./crashes.ts"
import { timeout } from "./running.ts"

describe.each(["one exchange", "one partition"] as const)("crashes, disorder: %s", { timeout }, (disorder) => {
  it("law 3: after any number of lives, sinks hold just what they would have held", () => crashes(disorder))
})
