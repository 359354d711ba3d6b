/** Sinks and stores that misbehave when they are told to, and sources that give no more than they are allowed to. */
import { type Duration, Effect, Exit, type Fiber, Layer, Option, TxRef } from "effect"
import { TestClock } from "effect/testing"
import { CheckpointStore, type Job, Sink, Source } from "millrace"
import { settle } from "./jobs.ts"

export type Mood = "well" | "slow" | "failing" | "hanging"

export class DiskFull extends Error {
  override readonly message = "the disk is full"
}

/** A transactional sink in memory that outlives jobs, and that can be taken ill. */
export class Patient<A> {
  rows: ReadonlyArray<A> = []
  marker: Sink.Marker | undefined
  /** Applications that were begun, and those that were carried out. */
  tries = 0
  applications = 0
  opened = 0
  /** What is done around an application. */
  around: Effect.Effect<void> = Effect.void
  /** What was applied, place by place. */
  private places: ReadonlyArray<{ readonly marker: Sink.Marker; readonly length: number }> = []
  private readonly mood: TxRef.TxRef<Mood>
  readonly sink: Sink.Sink<A, DiskFull, never, "transactional">

  constructor(
    mood: Mood = "well",
    options: {
      readonly canRewind?: boolean
      readonly slowness?: Duration.Input
      /** Throws on a row that cannot be written down. */
      readonly inspect?: (row: A) => void
    } = {}
  ) {
    this.mood = TxRef.makeUnsafe(mood)
    const { canRewind = false, inspect, slowness = "10 seconds" } = options
    const move = (sink: string, after: Sink.Marker | undefined, to: Sink.Marker, rows: ReadonlyArray<A>) =>
      Effect.suspend(() => {
        if (isAt(this.marker, to) && this.marker?.digest === to.digest) return Effect.void
        if (!isAt(this.marker, after)) {
          const [expected, found] = [JSON.stringify(after), JSON.stringify(this.marker)]
          return Effect.fail(new Sink.SinkFenced({ sink, expected: expected ?? "", found: found ?? "" }))
        }
        this.marker = to
        this.rows = [...this.rows, ...rows]
        this.places = [...this.places, { marker: to, length: this.rows.length }]
        return Effect.void
      })
    const suffer: Effect.Effect<void, DiskFull> = Effect.suspend((): Effect.Effect<void, DiskFull> => {
      switch (this.mood.value) {
        case "well":
          return Effect.void
        case "slow":
          return Effect.sleep(slowness)
        case "failing":
          return Effect.fail(new DiskFull())
        case "hanging":
          return Effect.tx(
            Effect.flatMap(TxRef.get(this.mood), (mood) => mood === "hanging" ? Effect.txRetry : Effect.void)
          )
      }
    })
    this.sink = Sink.transactional<A, DiskFull>({
      description: "patient",
      open: () => Effect.die("nobody has asked for eager delivery"),
      openEpochs: ({ sink }) =>
        Effect.sync(() => {
          this.opened++
          return {
            prepare: (rows) => {
              for (const row of rows) inspect?.(row)
              return { bytes: new TextEncoder().encode(JSON.stringify(rows)) }
            },
            apply: ({ after, marker, prepared }) =>
              Effect.gen({ self: this }, function*() {
                this.tries++
                yield* this.around
                yield* suffer
                // What `prepare` has written.
                const rows = prepared.flatMap(({ bytes }) =>
                  JSON.parse(new TextDecoder().decode(bytes)) as ReadonlyArray<A>
                )
                yield* move(sink, after, marker, rows)
                this.applications++
                yield* this.around
              }),
            position: {
              isVolatile: false,
              current: Effect.sync(() => this.marker),
              // A sink that keeps what it has whoever begins anew.
              begin: (marker, from) => move(sink, from, marker, []),
              ...canRewind
                ? {
                  rewind: (to: Sink.Marker) =>
                    Effect.sync(() => {
                      const at = this.places.findLastIndex(({ marker }) => isAt(marker, to))
                      if (at < 0) return false
                      this.places = this.places.slice(0, at + 1)
                      this.rows = this.rows.slice(0, this.places[at]!.length)
                      this.marker = this.places[at]!.marker
                      return true
                    })
                }
                : {}
            }
          }
        })
    })
  }

  become(mood: Mood): Effect.Effect<void> {
    return TxRef.set(this.mood, mood)
  }
}

const isAt = (a: Sink.Marker | undefined, b: Sink.Marker | undefined): boolean =>
  a?.lineage === b?.lineage && a?.epoch === b?.epoch

/** A replayable source of 0 … n − 1 that gives only as many as it is allowed to. */
export class Rationed {
  private readonly allowed: TxRef.TxRef<number>
  readonly source: Source.Source<number>

  constructor(n: number, allowed = n) {
    this.allowed = TxRef.makeUnsafe(allowed)
    const isReady = (from: number) => from >= n || from < this.allowed.value
    const wait = (from: number) =>
      Effect.tx(Effect.flatMap(TxRef.get(this.allowed), () => isReady(from) ? Effect.void : Effect.txRetry))
    this.source = Source.make<number>({
      description: "rationed",
      bounded: true,
      replayable: true,
      splits: Effect.succeed(["0"]),
      open: (_, position) =>
        Effect.sync(() => {
          let next = position === undefined ? 0 : Number(position)
          return {
            pull: (max) =>
              Effect.map(wait(next), () => {
                const start = next
                const count = Math.min(max, 16, Math.min(n, this.allowed.value) - start)
                next += count
                return count === 0
                  ? undefined
                  : { rows: numbers(count).map((i) => start + i), positionAfter: (taken: number) => start + taken }
              })
          }
        })
    })
  }

  allow(rows: number): Effect.Effect<void> {
    return TxRef.set(this.allowed, rows)
  }
}

export const numbers = (n: number) => Array.from({ length: n }, (_, i) => i)

/** A store that can be watched and whose contents can be damaged. */
export class Ward {
  /** Every commit that went through. */
  readonly commits: Array<CheckpointStore.Commit> = []
  /** What is done before and after each commit. */
  around: Effect.Effect<void> = Effect.void
  /** What is done before a job is taken over. */
  opening: Effect.Effect<void> = Effect.void
  /** How many more commits go through before the store refuses all. */
  commitsLeft = Infinity
  isDamaged: (blob: string) => boolean = () => false
  isManifestDamaged: (epoch: number) => boolean = () => false

  /** The store beneath, watched. */
  readonly over = <E, Out extends CheckpointStore.CheckpointStore>(
    inner: Layer.Layer<Out | CheckpointStore.CheckpointStore, E>
  ): Layer.Layer<CheckpointStore.CheckpointStore, E> =>
    Layer.effect(
      CheckpointStore.CheckpointStore,
      Effect.map(CheckpointStore.CheckpointStore, (store) =>
        CheckpointStore.CheckpointStore.of({
          ...store,
          acquire: (job) => Effect.andThen(Effect.suspend(() => this.opening), store.acquire(job)),
          commit: (commit) =>
            Effect.gen({ self: this }, function*() {
              yield* this.around
              if (this.commitsLeft-- <= 0) return yield* Effect.never
              yield* store.commit(commit)
              this.commits.push(commit)
              yield* this.around
            }),
          blob: (job, id) =>
            Effect.map(
              store.blob(job, id),
              Option.map((blob) => this.isDamaged(id) ? { ...blob, bytes: damaged(blob.bytes) } : blob)
            ),
          manifest: (job, epoch) =>
            Effect.map(
              store.manifest(job, epoch),
              Option.map((bytes) => this.isManifestDamaged(epoch) ? damaged(bytes) : bytes)
            )
        }))
    ).pipe(Layer.provide(inner)) as Layer.Layer<CheckpointStore.CheckpointStore, E>
}

const damaged = (bytes: Uint8Array): Uint8Array => {
  const copy = bytes.slice()
  const at = copy.length >> 1
  if (copy.length > 0) copy[at] = copy[at]! ^ 0x20
  return copy
}

/** A turn of the process, in which files are read and written. */
const turn = Effect.promise(() => new Promise<void>((resume) => void setTimeout(resume, 0)))

/** Waits, while files may be read and written and no other time passes, for what a job says of itself. */
export const eventually = <E>(handle: Job.Handle<E>, condition: (status: Job.JobStatus) => boolean) =>
  Effect.gen(function*() {
    for (let i = 0; i < 2000; i++) {
      const status = yield* handle.status
      if (condition(status)) return status
      yield* settle
      yield* turn
    }
    return yield* Effect.die(new Error(`This never came to be: ${JSON.stringify(yield* handle.status, undefined, 1)}`))
  })

/** Says when an operator has taken in so many rows. */
export const hasSeen = (operator: string, rows: number) => ({ operators }: Job.JobStatus) =>
  operators.some((one) => one.operator === operator && one.in === rows)

/** Lets time pass until a fiber has ended, and says how. */
export const endOf = <A, E>(
  fiber: Fiber.Fiber<A, E>,
  step: Duration.Input = "500 millis",
  steps = 2000
): Effect.Effect<Exit.Exit<A, E>> =>
  Effect.gen(function*() {
    for (let i = 0; i < steps; i++) {
      yield* settle
      yield* turn
      const exit = fiber.pollUnsafe()
      if (exit !== undefined) return exit
      yield* TestClock.adjust(step)
    }
    return yield* Effect.die(new Error("It has never ended"))
  })

/** The error that something ended with. */
export const errorOf = <A, E>(exit: Exit.Exit<A, E>): E =>
  Exit.match(exit, {
    onSuccess: () => {
      throw new Error("It has not failed")
    },
    onFailure: (cause) => {
      const error = Exit.findErrorOption(Exit.failCause(cause))
      if (Option.isSome(error)) return error.value
      throw new Error(`It has not failed but ${String(cause)}`)
    }
  })

/** Says when a job has written so many rows by epochs. */
export const hasWritten = (sink: string, rows: number) => ({ sinks }: Job.JobStatus) =>
  (sinks.find((one) => one.sink === sink)?.written ?? 0) >= rows
