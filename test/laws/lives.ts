/** Jobs that end before their time and are launched again, on a store and sinks that outlive them. */
import { assert } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { MinimumLogLevel } from "effect/References"
import type * as Scope from "effect/Scope"
import * as fc from "fast-check"
import * as CheckpointStore from "../../src/CheckpointStore.ts"
import { JobNotRunning } from "../../src/FlowError.ts"
import { decodeManifest, type Manifest } from "../../src/internal/checkpoint/manifest.ts"
import { preparedRows } from "../../src/internal/plan/preparedRows.ts"
import { launch, type RunningJob, type Settings } from "../../src/internal/runtime/job.ts"
import { partContents, readBlob, readTables } from "../../src/internal/runtime/recovery.ts"
import { memoryStore } from "../../src/internal/stores/memoryStore.ts"
import type * as Job from "../../src/Job.ts"
import * as Sink from "../../src/Sink.ts"
import * as Supervision from "../../src/Supervision.ts"
import { build, type Built, type Disorder, type Parts, type Spec } from "./randomFlows.ts"
import { random, type Received, turns } from "./running.ts"
import { runs } from "./runs.ts"

export type Store = CheckpointStore.CheckpointStore["Service"]

// -------------------------------------------------------------------------------------------------------------------
// settings
// -------------------------------------------------------------------------------------------------------------------

/** What all launches of a job have in common. */
export interface Habits {
  readonly batchSize: number
  readonly bufferSize: number
  readonly checkpointEvery: "1 millis" | "1 hour"
  /** Turns between two checkpoints that are asked for, at most. */
  readonly asks: number
  readonly retain: number
  readonly maxPendingBytes: number
  readonly retries: number
}

export const habits: fc.Arbitrary<Habits> = fc.record({
  batchSize: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 16 })),
  bufferSize: fc.integer({ min: 1, max: 24 }),
  checkpointEvery: fc.constantFrom("1 millis", "1 hour"),
  asks: fc.constantFrom(6, 20, 60),
  retain: fc.constantFrom(1, 2, 3, 1000),
  maxPendingBytes: fc.constantFrom(1, 400, 2 ** 26),
  retries: fc.constantFrom(0, 0, 2)
})

/** One partition wherever the answer is certain for no other number. */
export const partitionsFor = (disorder: Disorder): fc.Arbitrary<number> =>
  disorder === "one partition" ? fc.constant(1) : fc.oneof(
    { weight: 14, arbitrary: fc.integer({ min: 1, max: 3 }) },
    { weight: 2, arbitrary: fc.constant(7) },
    { weight: 1, arbitrary: fc.constant(16) }
  )

/** How a launch ends unless the job has finished by then. */
export interface Life {
  readonly partitions: number
  readonly turns: number
  readonly ending: "crash" | "stop"
}

export const livesFor = (disorder: Disorder): fc.Arbitrary<ReadonlyArray<Life>> =>
  fc.array(
    fc.record({
      partitions: partitionsFor(disorder),
      turns: fc.oneof(fc.nat({ max: 40 }), fc.nat({ max: 120 }), fc.nat({ max: 300 })),
      ending: fc.constantFrom("crash", "crash", "crash", "stop")
    }),
    { minLength: 1, maxLength: 4 }
  )

const settingsOf = (
  { batchSize, bufferSize, checkpointEvery, maxPendingBytes, retain }: Habits,
  partitions: number
): Settings => ({
  partitions,
  batchSize,
  bufferSize,
  checkpointEvery,
  maxPendingBytes,
  retain,
  start: "resume",
  upgrade: {},
  sinkTimeoutMillis: 60_000,
  restarts: Supervision.restarts({ max: 1, within: "1 hour" })
})

// -------------------------------------------------------------------------------------------------------------------
// worlds
// -------------------------------------------------------------------------------------------------------------------

/** Lets so many turns pass. */
export const pass = (turns: number): Effect.Effect<void> =>
  Effect.gen(function*() {
    for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
  })

/** A store that takes its time, before and after a commit, and what was committed to it. */
export const slowStore = (seed: number) => {
  const next = random(seed)
  const inner = memoryStore()
  const commits: Array<CheckpointStore.Commit> = []
  const store: Store = {
    ...inner,
    commit: (commit) =>
      Effect.suspend(() => {
        const [before, after] = [next(3), next(3)]
        return pass(before).pipe(
          Effect.andThen(inner.commit(commit)),
          Effect.andThen(Effect.sync(() => void commits.push(commit))),
          Effect.andThen(pass(after))
        )
      })
  }
  return { store, commits }
}

/** A store to which just this was committed. */
export const storeOf = Effect.fnUntraced(function*(commits: ReadonlyArray<CheckpointStore.Commit>) {
  const store = memoryStore()
  let attempt = 0
  for (const commit of commits) {
    while (attempt < commit.attempt) attempt = yield* store.acquire(commit.job)
    yield* store.commit(commit)
  }
  return store
})

/** A job whose sinks keep what is applied to them for as long as they are there. */
export const kept = (
  spec: Spec,
  given: Partial<Parts> = {},
  around: (sink: Sink.MemorySink<unknown>) => Sink.Sink<unknown, unknown> = (sink) => sink
) => {
  const sinks = new Map<string, Sink.MemorySink<unknown>>()
  const sink = (name: string) => {
    const own = Sink.memory<unknown>()
    sinks.set(name, own)
    return around(own)
  }
  const deadLetters = sink("dead letters")
  const built = build(spec, { sink, deadLetters, ...given })
  const received: Effect.Effect<Received> = Effect.map(
    Effect.forEach(sinks, ([name, { contents }]) => Effect.map(contents, (rows) => [name, rows] as const)),
    receivedOf
  )
  return { built, received }
}

const receivedOf = (contents: ReadonlyArray<readonly [name: string, rows: ReadonlyArray<unknown>]>): Received => {
  const { "dead letters": refused, ...outputs } = Object.fromEntries(contents)
  // Nothing but dead letters goes to the sink of that name.
  return { outputs, refused: refused as Received["refused"] }
}

/** An epoch as a sink has it. */
export interface Place {
  readonly marker: Sink.Marker
  readonly rows: ReadonlyArray<unknown>
}

/** A transactional sink that can be put back to where it stood at any time. */
export class Ledger {
  places: ReadonlyArray<Place> = []
  readonly sink: Sink.Sink<unknown, unknown>

  constructor() {
    const { prepare, rowsOf } = preparedRows<unknown>(undefined)
    const here = () => this.places.at(-1)?.marker
    const move = (sink: string, after: Sink.Marker | undefined, marker: Sink.Marker, change: () => void) =>
      Effect.suspend(() => {
        if (isAt(here(), marker) && here()?.digest === marker.digest) return Effect.void
        if (isAt(here(), after)) return Effect.sync(change)
        return Effect.fail(
          new Sink.SinkFenced({ sink, expected: placeText(after), found: placeText(here()) })
        )
      })
    this.sink = Sink.transactional<unknown, unknown>({
      description: "ledger",
      open: () => Effect.die("nobody has asked for eager delivery"),
      openEpochs: ({ sink }) =>
        Effect.succeed({
          prepare,
          apply: ({ after, marker, prepared }) =>
            Effect.andThen(
              pass(1),
              move(sink, after, marker, () => {
                this.places = [...this.places, { marker, rows: prepared.flatMap(rowsOf) }]
              })
            ),
          position: {
            isVolatile: false,
            current: Effect.sync(here),
            begin: (marker, from) => move(sink, from, marker, () => void (this.places = [{ marker, rows: [] }])),
            rewind: (to) =>
              Effect.sync(() => {
                const found = this.places.findLastIndex(({ marker }) => isAt(marker, to))
                if (found >= 0) this.places = this.places.slice(0, found + 1)
                return found >= 0
              })
          }
        })
    })
  }
}

const placeText = (marker: Sink.Marker | undefined): string => JSON.stringify(marker ?? "nowhere")

const isAt = (a: Sink.Marker | undefined, b: Sink.Marker | undefined): boolean =>
  a?.lineage === b?.lineage && a?.epoch === b?.epoch

/** A job whose sinks can be put back. */
export const ledgers = (spec: Spec, given: Partial<Parts> = {}) => {
  const books = new Map<string, Ledger>()
  const sink = (name: string) => {
    const ledger = new Ledger()
    books.set(name, ledger)
    return ledger.sink
  }
  const deadLetters = sink("dead letters")
  const built = build(spec, { sink, deadLetters, ...given })
  const received = (): Received =>
    receivedOf(Array.from(books, ([name, { places }]) => [name, places.flatMap(({ rows }) => rows)] as const))
  return { built, books, received }
}

// -------------------------------------------------------------------------------------------------------------------
// living
// -------------------------------------------------------------------------------------------------------------------

const launched = (
  { job }: Built,
  store: Store,
  habits: Habits,
  partitions: number,
  sabotage: Settings["sabotage"]
): Effect.Effect<RunningJob, never, Scope.Scope> =>
  launch(job.program, {
    ...settingsOf(habits, partitions),
    ...sabotage === undefined ? {} : { sabotage }
  }).pipe(Effect.provideService(CheckpointStore.CheckpointStore, store))

/** Asks for a checkpoint now and then. A job at its end may say so, and nothing else. */
const asking = (job: RunningJob, { asks }: Habits, next: (n: number) => number): Effect.Effect<never, unknown> =>
  Effect.gen(function*() {
    while (true) {
      yield* pass(1 + next(asks))
      yield* job.checkpoint.pipe(
        Effect.catch((error) => error instanceof JobNotRunning ? Effect.never : Effect.fail(error))
      )
    }
  })

/** Runs a job to its end, with checkpoints at random moments. */
export const toTheEnd = (
  built: Built,
  store: Store,
  habits: Habits,
  partitions: number,
  next: ((n: number) => number) | undefined,
  sabotage?: Settings["sabotage"]
): Effect.Effect<Job.JobStatus, unknown> =>
  Effect.scoped(Effect.gen(function*() {
    const job = yield* launched(built, store, habits, partitions, sabotage)
    yield* next === undefined ? job.await : Effect.raceFirst(job.await, asking(job, habits, next))
    return yield* job.status
  }))

/** Launches a job for so many turns, and says how it stood then. */
export const live = (
  built: Built,
  store: Store,
  habits: Habits,
  { ending, partitions, turns }: Life,
  next: (n: number) => number
): Effect.Effect<Job.JobStatus, unknown> =>
  Effect.scoped(Effect.gen(function*() {
    const job = yield* launched(built, store, habits, partitions, undefined)
    const ended = Effect.andThen(pass(turns), ending === "stop" ? job.stop : Effect.void)
    yield* Effect.raceFirst(job.await, ended).pipe(Effect.raceFirst(asking(job, habits, next)))
    return yield* job.status
  }))

/** On a clock that knows nothing but turns. */
export const onTurns = <A, E>(effect: Effect.Effect<A, E>, seed: number): Effect.Effect<A, E> =>
  effect.pipe(Effect.provideService(Clock.Clock, turns(seed)), Effect.provideService(MinimumLogLevel, "None"))

// -------------------------------------------------------------------------------------------------------------------
// what it went on from
// -------------------------------------------------------------------------------------------------------------------

const headOf = Effect.fnUntraced(function*(store: Store, job: string) {
  const [head] = yield* store.list(job)
  if (head === undefined) return undefined
  return decodeManifest(yield* Effect.flatMap(store.manifest(job, head.epoch), Effect.fromOption))
})

/**
 * What a launch may go wrong about: open state and lists of keys, rows on their way into an operator, held by a gate or
 * before a sink, epochs that sinks are owed, tables in more than one segment, the end by `stop`, another number of
 * partitions.
 */
export type Kind =
  | "checkpoint"
  | "state"
  | "lists"
  | "input"
  | "gate"
  | "queue"
  | "pending"
  | "segments"
  | "stopped"
  | "rescaled"

/** How many launches went on from a checkpoint, and what those held. */
export class Census {
  private readonly counts = new Map<Kind, number>()

  /** Throws unless there was at least so much of everything, or else the laws have been tried on nothing. */
  expect(least: Partial<Record<Kind, number>>): void {
    for (const [kind, number] of Object.entries(least) as Array<[Kind, number]>) {
      assert.isAtLeast(this.count(kind), runs(number), `launches that went on from: ${kind}, of ${this}`)
    }
  }

  /** Looks at the checkpoint that a launch on so many partitions is going on from. */
  take(store: Store, job: string, partitions: number): Effect.Effect<void, unknown> {
    return Effect.gen({ self: this }, function*() {
      const manifest = yield* headOf(store, job)
      if (manifest === undefined || manifest.state === "finished") return
      for (const kind of yield* kindsIn(store, manifest)) this.add(kind)
      this.add("checkpoint")
      if (manifest.partitions !== partitions) this.add("rescaled")
    })
  }

  private count(kind: Kind): number {
    return this.counts.get(kind) ?? 0
  }

  private add(kind: Kind): void {
    this.counts.set(kind, this.count(kind) + 1)
  }

  toString(): string {
    return JSON.stringify(Object.fromEntries(this.counts))
  }
}

const kindsIn = Effect.fnUntraced(function*(store: Store, manifest: Manifest) {
  const { chain, job, parts, sinks, state } = manifest
  const found = new Set<Kind>()
  const tables = yield* readTables(store, job, chain)
  for (const entry of parts) {
    const blobs = yield* Effect.forEach(entry.flight, (reference) => readBlob(store, job, reference))
    const contents = partContents(entry, tables, ({ id }) => blobs.find((blob) => blob.id === id)!)
    for (const { machine, operator, partition } of entry.operators) {
      const holds = (id: string) => (tables.table(operator, partition, id)?.keys.length ?? 0) > 0
      if (machine?.tables.some(holds) === true) found.add("state")
    }
    if (contents.lists.some(({ keys }) => keys.length > 0)) found.add("lists")
    for (const { id, rows } of contents.flights) {
      if (rows.values.length > 0) found.add(id === "dead letters" ? "queue" : id.split(" ")[0] as Kind)
    }
  }
  if (sinks.some(({ pending }) => pending.length > 0)) found.add("pending")
  if (chain.length > 1) found.add("segments")
  if (state === "stopped") found.add("stopped")
  return found
})
