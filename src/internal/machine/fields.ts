/**
 * A record of aggregates as one: accumulators side by side, so that a window folds them in one pass.
 */
import type { Codec } from "effect/Schema"
import type { Aggregate } from "../../Aggregate.ts"
import type { ValueCodec } from "../state/cut.ts"
import { type StateCodec, stateCodec } from "./stateCodec.ts"

/** One accumulator where there is one field, an array of them otherwise. Immutable either way, and never undefined. */
export type Accumulated = unknown

/** Stands for an accumulator that is undefined: a table reads undefined as a key that is not there. */
const nothing = { _tag: "Nothing" }

/** A class because `add` runs once per record. */
export class Fields {
  private readonly names: ReadonlyArray<string>
  private readonly aggregates: ReadonlyArray<Aggregate<unknown, unknown, unknown>>
  private readonly only: Aggregate<unknown, unknown, unknown> | undefined
  private readonly element: Codec<unknown, unknown> | undefined
  private states: ValueCodec | undefined
  readonly zero: Accumulated

  constructor(
    fields: ReadonlyArray<readonly [name: string, aggregate: Aggregate<unknown, unknown, unknown>]>,
    /** Of the elements, for aggregates that keep them. */
    element: Codec<unknown, unknown> | undefined
  ) {
    this.names = fields.map(([name]) => name)
    this.aggregates = fields.map(([, aggregate]) => aggregate)
    this.only = this.aggregates.length === 1 ? this.aggregates[0] : undefined
    this.element = element
    this.zero = this.only === undefined ? this.aggregates.map(({ zero }) => zero) : shown(this.only.zero)
  }

  add(acc: Accumulated, value: unknown, time: number): Accumulated {
    if (this.only !== undefined) {
      const after = this.only.add(acc === nothing ? undefined : acc, value, time)
      return after === undefined ? nothing : after
    }
    const before = acc as ReadonlyArray<unknown>
    const after = new Array<unknown>(before.length)
    for (let i = 0; i < before.length; i++) after[i] = this.aggregates[i]!.add(before[i], value, time)
    return after
  }

  /** `self` covers the earlier stretch of time. */
  merge(self: Accumulated, that: Accumulated): Accumulated {
    if (this.only !== undefined) return shown(this.only.merge(hidden(self), hidden(that)))
    const [left, right] = [self as ReadonlyArray<unknown>, that as ReadonlyArray<unknown>]
    return this.aggregates.map((aggregate, i) => aggregate.merge(left[i], right[i]))
  }

  done(acc: Accumulated): Record<string, unknown> {
    const out: Record<string, unknown> = {}
    if (this.only !== undefined) out[this.names[0]!] = this.only.done(hidden(acc))
    else {
      const accs = acc as ReadonlyArray<unknown>
      for (let i = 0; i < accs.length; i++) out[this.names[i]!] = this.aggregates[i]!.done(accs[i])
    }
    return out
  }

  /** One column per field. Made when first asked for: most machines never are. */
  get codec(): ValueCodec {
    return this.states ??= this.makeCodec()
  }

  private makeCodec(): ValueCodec {
    const codecs = this.aggregates.map((aggregate, i): StateCodec => {
      const schema = aggregate.state(this.element)
      // `Job.make` refuses such a window.
      if (schema === undefined) throw new Error(`Fields: the state of ${this.names[i]} has no codec`)
      return stateCodec(schema)
    })
    if (this.only !== undefined) {
      const { decode, encode } = codecs[0]!
      return {
        width: 1,
        write: (acc: Accumulated, columns) => columns[0]!.push(encode(hidden(acc))),
        read: (columns, row) => shown(decode(columns[0]![row]))
      }
    }
    return {
      width: codecs.length,
      write: (acc: ReadonlyArray<unknown>, columns) => {
        for (let i = 0; i < codecs.length; i++) columns[i]!.push(codecs[i]!.encode(acc[i]))
      },
      read: (columns, row) => codecs.map(({ decode }, i) => decode(columns[i]![row]))
    }
  }
}

const shown = (acc: unknown): Accumulated => acc === undefined ? nothing : acc

const hidden = (acc: Accumulated): unknown => acc === nothing ? undefined : acc
