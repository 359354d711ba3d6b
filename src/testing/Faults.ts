/**
 * Trouble that a test makes for the world around a job: sinks, sources and the store become slow, fail, hang, and get well
 * again; and a life of the job ends as that of a killed process does.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as TxRef from "effect/TxRef"
import { CheckpointStore, CheckpointStoreError } from "../CheckpointStore.ts"
import type { Program } from "../internal/runtime/job.ts"
import type * as Sink from "../Sink.ts"
import type * as Source from "../Source.ts"

/**
 * What a test can do to one sink, one source, or the store of a job.
 *
 * @since 0.1.0
 * @category models
 */
export interface Faults {
  /** Every call takes so much longer, by the job's clock: it goes on when `advanceTime` has moved it. */
  readonly slow: (delay: Duration.Input) => Effect.Effect<void>
  /** The next so many calls fail with `Planted`; all of them until `heal`, if no number is given. */
  readonly fail: (calls?: number) => Effect.Effect<void>
  /** No call answers until `heal`. */
  readonly hang: Effect.Effect<void>
  /** Calls are answered as if nothing had been, also those that hang. */
  readonly heal: Effect.Effect<void>
}

/**
 * A call failed because the test wanted it to.
 *
 * @since 0.1.0
 * @category errors
 */
export class Planted extends Schema.TaggedError<Planted>("millrace/testing/Planted")("Planted", {
  /** What was made to fail: `sink "results"`, `source "clicks"`, `the store`. */
  place: Schema.String,
  /** What was asked of it. */
  call: Schema.String
}) {
  override get message() {
    return `The test has made ${this.place} fail (${this.call}); \`heal\` makes it well`
  }
}

type Mood =
  | { readonly _tag: "Well" | "Hanging" }
  | { readonly _tag: "Slow"; readonly delay: Duration.Input }
  | { readonly _tag: "Failing"; readonly calls: number }

const well: Mood = { _tag: "Well" }

/**
 * How one place is at the moment. It outlives the lives of the job.
 *
 * @internal
 */
export class Health {
  readonly place: string
  readonly faults: Faults
  private readonly mood = TxRef.makeUnsafe<Mood>(well)

  constructor(place: string, then: Effect.Effect<void>) {
    this.place = place
    const become = (mood: Mood) => Effect.andThen(TxRef.set(this.mood, mood), then)
    this.faults = {
      slow: (delay) => become({ _tag: "Slow", delay }),
      fail: (calls = Infinity) => become(calls > 0 ? { _tag: "Failing", calls } : well),
      hang: become({ _tag: "Hanging" }),
      heal: become(well)
    }
  }

  get isWell(): boolean {
    return this.mood.value._tag === "Well"
  }

  /** What a call goes through before it is done. */
  suffer(call: string): Effect.Effect<void, Planted> {
    return Effect.suspend((): Effect.Effect<void, Planted> => {
      const mood = this.mood.value
      switch (mood._tag) {
        case "Well":
          return Effect.void
        case "Slow":
          return Effect.sleep(mood.delay)
        case "Failing": {
          const failed = Effect.fail(new Planted({ place: this.place, call }))
          const left: Mood = mood.calls > 1 ? { ...mood, calls: mood.calls - 1 } : well
          return Effect.andThen(TxRef.set(this.mood, left), failed)
        }
        case "Hanging":
          return Effect.tx(
            Effect.flatMap(TxRef.get(this.mood), ({ _tag }) => _tag === "Hanging" ? Effect.txRetry : Effect.void)
          )
      }
    })
  }
}

/**
 * One life of a job, from a launch to the next. When it has been killed no call of it does anything or answers.
 *
 * @internal
 */
export class Life {
  isOver = false

  /** A call to the world outside. */
  around<A, E, R>(health: Health, call: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | Planted, R> {
    return Effect.gen({ self: this }, function*() {
      yield* this.alive
      yield* health.suffer(call)
      yield* this.alive
      const exit = yield* Effect.exit(effect)
      yield* this.alive
      return yield* exit
    })
  }

  private get alive(): Effect.Effect<void> {
    return Effect.suspend(() => this.isOver ? Effect.never : Effect.void)
  }
}

/**
 * The places of a job that a test can make ill, by name.
 *
 * @internal
 */
export interface Places {
  readonly sink: (name: string) => Health
  readonly source: (name: string) => Health
  readonly store: Health
}

/** What dead letters are written to has no name in the plan. */
export const deadLetters = "dead letters"

/**
 * The program with everything outside it wrapped.
 *
 * @internal
 */
export const wrapped = (program: Program, life: Life, places: Places): Program => ({
  ...program,
  deadLetters: program.deadLetters && wrappedSink(program.deadLetters, life, places.sink(deadLetters)),
  graph: {
    ...program.graph,
    operators: program.graph.operators.map((operator) => {
      const { node } = operator
      // A queue is found by its identity, and what is in memory is not outside.
      if (node._tag !== "Source" || node.source.body._tag !== "Read") return operator
      return { ...operator, node: { ...node, source: wrappedSource(node.source, life, places.source(node.name)) } }
    }),
    outlets: program.graph.outlets.map((outlet) => ({
      ...outlet,
      sink: wrappedSink(outlet.sink, life, places.sink(outlet.name))
    }))
  }
})

type AnySink = Sink.Sink<never, unknown, unknown>

const wrappedSink = (inner: AnySink, life: Life, health: Health): AnySink => {
  const { open, openEpochs } = inner
  const own: Pick<AnySink, "open" | "openEpochs"> = {
    open: (opening) =>
      Effect.map(life.around(health, "open", open(opening)), ({ end, write }): Sink.Writer<never, unknown> => ({
        write: (rows) => life.around(health, "write", write(rows)),
        ...end === undefined ? {} : { end: life.around(health, "end", end) }
      })),
    openEpochs: openEpochs && ((opening) =>
      Effect.map(
        life.around(health, "open", openEpochs(opening)),
        (writer): Sink.EpochWriter<never, unknown> => ({
          ...writer,
          apply: (application) =>
            life.around(health, `apply epoch ${application.marker.epoch}`, writer.apply(application)),
          ...writer.position === undefined ? {} : { position: wrappedPosition(writer.position, life, health) }
        })
      ))
  }
  return Object.assign(Object.create(Object.getPrototypeOf(inner)), inner, own)
}

const wrappedPosition = (
  { begin, current, isVolatile, knows, rewind }: Sink.SinkPosition<unknown>,
  life: Life,
  health: Health
): Sink.SinkPosition<unknown> => ({
  isVolatile,
  current: life.around(health, "say where it stands", current),
  begin: (marker, from) => life.around(health, "begin", begin(marker, from)),
  ...knows === undefined ? {} : { knows: (to) => life.around(health, "say what it knows", knows(to)) },
  ...rewind === undefined ? {} : { rewind: (to) => life.around(health, "rewind", rewind(to)) }
})

type AnySource = Source.Source<unknown, unknown, unknown>

const wrappedSource = (inner: AnySource, life: Life, health: Health): AnySource => {
  const { body } = inner
  if (body._tag !== "Read") return inner
  const own: typeof body = {
    ...body,
    splits: life.around(health, "name its splits", body.splits),
    open: (split, position) =>
      Effect.map(life.around(health, "open", body.open(split, position)), ({ pull }) => ({
        pull: (max) => life.around(health, "pull", pull(max))
      }))
  }
  return Object.assign(Object.create(Object.getPrototypeOf(inner)), inner, { body: own })
}

type Store = CheckpointStore["Service"]

/**
 * The store as one life of the job sees it.
 *
 * @internal
 */
export const wrappedStore = (inner: Store, life: Life, health: Health): Store => {
  const around = <A, E>(job: string, operation: string, effect: Effect.Effect<A, E>) =>
    Effect.mapError(
      life.around(health, operation, effect),
      (error) => error instanceof Planted ? new CheckpointStoreError({ job, operation, cause: error }) : error
    )
  return CheckpointStore.of({
    isDurable: inner.isDurable,
    database: inner.database,
    acquire: (job) => around(job, "take the job over", inner.acquire(job)),
    commit: (commit) => around(commit.job, `commit epoch ${commit.epoch}`, inner.commit(commit)),
    list: (job) => around(job, "list its epochs", inner.list(job)),
    manifest: (job, epoch) => around(job, `read the manifest of epoch ${epoch}`, inner.manifest(job, epoch)),
    blob: (job, id) => around(job, `read "${id}"`, inner.blob(job, id)),
    remove: (job, attempt, drop) => around(job, "remove what it does not need", inner.remove(job, attempt, drop))
  })
}
