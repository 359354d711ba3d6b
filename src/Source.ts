/**
 * Where records come from.
 *
 * A source is a value: it says which splits it has and how each is read from a position. Nothing is opened before a job
 * runs. Splits are read independently, each with its own watermark.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import type { Scope } from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { Covariant } from "effect/Types"
import * as csvFile from "./internal/plan/csvFile.ts"
import { FileError as FileErrorClass } from "./internal/plan/FileError.ts"
import * as ndjsonFile from "./internal/plan/ndjsonFile.ts"
import * as readers from "./internal/plan/readers.ts"

const TypeId = "~millrace/Source"

/**
 * A file could not be opened, read or written: the path, what was tried, and the system's reason.
 *
 * @since 0.1.0
 * @category errors
 */
export const FileError = FileErrorClass
/**
 * @since 0.1.0
 * @category errors
 */
export type FileError = FileErrorClass

/**
 * Where a split stands, as JSON: a row number, a byte offset, a topic's offset. Whatever the reader makes of it.
 *
 * @since 0.1.0
 * @category models
 */
export type Position = Schema.Json

/**
 * What the runtime provides to every source and sink: a scope, and the `FileSystem` of the context, or Node's where
 * there is none.
 *
 * @since 0.1.0
 * @category models
 */
export type Ambient = Scope | FileSystem.FileSystem

/**
 * A record that could not be decoded, as it came, with the reason. It goes to the source's error policy.
 *
 * @since 0.1.0
 * @category models
 */
export interface Undecodable {
  readonly original: unknown
  readonly reason: string
}

/**
 * Rows in order. `undecodable` holds by row number those rows that are not records; their places in `rows` are ignored.
 *
 * @since 0.1.0
 * @category models
 */
export interface Chunk<out A> {
  readonly rows: ReadonlyArray<A>
  readonly undecodable?: ReadonlyMap<number, Undecodable> | undefined
  /** The position after so many rows of this chunk (1 to `rows.length`). */
  readonly positionAfter: (rows: number) => Position
}

/**
 * An open split. `pull` waits for at least one row and gives at most `max`; `undefined` is the end.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reader<out A, out E = never> {
  readonly pull: (max: number) => Effect.Effect<Chunk<A> | undefined, E>
}

/**
 * What a full queue does to an offer: make it wait, fail it with `BufferFull`, or drop and count the newest or the
 * oldest record that has not been read.
 *
 * @since 0.1.0
 * @category models
 */
export type Overflow = "suspend" | "fail" | "drop-newest" | "drop-oldest"

/**
 * @since 0.1.0
 * @category models
 */
export type Body<A, E, R> =
  | { readonly _tag: "Memory"; readonly splits: ReadonlyArray<ReadonlyArray<A>> }
  | { readonly _tag: "Queue"; readonly capacity: number; readonly onFull: Overflow; readonly durable: boolean }
  | {
    readonly _tag: "Read"
    /** Whether a split can be opened again at a position; if not, the runtime keeps what is not yet in a checkpoint. */
    readonly replayable: boolean
    readonly splits: Effect.Effect<ReadonlyArray<string>, E, R | Ambient>
    readonly open: (split: string, position: Position | undefined) => Effect.Effect<Reader<A, E>, E, R | Ambient>
  }

/**
 * @since 0.1.0
 * @category models
 */
export interface Source<out A, out E = never, out R = never> extends Pipeable {
  readonly [TypeId]: { readonly _A: Covariant<A>; readonly _E: Covariant<E>; readonly _R: Covariant<R> }
  /** What the source is, for people: `ndjson payments.ndjson`. */
  readonly description: string
  /** Whether it ends by itself. */
  readonly bounded: boolean
  readonly schema: Schema.Codec<unknown, unknown> | undefined
  /** Records a second over all splits of a partition, when the source is slowed down on purpose. */
  readonly perSecond: number | undefined
  readonly body: Body<A, E, R>
}

const Proto = {
  [TypeId]: { _A: (_: never) => _, _E: (_: never) => _, _R: (_: never) => _ },
  pipe() {
    return pipeArguments(this, arguments)
  }
}

const fromBody = <A, E, R>(
  description: string,
  bounded: boolean,
  schema: Schema.Codec<A, unknown> | undefined,
  body: Body<A, E, R>
): Source<A, E, R> => Object.assign(Object.create(Proto), { description, bounded, schema, perSecond: undefined, body })

/**
 * @since 0.1.0
 * @category guards
 */
export const isSource = (u: unknown): u is Source<unknown, unknown, unknown> => hasProperty(u, TypeId)

/**
 * A source of your own: its splits, and a reader for each.
 *
 * **Details**
 *
 * `open` runs in a scope that closes when the reader is no longer needed. With `replayable: true` it must continue exactly
 * after the position it is given; the runtime hands back only positions that readers of the same split reported.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, E = never, R = never>(options: {
  readonly description: string
  readonly bounded: boolean
  readonly replayable: boolean
  readonly schema?: Schema.Codec<A, unknown>
  readonly splits: Effect.Effect<ReadonlyArray<string>, E, R | Ambient>
  readonly open: (split: string, position: Position | undefined) => Effect.Effect<Reader<A, E>, E, R | Ambient>
}): Source<A, E, Exclude<R, Ambient>> =>
  fromBody<A, E, Exclude<R, Ambient>>(options.description, options.bounded, options.schema, {
    _tag: "Read",
    replayable: options.replayable,
    // What `Exclude` takes away here, `Ambient` gives back in the body: TypeScript cannot see that for a generic R.
    splits: options.splits as Effect.Effect<ReadonlyArray<string>, E, Exclude<R, Ambient> | Ambient>,
    open: options.open as (
      split: string,
      position: Position | undefined
    ) => Effect.Effect<Reader<A, E>, E, Exclude<R, Ambient> | Ambient>
  })

/**
 * Records already in memory, as one split. Bounded, replayable.
 *
 * @since 0.1.0
 * @category constructors
 */
export const memory = <A>(
  items: ReadonlyArray<A>,
  options?: { readonly schema?: Schema.Codec<A, unknown> }
): Source<A> => memorySplits([items], options)

/**
 * Records already in memory, one array per split.
 *
 * @since 0.1.0
 * @category constructors
 */
export const memorySplits = <A>(
  splits: ReadonlyArray<ReadonlyArray<A>>,
  options?: { readonly schema?: Schema.Codec<A, unknown> }
): Source<A> =>
  fromBody(splits.length === 1 ? "memory" : `memory, ${splits.length} splits`, true, options?.schema, {
    _tag: "Memory",
    splits
  })

/**
 * Anything that can be iterated; iteration goes on only as fast as the job reads, so it may be endless.
 *
 * **Gotchas**
 *
 * An iterable has no positions: what was read since the last checkpoint is kept in memory, so that a restart inside the
 * process loses nothing, and a restart of the process begins anew.
 *
 * @since 0.1.0
 * @category constructors
 */
export const iterable = <A>(
  items: Iterable<A>,
  options?: { readonly schema?: Schema.Codec<A, unknown> }
): Source<A> =>
  fromBody("iterable", true, options?.schema, {
    _tag: "Read",
    replayable: false,
    splits: Effect.succeed(["0"]),
    open: () =>
      Effect.map(
        // A generator's own clean-up runs when the job ends early, too.
        Effect.acquireRelease(
          Effect.sync(() => items[Symbol.iterator]()),
          (iterator) => Effect.sync(() => void iterator.return?.())
        ),
        readers.fromIterator
      )
  })

/**
 * An Effect `Stream`. It ends when the stream ends, and fails when it fails.
 *
 * **Gotchas**
 *
 * A stream has no positions; see `Source.iterable`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const stream = <A, E, R>(
  self: Stream.Stream<A, E, R>,
  options?: { readonly schema?: Schema.Codec<A, unknown> }
): Source<A, E, R> =>
  fromBody("stream", true, options?.schema, {
    _tag: "Read",
    replayable: false,
    splits: Effect.succeed(["0"]),
    open: () => readers.fromStream(self)
  })

/**
 * A file with one JSON value per line, decoded by the schema. Positions are byte offsets.
 *
 * **Details**
 *
 * Empty lines are skipped. A line that is not JSON, or that the schema refuses, goes to the error policy with its text.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ndjson = <A>(path: string, schema: Schema.Codec<A, unknown>): Source<A, FileError> =>
  make({
    description: `ndjson ${path}`,
    bounded: true,
    replayable: true,
    schema,
    splits: Effect.succeed([path]),
    open: (_, position) => ndjsonFile.read(path, schema, position)
  })

/**
 * A CSV file (RFC 4180) whose first line names the columns. Every row is decoded by the schema from a record of
 * strings, so number columns want `Schema.FiniteFromString`. Positions are row numbers.
 *
 * @since 0.1.0
 * @category constructors
 */
export const csv = <A>(
  path: string,
  schema: Schema.Codec<A, unknown>,
  options?: { readonly separator?: string }
): Source<A, FileError> => {
  const separator = options?.separator ?? ","
  if (separator.length !== 1 || /["\r\n]/.test(separator)) {
    throw new InvalidSource({
      option: "separator",
      value: separator,
      remedy: "give one character, no quote and no line end"
    })
  }
  return make({
    description: `csv ${path}`,
    bounded: true,
    replayable: true,
    schema,
    splits: Effect.succeed([path]),
    open: (_, position) => csvFile.read(path, schema, position, separator)
  })
}

/**
 * A bounded queue that the application pushes into while the job runs: `handle.push(source, record)`.
 *
 * @since 0.1.0
 * @category models
 */
export interface QueueSource<out A> extends Source<A> {
  readonly body: Extract<Body<A, never, never>, { readonly _tag: "Queue" }>
}

/**
 * A bounded queue at the edge of the application.
 *
 * **Details**
 *
 * `capacity` counts records offered and not yet read (default 1,024). What was read since the last checkpoint is kept as
 * well, so that a restart inside the process loses nothing: at most `capacity` or 1,024 records, whichever is more, and as
 * many again as may wait. A checkpoint is taken early when that is reached.
 *
 * With `durable: true` an offer waits until a checkpoint holds its record, and a checkpoint is taken as soon as one waits:
 * what was offered successfully survives the process, if the store does. An offer that was interrupted, or whose process
 * ended, may have been taken all the same; whoever offers it again offers it twice.
 *
 * @since 0.1.0
 * @category constructors
 */
export const queue = <A>(options?: {
  readonly capacity?: number
  readonly onFull?: Overflow
  /** An offer succeeds only when a checkpoint holds the record. False by default. */
  readonly durable?: boolean
  readonly schema?: Schema.Codec<A, unknown>
}): QueueSource<A> => {
  const capacity = options?.capacity ?? 1024
  if (!Number.isInteger(capacity) || capacity < 1) {
    throw new InvalidSource({
      option: "capacity",
      value: capacity,
      remedy: "give a whole number of records, 1 or more"
    })
  }
  const onFull = options?.onFull ?? "suspend"
  const durable = options?.durable ?? false
  if (durable && (onFull === "drop-newest" || onFull === "drop-oldest")) {
    throw new InvalidSource({
      option: "durable",
      value: durable,
      remedy: `give onFull "suspend" or "fail": what is dropped is in no checkpoint`
    })
  }
  return fromBody("queue", false, options?.schema, {
    _tag: "Queue",
    capacity,
    onFull,
    durable
  }) as QueueSource<A>
}

/**
 * Slows a source down to so many records a second, measured on the `Clock` service.
 *
 * @since 0.1.0
 * @category combinators
 */
export const paced = <A, E, R>(self: Source<A, E, R>, options: { readonly perSecond: number }): Source<A, E, R> => {
  if (!(options.perSecond > 0)) {
    throw new InvalidSource({ option: "perSecond", value: options.perSecond, remedy: "give a rate above 0" })
  }
  return Object.assign(Object.create(Proto), self, { perSecond: options.perSecond })
}

/**
 * A source was described with an option that makes no sense. Thrown when the source is made.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidSource extends Schema.TaggedError<InvalidSource>("millrace/InvalidSource")("InvalidSource", {
  option: Schema.String,
  value: Schema.Unknown,
  remedy: Schema.String
}) {
  override get message() {
    return `Source option "${this.option}" is ${String(this.value)}: ${this.remedy}`
  }
}
