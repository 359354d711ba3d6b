/** From the description of a window to the machine that keeps it, and the operator that runs a machine in a stage. */
import { WindowBoundsInvalid } from "../../FlowError.ts"
import type { Emit, Machine } from "../../Machine.ts"
import * as Window from "../../Window.ts"
import type { WindowNode } from "../plan/node.ts"
import { identifiedKey, type Identity } from "../state/keyIdentity.ts"
import { Buckets, type WindowOptions } from "./buckets.ts"
import { Fields } from "./fields.ts"
import type { Clock, Host, Receiver, Site, Stateful, Timed } from "./operator.ts"
import { HeldClock, settled, Stop } from "./operator.ts"
import { Sessions } from "./sessions.ts"
import { Slices } from "./slices.ts"

/** The machine of a window; `allowedLatenessMillis` is what remains after inheritance. */
export const machine = (node: WindowNode, allowedLatenessMillis: number, emit: Emit<unknown>): Machine<unknown> => {
  const keyOf: (identity: Identity) => unknown = node.key.schema === undefined
    ? () => undefined
    : identifiedKey(node.key.schema)
  const options: WindowOptions = { fields: new Fields(node.fields), allowedLatenessMillis, keyOf }
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

interface OperatorSnapshot {
  readonly machine: unknown
  /** Event time behind the operator, where an advance was under way. */
  readonly held: number | undefined
}

/** Runs a machine among the operators of a stage. */
export class MachineOperator implements Receiver, Timed, Stateful {
  readonly clock: Clock
  /** Event time behind the machine: it moves when everything due is out. */
  readonly output: HeldClock
  readonly machine: Machine<unknown>
  private readonly site: Site
  private readonly host: Host
  private outputs: Readonly<Record<string, Receiver>> = {}

  constructor(site: Site, host: Host, clock: Clock, make: (emit: Emit<unknown>) => Machine<unknown>) {
    this.site = site
    this.host = host
    this.clock = clock
    this.output = new HeldClock(clock)
    this.machine = make({
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
  }

  /** Tells the operator who reads its outputs. */
  connect(receiverOf: (output: string) => Receiver): this {
    this.outputs = { results: receiverOf("results"), late: receiverOf("late") }
    return this
  }

  /** What is held waits to be released, even where a restored machine finds nothing due any more. */
  get nextTimer(): number {
    return this.output.isHeld ? -Infinity : this.machine.nextTimer
  }

  push(value: unknown, time: number, key: unknown): void {
    this.site.counts.in++
    try {
      this.machine.record(value, time, key, this.clock.current())
    } catch (error) {
      if (error instanceof Stop) throw error
      this.host.reject(this.site, { error, value, time, key })
    }
  }

  advance(watermark: number): boolean {
    this.output.hold()
    if (!this.machine.advance(watermark)) return false
    this.output.release()
    return true
  }

  hold(): void {
    this.output.hold()
  }

  snapshot(): OperatorSnapshot {
    return { machine: this.machine.snapshot(), held: this.output.snapshot() }
  }

  restore(snapshot: unknown): void {
    const { held, machine } = snapshot as OperatorSnapshot
    this.machine.restore(machine as never)
    this.output.restore(held)
  }
}
