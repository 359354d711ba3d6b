/** The laws that everybody's aggregates must keep, for those of Millrace. */
import { describe, it } from "@effect/vitest"
import type * as Schema from "effect/Schema"
import * as fc from "fast-check"
import { Laws } from "millrace/testing"
import type * as Aggregate from "../../src/Aggregate.ts"
import { arbitrarySeed } from "../support/seed.ts"
import { lawRuns } from "./runs.ts"

export const aggregateLaws = <In, Acc, Out>(
  name: string,
  self: Aggregate.Aggregate<In, Acc, Out>,
  options: {
    readonly inputs: fc.Arbitrary<In>
    /** The schema of the flow's elements, for aggregates that keep them. */
    readonly element?: Schema.Codec<In, unknown>
    /** Set for one of your own whose answer depends on the order of arrival, which nothing in the module's does. */
    readonly seesArrival?: true
  }
) =>
  describe(`${name} keeps the laws`, () => {
    const { inputs, ...rest } = options
    const values = fc.sample(inputs, 1000)
    Laws.register(Laws.aggregate(self, { ...rest, values, runs: lawRuns(100), ...arbitrarySeed }), it)
  })
