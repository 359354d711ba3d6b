/** What a checkpoint holds that a changed program must find a place for, whatever form the checkpoint has. */
import type { Checkpoint } from "../../Checkpoint.ts"
import { readFlight } from "../checkpoint/contents.ts"
import type { Manifest, PartEntry } from "../checkpoint/manifest.ts"
import { identityIn } from "../checkpoint/value.ts"
import type { PlanRecord } from "../plan/record.ts"
import type { TablePart } from "../state/cut.ts"
import type { Recovered } from "./recovery.ts"

export interface Evidence {
  readonly job: string
  readonly epoch: number
  readonly state: Manifest["state"]
  readonly fingerprint: string
  readonly plan: PlanRecord | undefined
  readonly splits: ReadonlyArray<{ readonly source: string; readonly split: string }>
  readonly operators: PartEntry["operators"]
  readonly table: (operator: string, partition: number, id: string) => TablePart | undefined
  /** How many are on their way to each operator or sink, by where they are. */
  readonly rows: ReadonlyMap<string, ReadonlyMap<string, number>>
  /** How many rows of durable epochs wait for each sink. */
  readonly pending: ReadonlyMap<string, number>
}

type Located = { readonly operator: string; readonly id: string; readonly rows: number }

const counted = (all: ReadonlyArray<Located>): Evidence["rows"] => {
  const places = new Map<string, Map<string, number>>()
  for (const { id, operator, rows } of all) {
    if (rows === 0) continue
    const own = places.get(operator) ?? new Map<string, number>()
    places.set(operator, own.set(id, (own.get(id) ?? 0) + rows))
  }
  return places
}

const owed = (sinks: Checkpoint["sinks"] | Manifest["sinks"]): Evidence["pending"] =>
  new Map(sinks.map(({ pending, sink }) => [sink, pending.reduce((sum, { rows }) => sum + rows, 0)]))

/** Throws `Malformed`. */
export const evidenceOf = ({ blobs, manifest, tables }: Recovered): Evidence => ({
  job: manifest.job,
  epoch: manifest.epoch,
  state: manifest.state,
  fingerprint: manifest.fingerprint,
  plan: manifest.plan,
  splits: manifest.parts.flatMap(({ splits }) => splits),
  operators: manifest.parts.flatMap(({ operators }) => operators),
  table: (operator, partition, id) => tables.table(operator, partition, id),
  rows: counted(manifest.parts.flatMap(({ flight }) =>
    flight.flatMap(({ id }) => {
      const { bytes, opaque } = blobs.get(id)!
      return readFlight(bytes, opaque).flights.map(({ id, operator, rows }) => ({
        operator,
        id,
        rows: rows.values.length
      }))
    })
  )),
  pending: owed(manifest.sinks)
})

export const evidenceIn = (value: Checkpoint): Evidence => ({
  job: value.job,
  epoch: value.epoch,
  state: value.state,
  fingerprint: value.fingerprint,
  plan: value.plan,
  splits: value.parts.flatMap(({ splits }) => splits),
  operators: value.parts.flatMap(({ operators }) => operators),
  table: (operator, partition, id) => {
    const table = value.parts.flatMap(({ tables }) => tables)
      .find((one) => one.operator === operator && one.partition === partition && one.id === id)
    if (table === undefined) return undefined
    const width = Math.max(0, (table.entries[0]?.length ?? 0) - 1)
    return {
      id,
      keys: table.entries.map(([key]) => identityIn(key)),
      columns: Array.from({ length: width }, (_, i) => table.entries.map((entry) => entry[i + 1]))
    }
  },
  rows: counted(value.parts.flatMap(({ rows }) => rows.map((one) => ({ ...one, rows: one.rows.length })))),
  pending: owed(value.sinks)
})
