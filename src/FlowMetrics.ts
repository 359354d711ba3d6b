/**
 * The metrics of running jobs, all in one place: names, units, meaning.
 *
 * They are Effect metrics, updated every second and when a job ends, with the attributes `job`, and `operator` and
 * `partition`, `sink` or `buffer` where they apply. Any Effect exporter publishes them.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type { Counts, JobStatus } from "./JobStatus.ts"

const counter = (name: string, description: string, attributes: Record<string, string> = {}) =>
  Metric.counter(name, { description, incremental: true, attributes })
const gauge = (name: string, description: string, attributes: Record<string, string> = {}) =>
  Metric.gauge(name, { description, attributes })

/**
 * Records that an operator took in. Unit: records.
 *
 * @since 0.1.0
 * @category metrics
 */
export const recordsIn = counter("millrace_records_in", "Records that an operator took in [records]")
/**
 * Records that an operator put out, over all its outputs. Unit: records.
 *
 * @since 0.1.0
 * @category metrics
 */
export const recordsOut = counter("millrace_records_out", "Records that an operator put out [records]")
/**
 * Records that came after all their windows had expired. Unit: records.
 *
 * @since 0.1.0
 * @category metrics
 */
export const recordsLate = counter(
  "millrace_records_late",
  "Records that came after all their windows had expired [records]"
)
/**
 * Records that came too late for some of their windows and counted in the others. Unit: records.
 *
 * @since 0.1.0
 * @category metrics
 */
export const recordsPartlyLate = counter(
  "millrace_records_partly_late",
  "Records too late for some of their windows [records]"
)
/**
 * Records that no window covers. Unit: records.
 *
 * @since 0.1.0
 * @category metrics
 */
export const recordsOutside = counter("millrace_records_outside", "Records that no window covers [records]")
/**
 * Records dropped by the error policy `skip`. Unit: records.
 *
 * @since 0.1.0
 * @category metrics
 */
export const recordsSkipped = counter("millrace_records_skipped", "Records dropped by the error policy skip [records]")
/**
 * Records sent to the dead letters. Unit: records.
 *
 * @since 0.1.0
 * @category metrics
 */
export const recordsDead = counter("millrace_records_dead", "Records sent to the dead letters [records]")
/**
 * Records that a full queue dropped, by its policy. Unit: records.
 *
 * @since 0.1.0
 * @category metrics
 */
export const recordsDropped = counter("millrace_records_dropped", "Records that a full queue dropped [records]")
/**
 * Records that a sink has written. Unit: records.
 *
 * @since 0.1.0
 * @category metrics
 */
export const recordsWritten = counter("millrace_records_written", "Records that a sink has written [records]")
/**
 * Records taken in by a partition per committed step, on average since the job began. Unit: records.
 *
 * @since 0.1.0
 * @category metrics
 */
export const batchSize = gauge("millrace_batch_size", "Records taken in per committed step, on average [records]")
/**
 * Records in a buffer. Unit: records.
 *
 * @since 0.1.0
 * @category metrics
 */
export const bufferFill = gauge("millrace_buffer_fill", "Records in a buffer [records]")
/**
 * The bound of a buffer. Unit: records.
 *
 * @since 0.1.0
 * @category metrics
 */
export const bufferCapacity = gauge("millrace_buffer_capacity", "The bound of a buffer [records]")
/**
 * Event time at an operator's input. Unit: epoch milliseconds; not published before the first record and after the end.
 *
 * @since 0.1.0
 * @category metrics
 */
export const watermark = gauge("millrace_watermark", "Event time at an operator's input [epoch ms]")
/**
 * How far the watermark is behind the clock. Unit: milliseconds.
 *
 * @since 0.1.0
 * @category metrics
 */
export const watermarkLag = gauge("millrace_watermark_lag", "How far the watermark is behind the clock [ms]")
/**
 * Live entries in an operator's state. Unit: entries.
 *
 * @since 0.1.0
 * @category metrics
 */
export const stateKeys = gauge("millrace_state_keys", "Live entries in an operator's state [entries]")
/**
 * Restarts of a part of the job. Unit: restarts.
 *
 * @since 0.1.0
 * @category metrics
 */
export const restarts = counter("millrace_restarts", "Restarts of a part of the job [restarts]")
/**
 * Checkpoints taken. Unit: checkpoints.
 *
 * @since 0.1.0
 * @category metrics
 */
export const checkpoints = counter("millrace_checkpoints", "Checkpoints taken [checkpoints]")
/**
 * How long partitions were kept from beginning a step by the last checkpoint. Unit: milliseconds.
 *
 * @since 0.1.0
 * @category metrics
 */
export const checkpointPause = gauge(
  "millrace_checkpoint_pause",
  "How long the last checkpoint kept partitions from beginning a step [ms]"
)
/**
 * Time from the picture of the last checkpoint until it was durable. Unit: milliseconds.
 *
 * @since 0.1.0
 * @category metrics
 */
export const checkpointDuration = gauge(
  "millrace_checkpoint_duration",
  "From the picture of the last checkpoint until it was durable [ms]"
)
/**
 * What the last checkpoint wrote to the store. Unit: bytes.
 *
 * @since 0.1.0
 * @category metrics
 */
export const checkpointBytes = gauge("millrace_checkpoint_bytes", "What the last checkpoint wrote to the store [bytes]")
/**
 * What is durable and waits for a sink. Unit: bytes.
 *
 * @since 0.1.0
 * @category metrics
 */
export const sinkPending = gauge("millrace_sink_pending", "Durable, and waiting for the sink [bytes]")
/**
 * Records that a sink could not write down, by the error policy skipped or sent to the dead letters. Unit: records.
 *
 * @since 0.1.0
 * @category metrics
 */
export const recordsRefused = counter(
  "millrace_records_refused",
  "Records that a sink could not write down: skipped, or sent to the dead letters [records]"
)

const ofCounts: ReadonlyArray<readonly [keyof Counts, Metric.Counter<number>]> = [
  ["in", recordsIn],
  ["out", recordsOut],
  ["late", recordsLate],
  ["partlyLate", recordsPartlyLate],
  ["outside", recordsOutside],
  ["skipped", recordsSkipped],
  ["dead", recordsDead]
]

/** @internal */
export interface Recorder {
  readonly record: (status: JobStatus) => Effect.Effect<void>
  readonly every: (interval: Duration.Input, status: () => JobStatus) => Effect.Effect<never>
}

/**
 * Turns what a job says of itself into metrics. Counters grow by the difference to the last time; after a restart, which
 * takes counts back to the checkpoint, they stand still until the counts have caught up.
 *
 * @internal
 */
export const recorder = (job: string): Recorder => {
  const last = new Map<string, number>()
  // A metric works out once what its attributes come to, which takes longer than all the rest: each series has its own.
  const counters = new Map<string, Metric.Counter<number>>()
  const gauges = new Map<string, Metric.Gauge<number>>()
  const idOf = ({ id }: Metric.Metric<number, unknown>, attributes: Record<string, string>) =>
    `${id} ${Object.values(attributes).join(" ")}`
  const grow = (metric: Metric.Counter<number>, attributes: Record<string, string>, value: number) =>
    Effect.suspend(() => {
      const id = idOf(metric, attributes)
      const before = last.get(id) ?? 0
      if (value <= before) return Effect.void
      last.set(id, value)
      const own = counters.get(id) ?? counter(metric.id, metric.description ?? "", { job, ...attributes })
      counters.set(id, own)
      return Metric.update(own, value - before)
    })
  const set = (metric: Metric.Gauge<number>, attributes: Record<string, string>, value: number) =>
    Effect.suspend(() => {
      const id = idOf(metric, attributes)
      const own = gauges.get(id) ?? gauge(metric.id, metric.description ?? "", { job, ...attributes })
      gauges.set(id, own)
      return Metric.update(own, value)
    })

  const record = Effect.fnUntraced(function*(status: JobStatus) {
    const now = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
    for (const operator of status.operators) {
      const at = { operator: operator.operator, partition: String(operator.partition) }
      for (const [count, metric] of ofCounts) if (operator[count] > 0) yield* grow(metric, at, operator[count])
      if (operator.kind === "window") yield* set(stateKeys, at, operator.keys)
      if (!Number.isFinite(operator.watermark)) continue
      yield* set(watermark, at, operator.watermark)
      yield* set(watermarkLag, at, now - operator.watermark)
    }
    for (const { pendingBytes, refused, sink, written } of status.sinks) {
      yield* grow(recordsWritten, { sink }, written)
      yield* set(sinkPending, { sink }, pendingBytes)
      if (refused > 0) yield* grow(recordsRefused, { sink }, refused)
    }
    for (const { capacity, dropped, fill, name } of status.buffers) {
      yield* set(bufferFill, { buffer: name }, fill)
      yield* set(bufferCapacity, { buffer: name }, capacity)
      if (dropped > 0) yield* grow(recordsDropped, { buffer: name }, dropped)
    }
    for (const { averageBatch, partition, stage } of status.steps) {
      yield* set(batchSize, { stage: String(stage), partition: String(partition) }, averageBatch)
    }
    yield* grow(restarts, {}, status.restarts)
    yield* grow(checkpoints, {}, status.checkpoints)
    if (status.lastCheckpoint === undefined) return
    yield* set(checkpointPause, {}, status.lastCheckpoint.pauseMillis)
    yield* set(checkpointDuration, {}, status.lastCheckpoint.durationMillis)
    yield* set(checkpointBytes, {}, status.lastCheckpoint.bytes)
  })
  return {
    record,
    every: (interval, status) =>
      Effect.forever(Effect.andThen(Effect.sleep(interval), Effect.suspend(() => record(status()))))
  }
}
