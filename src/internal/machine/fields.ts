/**
 * A record of aggregates as one: accumulators side by side, so that a window folds them in one pass.
 */
import type { Aggregate } from "../../Aggregate.ts"

/** One accumulator where there is one field, an array of them otherwise. Immutable either way. */
export type Accumulated = unknown

/** A class because `add` runs once per record. */
export class Fields {
  private readonly names: ReadonlyArray<string>
  private readonly aggregates: ReadonlyArray<Aggregate<unknown, unknown, unknown>>
  private readonly only: Aggregate<unknown, unknown, unknown> | undefined
  readonly zero: Accumulated

  constructor(fields: ReadonlyArray<readonly [name: string, aggregate: Aggregate<unknown, unknown, unknown>]>) {
    this.names = fields.map(([name]) => name)
    this.aggregates = fields.map(([, aggregate]) => aggregate)
    this.only = this.aggregates.length === 1 ? this.aggregates[0] : undefined
    this.zero = this.only === undefined ? this.aggregates.map(({ zero }) => zero) : this.only.zero
  }

  add(acc: Accumulated, value: unknown, time: number): Accumulated {
    if (this.only !== undefined) return this.only.add(acc, value, time)
    const before = acc as ReadonlyArray<unknown>
    const after = new Array<unknown>(before.length)
    for (let i = 0; i < before.length; i++) after[i] = this.aggregates[i]!.add(before[i], value, time)
    return after
  }

  /** `self` covers the earlier stretch of time. */
  merge(self: Accumulated, that: Accumulated): Accumulated {
    if (this.only !== undefined) return this.only.merge(self, that)
    const [left, right] = [self as ReadonlyArray<unknown>, that as ReadonlyArray<unknown>]
    return this.aggregates.map((aggregate, i) => aggregate.merge(left[i], right[i]))
  }

  done(acc: Accumulated): Record<string, unknown> {
    const out: Record<string, unknown> = {}
    if (this.only !== undefined) out[this.names[0]!] = this.only.done(acc)
    else {
      const accs = acc as ReadonlyArray<unknown>
      for (let i = 0; i < accs.length; i++) out[this.names[i]!] = this.aggregates[i]!.done(accs[i])
    }
    return out
  }
}
