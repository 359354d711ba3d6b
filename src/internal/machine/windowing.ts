/** From the description of a window to the machine that keeps it, and the operator that runs a machine in a stage. */
import { WindowBoundsInvalid } from "../../FlowError.ts"
import type { Emit, Machine } from "../../Machine.ts"
import * as Window from "../../Window.ts"
import type { WindowNode } from "../plan/node.ts"
import type { MachineCut, MachinePart } from "../state/cut.ts"
import { identifiedKey, type Identity, keyGroups } from "../state/keyIdentity.ts"
import { Buckets, type WindowOptions } from "./buckets.ts"
import { Fields } from "./fields.ts"
import type { Clock, Host, Receiver, Site, Timed } from "./operator.ts"
import { HeldClock, settled, Stop } from "./operator.ts"
import { cutOfOne, Regrouped, regrouped, runLengths } from "./regrouped.ts"
import { Sessions } from "./sessions.ts"
import { Slices } from "./slices.ts"

/** The machine of a window; `allowedLatenessMillis` is what remains after inheritance. */
export const machine = (node: WindowNode, allowedLatenessMillis: number, emit: Emit<unknown>): Machine<unknown> => {
  const keyOf: (identity: Identity) => unknown = node.key.schema === undefined
    ? () => undefined
    : identifiedKey(node.key.schema)
  const options: WindowOptions = { fields: new Fields(node.fields, node.element), allowedLatenessMillis, keyOf }
  const { window } = node
  switch (window._tag) {
    case "Session":
      return new Sessions(window.gapMillis, options, emit)
    case "Custom":
      return new Buckets((time) => checked(node.name, Window.assign(window, time)), undefined, options, emit)
    case "Aligned":
      return window.everyMillis >= window.sizeMillis
        ? new Buckets((time) => Window.assign(window, time), window, options, emit)
        : new Slices({ ...window, sliceMillis: Window.sliceMillis(window) }, options, emit)
  }
}

/** A custom assigner is user code: what it answers is looked at before it is believed. */
const checked = (operator: string, bounds: ReadonlyArray<Window.Bounds>): ReadonlyArray<Window.Bounds> => {
  for (const { end, start } of bounds) {
    if (Number.isSafeInteger(start) && Number.isSafeInteger(end) && start < end) continue
    throw new WindowBoundsInvalid({ operator, start, end })
  }
  return bounds
}

/**
 * For each key group the watermark that judged it last, as lengths of runs: ascending, up to the last group, −Infinity
 * for groups that belong to others.
 */
export type Floors = ReadonlyArray<readonly [toGroup: number, watermark: number]>

/** What an operator with a machine gives to a checkpoint. */
export interface OperatorCut {
  readonly machine: MachineCut
  readonly floors: Floors
  /** How far event time had come behind the operator. */
  readonly settled: number
}

/** What a checkpoint has kept of the operator in one partition. */
export interface OperatorPart {
  readonly machine: MachinePart
  readonly floors: Floors
  readonly settled: number
}

/** Runs a machine among the operators of a stage. */
export class MachineOperator implements Receiver, Timed {
  readonly label: string
  readonly clock: Clock
  /** Event time behind the machine: it moves when everything due is out. */
  readonly output: HeldClock
  private readonly site: Site
  private readonly host: Host
  private readonly make: () => Machine<unknown>
  private current: Machine<unknown>
  /** How far event time had come behind the operator before a restore: nothing at or before it is still to come. */
  private reached = -Infinity
  private outputs: Readonly<Record<string, Receiver>> = {}

  constructor(site: Site, host: Host, clock: Clock, make: (emit: Emit<unknown>) => Machine<unknown>) {
    this.label = site.label
    this.site = site
    this.host = host
    this.clock = clock
    this.output = new HeldClock(clock)
    this.make = () =>
      make({
        out: (output, value, time, key) => {
          site.counts.out++
          this.outputs[output]!.push(value, time, key)
        },
        full: host.full,
        count: (what) => {
          site.counts[what]++
        },
        // A result that cannot be computed will not be computed by trying again.
        failed: (error, value, time, key) => host.settle(site, settled(site.policy), { error, value, time, key })
      })
    this.current = this.make()
  }

  /** Another one after a restore, and again when several have become one: ask each time. */
  get machine(): Machine<unknown> {
    return this.current
  }

  /** Tells the operator who reads its outputs. */
  connect(receiverOf: (output: string) => Receiver): this {
    this.outputs = { results: receiverOf("results"), late: receiverOf("late") }
    return this
  }

  /** What is held waits to be released, even where a restored machine finds nothing due any more. */
  get nextTimer(): number {
    return this.output.isHeld ? -Infinity : this.current.nextTimer
  }

  push(value: unknown, time: number, key: unknown): void {
    this.site.counts.in++
    try {
      this.current.record(value, time, key, this.clock.current())
    } catch (error) {
      if (error instanceof Stop) throw error
      this.host.reject(this.site, { error, value, time, key })
    }
  }

  advance(watermark: number): boolean {
    this.output.hold()
    if (!this.current.advance(watermark)) return false
    if (this.current instanceof Regrouped) this.current = this.current.joined(watermark)
    this.output.release()
    return true
  }

  hold(): void {
    this.output.hold()
  }

  /** Of a partition that has the key groups from `groups[0]` to before `groups[1]`; all of them unless told. */
  cut(groups: readonly [from: number, to: number] = [0, keyGroups]): OperatorCut {
    const { current } = this
    const watermark = this.clock.current()
    const floorOf = current instanceof Regrouped
      ? (group: number) => Math.max(watermark, current.floorOf(group))
      : () => watermark
    const [from, to] = groups
    return {
      machine: current instanceof Regrouped ? current.cut(groups) : cutOfOne(current, groups),
      floors: runLengths(0, keyGroups, (group) => group >= from && group < to ? floorOf(group) : -Infinity),
      settled: Math.max(this.reached, this.output.current())
    }
  }

  /**
   * Before the first record; nothing is said of the key groups that no part covers. A key is judged by the floor of its
   * group, and has what is due by that, until the clock has come to all floors. Where that leaves something to do now, event
   * time behind the operator is held where the last of the parts had it until `advance` has done it.
   */
  restore(parts: ReadonlyArray<OperatorPart>, owns: (key: Identity) => boolean): void {
    const restored = regrouped(parts, owns, this.make)
    if (restored === undefined) return
    const now = this.clock.current()
    // Several become one in the first advance, so that a cut before it shows what was restored.
    const { machine } = restored
    this.current = machine.isOne && !machine.isOverdue ? machine.joined(now) : machine
    this.reached = restored.settled
    if (this.current.nextTimer <= now || this.reached < now) this.output.restore(this.reached)
  }
}
