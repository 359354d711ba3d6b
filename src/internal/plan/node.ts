/**
 * The graph behind a flow: one node per operator, shared by reference, never running.
 */
import type { Codec } from "effect/Schema"
import type { Aggregate } from "../../Aggregate.ts"
import type { ErrorPolicy } from "../../ErrorPolicy.ts"
import type { Rule } from "../../Partitioner.ts"
import type { Sink } from "../../Sink.ts"
import type { Source } from "../../Source.ts"
import type { StateVersion } from "../../Upgrade.ts"
import type { Watermark } from "../../Watermark.ts"
import type { Window } from "../../Window.ts"

/** One output of an operator, as another operator or a sink reads it. */
export interface Edge {
  readonly node: Node
  readonly output: string
  /** Of the elements, where one is known: how a checkpoint writes those that are under way. */
  readonly schema: Codec<unknown, unknown> | undefined
}

/** How a keyed flow finds its key. */
export interface Key {
  readonly schema: Codec<unknown, unknown> | undefined
}

export type Node =
  | SourceNode
  | TransformNode
  | MergeNode
  | SplitNode
  | KeyByNode
  | PartitionNode
  | OnlyNode
  | WindowNode

export interface SourceNode {
  readonly _tag: "Source"
  readonly name: string
  readonly source: Source<unknown, unknown, unknown>
  readonly time: ((value: unknown) => number) | undefined
  readonly watermark: Watermark<unknown> | undefined
  readonly onError: ErrorPolicy | undefined
}

/** The operators without state: one record in, any number out. */
export interface TransformNode {
  readonly _tag: "Transform"
  readonly kind: "map" | "filter" | "filterMap" | "flatMap"
  readonly name: string | undefined
  readonly input: Edge
  readonly f: (value: unknown) => unknown
  readonly onError: ErrorPolicy | undefined
}

export interface MergeNode {
  readonly _tag: "Merge"
  readonly inputs: ReadonlyArray<Edge>
}

export interface SplitNode {
  readonly _tag: "Split"
  readonly name: string
  readonly input: Edge
  readonly branches: ReadonlyArray<readonly [name: string, test: (value: unknown) => boolean]>
  readonly onError: ErrorPolicy | undefined
}

export interface KeyByNode {
  readonly _tag: "KeyBy"
  readonly name: string | undefined
  readonly input: Edge
  /** Absent for `Flow.global`: one key for everything. */
  readonly key: ((value: unknown) => unknown) | undefined
  readonly schema: Codec<unknown, unknown> | undefined
  readonly onError: ErrorPolicy | undefined
}

export interface PartitionNode {
  readonly _tag: "Partition"
  readonly input: Edge
  readonly rule: Rule
  readonly onError: ErrorPolicy | undefined
}

/** Passes one output on and remembers why the others are dropped. */
export interface OnlyNode {
  readonly _tag: "Only"
  readonly input: Edge
  readonly discarded: ReadonlyArray<{ readonly edge: Edge; readonly reason: string }>
}

export interface WindowNode {
  readonly _tag: "Window"
  readonly name: string
  readonly input: Edge
  readonly window: Window
  /** Stated by the user; otherwise inherited from the windows before it. */
  readonly allowedLatenessMillis: number | undefined
  readonly fields: ReadonlyArray<readonly [name: string, aggregate: Aggregate<unknown, unknown, unknown>]>
  readonly key: Key
  readonly element: Codec<unknown, unknown> | undefined
  /** How what earlier programs wrote is read. */
  readonly state: StateVersion
  readonly onError: ErrorPolicy | undefined
}

/** Where a flow ends. */
export interface Ending {
  readonly _tag: "To" | "Discard"
  readonly name: string
  readonly edge: Edge
  readonly sink: Sink<never, unknown, unknown> | undefined
  /** Written at once, whatever the sink could do. */
  readonly isEager: boolean
  readonly reason: string | undefined
}

/** The outputs an operator owes an answer for: each must be consumed or discarded. */
export const outputsOf = (node: Node): ReadonlyArray<string> => {
  switch (node._tag) {
    case "Window":
      return ["results", "late"]
    case "Split":
      return [...node.branches.map(([name]) => name), "otherwise"]
    default:
      return ["out"]
  }
}

export const inputsOf = (node: Node): ReadonlyArray<Edge> =>
  node._tag === "Source" ? [] : node._tag === "Merge" ? node.inputs : [node.input]
