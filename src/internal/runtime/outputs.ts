/** The end of a flow: takes rows from the partitions to a sink, at once or into the epoch that is open. */
import * as Effect from "effect/Effect"
import { format } from "effect/Formatter"
import * as TxRef from "effect/TxRef"
import type { DeadLetter } from "../../DeadLetter.ts"
import type { ErrorPolicy } from "../../ErrorPolicy.ts"
import { OperatorFailed, RowNotEncodable } from "../../FlowError.ts"
import type { Prepared, Writer } from "../../Sink.ts"
import { settled } from "../machine/operator.ts"
import { reasonOf } from "../plan/readers.ts"
import type { Applier } from "./applier.ts"
import { atStart, type Channel, type Cursor, outstanding } from "./batch.ts"
import { waitUntil } from "./inlet.ts"

/** Where rows go: to a writer at once, or down on paper until their epoch is durable. */
export type Destination =
  | { readonly _tag: "AtOnce"; readonly writer: Writer<unknown, unknown> }
  | { readonly _tag: "ByEpoch"; readonly applier: Applier }

/** A channel that leads here. */
export interface Producer {
  readonly channel: () => Channel
  /** Rows of the producer's last step that found no room in the channel. */
  readonly spilled: () => ReadonlyArray<unknown>
  readonly finished: () => boolean
  readonly read: Effect.Effect<unknown>
}

interface OutputRecord {
  readonly version: number
  readonly cursors: ReadonlyArray<Cursor>
  /** Rows taken of those that a restore carried over. */
  readonly carried: number
  /** How much has been written down, of all that ever was in this attempt. */
  readonly sheets: number
}

/** What some rows became; none of them, where all were refused. */
interface Sheet {
  readonly prepared: Prepared | undefined
  readonly rows: number
  /** Those that could not be written down. */
  readonly letters: ReadonlyArray<DeadLetter>
}

/** What an epoch has for a sink. */
export interface Sealed {
  readonly prepared: ReadonlyArray<Prepared>
  readonly rows: number
  readonly bytes: number
  /** For the dead letters of the same epoch. */
  readonly letters: ReadonlyArray<DeadLetter>
}

export interface OutputOptions {
  readonly name: string
  /** Undefined for the dead letters. */
  readonly outlet: number | undefined
  readonly destination: Destination
  readonly producers: ReadonlyArray<Producer>
  /** Rows that waited for the sink when the checkpoint was taken. */
  readonly carried: ReadonlyArray<unknown>
  readonly policy: ErrorPolicy
  /** Takes what cannot be written down; undefined where nobody does. */
  readonly deadLetters: Destination | undefined
  /** Whether more may be written down. */
  readonly hasCredit: () => boolean
  /** What to read to hear of more credit. */
  readonly credit: ReadonlyArray<Effect.Effect<unknown>>
  /** Half of what may be kept is kept. */
  readonly press: Effect.Effect<void>
}

const enough = 4096

export class Output {
  readonly name: string
  readonly outlet: number | undefined
  readonly destination: Destination
  readonly record: TxRef.TxRef<OutputRecord>
  /** Rows written at once, in this attempt. */
  written = 0
  /** Rows that could not be written down, in this attempt: skipped, or sent to the dead letters. */
  refused = 0
  /** Written down since the last cut, in bytes. */
  openBytes = 0
  /** Waits because no more may be written down. */
  isStarved = false
  private readonly options: OutputOptions
  /** Written down since the last cut; the record says how many of them count. */
  private sheets: Array<Sheet> = []
  /** Number of the first of them. */
  private firstSheet = 0

  constructor(options: OutputOptions) {
    this.options = options
    this.name = options.name
    this.outlet = options.outlet
    this.destination = options.destination
    const cursors = options.producers.map(() => atStart)
    this.record = TxRef.makeUnsafe<OutputRecord>({ version: 0, cursors, carried: 0, sheets: 0 })
  }

  /** Runs until every producer has finished and all of its rows have been taken. */
  get run(): Effect.Effect<void, unknown> {
    return Effect.gen({ self: this }, function*() {
      const { carried } = this.options
      while (this.record.value.carried < carried.length) {
        const from = this.record.value.carried
        const rows = carried.slice(from, from + enough)
        yield* this.take(rows, (record) => ({ ...record, carried: from + rows.length }))
      }
      const reads = this.options.producers.map(({ read }) => read)
      while (!this.hasEnded()) {
        if (!this.hasRows()) yield* waitUntil(reads, () => this.hasRows() || this.hasEnded())
        for (const [i, { channel }] of this.options.producers.entries()) {
          if (!this.waits(i)) continue
          const { base, items } = channel()
          const first = this.record.value.cursors[i]!.batch - base
          // All that waits is written at once; written down it counts, so that only as much is taken as there is credit for.
          const last = this.destination._tag === "AtOnce" ? items.length : first + 1
          const batches = items.slice(first, last)
          const rows = batches.length === 1 ? batches[0]!.values : batches.flatMap(({ values }) => values)
          const cursor = { batch: base + last, row: 0, step: 0 }
          yield* this.take(rows, (record) => ({ ...record, cursors: record.cursors.with(i, cursor) }))
        }
      }
    })
  }

  /** No row waits here. */
  get isIdle(): boolean {
    return this.record.value.carried === this.options.carried.length && !this.hasRows()
  }

  /** Rows that wait here, in the order in which they will be taken. */
  queued(): ReadonlyArray<unknown> {
    const { carried, cursors } = this.record.value
    return [
      ...this.options.carried.slice(carried),
      ...this.options.producers.flatMap(({ channel, spilled }, i) => {
        const { base, items } = channel()
        return [...items.slice(cursors[i]!.batch - base).flatMap(({ values }) => values), ...spilled()]
      })
    ]
  }

  /** What the epoch that ends now has for the sink. */
  seal(): Sealed {
    const count = this.record.value.sheets - this.firstSheet
    const sheets = this.sheets.splice(0, count)
    this.firstSheet += count
    this.openBytes -= bytesOf(sheets)
    const prepared = sheets.flatMap(({ prepared }) => prepared === undefined ? [] : [prepared])
    return {
      prepared,
      rows: sheets.reduce((sum, { rows }) => sum + rows, 0),
      bytes: prepared.reduce((sum, { bytes }) => sum + bytes.length, 0),
      letters: sheets.flatMap(({ letters }) => letters)
    }
  }

  private waits(i: number): boolean {
    return outstanding(this.options.producers[i]!.channel(), this.record.value.cursors[i]!) > 0
  }

  private hasRows(): boolean {
    return this.options.producers.some((_, i) => this.waits(i))
  }

  private hasEnded(): boolean {
    return this.options.producers.every(({ finished }, i) => finished() && !this.waits(i))
  }

  /** Takes rows, and says so in the record: at once, or not at all. */
  private take(
    rows: ReadonlyArray<unknown>,
    after: (record: OutputRecord) => OutputRecord
  ): Effect.Effect<void, unknown> {
    const { destination } = this
    if (destination._tag === "AtOnce") {
      return (rows.length === 0 ? Effect.void : destination.writer.write(rows)).pipe(
        Effect.andThen(this.commit(after)),
        Effect.andThen(Effect.sync(() => void (this.written += rows.length)))
      )
    }
    return Effect.gen({ self: this }, function*() {
      yield* this.awaitCredit
      const sheets = rows.length === 0 ? [] : yield* this.writtenDown(destination.applier, rows)
      const { deadLetters } = this.options
      if (deadLetters?._tag === "AtOnce") {
        const letters = sheets.flatMap(({ letters }) => letters)
        if (letters.length > 0) yield* deadLetters.writer.write(letters)
      }
      // Nothing counts before the record says so: a cut may come at any moment.
      yield* Effect.suspend(() => {
        this.sheets.push(...sheets)
        this.openBytes += bytesOf(sheets)
        return this.commit((record) => ({ ...after(record), sheets: record.sheets + sheets.length }))
      })
      yield* this.options.press
    })
  }

  private get awaitCredit(): Effect.Effect<void> {
    const { credit, hasCredit } = this.options
    return Effect.suspend(() => {
      if (hasCredit()) return Effect.void
      this.isStarved = true
      return Effect.andThen(waitUntil(credit, hasCredit), Effect.sync(() => void (this.isStarved = false)))
    })
  }

  private commit(after: (record: OutputRecord) => OutputRecord): Effect.Effect<void> {
    return Effect.tx(TxRef.update(this.record, (record) => ({ ...after(record), version: record.version + 1 })))
  }

  /** The whole batch, or row by row when one of them is at fault. */
  private writtenDown(
    applier: Applier,
    rows: ReadonlyArray<unknown>
  ): Effect.Effect<ReadonlyArray<Sheet>, OperatorFailed | RowNotEncodable> {
    return Effect.suspend(() => {
      try {
        return Effect.succeed([{ prepared: applier.prepare(rows), rows: rows.length, letters: [] }])
      } catch {
        return Effect.forEach(
          rows,
          (row) =>
            Effect.suspend((): Effect.Effect<Sheet, OperatorFailed | RowNotEncodable> => {
              try {
                return Effect.succeed({ prepared: applier.prepare([row]), rows: 1, letters: [] })
              } catch (error) {
                const prepared = this.described(applier, row)
                if (prepared !== undefined) return Effect.succeed({ prepared, rows: 1, letters: [] })
                return Effect.map(this.refuse(row, error), (letters) => ({ prepared: undefined, rows: 0, letters }))
              }
            })
        )
      }
    })
  }

  /** A dead letter that cannot be written down for its original is written down with a description of it. */
  private described(applier: Applier, row: unknown): Prepared | undefined {
    return this.outlet === undefined ? lettersOf(applier, [row as DeadLetter])[0] : undefined
  }

  private refuse(
    row: unknown,
    error: unknown
  ): Effect.Effect<ReadonlyArray<DeadLetter>, OperatorFailed | RowNotEncodable> {
    const { deadLetters, name, policy } = this.options
    const { _tag } = settled(policy)
    this.refused++
    if (_tag === "Skip") return Effect.succeed([])
    if (_tag === "DeadLetter" && deadLetters !== undefined) {
      const origin = { operator: name, partition: 0, timestamp: undefined, key: undefined, origin: undefined }
      return Effect.succeed([{ ...origin, original: row, reason: reasonOf(error) }])
    }
    if (error instanceof RowNotEncodable) return Effect.fail(error)
    return Effect.fail(new OperatorFailed({ operator: name, partition: 0, record: row, cause: error }))
  }
}

const bytesOf = (sheets: ReadonlyArray<Sheet>): number =>
  sheets.reduce((sum, { prepared }) => sum + (prepared?.bytes.length ?? 0), 0)

/** Writes dead letters down, whatever their originals are. */
export const lettersOf = (applier: Applier, letters: ReadonlyArray<DeadLetter>): ReadonlyArray<Prepared> => {
  try {
    return [applier.prepare(letters)]
  } catch {
    return letters.map((letter) => {
      try {
        return applier.prepare([letter])
      } catch {
        return applier.prepare([{ ...letter, original: format(letter.original) }])
      }
    })
  }
}
