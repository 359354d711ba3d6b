/**
 * The description of a stream program: inert, printable, hashable.
 *
 * `Flow<A, E, R, T>` carries elements, errors, requirements and **traits**. Traits are what a consumer must be able to
 * cope with; they accumulate as a union, exactly like `E` and `R`, and the best flow has none (`never`): event-timed and
 * append-only.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type * as Option from "effect/Option"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import { hasProperty, type Predicate, type Refinement } from "effect/Predicate"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Covariant, Invariant } from "effect/Types"
import type { Fields } from "./Aggregate.ts"
import type { ErrorPolicy } from "./ErrorPolicy.ts"
import type { JobError } from "./FlowError.ts"
import { wholeMillis } from "./internal/numbers.ts"
import type { Edge, Ending, Node } from "./internal/plan/node.ts"
import { PlanInvalid } from "./internal/plan/PlanInvalid.ts"
import type { Partitioner } from "./Partitioner.ts"
import type { Guarantee, Sink } from "./Sink.ts"
import * as Source from "./Source.ts"
import type { StateVersion } from "./Upgrade.ts"
import type { Watermark } from "./Watermark.ts"
import type { Late, Pane, Window } from "./Window.ts"

const TypeId = "~millrace/Flow"
const KeyedTypeId = "~millrace/Flow.keyBy"
const WindowedTypeId = "~millrace/Flow.window"
const OutputTypeId = "~millrace/Output"

// The interfaces below spell these out, as a message then says `Property '"~millrace/Flow.keyBy"' is missing`, where it would
// say `Property '[KeyedTypeId]' is missing`.

/**
 * Kinds of change, other than insertion, that a flow may carry.
 *
 * @since 0.1.0
 * @category models
 */
export type Changes = "updates" | "retracts"

/**
 * What a consumer must cope with.
 *
 * @since 0.1.0
 * @category models
 */
export type Trait = "no event time" | Changes

/**
 * @since 0.1.0
 * @category models
 */
export interface Flow<out A, out E = never, out R = never, out T extends Trait = never> extends Pipeable {
  readonly "~millrace/Flow": {
    readonly _A: Covariant<A>
    readonly _E: Covariant<E>
    readonly _R: Covariant<R>
    readonly _T: Covariant<T>
  }
}

/**
 * Phantom keys are named after the function that provides them, so that "property … is missing" names the remedy.
 *
 * @since 0.1.0
 * @category models
 */
export interface Keyed<in out K> {
  readonly "~millrace/Flow.keyBy": Invariant<K>
}

/**
 * A flow partitioned by key. Invariant in `K`, because a key travels with its codec.
 *
 * @since 0.1.0
 * @category models
 */
export interface KeyedFlow<in out K, out A, out E = never, out R = never, out T extends Trait = never>
  extends Flow<A, E, R, T>, Keyed<K>
{}

/**
 * A flow cut into windows, waiting for what to compute.
 *
 * @since 0.1.0
 * @category models
 */
export interface Windowed<in out K, out A, out E = never, out R = never, out T extends Trait = never> extends Pipeable {
  readonly "~millrace/Flow.window": {
    readonly _K: Invariant<K>
    readonly _A: Covariant<A>
    readonly _E: Covariant<E>
    readonly _R: Covariant<R>
    readonly _T: Covariant<T>
  }
}

/**
 * Outputs of a windowed operator. Each of them goes to a sink or is discarded with a reason.
 *
 * @since 0.1.0
 * @category models
 */
export interface WindowOutputs<out K, out A, out Out, out E, out R, out T extends Trait> extends Pipeable {
  readonly results: Flow<Pane<K, Out>, E, R, T>
  readonly late: Flow<Late<A>, E, R>
}

/**
 * A flow that ends somewhere: in a sink, or discarded with a reason.
 *
 * @since 0.1.0
 * @category models
 */
export interface Output<out E = never, out R = never, out G extends Guarantee = never> {
  readonly "~millrace/Output": { readonly _E: Covariant<E>; readonly _R: Covariant<R>; readonly _G: Covariant<G> }
}

/**
 * The element type of a flow.
 *
 * @since 0.1.0
 * @category models
 */
export type Element<F> = F extends Flow<infer A, unknown, unknown, Trait> ? A : never

/**
 * What a stateless operator may be told besides its function.
 *
 * @since 0.1.0
 * @category models
 */
export interface OperatorOptions {
  /** How the operator appears in plans, metrics and errors; made from its place in the flow otherwise. */
  readonly name?: string
  /** What happens to a record on which the function throws; the job's policy otherwise. */
  readonly onError?: ErrorPolicy
}

// What stands behind the types. Everything below reads and writes `Inner`; the public interfaces show only variance.

interface Inner extends Pipeable {
  readonly edge: Edge
  readonly schema: Schema.Codec<unknown, unknown> | undefined
  readonly keySchema: Schema.Codec<unknown, unknown> | undefined
}

const variance = {
  _A: (_: never) => _,
  _E: (_: never) => _,
  _R: (_: never) => _,
  _T: (_: never) => _,
  _K: (_: unknown) => _,
  _G: (_: never) => _
}

const Pipe = {
  pipe() {
    return pipeArguments(this, arguments)
  }
}
const FlowProto = { ...Pipe, [TypeId]: variance }
const KeyedProto = { ...FlowProto, [KeyedTypeId]: variance._K }
const WindowedProto = { ...Pipe, [WindowedTypeId]: variance }
const OutputProto = { [OutputTypeId]: variance }

// The casts below are the seam between the typed surface and the untyped graph: `node` holds functions over `unknown`.
const flow = (node: Node, schema: Inner["schema"], output = "out"): never =>
  Object.assign(Object.create(FlowProto), { edge: { node, output, schema }, schema, keySchema: undefined }) as never
const keyed = (node: Node, schema: Inner["schema"], keySchema: Inner["keySchema"], output = "out"): never =>
  Object.assign(Object.create(KeyedProto), { edge: { node, output, schema }, schema, keySchema }) as never
const inner = (self: Flow<unknown, unknown, unknown, Trait>): Inner => self as unknown as Inner
const untyped = <F>(f: F) => f as unknown as (value: unknown) => never

/** @internal */
export const edgeOf = (self: Flow<unknown, unknown, unknown, Trait>): Edge => inner(self).edge
/** @internal */
export const endingOf = (self: Output<unknown, unknown, Guarantee>): Ending =>
  (self as unknown as { readonly ending: Ending }).ending

/**
 * @since 0.1.0
 * @category guards
 */
export const isFlow = (u: unknown): u is Flow<unknown, unknown, unknown, Trait> => hasProperty(u, TypeId)

const isWindowed = (u: unknown): boolean => hasProperty(u, WindowedTypeId)
const subjectIsFlow = (args: IArguments) => isFlow(args[0])

/**
 * How event time is read from a source's records.
 *
 * @since 0.1.0
 * @category models
 */
export interface TimeOptions<in A> {
  /** Epoch milliseconds, an integer, possibly negative. Anything else sends the record to the error policy. */
  readonly time: (value: A) => number
  readonly watermark: Watermark<A>
  /** What happens to records that cannot be decoded or have no valid time; the job's policy otherwise. */
  readonly onError?: ErrorPolicy
}

/**
 * What a source without event time may be told.
 *
 * @since 0.1.0
 * @category models
 */
export interface UntimedOptions<in A> {
  /** What happens to records that cannot be decoded; the job's policy otherwise. */
  readonly onError?: ErrorPolicy
  // Never given: they make the compiler go on to `TimeOptions`, with lambdas inside a watermark typed, and report its errors.
  readonly time?: never
  readonly watermark?: Watermark<A> & "a watermark needs a time"
}

/**
 * Begins a flow at a source. With `time` and `watermark` it has event time; without, windows refuse it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const from: {
  <A, E, R>(
    name: string,
    source: Source.Source<A, E, R>,
    options?: UntimedOptions<NoInfer<A>>
  ): Flow<A, E, R, "no event time">
  <A, E, R>(name: string, source: Source.Source<A, E, R>, options: TimeOptions<NoInfer<A>>): Flow<A, E, R>
} = <A, E, R>(name: string, source: Source.Source<A, E, R>, options?: UntimedOptions<A> | TimeOptions<A>): never =>
  flow({
    _tag: "Source",
    name,
    source,
    time: options?.time as ((value: unknown) => number) | undefined,
    watermark: options?.watermark as Watermark<unknown> | undefined,
    onError: options?.onError
  }, source.schema)

/**
 * Begins a flow at an Effect `Stream`. See `Source.stream` for what a restart means.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromStream: {
  <A, E, R>(
    name: string,
    stream: Stream.Stream<A, E, R>,
    options?: UntimedOptions<NoInfer<A>> & { readonly schema?: Schema.Codec<NoInfer<A>, unknown> }
  ): Flow<A, E, R, "no event time">
  <A, E, R>(
    name: string,
    stream: Stream.Stream<A, E, R>,
    options: TimeOptions<NoInfer<A>> & { readonly schema?: Schema.Codec<NoInfer<A>, unknown> }
  ): Flow<A, E, R>
} = <A, E, R>(
  name: string,
  stream: Stream.Stream<A, E, R>,
  options?: (UntimedOptions<A> | TimeOptions<A>) & { readonly schema?: Schema.Codec<A, unknown> }
): never => {
  const source = Source.stream(stream, options?.schema === undefined ? {} : { schema: options.schema })
  return from(name, source, options as TimeOptions<A>) as never
}

/**
 * A flow of `B` for a function of `A`, whose type comes from either: a lambda takes it from the flow, and a function that
 * asks for less than the flow has leaves the flow as it is.
 *
 * @since 0.1.0
 * @category models
 */
export type Of<A, B extends A, E, R, T extends Trait> = Flow<A, E, R, T> & Flow<B, E, R, T>

const transform = (
  kind: "map" | "filter" | "filterMap" | "flatMap",
  self: Inner,
  f: unknown,
  options: OperatorOptions | undefined
): Node => ({
  _tag: "Transform",
  kind,
  name: options?.name,
  input: self.edge,
  f: untyped(f),
  onError: options?.onError
})

/**
 * Replaces every element. The key is dropped, because the new element need not have it.
 *
 * @since 0.1.0
 * @category mapping
 */
export const map: {
  <A, B>(
    f: (value: A) => B,
    options?: OperatorOptions
  ): <E, R, T extends Trait>(self: Flow<A, E, R, T>) => Flow<B, E, R, T>
  <A, E, R, T extends Trait, B>(
    self: Flow<A, E, R, T>,
    f: (value: A) => B,
    options?: OperatorOptions
  ): Flow<B, E, R, T>
} = dual(
  subjectIsFlow,
  (self: Inner, f: unknown, options?: OperatorOptions) => flow(transform("map", self, f, options), undefined)
)

/**
 * Replaces every element by any number of others, which inherit its time.
 *
 * @since 0.1.0
 * @category mapping
 */
export const flatMap: {
  <A, B>(
    f: (value: A) => Iterable<B>,
    options?: OperatorOptions
  ): <E, R, T extends Trait>(self: Flow<A, E, R, T>) => Flow<B, E, R, T>
  <A, E, R, T extends Trait, B>(
    self: Flow<A, E, R, T>,
    f: (value: A) => Iterable<B>,
    options?: OperatorOptions
  ): Flow<B, E, R, T>
} = dual(
  subjectIsFlow,
  (self: Inner, f: unknown, options?: OperatorOptions) => flow(transform("flatMap", self, f, options), undefined)
)

/**
 * Maps and filters at once: `Option.none()` drops the element.
 *
 * @since 0.1.0
 * @category filtering
 */
export const filterMap: {
  <A, B>(
    f: (value: A) => Option.Option<B>,
    options?: OperatorOptions
  ): <E, R, T extends Trait>(self: Flow<A, E, R, T>) => Flow<B, E, R, T>
  <A, E, R, T extends Trait, B>(
    self: Flow<A, E, R, T>,
    f: (value: A) => Option.Option<B>,
    options?: OperatorOptions
  ): Flow<B, E, R, T>
} = dual(
  subjectIsFlow,
  (self: Inner, f: unknown, options?: OperatorOptions) => flow(transform("filterMap", self, f, options), undefined)
)

/**
 * Same elements, so the same key if there is one.
 *
 * @since 0.1.0
 * @category models
 */
export type Keep<K, A, E, R, T extends Trait> = [K] extends [never] ? Flow<A, E, R, T> : KeyedFlow<K, A, E, R, T>

/**
 * Matches keyed and unkeyed flows; an unkeyed one leaves `K` at its default.
 *
 * @since 0.1.0
 * @category models
 */
export type AnyFlow<K, A, E, R, T extends Trait> = Flow<A, E, R, T> & Partial<Keyed<K>>

/**
 * Keeps the elements that satisfy the predicate, and the key.
 *
 * @since 0.1.0
 * @category filtering
 */
export const filter: {
  <A, B extends A>(
    refinement: Refinement<A, B>,
    options?: OperatorOptions
  ): <E, R, T extends Trait, K = never>(self: AnyFlow<K, A, E, R, T>) => Keep<K, B, E, R, T>
  <A>(
    predicate: Predicate<A>,
    options?: OperatorOptions
  ): <E, R, T extends Trait, K = never, B extends A = A>(
    self: AnyFlow<K, A, E, R, T> & Flow<B, E, R, T>
  ) => Keep<K, B, E, R, T>
  <A, E, R, T extends Trait, B extends A, K = never>(
    self: AnyFlow<K, A, E, R, T>,
    refinement: Refinement<A, B>,
    options?: OperatorOptions
  ): Keep<K, B, E, R, T>
  <A, E, R, T extends Trait, K = never>(
    self: AnyFlow<K, A, E, R, T>,
    predicate: Predicate<A>,
    options?: OperatorOptions
  ): Keep<K, A, E, R, T>
} = dual(subjectIsFlow, (self: Inner, predicate: unknown, options?: OperatorOptions) => {
  const node = transform("filter", self, predicate, options)
  return hasProperty(self, KeyedTypeId) ? keyed(node, self.schema, self.keySchema) : flow(node, self.schema)
})

/**
 * The schema of what flows from here on, for operators that keep whole records. Keeps the key.
 *
 * @since 0.1.0
 * @category mapping
 */
export const typed =
  <A>(schema: Schema.Codec<A, unknown>) =>
  <E, R, T extends Trait, K = never>(self: AnyFlow<K, A, E, R, T>): Keep<K, A, E, R, T> => {
    const { edge: { node, output }, keySchema } = inner(self)
    return hasProperty(self, KeyedTypeId) ? keyed(node, schema, keySchema, output) : flow(node, schema, output)
  }

/**
 * Both flows as one. Records of each keep their order; between the two there is none. The watermark is the lesser one.
 *
 * @since 0.1.0
 * @category combining
 */
export const merge: {
  <A2, E2, R2, T2 extends Trait>(
    that: Flow<A2, E2, R2, T2>
  ): <A, E, R, T extends Trait>(self: Flow<A, E, R, T>) => Flow<A | A2, E | E2, R | R2, T | T2>
  <A, E, R, T extends Trait, A2, E2, R2, T2 extends Trait>(
    self: Flow<A, E, R, T>,
    that: Flow<A2, E2, R2, T2>
  ): Flow<A | A2, E | E2, R | R2, T | T2>
} = dual(
  2,
  (self: Inner, that: Inner) =>
    flow({ _tag: "Merge", inputs: [self.edge, that.edge] }, self.schema === that.schema ? self.schema : undefined)
)

/**
 * A predicate or refinement per branch.
 *
 * @since 0.1.0
 * @category models
 */
export type Branches<A> = { readonly [name: string]: (value: A) => boolean }

/**
 * What `split` gives: a flow per branch, and `otherwise` for elements that no branch took.
 *
 * @since 0.1.0
 * @category models
 */
export type SplitOutputs<A, B, E, R, T extends Trait> =
  & { readonly [Name in keyof B]: Flow<B[Name] extends Refinement<A, infer X> ? X : A, E, R, T> }
  & { readonly otherwise: Flow<A, E, R, T> }
  & Pipeable

/**
 * Sends every element to the first branch whose test it passes, else to `otherwise`. Every branch must be consumed or
 * discarded.
 *
 * @since 0.1.0
 * @category combining
 */
export const split: {
  <A, const B extends Branches<A>>(
    name: string,
    branches: B & Branches<A>,
    options?: { readonly onError?: ErrorPolicy }
  ): <E, R, T extends Trait, C extends A = A>(self: Of<A, C, E, R, T>) => SplitOutputs<C, B, E, R, T>
  <A, E, R, T extends Trait, const B extends Branches<A>>(
    self: Flow<A, E, R, T>,
    name: string,
    branches: B & Branches<A>,
    options?: { readonly onError?: ErrorPolicy }
  ): SplitOutputs<A, B, E, R, T>
} = dual(
  subjectIsFlow,
  (self: Inner, name: string, branches: Branches<unknown>, options?: { readonly onError?: ErrorPolicy }): never => {
    if (Object.hasOwn(branches, "otherwise")) {
      throw new PlanInvalid({
        operator: name,
        subject: "operator",
        problem: "has a branch named \"otherwise\", which is the output for elements that no branch took",
        remedy: "give the branch another name"
      })
    }
    const node: Node = {
      _tag: "Split",
      name,
      input: self.edge,
      branches: Object.entries(branches),
      onError: options?.onError
    }
    const outputs = Object.create(Pipe)
    for (const branch of [...Object.keys(branches), "otherwise"]) outputs[branch] = flow(node, self.schema, branch)
    return outputs as never
  }
)

/**
 * Partitions by key: windows, patterns and joins work per key. The key's schema decides its type and its encoding;
 * equality is on the encoded form, so `1` and `"1"` differ and object keys compare by content.
 *
 * @since 0.1.0
 * @category keying
 */
export const keyBy: {
  // `const K`, though the schema alone decides K: a lambda may then return `[a, b]` for a tuple without `as const`.
  <A, const K>(
    key: (value: A) => NoInfer<K>,
    schema: Schema.Codec<K, unknown>,
    options?: OperatorOptions
  ): <E, R, T extends Trait, B extends A = A>(self: Of<A, B, E, R, T>) => KeyedFlow<K, B, E, R, T>
  <A, E, R, T extends Trait, const K>(
    self: Flow<A, E, R, T>,
    key: (value: A) => NoInfer<K>,
    schema: Schema.Codec<K, unknown>,
    options?: OperatorOptions
  ): KeyedFlow<K, A, E, R, T>
} = dual(
  subjectIsFlow,
  (self: Inner, key: unknown, schema: Schema.Codec<unknown, unknown>, options?: OperatorOptions) =>
    keyed(
      {
        _tag: "KeyBy",
        name: options?.name,
        input: self.edge,
        key: untyped(key),
        schema,
        onError: options?.onError
      },
      self.schema,
      schema
    )
)

/**
 * One partition for everything, said aloud: windows, patterns and joins need a key.
 *
 * @since 0.1.0
 * @category keying
 */
export const global = <A, E, R, T extends Trait>(self: Flow<A, E, R, T>): KeyedFlow<void, A, E, R, T> =>
  keyed(
    { _tag: "KeyBy", name: undefined, input: inner(self).edge, key: undefined, schema: undefined, onError: undefined },
    inner(self).schema,
    undefined
  )

/**
 * Deals the elements to partitions by a rule of your own, without giving them a key.
 *
 * @since 0.1.0
 * @category keying
 */
export const partitionBy: {
  // Three, so that the first two tell each other by their number of arguments alone: a lambda inside `Partitioner.hash`
  // gets its type from the first overload that is tried.
  <A>(
    partitioner: Partitioner<A>
  ): <E, R, T extends Trait, B extends A = A>(self: Of<A, B, E, R, T>) => Flow<B, E, R, T>
  <A, E, R, T extends Trait>(
    self: Flow<A, E, R, T>,
    partitioner: Partitioner<A>,
    options?: { readonly onError?: ErrorPolicy }
  ): Flow<A, E, R, T>
  <A>(
    partitioner: Partitioner<A>,
    options: { readonly onError?: ErrorPolicy }
  ): <E, R, T extends Trait, B extends A = A>(self: Of<A, B, E, R, T>) => Flow<B, E, R, T>
} = dual(
  subjectIsFlow,
  (self: Inner, partitioner: Partitioner<unknown>, options?: { readonly onError?: ErrorPolicy }) =>
    flow({ _tag: "Partition", input: self.edge, rule: partitioner.rule, onError: options?.onError }, self.schema)
)

/**
 * @since 0.1.0
 * @category models
 */
export interface WindowOptions {
  /**
   * How long after its end a window still takes late records, firing again for each. Zero by default, except behind
   * another window, whose lateness is inherited.
   */
  readonly allowedLateness?: Duration.Input
  /** What happens to a record on which an aggregate throws; the job's policy otherwise. */
  readonly onError?: ErrorPolicy
}

interface Cut {
  readonly self: Inner
  readonly name: string
  readonly window: Window
  readonly options: WindowOptions | undefined
}

/**
 * Cuts a keyed flow into windows of event time; `Flow.aggregate` says what to compute in each. The name finds the
 * window's state again and stands in plans, metrics and queries.
 *
 * @since 0.1.0
 * @category windowing
 */
export const window: {
  (
    name: string,
    window: Window,
    options?: WindowOptions
  ): <K, A, E, R>(self: KeyedFlow<K, A, E, R>) => Windowed<K, A, E, R>
  <K, A, E, R>(
    self: KeyedFlow<K, A, E, R>,
    name: string,
    window: Window,
    options?: WindowOptions
  ): Windowed<K, A, E, R>
} = dual(subjectIsFlow, (self: Inner, name: string, window: Window, options?: WindowOptions): never => {
  const cut: Cut = { self, name, window, options }
  return Object.assign(Object.create(WindowedProto), { cut }) as never
})

/**
 * @since 0.1.0
 * @category models
 */
export interface AggregateOptions {
  /**
   * Which version of the aggregates this is, and how the state of earlier ones is read; version 1 otherwise. State of other
   * fields is refused where the version is the same.
   */
  readonly state?: StateVersion
}

/**
 * Computes a record of aggregates in one pass over each window.
 *
 * @since 0.1.0
 * @category windowing
 */
export const aggregate: {
  <A, Out>(
    fields: Fields<A, Out>,
    options?: AggregateOptions
  ): <K, E, R, T extends Trait>(
    self: Windowed<K, A, E, R, T>
  ) => WindowOutputs<K, A, { readonly [N in keyof Out]: Out[N] }, E, R, T>
  <K, A, E, R, T extends Trait, Out>(
    self: Windowed<K, A, E, R, T>,
    fields: Fields<A, Out>,
    options?: AggregateOptions
  ): WindowOutputs<K, A, { readonly [N in keyof Out]: Out[N] }, E, R, T>
} = dual(
  (args) => isWindowed(args[0]),
  (
    windowed: { readonly cut: Cut },
    fields: Fields<unknown, Record<string, unknown>>,
    { state }: AggregateOptions = {}
  ): never => {
    const { name, options, self, window } = windowed.cut
    const node: Node = {
      _tag: "Window",
      name,
      input: self.edge,
      window,
      allowedLatenessMillis: options?.allowedLateness === undefined
        ? undefined
        : wholeMillis(options.allowedLateness),
      fields: Object.entries(fields),
      key: { schema: self.keySchema },
      element: self.schema,
      state: state ?? { version: 1 },
      onError: options?.onError
    }
    return Object.assign(Object.create(Pipe), {
      results: flow(node, undefined, "results"),
      late: flow(node, undefined, "late")
    }) as never
  }
)

/**
 * What an output may be told.
 *
 * @since 0.1.0
 * @category models
 */
export interface OutputOptions<D extends "by epoch" | "eager"> {
  /**
   * `by epoch`, the default, lets rows for an idempotent or transactional sink wait until their epoch is durable. `eager`
   * writes them at once and may write them again after a failure: the output counts as at-least-once, whatever its sink
   * could do.
   */
  readonly delivery?: D
}

/**
 * Ends a flow in a sink. The name identifies the output in plans, metrics and checkpoints.
 *
 * @since 0.1.0
 * @category outputs
 */
export const to: {
  // Parameters without type variables are looked at before the sink is, so that the wrong form fixes no type in it.
  <A, E2, R2, G extends Guarantee, C extends Changes>(
    name: string,
    sink: Sink<A, E2, R2, G, C>,
    options?: OutputOptions<"by epoch">
  ): <E, R>(self: Flow<A, E, R, "no event time" | C>) => Output<E | E2, R | R2, G>
  <A, E2, R2, C extends Changes>(
    name: string,
    sink: Sink<A, E2, R2, Guarantee, C>,
    options: OutputOptions<"by epoch" | "eager">
  ): <E, R>(self: Flow<A, E, R, "no event time" | C>) => Output<E | E2, R | R2, "plain">
  <A, E, R, E2, R2, G extends Guarantee, C extends Changes>(
    self: Flow<A, E, R, "no event time" | C>,
    name: string,
    sink: Sink<A, E2, R2, G, C>,
    options?: OutputOptions<"by epoch">
  ): Output<E | E2, R | R2, G>
  <A, E, R, E2, R2, C extends Changes>(
    self: Flow<A, E, R, "no event time" | C>,
    name: string,
    sink: Sink<A, E2, R2, Guarantee, C>,
    options: OutputOptions<"by epoch" | "eager">
  ): Output<E | E2, R | R2, "plain">
} = dual(
  subjectIsFlow,
  (
    self: Inner,
    name: string,
    sink: Sink<never, unknown, unknown>,
    options?: OutputOptions<"by epoch" | "eager">
  ): never => {
    const isEager = options?.delivery === "eager"
    const ending: Ending = { _tag: "To", name, edge: self.edge, sink, isEager, reason: undefined }
    return Object.assign(Object.create(OutputProto), { ending }) as never
  }
)

/**
 * Drops a flow on purpose, and says why.
 *
 * @since 0.1.0
 * @category outputs
 */
export const discard = (reason: string) => <E, R>(self: Flow<unknown, E, R, Trait>): Output<E, R> => {
  const ending: Ending = { _tag: "Discard", name: "", edge: edgeOf(self), sink: undefined, isEager: false, reason }
  return Object.assign(Object.create(OutputProto), { ending }) as never
}

/**
 * The outputs of an operator by name.
 *
 * @since 0.1.0
 * @category models
 */
export type OutputName<Outputs> = Exclude<keyof Outputs, keyof Pipeable>

/**
 * A reason for each output that is not kept.
 *
 * @since 0.1.0
 * @category models
 */
export type Discarded<Outputs, Name> = { readonly [N in Exclude<OutputName<Outputs>, Name>]: string }

/**
 * Continues with one output of an operator and discards the others, each with its reason. The record of outputs stays
 * available when another output has a sink.
 *
 * @since 0.1.0
 * @category outputs
 */
export const only: {
  <Outputs, const Name extends OutputName<Outputs>>(
    name: Name,
    discarded: Discarded<NoInfer<Outputs>, Name>
  ): (self: Outputs) => Outputs[Name]
  <Outputs, const Name extends OutputName<Outputs>>(
    self: Outputs,
    name: Name,
    discarded: Discarded<NoInfer<Outputs>, Name>
  ): Outputs[Name]
} = dual(3, (self: Record<string, Inner>, name: string, discarded: Record<string, string>): never => {
  const kept = self[name]!
  return flow({
    _tag: "Only",
    input: kept.edge,
    discarded: Object.entries(discarded).map(([output, reason]) => ({ edge: self[output]!.edge, reason }))
  }, kept.schema)
})

/**
 * How a flow runs as a stream; see `Job.RunOptions`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToStreamOptions {
  /** The name of the job that is made of the flow: `stream` by default. */
  readonly name?: string
  readonly partitions?: number
  readonly batchSize?: number
  readonly bufferSize?: number
}

/**
 * Runs a flow as an Effect `Stream`: the job starts when the stream is pulled, goes as fast as it is pulled, and ends with
 * it. Checkpoints stay in memory, enough to restart a part that fails.
 *
 * **Gotchas**
 *
 * Every output of the flow's operators must be handled, as for a job: continue with one by `Flow.only`. After a restart
 * the stream may see records again.
 *
 * @since 0.1.0
 * @category outputs
 */
export const toStream: {
  (
    options?: ToStreamOptions
  ): <A, E, R>(self: Flow<A, E, R, "no event time">) => Stream.Stream<A, E | JobError, R>
  <A, E, R>(self: Flow<A, E, R, "no event time">, options?: ToStreamOptions): Stream.Stream<A, E | JobError, R>
} = dual(
  subjectIsFlow,
  (
    self: Flow<unknown, unknown, unknown, "no event time">,
    options?: ToStreamOptions
  ): Stream.Stream<never, never, never> =>
    // The description knows nothing of the runtime: this one door is looked for when somebody goes through it.
    Stream.unwrap(Effect.map(
      Effect.promise(() => import("./internal/runtime/toStream.ts")),
      (door) => door.toStream(self, options) as Stream.Stream<never, never, never>
    ))
)
