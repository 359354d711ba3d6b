/**
 * What can go wrong with a job, one class per decision that the caller can make.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { PlanInvalid as PlanInvalidClass } from "./internal/plan/PlanInvalid.ts"
import type { SinkFenced } from "./internal/plan/SinkFenced.ts"
import type { CheckpointStoreError, Fenced } from "./internal/plan/storeErrors.ts"
import { InvalidKey as InvalidKeyClass } from "./internal/state/keyIdentity.ts"
import { Entry } from "./Upgrade.ts"

/**
 * A program that cannot run as it is written: an output that goes nowhere, a name used twice, a window without event time.
 * Thrown where the job is made, naming the operator and the remedy.
 *
 * @since 0.1.0
 * @category errors
 */
export const PlanInvalid = PlanInvalidClass
/**
 * @since 0.1.0
 * @category errors
 */
export type PlanInvalid = PlanInvalidClass

/**
 * A key that its schema does not accept.
 *
 * @since 0.1.0
 * @category errors
 */
export const InvalidKey = InvalidKeyClass
/**
 * @since 0.1.0
 * @category errors
 */
export type InvalidKey = InvalidKeyClass

/**
 * A source of one's own that does not keep its side: two splits of one name, a chunk without rows or with too many.
 *
 * @since 0.1.0
 * @category errors
 */
export class SourceInvalid extends Schema.TaggedError<SourceInvalid>("millrace/SourceInvalid")("SourceInvalid", {
  source: Schema.String,
  split: Schema.String,
  problem: Schema.String,
  remedy: Schema.String
}) {
  override get message() {
    return `Source "${this.source}", split "${this.split}" ${this.problem}: ${this.remedy}`
  }
}

/**
 * User code threw on a record, and the operator's policy is `fail`; restarts did not help.
 *
 * @since 0.1.0
 * @category errors
 */
export class OperatorFailed extends Schema.TaggedError<OperatorFailed>("millrace/OperatorFailed")("OperatorFailed", {
  operator: Schema.String,
  partition: Schema.Int,
  record: Schema.Unknown,
  cause: Schema.Defect()
}) {
  override get message() {
    const reason = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `Operator "${this.operator}" failed in partition ${this.partition}: ${reason}. `
      + "Mend its function, or give it an error policy (skip, deadLetter, retry) for such records"
  }
}

/**
 * A record without a usable event time: not an integer number of milliseconds.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidTimestamp
  extends Schema.TaggedError<InvalidTimestamp>("millrace/InvalidTimestamp")("InvalidTimestamp", {
    source: Schema.String,
    timestamp: Schema.Unknown
  })
{
  override get message() {
    return `Source "${this.source}" gave a record with the time ${String(this.timestamp)}: `
      + "`time` must answer with whole epoch milliseconds"
  }
}

/**
 * A record that the source could not decode.
 *
 * @since 0.1.0
 * @category errors
 */
export class RecordUndecodable
  extends Schema.TaggedError<RecordUndecodable>("millrace/RecordUndecodable")("RecordUndecodable", {
    source: Schema.String,
    reason: Schema.String
  })
{
  override get message() {
    return `Source "${this.source}" could not decode a record: ${this.reason}`
  }
}

/**
 * A custom partitioner chose a partition that does not exist.
 *
 * @since 0.1.0
 * @category errors
 */
export class PartitionInvalid
  extends Schema.TaggedError<PartitionInvalid>("millrace/PartitionInvalid")("PartitionInvalid", {
    partitioner: Schema.String,
    chosen: Schema.Unknown,
    partitions: Schema.Int
  })
{
  override get message() {
    return `Partitioner "${this.partitioner}" chose partition ${String(this.chosen)}: `
      + `answer with an integer from 0 to ${this.partitions - 1}`
  }
}

/**
 * A custom window assigner answered with bounds that are no window.
 *
 * @since 0.1.0
 * @category errors
 */
export class WindowBoundsInvalid extends Schema.TaggedError<WindowBoundsInvalid>("millrace/WindowBoundsInvalid")(
  "WindowBoundsInvalid",
  { operator: Schema.String, start: Schema.Unknown, end: Schema.Unknown }
) {
  override get message() {
    return `The assigner of window "${this.operator}" answered with [${String(this.start)}, ${String(this.end)}): `
      + "give whole epoch milliseconds, the start before the end"
  }
}

/**
 * A queue is full, and its overflow policy is `fail`.
 *
 * @since 0.1.0
 * @category errors
 */
export class BufferFull extends Schema.TaggedError<BufferFull>("millrace/BufferFull")("BufferFull", {
  source: Schema.String,
  capacity: Schema.Int,
  /** How many records of the same call were taken before. */
  accepted: Schema.Int
}) {
  override get message() {
    const taken = this.accepted === 0 ? "" : ` (${this.accepted} of this call were taken)`
    return `Queue "${this.source}" is full with ${this.capacity} records${taken}: offer more slowly, give it more capacity, `
      + "or choose another `onFull`"
  }
}

/**
 * The job is not running any more, so it takes no records and answers no queries.
 *
 * @since 0.1.0
 * @category errors
 */
export class JobNotRunning extends Schema.TaggedError<JobNotRunning>("millrace/JobNotRunning")("JobNotRunning", {
  job: Schema.String,
  state: Schema.String
}) {
  override get message() {
    return `Job "${this.job}" is ${this.state}`
  }
}

/**
 * A name that the job does not have.
 *
 * @since 0.1.0
 * @category errors
 */
export class OperatorUnknown
  extends Schema.TaggedError<OperatorUnknown>("millrace/OperatorUnknown")("OperatorUnknown", {
    job: Schema.String,
    operator: Schema.String,
    known: Schema.Array(Schema.String)
  })
{
  override get message() {
    return `Job "${this.job}" has no operator "${this.operator}" here; it has ${
      this.known.map((name) => `"${name}"`).join(", ")
    }`
  }
}

/**
 * A record under way, or one for a sink, has no form in a checkpoint that outlives the process.
 *
 * @since 0.1.0
 * @category errors
 */
export class RowNotEncodable
  extends Schema.TaggedError<RowNotEncodable>("millrace/RowNotEncodable")("RowNotEncodable", {
    /** The operator or sink that it was on its way to. */
    at: Schema.String,
    problem: Schema.String
  })
{
  override get message() {
    return `A record on its way to "${this.at}" cannot be kept in a checkpoint: ${this.problem}. `
      + "State the schema of the flow with Flow.typed(schema) or at its source, or give the sink { schema }"
  }
}

/**
 * A sink has not taken what is due to it, and no more can be kept.
 *
 * @since 0.1.0
 * @category errors
 */
export class SinkStalled extends Schema.TaggedError<SinkStalled>("millrace/SinkStalled")("SinkStalled", {
  sink: Schema.String,
  /** Bytes that wait for it. */
  pendingBytes: Schema.Int,
  afterMillis: Schema.Number,
  /** Why its last try failed; undefined if it did not answer. */
  cause: Schema.UndefinedOr(Schema.Defect())
}) {
  override get message() {
    const reason = this.cause === undefined
      ? "it does not answer"
      : this.cause instanceof Error
      ? this.cause.message
      : String(this.cause)
    return `Sink "${this.sink}" has taken nothing for ${this.afterMillis} ms, and ${this.pendingBytes} bytes wait for it: `
      + `${reason}. They are in the checkpoint: mend the sink and run the job again, or raise maxPendingBytes or sinkTimeout`
  }
}

/**
 * A transactional sink stands after the checkpoint that the job would go on from: going on would write again what it has.
 *
 * @since 0.1.0
 * @category errors
 */
export class SinkAheadOfCheckpoint
  extends Schema.TaggedError<SinkAheadOfCheckpoint>("millrace/SinkAheadOfCheckpoint")("SinkAheadOfCheckpoint", {
    job: Schema.String,
    sink: Schema.String,
    /** Where the sink stands. */
    found: Schema.String,
    /** Where the checkpoint knows it. */
    expected: Schema.String
  })
{
  override get message() {
    const remedy = this.found === "the beginning"
      ? "What it remembers its place by (a file beside it, a row of a table) is gone: put it back, with what the sink held"
      : "Use the latest checkpoint, or take the sink back to that epoch"
    return `Job "${this.job}" cannot go on from here: sink "${this.sink}" stands at ${this.found}, `
      + `and the checkpoint knows it at ${this.expected}. ${remedy}, or start afresh with { start: "afresh" }`
  }
}

/**
 * A checkpoint that cannot be trusted, or that is not this job's.
 *
 * @since 0.1.0
 * @category errors
 */
export class CheckpointRefused
  extends Schema.TaggedError<CheckpointRefused>("millrace/CheckpointRefused")("CheckpointRefused", {
    job: Schema.String,
    /** Of the newest that was refused. */
    epoch: Schema.Int,
    problem: Schema.String,
    remedy: Schema.String,
    /** Where the program has changed: what becomes of each operator, source and output. */
    entries: Schema.optionalKey(Schema.Array(Entry))
  })
{
  override get message() {
    return `Job "${this.job}" refuses its checkpoint of epoch ${this.epoch}: ${this.problem}. ${this.remedy}`
  }
}

/**
 * The errors of the runtime itself, besides those of the job's sources, sinks and functions.
 *
 * @since 0.1.0
 * @category errors
 */
export type JobError =
  | OperatorFailed
  | RowNotEncodable
  | SinkStalled
  | SinkAheadOfCheckpoint
  | SinkFenced
  | CheckpointRefused
  | CheckpointStoreError
  | Fenced
