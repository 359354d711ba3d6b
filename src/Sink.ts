/**
 * Where results go. A sink states what it takes (`A`, and which changes besides insertion it can apply) and what it
 * promises (its guarantee).
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import { hasProperty } from "effect/Predicate"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Contravariant, Covariant } from "effect/Types"
import type { Database, Statement } from "./Database.ts"
import type { Changes } from "./Flow.ts"
import type { FileError } from "./internal/plan/FileError.ts"
import { MemoryRows } from "./internal/plan/memorySink.ts"
import * as ndjsonSink from "./internal/plan/ndjsonSink.ts"
import { SinkFenced as SinkFencedClass } from "./internal/plan/SinkFenced.ts"
import * as sqliteSink from "./internal/plan/sqliteSink.ts"
import { byEpoch } from "./internal/plan/upsertSink.ts"
import type { Ambient } from "./Source.ts"
import type { Sqlite, SqliteError } from "./Sqlite.ts"

const TypeId = "~millrace/Sink"

/**
 * `plain`: at least once. `idempotent`: absorbs repeats. `transactional`: applied with its epoch.
 *
 * @since 0.1.0
 * @category models
 */
export type Guarantee = "plain" | "idempotent" | "transactional"

/**
 * An open sink. `write` returns when the rows are where they should be; rows come in order, never two calls at a time.
 *
 * @since 0.1.0
 * @category models
 */
export interface Writer<in A, out E = never> {
  readonly write: (rows: ReadonlyArray<A>) => Effect.Effect<void, E>
  /** Runs once, after the last row of a flow that has ended. */
  readonly end?: Effect.Effect<void, E>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Opening {
  /** 1 until the sink has been opened, more after a restart inside the process. */
  readonly attempt: number
  /** Whether the job begins from nothing; otherwise it goes on, and so does the sink. */
  readonly isFresh: boolean
}

/**
 * Where a sink stands: the last epoch that was applied to it. The lineage is the line of epochs that it belongs to; the
 * digest is that of the rows applied, empty where a lineage begins.
 *
 * @since 0.1.0
 * @category models
 */
export interface Marker {
  readonly lineage: string
  readonly epoch: number
  readonly digest: string
}

/**
 * Rows as a sink wrote them down: what a checkpoint keeps until they are applied.
 *
 * @since 0.1.0
 * @category models
 */
export interface Prepared {
  readonly bytes: Uint8Array
  /** Values without an encoding, by reference. A store that outlives the process refuses them. */
  readonly opaque?: ReadonlyArray<unknown> | undefined
}

/**
 * What one epoch has for a sink.
 *
 * @since 0.1.0
 * @category models
 */
export interface Application {
  /** Where the sink will stand. */
  readonly marker: Marker
  /** Where it must stand now; the sink moves from here or not at all. */
  readonly after: Marker
  /** In order. Empty only where a sink is asked for every epoch. */
  readonly prepared: ReadonlyArray<Prepared>
  readonly rows: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface EpochOpening {
  readonly job: string
  /** The name of the output. */
  readonly sink: string
  /**
   * How the flow's own schema, where it has one, writes a row down and reads it again: for sinks that hand rows on as values
   * and were given no schema.
   */
  readonly codec?: {
    readonly toJson: (row: unknown, opaque: Array<unknown> | undefined) => Schema.Json
    readonly fromJson: (json: Schema.Json, opaque: ReadonlyArray<unknown> | undefined) => unknown
  }
}

/**
 * An open sink that takes whole epochs, each after it is durable. Calls come one at a time. `prepare` runs long before:
 * a row on which it throws goes to the job's error policy.
 *
 * @since 0.1.0
 * @category models
 */
export interface EpochWriter<in A, out E = never> {
  readonly prepare: (rows: ReadonlyArray<A>) => Prepared
  /** Applies an epoch and, where there is a marker, moves it in the same transaction: both or nothing. */
  readonly apply: (application: Application) => Effect.Effect<void, E | SinkFenced>
  /** How the sink remembers where it stands; absent for a sink that only absorbs repeats. */
  readonly position?: SinkPosition<E>
  /**
   * For a store that writes to the same database: what `apply` does, as part of the checkpoint's transaction. If the database
   * refuses one of the statements, the checkpoint is made without them, and `apply` is left to do it.
   */
  readonly alongside?: {
    readonly database: Database
    readonly statements: (application: Application) => ReadonlyArray<Statement>
  }
}

/**
 * The marker of a transactional sink.
 *
 * @since 0.1.0
 * @category models
 */
export interface SinkPosition<out E = never> {
  /** The marker is lost with the process, and so is what was applied. */
  readonly isVolatile: boolean
  /** Undefined where no epoch of this job was ever applied. */
  readonly current: Effect.Effect<Marker | undefined, E>
  /** A job begins from nothing: puts the marker there, whatever was there before (`from`, as it was read). */
  readonly begin: (marker: Marker, from: Marker | undefined) => Effect.Effect<void, E | SinkFenced>
  /** Whether `rewind` could take the sink there; without it, that is found out by trying. */
  readonly knows?: (to: Marker) => Effect.Effect<boolean, E>
  /** Takes the sink back to an earlier marker. False: it does not know that one any more. */
  readonly rewind?: (to: Marker) => Effect.Effect<boolean, E>
}

/**
 * A sink does not stand where an application found it last: somebody else writes to it.
 *
 * @since 0.1.0
 * @category errors
 */
export const SinkFenced = SinkFencedClass
/**
 * @since 0.1.0
 * @category errors
 */
export type SinkFenced = SinkFencedClass

/**
 * @since 0.1.0
 * @category models
 */
export interface Sink<
  in A,
  out E = never,
  out R = never,
  out G extends Guarantee = Guarantee,
  in C extends Changes = never
> extends Pipeable {
  readonly [TypeId]: {
    readonly _A: Contravariant<A>
    readonly _E: Covariant<E>
    readonly _R: Covariant<R>
    readonly _G: Covariant<G>
    readonly _C: Contravariant<C>
  }
  /** What the sink is, for people: `ndjson out/hourly.ndjson`. */
  readonly description: string
  readonly guarantee: G
  /** For rows that are written at once: every plain sink, and any other that is asked for eager delivery. */
  readonly open: (opening: Opening) => Effect.Effect<Writer<A, E>, E, R | Ambient>
  /** For rows that wait for their epoch; undefined for a plain sink. */
  readonly openEpochs:
    | ((opening: EpochOpening) => Effect.Effect<EpochWriter<A, E>, E, R | Ambient>)
    | undefined
}

const Proto = {
  [TypeId]: {
    _A: (_: unknown) => _,
    _E: (_: never) => _,
    _R: (_: never) => _,
    _G: (_: never) => _,
    _C: (_: unknown) => _
  },
  pipe() {
    return pipeArguments(this, arguments)
  }
}

/**
 * @since 0.1.0
 * @category guards
 */
export const isSink = (u: unknown): u is Sink<never, unknown, unknown> => hasProperty(u, TypeId)

/** Every sink is made here. What `Exclude` takes away, `Ambient` gives back when the sink is opened. */
const fromParts = <A, E, R, G extends Guarantee, C extends Changes = never>(parts: {
  readonly description: string
  readonly guarantee: G
  readonly open: (opening: Opening) => Effect.Effect<Writer<A, E>, E, R | Ambient>
  readonly openEpochs: ((opening: EpochOpening) => Effect.Effect<EpochWriter<A, E>, E, R | Ambient>) | undefined
}): Sink<A, E, Exclude<R, Ambient>, G, C> => Object.assign(Object.create(Proto), parts)

/**
 * A sink of your own that writes batches at least once. `open` runs in a scope that closes with the attempt.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, E = never, R = never>(options: {
  readonly description: string
  readonly open: (opening: Opening) => Effect.Effect<Writer<A, E>, E, R | Ambient>
}): Sink<A, E, Exclude<R, Ambient>, "plain"> =>
  fromParts({ description: options.description, guarantee: "plain", open: options.open, openEpochs: undefined })

/**
 * A sink of your own to which writing the same rows again makes no difference. Rows wait until their epoch is durable, so
 * that what is repeated is the same.
 *
 * **Details**
 *
 * Without `openEpochs` the rows of an epoch are written by the writer that `open` gives (with `attempt` 1 and `isFresh`
 * false; its `end` does not run). They are kept in checkpoints as the schema says, or as plain data without one.
 *
 * @since 0.1.0
 * @category constructors
 */
export const idempotent = <A, E = never, R = never>(options: {
  readonly description: string
  readonly schema?: Schema.Codec<A, unknown>
  readonly open: (opening: Opening) => Effect.Effect<Writer<A, E>, E, R | Ambient>
  readonly openEpochs?: (opening: EpochOpening) => Effect.Effect<EpochWriter<A, E>, E, R | Ambient>
}): Sink<A, E, Exclude<R, Ambient>, "idempotent"> =>
  fromParts({
    description: options.description,
    guarantee: "idempotent",
    open: options.open,
    openEpochs: options.openEpochs ?? openedByEpoch(options.open, options.schema)
  })

const openedByEpoch = <A, E, R>(
  open: (opening: Opening) => Effect.Effect<Writer<A, E>, E, R>,
  schema: Schema.Codec<A, unknown> | undefined
) =>
(opening: EpochOpening) =>
  Effect.map(open({ attempt: 1, isFresh: false }), (writer) => byEpoch(writer, schema, opening.codec))

/**
 * A sink of your own that applies the rows of an epoch and moves its marker in one transaction. `open` serves outputs
 * with eager delivery. The last type parameter says which changes besides insertion it applies.
 *
 * @since 0.1.0
 * @category constructors
 */
export const transactional = <A, E = never, R = never, C extends Changes = never>(options: {
  readonly description: string
  readonly open: (opening: Opening) => Effect.Effect<Writer<A, E>, E, R | Ambient>
  readonly openEpochs: (
    opening: EpochOpening
  ) => Effect.Effect<EpochWriter<A, E> & { readonly position: SinkPosition<E> }, E, R | Ambient>
}): Sink<A, E, Exclude<R, Ambient>, "transactional", C> =>
  fromParts({
    description: options.description,
    guarantee: "transactional",
    open: options.open,
    openEpochs: options.openEpochs
  })

/**
 * Runs an effect for every record, one after the other.
 *
 * @since 0.1.0
 * @category constructors
 */
export const forEach = <A, E, R>(
  f: (value: A) => Effect.Effect<unknown, E, R>
): Sink<A, E, Exclude<R, Ambient>, "plain"> =>
  make({
    description: "forEach",
    open: () => writerOf(f)
  })

const writerOf = <A, E, R>(f: (value: A) => Effect.Effect<unknown, E, R>) =>
  Effect.map(Effect.context<R>(), (context): Writer<A, E> => ({
    // Not `f` itself, which would be given the place in the batch as well: `Console.log` prints all it gets.
    write: (rows) => Effect.provideContext(Effect.forEach(rows, (row) => f(row), { discard: true }), context)
  }))

/**
 * Runs an effect for every record, where running it again for the same record makes no difference: it puts a row under its
 * key. Records wait until their epoch is durable and are written in order.
 *
 * **Details**
 *
 * They are kept in checkpoints as the schema says, or as plain data without one.
 *
 * @since 0.1.0
 * @category constructors
 */
export const upsert = <A, E, R>(
  options: ((value: A) => Effect.Effect<unknown, E, R>) | {
    readonly write: (value: A) => Effect.Effect<unknown, E, R>
    readonly schema?: Schema.Codec<A, unknown>
    readonly description?: string
  }
): Sink<A, E, Exclude<R, Ambient>, "idempotent", "updates"> => {
  const { description = "upsert", schema, write } = typeof options === "function" ? { write: options } : options
  const open = () => writerOf(write)
  return fromParts<A, E, R, "idempotent", "updates">({
    description,
    guarantee: "idempotent",
    open,
    openEpochs: openedByEpoch(open, schema)
  })
}

/**
 * A sink for tests that keeps everything in memory. It starts empty whenever a job begins from nothing.
 *
 * @since 0.1.0
 * @category models
 */
export interface MemorySink<in out A> extends Sink<A, never, never, "transactional"> {
  /** What has been applied so far, in order; with eager delivery, what has been written. */
  readonly contents: Effect.Effect<ReadonlyArray<A>>
}

/**
 * Keeps rows in memory, of one output at a time. Rows are kept as plain data, and what is none by reference.
 *
 * @since 0.1.0
 * @category constructors
 */
export const memory = <A>(): MemorySink<A> => {
  const rows = new MemoryRows<A>()
  const sink = fromParts<A, never, never, "transactional">({
    description: "memory",
    guarantee: "transactional",
    open: rows.open,
    openEpochs: rows.openEpochs
  })
  return Object.assign(sink, { contents: rows.contents })
}

/**
 * A file with one JSON value per line. A job that begins from nothing replaces it; folders on the way are made.
 *
 * **Details**
 *
 * Beside the file stands `<path>.millrace.json`, which says which epoch wrote it last and where it ended then: what lies
 * beyond is cut off after a crash. Leave it with the file; without it the job cannot go on, only begin again. A file
 * belongs to one output of one job. When a job goes on after a crash, a copy takes the place of the file, so that a process
 * that wakes late writes to nothing that is read.
 *
 * Values are written by `JSON.stringify`, which turns NaN and ±Infinity into `null`; give a schema to encode them first.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ndjson = <A = unknown>(
  path: string,
  options?: { readonly schema?: Schema.Codec<A, unknown> }
): Sink<A, FileError, never, "transactional"> => {
  const encode = options?.schema === undefined
    ? identity
    : Schema.encodeUnknownSync(Schema.toCodecJson(options.schema))
  return fromParts<A, FileError, never, "transactional">({
    description: `ndjson ${path}`,
    guarantee: "transactional",
    open: ndjsonSink.open(path, encode),
    openEpochs: ndjsonSink.openEpochs(path, encode)
  })
}

/**
 * What the rows of a table are made of.
 *
 * @since 0.1.0
 * @category models
 */
export interface TableOptions<A, N extends string = never> {
  readonly table: string
  /**
   * A column for each name. Strings, numbers and null are stored as they are, undefined, NaN and ±Infinity as NULL,
   * booleans as 1 and 0, dates as ISO text, bytes as Base64, bigints as numbers up to 2 ** 53, anything else as JSON.
   * Without columns, a row is stored as JSON in the column `value`.
   */
  readonly columns?: { readonly [K in N]: (row: A) => unknown }
  /** How a row is written to the column `value`. */
  readonly schema?: Schema.Codec<A, unknown>
  /**
   * What a job that begins from nothing does with the rows in the table: `append`, the default, leaves them, `replace`
   * deletes them.
   */
  readonly onFresh?: "append" | "replace"
}

/**
 * Rows of a table in the database of the context. The table is made where there is none; one that is there needs the
 * columns that are written.
 *
 * **Details**
 *
 * With a `key`, a row replaces the earlier one with the same key: a function whose result goes to a column `key` of its
 * own, or the names of columns. The table then needs a primary key, or a unique index, of just these. Without a key, rows
 * are appended.
 *
 * The table `millrace_sinks` beside it says which epoch was applied last. Where checkpoints live in the same database,
 * rows become part of the checkpoint's own transaction.
 *
 * @since 0.1.0
 * @category constructors
 */
export const sqlite: {
  <A = unknown, N extends string = never>(
    options: TableOptions<A, N> & { readonly key?: never }
  ): Sink<A, SqliteError, Sqlite, "transactional">
  <A, N extends string = never>(
    options: TableOptions<A, N> & { readonly key: ((row: A) => unknown) | NoInfer<N> | ReadonlyArray<NoInfer<N>> }
  ): Sink<A, SqliteError, Sqlite, "transactional", "updates">
} = <A, N extends string>(
  options: TableOptions<A, N> & { readonly key?: sqliteSink.Layout<A>["key"] }
): Sink<A, SqliteError, Sqlite, "transactional", Changes> => {
  const { columns, key, onFresh = "append", schema, table } = options
  const layout = { table, columns, key, schema, onFresh }
  return fromParts<A, SqliteError, Sqlite, "transactional", Changes>({
    description: `sqlite ${table}`,
    guarantee: "transactional",
    open: sqliteSink.open(layout),
    openEpochs: sqliteSink.openEpochs(layout)
  })
}

/**
 * Hands the results to an effect as a `Stream`, with backpressure. The job ends only when the effect has ended; when it
 * ends early, the rest is ignored.
 *
 * @since 0.1.0
 * @category constructors
 */
export const stream = <A, E, R>(
  run: (results: Stream.Stream<A>) => Effect.Effect<unknown, E, R>
): Sink<A, E, Exclude<R, Ambient>, "plain"> =>
  make({
    description: "stream",
    open: Effect.fnUntraced(function*() {
      const queue = yield* Queue.bounded<ReadonlyArray<A>, Cause.Done>(1)
      const consumer = yield* run(Stream.flattenIterable(Stream.fromQueue(queue))).pipe(
        // Turns away whoever waits to offer, now that nobody takes.
        Effect.onExit(() => Queue.shutdown(queue)),
        Effect.forkScoped({ startImmediately: true })
      )
      const ended = Effect.asVoid(Fiber.join(consumer))
      yield* Effect.addFinalizer(() => Fiber.interrupt(consumer))
      return {
        write: (rows) => Effect.flatMap(Queue.offer(queue, rows), (taken) => taken ? Effect.void : ended),
        end: Effect.andThen(Queue.end(queue), ended)
      }
    })
  })
