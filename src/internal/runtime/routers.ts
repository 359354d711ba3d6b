/** Which partition a row goes to, and which key it has. User code that says so runs on the sending side. */
import { PartitionInvalid } from "../../FlowError.ts"
import type { Counts, Host, Receiver, Site } from "../machine/operator.ts"
import type { Operator } from "../plan/graph.ts"
import type { Exchange } from "../plan/layout.ts"
import type { PartitionNode } from "../plan/node.ts"
import { type Identity, identityOf, keyGroupOf, keyGroups, keyIdentity } from "../state/keyIdentity.ts"
import type { Port } from "./ports.ts"

/** The partition that owns a key. */
export const partitionOf = (key: Identity, partitions: number): number =>
  Math.floor(keyGroupOf(key) * partitions / keyGroups)

/** The key groups of a partition: from one, to before another. */
export const groupsOf = (partition: number, partitions: number): readonly [from: number, to: number] => [
  Math.ceil(partition * keyGroups / partitions),
  Math.ceil((partition + 1) * keyGroups / partitions)
]

/** Where rows of an exchange go. */
type Choose = (value: unknown, key: unknown, partitions: number) => number

/** Sends rows over an exchange; user code that names the key or the partition runs here, on the sending side. */
class Router implements Receiver {
  private readonly site: Site
  private readonly host: Host
  private readonly port: Port
  private readonly keyOf: ((value: unknown) => Identity) | undefined
  private readonly choose: Choose
  constructor(site: Site, host: Host, port: Port, keyOf: ((value: unknown) => Identity) | undefined, choose: Choose) {
    this.site = site
    this.host = host
    this.port = port
    this.keyOf = keyOf
    this.choose = choose
  }
  push(value: unknown, time: number, key: unknown): void {
    let partition: number
    try {
      if (this.keyOf !== undefined) key = this.keyOf(value)
      partition = this.choose(value, key, this.port.channels.length)
    } catch (error) {
      // Those that get through are counted where they arrive.
      this.site.counts.in++
      return this.host.reject(this.site, { error, value, time, key })
    }
    this.port.push(partition, value, time, key)
  }
}

/** Sends every row to all partitions. */
class Broadcaster implements Receiver {
  private readonly port: Port
  constructor(port: Port) {
    this.port = port
  }
  push(value: unknown, time: number, key: unknown): void {
    for (let i = 0; i < this.port.channels.length; i++) this.port.push(i, value, time, key)
  }
}

/** The key of a record where no exchange is needed. */
export class KeyOperator implements Receiver {
  private readonly site: Site
  private readonly host: Host
  private readonly keyOf: (value: unknown) => Identity
  private readonly next: Receiver
  constructor(site: Site, host: Host, keyOf: (value: unknown) => Identity, next: Receiver) {
    this.site = site
    this.host = host
    this.keyOf = keyOf
    this.next = next
  }
  push(value: unknown, time: number, _: unknown): void {
    let key: Identity
    this.site.counts.in++
    try {
      key = this.keyOf(value)
    } catch (error) {
      return this.host.reject(this.site, { error, value, time, key: undefined })
    }
    this.site.counts.out++
    this.next.push(value, time, key)
  }
}

/** Counts what an exchange delivered to the operator behind it. */
export class Counter implements Receiver {
  private readonly counts: Counts
  private readonly next: Receiver
  constructor(counts: Counts, next: Receiver) {
    this.counts = counts
    this.next = next
  }
  push(value: unknown, time: number, key: unknown): void {
    this.counts.in++
    this.counts.out++
    this.next.push(value, time, key)
  }
}

/** What sends the rows of an exchange; `site` is that of the operator behind it, `partition` the sender's own. */
export const router = (
  site: Site,
  host: Host,
  exchange: Exchange,
  target: Operator,
  port: Port,
  partition: number
): Receiver => {
  if (exchange.route === "Forward") return { push: (value, time, key) => port.push(partition, value, time, key) }
  if (target.node._tag === "KeyBy") return new Router(site, host, port, keyFunction(target), byKey)
  const { rule } = target.node as PartitionNode
  switch (rule._tag) {
    case "Broadcast":
      return new Broadcaster(port)
    case "RoundRobin": {
      let turn = partition
      return new Router(site, host, port, undefined, (_value, _key, partitions) => turn++ % partitions)
    }
    case "Hash": {
      const by = rule.by as (value: unknown) => unknown
      return new Router(
        site,
        host,
        port,
        undefined,
        (value, _, partitions) => partitionOf(identityOf(by(value)), partitions)
      )
    }
    case "Custom": {
      const choose = rule.choose as (value: unknown, partitions: number) => number
      return new Router(site, host, port, undefined, (value, _, partitions) => {
        const chosen = choose(value, partitions)
        if (Number.isInteger(chosen) && chosen >= 0 && chosen < partitions) return chosen
        throw new PartitionInvalid({ partitioner: rule.name, chosen, partitions })
      })
    }
  }
}

const byKey: Choose = (_value, key, partitions) => partitionOf(key as Identity, partitions)

/** `Flow.global` has one key, the same for everything. */
export const keyFunction = ({ label, node }: Operator): (value: unknown) => Identity => {
  if (node._tag !== "KeyBy" || node.key === undefined) return () => 0
  const { key } = node
  const identity = keyIdentity(node.schema!, `Operator "${label}"`)
  return (value) => identity(key(value))
}
