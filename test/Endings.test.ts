/** What a job leaves behind, whichever way it ends, and what the next run makes of it. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Logger, Option, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import {
  Aggregate,
  Checkpoint,
  CheckpointStore,
  Flow,
  FlowError,
  Job,
  Plan,
  Sink,
  Supervision,
  Watermark,
  Window
} from "millrace"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { decodeManifest } from "../src/internal/checkpoint/manifest.ts"
import { blobsOf } from "../src/internal/runtime/coordinator.ts"
import { endOf, errorOf, eventually, hasSeen, numbers, Patient, Rationed, Ward } from "./support/sickness.ts"

const memory = CheckpointStore.layerMemory

const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "millrace-endings-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
)

const refusedWith = <E>(exit: Exit.Exit<unknown, E>): FlowError.CheckpointRefused => {
  const error: unknown = errorOf(exit)
  if (error instanceof FlowError.CheckpointRefused) return error
  throw new Error(`This is no CheckpointRefused: ${String(error)}`)
}

/** A job of numbers that go to a sink which can be looked at; a mine in the middle, if one is laid. */
const world = (n: number, allowed: number) =>
  Effect.gen(function*() {
    const path = Path.join(yield* folder, "out.ndjson")
    const ration = new Rationed(n, allowed)
    const own = new Patient<number>()
    const kept = Sink.memory<number>()
    const seen: Array<number> = []
    const mine = { at: Infinity }
    const flow = Flow.from("n", ration.source).pipe(Flow.map((n) => {
      seen.push(n)
      if (n === mine.at) throw new Error("mined")
      return n
    }, { name: "passed" }))
    const job = Job.make("job", [
      flow.pipe(Flow.to("own", own.sink)),
      flow.pipe(Flow.to("kept", kept)),
      flow.pipe(Flow.to("file", Sink.ndjson(path)))
    ])
    const contents = Effect.gen(function*() {
      const file = Fs.readFileSync(path, "utf8").split("\n").filter((line) => line !== "").map(Number)
      return { own: own.rows, kept: yield* kept.contents, file }
    })
    const assertWhole = (wanted: ReadonlyArray<number>) =>
      Effect.map(contents, (all) => assert.deepStrictEqual(all, { own: wanted, kept: wanted, file: wanted }))
    return { ration, own, kept, seen, mine, job, path, contents, assertWhole }
  })

/** Whatever is said while an effect runs. */
const overheard = <A, E, R>(effect: Effect.Effect<A, E, R>) => {
  const lines: Array<string> = []
  const listener = Logger.make(({ logLevel, message }) => void lines.push(`${logLevel} ${String(message)}`))
  return Effect.map(Effect.provide(effect, Logger.layer([listener])), (value) => ({ value, lines }))
}

describe("the next run", () => {
  it.effect("of a finished job does nothing and says so", () =>
    Effect.gen(function*() {
      const { assertWhole, job, own, seen } = yield* world(100, 100)
      yield* Job.run(job)
      yield* assertWhole(numbers(100))
      const [tries, read] = [own.tries, seen.length]
      const { lines, value } = yield* overheard(Effect.gen(function*() {
        const handle = yield* Job.launch(job)
        yield* handle.await
        return yield* handle.status
      }))
      assert.strictEqual(value.state, "finished")
      assert.strictEqual(value.checkpoints, 0)
      assert.deepStrictEqual(lines, [`Info Job "job" has finished before: there is nothing to go on with`])
      yield* assertWhole(numbers(100))
      assert.deepStrictEqual([own.tries, seen.length], [tries, read])
    }).pipe(Effect.provide(memory)))

  it.effect("of a drained job does nothing either", () =>
    Effect.gen(function*() {
      const { assertWhole, job, seen } = yield* world(100, 40)
      const handle = yield* Job.launch(job)
      yield* eventually(handle, hasSeen("passed", 40))
      yield* handle.drain
      yield* assertWhole(numbers(40))
      const { lines } = yield* overheard(Job.run(job))
      assert.strictEqual(lines.length, 1)
      yield* assertWhole(numbers(40))
      assert.strictEqual(seen.length, 40)
    }).pipe(Effect.provide(memory)))

  it.effect("of a stopped job goes on where it was stopped, with not one record read again", () =>
    Effect.gen(function*() {
      const { assertWhole, job, ration, seen } = yield* world(100, 40)
      const handle = yield* Job.launch(job)
      yield* eventually(handle, hasSeen("passed", 40))
      yield* handle.stop
      assert.strictEqual((yield* handle.status).state, "stopped")
      yield* assertWhole(numbers(40))
      yield* ration.allow(100)
      yield* Job.run(job)
      yield* assertWhole(numbers(100))
      assert.deepStrictEqual(seen, numbers(100))
    }).pipe(Effect.provide(memory)))

  for (const committed of [false, true]) {
    it.effect(`of an interrupted job goes on, ${committed ? "after" : "before"} its first checkpoint`, () =>
      Effect.gen(function*() {
        const { assertWhole, job, ration, seen } = yield* world(100, 40)
        const scope = yield* Scope.make()
        const handle = yield* Scope.provide(Job.launch(job), scope)
        yield* eventually(handle, hasSeen("passed", 40))
        if (committed) yield* handle.checkpoint
        yield* ration.allow(60)
        yield* eventually(handle, hasSeen("passed", 60))
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual((yield* handle.status).state, "interrupted")
        yield* ration.allow(100)
        yield* Job.run(job)
        yield* assertWhole(numbers(100))
        assert.deepStrictEqual(seen, [...numbers(60), ...numbers(100).slice(committed ? 40 : 0)])
      }).pipe(Effect.provide(memory)))
  }

  it.effect("of a job that failed past its restarts goes on once the cause is mended", () =>
    Effect.gen(function*() {
      const { assertWhole, job, mine, ration, seen } = yield* world(100, 40)
      mine.at = 70
      const handle = yield* Job.launch(job, { restarts: Supervision.restarts({ max: 2, within: "1 hour" }) })
      yield* eventually(handle, hasSeen("passed", 40))
      yield* handle.checkpoint
      yield* ration.allow(100)
      const fiber = yield* Effect.forkChild(handle.await)
      const exit = yield* endOf(fiber)
      assert.instanceOf(errorOf(exit), FlowError.OperatorFailed)
      assert.strictEqual((yield* handle.status).state, "failed")
      assert.strictEqual(seen.filter((n) => n === 70).length, 3)
      mine.at = Infinity
      yield* Job.run(job)
      yield* assertWhole(numbers(100))
    }).pipe(Effect.provide(memory)))

  it.effect("afresh begins from nothing, and sinks that can replace what they hold", () =>
    Effect.gen(function*() {
      const { contents, job } = yield* world(100, 100)
      yield* Job.run(job)
      yield* Job.run(job, { start: "afresh" })
      const { file, kept, own } = yield* contents
      assert.deepStrictEqual([kept, file], [numbers(100), numbers(100)])
      // One that keeps what it has is given all of it once more.
      assert.deepStrictEqual(own, [...numbers(100), ...numbers(100)])
    }).pipe(Effect.provide(memory)))

  it.effect("afresh after a stop, and what follows goes on from there", () =>
    Effect.gen(function*() {
      const { contents, job, ration } = yield* world(100, 40)
      for (const start of ["resume", "afresh"] as const) {
        const handle = yield* Job.launch(job, { start })
        yield* eventually(handle, hasSeen("passed", 40))
        yield* handle.stop
        const { file, kept } = yield* contents
        assert.deepStrictEqual([kept, file], [numbers(40), numbers(40)])
      }
      yield* ration.allow(100)
      yield* Job.run(job)
      const { file, kept } = yield* contents
      assert.deepStrictEqual([kept, file], [numbers(100), numbers(100)])
    }).pipe(Effect.provide(memory)))

  it.effect("of a job whose plan has changed is refused with what can be done", () =>
    Effect.gen(function*() {
      const { assertWhole, job, kept, ration, seen } = yield* world(100, 40)
      const handle = yield* Job.launch(job)
      yield* eventually(handle, () => seen.length === 40)
      yield* handle.stop
      const changed = Job.make("job", [
        Flow.from("others", ration.source).pipe(Flow.filter((n) => n > 0), Flow.to("kept", kept))
      ])
      assert.notStrictEqual(Plan.fingerprint(changed.plan), Plan.fingerprint(job.plan))
      const error = refusedWith(yield* Effect.exit(Job.run(changed)))
      assert.match(error.message, /a job with another plan/)
      assert.match(error.message, /source "n": is gone, and the checkpoint has the position of 1 split of it/)
      assert.match(error.message, /run the program that wrote it, give the changed job another name, or .*"afresh"/)
      // It is no harm to the job itself.
      yield* ration.allow(100)
      yield* Job.run(job)
      yield* assertWhole(numbers(100))
      // And begun anew the other one runs.
      yield* Job.run(changed, { start: "afresh" })
      assert.deepStrictEqual(yield* kept.contents, numbers(100).slice(1))
    }).pipe(Effect.provide(memory)))
})

/** Runs a job to `stops`, one checkpoint each, and stops it there. */
const stopsAt = <E>(job: Job.Job<E>, ration: Rationed, stops: ReadonlyArray<number>) =>
  Effect.scoped(Effect.gen(function*() {
    const epochs: Array<number> = []
    const handle = yield* Job.launch(job, { checkpointEvery: "1 hour" })
    for (const stop of stops) {
      yield* ration.allow(stop)
      yield* eventually(handle, hasSeen("passed", stop))
      epochs.push(yield* handle.checkpoint)
      yield* eventually(handle, ({ sinks }) => sinks.every(({ pendingBytes }) => pendingBytes === 0))
    }
    return epochs
  }))

const ofEpochs = (epochs: ReadonlyArray<number>) => (blob: string) => epochs.includes(Number(blob.split(".")[0]))

describe("a damaged checkpoint", () => {
  for (const what of ["manifest", "pieces"] as const) {
    const damage = (ward: Ward, epochs: ReadonlyArray<number>) => {
      if (what === "manifest") ward.isManifestDamaged = (epoch) => epochs.includes(epoch)
      else ward.isDamaged = ofEpochs(epochs)
    }

    it.effect(`(its ${what}) is passed over for the one before, where sinks can go back`, () => {
      const ward = new Ward()
      return Effect.gen(function*() {
        const ration = new Rationed(100, 0)
        const kept = Sink.memory<number>()
        const path = Path.join(yield* folder, "out.ndjson")
        const back = new Patient<number>("well", { canRewind: true })
        const flow = Flow.from("n", ration.source).pipe(Flow.map((n) => n, { name: "passed" }))
        const job = Job.make("job", [
          flow.pipe(Flow.to("kept", kept)),
          flow.pipe(Flow.to("file", Sink.ndjson(path))),
          flow.pipe(Flow.to("back", back.sink))
        ])
        const epochs = yield* stopsAt(job, ration, [20, 40, 60])
        damage(ward, [epochs[2]!])
        yield* ration.allow(100)
        const { lines } = yield* overheard(Job.run(job))
        assert.isTrue(lines.some((line) => line.startsWith(`Warn Job "job" passes over epoch ${epochs[2]}`)))
        assert.deepStrictEqual(yield* kept.contents, numbers(100))
        assert.deepStrictEqual(Fs.readFileSync(path, "utf8"), numbers(100).map((n) => `${n}\n`).join(""))
        assert.deepStrictEqual(back.rows, numbers(100))
      }).pipe(Effect.provide(ward.over(memory)))
    })

    it.effect(`(its ${what}) is not passed over where a sink cannot go back: SinkAheadOfCheckpoint`, () => {
      const ward = new Ward()
      return Effect.gen(function*() {
        const { contents, job, own, ration } = yield* world(100, 0)
        const epochs = yield* stopsAt(job, ration, [20, 40, 60])
        damage(ward, [epochs[2]!])
        const error: unknown = errorOf(yield* Effect.exit(Job.run(job)))
        if (!(error instanceof FlowError.SinkAheadOfCheckpoint)) throw error
        assert.strictEqual(error.sink, "own")
        assert.match(
          error.message,
          new RegExp(`sink "own" stands at epoch ${epochs[2]} of .* knows it at epoch ${epochs[1]}`)
        )
        assert.deepStrictEqual(own.rows, numbers(60))
        // Brought back, it goes on as if nothing had been.
        damage(ward, [])
        yield* ration.allow(100)
        yield* Job.run(job)
        const { file, kept, own: rows } = yield* contents
        assert.deepStrictEqual(rows, numbers(100))
        assert.deepStrictEqual([kept, file], [numbers(100), numbers(100)])
      }).pipe(Effect.provide(ward.over(memory)))
    })

    it.effect(`(the ${what} of the newest three): CheckpointRefused, never a fresh start`, () => {
      const ward = new Ward()
      return Effect.gen(function*() {
        const { assertWhole, job, ration, seen } = yield* world(100, 0)
        const epochs = yield* stopsAt(job, ration, [20, 40, 60, 80])
        damage(ward, epochs.slice(1))
        const before = seen.length
        const error = refusedWith(yield* Effect.exit(Job.run(job)))
        assert.strictEqual(error.epoch, epochs[3])
        assert.match(error.message, /Bring its store back from a copy, restore a savepoint .* or give everything up/)
        assert.strictEqual(seen.length, before)
        yield* assertWhole(numbers(80))
        // Asked to begin anew, it does.
        yield* ration.allow(100)
        yield* Job.run(job, { start: "afresh" })
        assert.deepStrictEqual(seen.slice(before), numbers(100))
      }).pipe(Effect.provide(ward.over(memory)))
    })
  }

  it.effect("all of them: CheckpointRefused, never a fresh start", () => {
    const ward = new Ward()
    return Effect.gen(function*() {
      const { assertWhole, job, ration } = yield* world(100, 0)
      yield* stopsAt(job, ration, [20])
      ward.isManifestDamaged = () => true
      refusedWith(yield* Effect.exit(Job.run(job)))
      yield* assertWhole(numbers(20))
    }).pipe(Effect.provide(ward.over(memory)))
  })
})

it.effect("of two runs at once the older one ends with Fenced, and all is there once", () =>
  Effect.gen(function*() {
    const { assertWhole, job, ration } = yield* world(100, 40)
    const older = yield* Job.launch(job)
    yield* eventually(older, hasSeen("passed", 40))
    yield* older.checkpoint
    const newer = yield* Job.launch(job)
    yield* ration.allow(60)
    const fiber = yield* Effect.forkChild(older.await)
    yield* TestClock.adjust("2 seconds")
    const exit = yield* endOf(fiber)
    const error = errorOf(exit)
    if (!(error instanceof CheckpointStore.Fenced)) throw error
    assert.match(error.message, /Another run of the job has taken over/)
    yield* ration.allow(100)
    const last = yield* Effect.forkChild(newer.await)
    assert.isTrue(Exit.isSuccess(yield* endOf(last)))
    yield* assertWhole(numbers(100))
  }).pipe(Effect.provide(memory)))

/** A job that keeps a few thousand bytes of state for each of its eight keys, and touches one of them with each record. */
const stateful = (ration: Rationed, sink: Sink.MemorySink<unknown>) =>
  Job.make("job", [
    Flow.from("n", ration.source, { time: (n) => n, watermark: Watermark.monotonic }).pipe(
      Flow.map((n) => n, { name: "passed" }),
      Flow.keyBy((n) => `${n % 8} ${"of a long name ".repeat(300)}`, Schema.String),
      Flow.window("counted", Window.tumbling(1_000_000)),
      Flow.aggregate({ count: Aggregate.count }),
      Flow.only("results", { late: "there are none" }),
      Flow.to("kept", sink)
    )
  ])

/** Epochs that the store keeps, what their manifests need, and what the store has of all that was ever committed. */
const census = (ward: Ward) =>
  Effect.gen(function*() {
    const store = yield* CheckpointStore.CheckpointStore
    const epochs = (yield* store.list("job")).map(({ epoch }) => epoch)
    const manifests = yield* Effect.forEach(epochs, (epoch) =>
      Effect.map(store.manifest("job", epoch), (bytes) => decodeManifest(Option.getOrThrow(bytes))))
    const needed = [...new Set(manifests.flatMap(blobsOf))].sort()
    const there: Array<string> = []
    for (const { blobs } of ward.commits) {
      for (const { id } of blobs) {
        if (Option.isSome(yield* store.blob("job", id))) {
          there.push(id)
        }
      }
    }
    return {
      epochs,
      needed,
      there: there.sort(),
      bases: manifests.map(({ chain }) =>
        chain[0]?.epoch
      )
    }
  })

const stores: Readonly<
  Record<string, Effect.Effect<Layer.Layer<CheckpointStore.CheckpointStore>, never, Scope.Scope>>
> = {
  memory: Effect.succeed(memory),
  SQLite: Effect.map(folder, (folder) => Layer.orDie(CheckpointStore.layerSqlite(Path.join(folder, "store.db"))))
}

describe("retention", () => {
  for (const [name, opened] of Object.entries(stores)) {
    it.live(
      `${name}: over 100 checkpoints epochs and pieces stay bounded, and nothing is kept that is not needed`,
      () =>
        Effect.gen(function*() {
          const ward = new Ward()
          yield* Effect.gen(function*() {
            const ration = new Rationed(1000, 0)
            const job = stateful(ration, Sink.memory())
            const bases = new Set<number>()
            for (const part of numbers(5)) {
              yield* stopsAt(job, ration, numbers(20).map((n) => part * 20 + n + 1))
              const found = yield* census(ward)
              for (const base of found.bases) if (base !== undefined) bases.add(base)
              assert.isAtMost(found.epochs.length, 4)
              assert.deepStrictEqual(found.there, found.needed)
              // A segment is some 4 KB, and a base is due after 64 KB: twice that, and what is under way.
              assert.isAtMost(found.there.length, 60)
            }
            assert.isAtLeast(ward.commits.length, 100)
            assert.isAtLeast(bases.size, 4)
          }).pipe(Effect.provide(ward.over(yield* opened)))
        }),
      30_000
    )

    it.live(
      `${name}: with all pieces of the newest base gone, the last checkpoint on the base before still serves`,
      () =>
        Effect.gen(function*() {
          const ward = new Ward()
          yield* Effect.gen(function*() {
            const ration = new Rationed(60, 0)
            const kept = Sink.memory<unknown>()
            const job = stateful(ration, kept)
            for (const part of numbers(2)) yield* stopsAt(job, ration, numbers(20).map((n) => part * 20 + n + 1))
            const { bases, epochs } = yield* census(ward)
            const newest = bases[0]!
            const older = epochs.find((_, i) => bases[i] !== newest)!
            assert.isAbove(newest, older)
            const damaged = numbers(epochs[0]! - newest + 1).map((i) => newest + i)
            ward.isDamaged = ofEpochs(damaged)
            const value = yield* Checkpoint.atEpoch("job", older)
            assert.strictEqual(value.epoch, older)
            yield* ration.allow(60)
            yield* Job.run(job).pipe(Effect.provide(Checkpoint.layer(value)))
            const counts = (yield* kept.contents).map((pane) =>
              (pane as Window.Pane<string, { count: number }>).value.count
            )
            assert.deepStrictEqual(counts.sort(), [7, 7, 7, 7, 8, 8, 8, 8])
          }).pipe(Effect.provide(ward.over(yield* opened)))
        }),
      30_000
    )
  }
})
