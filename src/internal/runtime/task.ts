/**
 * One partition of one stage: its operators chained into a single pass over the records, the inputs that feed it, and
 * the channels it fills. `step` is synchronous; the runtime commits what it returns.
 */
import type { DeadLetter } from "../../DeadLetter.ts"
import type * as ErrorPolicy from "../../ErrorPolicy.ts"
import { InvalidTimestamp, OperatorFailed, RecordUndecodable } from "../../FlowError.ts"
import type { Position } from "../../Source.ts"
import { type Counts, type Failure, type Host, settled, type Site, Stop } from "../machine/operator.ts"
import { type GateCut, type GatePart, RetryGate } from "../machine/retryGate.ts"
import type { OperatorCut, OperatorPart } from "../machine/windowing.ts"
import type { Exchange } from "../plan/layout.ts"
import { encodedKey, type Identity } from "../state/keyIdentity.ts"
import { atStart, type Batch, type Channel, type Cursor, emptyChannel, extended, fill, outstanding } from "./batch.ts"
import { aStep, type CarriedInput } from "./carried.ts"
import {
  type Carried,
  Chain,
  type ChainOptions,
  type ChannelInput,
  type RootClock,
  type SplitInput,
  type Wiring
} from "./chain.ts"
import { Advance, type Inlet, type View } from "./inlet.ts"
import type { Budget, OutChannel } from "./ports.ts"

/** What one split has committed. */
export interface SplitRecord {
  readonly cursor: number
  /** The source's own position of the last record stepped. */
  readonly position: Position | undefined
}

/** What a partition commits after every step, as one fresh value. */
export interface TaskRecord {
  readonly version: number
  readonly finished: boolean
  readonly splits: ReadonlyArray<SplitRecord>
  readonly cursors: ReadonlyArray<Cursor>
  readonly channels: ReadonlyArray<Channel>
}

/** What a checkpoint keeps of a split. */
export interface SplitStanding extends SplitRecord {
  readonly source: string
  readonly split: string
  readonly watermark: number
  /** All its rows have been taken in. */
  readonly ended: boolean
  readonly generator: unknown
}

/** A partition at one instant, by reference where it is large. What its channels hold is seen from outside. */
export interface TaskCut {
  readonly stage: number
  readonly partition: number
  readonly splits: ReadonlyArray<SplitStanding>
  /** Event time at each input of the stage's operators, by their number. */
  readonly watermarks: ReadonlyArray<readonly [operator: number, watermarks: ReadonlyArray<number>]>
  /** By the name of the operator; one that sends to the next stage is counted on both sides. */
  readonly counts: ReadonlyArray<readonly [label: string, counts: Counts]>
  readonly machines: ReadonlyArray<readonly [label: string, cut: OperatorCut]>
  readonly gates: ReadonlyArray<readonly [label: string, cut: GateCut]>
  readonly carried: ReadonlyArray<Carried>
}

/** What a partition goes on from: of a checkpoint what concerns its keys and splits. */
export interface TaskStanding {
  readonly split: (source: string, split: string) => SplitStanding | undefined
  readonly counts: (label: string) => Counts | undefined
  readonly machine: (label: string) => ReadonlyArray<OperatorPart>
  readonly gate: (label: string) => ReadonlyArray<GatePart>
  readonly owns: (key: Identity) => boolean
  /** Event time where an exchange leads in; undefined where nothing is known. */
  readonly watermark: (exchange: Exchange) => number | undefined
}

/** Numbers a task's out channels the same way for those who read them. */
export const outChannelsOf = (
  options: Pick<ChainOptions, "graph" | "layout" | "stage" | "deadLetters">
): ReadonlyArray<string> => {
  const { deadLetters, graph, layout, stage } = options
  const own = (operator: number) => stage.operators.includes(operator)
  return [
    ...layout.exchanges.filter(({ from }) => own(from.operator)).flatMap(({ id }) =>
      Array.from({ length: layout.partitions }, (_, to) => `exchange ${id} to ${to}`)
    ),
    ...graph.outlets.flatMap(({ name, port }) => own(port.operator) ? [`sink ${name}`] : []),
    ...deadLetters ? ["dead letters"] : []
  ]
}

export class Task {
  readonly stage: number
  readonly partition: number
  readonly chain: Chain
  /** Records taken in since the attempt began. */
  taken = 0
  private readonly batchRows: number
  private readonly outNames: ReadonlyArray<string>
  private readonly host: Host
  private readonly budget: Budget = { spent: 0 }
  /** An advance of event time has begun and is not complete: nothing else is taken in before. */
  private advancing = false
  /** A gate has a record to try again: no more may be sent its way in this step. */
  private blocked = false
  /** Rows of the last step that found no room: nothing else is done before they have. */
  private spilling = false
  /** Whose rows are on their way through the chain. */
  private reading: SplitInput | undefined
  /** Timed operators before this one wait until what a restore carried over has been read. */
  private from = 0
  /** The inputs know more of event time than what was restored. */
  private isBehind = false
  private turn = 0

  constructor(options: ChainOptions, wiring: Wiring) {
    this.batchRows = options.batchRows
    this.stage = options.stage.id
    this.partition = options.partition
    this.outNames = outChannelsOf(options)
    this.host = {
      full: () => this.budget.spent >= this.batchRows || this.blocked,
      hold: () => {
        this.advancing = this.blocked = true
      },
      reject: (site, failure) => this.settle(site, settled(site.policy), failure),
      settle: (site, policy, failure) => this.settle(site, policy, failure)
    }
    this.chain = new Chain(options, wiring, this.host, this.budget)
  }

  /**
   * Where event time stands at the start (at its end, where there is no split; where a checkpoint left it), the channels
   * say so from the start: their readers wait for no one.
   */
  initial(positionOf: (source: string, split: string) => Position | undefined): TaskRecord {
    const sealed: Array<Batch | undefined> = []
    for (const port of this.chain.ports) port.seal(sealed, () => Infinity, () => 0)
    return {
      version: 0,
      finished: false,
      splits: this.chain.splits.map(({ cursor, inlet, node }) => ({
        cursor,
        position: positionOf(node.name, inlet.split)
      })),
      cursors: this.chain.channels.map(() => atStart),
      channels: this.outNames.map((_, i) => extended(emptyChannel, atStart, sealed[i]))
    }
  }

  /** Whether there is anything to do, leaving aside credit. `intake`: sources may be read. */
  hasWork(record: TaskRecord, intake: boolean, out: ReadonlyArray<OutChannel>): boolean {
    if (record.finished) return false
    if (this.spilling) return true
    if (this.advancing) return !this.chain.gates.some(({ stalled }) => stalled !== undefined)
    if (this.isBehind || this.chain.carried.length > 0) return true
    for (const { cursor, ended, inlet } of this.chain.splits) {
      if (inlet.failure !== undefined && inlet.available(cursor) <= 0) return true
      if (intake && inlet.available(cursor) > 0) return true
      if (!ended && inlet.hasEnded(cursor)) return true
    }
    for (const { cursor, upstream } of this.chain.channels) if (outstanding(upstream.channel(), cursor) > 0) return true
    return this.hasEnded() ||
      this.chain.ports.some((port) => port.hasNews((channel) => waitingIn(record, out, channel)))
  }

  /** A record waits in a gate, and what came after it. */
  get isTryingAgain(): boolean {
    return this.chain.gates.some(({ nextTimer }) => nextTimer < Infinity)
  }

  /** Rows of the last step that found no room in a channel. */
  spilledInto(channel: number): ReadonlyArray<Batch> {
    return this.chain.ports.flatMap((port) => port.spilledInto(channel))
  }

  get isSpilling(): boolean {
    return this.spilling
  }

  /** Whether a step could put out some of what has spilled. */
  canSpill(record: TaskRecord, out: ReadonlyArray<OutChannel>): boolean {
    return this.chain.ports.some((port) => port.hasRoom((channel) => roomIn(record, out, channel)))
  }

  /** One step: takes rows in until the inputs, the batch size or the output budget end it. Throws `OperatorFailed`. */
  step(before: TaskRecord, intake: boolean, out: ReadonlyArray<OutChannel>): TaskRecord {
    this.budget.spent = 0
    this.blocked = false
    if (this.isBehind) this.catchUp()
    if (!this.spilling && (!this.advancing || this.advanceFrom(this.from))) this.takeIn(intake)
    const sealed: Array<Batch | undefined> = []
    this.spilling = false
    for (const port of this.chain.ports) {
      const isDone = port.seal(
        sealed,
        (channel) => roomIn(before, out, channel),
        (channel) => waitingIn(before, out, channel)
      )
      if (!isDone) this.spilling = true
    }
    const finished = !this.spilling && !this.advancing && this.hasEnded()
    return {
      version: before.version + 1,
      finished,
      splits: this.chain.splits.map(({ cursor, inlet }, i) => {
        const known = before.splits[i]!
        return known.cursor === cursor ? known : { cursor, position: inlet.positionAt(cursor) }
      }),
      cursors: this.chain.channels.map(({ cursor }) => cursor),
      channels: before.channels.map((channel, i) => {
        const next = extended(channel, out[i]!.cursor(), sealed[i])
        const rows = fill(next, out[i]!.cursor())
        if (rows > out[i]!.peak) out[i]!.peak = rows
        return next
      })
    }
  }

  private hasEnded(): boolean {
    return this.chain.carried.length === 0
      && this.chain.splits.every(({ ended }) => ended)
      && this.chain.channels.every(({ cursor, upstream }) =>
        upstream.finished() && outstanding(upstream.channel(), cursor) === 0
      )
  }

  private takeIn(intake: boolean): void {
    const inputs = this.chain.splits.length + this.chain.channels.length
    let left = this.batchRows
    while (this.chain.carried.length > 0) {
      left -= this.fromCarried(left)
      if (left === 0 || this.isStopped()) return
    }
    this.turn++
    for (let i = 0; i < inputs && left > 0 && !this.isStopped(); i++) {
      const at = (this.turn + i) % inputs
      left -= at < this.chain.splits.length
        ? this.fromSplit(this.chain.splits[at]!, intake ? left : 0)
        : this.fromChannel(this.chain.channels[at - this.chain.splits.length]!, left)
    }
    this.taken += this.batchRows - left
  }

  private fromSplit(input: SplitInput, limit: number): number {
    const { inlet } = input
    let taken = 0
    while (taken < limit && !this.isStopped() && inlet.available(input.cursor) > 0) {
      taken += this.fromView(input, limit - taken)
    }
    if (this.advancing) return taken
    // What came before a failure is still worth having.
    if (inlet.failure !== undefined && inlet.available(input.cursor) <= 0) throw new SourceFailed(inlet.failure)
    if (!input.ended && inlet.hasEnded(input.cursor)) {
      input.ended = true
      this.move(input, Infinity)
    }
    return taken
  }

  private fromView(input: SplitInput, limit: number): number {
    const { cursor, inlet } = input
    const view = inlet.view(cursor, limit)
    this.reading = input
    const taken = (view.undecodable === undefined && !view.hasAdvances
      ? this.records(input, view)
      : this.recordsAndOthers(input, view)) - view.from
    this.reading = undefined
    input.cursor = inlet.after(cursor, taken)
    return taken
  }

  /** On its own, as the loop that everything else is inlined into: V8 has a budget for that. */
  private records(input: SplitInput, { from, rows, to }: View): number {
    let row = from
    while (row < to && !this.isStopped()) this.fromSource(input, rows[row++])
    return row
  }

  private recordsAndOthers(input: SplitInput, { from, rows, to, undecodable }: View): number {
    let row = from
    for (; row < to && !this.isStopped(); row++) {
      const value = rows[row]
      const refused = undecodable?.get(row)
      if (value instanceof Advance) this.move(input, value.eventTime)
      else if (refused === undefined) this.fromSource(input, value)
      else {
        input.site.counts.in++
        const error = new RecordUndecodable({ source: input.node.name, reason: refused.reason })
        this.host.reject(input.site, { error, value: refused.original, time: NaN, key: undefined })
      }
    }
    return row
  }

  private fromSource(input: SplitInput, value: unknown): void {
    const { counts } = input.site
    const { generator } = input
    counts.in++
    let time = NaN
    let watermark = -Infinity
    if (generator !== undefined) {
      try {
        time = input.node.time!(value)
        if (!Number.isSafeInteger(time)) throw new InvalidTimestamp({ source: input.node.name, timestamp: time })
        watermark = generator.observe(time, value)
      } catch (error) {
        return this.host.reject(input.site, { error, value, time: NaN, key: undefined })
      }
    }
    counts.out++
    input.into.push(value, time, undefined)
    if (watermark > input.watermark) this.move(input, watermark)
  }

  private fromChannel(input: ChannelInput, limit: number): number {
    const { base, items } = input.upstream.channel()
    let taken = 0
    while (taken < limit && !this.isStopped()) {
      const batch = items[input.cursor.batch - base]
      if (batch === undefined) break
      let { row, step } = input.cursor
      const { keys, stepRows, stepTimes, times, values } = batch
      const end = Math.min(values.length, row + limit - taken)
      const first = row
      let nextStep = step < stepRows.length ? stepRows[step]! : Infinity
      // Steps may be left over at the end, and an advance may stop the batch anywhere: the cursor remembers both.
      while (!this.isStopped()) {
        if (nextStep === row) {
          this.move(input, stepTimes[step++]!)
          nextStep = step < stepRows.length ? stepRows[step]! : Infinity
          continue
        }
        if (row >= end) break
        input.into.push(values[row], times[row]!, keys[row])
        row++
      }
      taken += row - first
      if (row < batch.rows || step < batch.stepRows.length || this.advancing) {
        input.cursor = { batch: input.cursor.batch, row, step }
        break
      }
      input.cursor = { batch: input.cursor.batch + 1, row: 0, step: 0 }
      this.move(input, batch.watermark)
    }
    return taken
  }

  private fromCarried(limit: number): number {
    const input: CarriedInput = this.chain.carried[0]!
    const { keys, times, values, watermarks } = input.rows
    const first = input.at
    while (input.at < values.length && input.at - first < limit && !this.isStopped()) {
      const row = input.at
      if (watermarks[row]! > input.watermark) this.move(input, watermarks[row]!)
      else {
        if (keys[row] !== aStep) input.into.push(values[row], times[row]!, keys[row])
        input.at++
      }
    }
    if (input.at === values.length && !this.isStopped()) {
      this.move(input, Infinity)
      this.chain.carried.shift()
      this.goOn()
    }
    return input.at - first
  }

  /** An input's event time moves; everything that this makes due is done before the next row. */
  private move(input: { readonly root: RootClock; watermark: number }, watermark: number): void {
    if (!(watermark > input.watermark)) return
    if (watermark === Infinity) { for (const port of this.chain.ports) port.mark() }
    input.watermark = watermark
    const { root } = input
    const before = root.current()
    if (!root.refresh()) return
    const due = this.firstDue()
    if (due < 0) return
    root.departed(before)
    this.advanceFrom(due)
  }

  /** Which operator has something to do, of those upstream the first. Asked with every record that moves event time. */
  private firstDue(): number {
    const { timed } = this.chain
    for (let i = this.from; i < timed.length; i++) {
      const operator = timed[i]!
      if (operator.nextTimer <= operator.clock.current()) return i
    }
    return -1
  }

  /** Does what is due; false if the output budget, or a gate, leaves some of it to another step. */
  private advanceFrom(first: number): boolean {
    const { roots, timed } = this.chain
    this.advancing = true
    for (let i = first; i < timed.length; i++) {
      const operator = timed[i]!
      const watermark = operator.clock.current()
      if (operator.nextTimer <= watermark && !operator.advance(watermark)) return this.interrupted(i + 1)
    }
    this.advancing = false
    for (const root of roots) root.settle()
    return true
  }

  /** The step ends here; nobody downstream may take what is still due for done. */
  private interrupted(from: number): false {
    const { timed } = this.chain
    for (let i = from; i < timed.length; i++) if (timed[i]!.nextTimer <= timed[i]!.clock.current()) timed[i]!.hold()
    return false
  }

  /** Nothing more is taken in by this step. */
  private isStopped(): boolean {
    return this.advancing || this.budget.spent >= this.batchRows
  }

  private settle(site: Site, policy: ErrorPolicy.Settled, { error, key, time, value }: Failure): void {
    switch (policy._tag) {
      case "Skip":
        site.counts.skipped++
        return
      case "DeadLetter": {
        site.counts.dead++
        const letter: DeadLetter = {
          operator: site.label,
          partition: this.partition,
          original: value,
          // One line, for logs and files.
          reason: wordsOf(error).replaceAll(/\s*\n\s*/g, "; "),
          timestamp: Number.isNaN(time) ? undefined : time,
          key: key === undefined ? undefined : encodedKey(key as Identity),
          // What a window fires has many origins.
          origin: this.advancing
            ? undefined
            : this.reading && { source: this.reading.node.name, split: this.reading.inlet.split }
        }
        this.chain.deadLetters!.push(0, letter, NaN, undefined)
        return
      }
      case "Fail":
        throw new Stop(
          new OperatorFailed({ operator: site.label, partition: this.partition, record: value, cause: error })
        )
    }
  }

  // Checkpoints.

  /** Only outside a step: then the live state is that of the record. */
  cut({ splits }: TaskRecord, groups: readonly [from: number, to: number]): TaskCut {
    const { chain } = this
    return {
      stage: this.stage,
      partition: this.partition,
      splits: chain.splits.map(({ ended, generator, inlet, node, watermark }, i) => ({
        ...splits[i]!,
        source: node.name,
        split: inlet.split,
        watermark,
        ended,
        generator: generator?.snapshot()
      })),
      watermarks: chain.inputWatermarks,
      counts: chain.sites.map(({ counts, label }) => [label, { ...counts }] as const),
      machines: Array.from(chain.machines, ([label, machine]) => [label, machine.cut(groups)] as const),
      gates: chain.gates.map((gate) => [gate.label, gate.cut()] as const),
      carried: chain.carried.map((input) => ({ operator: input.operator, input: input.input, rows: input.left() }))
    }
  }

  /** Before the first step. */
  restore(standing: TaskStanding): void {
    const { chain } = this
    for (const input of chain.splits) {
      const split = standing.split(input.node.name, input.inlet.split)
      if (split === undefined) continue
      input.watermark = split.watermark
      input.ended = split.ended
      if (split.generator !== undefined) input.generator?.restore(split.generator)
      // A source that was opened at a position numbers its rows anew.
      input.cursor = input.inlet.replayable && !input.inlet.isWhole ? 0 : split.cursor
    }
    for (const root of chain.roots) root.refresh()
    for (const entrance of chain.entrances) {
      const watermark = standing.watermark(entrance)
      if (watermark === undefined) continue
      entrance.root.restore(watermark)
      this.isBehind = true
    }
    // Upstream first: where event time stands behind an operator depends on what it has to do.
    for (const timed of chain.timed) {
      if (timed instanceof RetryGate) timed.restore(standing.gate(timed.label))
      else timed.restore(standing.machine(timed.label), standing.owns)
    }
    for (const { counts, label } of chain.sites.slice(0, chain.own)) Object.assign(counts, standing.counts(label))
    this.goOn()
  }

  /** Hears what the inputs have said since the picture was taken. */
  private catchUp(): void {
    this.isBehind = false
    for (const root of this.chain.roots) {
      const before = root.current()
      if (root.refresh()) root.departed(before)
    }
    this.goOn()
    if (!this.advancing) { for (const root of this.chain.roots) root.settle() }
  }

  /** What was due when the picture was taken, or is now that event time is the least of several, is done first. */
  private goOn(): void {
    const { carried, roots, timed } = this.chain
    this.from = carried.length === 0 ? 0 : this.chain.timedBehind(carried[0]!.operator)
    // Whose turn comes later has not done what is due, and nobody behind it may take it for done.
    for (const operator of timed.slice(0, this.from)) {
      if (operator.nextTimer <= operator.clock.current()) operator.hold()
    }
    if (this.advancing || this.firstDue() < 0) return
    this.advancing = true
    const least = timed.reduce((least, { output }) => Math.min(least, output.current()), Infinity)
    for (const root of roots) if (least < root.current()) root.departed(least)
  }
}

/** Anything can be thrown, also what has no words: that must not stop the job over a record that it can do without. */
const wordsOf = (error: unknown): string => {
  try {
    return String(error instanceof Error ? error.message : error)
  } catch {
    return "something that cannot be shown was thrown"
  }
}

/** Batches in a channel that its reader has not taken. */
const waitingIn = ({ channels }: TaskRecord, out: ReadonlyArray<OutChannel>, channel: number): number =>
  outstanding(channels[channel]!, out[channel]!.cursor())

/** How many rows a channel takes before it is full. */
const roomIn = ({ channels }: TaskRecord, out: ReadonlyArray<OutChannel>, channel: number): number =>
  out[channel]!.capacity - fill(channels[channel]!, out[channel]!.cursor())

/** A split's reader failed; the cause is the user's. */
export class SourceFailed {
  readonly cause: NonNullable<Inlet["failure"]>
  constructor(cause: NonNullable<Inlet["failure"]>) {
    this.cause = cause
  }
}
