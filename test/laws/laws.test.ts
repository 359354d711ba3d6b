import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { type Disorder, specs } from "./randomFlows.ts"
import { check, expected, launched, once, recorded, run, same, succeeded, timeout } from "./running.ts"

describe.each<Disorder>(["within", "one exchange", "one partition"])("disorder: %s", { timeout }, (disorder) => {
  it("law 1 and 4: the size of batches and buffers does not matter, and the answer is that of the reference", () =>
    check(
      1000,
      fc.asyncProperty(specs(disorder), fc.constantFrom(1, 2, 7, 64, 8192), async (spec, bufferSize) => {
        const { built, received } = recorded(spec)
        const reference = expected(built)
        for (const batchSize of [1, 2, 7, 64, 4096]) {
          succeeded(await run(launched(built.job, { batchSize, bufferSize }), undefined))
          same(spec, built, received(), reference, `batches of ${batchSize}, buffers of ${bufferSize}`)
        }
      })
    ))

  it("law 6: nothing is remembered once event time has passed everything", () =>
    check(
      1000,
      fc.asyncProperty(
        specs(disorder),
        fc.integer({ min: 1, max: disorder === "one partition" ? 1 : 4 }),
        async (spec, partitions) => {
          const { operators } = await once(spec, { partitions })
          for (const { keys, operator, watermark } of operators) {
            assert.strictEqual(keys, 0, `${operator} remembers`)
            assert.strictEqual(watermark, Infinity, `${operator} is not at the end`)
          }
        }
      )
    ))
})
