/**
 * A job that takes its time: it counts numbers in windows and writes both to Postgres. Also a program, which runs it over the
 * database at the URL that it is given, says `took` whenever rows were taken in, and in the end what came of it.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Effect, Exit, Layer, Redacted, Schema } from "effect"
import { Aggregate, type CheckpointStore, Flow, Job, Source, Watermark, Window } from "millrace"
import * as Postgres from "millrace/Postgres"
import { pathToFileURL } from "node:url"

export const total = 1500

/** Numbers in chunks of ten, with a pause in front of each. */
const source = (took: Effect.Effect<void>, pause: "0 millis" | "5 millis") =>
  Source.make<number>({
    description: "numbers",
    bounded: true,
    replayable: true,
    schema: Schema.Number,
    splits: Effect.succeed(["0"]),
    open: (_, position) =>
      Effect.sync(() => {
        let next = Number(position ?? 0)
        return {
          pull: () =>
            Effect.gen(function*() {
              yield* Effect.sleep(pause)
              yield* took
              if (next >= total) return undefined
              const start = next
              next += 10
              return {
                rows: Array.from({ length: 10 }, (_, n) => start + n),
                positionAfter: (taken: number) => start + taken
              }
            })
        }
      })
  })

export const counting = (took: Effect.Effect<void> = Effect.void, pause: "0 millis" | "5 millis" = "5 millis") => {
  const numbers = Flow.from("numbers", source(took, pause), { time: (n) => n, watermark: Watermark.monotonic })
  const counts = numbers.pipe(
    Flow.keyBy((n) => n % 3, Schema.Number),
    Flow.window("hundreds", Window.tumbling(100)),
    Flow.aggregate({ count: Aggregate.count, sum: Aggregate.sum((n: number) => n) }),
    Flow.only("results", { late: "numbers come in order" })
  )
  return Job.make("counting", [
    numbers.pipe(
      Flow.to("numbers", Postgres.sink({ table: "numbers", columns: { n: (n) => n }, types: { n: "integer" } }))
    ),
    counts.pipe(Flow.to(
      "counts",
      Postgres.sink({
        table: "counts",
        key: ["key", "start"],
        columns: {
          key: ({ key }: Flow.Element<typeof counts>) => key,
          start: ({ window }) => window.start,
          count: ({ value }) => value.count,
          sum: ({ value }) => value.sum
        },
        types: { key: "integer", start: "integer", count: "integer", sum: "integer" }
      })
    ))
  ], { delivery: "exactly-once" })
}

/** What must be in the tables in the end. */
export const expected = {
  numbers: Array.from({ length: total }, (_, n) => n),
  counts: Array.from({ length: total / 100 * 3 }, (_, i) => {
    const [start, key] = [Math.floor(i / 3) * 100, i % 3]
    const all = Array.from({ length: 100 }, (_, n) => start + n).filter((n) => n % 3 === key)
    return { start, key, count: all.length, sum: all.reduce((sum, n) => sum + n, 0) }
  })
}

export const options: Job.RunOptions = { checkpointEvery: "10 millis", batchSize: 50, bufferSize: 100 }

/** Runs it to its end, with checkpoints and results in one database. */
export const run = (
  url: string,
  job: ReturnType<typeof counting>,
  store: Layer.Layer<CheckpointStore.CheckpointStore | Postgres.Postgres, unknown, PgClient.PgClient> = Postgres
    .layerCheckpointStore()
) =>
  Job.run(job, options).pipe(
    Effect.provide(Layer.provide(store, PgClient.layer({ url: Redacted.make(url) })))
  )

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const exit = await Effect.runPromiseExit(run(process.argv[2]!, counting(Effect.sync(() => console.log("took")))))
  console.log(Exit.isSuccess(exit) ? "finished" : String(exit.cause))
}
