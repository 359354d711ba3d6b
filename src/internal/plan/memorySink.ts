/** Rows and a marker in memory, which live as long as the process. */
import * as Effect from "effect/Effect"
import type { EpochOpening, EpochWriter, Marker, Opening, SinkPosition, Writer } from "../../Sink.ts"
import { preparedRows } from "./preparedRows.ts"
import { hasMoved, isSame, type SinkFenced } from "./SinkFenced.ts"

/** Where the sink stood, and how many rows it held there. */
interface Place {
  readonly marker: Marker
  readonly rows: number
}

export class MemoryRows<A> {
  private rows: Array<A> = []
  /** Whose epochs these are; nobody's, once rows were written outside epochs. */
  private owner: EpochOpening | undefined
  /** One for each epoch since the job began, newest last. */
  private places: Array<Place> = []

  readonly contents: Effect.Effect<ReadonlyArray<A>> = Effect.sync(() => this.rows.slice())

  readonly open = ({ attempt, isFresh }: Opening): Effect.Effect<Writer<A>> =>
    Effect.sync(() => {
      if (isFresh && attempt === 1) this.rows = []
      this.own(undefined)
      return { write: (rows) => Effect.sync(() => this.append(rows)) }
    })

  readonly openEpochs = (
    opening: EpochOpening
  ): Effect.Effect<EpochWriter<A> & { readonly position: SinkPosition }> => {
    const { prepare, rowsOf } = preparedRows<A>(undefined, opening.codec)
    /** Without a pause between looking and moving, in which another writer could move. */
    const move = (from: Marker | undefined, to: Marker, change: () => void): Effect.Effect<void, SinkFenced> =>
      Effect.suspend(() => {
        const moved = hasMoved(opening.sink, this.standing(opening), from, to)
        if (typeof moved !== "boolean") return Effect.fail(moved)
        if (!moved) {
          change()
          this.places.push({ marker: to, rows: this.rows.length })
        }
        return Effect.void
      })
    return Effect.succeed({
      prepare,
      apply: ({ after, marker, prepared }) =>
        move(after, marker, () => {
          // All of them are read before the first is kept.
          for (const rows of prepared.map(rowsOf)) this.append(rows)
        }),
      position: {
        isVolatile: true,
        current: Effect.sync(() => this.standing(opening)),
        begin: (marker, from) =>
          move(from, marker, () => {
            this.rows = []
            this.own(opening)
          }),
        knows: (to) =>
          Effect.sync(() =>
            this.standing(opening) !== undefined && this.places.some(({ marker }) => isSame(marker, to))
          ),
        rewind: (to) =>
          Effect.sync(() => {
            if (this.standing(opening) === undefined) return false
            const found = this.places.findLastIndex(({ marker }) => isSame(marker, to))
            if (found === -1) return false
            this.places.length = found + 1
            this.rows.length = this.places[found]!.rows
            return true
          })
      }
    })
  }

  private standing({ job, sink }: EpochOpening): Marker | undefined {
    return this.owner?.job === job && this.owner.sink === sink ? this.places.at(-1)?.marker : undefined
  }

  private own(owner: EpochOpening | undefined): void {
    this.owner = owner
    this.places = []
  }

  /** One by one: as arguments of one `push`, a large batch would overflow the stack. */
  private append(rows: ReadonlyArray<A>): void {
    for (const row of rows) this.rows.push(row)
  }
}
