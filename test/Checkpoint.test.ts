/** Checkpoints as values: taken, named, found again, written to files, and gone on from. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer, Option, Schema } from "effect"
import { MinimumLogLevel } from "effect/References"
import * as fc from "fast-check"
import { Aggregate, Checkpoint, CheckpointStore, Flow, FlowError, Job, Sink, Source, Watermark, Window } from "millrace"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { build, type Disorder, type Row, rowSchema, specs } from "./laws/randomFlows.ts"
import { check, interleavings, run, succeeded, timeout, turns } from "./laws/running.ts"
import { runs } from "./laws/runs.ts"
import { countedOnTime, paneNames, Reading, reading, settle, until } from "./support/jobs.ts"
import { errorOf, hasSeen, numbers, Rationed, Ward } from "./support/sickness.ts"

/** Another store wherever it is provided, also inside each other. */
const memory = Layer.fresh(CheckpointStore.layerMemory)
type Panes = Parameters<typeof paneNames>[0]

const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "millrace-checkpoint-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
)

const records = 200
const typed = Flow.typed(Reading)

/** Readings of eleven keys, counted in windows of ten milliseconds, and all that was ever read. */
const world = (allowed: number, name = "job") => {
  const ration = new Rationed(records, allowed)
  const results = Sink.memory<Panes[number]>()
  const seen: Array<number> = []
  const readings = Flow.from("n", ration.source, { time: (n) => n, watermark: Watermark.monotonic }).pipe(
    Flow.map((n) => {
      seen.push(n)
      return reading(`k${n % 11}`, n)
    }, { name: "passed" }),
    typed
  )
  const job = Job.make(name, [countedOnTime(readings).pipe(Flow.to("results", results))])
  return { ration, results, seen, job }
}

const expected = (() => {
  const counts = new Map<string, number>()
  for (const n of numbers(records)) {
    const pane = `k${n % 11}@${n - (n % 10)}`
    counts.set(pane, (counts.get(pane) ?? 0) + 1)
  }
  return [...counts].map(([pane, count]) => `${pane}: ${count}`).sort()
})()

/** A savepoint after so many records, which owes the sink nothing, and what the sink has by then. */
const savedAfter = (count: number, partitions: number, name = "job") =>
  Effect.scoped(Effect.gen(function*() {
    const { job, results, seen } = world(count, name)
    const handle = yield* Job.launch(job, { partitions, checkpointEvery: "1 hour" })
    yield* until(handle, () => seen.length === count)
    yield* settle
    yield* handle.checkpoint
    yield* until(handle, ({ pendingBytes }) => pendingBytes === 0)
    const value = yield* handle.savepoint("here")
    return { value, before: paneNames(yield* results.contents) }
  })).pipe(Effect.provide(memory))

describe("Checkpoint.layer", () => {
  for (const from of [1, 2, 3, 7, 16]) {
    it.effect(`a checkpoint of ${from} partitions goes on on any number`, () =>
      Effect.gen(function*() {
        const { before, value } = yield* savedAfter(87, from)
        assert.isAbove(before.length, 0)
        for (const to of [1, 2, 3, 7, 16]) {
          const { job, results, seen } = world(records)
          yield* Job.run(job, { partitions: to }).pipe(Effect.provide(Layer.merge(memory, Checkpoint.layer(value))))
          assert.deepStrictEqual([...before, ...paneNames(yield* results.contents)].sort(), expected)
          assert.deepStrictEqual(seen, numbers(records).slice(87))
        }
      }))
  }

  it.effect("started again with the same layer, a job goes on from its own progress; afresh, from the checkpoint", () =>
    Effect.gen(function*() {
      const { before, value } = yield* savedAfter(87, 2)
      const { job, ration, results, seen } = world(120)
      const all = Effect.map(results.contents, (panes) => [...before, ...paneNames(panes)].sort())
      const inLayer = Effect.provide(Checkpoint.layer(value))
      const stopped = Effect.scoped(Effect.gen(function*() {
        const handle = yield* Job.launch(job)
        yield* until(handle, () => seen.at(-1) === 119)
        yield* settle
        yield* handle.stop
      }))
      yield* inLayer(stopped)
      assert.deepStrictEqual(seen.splice(0), numbers(120).slice(87))
      yield* ration.allow(records)
      yield* inLayer(Job.run(job))
      assert.deepStrictEqual(seen.splice(0), numbers(records).slice(120))
      assert.deepStrictEqual(yield* all, expected)
      // Finished; once more changes nothing.
      yield* inLayer(Job.run(job))
      assert.deepStrictEqual(seen, [])
      // Back to the checkpoint, the sink too.
      yield* inLayer(Job.run(job, { start: "afresh" }))
      assert.deepStrictEqual(seen.splice(0), numbers(records).slice(87))
      assert.deepStrictEqual(yield* all, expected)
      // Once more: every time.
      yield* inLayer(Job.run(job, { start: "afresh" }))
      assert.deepStrictEqual(seen, numbers(records).slice(87))
      assert.deepStrictEqual(yield* all, expected)
    }).pipe(Effect.provide(memory)))

  it.effect("a store that has gone on is taken back by a checkpoint that it does not stem from", () =>
    Effect.gen(function*() {
      const { job, ration, results, seen } = world(50)
      const handle = yield* Job.launch(job)
      yield* until(handle, () => seen.length === 50)
      yield* settle
      const value = yield* handle.savepoint("early")
      yield* ration.allow(100)
      yield* until(handle, () => seen.length === 100)
      yield* settle
      yield* handle.stop
      seen.length = 0
      yield* ration.allow(records)
      yield* Job.run(job).pipe(Effect.provide(Checkpoint.layer(value)))
      assert.deepStrictEqual(seen, numbers(records).slice(50))
      assert.deepStrictEqual(paneNames(yield* results.contents), expected)
    }).pipe(Effect.provide(memory)))

  it.effect("a checkpoint of another job is refused", () =>
    Effect.gen(function*() {
      const { value } = yield* savedAfter(20, 1, "another")
      const { job, seen } = world(records)
      const error: unknown = errorOf(yield* Effect.exit(Job.run(job).pipe(Effect.provide(Checkpoint.layer(value)))))
      assert.instanceOf(error, FlowError.CheckpointRefused)
      assert.match(String(error), /it is one of job "another".*Give Checkpoint\.layer a checkpoint of this job/)
      assert.deepStrictEqual(seen, [])
    }).pipe(Effect.provide(memory)))

  it.effect("a checkpoint of another plan is refused", () =>
    Effect.gen(function*() {
      const { value } = yield* savedAfter(20, 1)
      const job = Job.make("job", [Flow.from("n", Source.memory([1])).pipe(Flow.to("out", Sink.memory()))])
      const error: unknown = errorOf(yield* Effect.exit(Job.run(job).pipe(Effect.provide(Checkpoint.layer(value)))))
      assert.match(String(error), /a job with another plan/)
    }).pipe(Effect.provide(memory)))
})

describe("savepoints", () => {
  it.effect("are kept under their names until they are removed, however many checkpoints follow", () => {
    const ward = new Ward()
    return Effect.gen(function*() {
      const { job, ration, results, seen } = world(30)
      const handle = yield* Job.launch(job, { checkpointEvery: "1 hour" })
      const saved: Array<Checkpoint.Checkpoint> = []
      for (const [i, name] of ["first", "second", "first"].entries()) {
        yield* ration.allow(30 + i * 10)
        yield* until(handle, () => seen.length === 30 + i * 10)
        saved.push(yield* handle.savepoint(name))
      }
      for (let i = 0; i < 20; i++) yield* handle.checkpoint
      const [a, b, c] = saved.map(({ epoch }) => epoch)
      assert.deepStrictEqual(yield* Checkpoint.savepoints("job"), [
        { name: "first", epoch: c! },
        { name: "second", epoch: b! },
        { name: "first", epoch: a! }
      ])
      // The newest of the name, the same value as it was.
      assert.deepStrictEqual(yield* Checkpoint.savepoint("job", "first"), Option.some(saved[2]!))
      assert.deepStrictEqual(yield* Checkpoint.savepoint("job", "second"), Option.some(saved[1]!))
      assert.deepStrictEqual(yield* Checkpoint.savepoint("job", "third"), Option.none())
      assert.deepStrictEqual(yield* Checkpoint.savepoint("nobody", "first"), Option.none())
      assert.deepStrictEqual(yield* Checkpoint.atEpoch("job", a!), saved[0]!)
      const latest = Option.getOrThrow(yield* Checkpoint.latest("job"))
      assert.strictEqual(latest.epoch, ward.commits.at(-1)!.epoch)
      assert.strictEqual(latest.name, undefined)
      assert.deepStrictEqual(yield* Checkpoint.latest("nobody"), Option.none())
      const gone: unknown = errorOf(yield* Effect.exit(Checkpoint.atEpoch("job", c! + 1)))
      assert.match(String(gone), /its manifest is missing/)

      yield* handle.stop
      const store = yield* CheckpointStore.CheckpointStore
      const there = Effect.map(
        Effect.forEach(ward.commits.flatMap(({ blobs }) => blobs), ({ id }) => store.blob("job", id)),
        (all) => all.filter(Option.isSome).length
      )
      const many = yield* there
      yield* Checkpoint.removeSavepoint("job", "first")
      assert.deepStrictEqual(yield* Checkpoint.savepoints("job"), [{ name: "second", epoch: b! }])
      assert.deepStrictEqual(yield* Checkpoint.savepoint("job", "second"), Option.some(saved[1]!))
      assert.isBelow(yield* there, many)
      yield* Checkpoint.removeSavepoint("job", "second")
      assert.deepStrictEqual(yield* Checkpoint.savepoints("job"), [])
      yield* ration.allow(records)
      yield* Job.run(job)
      assert.deepStrictEqual(seen, numbers(records))
      assert.deepStrictEqual(paneNames(yield* results.contents), expected)
    }).pipe(Effect.provide(ward.over(memory)))
  })

  it.effect("a running job whose store was taken over for a removal ends with Fenced", () =>
    Effect.gen(function*() {
      const { job } = world(30)
      const handle = yield* Job.launch(job, { checkpointEvery: "1 hour" })
      yield* handle.savepoint("here")
      yield* Checkpoint.removeSavepoint("job", "here")
      const error: unknown = errorOf(yield* Effect.exit(handle.checkpoint))
      assert.instanceOf(error, CheckpointStore.Fenced)
    }).pipe(Effect.provide(memory)))
})

/** A key as a class. */
class Place extends Schema.Class<Place>("Place")({ city: Schema.String, floor: Schema.Number }) {}

interface Odd {
  readonly big: bigint
  readonly when: Date
  readonly both: { readonly a: number; readonly b: string }
  readonly place: Place
  readonly measure: number
}
const Odd = Schema.Struct({
  big: Schema.BigInt,
  when: Schema.Date,
  both: Schema.Struct({ a: Schema.Number, b: Schema.String }),
  place: Place,
  measure: Schema.Number
})

const odds: ReadonlyArray<Odd> = numbers(40).map((n) => ({
  big: 2n ** 70n + BigInt(n % 3),
  when: new Date(n % 4),
  both: { a: n % 2, b: `b${n % 3}` },
  place: new Place({ city: `c${n % 2}`, floor: n % 3 }),
  measure: [NaN, -0, Infinity, -Infinity, 0.1][n % 5]!
}))

/** Windows by every kind of key, which collect odd numbers. */
const oddJob = (ration: Rationed, sinks: ReadonlyArray<Sink.MemorySink<unknown>>) => {
  const rows = Flow.from("n", ration.source, { time: (n) => n, watermark: Watermark.monotonic }).pipe(
    Flow.map((n) => odds[n]!, { name: "passed" }),
    Flow.typed(Odd)
  )
  const windowed = (name: string, sink: Sink.MemorySink<unknown>, keyed: Flow.KeyedFlow<unknown, Odd>) =>
    keyed.pipe(
      Flow.window(name, Window.sliding({ size: 20, every: 5 })),
      Flow.aggregate({
        count: Aggregate.count,
        least: Aggregate.min((odd: Odd) => odd.measure),
        all: Aggregate.map(Aggregate.collect<Odd>(), (all) => all.map(({ measure }) => measure))
      }),
      Flow.only("results", { late: "there are none" }),
      Flow.to(name, sink)
    )
  return Job.make("odd", [
    windowed("big", sinks[0]!, rows.pipe(Flow.keyBy(({ big }: Odd) => big, Schema.BigInt)) as never),
    windowed("when", sinks[1]!, rows.pipe(Flow.keyBy(({ when }: Odd) => when, Schema.Date)) as never),
    windowed("both", sinks[2]!, rows.pipe(Flow.keyBy(({ both }: Odd) => both, Odd.fields.both)) as never),
    windowed("place", sinks[3]!, rows.pipe(Flow.keyBy(({ place }: Odd) => place, Place)) as never)
  ])
}

const oddSinks = () => numbers(4).map(() => Sink.memory<unknown>())
const contentsOf = (sinks: ReadonlyArray<Sink.MemorySink<unknown>>) => Effect.forEach(sinks, ({ contents }) => contents)

const byPlace = (panes: ReadonlyArray<unknown>) => [...panes].sort((a, b) => textOf(a) < textOf(b) ? -1 : 1)
const textOf = (pane: unknown) =>
  JSON.stringify(pane, (_, value: unknown) => typeof value === "bigint" ? `${value}n` : value)

describe("files", () => {
  for (const partitions of [1, 3]) {
    it.effect(`a checkpoint of odd values and keys is the same when it comes back, ${partitions} partitions`, () =>
      Effect.gen(function*() {
        const path = Path.join(yield* folder, "odd.json")
        const undisturbed = oddSinks()
        yield* Job.run(oddJob(new Rationed(40), undisturbed), { partitions }).pipe(Effect.provide(memory))
        const [before, after] = [oddSinks(), oddSinks()]
        const value = yield* Effect.scoped(Effect.gen(function*() {
          const handle = yield* Job.launch(oddJob(new Rationed(40, 23), before), {
            partitions,
            checkpointEvery: "1 hour"
          })
          yield* until(handle, hasSeen("passed", 23))
          yield* settle
          yield* handle.checkpoint
          yield* until(handle, ({ pendingBytes }) => pendingBytes === 0)
          return yield* handle.savepoint("odd")
        })).pipe(Effect.provide(memory))
        assert.isTrue(value.parts.some(({ tables }) => tables.some(({ entries }) => entries.length > 0)))

        yield* Checkpoint.writeFile(value, path)
        const read = yield* Checkpoint.readFile(path)
        assert.deepStrictEqual(read, value)
        assert.strictEqual(Checkpoint.canonical(read), Checkpoint.canonical(value))
        // People can read it.
        assert.match(Fs.readFileSync(path, "utf8"), /"fingerprint"/)

        yield* Job.run(oddJob(new Rationed(40), after), { partitions }).pipe(
          Effect.provide(Layer.merge(memory, Checkpoint.layer(read)))
        )
        const [first, second] = [yield* contentsOf(before), yield* contentsOf(after)]
        for (const [i, whole] of (yield* contentsOf(undisturbed)).entries()) {
          assert.isAbove(whole.length, 0)
          assert.isAbove(second[i]!.length, 0)
          assert.deepStrictEqual(byPlace([...first[i]!, ...second[i]!]), byPlace(whole))
        }
      }))
  }

  it.effect("a file that is damaged, or no checkpoint, is refused; one that is not there is a FileError", () =>
    Effect.gen(function*() {
      const path = Path.join(yield* folder, "checkpoint.json")
      const { value } = yield* savedAfter(40, 2)
      yield* Checkpoint.writeFile(value, path)
      const whole = Fs.readFileSync(path, "utf8")
      assert.deepStrictEqual(yield* Checkpoint.readFile(path), value)
      const damages: Readonly<Record<string, string>> = {
        cut: whole.slice(0, whole.length >> 1),
        empty: "",
        "something else": `{"name":"millrace"}`,
        "of a later format": whole.replace(/"format": \d+/, `"format": 99`),
        "a field lost": whole.replace(`"fingerprint"`, `"fingerprin"`),
        "a number for a text": whole.replace(/"lineage": "[^"]*"/, `"lineage": 7`)
      }
      for (const [name, text] of Object.entries(damages)) {
        assert.notStrictEqual(text, whole, name)
        Fs.writeFileSync(path, text)
        const error: unknown = errorOf(yield* Effect.exit(Checkpoint.readFile(path)))
        assert.instanceOf(error, FlowError.CheckpointRefused, name)
        assert.match(String(error), /Give a file that Checkpoint\.writeFile has written/)
      }
      Fs.rmSync(path)
      const error: unknown = errorOf(yield* Effect.exit(Checkpoint.readFile(path)))
      assert.instanceOf(error, Source.FileError)
    }))
})

// -------------------------------------------------------------------------------------------------------------------
// laws
// -------------------------------------------------------------------------------------------------------------------

const pass = (turns: number) =>
  Effect.gen(function*() {
    for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
  })

/** Reads so many rows of each split, and then waits for ever. The first split of the first source never ends, nor does the job. */
const readable = (most: number) => (name: string, splits: ReadonlyArray<ReadonlyArray<Row>>) =>
  Source.make<Row>({
    description: name,
    bounded: true,
    replayable: true,
    schema: rowSchema,
    splits: Effect.succeed(splits.map((_, i) => String(i))),
    open: (split, position) =>
      Effect.sync(() => {
        const rows = splits[Number(split)]!
        let at = position === undefined ? 0 : Number(position)
        return {
          pull: (max) =>
            Effect.suspend(() => {
              if (at >= rows.length && (name !== "source0" || split !== "0")) return Effect.undefined
              if (at >= Math.min(most, rows.length)) return Effect.never
              const start = at
              const chunk = rows.slice(start, Math.min(start + Math.min(max, 3), most))
              at += chunk.length
              return Effect.succeed({ rows: chunk, positionAfter: (n: number) => start + n })
            })
        }
      })
  })

const isUnderWay = ({ parts }: Checkpoint.Checkpoint) =>
  parts.some(({ rows }) => rows.some(({ rows }) => rows.length > 0))

/** A savepoint of a job that does nothing any more. Event time is under way, too, where no row is. */
const quietOf = <E>(handle: Job.Handle<E>) =>
  Effect.gen(function*() {
    for (let tries = 0, before = ""; tries < 100; tries++) {
      const value = yield* handle.savepoint("quiet")
      const text = Checkpoint.canonical(value)
      if (!isUnderWay(value) && text === before) return value
      before = text
      yield* pass(400)
    }
    return yield* Effect.die(new Error("it never comes to rest"))
  })

const onTurns = <A, E>(effect: Effect.Effect<A, E>, seed: number) =>
  effect.pipe(Effect.provideService(Clock.Clock, turns(seed)), Effect.provideService(MinimumLogLevel, "None"))

const settings = { bufferSize: 8, batchSize: 4, checkpointEvery: "1 hour" } as const

describe.each<Disorder>(["within", "one exchange", "one partition"])(
  "values, disorder: %s",
  { timeout },
  (disorder) => {
    const partitions = disorder === "one partition" ? fc.constant(1) : fc.constantFrom(1, 2, 3, 7, 16)
    const moments = fc.oneof(fc.nat({ max: 40 }), fc.nat({ max: 400 }))
    const allowed = fc.oneof(fc.nat({ max: 6 }), fc.nat({ max: 60 }))

    it("law 5: a checkpoint, gone on from and taken again, is the same", async () => {
      let stateful = 0
      let underWay = 0
      await check(
        220,
        fc.asyncProperty(
          specs(disorder),
          partitions,
          moments,
          allowed,
          interleavings,
          async (spec, partitions, moment, most, interleaving) => {
            const built = () => build(spec, { source: readable(most) }).job
            const launched = Effect.gen(function*() {
              const handle = yield* Job.launch(built(), { ...settings, partitions })
              while ((yield* handle.status).operators.length === 0) yield* Effect.yieldNow
              yield* pass(moment)
              return handle
            })
            const taken = Effect.scoped(Effect.gen(function*() {
              const handle = yield* launched
              const first = yield* handle.savepoint("at once")
              if (isUnderWay(first)) underWay++
              return [first, yield* quietOf(handle)] as const
            })).pipe(Effect.provide(memory))
            const values = succeeded(await run(onTurns(taken, interleaving.seed), interleaving))
            const [first, quiet] = values
            for (const value of values) {
              const json = JSON.stringify(Schema.encodeSync(Checkpoint.schema)(value))
              assert.deepStrictEqual(Schema.decodeUnknownSync(Checkpoint.schema)(JSON.parse(json)), value)
            }
            if (quiet.parts.some(({ tables }) => tables.some(({ entries }) => entries.length > 0))) stateful++

            // Nothing is under way and nothing comes: whatever steps there are change nothing.
            const again = async (from: Checkpoint.Checkpoint, take: typeof quietOf) => {
              const restored = Effect.scoped(Effect.flatMap(launched, take)).pipe(
                Effect.provide(Layer.merge(memory, Checkpoint.layer(from)))
              )
              return succeeded(await run(onTurns(restored, interleaving.seed), interleaving))
            }
            const same = await again(quiet, (handle) => handle.savepoint("again"))
            assert.strictEqual(Checkpoint.canonical(same), Checkpoint.canonical(quiet))
            // From the moment at which something was under way it comes to rest at the same place, where there is no choice of
            // whose rows come first.
            if (partitions > 1 || spec.sources.length > 1 || spec.sources.some(({ splits }) => splits.length > 1)) {
              return
            }
            assert.strictEqual(Checkpoint.canonical(await again(first, quietOf)), Checkpoint.canonical(quiet))
          }
        )
      )
      assert.isAbove(stateful, runs(30))
      // A stop waits for what is tried again, so that little is left in jobs of one partition.
      assert.isAbove(underWay, runs(5))
    })
  }
)
