/** Records that nobody could process: each is written down once, with its epoch, and can be processed again. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import {
  Aggregate,
  CheckpointStore,
  DeadLetter,
  ErrorPolicy,
  Flow,
  FlowError,
  Job,
  Sink,
  Source,
  Supervision,
  Watermark,
  Window
} from "millrace"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { settle, total, until } from "./support/jobs.ts"
import { endOf, errorOf, eventually, hasSeen, numbers, Patient, Rationed, Ward } from "./support/sickness.ts"

const memory = CheckpointStore.layerMemory
const rarely = { checkpointEvery: "1 hour" } as const

const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "millrace-letters-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
)

/** Numbers, timed by themselves, of which some are poison, counted in windows of ten. */
const world = (options: {
  readonly n: number
  readonly allowed?: number
  readonly poison: ReadonlyArray<number>
  readonly onError: ErrorPolicy.ErrorPolicy
}) => {
  const ration = new Rationed(options.n, options.allowed ?? options.n)
  const good = new Patient<number>()
  const panes = Sink.memory<{ readonly window: Window.Bounds; readonly value: { readonly count: number } }>()
  const letters = new Patient<DeadLetter.DeadLetter>()
  const tasted = Flow.from("n", ration.source, { time: (n) => n, watermark: Watermark.monotonic }).pipe(
    Flow.map((n) => {
      if (options.poison.includes(n)) throw new Error(`poison ${n}`)
      return n
    }, { name: "tasted", onError: options.onError })
  )
  const job = Job.make("job", [
    tasted.pipe(Flow.to("good", good.sink)),
    tasted.pipe(
      Flow.global,
      Flow.window("counted", Window.tumbling(10)),
      Flow.aggregate({ count: Aggregate.count }),
      Flow.only("results", { late: "there are none" }),
      Flow.to("panes", panes)
    )
  ], { deadLetters: letters.sink })
  const counts = Effect.map(panes.contents, (all) => all.map(({ value, window }) => [window.start, value.count]))
  return { ration, good, letters, job, counts }
}

const originals = ({ rows }: Patient<DeadLetter.DeadLetter>) => rows.map(({ original }) => original)

/** In batches of four: where the poison lies in them. */
const places = {
  first: { poison: [16, 32], batchSize: 4 },
  last: { poison: [19, 35], batchSize: 4 },
  only: { poison: [16, 39], batchSize: 1 },
  "every one": { poison: [16, 17, 18, 19], batchSize: 4 },
  "first and last of all": { poison: [0, 39], batchSize: 4 }
}

describe("a poison record", () => {
  for (const [place, { batchSize, poison }] of Object.entries(places)) {
    for (const policy of ["skip", "deadLetter"] as const) {
      it.effect(`V10.85 as the ${place} of a batch, ${policy}: the rest goes on, and event time with it`, () =>
        Effect.gen(function*() {
          const { counts, good, job, letters, ration } = world({
            n: 41,
            allowed: 40,
            poison,
            onError: ErrorPolicy[policy]
          })
          const handle = yield* Job.launch(job, { ...rarely, batchSize, bufferSize: batchSize })
          yield* until(handle, hasSeen("tasted", 40))
          yield* settle
          yield* handle.checkpoint
          yield* until(handle, ({ pendingBytes }) => pendingBytes === 0)
          const healthy = numbers(40).filter((n) => !poison.includes(n))
          const countedFrom = (start: number) => healthy.filter((n) => n >= start && n < start + 10).length
          assert.deepStrictEqual(good.rows, healthy)
          assert.deepStrictEqual(originals(letters), policy === "skip" ? [] : poison)
          const status = yield* handle.status
          assert.strictEqual(total(status, "tasted", policy === "skip" ? "skipped" : "dead"), poison.length)
          // The last record, poison or not, has moved event time to 38: three windows are over.
          assert.deepStrictEqual(yield* counts, [0, 10, 20].map((start) => [start, countedFrom(start)]))
          // One more record ends the fourth, whatever became of the one before.
          yield* ration.allow(41)
          yield* handle.await
          assert.deepStrictEqual(yield* counts, [...[0, 10, 20, 30].map((start) => [start, countedFrom(start)]), [
            40,
            1
          ]])
        }).pipe(Effect.provide(memory)))
    }
  }

  it.effect("V10.85 poison that comes last moves event time as far as any other record", () =>
    Effect.gen(function*() {
      // 39 is good and leaves [30, 40) open, since a monotonic watermark is one behind; 40 is poison and ends it.
      const { counts, job } = world({ n: 99, allowed: 41, poison: [40], onError: ErrorPolicy.skip })
      const handle = yield* Job.launch(job, rarely)
      yield* until(handle, hasSeen("tasted", 41))
      yield* settle
      yield* handle.stop
      assert.deepStrictEqual(yield* counts, [[0, 10], [10, 10], [20, 10], [30, 10]])
    }).pipe(Effect.provide(memory)))

  it.effect("V10.85 its letter is applied with its epoch, not before", () =>
    Effect.gen(function*() {
      const { good, job, letters } = world({ n: 40, allowed: 20, poison: [7], onError: ErrorPolicy.deadLetter })
      const handle = yield* Job.launch(job, rarely)
      yield* until(handle, hasSeen("tasted", 20))
      yield* settle
      assert.strictEqual(letters.rows.length + good.rows.length, 0)
      const epoch = yield* handle.checkpoint
      yield* until(handle, ({ pendingBytes }) => pendingBytes === 0)
      assert.deepStrictEqual(originals(letters), [7])
      assert.deepStrictEqual([letters.marker?.epoch, good.marker?.epoch], [epoch, epoch])
      assert.strictEqual(letters.rows[0]!.operator, "tasted")
      assert.strictEqual(letters.rows[0]!.reason, "poison 7")
      assert.strictEqual(letters.rows[0]!.timestamp, 7)
      assert.deepStrictEqual(letters.rows[0]!.origin, { source: "n", split: "0" })
    }).pipe(Effect.provide(memory)))

  for (
    const [when, commitsLeft, mood] of [
      ["before the commit", 0, "well"],
      ["between the commit and the letters' sink", Infinity, "hanging"]
    ] as const
  ) {
    it.effect(`V10.85 a crash ${when} leads to exactly one letter`, () => {
      const ward = new Ward()
      return Effect.gen(function*() {
        const { good, job, letters, ration } = world({
          n: 40,
          allowed: 20,
          poison: [7],
          onError: ErrorPolicy.deadLetter
        })
        const scope = yield* Scope.make()
        const first = yield* Scope.provide(Job.launch(job, rarely), scope)
        yield* until(first, hasSeen("tasted", 20))
        yield* settle
        yield* letters.become(mood)
        ward.commitsLeft = commitsLeft
        yield* Effect.forkChild(Effect.ignore(first.checkpoint), { startImmediately: true })
        yield* settle
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(originals(letters), [])
        ward.commitsLeft = Infinity
        yield* letters.become("well")
        yield* ration.allow(40)
        yield* Job.run(job)
        assert.deepStrictEqual(originals(letters), [7])
        assert.deepStrictEqual(good.rows, numbers(40).filter((n) => n !== 7))
      }).pipe(Effect.provide(ward.over(memory)))
    })
  }
})

describe("a row that a sink cannot write down", () => {
  const refusing = (onError: ErrorPolicy.ErrorPolicy) => {
    const letters = Sink.memory<DeadLetter.DeadLetter>()
    const out = new Patient<number>("well", {
      inspect: (n) => {
        if (n % 10 === 7) throw new Error(`no ${n}`)
      }
    })
    const job = Job.make("job", [Flow.from("n", Source.memory(numbers(30))).pipe(Flow.to("out", out.sink))], {
      onError,
      deadLetters: letters
    })
    return { letters, out, job }
  }
  const written = numbers(30).filter((n) => n % 10 !== 7)

  it.effect("fail: the job ends with OperatorFailed, which names the sink and the row", () =>
    Effect.gen(function*() {
      const { job } = refusing(ErrorPolicy.fail)
      const error: unknown = errorOf(yield* Effect.exit(Job.run(job, { restarts: Supervision.never })))
      if (!(error instanceof FlowError.OperatorFailed)) throw error
      assert.deepStrictEqual([error.operator, error.record], ["out", 7])
      assert.match(error.message, /no 7/)
    }).pipe(Effect.provide(memory)))

  it.effect("skip: counted in the status of the sink", () =>
    Effect.gen(function*() {
      const { job, letters, out } = refusing(ErrorPolicy.skip)
      const handle = yield* Job.launch(job)
      yield* handle.await
      assert.deepStrictEqual(out.rows, written)
      const { sinks } = yield* handle.status
      assert.deepInclude(sinks.find(({ sink }) => sink === "out")!, { refused: 3, written: 27 })
      assert.deepStrictEqual(yield* letters.contents, [])
    }).pipe(Effect.provide(memory)))

  it.effect("deadLetter: a letter from the sink with the row", () =>
    Effect.gen(function*() {
      const { job, letters, out } = refusing(ErrorPolicy.deadLetter)
      const handle = yield* Job.launch(job)
      yield* handle.await
      assert.deepStrictEqual(out.rows, written)
      const all = yield* letters.contents
      assert.deepStrictEqual(all.map(({ operator, original, reason }) => [operator, original, reason]), [
        ["out", 7, "no 7"],
        ["out", 17, "no 17"],
        ["out", 27, "no 27"]
      ])
      assert.strictEqual((yield* handle.status).sinks.find(({ sink }) => sink === "out")!.refused, 3)
    }).pipe(Effect.provide(memory)))
})

/** A value that JSON has no words for. */
const endless = () => {
  const value: { self?: unknown; readonly name: string } = { name: "endless" }
  value.self = value
  return value
}

const refusesAll = (original: () => unknown, letters: Sink.Sink<DeadLetter.DeadLetter, unknown>) =>
  Job.make("job", [
    Flow.from("n", Source.memory(numbers(3).map((n) => n === 1 ? original() : n))).pipe(
      Flow.map((n) => {
        if (typeof n !== "number") throw new Error("no number")
        return n
      }, { name: "tasted", onError: ErrorPolicy.deadLetter }),
      Flow.to("out", Sink.memory())
    )
  ], { deadLetters: letters })

describe("a letter whose original has no encoding", () => {
  it.effect("is described in a file", () =>
    Effect.gen(function*() {
      const path = Path.join(yield* folder, "letters.ndjson")
      yield* Job.run(refusesAll(endless, Sink.ndjson(path)), { restarts: Supervision.never })
      const [line, ...others] = Fs.readFileSync(path, "utf8").trim().split("\n")
      assert.deepStrictEqual(others, [])
      const letter = JSON.parse(line!) as DeadLetter.DeadLetter
      assert.deepStrictEqual([letter.operator, letter.reason], ["tasted", "no number"])
      assert.match(String(letter.original), /endless/)
    }).pipe(Effect.provide(memory)))

  it.effect("leaves its neighbours as they are", () =>
    Effect.gen(function*() {
      const path = Path.join(yield* folder, "letters.ndjson")
      const values: ReadonlyArray<unknown> = ["a", endless(), "b"]
      const job = Job.make("job", [
        Flow.from("n", Source.memory(values)).pipe(
          Flow.map((): number => {
            throw new Error("no")
          }, { name: "tasted", onError: ErrorPolicy.deadLetter }),
          Flow.to("out", Sink.memory())
        )
      ], { deadLetters: Sink.ndjson(path) })
      yield* Job.run(job)
      const all = Fs.readFileSync(path, "utf8").trim().split("\n").map((line) =>
        (JSON.parse(line) as DeadLetter.DeadLetter).original
      )
      assert.strictEqual(all.length, 3)
      assert.deepStrictEqual([all[0], all[2]], ["a", "b"])
      assert.match(String(all[1]), /endless/)
    }).pipe(Effect.provide(memory)))
})

const letterOf = (operator: string, original: unknown): DeadLetter.DeadLetter => ({
  operator,
  partition: 0,
  original,
  reason: "no",
  timestamp: undefined,
  key: undefined,
  origin: undefined
})

describe("DeadLetter.schema", () => {
  it.effect("reads from a file what was written to one", () =>
    Effect.gen(function*() {
      const path = Path.join(yield* folder, "letters.ndjson")
      const letters: ReadonlyArray<DeadLetter.DeadLetter> = [
        letterOf("a", { deep: [1, "two", null] }),
        { ...letterOf("b", undefined), timestamp: -5, key: ["composite", 1], origin: { source: "n", split: "0" } },
        { ...letterOf("c", "text"), partition: 3, timestamp: 8.64e15, key: false },
        { ...letterOf("d", null), key: null }
      ]
      yield* Job.run(Job.make("write", [
        Flow.from("letters", Source.memory(letters)).pipe(
          Flow.to("file", Sink.ndjson(path, { schema: DeadLetter.schema }))
        )
      ]))
      const back = Sink.memory<DeadLetter.DeadLetter>()
      yield* Job.run(Job.make("read", [
        Flow.from("letters", Source.ndjson(path, DeadLetter.schema)).pipe(Flow.to("back", back))
      ]))
      assert.deepStrictEqual(yield* back.contents, letters)
    }).pipe(Effect.provide(memory)))
})

describe("DeadLetter.originals", () => {
  const letters = numbers(60).map((n) => letterOf(n % 3 === 0 ? "tasted" : "other", n))
  const wanted = numbers(60).filter((n) => n % 3 === 0)

  const sources: Readonly<
    Record<string, Effect.Effect<Source.Source<DeadLetter.DeadLetter, unknown>, never, Scope.Scope>>
  > = {
    memory: Effect.succeed(Source.memory(letters)),
    "several splits in memory": Effect.succeed(Source.memorySplits([letters.slice(0, 30), letters.slice(30)])),
    "a file": Effect.map(folder, (folder) => {
      const path = Path.join(folder, "letters.ndjson")
      Fs.writeFileSync(path, letters.map((letter) => `${JSON.stringify(letter)}\n`).join(""))
      return Source.ndjson(path, DeadLetter.schema)
    })
  }
  for (const [name, made] of Object.entries(sources)) {
    it.effect(`${name}: gives what one operator refused`, () =>
      Effect.gen(function*() {
        const out = Sink.memory<number>()
        const again = DeadLetter.originals(yield* made, { operator: "tasted", schema: Schema.Number })
        yield* Job.run(Job.make("job", [Flow.from("again", again).pipe(Flow.to("out", out))]), { batchSize: 4 })
        assert.deepStrictEqual([...(yield* out.contents)].sort((a, b) => a - b), wanted)
      }).pipe(Effect.provide(memory)))

    it.effect(`${name}: goes on where it was`, () =>
      Effect.gen(function*() {
        const out = new Patient<number>()
        const seen: Array<number> = []
        const again = DeadLetter.originals(yield* made, { operator: "tasted", schema: Schema.Number })
        const job = Job.make("job", [
          Flow.from("again", Source.paced(again, { perSecond: 10 })).pipe(
            Flow.map((n) => {
              seen.push(n)
              return n
            }, { name: "passed" }),
            Flow.to("out", out.sink)
          )
        ])
        const first = yield* Job.launch(job, rarely)
        while (seen.length < 8) {
          yield* TestClock.adjust("100 millis")
          yield* eventually(first, () => true)
          yield* settle
        }
        yield* first.stop
        assert.isBelow(seen.length, wanted.length)
        assert.strictEqual(out.rows.length, seen.length)
        const next = yield* Job.launch(job)
        const fiber = yield* Effect.forkChild(next.await)
        assert.isTrue(Exit.isSuccess(yield* endOf(fiber)))
        // None of them was read twice.
        for (const rows of [out.rows, seen]) assert.deepStrictEqual([...rows].sort((a, b) => a - b), wanted)
      }).pipe(Effect.provide(memory)))
  }

  it.effect("what its schema refuses goes to the error policy of the new source", () =>
    Effect.gen(function*() {
      const [out, refused] = [Sink.memory<number>(), Sink.memory<DeadLetter.DeadLetter>()]
      const mixed = [
        letterOf("tasted", 1),
        letterOf("tasted", "two"),
        letterOf("other", "three"),
        letterOf("tasted", 4)
      ]
      const again = DeadLetter.originals(Source.memory(mixed), { operator: "tasted", schema: Schema.Number })
      yield* Job.run(Job.make("job", [Flow.from("again", again).pipe(Flow.to("out", out))], {
        onError: ErrorPolicy.deadLetter,
        deadLetters: refused
      }))
      assert.deepStrictEqual(yield* out.contents, [1, 4])
      assert.deepStrictEqual((yield* refused.contents).map(({ operator, original }) => [operator, original]), [[
        "again",
        "two"
      ]])
    }).pipe(Effect.provide(memory)))

  it("refuses a queue", () => {
    assert.throws(
      () => DeadLetter.originals(Source.queue<DeadLetter.DeadLetter>(), { operator: "a", schema: Schema.Number }),
      /give dead letters that can be read/
    )
  })
})
