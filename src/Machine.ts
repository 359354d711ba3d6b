/**
 * The shape of every stateful operator: `(state, record) → (state, outputs)` and `(state, event time) → (state, outputs)`.
 *
 * A machine is pure as seen from outside. It knows nothing of fibers, batches or clocks, and is tested alone with literals;
 * the runtime only schedules it.
 *
 * @since 0.1.0
 */
import type { MachineCut, MachinePart } from "./internal/state/cut.ts"
import type { Identity } from "./internal/state/keyIdentity.ts"

/**
 * Where a machine puts what it makes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Emit<in Out> {
  readonly out: (output: string, value: Out, time: number, key: unknown) => void
  /** True: finish what is in hand, and leave the rest for the next call of `advance`. */
  readonly full: () => boolean
  readonly count: (what: "late" | "partlyLate" | "outside") => void
  /** A result could not be computed: user code threw while an advance, or a late record, asked for it. */
  readonly failed: (error: unknown, what: unknown, time: number, key: unknown) => void
}

/**
 * *Details.* A machine stands at one point of event time: the greatest watermark that `record` and `advance` were given.
 * Partitions come to different points, so the state of several of them is restored into several machines, and those
 * become one when they have come to the same point.
 *
 * @since 0.1.0
 * @category models
 */
export interface Machine<in In> {
  /** The least watermark at which `advance` has something to do; Infinity if none. */
  readonly nextTimer: number
  /** Live entries of state: keys per window, sessions, and so on. Zero when nothing is remembered. */
  readonly size: number
  /**
   * One record at its event time, judged by the watermark before it. `key` is the identity of its key. User code runs
   * before anything changes: when it throws, the record has had no effect.
   */
  readonly record: (value: In, time: number, key: unknown, watermark: number) => void
  /** Does everything due at `watermark`. False: `emit.full`, and there is more to do; call again with the same watermark. */
  readonly advance: (watermark: number) => boolean
  /** Every live entry of one key, for queries. */
  readonly query: (key: unknown) => ReadonlyArray<unknown>
  /**
   * A picture that stays as it is while the machine goes on, taken between any two calls, also of an advance that is not
   * complete. It costs nothing per key: tables and lists are read, and their views released, by who took it.
   */
  readonly cut: () => MachineCut
  /**
   * On a fresh machine: takes the keys that `owns` wants of what one machine gave. Timers are found anew; nothing else is
   * different from what the keys would have met in the old machine, also if an advance was under way in it.
   */
  readonly restore: (part: MachinePart, owns: (key: Identity) => boolean) => void
  /**
   * Takes everything that another machine of the same kind remembers, none of it a key of this one. Both have done all
   * that was due at the same watermark. The other must not be used afterwards.
   */
  readonly absorb: (other: never) => void
}
