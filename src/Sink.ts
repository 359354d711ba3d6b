/**
 * Where results go. A sink states what it takes (`A`, and which changes besides insertion it can apply) and what it
 * promises (its guarantee).
 *
 * @since 0.1.0
 */
import * as ByteSize from "effect/ByteSize"
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import { identity } from "effect/Function"
import * as MutableRef from "effect/MutableRef"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import { hasProperty } from "effect/Predicate"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Contravariant, Covariant } from "effect/Types"
import type { Changes } from "./Flow.ts"
import { at, FileError } from "./internal/plan/FileError.ts"
import { encodeLines } from "./internal/plan/ndjsonFile.ts"
import type { Ambient } from "./Source.ts"

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
  /** 1 when the job starts, more after a restart: a plain sink then goes on where it was. */
  readonly attempt: number
}

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
  readonly open: (opening: Opening) => Effect.Effect<Writer<A, E>, E, R | Ambient>
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

/**
 * A sink of your own that writes batches at least once. `open` runs in a scope that closes with the attempt.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, E = never, R = never>(options: {
  readonly description: string
  readonly open: (opening: Opening) => Effect.Effect<Writer<A, E>, E, R | Ambient>
}): Sink<A, E, Exclude<R, Ambient>, "plain"> => Object.assign(Object.create(Proto), { ...options, guarantee: "plain" })

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
    open: () =>
      Effect.map(Effect.context<R>(), (context): Writer<A, E> => ({
        // Not `f` itself, which would be given the place in the batch as well: `Console.log` prints all it gets.
        write: (rows) => Effect.provideContext(Effect.forEach(rows, (row) => f(row), { discard: true }), context)
      }))
  })

/**
 * A sink for tests that keeps everything in memory. It starts empty whenever a job starts.
 *
 * @since 0.1.0
 * @category models
 */
export interface MemorySink<in out A> extends Sink<A, never, never, "plain"> {
  /** What has been written so far, in order of writing. */
  readonly contents: Effect.Effect<ReadonlyArray<A>>
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const memory = <A>(): MemorySink<A> => {
  const written = MutableRef.make<Array<A>>([])
  const sink = make<A>({
    description: "memory",
    open: ({ attempt }) =>
      Effect.sync(() => {
        if (attempt === 1) MutableRef.set(written, [])
        return {
          write: (rows) =>
            Effect.sync(() => {
              for (const row of rows) written.current.push(row)
            })
        }
      })
  })
  return Object.assign(sink, { contents: Effect.sync(() => written.current.slice()) })
}

/**
 * A file with one JSON value per line. An earlier file is replaced; folders on the way are made.
 *
 * **Details**
 *
 * Values are written by `JSON.stringify`, which turns NaN and ±Infinity into `null`; give a schema to encode them first.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ndjson = <A = unknown>(
  path: string,
  options?: { readonly schema?: Schema.Codec<A, unknown> }
): Sink<A, FileError, never, "plain"> =>
  make({
    description: `ndjson ${path}`,
    open: Effect.fnUntraced(function*({ attempt }) {
      const fileSystem = yield* FileSystem.FileSystem
      const folder = path.replace(/[/\\][^/\\]*$/, "")
      if (folder !== path && folder !== "") {
        yield* at(folder, "make the folder")(fileSystem.makeDirectory(folder, { recursive: true }))
      }
      const file = yield* at(path, "open")(fileSystem.open(path, { flag: attempt === 1 ? "w" : "a" }))
      let { size } = yield* at(path, "look at")(file.stat)
      const encode = options?.schema === undefined
        ? identity
        : Schema.encodeUnknownSync(Schema.toCodecJson(options.schema))
      const utf8 = new TextEncoder()
      return {
        write: Effect.fnUntraced(function*(rows) {
          const bytes = yield* Effect.try({
            try: () => utf8.encode(encodeLines(rows, encode)),
            catch: (cause) => new FileError({ path, operation: "encode a record for", cause })
          })
          yield* at(path, "write")(file.writeAll(bytes)).pipe(
            // Later attempts append: half a line would spoil their first one.
            Effect.tapError(() => Effect.ignore(file.truncate(Number(size)))),
            Effect.uninterruptible
          )
          size = ByteSize.bytes(size + BigInt(bytes.length))
        })
      }
    })
  })

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
