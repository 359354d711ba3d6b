/** Walks the nodes behind a job's outputs once, checks them, and gives every operator a number and a label. */
import * as Aggregate from "../../Aggregate.ts"
import type { Sink } from "../../Sink.ts"
import type { Edge, Ending, Node } from "./node.ts"
import { inputsOf, outputsOf } from "./node.ts"
import { PlanInvalid } from "./PlanInvalid.ts"

/** One output of an operator, by number. */
export interface Port {
  readonly operator: number
  readonly output: string
  /** Of what goes through it, where one is known. */
  readonly schema?: Edge["schema"]
}

export interface Operator {
  readonly id: number
  /** The user's name, or one made from the place in the flow; unique in the job. */
  readonly label: string
  readonly node: Exclude<Node, { readonly _tag: "Only" }>
  readonly inputs: ReadonlyArray<Port>
  /** Whether event time reaches it. */
  readonly timed: boolean
  /** How long windows wait for late records, after inheritance; zero for other operators. */
  readonly allowedLatenessMillis: number
}

export interface Outlet {
  readonly name: string
  readonly port: Port
  readonly sink: Sink<never, unknown, unknown>
  /** Rows wait for their epoch to be durable; otherwise they are written at once. */
  readonly byEpoch: boolean
}

export interface Graph {
  /** Upstream before downstream. */
  readonly operators: ReadonlyArray<Operator>
  readonly outlets: ReadonlyArray<Outlet>
  readonly discarded: ReadonlyArray<{ readonly port: Port; readonly reason: string }>
}

const refuse = (
  operator: string,
  problem: string,
  remedy: string,
  subject: PlanInvalid["subject"] = "operator"
): never => {
  throw new PlanInvalid({ operator, subject, problem, remedy })
}

export const make = (job: string, endings: ReadonlyArray<Ending>): Graph => {
  if (job.trim() === "") refuse(job, "has no name", "give Job.make a name that is not empty", "job")
  if (endings.length === 0) refuse(job, "has no outputs", "end at least one flow with Flow.to", "job")
  const numbered = new Map<Node, Operator>()
  const operators: Array<Operator> = []
  const discarded: Array<{ readonly port: Port; readonly reason: string }> = []
  const consumed = new Set<string>()
  const labels = new Map<string, Operator>()

  const resolve = (edge: Edge): Port => {
    if (edge.node._tag === "Only") {
      const { node } = edge
      const port = resolve(node.input)
      if (!numbered.has(node)) {
        numbered.set(node, operators[port.operator]!)
        for (const { edge, reason } of node.discarded) drop(resolve(edge), reason)
      }
      return { ...port, schema: edge.schema ?? port.schema }
    }
    return { operator: visit(edge.node).id, output: edge.output, schema: edge.schema }
  }
  const consume = (port: Port): Port => {
    consumed.add(`${port.operator}.${port.output}`)
    return port
  }
  const drop = (port: Port, reason: string): void => {
    if (reason.trim() === "") {
      refuse(
        operators[port.operator]!.label,
        `discards its output "${port.output}" without a reason`,
        "say why it may be dropped"
      )
    }
    discarded.push({ port: consume(port), reason })
  }

  const visit = (node: Operator["node"]): Operator => {
    const known = numbered.get(node)
    if (known !== undefined) return known
    const inputs = inputsOf(node).map((edge) => consume(resolve(edge)))
    const upstream = inputs.map(({ operator }) => operators[operator]!)
    const operator: Operator = {
      id: operators.length,
      label: labelOf(node, upstream, labels),
      node,
      inputs,
      timed: node._tag === "Source" ? node.time !== undefined : upstream.every(({ timed }) => timed),
      allowedLatenessMillis: latenessOf(node, upstream)
    }
    check(operator)
    labels.set(operator.label, operator)
    operators.push(operator)
    numbered.set(node, operator)
    return operator
  }

  const outlets: Array<Outlet> = []
  for (const ending of endings) {
    const port = resolve(ending.edge)
    if (ending._tag === "Discard") {
      drop(port, ending.reason ?? "")
      continue
    }
    if (ending.name.trim() === "") {
      refuse(operators[port.operator]!.label, "ends in a sink without a name", "give Flow.to a name that is not empty")
    }
    if (ending.name === "dead letters") {
      refuse(ending.name, "has the name that the sink of the dead letters goes by", "give Flow.to another name", "sink")
    }
    if (outlets.some(({ name }) => name === ending.name)) {
      refuse(ending.name, "is the name of two sinks", "give each Flow.to a name of its own", "sink")
    }
    const sink = ending.sink!
    const byEpoch = sink.openEpochs !== undefined && !ending.isEager
    outlets.push({ name: ending.name, port: consume(port), sink, byEpoch })
  }
  for (const { id, label, node } of operators) {
    const unhandled = outputsOf(node).filter((output) => !consumed.has(`${id}.${output}`))
    if (unhandled.length > 0) {
      const names = unhandled.map((output) => `"${output}"`).join(" and ")
      refuse(
        label,
        `has an output that goes nowhere: ${names}`,
        "end it with Flow.to, drop it with Flow.discard(reason), or keep one output with Flow.only"
      )
    }
  }
  return { operators, outlets, discarded }
}

const nameOf = (node: Operator["node"]): string | undefined => {
  switch (node._tag) {
    case "Source":
    case "Window":
    case "Split":
    case "Transform":
    case "KeyBy":
      return node.name
    default:
      return undefined
  }
}

const labelOf = (
  node: Operator["node"],
  upstream: ReadonlyArray<Operator>,
  taken: ReadonlyMap<string, Operator>
): string => {
  const name = nameOf(node)
  if (name !== undefined) {
    if (name.trim() === "") {
      refuse(
        name,
        `is a ${kindOf(node)} without a name`,
        "give it a name that is not empty: its state, metrics and errors are found by it"
      )
    }
    const other = taken.get(name)
    if (other !== undefined) {
      refuse(
        name,
        `is the name of two operators (a ${kindOf(other.node)} and a ${kindOf(node)})`,
        "give each a name of its own, or use the same flow value twice"
      )
    }
    return name
  }
  const base = `${upstream.map(({ label }) => label).join("+")}.${kindOf(node)}`
  let label = base
  for (let n = 2; taken.has(label); n++) label = `${base}#${n}`
  return label
}

/** What an operator is called in plans and messages. */
export const kindOf = (node: Operator["node"]): string => {
  switch (node._tag) {
    case "Transform":
      return node.kind
    case "KeyBy":
      return node.key === undefined ? "global" : "keyBy"
    case "Partition":
      return "partitionBy"
    default:
      return node._tag.toLowerCase()
  }
}

/** A window behind a window sees its late panes only if it waits as long. */
const latenessOf = (node: Operator["node"], upstream: ReadonlyArray<Operator>): number => {
  const inherited = upstream.reduce((most, { allowedLatenessMillis }) => Math.max(most, allowedLatenessMillis), 0)
  return node._tag === "Window" ? node.allowedLatenessMillis ?? inherited : inherited
}

const check = ({ label, node, timed }: Operator): void => {
  if (node._tag !== "Window") return
  if (!timed) {
    refuse(label, "is a window over a flow without event time", "give its source { time, watermark } in Flow.from")
  }
  const lateness = node.allowedLatenessMillis
  if (lateness !== undefined && !(Number.isSafeInteger(lateness) && lateness >= 0)) {
    refuse(
      label,
      "has an allowed lateness that is no span of whole milliseconds",
      "give whole milliseconds, zero or more, and finite"
    )
  }
  for (const [field, aggregate] of node.fields) {
    if (!Aggregate.isAggregate(aggregate)) {
      refuse(label, `computes "${field}" by something that is no aggregate`, "use one of Aggregate")
    }
    if (aggregate.keepsRecords && aggregate.state(node.element) === undefined) {
      refuse(
        label,
        `keeps whole records in "${field}" and has no schema for them`,
        "state it with Flow.typed(schema) before keyBy, at the source, or in the aggregate's own { schema }"
      )
    }
  }
  const { migrations = {}, version } = node.state
  if (!(Number.isSafeInteger(version) && version >= 1)) {
    refuse(label, `has state of version ${version}`, "count versions in whole numbers from 1")
  }
  const beyond = Object.keys(migrations).find((from) => !(Number(from) >= 1 && Number(from) < version))
  if (beyond !== undefined) {
    refuse(
      label,
      `has state of version ${version}, and a migration from version ${beyond}`,
      "count the version up: migrations[1] makes version 2 of version 1"
    )
  }
  if (node.fields.length === 0) refuse(label, "computes nothing", "give Flow.aggregate at least one field")
}
