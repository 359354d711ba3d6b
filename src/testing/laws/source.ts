/** The laws of sources. */
import * as Effect from "effect/Effect"
import { format } from "effect/Formatter"
import type { Scope } from "effect/Scope"
import { ambient } from "../../internal/runtime/surroundings.ts"
import type * as Source from "../../Source.ts"
import { holds, type Law, law, same, Violation } from "./law.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface SourceOptions {
  /** Rows of each split that are looked at, for sources that are long, or have no end. 200 by default. */
  readonly rows?: number
  /** Sizes of batches that are tried. */
  readonly batches?: ReadonlyArray<number>
}

/** A row as the runtime sees it: a record, or what could not be decoded; and the position after it. */
interface Row {
  readonly row: unknown
  readonly position: Source.Position
}

/**
 * What the runtime relies on in a source of one's own, as long as nobody writes to what it reads: splits are stable, rows do
 * not depend on the size of batches, no pull gives more than was asked for, positions are JSON, and a split that is opened at
 * the position of a row gives the rest. Of one that is not replayable only what has no positions is asked.
 *
 * @since 0.1.0
 * @category laws
 */
export const source = <A, E>(self: Source.Source<A, E>, options: SourceOptions = {}): ReadonlyArray<Law> => {
  const { batches = [1, 2, 3, 7, 64], rows: most = 200 } = options
  const { body } = self
  if (body._tag !== "Read") throw new RangeError(`Laws.source: nothing is read from "${self.description}"`)
  const read = body
  const scoped = <B>(effect: Effect.Effect<B, unknown, Source.Ambient>): Effect.Effect<B, unknown> =>
    Effect.scoped(Effect.flatMap(ambient, (context) =>
      // The ambient context has a file system, which its type does not say.
      Effect.provideContext(effect as Effect.Effect<B, unknown, Scope>, context) as Effect.Effect<B, unknown, Scope>))
  const splits = scoped(read.splits as Effect.Effect<ReadonlyArray<string>, E, Source.Ambient>)

  const rowsOf = (split: string, position: Source.Position | undefined, batch: number, wanted: number) =>
    scoped(Effect.gen(function*() {
      const { pull } = yield* read.open(split, position)
      const rows: Array<Row> = []
      while (rows.length < wanted) {
        const chunk = yield* pull(batch)
        if (chunk === undefined) return rows
        holds(
          chunk.rows.length >= 1 && chunk.rows.length <= batch,
          `1 to ${batch} rows`,
          chunk.rows.length,
          `split "${split}", pull(${batch})`
        )
        for (const [at, row] of chunk.rows.entries()) {
          const refused = chunk.undecodable?.get(at)
          rows.push({
            row: refused === undefined ? row : { undecodable: refused },
            position: chunk.positionAfter(at + 1)
          })
        }
      }
      return rows.slice(0, wanted)
    }))
  const values = (rows: ReadonlyArray<Row>) => rows.map(({ row }) => row)
  const inEach = (check: (split: string) => Effect.Effect<void, unknown>) =>
    Effect.flatMap(splits, (all) => Effect.forEach(all, check, { discard: true }))
  const declare = (name: string, check: Effect.Effect<void, unknown>) => law("source", name, check)

  const laws = [
    declare(
      "splits are the same each time, each with a name of its own",
      Effect.gen(function*() {
        const first = yield* splits
        same(yield* splits, first, "the second time")
        same(new Set(first).size, first.length, `different names in ${format(first)}`)
      })
    ),
    declare(
      "a pull gives at least one row, and no more than was asked for",
      inEach((split) => Effect.asVoid(Effect.forEach(batches, (batch) => rowsOf(split, undefined, batch, most))))
    )
  ]
  if (!read.replayable) return laws
  return [
    ...laws,
    declare(
      "rows do not depend on the size of batches",
      inEach(Effect.fnUntraced(function*(split) {
        const expected = yield* rowsOf(split, undefined, 1, most)
        for (const batch of batches) {
          const found = yield* rowsOf(split, undefined, batch, most)
          same(values(found), values(expected), `split "${split}", batches of ${batch} and of 1`)
        }
      }))
    ),
    declare(
      "positions are JSON",
      inEach(Effect.fnUntraced(function*(split) {
        for (const [at, { position }] of (yield* rowsOf(split, undefined, 1, most)).entries()) {
          const text = JSON.stringify(position)
          if (text === undefined) throw new Violation(format(position), "JSON", `split "${split}", row ${at}`)
          same(JSON.parse(text), position, `split "${split}", row ${at}`)
        }
      }))
    ),
    declare(
      "opened at the position of a row, it gives the rest",
      inEach(Effect.fnUntraced(function*(split) {
        for (const [number, batch] of batches.entries()) {
          const all = yield* rowsOf(split, undefined, batch, most)
          for (const [at, { position }] of all.entries()) {
            // Of many rows each is taken with one size of batches.
            if (all.length > 20 && at % batches.length !== number) continue
            const left = all.length - at - 1
            // One more, where all have been seen: there must be none.
            const wanted = all.length < most ? left + 1 : left
            const rest = yield* rowsOf(split, JSON.parse(JSON.stringify(position)), batch, wanted)
            const where = `split "${split}", opened at ${
              JSON.stringify(position)
            }, after row ${at}, batches of ${batch}`
            same(values(rest), values(all.slice(at + 1)), where)
          }
        }
      }))
    )
  ]
}
