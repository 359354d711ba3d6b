/**
 * A connected part of a job while it runs: its partitions and outputs as fibers, and the picture of all of them.
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"
import type { Scope } from "effect/Scope"
import * as TxRef from "effect/TxRef"
import type { ErrorPolicy } from "../../ErrorPolicy.ts"
import type { CheckpointRefused } from "../../FlowError.ts"
import type { BufferStatus } from "../../JobStatus.ts"
import type { Ambient } from "../../Source.ts"
import { Stop } from "../machine/operator.ts"
import type { RetryGate } from "../machine/retryGate.ts"
import type { Graph } from "../plan/graph.ts"
import type { Component, Exchange, Layout } from "../plan/layout.ts"
import { reasonOf } from "../plan/readers.ts"
import { type Channel, type Cursor, fill } from "./batch.ts"
import type { ChannelCut } from "./carried.ts"
import type { InputCut, PartCut } from "./encoding.ts"
import { waitUntil } from "./inlet.ts"
import type { Inlets } from "./inlets.ts"
import { type Destination, Output, type OutputOptions, type Producer, type Sealed } from "./outputs.ts"
import type { OutChannel } from "./ports.ts"
import { unrestorable } from "./recovery.ts"
import { groupsOf } from "./routers.ts"
import { type PartStanding, unstarted } from "./standing.ts"
import { outChannelsOf, SourceFailed, Task, type TaskRecord } from "./task.ts"

/** What every part of a job shares. */
export interface Environment {
  readonly job: string
  readonly graph: Graph
  readonly layout: Layout
  readonly batchRows: number
  readonly bufferRows: number
  readonly policy: ErrorPolicy
  readonly inlets: Inlets
  /** Where the rows of an outlet go in an attempt; a sink that is written at once is opened for it. */
  readonly openOutlet: (outlet: number, attempt: number) => Effect.Effect<Destination, unknown, Scope>
  readonly deadLetters: Destination | undefined
  /** Whether sources may be read. */
  readonly intake: TxRef.TxRef<boolean>
  /** Asks for a checkpoint before its time. */
  readonly press: Effect.Effect<void>
  /** How much more may be kept for sinks. */
  readonly credit: Pick<OutputOptions, "hasCredit" | "credit" | "press">
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

/** A part at one instant, and what it has put out since the instant before. */
export interface AttemptCut {
  readonly part: PartCut
  readonly sealed: ReadonlyArray<readonly [output: Output, sealed: Sealed]>
}

const inStep = ({ making, record }: Runner) => making !== record.value.version

export class Attempt {
  readonly runners: Array<Runner> = []
  readonly outputs: Array<Output> = []
  readonly part: number
  /** Partitions in step may go on, and nobody else may begin. */
  readonly gate = TxRef.makeUnsafe(false)
  private readonly environment: Environment

  constructor(
    environment: Environment,
    component: Component,
    destinations: ReadonlyArray<Destination>,
    standing: PartStanding = unstarted
  ) {
    this.environment = environment
    this.part = component.id
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
          deadLetters,
          carried: standing.carried(stage.operators, partition)
        }, {
          inletsOf: (source, partition) => environment.inlets.of(source, partition),
          upstreams: (exchange, to) => this.upstreams(exchange, to)
        })
        const out = outChannelsOf({ graph, layout, stage, deadLetters }).map((id): OutChannel => ({
          id,
          name: `${graph.operators[stage.operators[0]!]!.label} partition ${partition}, ${id}`,
          capacity: environment.bufferRows,
          cursor: () => ({ batch: 0, row: 0, step: 0 }),
          peak: 0
        }))
        task.restore(standing.task(partition))
        const initial = task.initial((source, split) => standing.split(source, split)?.position)
        this.runners.push({ task, record: TxRef.makeUnsafe(initial), making: initial.version, out, reads: [] })
      }
    }
    component.outlets.forEach((outlet, i) => {
      const { name, port } = graph.outlets[outlet]!
      const producers = this.stage(layout.stageOf[port.operator]!)
      this.addOutput(name, outlet, destinations[i]!, producers, `sink ${name}`, standing.queue(name))
    })
    if (environment.deadLetters !== undefined) {
      const carried = standing.deadLetters
      this.addOutput("dead letters", undefined, environment.deadLetters, this.runners, "dead letters", carried)
    }
    this.connect()
  }

  /** Runs until every partition and every output is done. */
  get run(): Effect.Effect<void, unknown> {
    return Effect.all([
      ...this.runners.map((runner) => this.runPartition(runner)),
      ...this.outputs.map((output) => output.run)
    ], { concurrency: "unbounded", discard: true }).pipe(
      // Only now is no failure left that would have a sink write again what it has written.
      Effect.andThen(Effect.forEach(this.outputs, ({ destination }) =>
        // The job alone knows when the last dead letter was written.
        destination._tag === "AtOnce" && destination !== this.environment.deadLetters
          ? destination.writer.end ?? Effect.void
          : Effect.void, { discard: true }))
    )
  }

  /** Nobody is in step: a picture taken now is consistent. */
  get isSettled(): boolean {
    return !this.runners.some(inStep)
  }

  /** What to read to hear of the end of every step. */
  get steps(): ReadonlyArray<Effect.Effect<unknown>> {
    return this.runners.map(({ record }) => TxRef.get(record))
  }

  /** Nothing that was taken in is on its way any more: outputs have it, or state, or it was refused. */
  get isIdle(): boolean {
    return this.isSettled
      && this.runners.every(({ out, record, task }) => !task.isTryingAgain && !task.hasWork(record.value, false, out))
      && this.outputs.every(({ isIdle }) => isIdle)
  }

  /** What to read to hear of everything that can make a part idle. */
  get moves(): ReadonlyArray<Effect.Effect<unknown>> {
    return [...this.steps, ...this.outputs.map(({ record }) => TxRef.get(record))]
  }

  /** A picture of everything, when nobody is in step. */
  capture(): AttemptCut {
    const { layout } = this.environment
    const groups = (partition: number) => groupsOf(partition, layout.partitions)
    return {
      part: {
        part: this.part,
        tasks: this.runners.map(({ record, task }) => task.cut(record.value, groups(task.partition))),
        inputs: this.runners.flatMap((runner) => this.inputsOf(runner)),
        queues: this.outputs.map((output) => ({ outlet: output.outlet, rows: output.queued() })),
        groups
      },
      sealed: this.outputs.map((output) => [output, output.seal()] as const)
    }
  }

  /** A checkpoint holds everything that a picture shows: what was kept for a restart may go. */
  acknowledge({ tasks }: PartCut): Effect.Effect<void> {
    return Effect.suspend(() => {
      const inlets = this.runners.flatMap(({ task }) => task.chain.splits.map(({ inlet }) => inlet))
      this.runners.forEach(({ task }, i) =>
        task.chain.splits.forEach(({ inlet }, j) => inlet.acknowledge(tasks[i]!.splits[j]!.cursor))
      )
      return Effect.forEach(inlets, ({ announce }) => announce, { discard: true })
    })
  }

  /** A source can keep no more, or an offer waits to be durable. */
  get isPressed(): boolean {
    return this.runners.some(({ task }) => task.chain.splits.some(({ inlet }) => inlet.isPressed))
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

  private addOutput(
    name: string,
    outlet: number | undefined,
    destination: Destination,
    runners: ReadonlyArray<Runner>,
    id: string,
    carried: ReadonlyArray<unknown>
  ): void {
    const { credit, deadLetters, policy } = this.environment
    const producers = runners.map((runner): Producer => {
      const channel = runner.out.findIndex((out) => out.id === id)
      return {
        channel: () => runner.record.value.channels[channel]!,
        spilled: () => runner.task.spilledInto(channel).flatMap(({ values }) => values),
        finished: () => runner.record.value.finished,
        read: TxRef.get(runner.record)
      }
    })
    this.outputs.push(new Output({ name, outlet, destination, producers, carried, policy, deadLetters, ...credit }))
  }

  /** What a partition has not read of what others have sent it. */
  private inputsOf({ record, task }: Runner): ReadonlyArray<InputCut> {
    const { layout } = this.environment
    return layout.exchanges.flatMap((exchange): ReadonlyArray<InputCut> => {
      if (layout.stageOf[exchange.to.operator] !== task.stage) return []
      const producers = this.stage(layout.stageOf[exchange.from.operator]!)
      const channels = producers.map((producer, from): ChannelCut => {
        const index = task.chain.channelIndex(exchange.id, from)
        const cursor = record.value.cursors[index]!
        const out = producer.out.findIndex(({ id }) => id === `exchange ${exchange.id} to ${task.partition}`)
        const { base, items } = producer.record.value.channels[out]!
        return {
          watermark: task.chain.channels[index]!.watermark,
          batches: [...items.slice(cursor.batch - base), ...producer.task.spilledInto(out)],
          row: cursor.row,
          step: cursor.step
        }
      })
      const start = task.chain.watermarkInto(exchange.id)
      return [{ operator: exchange.to.operator, input: exchange.to.input, partition: task.partition, start, channels }]
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
    for (const output of this.outputs) {
      const { outlet, record } = output
      const id = outlet === undefined ? "dead letters" : `sink ${output.name}`
      const runners = outlet === undefined
        ? this.runners
        : this.stage(layout.stageOf[this.environment.graph.outlets[outlet]!.port.operator]!)
      runners.forEach((runner, i) => {
        readersOf.set(runner.out.find((out) => out.id === id)!, () => record.value.cursors[i]!)
        runner.reads.push(TxRef.get(record))
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
      if (pressed) announce.push(this.environment.press)
      // An attempt that ends in between would leave a reader of the source, which outlives it, waiting for ever.
      return announce.length === 0 ? Effect.void : Effect.all(announce, { discard: true })
    }).pipe(Effect.uninterruptible)
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

/** What throws while a part is put together from a checkpoint is the checkpoint's fault, and no restart mends it. */
const restored = (
  environment: Environment,
  component: Component,
  destinations: ReadonlyArray<Destination>,
  standing: PartStanding
): Effect.Effect<Attempt, CheckpointRefused> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(new Attempt(environment, component, destinations, standing))
    } catch (cause) {
      const { epoch } = standing
      if (epoch === undefined) return Effect.die(cause)
      return Effect.fail(unrestorable(environment.job, epoch, reasonOf(cause)))
    }
  })

/** Opens everything a part needs and runs it; all of it is closed in the end. */
export const runAttempt = (
  environment: Environment,
  component: Component,
  attempt: number,
  standing: PartStanding,
  started: (attempt: Attempt) => Effect.Effect<void>,
  /** At once when it fails, however long it takes to close what it has opened. */
  lost: Effect.Effect<void>
): Effect.Effect<void, unknown, Exclude<Ambient, Scope>> =>
  Effect.scoped(Effect.gen(function*() {
    yield* environment.inlets.open(component, standing)
    const destinations: Array<Destination> = []
    for (const outlet of component.outlets) destinations.push(yield* environment.openOutlet(outlet, attempt))
    const self = yield* restored(environment, component, destinations, standing)
    yield* started(self)
    yield* Effect.onError(self.run, () => lost)
  }))
