import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Option, Schema, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import {
  Aggregate,
  CheckpointStore,
  ErrorPolicy,
  Flow,
  Job,
  Partitioner,
  Sink,
  Source,
  Supervision,
  Watermark,
  Window
} from "millrace"
import {
  asOperatorFailed,
  atOnce,
  byKey,
  counted,
  countedOnTime,
  gatedSink,
  ledger,
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
const sorted = (values: ReadonlyArray<number>) => [...values].sort((a, b) => a - b)
const untimed = (name: string, source: Source.Source<number>) => Flow.from(name, source)
type Panes = Parameters<typeof paneNames>[0]
const fourPartitions = [1, 4]

describe("Job.run", () => {
  for (const partitions of fourPartitions) {
    describe(`${partitions} partitions`, () => {
      it.effect("runs to the end of its inputs, and every window fires", () =>
        Effect.gen(function*() {
          const results = Sink.memory<Panes[number]>()
          const readings = numbers(1000).map((at) => reading("abc"[at % 3]!, at))
          const flow = countedOnTime(Flow.from("readings", Source.memory(readings), timed))
          yield* Job.run(Job.make("job", [flow.pipe(Flow.to("results", results))]), { partitions })
          const panes = yield* results.contents
          assert.strictEqual(panes.length, 300)
          assert.strictEqual(panes.reduce((sum, { value }) => sum + value.count, 0), 1000)
        }).pipe(Effect.provide(memory)))

      it.effect("several sinks on a flow, several flows in a job, several sources", () =>
        Effect.gen(function*() {
          const [a, b, c] = [Sink.memory<number>(), Sink.memory<number>(), Sink.memory<number>()]
          const left = untimed("left", Source.memory(numbers(100)))
          const right = untimed("right", Source.memorySplits([numbers(50), numbers(50).map((n) => n + 50)]))
          yield* Job.run(
            Job.make("job", [
              left.pipe(Flow.to("a", a)),
              left.pipe(Flow.to("b", b)),
              right.pipe(Flow.map((n) => -n), Flow.to("c", c))
            ]),
            { partitions }
          )
          assert.deepStrictEqual(yield* a.contents, numbers(100))
          assert.deepStrictEqual(yield* b.contents, numbers(100))
          assert.deepStrictEqual(sorted(yield* c.contents), sorted(numbers(100).map((n) => -n)))
        }).pipe(Effect.provide(memory)))

      it.effect("merge keeps the order of each side, and split sends every element to one branch", () =>
        Effect.gen(function*() {
          const sinks = { even: Sink.memory<number>(), three: Sink.memory<number>(), otherwise: Sink.memory<number>() }
          const branches = untimed("left", Source.memory(numbers(60))).pipe(
            Flow.merge(untimed("right", Source.memory(numbers(60).map((n) => n + 60)))),
            Flow.split("parts", { even: (n) => n % 2 === 0, three: (n) => n % 3 === 0 })
          )
          yield* Job.run(
            Job.make("job", [
              branches.even.pipe(Flow.to("even", sinks.even)),
              branches.three.pipe(Flow.to("three", sinks.three)),
              branches.otherwise.pipe(Flow.to("otherwise", sinks.otherwise))
            ]),
            { partitions }
          )
          const inOrder = (values: ReadonlyArray<number>) => {
            for (const side of [values.filter((n) => n < 60), values.filter((n) => n >= 60)]) {
              assert.deepStrictEqual(side, sorted(side))
            }
          }
          const even = yield* sinks.even.contents
          const three = yield* sinks.three.contents
          const otherwise = yield* sinks.otherwise.contents
          for (const values of [even, three, otherwise]) inOrder(values)
          assert.deepStrictEqual(sorted(even), numbers(120).filter((n) => n % 2 === 0))
          assert.deepStrictEqual(sorted(three), numbers(120).filter((n) => n % 2 !== 0 && n % 3 === 0))
          assert.deepStrictEqual(sorted(otherwise), numbers(120).filter((n) => n % 2 !== 0 && n % 3 !== 0))
        }).pipe(Effect.provide(memory)))

      it.effect("a flow merged with itself, with a keyed part of itself, counts twice", () =>
        Effect.gen(function*() {
          const results = Sink.memory<Panes[number]>()
          const readings = Flow.from("readings", Source.memory(numbers(100).map((at) => reading("k", at))), timed)
          const flow = countedOnTime(readings.pipe(byKey, Flow.merge(readings)))
          yield* Job.run(Job.make("job", [flow.pipe(Flow.to("results", results))]), { partitions, batchSize: 7 })
          assert.deepStrictEqual(paneNames(yield* results.contents), numbers(10).map((i) => `k@${i * 10}: 20`).sort())
        }).pipe(Effect.provide(memory)))

      for (
        const [name, partitioner] of [
          ["hash", Partitioner.hash((n: number) => n % 7)],
          ["round robin", Partitioner.roundRobin],
          ["custom", Partitioner.custom("modulo", (n: number, partitions) => n % partitions)]
        ] as const
      ) {
        it.effect(`partitionBy ${name}: nothing is lost, nothing comes twice`, () =>
          Effect.gen(function*() {
            const written = Sink.memory<number>()
            const flow = untimed("n", Source.memory(numbers(1000))).pipe(Flow.partitionBy(partitioner))
            const handle = yield* Job.launch(Job.make("job", [flow.pipe(Flow.to("written", written))]), { partitions })
            yield* handle.await
            assert.deepStrictEqual(sorted(yield* written.contents), numbers(1000))
            const dealt = (yield* handle.status).operators.filter(({ kind }) => kind === "partitionBy")
            const most = dealt.reduce((most, status) => Math.max(most, status.in), 0)
            assert.isAtMost(most, partitions === 1 ? 1000 : name === "hash" ? 999 : 250)
          }).pipe(Effect.provide(memory)))
      }

      it.effect("partitionBy broadcast: every partition gets everything", () =>
        Effect.gen(function*() {
          const written = Sink.memory<number>()
          const flow = untimed("n", Source.memory(numbers(100))).pipe(Flow.partitionBy(Partitioner.broadcast))
          yield* Job.run(Job.make("job", [flow.pipe(Flow.to("written", written))]), { partitions })
          assert.deepStrictEqual(
            sorted(yield* written.contents),
            sorted(numbers(partitions).flatMap(() => numbers(100)))
          )
        }).pipe(Effect.provide(memory)))

      it.effect("a stream is a source; it ends the job when it ends", () =>
        Effect.gen(function*() {
          const written = Sink.memory<number>()
          const flow = Flow.fromStream("n", Stream.range(1, 5000))
          yield* Job.run(Job.make("job", [flow.pipe(Flow.to("written", written))]), { partitions })
          assert.strictEqual((yield* written.contents).length, 5000)
        }).pipe(Effect.provide(memory)))

      it.effect("a stream that fails gives its own error", () =>
        Effect.gen(function*() {
          const written = Sink.memory<number>()
          const flow = Flow.fromStream("n", Stream.concat(Stream.make(1, 2, 3), Stream.fail("broken" as const)))
          const error = yield* Effect.flip(
            Job.run(Job.make("job", [flow.pipe(Flow.to("written", written))]), {
              partitions,
              restarts: Supervision.never
            })
          )
          assert.strictEqual(error satisfies "broken" | { readonly _tag: string }, "broken")
        }).pipe(Effect.provide(memory)))

      it.effect("a sink that fails gives its own error", () =>
        Effect.gen(function*() {
          const flow = untimed("n", Source.memory(numbers(10)))
          const sink = Sink.forEach((n: number) => n === 7 ? Effect.fail({ _tag: "Seven" as const }) : Effect.void)
          const error = yield* Effect.flip(
            Job.run(Job.make("job", [flow.pipe(Flow.to("written", sink))]), { partitions, restarts: Supervision.never })
          )
          assert.strictEqual(error._tag, "Seven")
        }).pipe(Effect.provide(memory)))

      it.effect("a function that throws gives OperatorFailed, with the record", () =>
        Effect.gen(function*() {
          const flow = untimed("n", Source.memory(numbers(10))).pipe(
            Flow.map((n) => {
              if (n === 7) throw new Error("seven")
              return n
            }, { name: "no seven" })
          )
          const error = yield* Effect.flip(
            Job.run(Job.make("job", [flow.pipe(Flow.to("written", Sink.memory()))]), {
              partitions,
              restarts: Supervision.never
            })
          )
          const { operator, record } = asOperatorFailed(error)
          assert.deepStrictEqual([operator, record], ["no seven", 7])
          assert.match(
            error.message,
            /"no seven" failed in partition \d: seven\. Mend its function, or give it an error policy/
          )
        }).pipe(Effect.provide(memory)))

      it.effect("interruption releases everything once, and leaves no fiber", () =>
        Effect.gen(function*() {
          const book = ledger()
          const first = untimed("first", book.source("first")).pipe(
            Flow.keyBy((n) => n % 5, Schema.Number),
            Flow.to("results", book.sink("results", () => Effect.never))
          )
          const kept = untimed("kept", book.source("kept", Infinity, false)).pipe(
            Flow.to("others", book.sink("others", () => Effect.never))
          )
          const fiber = yield* Effect.forkChild(Job.run(Job.make("job", [first, kept]), { partitions }))
          yield* settle
          assert.deepStrictEqual(book.opened(), { first: 1, kept: 1, results: 1, others: 1 })
          yield* Fiber.interrupt(fiber)
          assert.deepStrictEqual(book.closed(), book.opened())
        }).pipe(Effect.provide(memory)))

      it.effect("a job that fails closes everything", () =>
        Effect.gen(function*() {
          const book = ledger()
          const bad = untimed("bad", book.source("bad", 100)).pipe(
            Flow.map((n) => {
              if (n === 50) throw new Error("fifty")
              return n
            }),
            Flow.to("a", book.sink("a"))
          )
          const good = untimed("good", book.source("good")).pipe(Flow.to("b", book.sink("b")))
          const exit = yield* Effect.exit(
            Job.run(Job.make("job", [bad, good]), { partitions, restarts: Supervision.never })
          )
          assert.isTrue(Exit.isFailure(exit))
          assert.deepStrictEqual(book.opened(), { bad: 1, a: 1, good: 1, b: 1 })
          assert.deepStrictEqual(book.closed(), book.opened())
        }).pipe(Effect.provide(memory)))
    })
  }

  it.live("leaves no fiber running and no timer ticking", () =>
    Effect.gen(function*() {
      const ticks: Array<number> = []
      const endless = Flow.fromStream("n", Stream.tick("1 millis").pipe(Stream.map(() => ticks.push(1))))
      const fiber = yield* Effect.forkChild(
        Job.run(Job.make("job", [endless.pipe(Flow.to("out", Sink.memory()))]), { partitions: 4 })
      )
      yield* Effect.sleep(30)
      yield* Fiber.interrupt(fiber)
      const then = ticks.length
      assert.isAbove(then, 0)
      yield* Effect.sleep(30)
      assert.strictEqual(ticks.length, then)
    }).pipe(Effect.provide(memory)))

  it.effect("refuses options that make no sense", () =>
    Effect.gen(function*() {
      const job = Job.make("job", [untimed("n", Source.memory(numbers(1))).pipe(Flow.to("out", Sink.memory()))])
      for (const options of [{ partitions: 0 }, { partitions: 129 }, { batchSize: 1.5 }, { bufferSize: -1 }]) {
        assert.throws(() => Job.run(job, options), /give a whole number/)
      }
    }))
})

/** A job over a queue of numbers into a sink that waits for permission. */
const throughQueue = (options: Parameters<typeof Source.queue<number>>[0], run: Job.RunOptions = {}) =>
  Effect.gen(function*() {
    const source = Source.queue<number>(options)
    const { open, sink, written } = gatedSink<number>()
    const handle = yield* Job.launch(Job.make("job", [untimed("queue", source).pipe(Flow.to("out", sink))]), {
      batchSize: 4,
      bufferSize: 4,
      ...run
    })
    return { source, handle, open, written }
  })

const bufferOf = ({ buffers }: Job.JobStatus, name: string) => buffers.find((buffer) => buffer.name.startsWith(name))!

describe("Job.launch", () => {
  for (const partitions of fourPartitions) {
    describe(`${partitions} partitions`, () => {
      it.effect("push, pushAll, status, query, drain", () =>
        Effect.gen(function*() {
          const source = Source.queue<Reading>()
          const results = Sink.memory<Panes[number]>()
          const flow = countedOnTime(Flow.from("readings", source, timed))
          const output = flow.pipe(Flow.to("results", results, { delivery: "eager" }))
          const handle = yield* Job.launch(Job.make("job", [output]), { partitions })
          yield* handle.push(source, reading("a", 1))
          yield* handle.pushAll(source, [reading("b", 5), reading("a", 12), reading("a", 13)])
          const status = yield* until(handle, (status) =>
            total(status, "counted", "in") === 4 && (status.sinks[0]?.written ?? 0) === 2)
          assert.strictEqual(status.state, "running")
          assert.deepStrictEqual(paneNames(yield* results.contents), ["a@0: 1", "b@0: 1"])
          assert.deepStrictEqual(yield* Job.query(handle, flow, "a"), [{
            window: { start: 10, end: 20 },
            value: { count: 2 }
          }])
          assert.deepStrictEqual(yield* Job.query(handle, "counted", "b"), [])
          assert.deepStrictEqual(yield* Job.query(handle, "counted", "nobody"), [])
          const unknown = yield* Effect.flip(Job.query(handle, "readings", "a"))
          assert.deepStrictEqual([unknown._tag, "known" in unknown && unknown.known], ["OperatorUnknown", ["counted"]])
          yield* handle.drain
          assert.deepStrictEqual(paneNames(yield* results.contents), ["a@0: 1", "a@10: 2", "b@0: 1"])
          assert.strictEqual((yield* handle.status).state, "finished")
          yield* handle.await
          assert.strictEqual((yield* Effect.flip(Job.query(handle, "counted", "a")))._tag, "JobNotRunning")
        }).pipe(Effect.provide(memory)))

      it.effect("query waits for the job to have begun", () =>
        Effect.gen(function*() {
          const source = Source.queue<Reading>()
          const flow = countedOnTime(Flow.from("readings", source, timed))
          const handle = yield* Job.launch(Job.make("job", [flow.pipe(Flow.to("results", Sink.memory()))]), {
            partitions
          })
          assert.deepStrictEqual(yield* Job.query(handle, "counted", "a"), [])
        }).pipe(Effect.provide(memory)))

      it.effect("pause takes in nothing more until resume", () =>
        Effect.gen(function*() {
          const { handle, open, source, written } = yield* throughQueue({}, { partitions })
          yield* open
          yield* handle.pushAll(source, [1, 2])
          yield* until(handle, () => written.length === 2)
          yield* handle.pause
          yield* handle.pushAll(source, [3, 4])
          yield* settle
          assert.strictEqual((yield* handle.status).state, "paused")
          assert.deepStrictEqual(written, [1, 2])
          assert.strictEqual(bufferOf(yield* handle.status, "queue").fill, 2)
          yield* handle.resume
          yield* until(handle, () => written.length === 4)
          assert.strictEqual((yield* handle.status).state, "running")
        }).pipe(Effect.provide(memory)))

      it.effect("drain of a paused job writes what was offered", () =>
        Effect.gen(function*() {
          const { handle, open, source, written } = yield* throughQueue({}, { partitions })
          yield* open
          yield* handle.pause
          yield* handle.pushAll(source, [1, 2, 3])
          yield* handle.drain
          assert.deepStrictEqual(written, [1, 2, 3])
        }).pipe(Effect.provide(memory)))

      it.effect("drain of an endless source ends with what was read, and fires open windows once", () =>
        Effect.gen(function*() {
          const results = Sink.memory<Panes[number]>()
          const endless = Source.iterable((function*() {
            for (let at = 0;; at++) yield reading("k", at)
          })())
          const flow = countedOnTime(Flow.from("readings", endless, timed))
          const handle = yield* Job.launch(Job.make("job", [flow.pipe(Flow.to("results", results))]), { partitions })
          yield* until(handle, (status) => (status.sinks[0]?.written ?? 0) > 100)
          yield* handle.drain
          const panes = yield* results.contents
          const starts = panes.map(({ window }) => window.start)
          assert.deepStrictEqual(sorted(starts), numbers(starts.length).map((i) => i * 10))
          for (const { value, window } of panes.filter(({ window }) => window.start < (starts.length - 1) * 10)) {
            assert.strictEqual(value.count, 10, `window ${window.start}`)
          }
        }).pipe(Effect.provide(memory)))

      it.effect("stop leaves event time alone and takes a checkpoint", () =>
        Effect.gen(function*() {
          const source = Source.queue<Reading>()
          const results = Sink.memory<Panes[number]>()
          const flow = countedOnTime(Flow.from("readings", source, timed))
          const output = flow.pipe(Flow.to("results", results, { delivery: "eager" }))
          const handle = yield* Job.launch(Job.make("job", [output]), { partitions })
          yield* handle.pushAll(source, [reading("a", 5), reading("a", 25)])
          yield* until(handle, (status) => status.sinks[0]?.written === 1)
          yield* handle.stop
          yield* handle.await
          assert.strictEqual((yield* handle.status).state, "stopped")
          assert.deepStrictEqual(paneNames(yield* results.contents), ["a@0: 1"])
          const store = yield* CheckpointStore.CheckpointStore
          // That of the beginning, and this one.
          assert.deepStrictEqual((yield* store.list("job")).map(({ epoch }) => epoch), [2, 1])
          assert.strictEqual((yield* Effect.flip(handle.push(source, reading("a", 26))))._tag, "JobNotRunning")
          // The window that was open is found in the checkpoint.
          const next = yield* Job.launch(Job.make("job", [output]), { partitions })
          assert.deepStrictEqual(yield* Job.query(next, flow, "a"), [{
            window: { start: 20, end: 30 },
            value: { count: 1 }
          }])
        }).pipe(Effect.provide(memory)))

      it.effect("stop during a failure ends, too", () =>
        Effect.gen(function*() {
          const source = Source.queue<number>()
          const broken = Sink.make<number>({ description: "broken", open: () => Effect.never })
          const handle = yield* Job.launch(Job.make("job", [untimed("n", source).pipe(Flow.to("out", broken))]), {
            partitions
          })
          yield* settle
          yield* handle.stop
          assert.strictEqual((yield* handle.status).state, "stopped")
        }).pipe(Effect.provide(memory)))

      it.effect("the end of the scope ends the job", () =>
        Effect.gen(function*() {
          const book = ledger()
          const source = Source.queue<number>({ capacity: 1 })
          const flow = untimed("queue", source).pipe(Flow.merge(untimed("endless", book.source("endless"))))
          const scope = yield* Scope.make()
          const handle = yield* Scope.provide(
            Job.launch(Job.make("job", [flow.pipe(Flow.to("out", book.sink("out", () => Effect.never)))]), {
              partitions,
              batchSize: 1,
              bufferSize: 1
            }),
            scope
          )
          yield* settle
          const pusher = yield* Effect.forkChild(handle.pushAll(source, numbers(100)))
          yield* settle
          yield* Scope.close(scope, Exit.void)
          assert.deepStrictEqual(book.closed(), { endless: 1, out: 1 })
          const refused = yield* Effect.flip(Fiber.join(pusher))
          assert.strictEqual(refused._tag, "JobNotRunning")
          assert.isTrue(Exit.isFailure(yield* Effect.exit(handle.await)))
        }).pipe(Effect.provide(memory)))

      it.effect("a scope that ends at once leaves nobody waiting", () =>
        Effect.gen(function*() {
          const source = Source.queue<number>()
          const handle = yield* Effect.scoped(
            Job.launch(Job.make("job", [untimed("queue", source).pipe(Flow.to("out", Sink.memory()))]), { partitions })
          )
          assert.isTrue(Exit.isFailure(yield* Effect.exit(handle.await)))
          assert.strictEqual((yield* Effect.flip(handle.push(source, 1)))._tag, "JobNotRunning")
        }).pipe(Effect.provide(memory)))
    })
  }

  it.effect("after the end nothing is taken", () =>
    Effect.gen(function*() {
      const { handle, open, source } = yield* throughQueue({})
      yield* open
      yield* handle.drain
      const refused = yield* Effect.flip(handle.push(source, 1))
      assert.deepStrictEqual([refused._tag, refused.message], ["JobNotRunning", "Job \"job\" is finished"])
      assert.strictEqual((yield* Effect.flip(handle.pushAll(source, [1, 2])))._tag, "JobNotRunning")
    }).pipe(Effect.provide(memory)))

  it.effect("a queue of another job is refused by name", () =>
    Effect.gen(function*() {
      const { handle } = yield* throughQueue({})
      const refused = yield* Effect.flip(handle.push(Source.queue<number>(), 1))
      assert.match(refused.message, /not reading from "queue"/)
    }).pipe(Effect.provide(memory)))

  it.effect("parts that share nothing restart alone", () =>
    Effect.gen(function*() {
      const book = ledger()
      let failed = false
      const bad = untimed("bad", Source.queue<number>()).pipe(Flow.to("bad", book.sink("bad", () => Effect.void)))
      const trigger = Source.queue<number>()
      const failing = untimed("failing", trigger).pipe(
        Flow.map((n) => {
          if (!failed) {
            failed = true
            throw new Error("once")
          }
          return n
        }),
        Flow.to("failing", book.sink("failing"))
      )
      const handle = yield* Job.launch(Job.make("job", [bad, failing]), { partitions: 2, restarts: atOnce })
      yield* settle
      yield* handle.push(trigger, 1)
      yield* until(handle, ({ sinks }) => sinks.some(({ sink, written }) => sink === "failing" && written === 1))
      assert.deepStrictEqual(book.opened(), { bad: 1, failing: 2 })
      assert.deepStrictEqual(book.closed(), { failing: 1 })
      assert.strictEqual((yield* handle.status).restarts, 1)
    }).pipe(Effect.provide(memory)))
})

describe("Source.queue", () => {
  /** Fills every buffer behind the queue, and then the queue. */
  const stuffed = (onFull: Source.Overflow) =>
    Effect.gen(function*() {
      const job = yield* throughQueue({ capacity: 8, onFull })
      // The sink has taken one batch in hand, the channel holds another one, and the rest waits in the queue.
      let pushed = 0
      for (; pushed < 1000; pushed++) {
        yield* settle
        if (bufferOf(yield* job.handle.status, "queue").fill === 8) break
        yield* job.handle.push(job.source, pushed)
      }
      assert.isBelow(pushed, 20)
      return { ...job, pushed }
    })

  it.effect("suspend: an offer waits until there is room", () =>
    Effect.gen(function*() {
      const { handle, open, pushed, source, written } = yield* stuffed("suspend")
      const waiting = yield* Effect.forkChild(handle.push(source, pushed))
      yield* settle
      assert.isUndefined(waiting.pollUnsafe())
      assert.isAtMost(bufferOf(yield* handle.status, "queue").fill, 8)
      yield* open
      yield* Fiber.join(waiting)
      yield* handle.drain
      assert.deepStrictEqual(written, numbers(pushed + 1))
    }).pipe(Effect.provide(memory)))

  it.effect("suspend: many offers wait, and all of them are taken in the end", () =>
    Effect.gen(function*() {
      const { handle, open, pushed, source, written } = yield* stuffed("suspend")
      const waiting = yield* Effect.forkChild(
        Effect.forEach(numbers(50), (n) => handle.push(source, pushed + n), { concurrency: "unbounded", discard: true })
      )
      yield* settle
      yield* open
      yield* Fiber.join(waiting)
      yield* handle.drain
      assert.deepStrictEqual(sorted(written), numbers(pushed + 50))
      const { capacity, peak } = bufferOf(yield* handle.status, "queue")
      assert.isAtMost(peak, capacity)
    }).pipe(Effect.provide(memory)))

  it.effect("fail: an offer fails with BufferFull", () =>
    Effect.gen(function*() {
      const { handle, open, pushed, source, written } = yield* stuffed("fail")
      const full = yield* Effect.flip(handle.push(source, -1))
      assert.deepStrictEqual([full._tag, full._tag === "BufferFull" && [full.source, full.capacity]], ["BufferFull", [
        "queue",
        8
      ]])
      yield* open
      yield* handle.drain
      assert.deepStrictEqual(written, numbers(pushed))
    }).pipe(Effect.provide(memory)))

  it.effect("drop-newest: what does not fit is counted", () =>
    Effect.gen(function*() {
      const { handle, open, pushed, source, written } = yield* stuffed("drop-newest")
      yield* handle.pushAll(source, [-1, -2, -3])
      assert.strictEqual(bufferOf(yield* handle.status, "queue").dropped, 3)
      yield* open
      yield* handle.drain
      assert.deepStrictEqual(written, numbers(pushed))
    }).pipe(Effect.provide(memory)))

  it.effect("drop-oldest: what has waited longest gives way, and is counted", () =>
    Effect.gen(function*() {
      const { handle, open, pushed, source, written } = yield* stuffed("drop-oldest")
      yield* handle.pushAll(source, [1001, 1002, 1003])
      const { capacity, dropped, fill } = bufferOf(yield* handle.status, "queue")
      assert.deepStrictEqual([capacity, dropped, fill], [8, 3, 8])
      yield* open
      yield* handle.drain
      // Those eight that waited, less the three oldest.
      assert.deepStrictEqual(written, [
        ...numbers(pushed).filter((n) => n < pushed - 8 || n >= pushed - 5),
        1001,
        1002,
        1003
      ])
    }).pipe(Effect.provide(memory)))

  it.effect("drop-oldest: what was read is not lost in a restart", () =>
    Effect.gen(function*() {
      const source = Source.queue<Reading>({ capacity: 4, onFull: "drop-oldest" })
      const results = Sink.memory<Panes[number]>()
      let broken = false
      const flow = Flow.from("readings", source, timed).pipe(Flow.map((reading) => {
        if (broken) {
          broken = false
          throw new Error("once")
        }
        return reading
      }))
      const handle = yield* Job.launch(Job.make("job", [countedOnTime(flow).pipe(Flow.to("results", results))]), {
        checkpointEvery: "1 hour",
        restarts: atOnce
      })
      yield* handle.pushAll(source, [1, 2, 3, 4].map((at) => reading("k", at)))
      yield* until(handle, (status) => total(status, "counted", "in") === 4)
      yield* handle.pause
      // 5 gives way; 1 to 4 have been read.
      yield* handle.pushAll(source, [5, 6, 7, 8, 9].map((at) => reading("k", at)))
      broken = true
      yield* handle.resume
      yield* until(handle, (status) => status.restarts === 1 && total(status, "counted", "in") === 8)
      yield* handle.drain
      assert.deepStrictEqual(paneNames(yield* results.contents), ["k@0: 8"])
    }).pipe(Effect.provide(memory)))

  it.effect("goes on after many checkpoints: what was read is given up", () =>
    Effect.gen(function*() {
      const { handle, open, source, written } = yield* throughQueue({ capacity: 16 }, { checkpointEvery: "1 hour" })
      yield* open
      // Far more than what may be kept for a restart: checkpoints are taken on demand, though no time passes.
      yield* handle.pushAll(source, numbers(20_000))
      const { capacity, peak } = (yield* handle.status).buffers.find(({ name }) => name.includes("kept for a restart"))!
      assert.strictEqual(capacity, 1024 + 16)
      assert.isTrue(peak >= 1024 && peak <= capacity, `${peak} of ${capacity}`)
      yield* handle.drain
      assert.deepStrictEqual(written, numbers(20_000))
    }).pipe(Effect.provide(memory)))
})

describe("buffers", () => {
  /** Long enough for everybody else to fill what they can. */
  const pause = Effect.forEach(numbers(10), () => Effect.yieldNow, { discard: true })
  for (const partitions of fourPartitions) {
    it.effect(`every buffer says its capacity, fill and peak, and never holds more, ${partitions} partitions`, () =>
      Effect.gen(function*() {
        const source = Source.queue<Reading>({ capacity: 32 })
        let slow = 0
        const sink = Sink.make<Panes[number]>({
          description: "slow",
          open: () => Effect.succeed({ write: (rows) => Effect.suspend(() => (slow += rows.length, pause)) })
        })
        const { late, results } = counted(Flow.from("readings", source, timed))
        const handle = yield* Job.launch(
          Job.make("job", [results.pipe(Flow.to("results", sink)), late.pipe(Flow.to("late", Sink.memory()))]),
          { partitions, batchSize: 8, bufferSize: 16 }
        )
        const pusher = yield* Effect.forkChild(
          handle.pushAll(source, numbers(600).map((i) => reading("abcdefg"[i % 7]!, i * 5)))
        )
        let looks = 0
        while (pusher.pollUnsafe() === undefined) {
          const { buffers } = yield* handle.status
          for (const { capacity, fill, name, peak } of buffers) {
            assert.isAtMost(fill, capacity, name)
            assert.isAtMost(peak, capacity, name)
            assert.isAtLeast(fill, 0, name)
            assert.isAtLeast(peak, fill, name)
          }
          looks++
          yield* Effect.yieldNow
        }
        assert.isAbove(looks, 100)
        yield* handle.drain
        assert.strictEqual(slow, 600)
        const { buffers } = yield* handle.status
        assert.isTrue(buffers.every(({ fill, name }) => fill === 0 || name.includes("kept for a restart")))
        assert.isTrue(buffers.some(({ peak }) => peak > 0))
      }).pipe(Effect.provide(memory)))

    it.effect(`not even when one record becomes a thousand, ${partitions} partitions`, () =>
      Effect.gen(function*() {
        const written: Array<number> = []
        const sink = Sink.make<number>({
          description: "slow",
          open: () =>
            Effect.succeed({ write: (rows) => Effect.andThen(pause, Effect.sync(() => void written.push(...rows))) })
        })
        const flow = untimed("n", Source.memory(numbers(5))).pipe(
          Flow.flatMap((n) => numbers(200).map((i) => n * 200 + i)),
          Flow.keyBy((n) => n % 3, Schema.Number),
          Flow.flatMap((n) => [n, -n - 1])
        )
        const handle = yield* Job.launch(Job.make("job", [flow.pipe(Flow.to("out", sink))]), {
          partitions,
          batchSize: 8,
          bufferSize: 16
        })
        const fiber = yield* Effect.forkChild(handle.await)
        while (fiber.pollUnsafe() === undefined) {
          for (const { capacity, fill, name, peak } of (yield* handle.status).buffers) {
            assert.isAtMost(fill, capacity, name)
            assert.isAtMost(peak, capacity, name)
          }
          yield* Effect.yieldNow
        }
        assert.deepStrictEqual(sorted(written), sorted(numbers(1000).flatMap((n) => [n, -n - 1])))
        // Rows of one key came along one path.
        if (partitions === 1) assert.deepStrictEqual(written, numbers(1000).flatMap((n) => [n, -n - 1]))
      }).pipe(Effect.provide(memory)))
  }
})

describe("Source.paced", () => {
  for (const partitions of fourPartitions) {
    it.effect(`gives so many records a second, ${partitions} partitions`, () =>
      Effect.gen(function*() {
        const written = Sink.memory<number>()
        const source = Source.paced(Source.memory(numbers(100)), { perSecond: 10 })
        const output = untimed("n", source).pipe(Flow.to("out", written, { delivery: "eager" }))
        const handle = yield* Job.launch(Job.make("job", [output]), { partitions })
        for (const seconds of [1, 2, 3]) {
          yield* settle
          yield* TestClock.adjust("1 second")
          yield* settle
          assert.strictEqual((yield* written.contents).length, seconds * 10)
        }
        yield* TestClock.adjust("1 minute")
        yield* handle.await
        assert.deepStrictEqual(yield* written.contents, numbers(100))
      }).pipe(Effect.provide(memory)))
  }

  it.effect("is shared by the splits of a source", () =>
    Effect.gen(function*() {
      const written = Sink.memory<number>()
      const source = Source.paced(Source.memorySplits([numbers(50), numbers(50)]), { perSecond: 10 })
      const output = untimed("n", source).pipe(Flow.to("out", written, { delivery: "eager" }))
      yield* Job.launch(Job.make("job", [output]), { partitions: 2 })
      yield* settle
      yield* TestClock.adjust("3 seconds")
      yield* settle
      assert.strictEqual((yield* written.contents).length, 30)
    }).pipe(Effect.provide(memory)))

  it.effect("keeps its rate after a restart", () =>
    Effect.gen(function*() {
      for (
        const source of [
          Source.memory(numbers(1000)),
          Source.iterable(numbers(1000)),
          ledger().source("replayed", 1000)
        ]
      ) {
        const written: Array<number> = []
        let broken = true
        const flow = untimed("n", Source.paced(source, { perSecond: 10 })).pipe(Flow.map((n) => {
          if (n === 50 && broken) {
            broken = false
            throw new Error("once")
          }
          return n
        }))
        const output = flow.pipe(Flow.to("out", Sink.forEach((n: number) => Effect.sync(() => void written.push(n)))))
        const handle = yield* Job.launch(Job.make("job", [output]), { start: "afresh" })
        yield* settle
        yield* TestClock.adjust("9900 millis")
        yield* settle
        assert.strictEqual((yield* handle.status).restarts, 1)
        assert.isAtLeast(new Set(written).size, 88, source.description)
        assert.isAtMost(new Set(written).size, 100, source.description)
        yield* handle.stop
      }
    }).pipe(Effect.provide(memory)))
})

describe("sinks", () => {
  it.effect("end once, after the last row of everything", () =>
    Effect.gen(function*() {
      const ends: Array<string> = []
      const sink = (name: string) =>
        Sink.make<unknown>({
          description: name,
          open: () => Effect.succeed({ write: () => Effect.void, end: Effect.sync(() => void ends.push(name)) })
        })
      yield* Job.run(
        Job.make("job", [
          untimed("a", Source.memory(numbers(10))).pipe(Flow.to("a", sink("a"))),
          untimed("b", Source.memory(numbers(10))).pipe(
            Flow.map(() => {
              throw new Error("never")
            }, { onError: ErrorPolicy.deadLetter }),
            Flow.to("b", sink("b"))
          )
        ], { deadLetters: sink("dead") }),
        { partitions: 2 }
      )
      assert.deepStrictEqual([...ends].sort(), ["a", "b", "dead"])
    }).pipe(Effect.provide(memory)))

  it.effect("one whose name looks like another channel gets its own rows", () =>
    Effect.gen(function*() {
      const [a, b, dead] = [Sink.memory<number>(), Sink.memory<number>(), Sink.memory<{ readonly original: unknown }>()]
      const flow = untimed("n", Source.memory(numbers(4))).pipe(
        Flow.split("parts", {
          even: (n) => {
            if (n === 3) throw new Error("three")
            return n % 2 === 0
          }
        })
      )
      yield* Job.run(
        Job.make("job", [
          flow.even.pipe(Flow.to("x, dead letters", a)),
          flow.otherwise.pipe(Flow.to("y, sink x, dead letters", b))
        ], { onError: ErrorPolicy.deadLetter, deadLetters: dead })
      )
      assert.deepStrictEqual([yield* a.contents, yield* b.contents], [[0, 2], [1]])
      assert.deepStrictEqual((yield* dead.contents).map(({ original }) => original), [3])
    }).pipe(Effect.provide(memory)))
})

describe("drain", () => {
  it.effect("survives a failure on the way: what was read before counts once", () =>
    Effect.gen(function*() {
      for (const replayable of [true, false]) {
        const results: Array<Panes[number]> = []
        const armed = yield* Deferred.make<void>()
        let broken = false
        const source = Source.make<Reading>({
          description: "readings",
          bounded: false,
          replayable,
          splits: Effect.succeed(["0"]),
          open: (_, position) => {
            let next = position === undefined ? 0 : Number(position)
            return Effect.succeed({
              pull: () =>
                next < 25
                  ? Effect.sync(() => {
                    const start = next
                    next += 5
                    return {
                      rows: numbers(5).map((i) => reading("k", start + i)),
                      positionAfter: (taken) => start + taken
                    }
                  })
                  : Effect.never
            })
          }
        })
        const flow = countedOnTime(Flow.from("readings", source, timed)).pipe(Flow.map((pane) => {
          if (broken) {
            broken = false
            throw new Error("once")
          }
          return pane
        }))
        const handle = yield* Job.launch(
          Job.make("job", [
            flow.pipe(
              Flow.to("results", Sink.forEach((pane: Panes[number]) => Effect.sync(() => void results.push(pane))))
            )
          ]),
          { checkpointEvery: "1 hour", restarts: atOnce, start: "afresh" }
        )
        yield* until(handle, (status) => total(status, "counted", "in") === 25)
        broken = true
        yield* handle.drain
        yield* Deferred.succeed(armed, undefined)
        assert.include(paneNames(results), "k@20: 5")
        assert.notInclude(paneNames(results).join(), "k@20: 0")
        assert.deepStrictEqual([...new Set(paneNames(results))], ["k@0: 10", "k@10: 10", "k@20: 5"])
      }
    }).pipe(Effect.provide(memory)))
})

it.effect("a watermark at the end of time is not the end of the source", () =>
  Effect.gen(function*() {
    for (const partitions of fourPartitions) {
      const [written, late] = [Sink.memory<Panes[number]>(), Sink.memory<number>()]
      const outputs = counted(Flow.from("readings", Source.memory(numbers(20).map((at) => reading("k", at))), {
        time: ({ at }) => at,
        watermark: Watermark.punctuated(({ at }) => at === 12 ? Infinity : undefined)
      }))
      yield* Job.run(
        Job.make("job", [
          outputs.results.pipe(Flow.to("out", written)),
          outputs.late.pipe(Flow.map(({ value }) => value.at), Flow.to("late", late))
        ]),
        { partitions, batchSize: 4, start: "afresh" }
      )
      assert.deepStrictEqual(paneNames(yield* written.contents), ["k@0: 10", "k@10: 3"])
      assert.deepStrictEqual(yield* late.contents, [13, 14, 15, 16, 17, 18, 19])
    }
  }).pipe(Effect.provide(memory)))

it.effect("sliding and session windows, aggregates of several kinds, end to end", () =>
  Effect.gen(function*() {
    const outputs: Array<Array<string>> = []
    for (const partitions of fourPartitions) {
      const written = Sink.memory<string>()
      const readings = Flow.from("readings", Source.memory(numbers(200).map((i) => reading("xy"[i % 2]!, i * 3))), {
        time: ({ at }) => at,
        watermark: Watermark.boundedOutOfOrderness(10)
      }).pipe(byKey)
      const window = (name: string, window: Window.Window) =>
        readings.pipe(
          Flow.window(name, window),
          Flow.aggregate({ n: Aggregate.count, last: Aggregate.max(({ at }: Reading) => at) }),
          Flow.only("results", { late: "in order" }),
          Flow.map(({ key, value, window }) =>
            `${name} ${key} ${window.start} ${window.end} ${value.n} ${Option.getOrUndefined(value.last)}`
          )
        )
      const all = window("sliding", Window.sliding({ size: 60, every: 15 })).pipe(
        Flow.merge(window("session", Window.session({ gap: 10 })))
      )
      yield* Job.run(Job.make("job", [all.pipe(Flow.to("out", written))]), {
        partitions,
        batchSize: 16,
        start: "afresh"
      })
      outputs.push([...(yield* written.contents)].sort())
    }
    assert.deepStrictEqual(outputs[0], outputs[1])
    assert.isAbove(outputs[0]!.length, 80)
    assert.isTrue(outputs[0]!.includes("sliding x 0 60 10 54"), outputs[0]!.slice(0, 9).join("\n"))
    assert.isTrue(outputs[0]!.includes("session x 0 604 100 594"), outputs[0]!.slice(0, 4).join("\n"))
  }).pipe(Effect.provide(memory)))

it.effect("typed errors of sources, functions and sinks are the errors of the job", () =>
  Effect.gen(function*() {
    const flow = Flow.fromStream("n", Stream.fail("broken" as const) as Stream.Stream<number, "broken">)
    const run = Job.run(
      Job.make("job", [flow.pipe(Flow.to("out", Sink.forEach((_: number) => Effect.fail("full" as const))))]),
      { restarts: Supervision.never }
    )
    const exit = yield* Effect.exit(run)
    const error: "broken" | "full" | Job.JobError | undefined = Exit.isFailure(exit)
      ? Option.getOrUndefined(Cause.findErrorOption(exit.cause))
      : undefined
    assert.strictEqual(error, "broken")
  }).pipe(Effect.provide(memory)))
