/** Cuts a graph into stages: chains of operators between two exchanges. */
import type { Graph, Operator, Port } from "./graph.ts"

/** How rows get from one stage to the next. `Forward` keeps the partition. */
export type Route = "Key" | "Rule" | "Forward"

export interface Exchange {
  readonly id: number
  readonly from: Port
  readonly to: { readonly operator: number; readonly input: number }
  readonly route: Route
}

export interface Stage {
  readonly id: number
  /** Upstream before downstream. */
  readonly operators: ReadonlyArray<number>
}

/** What shares no operator with the rest and so starts, fails and restarts alone. */
export interface Component {
  readonly id: number
  readonly stages: ReadonlyArray<Stage>
  readonly outlets: ReadonlyArray<number>
}

export interface Layout {
  readonly partitions: number
  readonly components: ReadonlyArray<Component>
  readonly exchanges: ReadonlyArray<Exchange>
  readonly stageOf: ReadonlyArray<number>
}

class Groups {
  private readonly parent: Array<number>
  constructor(size: number) {
    this.parent = Array.from({ length: size }, (_, i) => i)
  }
  find(i: number): number {
    let root = i
    while (this.parent[root] !== root) root = this.parent[root]!
    return root
  }
  join(a: number, b: number): void {
    // The least number stands for its group, so that numbering follows the flow.
    const [low, high] = [this.find(a), this.find(b)].sort((x, y) => x - y) as [number, number]
    this.parent[high] = low
  }
  groups(): ReadonlyArray<ReadonlyArray<number>> {
    const members = new Map<number, Array<number>>()
    this.parent.forEach((_, i) => {
      const root = this.find(i)
      members.set(root, [...members.get(root) ?? [], i])
    })
    return [...members.values()]
  }
}

/** With one partition nothing has to be exchanged, so every component is one stage. */
const routeInto = (operator: Operator, partitions: number): Route | undefined =>
  partitions === 1
    ? undefined
    : operator.node._tag === "KeyBy"
    ? "Key"
    : operator.node._tag === "Partition"
    ? "Rule"
    : undefined

export const make = ({ operators, outlets }: Graph, partitions: number): Layout => {
  // An operator's level is how many exchanges lie before it; exchanges only go up, so stages cannot wait in a circle.
  const levels: Array<number> = []
  for (const operator of operators) {
    const crossing = routeInto(operator, partitions) === undefined ? 0 : 1
    levels.push(operator.inputs.reduce((level, input) => Math.max(level, levels[input.operator]! + crossing), 0))
  }
  const local = new Groups(operators.length)
  const connected = new Groups(operators.length)
  const exchanges: Array<Exchange> = []
  for (const operator of operators) {
    operator.inputs.forEach((from, input) => {
      connected.join(from.operator, operator.id)
      const route = routeInto(operator, partitions) ??
        (levels[from.operator] === levels[operator.id] ? undefined : "Forward")
      if (route === undefined) local.join(from.operator, operator.id)
      else exchanges.push({ id: exchanges.length, from, to: { operator: operator.id, input }, route })
    })
  }
  const stageOf: Array<number> = []
  const byLevel = (a: ReadonlyArray<number>, b: ReadonlyArray<number>) =>
    levels[a[0]!]! - levels[b[0]!]! || a[0]! - b[0]!
  const stages = [...local.groups()].sort(byLevel).map((members, id): Stage => {
    for (const member of members) stageOf[member] = id
    return { id, operators: members }
  })
  const components = connected.groups().map((members, id): Component => ({
    id,
    stages: stages.filter(({ operators }) => members.includes(operators[0]!)),
    outlets: outlets.flatMap(({ port }, i) => members.includes(port.operator) ? [i] : [])
  }))
  return { partitions, components, exchanges, stageOf }
}
