/**
 * What a job will do, for people and for machines: operators, what they read, where their outputs go, and how the work is
 * cut into stages.
 *
 * @since 0.1.0
 */
import * as ErrorPolicy from "./ErrorPolicy.ts"
import * as graphs from "./internal/plan/graph.ts"
import * as layouts from "./internal/plan/layout.ts"
import { canonicalJson } from "./internal/state/keyIdentity.ts"
import * as Partitioner from "./Partitioner.ts"
import * as Watermark from "./Watermark.ts"
import * as Window from "./Window.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Plan {
  readonly job: string
  readonly operators: ReadonlyArray<PlannedOperator>
  readonly sinks: ReadonlyArray<PlannedSink>
  readonly discarded: ReadonlyArray<PlannedDiscard>
  /** @internal */
  readonly graph: graphs.Graph
}

/**
 * @since 0.1.0
 * @category models
 */
export interface PlannedOperator {
  readonly name: string
  readonly kind: string
  /** What it does, in words that stay the same from run to run. */
  readonly details: string
  /** Names of the outputs it reads: `spending` or `spending.late`. */
  readonly reads: ReadonlyArray<string>
  /** What happens to records on which its functions throw, if it says so itself. */
  readonly onError: string | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface PlannedSink {
  readonly name: string
  readonly details: string
  readonly guarantee: string
  readonly reads: string
}

/**
 * @since 0.1.0
 * @category models
 */
export interface PlannedDiscard {
  readonly output: string
  readonly reason: string
}

/** @internal */
export const fromGraph = (job: string, graph: graphs.Graph): Plan => ({
  job,
  operators: graph.operators.map((operator) => ({
    name: operator.label,
    kind: graphs.kindOf(operator.node),
    details: detailsOf(operator),
    reads: operator.inputs.map((port) => portName(graph, port)),
    onError: "onError" in operator.node && operator.node.onError !== undefined
      ? ErrorPolicy.describe(operator.node.onError)
      : undefined
  })),
  sinks: graph.outlets.map(({ name, port, sink }) => ({
    name,
    details: sink.description,
    guarantee: sink.guarantee,
    reads: portName(graph, port)
  })),
  discarded: graph.discarded.map(({ port, reason }) => ({ output: portName(graph, port), reason })),
  graph
})

const portName = ({ operators }: graphs.Graph, { operator, output }: graphs.Port): string =>
  output === "out" ? operators[operator]!.label : `${operators[operator]!.label}.${output}`

const detailsOf = ({ allowedLatenessMillis, node }: graphs.Operator): string => {
  switch (node._tag) {
    case "Source":
      return node.watermark === undefined
        ? `${node.source.description}, no event time`
        : `${node.source.description}, ${Watermark.describe(node.watermark)}`
    case "Window": {
      const fields = node.fields.map(([name, aggregate]) => `${name}: ${aggregate.label}`).join(", ")
      const lateness = allowedLatenessMillis === 0 ? "" : `, allowed lateness ${allowedLatenessMillis} ms`
      const version = node.state.version === 1 ? "" : `, state version ${node.state.version}`
      return `${Window.describe(node.window)}${lateness} of { ${fields} }${version}`
    }
    case "Split":
      return node.branches.map(([name]) => name).join(", ")
    case "Partition":
      return Partitioner.ruleName(node.rule)
    default:
      return ""
  }
}

/**
 * The plan as text, one line per operator, cut into the stages that so many partitions make.
 *
 * @since 0.1.0
 * @category printing
 */
export const toText = (self: Plan, options?: { readonly partitions?: number }): string => {
  const partitions = options?.partitions ?? 1
  const { components, exchanges, stageOf } = layouts.make(self.graph, partitions)
  const lines = [
    `job ${self.job}, ${partitions === 1 ? "1 partition" : `${partitions} partitions`}, plan ${fingerprint(self)}`
  ]
  for (const { stages } of components) {
    for (const stage of stages) {
      lines.push(`  stage ${stage.id}`)
      for (const id of stage.operators) {
        const { details, kind, name, onError, reads } = self.operators[id]!
        const crosses = (input: number) => exchanges.some(({ to }) => to.operator === id && to.input === input)
        const from = reads.map((read, input) => ` ${crosses(input) ? "<==" : "<-"} ${read}`).join(",")
        const policy = onError === undefined ? "" : `, on error ${onError}`
        lines.push(`    ${kind} "${name}"${details === "" ? "" : ` ${details}`}${from}${policy}`)
      }
      for (const [i, sink] of self.sinks.entries()) {
        if (stageOf[self.graph.outlets[i]!.port.operator] !== stage.id) continue
        lines.push(`    sink "${sink.name}" ${sink.details}, ${sink.guarantee} <- ${sink.reads}`)
      }
    }
  }
  for (const { output, reason } of self.discarded) lines.push(`  ${output} is discarded: ${reason}`)
  return lines.join("\n")
}

/**
 * The plan as a Mermaid flowchart. Thick arrows are exchanges between partitions.
 *
 * @since 0.1.0
 * @category printing
 */
export const toMermaid = (self: Plan, options?: { readonly partitions?: number }): string => {
  const { exchanges } = layouts.make(self.graph, options?.partitions ?? 1)
  const text = (parts: ReadonlyArray<string>) =>
    `"${parts.filter((part) => part !== "").join("<br/>").replaceAll("\"", "#quot;")}"`
  const lines = ["flowchart LR"]
  self.operators.forEach(({ details, kind, name }, id) => {
    const [open, close] = kind === "source" ? ["([", "])"] : ["[", "]"]
    lines.push(`  o${id}${open}${text([kind, name, details])}${close}`)
  })
  self.sinks.forEach(({ details, name }, i) => lines.push(`  s${i}[(${text(["sink", name, details])})]`))
  for (const { id, inputs } of self.graph.operators) {
    inputs.forEach(({ operator, output }, input) => {
      const arrow = exchanges.some(({ to }) => to.operator === id && to.input === input) ? "==>" : "-->"
      lines.push(`  o${operator} ${arrow}${output === "out" ? "" : `|${output}|`} o${id}`)
    })
  }
  self.graph.outlets.forEach(({ port }, i) => {
    lines.push(`  o${port.operator} -->${port.output === "out" ? "" : `|${port.output}|`} s${i}`)
  })
  return lines.join("\n")
}

/**
 * The plan as plain data.
 *
 * @since 0.1.0
 * @category printing
 */
export const toJson = (self: Plan, options?: { readonly partitions?: number }): PlanJson => {
  const { components } = layouts.make(self.graph, options?.partitions ?? 1)
  const { discarded, job, operators, sinks } = self
  return {
    job,
    fingerprint: fingerprint(self),
    operators,
    sinks,
    discarded,
    stages: components.flatMap(({ stages }) => stages.map(({ operators: ids }) => ids.map((id) => operators[id]!.name)))
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface PlanJson {
  readonly job: string
  readonly fingerprint: string
  readonly operators: ReadonlyArray<PlannedOperator>
  readonly sinks: ReadonlyArray<PlannedSink>
  readonly discarded: ReadonlyArray<PlannedDiscard>
  /** The names of the operators of each stage. */
  readonly stages: ReadonlyArray<ReadonlyArray<string>>
}

/**
 * Sixteen hexadecimal digits that are the same for plans with the same operators, windows, aggregates, keys and sinks.
 *
 * **Gotchas**
 *
 * Functions have no fingerprint: a changed lambda is not seen, only a changed structure.
 *
 * @since 0.1.0
 * @category getters
 */
export const fingerprint = ({ discarded, job, operators, sinks }: Plan): string => {
  const text = canonicalJson(JSON.parse(JSON.stringify({ job, operators, sinks, discarded })))
  // FNV-1a with 64 bits: small, and the same in every release (Fowler, Noll, Vo).
  let hash = 0xcbf29ce484222325n
  for (const byte of new TextEncoder().encode(text)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n)
  return hash.toString(16).padStart(16, "0")
}
