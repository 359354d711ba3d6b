/**
 * The table of contents of a checkpoint: small, self-checking JSON that names everything else. What is said here must stay
 * readable for ever; a change of meaning needs another `format`.
 */
import * as Schema from "effect/Schema"
import { ExactNumber } from "../numbers.ts"
import { PlanRecord } from "../plan/record.ts"
import { keyGroups } from "../state/keyIdentity.ts"
import { parse } from "./columns.ts"
import { sha256Hex } from "./digest.ts"
import { Malformed, OtherFormat } from "./malformed.ts"

export const format = 1

/** Event time: anywhere, but not nowhere. */
const Instant = ExactNumber.check(Schema.makeFilter((time) => !Number.isNaN(time) || "NaN is no event time"))

/** A key group, or the end of a run of them. */
const Group = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: keyGroups }))

const Natural = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

/** A blob, and what its bytes must be. */
export const BlobReference = Schema.Struct({ id: Schema.String, bytes: Natural, crc: Natural })
export type BlobReference = typeof BlobReference.Type

export const Marker = Schema.Struct({ lineage: Schema.String, epoch: Natural, digest: Schema.String })

const Counts = Schema.Struct({
  in: Natural,
  out: Natural,
  late: Natural,
  partlyLate: Natural,
  outside: Natural,
  skipped: Natural,
  dead: Natural
})

/** Where a split of a source stands. */
export const Split = Schema.Struct({
  source: Schema.String,
  split: Schema.String,
  /** Rows taken in, where the process that wrote this numbered them. */
  cursor: Natural,
  /** The source's own words; absent at the start. */
  position: Schema.optionalKey(Schema.Json),
  watermark: Instant,
  ended: Schema.Boolean,
  generator: Schema.optionalKey(Schema.Json)
})

/** A stateful operator in one partition; its tables and lists are in the segments. */
const Machine = Schema.Struct({
  /** Per key group, run by run, the watermark that judged it: `[first group behind the run, watermark]`. */
  floors: Schema.Array(Schema.Tuple([Group, Instant])),
  /** Event time behind the operator. */
  settled: Instant,
  meta: Schema.Json,
  tables: Schema.Array(Schema.String)
})

/** An operator in one partition of those that wrote this. */
export const OperatorEntry = Schema.Struct({
  operator: Schema.String,
  partition: Natural,
  groups: Schema.Tuple([Group, Group]),
  counts: Schema.optionalKey(Counts),
  /** Event time at each of its inputs. */
  watermarks: Schema.optionalKey(Schema.Array(Instant)),
  machine: Schema.optionalKey(Machine),
  /** Event time behind a gate, while rows wait in it. */
  held: Schema.optionalKey(Instant)
})

/** Something is kept for each number up to the highest: it must not be just any. */
export const PartNumber = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xffff }))

/** A connected part of the job. */
export const PartEntry = Schema.Struct({
  part: PartNumber,
  splits: Schema.Array(Split),
  operators: Schema.Array(OperatorEntry),
  /** Rows under way and lists of keys, of this epoch or, where the part was not running, of an earlier one. */
  flight: Schema.Array(BlobReference)
})
export type PartEntry = typeof PartEntry.Type

/** What one epoch has for a sink. */
export const PendingEntry = Schema.Struct({
  marker: Marker,
  after: Marker,
  rows: Natural,
  blobs: Schema.Array(BlobReference)
})

export const SinkEntry = Schema.Struct({
  sink: Schema.String,
  /** Where the sink is known to stand. */
  applied: Marker,
  /** In order, each from where the one before leads. */
  pending: Schema.Array(PendingEntry)
})

/** What a checkpoint is, and where it belongs. */
export const manifestFields = {
  job: Schema.String,
  /** Of the plan. */
  fingerprint: Schema.String,
  /** What state hangs on; absent in checkpoints that were written before it was remembered. */
  plan: Schema.optionalKey(PlanRecord),
  lineage: Schema.String,
  /** Where the lineage began, unless from nothing. */
  parent: Schema.optionalKey(Schema.Struct({ lineage: Schema.String, epoch: Natural })),
  epoch: Natural,
  /** Of a savepoint. */
  name: Schema.optionalKey(Schema.String),
  state: Schema.Literals(["running", "stopped", "finished"]),
  partitions: Natural,
  /** Epoch milliseconds. */
  takenAt: Natural
}

export const Manifest = Schema.Struct({
  format: Schema.Literal(format),
  ...manifestFields,
  attempt: Natural,
  /** The checkpoint that a program brought and the store took in, as it was numbered where it came from. */
  imported: Schema.optionalKey(Schema.Struct({ lineage: Schema.String, epoch: Natural })),
  /** What tables hold: segments from a base on, in order. */
  chain: Schema.Array(Schema.Struct({ epoch: Natural, blobs: Schema.Array(BlobReference) })),
  parts: Schema.Array(PartEntry),
  sinks: Schema.Array(SinkEntry)
})
export type Manifest = typeof Manifest.Type

const codec = Schema.toCodecJson(Manifest)
const encode = Schema.encodeSync(codec)
const decode = Schema.decodeUnknownSync(codec)

/** Two lines: the JSON, and its digest. */
export const encodeManifest = (manifest: Manifest): { readonly bytes: Uint8Array; readonly digest: string } => {
  const text = JSON.stringify(encode(manifest))
  const digest = sha256Hex(new TextEncoder().encode(text))
  return { bytes: new TextEncoder().encode(`${text}\n${digest}\n`), digest }
}

const printedFormat = (found: unknown): string => typeof found === "object" ? "that is no number" : String(found)

/** Throws `Malformed` for anything but what `encodeManifest` made. */
export const decodeManifest = (bytes: Uint8Array): Manifest => {
  let text: string
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw new Malformed("the manifest is not UTF-8")
  }
  const match = /^([^\n]*)\n([0-9a-f]{64})\n$/.exec(text)
  if (match === null) throw new Malformed("the manifest has not its two lines")
  const [, json, digest] = match as unknown as readonly [string, string, string]
  if (sha256Hex(new TextEncoder().encode(json)) !== digest) {
    throw new Malformed("the manifest does not match its digest")
  }
  const parsed = parse(new TextEncoder().encode(json))
  if (typeof parsed !== "object" || parsed === null) throw new Malformed("the manifest is no object")
  const found = "format" in parsed ? parsed.format : undefined
  if (found !== format) {
    const problem = `the manifest has format ${printedFormat(found)}, and this release reads format ${format}`
    // Written as it was meant, by another release: nothing of it is damaged.
    throw typeof found === "number" ? new OtherFormat(problem) : new Malformed(problem)
  }
  try {
    return decode(parsed)
  } catch (cause) {
    throw new Malformed(
      `the manifest is not as it should be: ${cause instanceof Error ? cause.message : String(cause)}`
    )
  }
}
