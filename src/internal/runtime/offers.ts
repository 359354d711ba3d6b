/** How the application's records get into a queue. */
import * as Effect from "effect/Effect"
import * as TxRef from "effect/TxRef"
import { BufferFull, JobNotRunning, SourceInvalid } from "../../FlowError.ts"
import type { Overflow, QueueSource } from "../../Source.ts"
import type { Graph } from "../plan/graph.ts"
import { awaitRoom, type Inlet, waitUntil } from "./inlet.ts"
import type { Inlets } from "./inlets.ts"

/** The way into one queue of a running job. */
interface Entrance {
  readonly job: string
  readonly source: string
  readonly inlet: Inlet
  readonly onFull: Overflow
  /** What the job is, if it is not running. */
  readonly state: () => string
}

/** Offers values in order; stops at the first that is refused. */
export const offer = (
  job: string,
  graph: Graph,
  inlets: Inlets,
  state: () => string,
  source: QueueSource<unknown>,
  values: Iterable<unknown>
): Effect.Effect<void, BufferFull | JobNotRunning> => {
  const operator = graph.operators.find(({ node }) => node._tag === "Source" && node.source === source)
  if (operator === undefined) {
    return Effect.fail(new JobNotRunning({ job, state: `not reading from "${source.description}"` }))
  }
  const inlet = inlets.queue(operator.label)
  const entrance: Entrance = { job, source: operator.label, inlet, onFull: source.body.onFull, state }
  const all = Effect.forEach(
    values,
    (value, accepted) =>
      offerOne(
        entrance,
        accepted,
        () => inlet.push(value),
        source.body.onFull === "drop-oldest" ? () => inlet.dropOldest() : () => void inlet.dropped++
      ),
    { discard: true }
  )
  return kept(entrance, source, all)
}

/** Says, between two records, how far event time has come: no record at or before it will be offered any more. */
export const advance = (
  job: string,
  graph: Graph,
  inlets: Inlets,
  state: () => string,
  source: QueueSource<unknown>,
  eventTime: number
): Effect.Effect<void, BufferFull | JobNotRunning | SourceInvalid> => {
  const operator = graph.operators.find(({ node }) => node._tag === "Source" && node.source === source)
  if (operator === undefined) {
    return Effect.fail(new JobNotRunning({ job, state: `not reading from "${source.description}"` }))
  }
  const refuse = (problem: string, remedy: string) =>
    Effect.fail(new SourceInvalid({ source: operator.label, split: "0", problem, remedy }))
  if (!Number.isSafeInteger(eventTime)) {
    return refuse(`was told that event time is ${eventTime}`, "give whole epoch milliseconds")
  }
  if (operator.node._tag !== "Source" || operator.node.watermark === undefined) {
    return refuse("is read without event time", "give Flow.from { time, watermark }")
  }
  const inlet = inlets.queue(operator.label)
  const entrance: Entrance = { job, source: operator.label, inlet, onFull: source.body.onFull, state }
  // It never takes the place of a record: in a full queue that drops, it is the one that is dropped.
  return kept(entrance, source, offerOne(entrance, 0, () => inlet.pushAdvance(eventTime), undefined))
}

/** Tells the job of what was offered, and waits for a checkpoint if the queue is one that does. */
const kept = (
  entrance: Entrance,
  source: QueueSource<unknown>,
  all: Effect.Effect<void, BufferFull | JobNotRunning>
): Effect.Effect<void, BufferFull | JobNotRunning> => {
  const offered = Effect.ensuring(all, entrance.inlet.announce)
  return source.body.durable ? Effect.andThen(offered, awaitCheckpoint(entrance)) : offered
}

/** Until a checkpoint that outlives the process, if the store does, holds everything offered so far. */
const awaitCheckpoint = ({ inlet, job, state }: Entrance): Effect.Effect<void, JobNotRunning> =>
  Effect.suspend(() => {
    const { offered } = inlet
    const isKept = () => inlet.hasKept(offered)
    inlet.awaitingCheckpoint++
    return inlet.announce.pipe(
      Effect.andThen(waitUntil([TxRef.get(inlet.changed)], () => isKept() || inlet.isAbandoned)),
      Effect.andThen(
        Effect.suspend(() => isKept() ? Effect.void : Effect.fail(new JobNotRunning({ job, state: state() })))
      ),
      Effect.ensuring(Effect.sync(() => void inlet.awaitingCheckpoint--))
    )
  })

const offerOne = (
  entrance: Entrance,
  accepted: number,
  push: () => void,
  /** Makes a place in a queue that drops the oldest, or counts what is dropped. */
  drop: (() => void) | undefined
): Effect.Effect<void, BufferFull | JobNotRunning> =>
  Effect.suspend((): Effect.Effect<void, BufferFull | JobNotRunning> => {
    const { inlet, job, onFull, source, state } = entrance
    if (inlet.isClosed) return Effect.fail(new JobNotRunning({ job, state: state() }))
    if (inlet.fill < inlet.capacity) {
      push()
      return Effect.void
    }
    switch (onFull) {
      case "fail":
        return Effect.fail(new BufferFull({ source, capacity: inlet.capacity, accepted }))
      case "drop-newest":
        drop?.()
        return Effect.void
      case "drop-oldest":
        drop?.()
        if (drop !== undefined) push()
        return Effect.void
      case "suspend":
        return inlet.announce.pipe(
          Effect.andThen(awaitRoom(inlet)),
          Effect.andThen(offerOne(entrance, accepted, push, drop))
        )
    }
  })
