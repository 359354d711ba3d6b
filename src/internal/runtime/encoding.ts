/** Turns the picture of a part into sections of segments, a slice at a time, so that nobody waits long for their turn. */
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import { RowNotEncodable } from "../../FlowError.ts"
import type { Tables } from "../checkpoint/contents.ts"
import type { PartEntry } from "../checkpoint/manifest.ts"
import { NotEncodable } from "../checkpoint/plain.ts"
import { listSection, rowsSection, sliceRows, tableSection } from "../checkpoint/sections.ts"
import type { SegmentWriter } from "../checkpoint/segment.ts"
import { sumOf } from "../machine/operator.ts"
import type { Graph } from "../plan/graph.ts"
import type { CutTable } from "../state/cut.ts"
import type { Identity } from "../state/keyIdentity.ts"
import { aStep, type ChannelCut, merged, type Rows } from "./carried.ts"
import { deadLetterCodec, type RowCodec, rowCodec } from "./rowCodec.ts"
import type { TaskCut } from "./task.ts"

/**
 * Bytes of a table in one slice, after which others have their turn: some milliseconds. Under load a turn of the others
 * takes longer than that, and what they write to before it is encoded must be kept twice.
 */
const sliceBytes = 256 * 1024

/** Channels into one input of an operator in one partition. */
export interface InputCut {
  readonly operator: number
  readonly input: number
  readonly partition: number
  /** Event time at the input. */
  readonly start: number
  readonly channels: ReadonlyArray<ChannelCut>
}

/** What waits before a sink. */
export interface QueueCut {
  /** Undefined for the dead letters. */
  readonly outlet: number | undefined
  readonly rows: ReadonlyArray<unknown>
}

/** A part at one instant, by reference. */
export interface PartCut {
  readonly part: number
  readonly tasks: ReadonlyArray<TaskCut>
  readonly inputs: ReadonlyArray<InputCut>
  readonly queues: ReadonlyArray<QueueCut>
  /** The key groups of each partition. */
  readonly groups: (partition: number) => readonly [from: number, to: number]
}

/** Where sections go. */
export interface Segments {
  readonly tables: SegmentWriter
  readonly flight: SegmentWriter
  /** Takes values that have no encoding; undefined where the store could not keep them. */
  readonly opaque: Array<unknown> | undefined
}

/** What waits before a sink, and before that of the dead letters, which is nobody's outlet. */
export const queueId = "queue"
export const deadLettersId = "dead letters"
export const gateId = "gate"
export const inputId = (input: number): string => `input ${input}`

type OperatorEntry = PartEntry["operators"][number]

export const encodePart = Effect.fnUntraced(function*(
  graph: Graph,
  cut: PartCut,
  /** All of the tables, not only what was touched since the last cut. */
  isFull: boolean,
  segments: Segments
): Effect.fn.Return<Omit<PartEntry, "flight">, RowNotEncodable> {
  const operators: Array<OperatorEntry> = []
  for (const task of cut.tasks) {
    const { partition } = task
    const groups = cut.groups(partition)
    const entries = new Map<string, OperatorEntry>()
    const entry = (operator: string): OperatorEntry => entries.get(operator) ?? { operator, partition, groups }
    for (const [label, counts] of task.counts) {
      entries.set(label, { ...entry(label), counts: sumOf(entry(label).counts, counts) })
    }
    for (const [operator, watermarks] of task.watermarks) {
      const { label } = graph.operators[operator]!
      entries.set(label, { ...entry(label), watermarks })
    }
    for (const [label, { floors, machine, settled }] of task.machines) {
      for (const table of machine.tables) yield* encodeTable(label, partition, table, isFull, segments.tables)
      for (const { id, keys } of machine.lists) yield* encodeList(label, partition, id, keys, segments.flight)
      const tables = machine.tables.map(({ id }) => id)
      entries.set(label, { ...entry(label), machine: { floors, settled, meta: machine.meta, tables } })
    }
    for (const [label, { held, rows }] of task.gates) {
      if (rows.values.length === 0) continue
      const operator = graph.operators.find((operator) => operator.label === label)!
      yield* encodeRows(label, partition, gateId, rows, rowCodec(graph, operator.inputs[0]!), segments)
      if (held !== undefined) entries.set(label, { ...entry(label), held })
    }
    operators.push(...entries.values())
  }
  for (const { carried, partition } of cut.tasks) {
    for (const { input, operator, rows } of carried) {
      yield* encodeInput(graph, operator, input, partition, rows, segments)
    }
  }
  for (const { channels, input, operator, partition, start } of cut.inputs) {
    yield* encodeInput(graph, operator, input, partition, merged(start, channels), segments)
  }
  for (const { outlet, rows } of cut.queues) {
    if (outlet === undefined) yield* encodeRows("", 0, deadLettersId, unjudged(rows), deadLetterCodec, segments)
    else {
      const { name, port } = graph.outlets[outlet]!
      yield* encodeRows(name, 0, queueId, unjudged(rows), rowCodec(graph, port), segments)
    }
  }
  return { part: cut.part, splits: cut.tasks.flatMap((task) => task.splits.map(entryOfSplit)), operators }
})

/** All of the tables of parts that do not run, as a chain of segments has them. */
export const encodeAbsent = Effect.fnUntraced(function*(
  parts: ReadonlyArray<PartEntry>,
  held: Tables,
  segment: SegmentWriter
): Effect.fn.Return<void> {
  for (const { machine, operator, partition } of parts.flatMap(({ operators }) => operators)) {
    for (const id of machine?.tables ?? []) {
      const { columns = [], keys = [] } = held.table(operator, partition, id) ?? {}
      for (let from = 0; from === 0 || from < keys.length; from += sliceRows) {
        const slice = <A>(column: ReadonlyArray<A>) => column.slice(from, from + sliceRows)
        segment.add(tableSection({ operator, partition, id }, from === 0, slice(keys), columns.map(slice), []))
        yield* Effect.yieldNow
      }
    }
  }
})

const entryOfSplit = (
  { cursor, ended, generator, position, source, split, watermark }: TaskCut["splits"][number]
): PartEntry["splits"][number] => ({
  source,
  split,
  cursor,
  watermark,
  ended,
  ...position === undefined ? {} : { position },
  // A generator's own picture is JSON.
  ...generator === undefined ? {} : { generator: generator as Schema.Json }
})

/** In front of a sink nobody asks for time or key. */
const unjudged = (values: ReadonlyArray<unknown>): Rows => ({
  values: values as Array<unknown>,
  times: values.map(() => NaN),
  keys: values.map(() => undefined),
  watermarks: values.map(() => -Infinity)
})

const encodeInput = (
  graph: Graph,
  operator: number,
  input: number,
  partition: number,
  rows: Rows,
  segments: Segments
): Effect.Effect<void, RowNotEncodable> => {
  const { inputs, label } = graph.operators[operator]!
  return encodeRows(label, partition, inputId(input), rows, rowCodec(graph, inputs[input]!), segments)
}

const encodeRows = Effect.fnUntraced(function*(
  operator: string,
  partition: number,
  id: string,
  { keys, times, values, watermarks }: Rows,
  codec: RowCodec,
  { flight, opaque }: Segments
): Effect.fn.Return<void, RowNotEncodable> {
  for (let from = 0; from < values.length; from += sliceRows) {
    const slice = values.slice(from, from + sliceRows)
    const to = from + slice.length
    const written = yield* Effect.try({
      try: () => slice.map((value, i) => keys[from + i] === aStep ? null : codec.toJson(value, opaque)),
      catch: (cause) => {
        if (cause instanceof NotEncodable) return new RowNotEncodable({ at: operator, problem: cause.message })
        throw cause
      }
    })
    flight.add(rowsSection(
      { operator, partition, id },
      written,
      times.slice(from, to),
      keys.slice(from, to),
      watermarks.slice(from, to)
    ))
    yield* Effect.yieldNow
  }
})

const encodeList = Effect.fnUntraced(function*(
  operator: string,
  partition: number,
  id: string,
  keys: Iterable<Identity>,
  flight: SegmentWriter
): Effect.fn.Return<void> {
  let slice: Array<Identity> = []
  const write = () => {
    flight.add(listSection({ operator, partition, id }, slice))
    slice = []
  }
  for (const key of keys) {
    slice.push(key)
    if (slice.length < sliceRows) continue
    write()
    yield* Effect.yieldNow
  }
  if (slice.length > 0) write()
})

/** Puts and deletes since the last cut; or everything, and then the first section says so even if there is nothing. */
const encodeTable = Effect.fnUntraced(function*(
  operator: string,
  partition: number,
  { codec, cut: { touched, view }, id }: CutTable,
  isFull: boolean,
  segment: SegmentWriter
): Effect.fn.Return<void> {
  const slots = isFull || touched === undefined ? view.slots() : touched
  let first = slots !== touched
  let keys: Array<Identity> = []
  let deleted: Array<Identity> = []
  let columns: Array<Array<unknown>> = Array.from({ length: codec.width }, () => [])
  let bytes = 0
  const write = () => {
    const section = tableSection({ operator, partition, id }, first, keys, columns, deleted)
    segment.add(section)
    bytes += section.columns.reduce((sum, column) => sum + column.length, section.deleted.length)
    first = false
    keys = []
    deleted = []
    columns = Array.from({ length: codec.width }, () => [])
  }
  for (const slot of slots) {
    const value = view.valueOf(slot)
    if (value === undefined) deleted.push(slot.key)
    else {
      keys.push(slot.key)
      codec.write(value, columns)
    }
    if (keys.length + deleted.length < sliceRows) continue
    write()
    if (bytes < sliceBytes) continue
    bytes = 0
    yield* Effect.yieldNow
  }
  if (first || keys.length > 0 || deleted.length > 0) write()
  view.release()
})
