/** A flow as a stream: a job of its own, whose only sink is the stream's reader. */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as CheckpointStore from "../../CheckpointStore.ts"
import * as Flow from "../../Flow.ts"
import type { JobError } from "../../FlowError.ts"
import * as Job from "../../Job.ts"
import * as Sink from "../../Sink.ts"

export const toStream = <A, E, R>(
  self: Flow.Flow<A, E, R, "no event time">,
  options: Flow.ToStreamOptions | undefined
): Stream.Stream<A, E | JobError, R> =>
  Stream.unwrap(Effect.gen(function*() {
    // One batch waits while the reader is busy with the last: the reader's pace is the job's.
    const queue = yield* Queue.bounded<ReadonlyArray<A>, E | JobError | Cause.Done>(1)
    const reader = Sink.make<A>({
      description: "stream",
      open: () => Effect.succeed({ write: (rows) => Effect.asVoid(Queue.offer(queue, rows)) })
    })
    const job = Job.make(options?.name ?? "stream", [Flow.to(self, "stream", reader)])
    yield* Job.run(job, options).pipe(
      Effect.provide(CheckpointStore.layerMemory),
      Effect.onExit((exit) => Exit.isSuccess(exit) ? Queue.end(queue) : Queue.failCause(queue, exit.cause)),
      Effect.forkScoped
    )
    return Stream.flattenIterable(Stream.fromQueue(queue))
  }))
