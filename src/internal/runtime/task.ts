/**
 * One partition of one stage: its operators chained into a single pass over the records, the inputs that feed it, and
 * the channels it fills. `step` is synchronous; the runtime commits what it returns.
 */
import type * as ErrorPolicy from "../../ErrorPolicy.ts"
import { InvalidTimestamp, OperatorFailed, RecordUndecodable } from "../../FlowError.ts"
import type { Position } from "../../Source.ts"
import { type Counts, type Failure, type Host, settled, type Site, Stop } from "../machine/operator.ts"
import { atStart, type Batch, type Channel, type Cursor, emptyChannel, extended, fill, outstanding } from "./batch.ts"
import { Chain, type ChainOptions, type ChannelInput, type RootClock, type SplitInput, type Wiring } from "./chain.ts"
import type { Inlet } from "./inlet.ts"
import type { Budget, OutChannel } from "./ports.ts"

/** A record that user code refused, for the dead-letter sink. */
export interface DeadLetter {
  /** The operator that refused it. */
  readonly operator: string
  readonly partition: number
  /** The record as the operator got it; what the source read, if it could not be decoded. */
  readonly original: unknown
  readonly reason: string
  /** Event time in epoch milliseconds, where there is one. */
  readonly timestamp: number | undefined
  /** The identity of its key, where it has one. */
  readonly key: unknown
}

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

/** Everything a checkpoint keeps of a partition. */
export interface TaskSnapshot {
  readonly record: TaskRecord
  readonly splits: ReadonlyArray<
    { readonly source: string; readonly split: string; readonly watermark: number; readonly generator: unknown }
  >
  readonly inputs: ReadonlyArray<number>
  readonly states: ReadonlyArray<unknown>
  readonly counts: ReadonlyArray<Counts>
  readonly advancing: boolean
}

/** Numbers a task's out channels the same way for those who read them. */
export const outChannelsOf = (options: Pick<ChainOptions, "graph" | "layout" | "stage" | "deadLetters">): ReadonlyArray<string> => {
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
  private turn = 0

  constructor(options: ChainOptions, wiring: Wiring) {
    this.batchRows = options.batchRows
    this.stage = options.stage.id
    this.partition = options.partition
    this.outNames = outChannelsOf(options)
    this.host = {
      full: () => this.budget.spent >= this.batchRows,
      hold: () => {
        this.advancing = true
      },
      reject: (site, failure) => this.settle(site, settled(site.policy), failure),
      settle: (site, policy, failure) => this.settle(site, policy, failure)
    }
    this.chain = new Chain(options, wiring, this.host, this.budget)
  }

  get initial(): TaskRecord {
    return {
      version: 0,
      finished: false,
      splits: this.chain.splits.map(() => ({ cursor: 0, position: undefined })),
      cursors: this.chain.channels.map(() => atStart),
      channels: this.outNames.map(() => emptyChannel)
    }
  }

  /** The record to go on from: a source that was opened at a position numbers its rows anew. */
  resumed(record: TaskRecord): TaskRecord {
    return { ...record, splits: record.splits.map((split, i) => ({ ...split, cursor: this.chain.splits[i]!.cursor })) }
  }

  /** Whether there is anything to do, leaving aside credit. `intake`: sources may be read. */
  hasWork(record: TaskRecord, intake: boolean): boolean {
    if (record.finished) return false
    if (this.advancing) return !this.chain.gates.some(({ stalled }) => stalled !== undefined)
    for (const { cursor, inlet, watermark } of this.chain.splits) {
      if (inlet.failure !== undefined) return true
      if (intake && inlet.available(cursor) > 0) return true
      if (watermark !== Infinity && inlet.hasEnded(cursor)) return true
    }
    for (const { cursor, upstream } of this.chain.channels) if (outstanding(upstream.channel(), cursor) > 0) return true
    return this.hasEnded()
  }

  /** One step: takes rows in until the inputs, the batch size or the output budget end it. Throws `OperatorFailed`. */
  step(before: TaskRecord, intake: boolean, out: ReadonlyArray<OutChannel>): TaskRecord {
    this.budget.spent = 0
    if (!this.advancing || this.advance()) this.takeIn(intake)
    const finished = !this.advancing && this.hasEnded()
    const sealed: Array<Batch | undefined> = []
    for (const port of this.chain.ports) port.seal(sealed)
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
    return this.chain.splits.every(({ watermark }) => watermark === Infinity)
      && this.chain.channels.every(({ cursor, upstream }) => upstream.finished() && outstanding(upstream.channel(), cursor) === 0)
  }

  private takeIn(intake: boolean): void {
    const inputs = this.chain.splits.length + this.chain.channels.length
    let left = this.batchRows
    this.turn++
    for (let i = 0; i < inputs && left > 0 && !this.advancing && !this.host.full(); i++) {
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
    while (taken < limit && !this.advancing && !this.host.full() && inlet.available(input.cursor) > 0) {
      taken += this.fromView(input, limit - taken)
    }
    if (this.advancing) return taken
    // What came before a failure is still worth having.
    if (inlet.failure !== undefined && inlet.available(input.cursor) <= 0) throw new SourceFailed(inlet.failure)
    if (input.watermark !== Infinity && inlet.hasEnded(input.cursor)) this.move(input, Infinity)
    return taken
  }

  private fromView(input: SplitInput, limit: number): number {
    const { cursor, inlet } = input
    const { from, rows, to, undecodable } = inlet.view(cursor, limit)
    let row = from
    while (row < to && !this.advancing && !this.host.full()) {
      const refused = undecodable?.get(row)
      if (refused === undefined) this.fromSource(input, rows[row])
      else {
        const error = new RecordUndecodable({ source: input.node.name, reason: refused.reason })
        this.host.reject(input.site, { error, value: refused.original, time: NaN, key: undefined })
      }
      row++
    }
    input.cursor = inlet.after(cursor, row - from)
    return row - from
  }

  private fromSource(input: SplitInput, value: unknown): void {
    const { generator, into, node, site } = input
    site.counts.in++
    let time = NaN
    let watermark = -Infinity
    if (generator !== undefined) {
      try {
        time = node.time!(value)
        if (!Number.isSafeInteger(time)) throw new InvalidTimestamp({ source: node.name, timestamp: time })
        watermark = generator.observe(time, value)
      } catch (error) {
        return this.host.reject(site, { error, value, time: NaN, key: undefined })
      }
    }
    site.counts.out++
    into.push(value, time, undefined)
    if (watermark > input.watermark) this.move(input, watermark)
  }

  private fromChannel(input: ChannelInput, limit: number): number {
    const { base, items } = input.upstream.channel()
    let taken = 0
    while (taken < limit && !this.advancing && !this.host.full()) {
      const batch = items[input.cursor.batch - base]
      if (batch === undefined) break
      let { row, step } = input.cursor
      // Steps may be left over at the end, and an advance may stop the batch anywhere: the cursor remembers both.
      while (!this.advancing && !this.host.full()) {
        if (step < batch.stepRows.length && batch.stepRows[step] === row) {
          this.move(input, batch.stepTimes[step++]!)
          continue
        }
        if (row >= batch.rows || taken >= limit) break
        input.into.push(batch.values[row], batch.times[row]!, batch.keys[row])
        row++
        taken++
      }
      if (row < batch.rows || step < batch.stepRows.length || this.advancing) {
        input.cursor = { batch: input.cursor.batch, row, step }
        break
      }
      input.cursor = { batch: input.cursor.batch + 1, row: 0, step: 0 }
      this.move(input, batch.watermark)
    }
    return taken
  }

  /** An input's event time moves; everything that this makes due is done before the next row. */
  private move(input: { readonly root: RootClock; watermark: number }, watermark: number): void {
    if (!(watermark > input.watermark)) return
    input.watermark = watermark
    if (input.root.refresh()) this.advance()
  }

  private advance(): boolean {
    this.advancing = true
    for (let i = 0; i < this.chain.timed.length; i++) {
      const operator = this.chain.timed[i]!
      const watermark = operator.clock.current()
      if (operator.nextTimer <= watermark && !operator.advance(watermark)) return false
    }
    this.advancing = false
    for (let i = 0; i < this.chain.roots.length; i++) this.chain.roots[i]!.settle()
    return true
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
          reason: error instanceof Error ? error.message : String(error),
          timestamp: Number.isNaN(time) ? undefined : time,
          key
        }
        this.chain.deadLetters!.push(0, letter, NaN, undefined)
        return
      }
      case "Fail":
        throw new Stop(new OperatorFailed({ operator: site.label, partition: this.partition, record: value, cause: error }))
    }
  }

  // Checkpoints.

  /** Only outside a step: then the live state is that of the record. */
  snapshot(record: TaskRecord): TaskSnapshot {
    return {
      record,
      splits: this.chain.splits.map(({ generator, inlet, node, watermark }) => ({
        source: node.name,
        split: inlet.split,
        watermark,
        generator: generator?.snapshot()
      })),
      inputs: this.chain.channels.map(({ watermark }) => watermark),
      states: this.chain.stateful.map((state) => state.snapshot()),
      counts: this.chain.sites.map(({ counts }) => ({ ...counts })),
      advancing: this.advancing
    }
  }

  restore({ advancing, counts, inputs, record, splits, states }: TaskSnapshot): void {
    this.chain.splits.forEach((input, i) => {
      const { generator, watermark } = splits[i]!
      input.watermark = watermark
      input.generator?.restore(generator)
      input.cursor = input.inlet.replayable && !input.inlet.isWhole ? 0 : record.splits[i]!.cursor
    })
    this.chain.channels.forEach((input, i) => {
      input.watermark = inputs[i]!
      input.cursor = record.cursors[i]!
    })
    for (const root of this.chain.roots) root.refresh()
    for (const root of this.chain.roots) root.settle()
    this.chain.stateful.forEach((state, i) => state.restore(states[i]))
    this.chain.sites.forEach(({ counts: live }, i) => Object.assign(live, counts[i]))
    this.advancing = advancing
    for (const port of this.chain.ports) port.restore(record.channels)
  }
}

/** A split's reader failed; the cause is the user's. */
export class SourceFailed {
  readonly cause: NonNullable<Inlet["failure"]>
  constructor(cause: NonNullable<Inlet["failure"]>) {
    this.cause = cause
  }
}
