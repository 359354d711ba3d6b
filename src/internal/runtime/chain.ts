/** Builds what runs in one partition of one stage: clocks, operators, and the ports that rows leave by. */
import type { ErrorPolicy, Retry } from "../../ErrorPolicy.ts"
import * as Watermark from "../../Watermark.ts"
import type { Clock, Host, Receiver, Site } from "../machine/operator.ts"
import { fanOut, LeastClock, noCounts } from "../machine/operator.ts"
import { RetryGate } from "../machine/retryGate.ts"
import { split, transform } from "../machine/transform.ts"
import { machine, MachineOperator } from "../machine/windowing.ts"
import type { Graph, Operator } from "../plan/graph.ts"
import type { Exchange, Layout, Stage } from "../plan/layout.ts"
import type { SourceNode } from "../plan/node.ts"
import { atStart, type Channel, type Cursor } from "./batch.ts"
import { CarriedInput, type Rows } from "./carried.ts"
import type { Inlet } from "./inlet.ts"
import { type Budget, Port } from "./ports.ts"
import { Counter, keyFunction, KeyOperator, router } from "./routers.ts"

/** Event time where an input enters the stage: the least over its splits or channels. */
export class RootClock implements Clock {
  readonly inputs: Array<{ watermark: number }> = []
  private watermark = -Infinity
  /** Where event time was before the advance under way, if there is one. */
  private before: number | undefined
  current(): number {
    return this.watermark
  }
  previous(): number {
    return this.before ?? this.watermark
  }
  /** After an input has moved. True if the whole has. */
  refresh(): boolean {
    const { inputs } = this
    let least = Infinity
    for (let i = 0; i < inputs.length; i++) {
      const { watermark } = inputs[i]!
      if (watermark < least) least = watermark
    }
    if (!(least > this.watermark)) return false
    this.watermark = least
    return true
  }
  /** Where a checkpoint left it: what the inputs say by now is heard in the first step. */
  restore(watermark: number): void {
    this.watermark = watermark
  }
  /** An advance begins that led here from somewhere. */
  departed(from: number): void {
    this.before = from
  }
  settle(): void {
    this.before = undefined
  }
}

/** A channel that this partition reads, by where its producer commits it. */
export interface Upstream {
  readonly channel: () => Channel
  readonly finished: () => boolean
}

export interface ChannelInput {
  readonly upstream: Upstream
  readonly root: RootClock
  readonly into: Receiver
  /** Position in the producer's channel, moved by the step and committed with the record. */
  cursor: Cursor
  watermark: number
}

export interface SplitInput {
  readonly inlet: Inlet
  readonly node: SourceNode
  readonly site: Site
  readonly root: RootClock
  readonly into: Receiver
  readonly generator: Watermark.Generator<unknown> | undefined
  cursor: number
  watermark: number
  /** All rows have been taken in. A rule for watermarks may go to the end of time before. */
  ended: boolean
}

export interface ChainOptions {
  readonly graph: Graph
  readonly layout: Layout
  readonly stage: Stage
  readonly partition: number
  readonly defaultPolicy: ErrorPolicy
  /** Rows that one step takes in, and rows that it puts out, at most. */
  readonly batchRows: number
  /** Whether a sink takes dead letters. */
  readonly deadLetters: boolean
  /** Rows that were under way to operators of this stage and partition when a checkpoint was taken. */
  readonly carried: ReadonlyArray<Carried>
}

/** Rows under way to one input of an operator. */
export interface Carried {
  readonly operator: number
  readonly input: number
  readonly rows: Rows
}

/** What the builder of a component hands to a task: the world around it. */
export interface Wiring {
  readonly inletsOf: (source: string, partition: number) => ReadonlyArray<Inlet>
  readonly upstreams: (exchange: Exchange, partition: number) => ReadonlyArray<Upstream>
}

/** A gate, and what stands behind it. */
interface Gate {
  readonly gate: RetryGate
  readonly late: LateReceiver
}

/** This stage's half of an operator behind an exchange. */
interface Sender {
  readonly site: Site
  readonly gate: Gate | undefined
  readonly port: Port
}

/** Makes an operator of its consumers, one per output. */
type Maker = (receiverOf: (output: string) => Receiver) => Receiver

/** The parts of a partition, put together. */
export class Chain {
  /** Of the stage's own operators, and then of those in the next stages whose key or partition is chosen here. */
  readonly sites: Array<Site>
  /** How many of them are the stage's own. */
  readonly own: number
  readonly splits: Array<SplitInput> = []
  readonly channels: Array<ChannelInput> = []
  /** The furthest downstream first: what is under way there came before what is under way further up. */
  readonly carried: Array<CarriedInput> = []
  readonly machines = new Map<string, MachineOperator>()
  readonly gates: Array<RetryGate> = []
  readonly roots: Array<RootClock> = []
  /** Upstream before downstream. */
  readonly timed: Array<MachineOperator | RetryGate> = []
  /** Which operator each of them belongs to; those that send to another stage come after all of this one. */
  private readonly timedOperators: Array<number> = []
  readonly ports: Array<Port> = []
  deadLetters: Port | undefined
  private readonly options: ChainOptions
  private readonly host: Host
  private readonly budget: Budget
  /** Event time behind each operator, and in front of it. */
  private readonly clocks = new Map<number, Clock>()
  private readonly inputClocks = new Map<number, ReadonlyArray<Clock>>()
  private readonly rootsByName = new Map<string, RootClock>()
  private readonly receivers = new Map<number, Receiver>()
  private readonly senders = new Map<number, Sender>()
  private readonly sinkPorts = new Map<string, Port>()
  private readonly channelNumbers = new Map<string, number>()

  constructor(options: ChainOptions, wiring: Wiring, host: Host, budget: Budget) {
    this.options = options
    this.host = host
    this.budget = budget
    this.sites = options.stage.operators.map((id) => this.siteOf(id))
    this.own = this.sites.length
    this.build(wiring)
  }

  /** Which of the channels comes from a partition over an exchange. */
  channelIndex(exchange: number, from: number): number {
    return this.channelNumbers.get(`${exchange} from ${from}`)!
  }

  /** Event time where an operator takes its input; behind an exchange, for its sending half, where the stage's first does. */
  watermarkOf(operator: number): number {
    const clocks = this.inputClocks.get(operator)
    if (clocks === undefined) return this.roots[0]?.current() ?? -Infinity
    return clocks.reduce((least, clock) => Math.min(least, clock.current()), Infinity)
  }

  /** Event time at each input of each of the stage's operators. */
  get inputWatermarks(): ReadonlyArray<readonly [operator: number, watermarks: ReadonlyArray<number>]> {
    return Array.from(
      this.inputClocks,
      ([operator, clocks]) => [operator, clocks.map((clock) => clock.current())] as const
    )
  }

  /** Where rows of other partitions come in. */
  get entrances(): ReadonlyArray<Exchange & { readonly root: RootClock }> {
    return this.options.layout.exchanges.filter(({ to }) => this.options.stage.operators.includes(to.operator))
      .map((exchange) => ({ ...exchange, root: this.rootOf(`exchange ${exchange.id}`) }))
  }

  /** Event time where an exchange leads in. */
  watermarkInto(exchange: number): number {
    return this.rootOf(`exchange ${exchange}`).current()
  }

  /** From where in `timed` on everything lies behind an operator. */
  timedBehind(operator: number): number {
    const at = this.timedOperators.findIndex((id) => id > operator)
    return at < 0 ? this.timed.length : at
  }

  private siteOf(id: number): Site {
    const { label, node } = this.options.graph.operators[id]!
    const own = "onError" in node ? node.onError : undefined
    return { label, policy: own ?? this.options.defaultPolicy, counts: noCounts() }
  }

  // Clocks are made from upstream to downstream, receivers the other way round.

  private build(wiring: Wiring): void {
    const { stage } = this.options
    const makers = stage.operators.map((id, at) => this.describe(id, this.sites[at]!))
    this.openPorts()
    for (let at = stage.operators.length - 1; at >= 0; at--) {
      const id = stage.operators[at]!
      const make = makers[at]
      if (make !== undefined) this.receivers.set(id, make((output) => this.consumersOf(id, output)))
    }
    stage.operators.forEach((id, at) => this.connect(id, this.sites[at]!, wiring))
    this.carried.sort((a, b) => b.operator - a.operator)
    // A source without a split here is at its end from the start, and so is what only such partitions feed.
    for (const root of this.roots) root.refresh()
    for (const root of this.roots) root.settle()
  }

  /** The clock behind an operator, and how to make the operator once its consumers are there. Sources need no making. */
  private describe(id: number, site: Site): Maker | undefined {
    const operator = this.options.graph.operators[id]!
    const { node } = operator
    const clocks = node._tag === "Source" ? [this.rootOf(`source ${node.name}`)] : this.clocksInto(operator)
    const clock = clocks.length === 1 ? clocks[0]! : new LeastClock(clocks)
    this.inputClocks.set(id, clocks)
    this.clocks.set(id, clock)
    if (node._tag === "Source") return undefined
    // The sending side of an exchange has a gate of its own.
    const isBehindExchange = this.exchangesInto(id).some(({ route }) => route !== "Forward")
    return site.policy._tag === "Retry" && node._tag !== "Merge" && !isBehindExchange
      ? this.gated(operator, site, site.policy, clock)
      : this.maker(operator, site, this.host, clock)
  }

  private rootOf(name: string): RootClock {
    let root = this.rootsByName.get(name)
    if (root === undefined) {
      this.rootsByName.set(name, root = new RootClock())
      this.roots.push(root)
    }
    return root
  }

  private clocksInto({ id, inputs }: Operator): ReadonlyArray<Clock> {
    return inputs.map((port, input): Clock => {
      const exchange = this.exchangesInto(id).find(({ to }) => to.input === input)
      if (exchange !== undefined) return this.rootOf(`exchange ${exchange.id}`)
      const clock = this.clocks.get(port.operator)!
      // What was under way over an exchange that this layout does not have holds event time until it has been read.
      return this.carriedInto(id).some((carried) => carried.input === input)
        ? new LeastClock([clock, this.rootOf(`carried ${id} ${input}`)])
        : clock
    })
  }

  private exchangesInto(id: number): ReadonlyArray<Exchange> {
    return this.options.layout.exchanges.filter(({ to }) => to.operator === id)
  }

  private carriedInto(id: number): ReadonlyArray<Carried> {
    return this.options.carried.filter(({ operator, rows }) => operator === id && rows.values.length > 0)
  }

  /** An operator behind a gate that holds event time while a record is tried again. */
  private gated(operator: Operator, site: Site, policy: Retry, clock: Clock): Maker {
    const { gate, late } = this.gate(site, policy, clock, operator.id)
    this.clocks.set(operator.id, gate.output)
    const make = this.maker(operator, site, gate.host, gate.output)
    return (receiverOf) => {
      late.target = make(receiverOf)
      return gate
    }
  }

  private gate(site: Site, policy: Retry, clock: Clock, operator: number): Gate {
    const late = new LateReceiver()
    const gate = new RetryGate(site, this.host, policy, clock, late)
    this.gates.push(gate)
    this.addTimed(operator, gate)
    return { gate, late }
  }

  private addTimed(operator: number, timed: MachineOperator | RetryGate): void {
    this.timed.push(timed)
    this.timedOperators.push(operator)
  }

  private maker(operator: Operator, site: Site, host: Host, clock: Clock): Maker {
    const { node } = operator
    switch (node._tag) {
      case "Source":
        throw new Error("Chain: a source takes nothing in")
      case "Merge":
      case "Partition":
        return (receiverOf) => new Counter(site.counts, receiverOf("out"))
      case "Transform":
        return (receiverOf) => transform(site, host, node, receiverOf("out"))
      case "Split":
        return (receiverOf) => split(site, host, node, receiverOf)
      case "KeyBy": {
        const keyOf = keyFunction(operator)
        return (receiverOf) => new KeyOperator(site, host, keyOf, receiverOf("out"))
      }
      case "Window": {
        const window = new MachineOperator(
          site,
          host,
          clock,
          (emit) => machine(node, operator.allowedLatenessMillis, emit)
        )
        this.clocks.set(operator.id, window.output)
        this.addTimed(operator.id, window)
        this.machines.set(operator.label, window)
        return (receiverOf) => window.connect(receiverOf)
      }
    }
  }

  /** In the order that `outChannelsOf` promises to readers. */
  private openPorts(): void {
    const { deadLetters, graph, layout, stage } = this.options
    let channels = 0
    const open = (count: number, clock: Clock | undefined): Port => {
      const port = new Port(this.budget, Array.from({ length: count }, () => channels++), clock)
      this.ports.push(port)
      return port
    }
    for (const { from, id, route, to } of layout.exchanges) {
      if (!stage.operators.includes(from.operator)) continue
      const clock = this.clocks.get(from.operator)!
      const site = this.siteOf(to.operator)
      this.sites.push(site)
      const gate = site.policy._tag === "Retry" && route !== "Forward"
        ? this.gate(site, site.policy, clock, Infinity)
        : undefined
      this.senders.set(id, { site, gate, port: open(layout.partitions, gate?.gate.output ?? clock) })
    }
    for (const { name, port } of graph.outlets) {
      if (stage.operators.includes(port.operator)) this.sinkPorts.set(name, open(1, undefined))
    }
    if (deadLetters) this.deadLetters = open(1, undefined)
  }

  /** Everything that reads one output of an operator: other partitions, operators of this stage, sinks. */
  private consumersOf(id: number, output: string): Receiver {
    const { graph, layout, stage } = this.options
    const reads = (port: { readonly operator: number; readonly output: string }) =>
      port.operator === id && port.output === output
    const consumers: Array<Receiver> = []
    for (const exchange of layout.exchanges) {
      if (reads(exchange.from)) consumers.push(this.router(exchange, this.senders.get(exchange.id)!))
    }
    for (const other of stage.operators) {
      graph.operators[other]!.inputs.forEach((input, index) => {
        if (!reads(input) || this.exchangesInto(other).some(({ to }) => to.input === index)) return
        consumers.push(this.receivers.get(other)!)
      })
    }
    for (const { name, port } of graph.outlets) {
      if (!reads(port)) continue
      const sink = this.sinkPorts.get(name)!
      consumers.push({ push: (value) => sink.push(0, value, NaN, undefined) })
    }
    return fanOut(consumers)
  }

  /** What feeds an operator from outside: splits of a source, channels of an exchange. */
  private connect(id: number, site: Site, wiring: Wiring): void {
    const { graph, partition } = this.options
    const { node } = graph.operators[id]!
    if (node._tag === "Source") {
      const root = this.rootOf(`source ${node.name}`)
      const into = this.consumersOf(id, "out")
      for (const inlet of wiring.inletsOf(node.name, partition)) {
        const generator = node.watermark === undefined ? undefined : Watermark.generator(node.watermark)
        const input: SplitInput = {
          inlet,
          node,
          site,
          root,
          into,
          generator,
          cursor: 0,
          watermark: -Infinity,
          ended: false
        }
        root.inputs.push(input)
        this.splits.push(input)
      }
      return
    }
    for (const exchange of this.exchangesInto(id)) {
      const root = this.rootOf(`exchange ${exchange.id}`)
      const into = this.inputOf(id, site)
      for (const [from, upstream] of wiring.upstreams(exchange, partition).entries()) {
        this.channelNumbers.set(`${exchange.id} from ${from}`, this.channels.length)
        const input: ChannelInput = { upstream, root, into, cursor: atStart, watermark: startOf(upstream) }
        root.inputs.push(input)
        this.channels.push(input)
      }
    }
    for (const { input, rows } of this.carriedInto(id)) {
      const exchange = this.exchangesInto(id).find(({ to }) => to.input === input)
      const root = this.rootOf(exchange === undefined ? `carried ${id} ${input}` : `exchange ${exchange.id}`)
      const into = this.inputOf(id, site)
      const carried = new CarriedInput(id, input, rows, root, into)
      root.inputs.push(carried)
      this.carried.push(carried)
    }
  }

  /** Where rows enter an operator that came over an exchange. */
  private inputOf(id: number, site: Site): Receiver {
    const { _tag } = this.options.graph.operators[id]!.node
    // The key came with the row: what remains of a keyBy behind its exchange is to count.
    return _tag === "KeyBy" || _tag === "Partition"
      ? new Counter(site.counts, this.consumersOf(id, "out"))
      : this.receivers.get(id)!
  }

  private router(exchange: Exchange, { gate, port, site }: Sender): Receiver {
    const target = this.options.graph.operators[exchange.to.operator]!
    const sender = router(site, gate?.gate.host ?? this.host, exchange, target, port, this.options.partition)
    if (gate === undefined) return sender
    gate.late.target = sender
    return gate.gate
  }
}

/** What a channel says of event time before its first row: a reader must know before it judges rows of other channels. */
const startOf = ({ channel }: Upstream): number => {
  const first = channel().items[0]
  return first !== undefined && first.rows === 0 ? first.watermark : -Infinity
}

/** Stands in for an operator that is built after what feeds it. */
class LateReceiver implements Receiver {
  target: Receiver | undefined
  push(value: unknown, time: number, key: unknown): void {
    this.target!.push(value, time, key)
  }
}
