/**
 * How the records of a flow are dealt to the partitions of the stage that reads them.
 *
 * A partitioner is a value; with one partition none of them costs anything.
 *
 * @since 0.1.0
 */
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import { hasProperty } from "effect/Predicate"
import type { Contravariant } from "effect/Types"

const TypeId = "~millrace/Partitioner"

/**
 * @since 0.1.0
 * @category models
 */
export interface Partitioner<in A> extends Pipeable {
  readonly [TypeId]: { readonly _A: Contravariant<A> }
  readonly rule: Rule
}

/**
 * What a partitioner does, for the engine and for printing.
 *
 * @since 0.1.0
 * @category models
 */
export type Rule =
  | { readonly _tag: "Hash"; readonly by: (value: never) => unknown }
  | { readonly _tag: "RoundRobin" }
  | { readonly _tag: "Broadcast" }
  | { readonly _tag: "Custom"; readonly name: string; readonly choose: (value: never, partitions: number) => number }

const Proto = {
  [TypeId]: { _A: (_: never) => _ },
  pipe() {
    return pipeArguments(this, arguments)
  }
}

const make = <A>(rule: Rule): Partitioner<A> => Object.assign(Object.create(Proto), { rule })

/**
 * @since 0.1.0
 * @category guards
 */
export const isPartitioner = (u: unknown): u is Partitioner<never> => hasProperty(u, TypeId)

/**
 * Records with equal `by` go to the same partition. Equality is by content for primitives and by canonical JSON for
 * everything else, as for keys.
 *
 * @since 0.1.0
 * @category constructors
 */
export const hash = <A>(by: (value: A) => unknown): Partitioner<A> => make({ _tag: "Hash", by })

/**
 * Deals records out in turn, which balances work that has no key.
 *
 * @since 0.1.0
 * @category constructors
 */
export const roundRobin: Partitioner<unknown> = make({ _tag: "RoundRobin" })

/**
 * Every partition gets every record.
 *
 * **Gotchas**
 *
 * What follows sees a record once per partition, so a sink behind it receives as many copies as there are partitions.
 *
 * @since 0.1.0
 * @category constructors
 */
export const broadcast: Partitioner<unknown> = make({ _tag: "Broadcast" })

/**
 * Your own choice: an integer from 0 to `partitions − 1`. Anything else is an error of the record and goes to the
 * operator's error policy.
 *
 * @since 0.1.0
 * @category constructors
 */
export const custom = <A>(name: string, choose: (value: A, partitions: number) => number): Partitioner<A> =>
  make({ _tag: "Custom", name, choose })

/** @internal */
export const ruleName = (rule: Rule): string => {
  switch (rule._tag) {
    case "Hash":
      return "hash"
    case "RoundRobin":
      return "round robin"
    case "Broadcast":
      return "broadcast"
    case "Custom":
      return `custom ${rule.name}`
  }
}

/**
 * What the partitioner does, in words.
 *
 * @since 0.1.0
 * @category getters
 */
export const describe = (self: Partitioner<never>): string => ruleName(self.rule)
