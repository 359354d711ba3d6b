/**
 * What a job says of itself while it runs and when it has ended.
 *
 * @since 0.1.0
 */

/**
 * Counters of one operator in one partition. They belong to the epoch, like any output: a restart takes them back to the
 * checkpoint.
 *
 * @since 0.1.0
 * @category models
 */
export interface Counts {
  readonly in: number
  readonly out: number
  /** Came after all their windows had expired. */
  readonly late: number
  /** Too late for some of their windows, and counted in the others. */
  readonly partlyLate: number
  /** In no window at all. */
  readonly outside: number
  readonly skipped: number
  /** Sent to the dead letters. */
  readonly dead: number
}

/**
 * One operator in one partition, as of the last commit.
 *
 * @since 0.1.0
 * @category models
 */
export interface OperatorStatus extends Counts {
  readonly operator: string
  readonly kind: string
  readonly partition: number
  /** Event time where the operator's input stands, in epoch milliseconds; −Infinity before the first, Infinity at the end. */
  readonly watermark: number
  /** Live entries of its state. */
  readonly keys: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface SinkStatus {
  readonly sink: string
  /** Records written: at once, in this attempt; by epochs, since the job was launched. */
  readonly written: number
  /** Records that the sink could not write down, in this attempt: skipped, or sent to the dead letters. */
  readonly refused: number
  /** What is durable and waits for the sink, in bytes. */
  readonly pendingBytes: number
}

/**
 * A partition of a stage: how often it has committed in this attempt, and how much it took in each time.
 *
 * @since 0.1.0
 * @category models
 */
export interface PartitionStatus {
  readonly stage: number
  readonly partition: number
  readonly steps: number
  /** Records, on average. */
  readonly averageBatch: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface JobStatus {
  readonly job: string
  readonly state: "running" | "paused" | "draining" | "stopped" | "finished" | "failed" | "interrupted"
  readonly operators: ReadonlyArray<OperatorStatus>
  readonly sinks: ReadonlyArray<SinkStatus>
  readonly buffers: ReadonlyArray<BufferStatus>
  readonly steps: ReadonlyArray<PartitionStatus>
  readonly restarts: number
  /** Checkpoints taken since the job was launched. */
  readonly checkpoints: number
  readonly lastCheckpoint: CheckpointStatus | undefined
  /** What is kept for sinks: of the open epoch, of one that is not durable yet, and of those that are, in bytes. */
  readonly pendingBytes: number
}

/**
 * The last checkpoint that was taken.
 *
 * @since 0.1.0
 * @category models
 */
export interface CheckpointStatus {
  readonly epoch: number
  /** Written to the store. */
  readonly bytes: number
  /** How long partitions were kept from beginning a step, so that the picture could be taken. */
  readonly pauseMillis: number
  /** From the picture until it was durable. */
  readonly durationMillis: number
}

/**
 * A buffer: its bound, what it holds, the most it ever held, all in records.
 *
 * @since 0.1.0
 * @category models
 */
export interface BufferStatus {
  readonly name: string
  readonly capacity: number
  readonly fill: number
  /** The most it ever held in this attempt. */
  readonly peak: number
  /** Records that the overflow policy of a queue has dropped; zero for every other buffer. */
  readonly dropped: number
}
