/** A world for jobs that are crashed: sinks and a store that outlive them, a clock without time, and what came of it all. */
import { assert } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { MinimumLogLevel } from "effect/References"
import type { Scope } from "effect/Scope"
import { CheckpointStore, type DeadLetter, Job, Reference, Sink, Source, Supervision } from "millrace"
import { SeededScheduler } from "millrace/testing"
import { memoryStore } from "../../src/internal/stores/memoryStore.ts"
import { type Around, sink, source, store, type World } from "../support/crashing.ts"
import { type Kind, type Parts, Reading } from "./jobs.ts"

export type Store = CheckpointStore.CheckpointStore["Service"]

// ---------------------------------------------------------------------------------------------------------------------
// time
// ---------------------------------------------------------------------------------------------------------------------

/** Whole numbers below n, from a seed. */
export const random = (seed: number) => {
  let state = Math.imul(seed + 1, 0x9e3779b1) | 1
  return (n: number): number => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % n
  }
}

/** Lets so many turns of the scheduler pass. Not `Effect.repeat`, which sleeps itself. */
export const pass = (turns: number): Effect.Effect<void> =>
  Effect.gen(function*() {
    for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
  })

/**
 * No time passes: whoever sleeps waits for a few turns. The longest pause before a retry is five seconds; a sleep that is
 * longer never ends, nor do those of the metrics, which take a second.
 */
const clockOf = (seed: number, pace: number): Clock.Clock => {
  const next = random(seed)
  return {
    currentTimeMillisUnsafe: () => 0,
    currentTimeMillis: Effect.succeed(0),
    currentTimeNanosUnsafe: () => 0n,
    currentTimeNanos: Effect.succeed(0n),
    monotonicTimeNanosUnsafe: () => 0n,
    monotonicTimeNanos: Effect.succeed(0n),
    sleep: (duration) => {
      const millis = Duration.toMillis(duration)
      return millis === 1000 || millis > 5000 ? Effect.never : Effect.suspend(() => pass(pace + next(pace)))
    }
    // What is missing is asked for by nobody here.
  } as Clock.Clock
}

/** Without time and without words. `pace` is how many turns pass between checkpoints, at least. */
export const prepared = <A, E>(effect: Effect.Effect<A, E>, seed: number, pace: number): Effect.Effect<A, E> =>
  effect.pipe(
    Effect.provideService(Clock.Clock, clockOf(seed, pace)),
    Effect.provideService(MinimumLogLevel, "None")
  )

/** Runs to the end under a seed. */
export const run = <A>(
  effect: Effect.Effect<A, unknown>,
  seed: number,
  { pace }: { readonly pace: number } = { pace: 12 }
): Promise<Exit.Exit<A, unknown>> => SeededScheduler.run(prepared(effect, seed, pace), { seed, preempt: 0.05 })

export const succeeded = <A>(exit: Exit.Exit<A, unknown>, what: string): A => {
  if (Exit.isSuccess(exit)) return exit.value
  throw new Error(`${what}: ${Cause.pretty(exit.cause)}`)
}

// ---------------------------------------------------------------------------------------------------------------------
// what outlives a job
// ---------------------------------------------------------------------------------------------------------------------

/** What came of a job, as sorted texts. */
export interface Outcome {
  /** Of transactional sinks and dead letters: each row exactly once. */
  readonly applied: Readonly<Record<string, ReadonlyArray<string>>>
  /** Of idempotent sinks: what stands under each key. */
  readonly latest: Readonly<Record<string, ReadonlyArray<string>>>
  /** Of plain sinks: each row at least once. */
  readonly seen: Readonly<Record<string, ReadonlyArray<string>>>
}

/** Without `isLast`: where a job was restored, event time may have made one step of several. */
export const text = (value: unknown): string =>
  JSON.stringify(value, (_, field: unknown) => {
    if (typeof field !== "object" || field === null || Array.isArray(field)) return field
    return Object.fromEntries(
      Object.entries(field).filter(([name]) => name !== "isLast").sort(([a], [b]) => a < b ? -1 : 1)
    )
  })

const letterText = ({ key, operator, original, timestamp }: DeadLetter.DeadLetter | Reference.Refused): string =>
  text({ operator, original, timestamp, key })

/** Rows of a split, a few at a time, from any position. */
const split = (rows: ReadonlyArray<Reading>, position: number, chunk: number): Source.Reader<Reading> => {
  let at = position
  return {
    pull: (max) =>
      Effect.sync(() => {
        if (at >= rows.length) return undefined
        const start = at
        const some = rows.slice(start, start + Math.min(max, chunk))
        at += some.length
        return { rows: some, positionAfter: (taken) => start + taken }
      })
  }
}

/** Comes around a pull, before which it may wait. */
export type Hold = (split: number, row: number) => Effect.Effect<void>

/** Where the rows of transactional sinks are kept. */
export interface Medium {
  readonly sink: (name: string, around: Around) => Sink.Sink<unknown, unknown, never, "transactional">
  readonly contents: (name: string) => Effect.Effect<ReadonlyArray<unknown>, unknown>
}

const inMemory = (): Medium => {
  const sinks = new Map<string, Sink.MemorySink<unknown>>()
  return {
    sink: (name, around) => {
      const known = sinks.get(name) ?? Sink.memory<unknown>()
      sinks.set(name, known)
      return sink(around, name, known)
    },
    contents: (name) => sinks.get(name)!.contents
  }
}

export class Outside {
  private readonly medium: Medium
  private readonly names = new Set<string>()
  private readonly letters = Sink.memory<DeadLetter.DeadLetter>()
  private readonly tables = new Map<string, Map<string, unknown>>()
  private readonly written = new Map<string, Array<unknown>>()

  constructor(medium: Medium = inMemory()) {
    this.medium = medium
  }

  /** What a job is made of in one life. */
  parts(around: Around, hold: Hold = () => Effect.void, chunk = 4): Parts {
    const kept = <A>(all: Map<string, A>, name: string, make: () => A): A => {
      const known = all.get(name) ?? make()
      all.set(name, known)
      return known
    }
    return {
      source: (name, splits) =>
        source(
          around,
          name,
          Source.make({
            description: name,
            bounded: true,
            replayable: true,
            schema: Reading,
            splits: Effect.succeed(splits.map((_, i) => String(i))),
            open: (id, position) =>
              Effect.sync(() => {
                let at = Number(position ?? 0)
                const reader = split(splits[Number(id)]!, at, chunk)
                return {
                  pull: (max) =>
                    Effect.andThen(
                      Effect.suspend(() => hold(Number(id), at)),
                      Effect.tap(reader.pull(max), (chunk) => Effect.sync(() => void (at += chunk?.rows.length ?? 0)))
                    )
                }
              })
          })
        ),
      sink: (name) => {
        this.names.add(name)
        return this.medium.sink(name, around)
      },
      upsert: (name, keyOf) => {
        const table = kept(this.tables, name, () => new Map<string, unknown>())
        return sink(around, name, Sink.upsert((row: unknown) => Effect.sync(() => void table.set(keyOf(row), row))))
      },
      plain: (name) => {
        const rows = kept(this.written, name, () => [])
        return sink(
          around,
          name,
          Sink.make<unknown>({
            description: name,
            open: () => Effect.succeed({ write: (batch) => Effect.sync(() => void rows.push(...batch)) })
          })
        )
      },
      deadLetters: sink(around, "dead letters", this.letters)
    }
  }

  get outcome(): Effect.Effect<Outcome, unknown> {
    return Effect.gen({ self: this }, function*() {
      const applied: Record<string, ReadonlyArray<string>> = {}
      for (const name of this.names) applied[name] = (yield* this.medium.contents(name)).map(text).sort()
      applied["dead letters"] = (yield* this.letters.contents).map(letterText).sort()
      const sorted = (rows: Iterable<unknown>) => Array.from(rows, text).sort()
      return {
        applied,
        latest: Object.fromEntries(Array.from(this.tables, ([name, table]) => [name, sorted(table.values())])),
        seen: Object.fromEntries(Array.from(this.written, ([name, rows]) => [name, sorted(rows)]))
      }
    })
  }
}

/** How jobs run here: in small steps, with a checkpoint whenever the clock's pace has passed. */
export const options: Job.RunOptions = {
  batchSize: 4,
  bufferSize: 8,
  checkpointEvery: "1 millis",
  sinkTimeout: "1 hour",
  restarts: Supervision.restarts({ max: 3, within: "1 hour" })
}

/** Launches a job on a store. */
export const launched = <E>(
  job: Job.Job<E>,
  inner: Store,
  own: Job.RunOptions
): Effect.Effect<Job.Handle<E>, never, Scope> =>
  Job.launch(job, { ...options, ...own }).pipe(Effect.provideService(CheckpointStore.CheckpointStore, inner))

/** Runs a job to its end. */
export const toTheEnd = <E>(job: Job.Job<E>, inner: Store, own: Job.RunOptions): Effect.Effect<void, unknown> =>
  Effect.scoped(Effect.flatMap(launched(job, inner, own), (handle) => handle.await))

/** How many partitions a life has. */
export const partitionsOf = ({ partitions }: Kind, life: number): number =>
  partitions[Math.min(life, partitions.length - 1)]!

/** A kind of job in a world of its own, with a store and sinks in memory. */
export const worldOf = (kind: Kind, hold?: Hold): World & { readonly outcome: Effect.Effect<Outcome, unknown> } => {
  const outside = new Outside()
  const inner = memoryStore()
  return {
    outcome: outside.outcome,
    life: (power, life) =>
      toTheEnd(kind.make(outside.parts(power.around, hold)), store(power.around, inner), {
        partitions: partitionsOf(kind, life)
      })
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// what must come of it
// ---------------------------------------------------------------------------------------------------------------------

/** By brute force, without the engine. */
export const expected = (kind: Kind): Outcome => {
  const outside = new Outside()
  const parts = outside.parts((_, effect) => effect)
  const tables = new Map<string, (row: unknown) => string>()
  const plain = new Set<string>()
  const job = kind.make({
    ...parts,
    source: (_, splits) => Source.memorySplits(splits, { schema: Reading }),
    upsert: (name, keyOf) => {
      tables.set(name, keyOf)
      return parts.upsert(name, keyOf)
    },
    plain: (name) => {
      plain.add(name)
      return parts.plain(name)
    }
  })
  const applied: Record<string, ReadonlyArray<string>> = {
    "dead letters": Reference.refused(job).map(letterText).sort()
  }
  const latest: Record<string, ReadonlyArray<string>> = {}
  const seen: Record<string, ReadonlyArray<string>> = {}
  for (const [name, rows] of Object.entries(Reference.run(job))) {
    const keyOf = tables.get(name)
    if (keyOf !== undefined) latest[name] = [...new Map(rows.map((row) => [keyOf(row), row])).values()].map(text).sort()
    else if (plain.has(name)) seen[name] = rows.map(text).sort()
    else applied[name] = rows.map(text).sort()
  }
  return { applied, latest, seen }
}

/** Nothing lost, nothing duplicated, nothing made up; of plain sinks, nothing lost and nothing made up. */
export const assertSame = (actual: Outcome, reference: Outcome, what: string): void => {
  const { seen, ...exactly } = actual
  const { seen: wanted, ...other } = reference
  assert.deepStrictEqual(exactly, other, what)
  const distinct = (rows: Outcome["seen"]) =>
    Object.fromEntries(Object.entries(rows).map(([name, texts]) => [name, [...new Set(texts)]]))
  assert.deepStrictEqual(distinct(seen), distinct(wanted), `${what}: what plain sinks have seen`)
  for (const [name, texts] of Object.entries(wanted)) {
    for (const one of texts) {
      const count = (rows: Outcome["seen"]) => rows[name]!.filter((text) => text === one).length
      assert.isAtLeast(count(seen), count(wanted), `${what}: ${name} lacks ${one}`)
    }
  }
}
