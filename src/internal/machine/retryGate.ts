/**
 * Holds the records of an operator whose policy is `retry`, while the first of them is tried again.
 *
 * The operator behind the gate fails into it; later records queue up behind, and event time is held, so that order and
 * lateness are as if the record had succeeded at once. The runtime owns the schedule and says when to try again.
 */
import type * as ErrorPolicy from "../../ErrorPolicy.ts"
import type { Identity } from "../state/keyIdentity.ts"
import type { Clock, Failure, Host, Receiver, Site, Timed } from "./operator.ts"
import { HeldClock } from "./operator.ts"

/** What the runtime shows the schedule. The first attempt begins it anew. */
export interface Stalled {
  readonly schedule: ErrorPolicy.Retry["schedule"]
  readonly error: unknown
  readonly attempt: number
}

type Waiting = readonly [value: unknown, time: number, key: unknown]

/** Rows as columns, as a checkpoint writes them. */
export interface GateRows {
  readonly values: Array<unknown>
  readonly times: Array<number>
  readonly keys: Array<Identity | undefined>
  /** What judges them, the same for all. */
  readonly watermarks: Array<number>
}

/** What a gate gives to a checkpoint: a copy that later steps do not change. */
export interface GateCut {
  readonly rows: GateRows
  /** Event time behind the gate, while something waits. */
  readonly held: number | undefined
}

/** What a checkpoint has kept of the gate of one partition, as far as it concerns another. */
export interface GatePart {
  readonly rows: {
    readonly values: ReadonlyArray<unknown>
    readonly times: ReadonlyArray<number>
    readonly keys: ReadonlyArray<Identity | undefined>
  }
  readonly held: number | undefined
}

export class RetryGate implements Receiver, Timed {
  readonly label: string
  readonly clock: Clock
  /** Event time behind the gate. */
  readonly output: HeldClock
  private readonly site: Site
  private readonly outer: Host
  private readonly policy: ErrorPolicy.Retry
  private readonly target: Receiver
  private waiting: Array<Waiting> = []
  private attempt = 0
  private last: Failure | undefined
  private state: "stalled" | "trying" | "giving up" = "stalled"
  /** What the operator behind the gate runs in: it fails into the gate. */
  readonly host: Host

  constructor(site: Site, host: Host, policy: ErrorPolicy.Retry, input: Clock, target: Receiver) {
    this.label = site.label
    this.site = site
    this.outer = host
    this.policy = policy
    this.clock = input
    this.output = new HeldClock(input)
    this.target = target
    this.host = { ...host, reject: (_, failure) => this.failed(failure) }
  }

  get stalled(): Stalled | undefined {
    return this.waiting.length === 0 || this.state !== "stalled"
      ? undefined
      : { schedule: this.policy.schedule, error: this.last?.error, attempt: this.attempt }
  }

  get nextTimer(): number {
    return this.waiting.length > 0 ? -Infinity : Infinity
  }

  retry(): void {
    this.state = "trying"
  }

  giveUp(): void {
    this.state = "giving up"
  }

  push(value: unknown, time: number, key: unknown): void {
    if (this.waiting.length > 0) this.waiting.push([value, time, key])
    else this.target.push(value, time, key)
  }

  advance(): boolean {
    while (this.waiting.length > 0) {
      if (this.state === "stalled" || this.outer.full()) return false
      const [value, time, key] = this.waiting.shift()!
      if (this.state === "giving up") {
        this.settle(this.last!)
        continue
      }
      const before = this.waiting.length
      this.target.push(value, time, key)
      if (this.waiting.length === before) {
        this.attempt = 0
        this.state = "trying"
      }
    }
    this.state = "stalled"
    this.output.release()
    return true
  }

  /** What waits here has held event time since it came. */
  hold(): void {}

  cut(): GateCut {
    const held = this.output.snapshot()
    const { waiting } = this
    return {
      rows: {
        values: waiting.map(([value]) => value),
        times: waiting.map(([, time]) => time),
        // What flows have for a key is its identity.
        keys: waiting.map(([, , key]) => key as Identity | undefined),
        watermarks: waiting.map(() => held ?? this.clock.current())
      },
      held
    }
  }

  /** Rows of several old gates wait in the order of the parts, and event time where the least of them held it. */
  restore(parts: ReadonlyArray<GatePart>): void {
    let least = Infinity
    for (const { held, rows } of parts) {
      if (rows.values.length === 0) continue
      rows.values.forEach((value, row) => this.waiting.push([value, rows.times[row]!, rows.keys[row]]))
      if (held !== undefined) least = Math.min(least, held)
    }
    if (this.waiting.length === 0) return
    this.output.restore(least === Infinity ? undefined : least)
    // The head has its attempts before it again.
    this.state = "trying"
  }

  private failed(failure: Failure): void {
    // It will come in again.
    this.site.counts.in--
    this.output.hold()
    this.outer.hold()
    this.last = failure
    this.attempt++
    this.state = "stalled"
    this.waiting.unshift([failure.value, failure.time, failure.key])
  }

  /** The schedule is done: the last failure stands. */
  private settle(failure: Failure): void {
    this.attempt = 0
    this.state = "trying"
    this.site.counts.in++
    this.outer.settle(this.site, this.policy.then, failure)
  }
}
