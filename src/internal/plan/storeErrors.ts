/** What every store of checkpoints may answer with. */
import * as Schema from "effect/Schema"

export class CheckpointStoreError
  extends Schema.TaggedError<CheckpointStoreError>("millrace/CheckpointStoreError")("CheckpointStoreError", {
    job: Schema.String,
    operation: Schema.String,
    cause: Schema.Defect()
  })
{
  override get message() {
    const reason = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `The checkpoint store could not ${this.operation} for job "${this.job}": ${reason}`
  }
}

export class AlongsideRefused
  extends Schema.TaggedError<AlongsideRefused>("millrace/AlongsideRefused")("AlongsideRefused", {
    job: Schema.String,
    operation: Schema.String,
    /** Which of the statements alongside, counted from 0. */
    statement: Schema.Int,
    cause: Schema.Defect()
  })
{
  override get message() {
    const reason = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `Job "${this.job}" could not ${this.operation} together with its sinks: statement ${this.statement} alongside `
      + `was refused, and all was taken back. ${reason}`
  }
}

export class Fenced extends Schema.TaggedError<Fenced>("millrace/Fenced")("Fenced", {
  job: Schema.String,
  /** What was refused. */
  operation: Schema.String,
  problem: Schema.String
}) {
  override get message() {
    return `Job "${this.job}" may not ${this.operation}: ${this.problem}. `
      + "Another run of the job has taken over; let one run at a time, or give the other another name"
  }
}
