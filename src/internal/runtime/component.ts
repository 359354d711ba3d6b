/**
 * A connected part of a job while it runs: its partitions and sinks as fibers, and the cut through all of them.
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"
import type { Scope } from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as TxRef from "effect/TxRef"
import type { Checkpoint } from "../../Checkpoint.ts"
import type { ErrorPolicy } from "../../ErrorPolicy.ts"
import type { BufferStatus } from "../../JobStatus.ts"
import type { Writer } from "../../Sink.ts"
import type { Ambient } from "../../Source.ts"
import { Stop } from "../machine/operator.ts"
import type { RetryGate } from "../machine/retryGate.ts"
import type { Graph } from "../plan/graph.ts"
import type { Component, Exchange, Layout } from "../plan/layout.ts"
import { atStart, type Channel, type Cursor, fill, outstanding } from "./batch.ts"
import { waitUntil } from "./inlet.ts"
import type { Inlets } from "./inlets.ts"
import type { OutChannel } from "./ports.ts"
import { outChannelsOf, SourceFailed, Task, type TaskRecord } from "./task.ts"

/** What every part of a job shares. */
export interface Environment {
  readonly job: string
  readonly graph: Graph
  readonly layout: Layout
  readonly batchRows: number
  readonly bufferRows: number
  readonly checkpointEvery: Duration.Input
  readonly policy: ErrorPolicy
  readonly inlets: Inlets
  /** Opens a sink for an attempt. */
  readonly openSink: (outlet: number, attempt: number) => Effect.Effect<Writer<unknown, unknown>, unknown, Scope>
  readonly deadLetters: Writer<unknown, unknown> | undefined
  /** Whether sources may be read. */
  readonly intake: TxRef.TxRef<boolean>
  readonly commit: (checkpoint: Checkpoint) => Effect.Effect<void>
  /** For the test of the tests: the cut takes its picture while partitions are in step. */
  readonly sabotage?: "cut ignores steps"
}

/** A partition of a stage as a fiber sees it. */
interface Runner {
  readonly task: Task
  readonly record: TxRef.TxRef<TaskRecord>
  /** The version being made: differs from the committed one exactly while in step, so the commit itself clears the mark. */
  making: number
  readonly out: ReadonlyArray<OutChannel>
  /** What the runner waits for. */
  readonly reads: Array<Effect.Effect<unknown>>
}

interface SinkRecord {
  readonly version: number
  readonly cursors: ReadonlyArray<Cursor>
}

interface SinkRunner {
  readonly name: string
  readonly writer: Writer<unknown, unknown>
  readonly record: TxRef.TxRef<SinkRecord>
  readonly producers: ReadonlyArray<{ readonly runner: Runner; readonly channel: number }>
  written: number
}

const inStep = ({ making, record }: Runner) => making !== record.value.version

export class Attempt {
  readonly runners: Array<Runner> = []
  readonly sinks: Array<SinkRunner> = []
  private readonly environment: Environment
  private readonly component: Component
  private readonly gate = TxRef.makeUnsafe(false)
  private readonly wanted = TxRef.makeUnsafe(0)
  private readonly oneCut = Semaphore.makeUnsafe(1)
  private epoch: number

  constructor(
    environment: Environment,
    component: Component,
    writers: ReadonlyArray<Writer<unknown, unknown>>,
    from: Checkpoint | undefined
  ) {
    this.environment = environment
    this.component = component
    this.epoch = from?.epoch ?? 0
    const { graph, layout } = environment
    const deadLetters = environment.deadLetters !== undefined
    for (const stage of component.stages) {
      for (let partition = 0; partition < layout.partitions; partition++) {
        const task = new Task({
          graph,
          layout,
          stage,
          partition,
          defaultPolicy: environment.policy,
          batchRows: Math.min(environment.batchRows, environment.bufferRows),
          deadLetters
        }, {
          inletsOf: (source, partition) => environment.inlets.of(source, partition),
          upstreams: (exchange, to) => this.upstreams(exchange, to)
        })
        const out = outChannelsOf({ graph, layout, stage, deadLetters }).map((id): OutChannel => ({
          id,
          name: `${graph.operators[stage.operators[0]!]!.label} partition ${partition}, ${id}`,
          capacity: environment.bufferRows,
          cursor: () => atStart,
          peak: 0
        }))
        const snapshot = from?.tasks[this.runners.length]
        if (snapshot !== undefined) task.restore(snapshot)
        const initial = snapshot === undefined ? task.initial : task.resumed(snapshot.record)
        this.runners.push({ task, record: TxRef.makeUnsafe(initial), making: initial.version, out, reads: [] })
      }
    }
    const outlets = component.outlets.map((i) => graph.outlets[i]!)
    outlets.forEach(({ name, port }, i) => {
      this.addSink(name, writers[i]!, `sink ${name}`, this.stage(layout.stageOf[port.operator]!), from)
    })
    if (environment.deadLetters !== undefined) {
      this.addSink("dead letters", environment.deadLetters, "dead letters", this.runners, from)
    }
    this.connect()
  }

  /** Runs until every partition and every sink is done. */
  get run(): Effect.Effect<void, unknown> {
    return Effect.all([
      ...this.runners.map((runner) => this.runPartition(runner)),
      ...this.sinks.map((sink) => this.runSink(sink))
    ], { concurrency: "unbounded", discard: true }).pipe(
      // Only now is no failure left that would have a sink write again what it has written.
      Effect.andThen(Effect.forEach(this.sinks, ({ writer }) => writer.end ?? Effect.void, { discard: true }))
    )
  }

  /** Takes a checkpoint now. */
  get checkpoint(): Effect.Effect<Checkpoint> {
    return Effect.flatMap(this.cut, (checkpoint) =>
      Effect.as(
        Effect.andThen(
          this.environment.commit(checkpoint),
          Effect.sync(() => {
            this.runners.forEach(({ task }, i) =>
              task.chain.splits.forEach(({ inlet }, j) =>
                inlet.acknowledge(checkpoint.tasks[i]!.record.splits[j]!.cursor)
              )
            )
          }).pipe(Effect.andThen(Effect.forEach(
            this.runners.flatMap(({ task }) => task.chain.splits),
            ({ inlet }) => inlet.announce,
            { discard: true }
          )))
        ),
        checkpoint
      )).pipe(this.oneCut.withPermits(1))
  }

  /** Takes checkpoints for ever: after every interval, and at once when a source can keep no more. */
  get checkpoints(): Effect.Effect<never> {
    const isPressed = () => this.runners.some(({ task }) => task.chain.splits.some(({ inlet }) => inlet.isPressed))
    return Effect.suspend(() =>
      Effect.raceFirst(
        Effect.sleep(this.environment.checkpointEvery),
        waitUntil([TxRef.get(this.wanted)], isPressed)
      )
    ).pipe(Effect.andThen(this.checkpoint), Effect.forever)
  }

  /** Looks at the state of the partition that holds a key, as of its last commit. */
  inspect<A>(stage: number, partition: number, look: (task: Task) => A): Effect.Effect<A> {
    const runner = this.stage(stage)[partition]!
    return Effect.suspend(() =>
      inStep(runner)
        ? Effect.andThen(
          waitUntil([TxRef.get(runner.record)], () => !inStep(runner)),
          this.inspect(stage, partition, look)
        )
        : Effect.succeed(look(runner.task))
    )
  }

  get buffers(): ReadonlyArray<BufferStatus> {
    const { inlets } = this.environment
    const channels = this.runners.flatMap(({ out, record }) =>
      out.map(({ capacity, cursor, name, peak }, i): BufferStatus => ({
        name,
        capacity,
        fill: fill(record.value.channels[i]!, cursor()),
        peak,
        dropped: 0
      }))
    )
    return [
      ...inlets.buffers(
        this.runners.flatMap(({ task }) => task.chain.splits.map(({ inlet, node }) => ({ inlet, source: node.name })))
      ),
      ...channels
    ]
  }

  private stage(id: number): ReadonlyArray<Runner> {
    return this.runners.filter(({ task }) => task.stage === id)
  }

  private upstreams(exchange: Exchange, to: number) {
    const producers = this.stage(this.environment.layout.stageOf[exchange.from.operator]!)
    return producers.map(({ out, record }) => {
      const channel = out.findIndex(({ id }) => id === `exchange ${exchange.id} to ${to}`)
      return {
        channel: (): Channel => record.value.channels[channel]!,
        finished: () => record.value.finished
      }
    })
  }

  private addSink(
    name: string,
    writer: Writer<unknown, unknown>,
    channel: string,
    producers: ReadonlyArray<Runner>,
    from: Checkpoint | undefined
  ): void {
    this.sinks.push({
      name,
      writer,
      record: TxRef.makeUnsafe({ version: 0, cursors: from?.sinks[this.sinks.length] ?? producers.map(() => atStart) }),
      producers: producers.map((runner) => ({ runner, channel: runner.out.findIndex(({ id }) => id === channel) })),
      written: 0
    })
  }

  /** Tells producers where their readers stand, and everybody whom to wait for. */
  private connect(): void {
    const { intake, layout } = this.environment
    const readersOf = new Map<OutChannel, () => Cursor>()
    for (const exchange of layout.exchanges) {
      const producers = this.stage(layout.stageOf[exchange.from.operator]!)
      const consumers = this.stage(layout.stageOf[exchange.to.operator]!)
      producers.forEach((producer, from) =>
        consumers.forEach((consumer, to) => {
          const out = producer.out.find(({ id }) => id === `exchange ${exchange.id} to ${to}`)!
          const index = consumer.task.chain.channelIndex(exchange.id, from)
          readersOf.set(out, () => consumer.record.value.cursors[index]!)
          consumer.reads.push(TxRef.get(producer.record))
          producer.reads.push(TxRef.get(consumer.record))
        })
      )
    }
    for (const sink of this.sinks) {
      sink.producers.forEach(({ channel, runner }, i) => {
        readersOf.set(runner.out[channel]!, () => sink.record.value.cursors[i]!)
        runner.reads.push(TxRef.get(sink.record))
      })
    }
    for (const runner of this.runners) {
      for (const out of runner.out) Object.assign(out, { cursor: readersOf.get(out)! })
      runner.reads.push(TxRef.get(this.gate), TxRef.get(intake))
      for (const { inlet } of runner.task.chain.splits) runner.reads.push(TxRef.get(inlet.changed))
    }
  }

  private isReady(runner: Runner): boolean {
    const { batchRows, bufferRows, intake } = this.environment
    if (this.gate.value || !runner.task.hasWork(runner.record.value, intake.value, runner.out)) return false
    const budget = Math.min(batchRows, bufferRows)
    if (runner.task.isSpilling) return runner.task.canSpill(runner.record.value, runner.out)
    const { channels } = runner.record.value
    return runner.out.every(({ capacity, cursor }, i) => fill(channels[i]!, cursor()) + budget <= capacity)
  }

  private runPartition(runner: Runner): Effect.Effect<void, unknown> {
    const isReady = () => this.isReady(runner)
    const step = Effect.suspend((): Effect.Effect<void, unknown> => {
      // Between waking and here the fiber may have been pre-empted, and the gate closed.
      if (!isReady()) return waitUntil(runner.reads, () => isReady() || runner.record.value.finished)
      runner.making++
      try {
        const next = runner.task.step(runner.record.value, this.environment.intake.value, runner.out)
        return Effect.tx(TxRef.set(runner.record, next))
      } catch (thrown) {
        if (thrown instanceof Stop) return Effect.fail(thrown.error)
        if (thrown instanceof SourceFailed) return Effect.failCause(thrown.cause)
        return Effect.die(thrown)
      }
    })
    return Effect.gen({ self: this }, function*() {
      const retries = new Map<RetryGate, Retrying>()
      for (let steps = 1; !runner.record.value.finished; steps++) {
        yield* step
        yield* this.afterCommit(runner)
        for (const gate of runner.task.chain.gates) if (gate.stalled !== undefined) yield* tryAgain(gate, retries)
        if (steps % 4 === 0) yield* Effect.yieldNow
      }
    })
  }

  /** Makes room in the inlets, and asks for a checkpoint when one can keep no more. */
  private afterCommit({ record, task }: Runner): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { splits } = record.value
      let pressed = false
      const announce: Array<Effect.Effect<void>> = []
      task.chain.splits.forEach(({ inlet }, i) => {
        inlet.commit(splits[i]!.cursor)
        pressed ||= inlet.isPressed
        if (inlet.isAwaited) {
          inlet.isAwaited = false
          announce.push(inlet.announce)
        }
      })
      if (pressed) announce.push(TxRef.update(this.wanted, (n) => n + 1))
      // An attempt that ends in between would leave a reader of the source, which outlives it, waiting for ever.
      return announce.length === 0 ? Effect.void : Effect.all(announce, { discard: true })
    }).pipe(Effect.uninterruptible)
  }

  private runSink(sink: SinkRunner): Effect.Effect<void, unknown> {
    const waiting = (i: number) => {
      const { channel, runner } = sink.producers[i]!
      return outstanding(runner.record.value.channels[channel]!, sink.record.value.cursors[i]!) > 0
    }
    const hasRows = () => sink.producers.some((_, i) => waiting(i))
    const hasEnded = () => sink.producers.every(({ runner }, i) => runner.record.value.finished && !waiting(i))
    const reads = sink.producers.map(({ runner }) => TxRef.get(runner.record))
    return Effect.gen(function*() {
      while (!hasEnded()) {
        if (!hasRows()) yield* waitUntil(reads, () => hasRows() || hasEnded())
        for (let i = 0; i < sink.producers.length; i++) {
          if (!waiting(i)) continue
          const { channel, runner } = sink.producers[i]!
          const { base, items } = runner.record.value.channels[channel]!
          const batches = items.slice(sink.record.value.cursors[i]!.batch - base)
          const rows = batches.length === 1 ? batches[0]!.values : batches.flatMap(({ values }) => values)
          if (rows.length > 0) yield* sink.writer.write(rows)
          yield* Effect.tx(TxRef.update(sink.record, ({ cursors, version }) => ({
            version: version + 1,
            cursors: cursors.with(i, { batch: base + items.length, row: 0, step: 0 })
          })))
          sink.written += rows.length
        }
      }
    })
  }

  /**
   * A picture of everything at one instant. When nobody is in step that is now; otherwise nobody enters a step until those
   * who are in one have committed. Nothing may come between looking and taking.
   */
  private get cut(): Effect.Effect<Checkpoint> {
    const settled = () => !this.runners.some(inStep)
    const closed = waitUntil(this.runners.map(({ record }) => TxRef.get(record)), settled).pipe(
      // Nobody can enter a step while the gate is closed, so this still holds however long ago the wait ended.
      Effect.andThen(Effect.sync(() => this.capture()))
    )
    return Effect.suspend(() =>
      settled() || this.environment.sabotage === "cut ignores steps"
        ? Effect.succeed(this.capture())
        // Wherever this is interrupted, the gate opens again.
        : Effect.ensuring(Effect.andThen(TxRef.set(this.gate, true), closed), TxRef.set(this.gate, false))
    )
  }

  private capture(): Checkpoint {
    return {
      job: this.environment.job,
      part: this.component.id,
      epoch: ++this.epoch,
      tasks: this.runners.map(({ record, task }) => task.snapshot(record.value)),
      sinks: this.sinks.map(({ record }) => record.value.cursors)
    }
  }
}

/** A retry under way: the schedule's next step. */
type Retrying = (now: number, error: unknown) => Pull.Pull<[unknown, Duration.Duration], unknown, unknown>

/** Waits as long as the schedule says and lets the gate try again; when the schedule is done, gives up. */
const tryAgain = Effect.fnUntraced(function*(gate: RetryGate, retries: Map<RetryGate, Retrying>) {
  const { attempt, error, schedule } = gate.stalled!
  let next = retries.get(gate)
  if (next === undefined || attempt === 1) {
    next = (yield* Schedule.toStep(schedule)) as Retrying
    retries.set(gate, next)
  }
  const exit = yield* Effect.exit(next(yield* Clock.currentTimeMillis, error))
  if (Exit.isSuccess(exit)) {
    yield* Effect.sleep(exit.value[1])
    return gate.retry()
  }
  if (!Pull.isDoneCause(exit.cause)) return yield* Effect.failCause(exit.cause as Cause.Cause<never>)
  gate.giveUp()
})

/** Opens everything a part needs, runs it, and takes checkpoints meanwhile; all of it is closed in the end. */
export const runAttempt = (
  environment: Environment,
  component: Component,
  attempt: number,
  from: Option.Option<Checkpoint>,
  started: (attempt: Attempt) => Effect.Effect<void>
): Effect.Effect<void, unknown, Exclude<Ambient, Scope>> =>
  Effect.scoped(Effect.gen(function*() {
    const checkpoint = Option.getOrUndefined(from)
    yield* environment.inlets.open(component, checkpoint)
    const writers: Array<Writer<unknown, unknown>> = []
    for (const outlet of component.outlets) writers.push(yield* environment.openSink(outlet, attempt))
    const self = new Attempt(environment, component, writers, checkpoint)
    yield* started(self)
    yield* Effect.raceFirst(self.run, self.checkpoints)
  }))
