/** Jobs for the kinds of state that `jobs.ts` has none of. */
import { Schema } from "effect"
import { Aggregate, Flow, Job, Partitioner, Source, Watermark, Window } from "millrace"
import { type Kind, Reading } from "./jobs.ts"

const keys = ["a", "b", "c"]

/** Readings in order but for a little, no two at the same time. */
const readings = (count: number, seed: number): ReadonlyArray<Reading> =>
  Array.from({ length: count }, (_, n) => ({
    key: keys[(n * 7 + seed) % keys.length]!,
    n: n * 2 + seed,
    at: 100 + (n ^ (n % 5 === 0 ? 1 : 0)) * 4 + seed
  }))

const bounded = { time: ({ at }: Reading) => at, watermark: Watermark.boundedOutOfOrderness(8) }
const byKey = Flow.keyBy(({ key }: Reading) => key, Schema.String)
const values = { count: Aggregate.count, sum: Aggregate.sum(({ n }: Reading) => n) }
const onTime = { late: "all of them are within the bound" }

const kind = (name: string, partitions: ReadonlyArray<number>, make: Kind["make"]): Kind => ({ name, partitions, make })

/** Windows of no regular size, over everything, and windows with gaps between them. */
export const uneven = (count: number): Kind =>
  kind(`uneven ${count}`, [1, 3], ({ sink, source }) => {
    const input = Flow.from("readings", source("readings", [readings(count, 0)]), bounded)
    const window = Window.custom({
      name: "uneven",
      maxSize: 40,
      assign: (at) => {
        const start = Math.floor(at / 60) * 60
        return at < start + 20 ? [{ start, end: start + 20 }] : [{ start: start + 20, end: start + 60 }]
      }
    })
    return Job.make("uneven", [
      input.pipe(Flow.global, Flow.window("uneven", window), Flow.aggregate(values), Flow.only("results", onTime))
        .pipe(Flow.to("uneven", sink("uneven"))),
      input.pipe(byKey, Flow.window("gaps", Window.sliding({ size: 10, every: 30 })), Flow.aggregate(values))
        .pipe(Flow.only("results", onTime), Flow.to("gaps", sink("gaps")))
    ], { delivery: "exactly-once" })
  })

/** Two sources in one, dealt out anew, and a window behind a window. */
export const merged = (count: number): Kind =>
  kind(`merged ${count}`, [2, 3], ({ sink, source }) => {
    const one = Flow.from("one", source("one", [readings(count, 0)]), bounded)
    const other = Flow.from("other", source("other", [readings(count, 1)]), bounded)
    const counted = Flow.merge(one, other).pipe(
      Flow.typed(Reading),
      Flow.partitionBy(Partitioner.hash(({ n }: Reading) => n)),
      byKey,
      Flow.window("counted", Window.tumbling(20)),
      Flow.aggregate(values),
      Flow.only("results", onTime),
      Flow.map(({ key, value, window }): Reading => ({ key, n: value.count, at: window.start })),
      Flow.typed(Reading),
      byKey,
      Flow.window("counted again", Window.tumbling(60)),
      Flow.aggregate(values),
      Flow.only("results", onTime)
    )
    return Job.make("merged", [counted.pipe(Flow.to("merged", sink("merged")))], { delivery: "exactly-once" })
  })

/** A source that is slowed down, and that ends before its windows do. */
export const paced = (count: number): Kind =>
  kind(`paced ${count}`, [1, 2], ({ sink, source }) => {
    const slow = Source.paced(source("readings", [readings(count, 0)]), { perSecond: 1000 })
    const counted = Flow.from("readings", slow, bounded).pipe(
      byKey,
      Flow.window("counted", Window.tumbling(20)),
      Flow.aggregate(values),
      Flow.only("results", onTime)
    )
    return Job.make("paced", [counted.pipe(Flow.to("counted", sink("counted")))], { delivery: "exactly-once" })
  })
