/** The vectors of the semantics that are about delivery and recovery, by their numbers. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { CheckpointStore, Flow, Job, Sink, Source } from "millrace"
import { SeededScheduler } from "millrace/testing"
import { memoryStore } from "../../src/internal/stores/memoryStore.ts"
import { runs } from "../laws/runs.ts"
import { type Around, live, Power, sink, store } from "../support/crashing.ts"
import { everything, keys, type Kind, session, sliding, tumbling } from "./jobs.ts"
import {
  assertSame,
  expected,
  type Hold,
  launched,
  type Outcome,
  Outside,
  partitionsOf,
  pass,
  prepared,
  random,
  run,
  type Store,
  succeeded,
  toTheEnd
} from "./world.ts"

// ---------------------------------------------------------------------------------------------------------------------
// V10.80
// ---------------------------------------------------------------------------------------------------------------------

/** What a life has done last. */
type Effects = "poll" | "step" | "handed on" | "cut" | "durable" | "applied" | "acknowledged"

/** The calls whose beginning or end are one of the effects. */
const effectOf = (point: string): Effects | undefined =>
  point.startsWith("after pull")
    ? "poll"
    : point.startsWith("before commit")
    ? "cut"
    : point.startsWith("after commit")
    ? "durable"
    : point.startsWith("after apply")
    ? "applied"
    : point === "after acknowledge"
    ? "acknowledged"
    : undefined

/** A run whose power fails before the n-th operation of all its fibers; and how many operations there were. */
const crashedAt = async <A>(
  n: number,
  use: (power: Power, didLast: (last: Effects) => void) => Effect.Effect<A, unknown>
) => {
  let last: Effects | undefined
  const didLast = (effect: Effects) => {
    if (!power.hasFailed) last = effect
  }
  const power = new Power((point) => {
    const effect = effectOf(point)
    if (effect !== undefined) didLast(effect)
    return false
  })
  const inner = SeededScheduler.make(7, { operations: 16 })
  let operations = 0
  const scheduler: SeededScheduler.SeededScheduler = Object.assign(Object.create(inner), {
    shouldYield: (fiber: Fiber.Fiber<unknown, unknown>) => {
      if (++operations === n) power.fail(queueMicrotask)
      return inner.shouldYield(fiber)
    }
  })
  const exit = await SeededScheduler.runWith(prepared(use(power, didLast), 7, 6), scheduler)
  return { outcome: succeeded(exit, `a crash before operation ${n}`), operations, power, last }
}

/** Crashes at so many operations, from the first to the last one. Answers with what was done last before the crashes. */
const crashedEverywhere = async <A>(
  times: number,
  make: () => (power: Power, didLast: (last: Effects) => void) => Effect.Effect<A, unknown>,
  check: (outcome: A, what: string) => void
): Promise<ReadonlySet<Effects | undefined>> => {
  const clean = await crashedAt(Infinity, make())
  check(clean.outcome, "without a crash")
  const lasts = new Set<Effects | undefined>()
  const step = Math.max(1, Math.floor(clean.operations / runs(times)))
  for (let n = 1; n <= clean.operations; n += step) {
    const { last, outcome, power } = await crashedAt(n, make())
    check(outcome, `after a crash before operation ${n}, behind ${last}`)
    if (power.hasFailed) lasts.add(last)
  }
  return lasts
}

describe("V10.80 a crash between every pair of effects", () => {
  it("V10.80 poll, step, commit of the batch, cut, durable, applied", async () => {
    const reference = expected(sliding(16))
    const lasts = await crashedEverywhere<Outcome>(
      250,
      () => {
        const outside = new Outside()
        const inner = memoryStore()
        return (power, didLast) => {
          const kind = sliding(16, () => didLast("step"))
          const life = ({ around }: Power) => {
            const parts = outside.parts(around)
            const noted: typeof parts.sink = (name) => handingOn(parts.sink(name), () => didLast("handed on"))
            return toTheEnd(kind.make({ ...parts, sink: noted }), store(around, inner), {})
          }
          return live(power, life(power)).pipe(
            Effect.andThen(Effect.suspend(() => power.hasFailed ? life(new Power()) : Effect.void)),
            Effect.andThen(outside.outcome)
          )
        }
      },
      (outcome, what) => assertSame(outcome, reference, what)
    )
    for (const last of ["poll", "step", "handed on", "cut", "durable", "applied"] as const) {
      assert.isTrue(lasts.has(last), `no crash came behind ${last}`)
    }
  })

  it("V10.80 durable, acknowledged: what was acknowledged is there once, and an offer in flight at most twice", async () => {
    const offers = Array.from({ length: 8 }, (_, n) => n)
    const lasts = await crashedEverywhere<ReadonlyArray<unknown>>(
      200,
      () => {
        const written = Sink.memory<unknown>()
        const fast = memoryStore()
        // Between the cut and its answer there is time for whoever is told too early.
        const inner: Store = { ...fast, commit: (commit) => Effect.andThen(pass(8), fast.commit(commit)) }
        const acknowledged: Array<number> = []
        return (power, didLast) => {
          const life = ({ around }: Power) =>
            Effect.scoped(Effect.gen(function*() {
              const queue = Source.queue<number>({ durable: true })
              const doubled = Flow.from("queue", queue).pipe(Flow.map((n) => {
                didLast("step")
                return n
              }))
              const job = Job.make("queue", [doubled.pipe(Flow.to("written", sink(around, "written", written)))])
              const handle = yield* launched(job, store(around, inner), {})
              for (const n of offers.slice(acknowledged.length)) {
                yield* handle.push(queue, n)
                yield* around("acknowledge", Effect.sync(() => void acknowledged.push(n)))
              }
              yield* handle.drain
            }))
          return Effect.gen(function*() {
            yield* live(power, life(power))
            const inFlight = acknowledged.length
            if (power.hasFailed) yield* life(new Power())
            const rows = (yield* written.contents).slice()
            // Offered again, because nobody was told that it had been taken.
            const twice = rows.lastIndexOf(inFlight)
            return power.hasFailed && twice !== rows.indexOf(inFlight) ? rows.toSpliced(twice, 1) : rows
          })
        }
      },
      (rows, what) => assert.deepStrictEqual(rows, offers, what)
    )
    for (const last of ["step", "cut", "durable", "applied", "acknowledged"] as const) {
      assert.isTrue(lasts.has(last), `no crash came behind ${last}`)
    }
  })
})

/** Says when rows come to a sink that the partitions have committed. */
const handingOn = (
  inner: Sink.Sink<unknown, unknown, never, "transactional">,
  say: () => void
): Sink.Sink<unknown, unknown, never, "transactional"> =>
  Sink.transactional<unknown, unknown>({
    description: inner.description,
    open: inner.open,
    openEpochs: (opening) =>
      Effect.map(inner.openEpochs!(opening), (writer) => ({
        ...writer,
        // A transactional sink has a position.
        position: writer.position!,
        prepare: (rows) => {
          say()
          return writer.prepare(rows)
        }
      }))
  })

// ---------------------------------------------------------------------------------------------------------------------
// V10.81
// ---------------------------------------------------------------------------------------------------------------------

/** The points of a life that nothing disturbs. */
const pointsOf = async (kind: Kind, seed: number): Promise<ReadonlyArray<string>> => {
  const power = new Power()
  const outside = new Outside()
  const life = toTheEnd(kind.make(outside.parts(power.around)), store(power.around, memoryStore()), {
    partitions: partitionsOf(kind, 0)
  })
  succeeded(await run(live(power, life), seed, { pace: 6 }), "undisturbed")
  return power.points
}

describe.each<Kind>([tumbling(24), sliding(14), session(24)])("V10.81 a zombie, $name", (kind) => {
  it.each(["has taken over", "has ended"] as const)(
    "V10.81 an old life that wakes when its successor %s is refused",
    async (when) => {
      const reference = expected(kind)
      const refusals = { Fenced: 0, SinkFenced: 0 }
      for (let seed = 1; seed <= runs(4); seed++) {
        const points = (await pointsOf(kind, seed)).filter((point) => /^before (commit|apply)/.test(point))
        const last = points.findLastIndex((point) => point.startsWith("before commit"))
        for (const [i, pause] of points.entries()) {
          const what = `seed ${seed}, paused ${pause}, woken when its successor ${when}`
          const outside = new Outside()
          const inner = memoryStore()
          const life = (around: Around, life: number) =>
            toTheEnd(kind.make(outside.parts(around)), store(around, inner), { partitions: partitionsOf(kind, life) })
          const all = Effect.gen(function*() {
            const old = new Power((point) => point === pause)
            const zombie = yield* Effect.forkDetach(life(old.around, 0))
            yield* Effect.raceFirst(Fiber.await(zombie), old.failed)
            assert.isTrue(old.hasFailed, `${what}: it was not paused`)
            const after: Around = (call, effect) =>
              when === "has taken over" && call === "acquire"
                ? Effect.tap(effect, () => Effect.sync(() => old.wake()))
                : effect
            yield* life(after, 1)
            if (when === "has ended") old.wake()
            const exit = yield* Fiber.await(zombie)
            return { exit, outcome: yield* outside.outcome }
          })
          const { exit, outcome } = succeeded(await run(all, seed, { pace: 6 }), what)
          assertSame(outcome, reference, what)
          if (Exit.isSuccess(exit)) {
            // Everything was durable, and what it had left to apply was there.
            assert.isAbove(i, last, `${what}: nobody refused it`)
            continue
          }
          const error = Cause.findErrorOption(exit.cause)
          const refusal = error._tag === "Some" ? error.value : undefined
          if (refusal instanceof CheckpointStore.Fenced) refusals.Fenced++
          else if (refusal instanceof Sink.SinkFenced) refusals.SinkFenced++
          else assert.fail(`${what}: it ended with ${Cause.pretty(exit.cause)}`)
        }
      }
      assert.isAbove(refusals.Fenced, 1)
      if (when === "has ended") assert.isAbove(refusals.SinkFenced, 0)
    }
  )
})

// ---------------------------------------------------------------------------------------------------------------------
// V10.84
// ---------------------------------------------------------------------------------------------------------------------

describe.each<Kind>([tumbling(24), sliding(14), session(24)])("V10.84 an answer is lost, $name", (kind) => {
  it.each(["commit", "apply"])("V10.84 what one %s has done is not done again", async (start) => {
    const reference = expected(kind)
    let lost = 0
    // Whether the store, asked what it has, answers; otherwise the commit itself is tried again.
    for (const isReadable of [true, false]) {
      for (let nth = 1, isOver = false; !isOver; nth++) {
        const what = `the answer to ${start} number ${nth} is lost, the store is ${isReadable ? "" : "un"}readable then`
        const outside = new Outside()
        const inner = memoryStore()
        const made: Array<string> = []
        // The next look at the store is to have no answer either.
        let isAsked = false
        const names = () => new Set(made.filter((call) => call.startsWith(start)))
        const around: Around = (call, effect) => {
          const failed = Effect.suspend(() =>
            Effect.fail(
              new CheckpointStore.CheckpointStoreError({ job: "*", operation: call, cause: new Error("lost") })
            )
            // Sinks fail with anything here, and the store with just this.
          ) as Effect.Effect<never>
          return Effect.suspend(() => {
            const isNew = !made.includes(call)
            made.push(call)
            const isLost = isNew && call.startsWith(start) && names().size === nth
            const isUnread = call === "list" && isAsked
            if (isLost || isUnread) isAsked = isLost && !isReadable
            return isLost ? Effect.andThen(Effect.exit(effect), failed) : isUnread ? failed : effect
          })
        }
        const life = Effect.suspend(() =>
          toTheEnd(kind.make(outside.parts(around)), store(around, inner), { partitions: partitionsOf(kind, 0) })
        )
        // The epoch that a job begins with is committed when it is launched, and somebody launches it again.
        const isFirst = start === "commit" && nth === 1
        const all = Effect.andThen(isFirst ? Effect.retry(life, { times: 2 }) : life, outside.outcome)
        assertSame(succeeded(await run(all, 1, { pace: 6 }), what), reference, what)
        const name = [...names()][nth - 1]
        isOver = name === undefined
        if (isOver || isFirst) continue
        lost++
        const isAskedOnly = start === "commit" && isReadable
        assert.strictEqual(made.filter((call) => call === name).length, isAskedOnly ? 1 : 2, `${what}: ${name}`)
      }
    }
    assert.isAbove(lost, 3)
  })
})

// ---------------------------------------------------------------------------------------------------------------------
// V10.87
// ---------------------------------------------------------------------------------------------------------------------

describe("V10.87 rescaling", () => {
  it.each([[3, 5, 2], [5, 2, 3], [1, 7, 1]])(
    "V10.87 %i → %i → %i in the middle of windows, sessions and a retry",
    async (...partitions) => {
      // Readings that are refused for the time being: of one split in the first life, of another one in the second.
      let down: { readonly split: number; readonly row: number } | undefined
      const touched: Array<number> = []
      const splitOf = (n: number) => n % 3
      const rowOf = (n: number) => Math.floor(n / 3)
      const kind = everything(40, (n) => {
        touched.push(n)
        if (splitOf(n) === down?.split && rowOf(n) >= down.row) throw new Error("down")
      })
      const reference = expected(kind)
      for (let seed = 0; seed < runs(6); seed++) {
        const next = random(seed)
        const what = `seed ${seed}`
        const outside = new Outside()
        const inner = memoryStore()

        /** A life that reads until it can go on no more, makes a checkpoint, and is over. Answers with the first rows read. */
        const upTo = (rows: number, partitions: number) =>
          Effect.gen(function*() {
            const power = new Power()
            const firstRows: Array<number | undefined> = []
            const hold: Hold = (split, row) => {
              firstRows[split] ??= row
              return row < rows ? Effect.void : Effect.never
            }
            touched.length = 0
            const life = Effect.scoped(Effect.gen(function*() {
              const job = kind.make(outside.parts(power.around, hold, 1))
              const handle = yield* launched(job, store(power.around, inner), { partitions, checkpointEvery: "1 hour" })
              yield* pass(3000)
              yield* handle.checkpoint
              for (const operator of ["tumbling", "sliding", "sessions"]) {
                const open = yield* Effect.forEach(keys, (key) => Job.query(handle, operator, key))
                assert.isTrue(open.some((windows) => windows.length > 0), `${what}: no window of ${operator} is open`)
              }
              power.fail()
              yield* Effect.never
            }))
            yield* live(power, life)
            return firstRows
          })

        const all = Effect.gen(function*() {
          down = { split: 0, row: 4 + next(4) }
          yield* upTo(12 + next(4), partitions[0]!)
          down = { split: 1, row: 18 + next(4) }
          const [firstRow] = yield* upTo(24 + next(4), partitions[1]!)
          const isTriedAgain = touched.some((n) => splitOf(n) === 0 && rowOf(n) < firstRow!)
          assert.isTrue(isTriedAgain, `${what}: nothing waited in a retry when the first life ended`)
          down = undefined
          touched.length = 0
          const power = new Power()
          const firstRows: Array<number | undefined> = []
          const parts = outside.parts(power.around, (split, row) => Effect.sync(() => void (firstRows[split] ??= row)))
          yield* toTheEnd(kind.make(parts), inner, { partitions: partitions[2]! })
          const isTriedAtLast = touched.some((n) => splitOf(n) === 1 && rowOf(n) < firstRows[1]!)
          assert.isTrue(isTriedAtLast, `${what}: nothing waited in a retry when the second life ended`)
          return yield* outside.outcome
        })
        assertSame(succeeded(await run(all, seed, { pace: 6 }), what), reference, what)
      }
    }
  )
})
