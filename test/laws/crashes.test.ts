/** Law 3, whole jobs: neither crashes nor other numbers of partitions can be seen in what came of them. */
import { describe, it } from "@effect/vitest"
import { crashes } from "./crashes.ts"
import { timeout } from "./running.ts"

describe("crashes, disorder: within", { timeout }, () => {
  it("law 3: after any number of lives, sinks hold just what they would have held", () => crashes("within"))
})
