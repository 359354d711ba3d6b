/** Readers over what is already in the process, and what all readers share. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Pull from "effect/Pull"
import type { Scope } from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Chunk, Reader, Undecodable } from "../../Source.ts"

/** Rows without positions: their number since the split was opened. */
export const counted = <A>(rows: ReadonlyArray<A>, before: number): Chunk<A> => ({
  rows,
  positionAfter: (taken) => before + taken
})

/** Rows in memory, from a position on; positions are row numbers. */
export const fromArray = <A>(all: ReadonlyArray<A>, from: number): Reader<A> => {
  let read = from
  return {
    pull: (max) =>
      Effect.sync(() => {
        const chunk = counted(all.slice(read, read + max), read)
        read += chunk.rows.length
        return chunk.rows.length === 0 ? undefined : chunk
      })
  }
}

export const fromIterator = <A>(iterator: Iterator<A>): Reader<A> => {
  let read = 0
  let ended = false
  return {
    pull: (max) =>
      Effect.sync(() => {
        const rows: Array<A> = []
        while (!ended && rows.length < max) {
          const next = iterator.next()
          if (next.done === true) ended = true
          else rows.push(next.value)
        }
        if (rows.length === 0) return undefined
        const chunk = counted(rows, read)
        read += rows.length
        return chunk
      })
  }
}

export const fromStream = <A, E, R>(stream: Stream.Stream<A, E, R>): Effect.Effect<Reader<A, E>, never, R | Scope> =>
  Effect.gen(function*() {
    const context = yield* Effect.context<R>()
    const next = yield* Stream.toPull(stream)
    let read = 0
    let waiting: ReadonlyArray<A> = []
    let taken = 0
    const take = (max: number): Chunk<A> => {
      const chunk = counted(waiting.slice(taken, taken + max), read)
      read += chunk.rows.length
      taken += chunk.rows.length
      return chunk
    }
    return {
      pull: Effect.fnUntraced(function*(max) {
        if (taken === waiting.length) {
          const rows = yield* next.pipe(Pull.catchDone(() => Effect.succeed([])), Effect.provideContext(context))
          if (rows.length === 0) return undefined
          waiting = rows
          taken = 0
        }
        return take(max)
      })
    }
  })

/** Makes rows of what was read; what the decoder refuses stays as it came, with the reason. */
export const decoded = <Raw, A>(
  raw: ReadonlyArray<Raw>,
  decode: (raw: Raw) => A,
  positionAfter: Chunk<A>["positionAfter"],
  reword: (reason: string) => string = identity
): Chunk<A> => {
  let undecodable: Map<number, Undecodable> | undefined
  const rows = raw.map((original, row) => {
    try {
      return decode(original)
    } catch (cause) {
      undecodable ??= new Map()
      undecodable.set(row, { original, reason: reword(reasonOf(cause)) })
      // Never looked at: `undecodable` names this row.
      return undefined as A
    }
  })
  return { rows, undecodable, positionAfter }
}

/** Turns anything thrown into one line that a person can read, whatever it is: it must not throw for want of words. */
export const reasonOf = (cause: unknown): string => {
  try {
    const text = cause instanceof Error ? String(cause.message) : Cause.pretty(Cause.die(cause))
    return text.replaceAll(/\s*\n\s*/g, " ")
  } catch {
    return "something that cannot be shown was thrown"
  }
}
