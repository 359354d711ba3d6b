/** The laws are laws of whatever random flows hold: an operator that they never hold would obey nothing. */
import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import type { Graph } from "../../src/internal/plan/graph.ts"
import { inputsOf, type Node } from "../../src/internal/plan/node.ts"
import type { Window } from "../../src/Window.ts"
import { build, type Disorder, specs } from "./randomFlows.ts"
import { runs } from "./runs.ts"

// Neither compiles before a new kind of operator or window is named here, and then it must be found below.
const operators: Record<Node["_tag"], true> = {
  Source: true,
  Transform: true,
  Merge: true,
  Split: true,
  KeyBy: true,
  Partition: true,
  Only: true,
  Window: true
}
const windows: Record<Window["_tag"], true> = { Aligned: true, Session: true, Custom: true }
const transforms: Record<Extract<Node, { readonly _tag: "Transform" }>["kind"], true> = {
  map: true,
  filter: true,
  filterMap: true,
  flatMap: true
}

const kindsIn = ({ operators }: Graph): ReadonlySet<string> => {
  const kinds = new Set<string>()
  const visit = (node: Node) => {
    kinds.add(node._tag)
    if (node._tag === "Window") kinds.add(node.window._tag)
    if (node._tag === "Transform") kinds.add(node.kind)
    for (const { node: input } of inputsOf(node)) visit(input)
  }
  for (const { node } of operators) visit(node)
  return kinds
}

describe.each<Disorder>(["within", "one exchange", "one partition"])("random flows, disorder: %s", (disorder) => {
  it("hold every kind of operator and window, in some number", () => {
    const counts = new Map<string, number>()
    const sample = fc.sample(specs(disorder), { numRuns: runs(500), seed: 1 })
    for (const spec of sample) {
      for (const kind of kindsIn(build(spec).job.program.graph)) counts.set(kind, (counts.get(kind) ?? 0) + 1)
    }
    for (const kind of Object.keys({ ...operators, ...windows, ...transforms })) {
      // Merging is certain of its result within the bound alone.
      if (kind === "Merge" && disorder !== "within") continue
      assert.isAtLeast(counts.get(kind) ?? 0, Math.max(1, runs(10)), `random jobs with ${kind}`)
    }
  })
})
