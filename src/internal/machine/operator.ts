/**
 * What the operators of one stage say to each other while a batch runs through them, record by record.
 */
import type { ErrorPolicy, Settled } from "../../ErrorPolicy.ts"
import type * as JobStatus from "../../JobStatus.ts"

/** Takes records. `time` is NaN in flows without event time; `key` is the key's identity, undefined without one. */
export interface Receiver {
  push(value: unknown, time: number, key: unknown): void
}

/** How far event time has come at a place in the stage. */
export interface Clock {
  current(): number
  /** Before the advance that is being carried out; the same as `current` between advances. */
  previous(): number
}

/** An operator with work that event time sets off. */
export interface Timed {
  /** The name of the operator. */
  readonly label: string
  readonly clock: Clock
  /** Event time behind the operator. */
  readonly output: Clock
  /** The least watermark at which `advance` has something to do; Infinity if none. */
  readonly nextTimer: number
  /** Does what is due at `watermark`. False: the output budget is spent and there is more to do. */
  advance(watermark: number): boolean
  /** Something is due, and its turn comes in a later step: until then event time behind the operator stays where it was. */
  hold(): void
}

/** Counters of one operator in one partition, as its status shows them; here they count. */
export type Counts = { -readonly [Name in keyof JobStatus.Counts]: number }

export const noCounts = (): Counts => ({ in: 0, out: 0, late: 0, partlyLate: 0, outside: 0, skipped: 0, dead: 0 })

const countNames = Object.keys(noCounts()) as ReadonlyArray<keyof Counts>

/** The counts of two places of one operator as one. */
export const sumOf = (known: Readonly<Counts> | undefined, more: Readonly<Counts>): Counts => {
  const sum = { ...more }
  if (known !== undefined) { for (const count of countNames) sum[count] += known[count] }
  return sum
}

/** A record on which user code threw. */
export interface Failure {
  readonly error: unknown
  readonly value: unknown
  readonly time: number
  readonly key: unknown
}

/** What an operator knows of the partition it runs in. */
export interface Host {
  /** No more output in this step: finish the record in hand and stop. */
  full(): boolean
  /** Nothing more is taken in until every timed operator has done its work. */
  hold(): void
  /** A record on which user code threw: applies the operator's policy, or lets a gate try it again. */
  reject(site: Site, failure: Failure): void
  /** Applies a policy that needs no second try; throws `Stop` for `fail`. */
  settle(site: Site, policy: Settled, failure: Failure): void
}

/** An operator in a partition: its name, its policy, its counters. */
export interface Site {
  readonly label: string
  readonly policy: ErrorPolicy
  readonly counts: Counts
}

/** Thrown for the policy `fail`: passes every operator on its way out of the step. */
export class Stop {
  readonly error: unknown
  constructor(error: unknown) {
    this.error = error
  }
}

/** What remains of a policy when trying again is over, or would not help. */
export const settled = (policy: ErrorPolicy): Settled => policy._tag === "Retry" ? policy.then : policy

/** Feeds several consumers, in the order in which the flows were made. */
export class FanOut implements Receiver {
  private readonly receivers: ReadonlyArray<Receiver>
  constructor(receivers: ReadonlyArray<Receiver>) {
    this.receivers = receivers
  }
  push(value: unknown, time: number, key: unknown): void {
    for (let i = 0; i < this.receivers.length; i++) this.receivers[i]!.push(value, time, key)
  }
}

/** The end of a flow that nobody reads. */
export const nowhere: Receiver = { push: () => {} }

export const fanOut = (receivers: ReadonlyArray<Receiver>): Receiver =>
  receivers.length === 0 ? nowhere : receivers.length === 1 ? receivers[0]! : new FanOut(receivers)

/** Event time in a place fed by several others: the least of theirs. */
export class LeastClock implements Clock {
  private readonly inputs: ReadonlyArray<Clock>
  constructor(inputs: ReadonlyArray<Clock>) {
    this.inputs = inputs
  }
  current(): number {
    let least = Infinity
    for (const input of this.inputs) least = Math.min(least, input.current())
    return least
  }
  previous(): number {
    let least = Infinity
    for (const input of this.inputs) least = Math.min(least, input.previous())
    return least
  }
}

/** Event time behind an operator that is carrying out an advance: it has not moved until all that was due is out. */
export class HeldClock implements Clock {
  private readonly input: Clock
  private held: number | undefined
  constructor(input: Clock) {
    this.input = input
  }
  hold(): void {
    this.held ??= this.input.previous()
  }
  release(): void {
    this.held = undefined
  }
  get isHeld(): boolean {
    return this.held !== undefined
  }
  /** For checkpoints: where it is held, if it is. */
  snapshot(): number | undefined {
    return this.held
  }
  restore(held: number | undefined): void {
    this.held = held
  }
  current(): number {
    return this.held ?? this.input.current()
  }
  previous(): number {
    return this.held ?? this.input.previous()
  }
}
