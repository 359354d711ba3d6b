import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { Aggregate, CheckpointStore, Flow, Job, Sink, Source, Supervision, Watermark, Window } from "millrace"
import {
  asOperatorFailed,
  atOnce,
  byKey,
  counted,
  countedOnTime,
  paneNames,
  type Reading,
  reading,
  settle,
  timed,
  total,
  until
} from "./support/jobs.ts"

const memory = CheckpointStore.layerMemory
const numbers = (n: number) => Array.from({ length: n }, (_, i) => i)
type Pane = Parameters<typeof paneNames>[0][number]

/** Throws on the records it is told to, once for each. */
const fuse = () => {
  const armed = new Set<number>()
  return {
    blow: (...at: ReadonlyArray<number>) => at.forEach((time) => armed.add(time)),
    through: <A extends Reading>(value: A): A => {
      if (armed.delete(value.at)) throw new Error(`blown at ${value.at}`)
      return value
    }
  }
}

/** A sink that keeps what it is given over all attempts. */
const collecting = <A>() => {
  const written: Array<A> = []
  return { written, sink: Sink.forEach((value: A) => Effect.sync(() => void written.push(value))) }
}

/** A replayable source that says from where it was opened. */
const replayable = (readings: ReadonlyArray<Reading>, isReplayable = true) => {
  const openedAt: Array<number> = []
  return {
    openedAt,
    source: Source.make<Reading>({
      description: "readings",
      bounded: true,
      replayable: isReplayable,
      splits: Effect.succeed(["0"]),
      open: (_, position) => {
        let next = position === undefined ? 0 : Number(position)
        openedAt.push(next)
        return Effect.succeed({
          pull: (max) =>
            Effect.sync(() => {
              const start = next
              const rows = readings.slice(start, start + Math.min(max, 10))
              next += rows.length
              return rows.length === 0 ? undefined : { rows, positionAfter: (taken) => start + taken }
            })
        })
      }
    })
  }
}

for (const partitions of [1, 4]) {
  describe(`restarts, ${partitions} partitions`, () => {
    it.effect("a queue loses nothing, and every record counts once", () =>
      Effect.gen(function*() {
        const { blow, through } = fuse()
        const source = Source.queue<Reading>({ capacity: 16 })
        const { sink, written } = collecting<Pane>()
        const flow = Flow.from("readings", source, timed).pipe(Flow.map(through))
        const handle = yield* Job.launch(Job.make("job", [countedOnTime(flow).pipe(Flow.to("out", sink))]), {
          partitions,
          batchSize: 5,
          bufferSize: 10,
          checkpointEvery: "10 seconds",
          restarts: Supervision.restarts({ max: 100, within: "1 minute" })
        })
        blow(0, 7, 13, 55, 56, 170, 171, 240, 399)
        for (const round of numbers(8)) {
          const pusher = yield* Effect.forkChild(
            handle.pushAll(source, numbers(50).map((i) => reading("abc"[i % 3]!, round * 50 + i)))
          )
          // Some rounds end in a checkpoint, others do not.
          yield* until(handle, () => pusher.pollUnsafe() !== undefined)
          if (round % 3 === 0) yield* TestClock.adjust("10 seconds")
        }
        yield* handle.drain
        assert.strictEqual((yield* handle.status).restarts, 9)
        // A plain sink sees a superset, and the same pane is the same every time.
        const seen = new Set(paneNames(written))
        assert.strictEqual(seen.size, 40 * 3)
        assert.strictEqual([...seen].reduce((sum, name) => sum + Number(name.split(": ")[1]), 0), 400)
        assert.strictEqual(total(yield* handle.status, "counted", "in"), 400)
      }).pipe(Effect.provide(memory)))

    it.effect("a replayable source goes on at its position, one that is not is rewound", () =>
      Effect.gen(function*() {
        for (const isReplayable of [true, false]) {
          const { blow, through } = fuse()
          const readings = numbers(300).map((at) => reading("ab"[at % 2]!, at))
          const { openedAt, source } = replayable(readings, isReplayable)
          const { sink, written } = collecting<Pane>()
          const flow = Flow.from("readings", Source.paced(source, { perSecond: 10 }), timed).pipe(Flow.map(through))
          blow(155)
          const handle = yield* Job.launch(Job.make("job", [countedOnTime(flow).pipe(Flow.to("out", sink))]), {
            partitions,
            checkpointEvery: "5 seconds",
            start: "afresh"
          })
          yield* settle
          for (const _ of numbers(40)) {
            yield* TestClock.adjust("1 second")
            yield* settle
          }
          yield* handle.await
          assert.strictEqual((yield* handle.status).restarts, 1)
          assert.deepStrictEqual(openedAt.length, isReplayable ? 2 : 1)
          if (isReplayable) assert.isTrue(openedAt[1]! >= 100 && openedAt[1]! <= 155, String(openedAt[1]))
          const seen = new Set(paneNames(written))
          assert.deepStrictEqual([...seen].filter((name) => !name.endsWith(": 5")), [])
          assert.strictEqual(seen.size, 60)
        }
      }).pipe(Effect.provide(memory)))

    it.effect("counts, watermark and late decisions are those of a run without a crash", () =>
      Effect.gen(function*() {
        const run = (crash: boolean) =>
          Effect.gen(function*() {
            const { blow, through } = fuse()
            const source = Source.queue<Reading>()
            const { sink, written } = collecting<string>()
            const flow = Flow.from("readings", source, {
              time: ({ at }) => at,
              watermark: Watermark.boundedOutOfOrderness(20)
            }).pipe(Flow.map(through))
            const { late, results } = counted(flow)
            const handle = yield* Job.launch(
              Job.make("job", [
                results.pipe(
                  Flow.map(({ key, value, window }) => `${key}@${window.start}: ${value.count}`),
                  Flow.to("out", sink)
                ),
                late.pipe(
                  Flow.map(({ value, watermark }) => `${value.key}@${value.at} late at ${watermark}`),
                  Flow.to("late", sink)
                )
              ]),
              { partitions, checkpointEvery: "10 seconds", restarts: atOnce, start: "afresh" }
            )
            if (crash) blow(31, 81)
            // In partitions of its own a key is late by what its source has seen: all keys are one key here.
            const push = (...times: ReadonlyArray<number>) =>
              Effect.gen(function*() {
                for (const at of times) yield* handle.push(source, reading("k", at))
                yield* settle
              })
            yield* push(10, 50, 12, 30)
            yield* TestClock.adjust("10 seconds")
            // 29 is behind 50 − 20, and late for its window; what a new generator would say comes to −∞.
            yield* push(29, 31, 60)
            yield* push(36, 80, 55)
            yield* TestClock.adjust("10 seconds")
            yield* push(58, 81, 59, 100)
            const status = yield* handle.status
            yield* handle.drain
            const counts = status.operators.map(({ in: taken, kind, late, operator, out, partition, watermark }) =>
              [operator, partition, kind, taken, out, late, watermark].join(" ")
            )
            return { counts, seen: [...new Set(written)].sort(), restarts: status.restarts }
          })
        const quiet = yield* run(false)
        const loud = yield* run(true)
        assert.deepStrictEqual([quiet.restarts, loud.restarts], [0, 2])
        assert.deepStrictEqual(loud.seen, quiet.seen)
        assert.deepStrictEqual(loud.counts, quiet.counts)
        assert.isTrue(quiet.seen.some((line) => line.includes("k@29 late")), quiet.seen.join("\n"))
        assert.isTrue(quiet.seen.some((line) => line.includes("k@36 late")), quiet.seen.join("\n"))
      }).pipe(Effect.provide(memory)))

    it.effect("a crash while windows fire: every pane comes, and none of another kind", () =>
      Effect.gen(function*() {
        // A thousand keys fire at once, in steps of eight, and the crash comes in between.
        let left = 500
        const { sink, written } = collecting<string>()
        const source = Source.queue<Reading>()
        const first = countedOnTime(Flow.from("readings", source, timed), "first")
        const flow = first.pipe(
          Flow.map((pane) => {
            if (--left === 0) throw new Error("once")
            return reading(`${pane.key.length}`, pane.window.start)
          }),
          byKey,
          Flow.window("second", Window.tumbling(100)),
          Flow.aggregate({ count: Aggregate.count })
        )
        const handle = yield* Job.launch(
          Job.make("job", [
            flow.results.pipe(Flow.map(({ key, value }) => `${key}: ${value.count}`), Flow.to("out", sink)),
            flow.late.pipe(Flow.map(() => "late"), Flow.to("late", sink))
          ]),
          { partitions, batchSize: 8, bufferSize: 16, checkpointEvery: "1 second" }
        )
        yield* handle.pushAll(source, numbers(1000).map((i) => reading(`k${i}`, 1)))
        yield* until(handle, (status) => total(status, "first", "in") === 1000)
        const pusher = yield* Effect.forkChild(handle.push(source, reading("k", 50)))
        for (const _ of numbers(30)) {
          yield* Effect.yieldNow
          yield* TestClock.adjust("1 second")
        }
        yield* until(handle, () => pusher.pollUnsafe() !== undefined)
        yield* handle.push(source, reading("k", 5000))
        yield* settle
        yield* handle.drain
        assert.strictEqual((yield* handle.status).restarts, 1)
        for (const line of written) assert.include(["1: 1", "2: 10", "3: 90", "4: 900"], line)
        for (const line of ["2: 10", "3: 90", "4: 900"]) assert.include(written, line)
      }).pipe(Effect.provide(memory)))

    it.effect("past the intensity the job fails with the cause", () =>
      Effect.gen(function*() {
        let tries = 0
        const flow = Flow.from("n", Source.memory([1])).pipe(
          Flow.map((): number => {
            throw new Error(`try ${++tries}`)
          }, { name: "never" })
        )
        const handle = yield* Job.launch(Job.make("job", [flow.pipe(Flow.to("out", Sink.memory()))]), {
          partitions,
          restarts: Supervision.restarts({ max: 3, within: "1 minute" })
        })
        const error = yield* Effect.flip(handle.await)
        assert.deepStrictEqual([asOperatorFailed(error).operator, tries], ["never", 4])
        assert.match(error.message, /try 4/)
        const status = yield* handle.status
        assert.deepStrictEqual([status.state, status.restarts], ["failed", 3])
      }).pipe(Effect.provide(memory)))

    it.effect("the intensity is a sliding one: faults that are far apart do not add up", () =>
      Effect.gen(function*() {
        const source = Source.queue<number>()
        const flow = Flow.from("n", source).pipe(Flow.map((n) => {
          if (failing) {
            failing = false
            throw new Error("once")
          }
          return n
        }))
        let failing = false
        const { sink, written } = collecting<number>()
        const handle = yield* Job.launch(Job.make("job", [flow.pipe(Flow.to("out", sink))]), {
          partitions,
          restarts: Supervision.restarts({ max: 1, within: "1 minute" })
        })
        yield* settle
        for (const n of numbers(5)) {
          failing = true
          yield* handle.push(source, n)
          yield* settle
          yield* TestClock.adjust("61 seconds")
        }
        assert.strictEqual((yield* handle.status).restarts, 5)
        yield* handle.drain
        assert.deepStrictEqual([...new Set(written)], numbers(5))
      }).pipe(Effect.provide(memory)))

    it.effect("a sink that fails once is opened again, and sees a superset", () =>
      Effect.gen(function*() {
        const attempts: Array<number> = []
        const written: Array<number> = []
        const sink = Sink.make<number, string>({
          description: "flaky",
          open: ({ attempt }) =>
            Effect.sync(() => {
              attempts.push(attempt)
              return {
                write: (rows) =>
                  Effect.suspend(() => {
                    const bad = attempt === 1 ? rows.findIndex((n) => n >= 50) : -1
                    written.push(...(bad < 0 ? rows : rows.slice(0, bad)))
                    return bad < 0 ? Effect.void : Effect.fail("disk full")
                  })
              }
            })
        })
        yield* Job.run(Job.make("job", [Flow.from("n", Source.memory(numbers(200))).pipe(Flow.to("out", sink))]), {
          partitions,
          batchSize: 10,
          bufferSize: 20,
          restarts: atOnce
        })
        assert.deepStrictEqual(attempts, [1, 2])
        assert.deepStrictEqual([...new Set(written)], numbers(200))
      }).pipe(Effect.provide(memory)))

    it.effect("a defect restarts like a failure, and is the job's in the end", () =>
      Effect.gen(function*() {
        const sink = Sink.forEach(() => Effect.die(new Error("a bug")))
        const exit = yield* Effect.exit(
          Job.run(Job.make("job", [Flow.from("n", Source.memory([1])).pipe(Flow.to("out", sink))]), {
            partitions,
            restarts: atOnce
          })
        )
        assert.isTrue(exit._tag === "Failure" && exit.cause.reasons.some((reason) => reason._tag === "Die"))
      }).pipe(Effect.provide(memory)))
  })
}

it.effect("standard: three restarts a minute, after pauses that double", () =>
  Effect.gen(function*() {
    let tries = 0
    const flow = Flow.from("n", Source.memory([1])).pipe(Flow.map((): number => {
      tries++
      throw new Error("no")
    }))
    const handle = yield* Job.launch(Job.make("job", [flow.pipe(Flow.to("out", Sink.memory()))]))
    const seen: Array<number> = []
    for (const millis of [0, 99, 1, 199, 1, 399, 1]) {
      yield* TestClock.adjust(millis)
      yield* settle
      seen.push(tries)
    }
    assert.deepStrictEqual(seen, [1, 1, 2, 2, 3, 3, 4])
    assert.strictEqual((yield* handle.status).state, "failed")
  }).pipe(Effect.provide(memory)))

it.effect("never: the first failure is the job's", () =>
  Effect.gen(function*() {
    let tries = 0
    const flow = Flow.from("n", Source.memory([1])).pipe(Flow.map((): number => {
      tries++
      throw new Error("no")
    }))
    yield* Effect.flip(
      Job.run(Job.make("job", [flow.pipe(Flow.to("out", Sink.memory()))]), { restarts: Supervision.never })
    )
    assert.strictEqual(tries, 1)
  }).pipe(Effect.provide(memory)))

it.effect("epochs are counted over all runs, and a run afresh begins without those of the last", () =>
  Effect.gen(function*() {
    const store = yield* CheckpointStore.CheckpointStore
    const head = Effect.map(store.list("job"), ([newest]) => newest?.epoch)
    const source = Source.queue<Reading>()
    const flow = countedOnTime(Flow.from("readings", source, timed))
    const job = Job.make("job", [flow.pipe(Flow.to("out", Sink.memory()))])
    const run = (start: "resume" | "afresh", found: number, [first, ...epochs]: ReadonlyArray<number>) =>
      Effect.scoped(Effect.gen(function*() {
        const handle = yield* Job.launch(job, { start })
        yield* settle
        assert.strictEqual(yield* head, first)
        const open = yield* Job.query(handle, flow, "k")
        assert.deepStrictEqual(open.map(({ value }) => value.count), found === 0 ? [] : [found])
        yield* handle.push(source, reading("k", 5))
        yield* settle
        assert.strictEqual(yield* head, first)
        for (const epoch of epochs) {
          yield* TestClock.adjust("1 second")
          yield* settle
          assert.strictEqual(yield* head, epoch)
        }
        assert.strictEqual((yield* handle.status).checkpoints, epochs.length)
      }))
    // A run that begins from nothing says so in an epoch of its own; one that goes on finds the last one.
    yield* run("resume", 0, [1, 2, 3, 4])
    yield* run("resume", 1, [4, 5, 6])
    yield* run("afresh", 0, [7, 8, 9])
    yield* run("resume", 1, [9, 10])
  }).pipe(Effect.provide(memory)))
