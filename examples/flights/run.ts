/** One run of the job: from the beginning, or from the last checkpoint of the run before, to results in order. */
import { Console, Effect, References, Schedule } from "effect"
import { CheckpointStore, Job } from "millrace"
import * as Files from "./files.ts"
import * as Flights from "./flights.ts"
import * as FlightsJob from "./job.ts"
import * as Progress from "./progress.ts"
import * as Report from "./report.ts"

export interface Options {
  readonly dataset: string
  readonly out: string
  /** Flights a second; as many as possible when it is undefined. */
  readonly rate: number | undefined
  /** Goes on where the run before was when it ended, however it did. */
  readonly resume: boolean
}

export const checkpointMillis = 500

/** The last checkpoint in the store of the context; 0 if there is none. */
export const lastEpoch = Effect.gen(function*() {
  const store = yield* CheckpointStore.CheckpointStore
  return (yield* store.list(FlightsJob.name))[0]?.epoch ?? 0
})

export const run = Effect.fn("flights")(function*(options: Options) {
  const { dataset, out } = options
  const flights = Flights.inOrderOfReports(yield* Flights.load(dataset))
  yield* Files.make(out)
  const { store } = yield* Files.places(out)
  const wasFinished = yield* Effect.provide(toTheEnd(flights, store, options), CheckpointStore.layerSqlite(store))

  const files = yield* Files.settle(out)
  const accounted = Report.accounted(files)
  if (accounted !== flights.length) {
    return yield* Effect.die(
      `${flights.length} flights were given, and hourly.ndjson and late.ndjson account for ${accounted}`
    )
  }
  yield* Console.log(wasFinished ? "finished: nothing to resume" : Report.text(files))
})

/** Answers with whether there was nothing left to do. */
const toTheEnd = Effect.fnUntraced(
  function*(flights: ReadonlyArray<Flights.Flight>, store: string, { dataset, out, rate, resume }: Options) {
    const from = yield* lastEpoch
    if (!resume || from === 0) yield* Files.removeResults(out)

    const { unsorted } = yield* Files.places(out)
    const job = FlightsJob.make(flights, { dataset, folder: unsorted, perSecond: rate })
    const handle = yield* Job.launch(job, {
      partitions: 4,
      checkpointEvery: checkpointMillis,
      start: resume ? "resume" : "afresh"
    })
    return yield* Effect.onInterrupt(
      Effect.gen(function*() {
        const { checkpoints, state } = yield* begun(handle)
        const wasFinished = state === "finished" && checkpoints === 0
        if (resume && !wasFinished && state !== "failed") {
          yield* Console.log(
            from === 0
              ? `no checkpoint in ${store}: starts from the beginning`
              : `resumed from epoch ${from} of ${store}`
          )
        }
        yield* Effect.raceFirst(handle.await, Progress.show(handle, flights.length))
        return wasFinished
      }),
      () => Effect.ignore(stop(handle))
    )
  },
  Effect.scoped,
  // The runtime's own word on a job that has finished comes as a log of level Info: `run` says it in words of its own.
  Effect.provideService(References.MinimumLogLevel, "Warn")
)

/** Waits until the job knows what it goes on from: then it has operators, or it is over. */
const begun = <E>(handle: Job.Handle<E>) =>
  handle.status.pipe(Effect.repeat({
    until: ({ operators, state }) => operators.length > 0 || state !== "running",
    schedule: Schedule.spaced("5 millis")
  }))

/** After Ctrl-C: what has been done by now goes into a last checkpoint. */
const stop = Effect.fnUntraced(function*<E>(handle: Job.Handle<E>) {
  yield* handle.stop
  const { lastCheckpoint, state } = yield* handle.status
  if (state === "stopped") yield* Console.log(`stopped at epoch ${lastCheckpoint?.epoch}: --resume goes on from there`)
})
