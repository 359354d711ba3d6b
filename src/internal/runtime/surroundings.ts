/** What a job takes from where it was launched, and what it opens there. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { Opening, Sink, Writer } from "../../Sink.ts"
import { nodeFileSystem } from "./nodeFileSystem.ts"

/**
 * The caller's context, with Node's file system where it brings none. Not its scope: whoever opens something says how
 * long it stays open.
 */
export const ambient = Effect.gen(function*() {
  const context = Context.omit(Scope.Scope)(yield* Effect.context<Scope.Scope>())
  const own = Context.getOption(context, FileSystem.FileSystem)
  return Option.isSome(own) ? context : Context.add(context, FileSystem.FileSystem, nodeFileSystem)
})

export const openSink = (
  sink: Sink<never, unknown, unknown>,
  opening: Opening,
  context: Context.Context<never>
): Effect.Effect<Writer<unknown, unknown>, unknown, Scope.Scope> =>
  // The context holds what the sink asks for: the type of `Job.run` has seen to it.
  Effect.provideContext(
    sink.open(opening) as Effect.Effect<Writer<unknown, unknown>, unknown, Scope.Scope | FileSystem.FileSystem>,
    context as Context.Context<FileSystem.FileSystem>
  )

/** One writer for all parts of the job, which take turns. */
export const sharedWriter = (
  sink: Sink<never, unknown, unknown>,
  opening: Opening,
  jobScope: Scope.Scope,
  context: Context.Context<never>
) =>
  Effect.gen(function*() {
    const writer = yield* Scope.provide(openSink(sink, opening, context), jobScope)
    const turns = yield* Semaphore.make(1)
    const shared: Writer<unknown, unknown> = { write: (rows) => turns.withPermits(1)(writer.write(rows)) }
    return writer.end === undefined ? shared : { ...shared, end: writer.end }
  })
