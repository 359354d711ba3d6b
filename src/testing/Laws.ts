/**
 * What parts of your own must keep, so that a job may rely on them: aggregates, windows, sources, transactional sinks and
 * checkpoint stores. Each suite is a list of laws with names, for any test runner.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { Law } from "./laws/law.ts"

export { aggregate, type AggregateOptions } from "./laws/aggregate.ts"
export { type Checks, type Law, LawBroken, type Values } from "./laws/law.ts"
export { opening, sink, type SinkOptions, type SinkPlace } from "./laws/sink.ts"
export { source, type SourceOptions } from "./laws/source.ts"
export { store, type StoreOptions } from "./laws/store.ts"
export { windows, type WindowsOptions } from "./laws/windows.ts"

/**
 * Makes a test of each law: `it` is what the test runner declares tests with, such as `it` of vitest or `test` of `node:test`.
 *
 * **Details**
 *
 * A broken law fails its test with `LawBroken`, whose message says for what, what was expected, and what was found. Laws run
 * on the real clock. Those of sinks and stores on slow disks may need a longer time-out than the runner's own.
 *
 * **Example**
 *
 * ```ts run
 * import { Schema } from "effect"
 * import { Aggregate } from "millrace"
 * import { Laws } from "millrace/testing"
 *
 * const product = Aggregate.make({
 *   zero: 1,
 *   add: (total: number, input: number) => total * input,
 *   merge: (a, b) => a * b,
 *   done: (total) => total,
 *   state: Schema.Number
 * })
 *
 * // In a file of tests: Laws.register(laws, it)
 * const laws = Laws.aggregate(product, { values: [0, 1, 2, 3] })
 * laws.length // => 7
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const register = (laws: ReadonlyArray<Law>, it: (name: string, test: () => Promise<void>) => unknown): void => {
  for (const { check, name } of laws) it(name, () => Effect.runPromise(check))
}
