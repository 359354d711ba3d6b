/**
 * The machines of several old partitions, side by side in a new one.
 *
 * Each partition had come to a point of event time of its own, which decided for its keys what was late and what had
 * fired. The keys of each keep a machine of their own, which goes no further back than that point, the floor; when event
 * time has come to all floors, every machine has done the same, and they become one. No machine has to know of floors.
 */
import * as Schema from "effect/Schema"
import type { Machine } from "../../Machine.ts"
import type { CutTable, MachineCut, MachinePart } from "../state/cut.ts"
import { type Identity, keyGroupOf, keyGroups } from "../state/keyIdentity.ts"
import type { Floors, OperatorPart } from "./windowing.ts"

/** What a checkpoint keeps of a partition's machines, apart from tables and lists. */
const Meta = Schema.Struct({
  machines: Schema.Array(Schema.Unknown),
  /** For runs of key groups, up to before one, the number of the machine. */
  groups: Schema.Array(Schema.Tuple([Schema.Int, Schema.Int]))
})

const metaIn = Schema.decodeUnknownSync(Meta)

type Groups = readonly [from: number, to: number]

interface Branch {
  readonly machine: Machine<unknown>
  readonly floor: number
}

export class Regrouped implements Machine<unknown> {
  private readonly branches: ReadonlyArray<Branch>
  /** For each key group the number of its branch; 0 for groups of others. */
  private readonly byGroup: ReadonlyArray<number>
  /** The highest floor: when event time comes here, the branches become one. */
  private readonly until: number
  /** Every branch has done what was due at its floor. */
  private isCaughtUp = false

  constructor(branches: ReadonlyArray<Branch>, byGroup: ReadonlyArray<number>) {
    this.branches = branches
    this.byGroup = byGroup
    this.until = branches.reduce((until, { floor }) => Math.max(until, floor), -Infinity)
  }

  get isOne(): boolean {
    return this.branches.length === 1
  }

  /** What is due at a floor was due before the restore: it waits for no clock. */
  get nextTimer(): number {
    if (this.isOverdue) return -Infinity
    return this.branches.reduce((least, { machine }) => Math.min(least, machine.nextTimer), this.until)
  }

  /** An advance was under way somewhere when the picture was taken, and is not complete. */
  get isOverdue(): boolean {
    return !this.isCaughtUp && this.branches.some(isOverdue)
  }

  get size(): number {
    return this.branches.reduce((size, { machine }) => size + machine.size, 0)
  }

  record(value: unknown, time: number, key: unknown, watermark: number): void {
    const { floor, machine } = this.branchOf(key)
    machine.record(value, time, key, Math.max(watermark, floor))
  }

  advance(watermark: number): boolean {
    // What was under way is done as it was begun: event time may have gone on since, even to its end.
    if (!this.isCaughtUp) {
      for (const branch of this.branches) {
        if (isOverdue(branch) && !branch.machine.advance(branch.floor)) return false
      }
      this.isCaughtUp = true
    }
    for (const { floor, machine } of this.branches) {
      const reached = Math.max(watermark, floor)
      if (machine.nextTimer <= reached && !machine.advance(reached)) return false
    }
    return true
  }

  query(key: unknown): ReadonlyArray<unknown> {
    return this.branchOf(key).machine.query(key)
  }

  /** After a complete advance: the one machine that all have become, once event time has come to all floors. */
  joined(watermark: number): Machine<unknown> {
    if (watermark < this.until) return this
    const [first, ...others] = this.branches.map(({ machine }) => machine)
    // All machines of an operator are of one kind.
    for (const other of others) first!.absorb(other as never)
    return first!
  }

  floorOf(group: number): number {
    return this.branches[this.byGroup[group]!]!.floor
  }

  cut(groups: Groups = [0, keyGroups]): MachineCut {
    return cutOf(this.branches.map(({ machine }) => machine), groups, (group) => this.byGroup[group]!)
  }

  /** Not by itself: see `regrouped`. */
  restore(): never {
    throw new Error("Regrouped: machines are restored one by one")
  }

  absorb(): never {
    throw new Error("Regrouped: several machines absorb nothing before they are one")
  }

  private branchOf(key: unknown): Branch {
    return this.branches[this.byGroup[keyGroupOf(key as Identity)]!]!
  }
}

/** At the end of time everything is due, but nothing comes of a machine that waits for nothing. */
const isOverdue = ({ floor, machine }: Branch): boolean => machine.nextTimer <= floor && machine.nextTimer < Infinity

/** The lengths of runs of equal values, ascending, from a key group to before another. */
export const runLengths = (from: number, to: number, of: (group: number) => number): Array<[number, number]> => {
  const runs: Array<[number, number]> = []
  for (let group = from; group < to; group++) {
    const value = of(group)
    const last = runs.at(-1)
    if (last !== undefined && last[1] === value) last[0] = group + 1
    else runs.push([group + 1, value])
  }
  return runs
}

const valueAt = (runs: Floors, group: number): number | undefined => runs.find(([to]) => group < to)?.[1]

/** The first machine's tables go by their own names, so that a table keeps its name when the machines become one. */
const named = (machine: number, id: string): string => machine === 0 ? id : `${machine}/${id}`

const cutOf = (
  machines: ReadonlyArray<Machine<unknown>>,
  [from, to]: Groups,
  machineOf: (group: number) => number
): MachineCut => {
  const cuts = machines.map((machine) => machine.cut())
  return {
    meta: { machines: cuts.map(({ meta }) => meta), groups: runLengths(from, to, machineOf) },
    tables: cuts.flatMap(({ tables }, i): ReadonlyArray<CutTable> =>
      tables.map((table) => ({ ...table, id: named(i, table.id) }))
    ),
    lists: cuts.flatMap(({ lists }, i) => lists.map((list) => ({ ...list, id: named(i, list.id) })))
  }
}

/** Of a machine that has all key groups of its partition. */
export const cutOfOne = (machine: Machine<unknown>, groups: Groups): MachineCut => cutOf([machine], groups, () => 0)

/** One of the machines of a part, as that machine gave it; by a name of its own, a table is the machine's alone. */
const partOf = (part: MachinePart, meta: MachineCut["meta"], machine: number): MachinePart => {
  const own = <A extends { readonly id: string }>(all: ReadonlyArray<A>): ReadonlyArray<A> =>
    all.flatMap((each) => {
      const slash = each.id.indexOf("/")
      const owner = slash < 0 ? 0 : Number(each.id.slice(0, slash))
      return owner === machine ? [{ ...each, id: each.id.slice(slash + 1) }] : []
    })
  return { groups: part.groups, meta, tables: own(part.tables), lists: own(part.lists) }
}

/** A key of each key group, to ask who owns the group. */
const samples = (): ReadonlyArray<Identity> => {
  const found: Array<Identity> = []
  for (let key = 0, missing = keyGroups; missing > 0; key++) {
    const group = keyGroupOf(key)
    if (found[group] !== undefined) continue
    found[group] = key
    missing--
  }
  return found
}

/** The machines of all parts that cover a key group of ours, and the least point that event time behind them had come to. */
export const regrouped = (
  parts: ReadonlyArray<OperatorPart>,
  owns: (key: Identity) => boolean,
  make: () => Machine<unknown>
): { readonly machine: Regrouped; readonly settled: number } | undefined => {
  const isOwned = samples().map(owns)
  const branches: Array<Branch> = []
  const byGroup = new Array<number>(keyGroups).fill(0)
  let least = Infinity
  for (const { floors, machine: part, settled } of parts) {
    const { groups, machines } = metaIn(part.meta)
    const [from, to] = part.groups
    machines.forEach((meta, i) => {
      const covered = Array.from({ length: to - from }, (_, n) => from + n)
        .filter((group) => isOwned[group] && valueAt(groups, group) === i)
      if (covered.length === 0) return
      const floor = covered.reduce((floor, group) => Math.max(floor, valueAt(floors, group) ?? -Infinity), -Infinity)
      for (const group of covered) byGroup[group] = branches.length
      const machine = make()
      // Each machine looks for itself at what it is given.
      machine.restore(partOf(part, meta as MachineCut["meta"], i), owns)
      branches.push({ machine, floor })
      least = Math.min(least, settled)
    })
  }
  return branches.length === 0 ? undefined : { machine: new Regrouped(branches, byGroup), settled: least }
}
