/** What a checkpoint remembers of the plan that wrote it: of each operator, source and output what its state hangs on. */
import * as Schema from "effect/Schema"
import type { Sink } from "../../Sink.ts"
import * as Watermark from "../../Watermark.ts"
import * as Window from "../../Window.ts"
import { type Graph, kindOf, type Operator, type Port } from "./graph.ts"
import { type Shape, shapeOf } from "./shape.ts"

/** What an operator or output reads. */
const Input = Schema.Struct({
  operator: Schema.String,
  output: Schema.String,
  /** Of the operator that is read: one of another kind under the same name gives other rows. */
  kind: Schema.String,
  /** How rows are written; see `shape.ts`. */
  row: Schema.Json,
  /** Of the keys that rows under way to it have; absent where they have none. */
  key: Schema.optionalKey(Schema.Json)
})
export type InputRecord = typeof Input.Type

const WindowState = Schema.Struct({
  window: Schema.String,
  latenessMillis: Schema.Number,
  key: Schema.Json,
  /** Of the state, as the user counts. */
  version: Schema.Int,
  /** In the order of their columns. */
  fields: Schema.Array(Schema.Struct({ name: Schema.String, aggregate: Schema.String, state: Schema.Json }))
})
export type WindowRecord = typeof WindowState.Type

const OperatorRecord = Schema.Struct({
  operator: Schema.String,
  kind: Schema.String,
  inputs: Schema.Array(Input),
  source: Schema.optionalKey(
    Schema.Struct({
      description: Schema.String,
      /** The rule of its watermarks; absent without event time. */
      watermark: Schema.optionalKey(Schema.String),
      /** Where the program itself holds the rows, how many splits there are. */
      splits: Schema.optionalKey(Schema.Int)
    })
  ),
  state: Schema.optionalKey(WindowState)
})
export type OperatorRecord = typeof OperatorRecord.Type

const OutputRecord = Schema.Struct({
  output: Schema.String,
  delivery: Schema.Literals(["by epoch", "at once"]),
  guarantee: Schema.String,
  sink: Schema.String,
  input: Input
})
export type OutputRecord = typeof OutputRecord.Type

export const PlanRecord = Schema.Struct({
  operators: Schema.Array(OperatorRecord),
  outputs: Schema.Array(OutputRecord)
})
export type PlanRecord = typeof PlanRecord.Type

/** The name of the output that takes what was refused. */
export const deadLettersName = "dead letters"

export const recordOf = (graph: Graph, deadLetters: Sink<never, unknown, unknown> | undefined): PlanRecord => ({
  operators: graph.operators.map((operator) => ({
    operator: operator.label,
    kind: kindOf(operator.node),
    inputs: operator.inputs.map((port) => inputOf(graph, port, operator)),
    ...own(operator)
  })),
  outputs: [
    ...graph.outlets.map(({ byEpoch, name, port, sink }): OutputRecord => ({
      output: name,
      delivery: byEpoch ? "by epoch" : "at once",
      guarantee: sink.guarantee,
      sink: sink.description,
      input: inputOf(graph, port)
    })),
    ...deadLetters === undefined ? [] : [
      {
        output: deadLettersName,
        delivery: deadLetters.openEpochs === undefined ? "at once" as const : "by epoch" as const,
        guarantee: deadLetters.guarantee,
        sink: deadLetters.description,
        input: { operator: "", output: "", kind: "", row: "Plain" }
      }
    ]
  ]
})

const inputOf = (graph: Graph, { operator, output, schema }: Port, reader?: Operator): InputRecord => {
  const { label, node } = graph.operators[operator]!
  const row = (): Shape => {
    if (schema !== undefined) return shapeOf(schema)
    if (node._tag !== "Window") return "Plain"
    return output === "results" ? ["Pane", shapeOf(node.key.schema)] : ["Late", shapeOf(node.element)]
  }
  // In front of a keyBy the key has been found by whoever sent the row.
  const key = keyBehind(graph, reader?.node._tag === "KeyBy" ? reader.id : operator)
  return { operator: label, output, kind: kindOf(node), row: row(), ...key === undefined ? {} : { key } }
}

/** Of the keys that rows have behind an operator. */
const keyBehind = (graph: Graph, operator: number): Shape | undefined => {
  const { inputs, node } = graph.operators[operator]!
  switch (node._tag) {
    case "Source":
      return undefined
    case "KeyBy":
      return shapeOf(node.schema)
    case "Window":
      return shapeOf(node.key.schema)
    default: {
      const keys = inputs.map((input) => keyBehind(graph, input.operator))
      return keys.length === 1 ? keys[0] : ["Union", keys.map((key) => key ?? "Never")]
    }
  }
}

const own = (operator: Operator): Pick<OperatorRecord, "source" | "state"> => {
  const { allowedLatenessMillis, node } = operator
  switch (node._tag) {
    case "Source":
      return {
        source: {
          description: node.source.description,
          ...node.watermark === undefined ? {} : { watermark: Watermark.describe(node.watermark) },
          ...node.source.body._tag === "Memory" ? { splits: node.source.body.splits.length } : {}
        }
      }
    case "Window":
      return {
        state: {
          window: Window.describe(node.window),
          latenessMillis: allowedLatenessMillis,
          key: shapeOf(node.key.schema),
          version: node.state.version,
          fields: node.fields.map(([name, aggregate]) => ({
            name,
            aggregate: aggregate.label,
            state: shapeOf(aggregate.state(node.element))
          }))
        }
      }
    default:
      return {}
  }
}
