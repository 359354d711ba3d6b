/** What a checkpoint means for the partitions that go on from it, however many those are that wrote it. */
import type { Flight, KeyList } from "../checkpoint/contents.ts"
import type { PartEntry } from "../checkpoint/manifest.ts"
import { type Counts, sumOf } from "../machine/operator.ts"
import type { GatePart } from "../machine/retryGate.ts"
import type { OperatorPart } from "../machine/windowing.ts"
import type { Graph, Port } from "../plan/graph.ts"
import type { TablePart } from "../state/cut.ts"
import type { Identity } from "../state/keyIdentity.ts"
import { aStep, dealt, type Parcel, type Rows } from "./carried.ts"
import type { Carried } from "./chain.ts"
import { deadLettersId, gateId, inputId, queueId } from "./encoding.ts"
import { groupsOf, partitionOf } from "./routers.ts"
import { deadLetterCodec, type RowCodec, rowCodec } from "./rowCodec.ts"
import type { SplitStanding, TaskStanding } from "./task.ts"

/** A part as a checkpoint has it. */
export interface PartContents {
  readonly entry: Omit<PartEntry, "flight">
  readonly table: (operator: string, partition: number, id: string) => TablePart | undefined
  readonly lists: ReadonlyArray<KeyList>
  readonly flights: ReadonlyArray<Flight>
}

/** What a part goes on from. */
export interface PartStanding {
  /** Of the checkpoint; undefined where the part begins from nothing. */
  readonly epoch: number | undefined
  readonly carried: (operators: ReadonlyArray<number>, partition: number) => ReadonlyArray<Carried>
  readonly task: (partition: number) => TaskStanding
  readonly split: (source: string, split: string) => SplitStanding | undefined
  /** Rows that waited for a sink. */
  readonly queue: (sink: string) => ReadonlyArray<unknown>
  readonly deadLetters: ReadonlyArray<unknown>
}

/** From nothing. */
export const unstarted: PartStanding = {
  epoch: undefined,
  carried: () => [],
  task: () => ({
    split: () => undefined,
    counts: () => undefined,
    machine: () => [],
    gate: () => [],
    owns: () => true,
    watermark: () => undefined
  }),
  split: () => undefined,
  queue: () => [],
  deadLetters: []
}

export const standingOf = (
  graph: Graph,
  partitions: number,
  epoch: number,
  { entry, flights, lists, table }: PartContents
): PartStanding => {
  const split = (source: string, name: string): SplitStanding | undefined => {
    const found = entry.splits.find((split) => split.source === source && split.split === name)
    return found && { ...found, position: found.position, generator: found.generator }
  }
  const parcels = (operator: string, id: string, codec: RowCodec): ReadonlyArray<Parcel> =>
    flights.filter((flight) => flight.operator === operator && flight.id === id)
      .map(({ partition, rows }) => ({ partition, rows: decoded(rows, codec) }))
  const waiting = (operator: string, id: string, port: Port): ReadonlyArray<Parcel> =>
    parcels(operator, id, rowCodec(graph, port))

  const task = (partition: number): TaskStanding => {
    const [from, to] = groupsOf(partition, partitions)
    const isOurs = (key: Identity) => partitionOf(key, partitions) === partition
    const near = entry.operators.filter(({ groups }) => groups[0] < to && groups[1] > from)
    const areWhole = near.every(({ groups }) => groups[0] >= from && groups[1] <= to)
    return {
      split,
      owns: areWhole ? () => true : isOurs,
      watermark: ({ route, to }) => {
        const { label } = graph.operators[to.operator]!
        // Rows with a key come back where it belongs, others anywhere.
        const known = (route === "Key" ? near : entry.operators)
          .flatMap(({ operator, watermarks }) =>
            operator === label && watermarks !== undefined ? [watermarks[to.input]!] : []
          )
        return known.length === 0 ? undefined : Math.min(...known)
      },
      counts: (label) =>
        entry.operators
          .filter((other) => other.operator === label && other.partition % partitions === partition)
          .reduce<Counts | undefined>((sum, { counts }) => counts === undefined ? sum : sumOf(sum, counts), undefined),
      machine: (label) =>
        near.flatMap(({ groups, machine, operator, partition: from }): ReadonlyArray<OperatorPart> => {
          if (operator !== label || machine === undefined) return []
          const { floors, meta, settled, tables } = machine
          return [{
            floors,
            settled,
            machine: {
              groups,
              meta,
              tables: tables.flatMap((id) => {
                const found = table(label, from, id)
                return found === undefined ? [] : [found]
              }),
              lists: lists.filter((list) => list.operator === label && list.partition === from)
            }
          }]
        }),
      gate: (label) => {
        const operator = graph.operators.find((operator) => operator.label === label)!
        return waiting(label, gateId, operator.inputs[0]!).flatMap((parcel): ReadonlyArray<GatePart> => {
          const held = entry.operators.find((other) => other.operator === label && other.partition === parcel.partition)
            ?.held
          const rows = dealt([parcel], partition, partitions)
          return rows.values.length === 0 ? [] : [{ rows, held }]
        })
      }
    }
  }

  const onTheWay = new Map<string, ReadonlyArray<Parcel>>()
  const into = (operator: number, input: number): ReadonlyArray<Parcel> => {
    const place = `${operator} ${input}`
    let found = onTheWay.get(place)
    if (found === undefined) {
      const { inputs, label } = graph.operators[operator]!
      onTheWay.set(place, found = waiting(label, inputId(input), inputs[input]!))
    }
    return found
  }

  return {
    epoch,
    split,
    task,
    carried: (operators, partition) =>
      operators.flatMap((operator) =>
        graph.operators[operator]!.inputs.map((_, input): Carried => ({
          operator,
          input,
          rows: dealt(into(operator, input), partition, partitions)
        }))
      ),
    queue: (sink) => {
      const { port } = graph.outlets.find(({ name }) => name === sink)!
      return waiting(sink, queueId, port).flatMap(({ rows }) => rows.values)
    },
    deadLetters: parcels("", deadLettersId, deadLetterCodec).flatMap(({ rows }) => rows.values)
  }
}

const decoded = ({ keys, opaque, times, values, watermarks }: Flight["rows"], codec: RowCodec): Rows => ({
  values: values.map((value, row) => keys[row] === aStep ? null : codec.fromJson(value, opaque)),
  times: times.slice(),
  keys: keys.slice(),
  watermarks: watermarks.slice()
})
