/**
 * The near end of a source's split: rows that have arrived, numbered from zero, and who waits for them.
 *
 * What was read but is not in a checkpoint yet is kept where the source cannot give it again.
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as TxRef from "effect/TxRef"
import { SourceInvalid } from "../../FlowError.ts"
import type { Chunk, Position, Reader, Undecodable } from "../../Source.ts"

/** Stands among the rows of a queue, where nobody offered a record: event time has come so far. */
export class Advance {
  readonly eventTime: number
  constructor(eventTime: number) {
    this.eventTime = eventTime
  }
}

/** Rows `from … to` of a chunk. */
export interface View {
  readonly rows: ReadonlyArray<unknown>
  readonly undecodable: ReadonlyMap<number, Undecodable> | undefined
  /** Some of the rows of the chunk are an `Advance`. */
  readonly hasAdvances: boolean
  readonly from: number
  readonly to: number
}

interface Piece {
  readonly chunk: Chunk<unknown>
  /** Number of its first row. */
  readonly start: number
  hasAdvances?: boolean
}

export interface InletOptions {
  readonly split: string
  /** Rows that may wait to be read. */
  readonly capacity: number
  /** Whether the source can be opened at a position; otherwise rows stay until they are acknowledged. */
  readonly replayable: boolean
}

export class Inlet {
  readonly split: string
  readonly capacity: number
  readonly replayable: boolean
  /** Changes whenever `available` may have. */
  readonly changed = TxRef.makeUnsafe(0)
  failure: Cause.Cause<unknown> | undefined
  /** The most rows that ever waited here. */
  peak = 0
  /** The most rows that were ever kept for a restart. */
  mostRetained = 0
  /** Somebody waits for room and wants to hear of it. */
  isAwaited = false
  /** Rows dropped by the overflow policy. */
  dropped = 0
  /** The job has ended: nothing that happens here will ever be in a checkpoint. */
  isAbandoned = false
  /** Offers that wait until a checkpoint holds them. */
  awaitingCheckpoint = 0
  private pieces: Array<Piece> = []
  private end = 0
  private closed = false
  /** The reader of rows has come so far, by its last commit. */
  private consumed = 0
  /** The farthest that a reader has ever come, in this attempt or an earlier one, committed or not. */
  private reached = 0
  private acknowledged = 0
  /** Where this run of the job began to number rows. */
  private base = 0
  /** Pacing: rows from here on may not be read yet. */
  private allowed = Infinity

  constructor(options: InletOptions) {
    this.split = options.split
    this.capacity = options.capacity
    this.replayable = options.replayable
  }

  /** All rows are here for good: a cursor means the same in every attempt. */
  isWhole = false

  /** Everything at once, for rows that are in memory anyway. */
  static over(split: string, chunk: Chunk<unknown>): Inlet {
    const inlet = new Inlet({ split, capacity: chunk.rows.length, replayable: true })
    if (chunk.rows.length > 0) inlet.append(chunk)
    inlet.closed = true
    inlet.isWhole = true
    return inlet
  }

  /** Rows that nobody has read yet. */
  get fill(): number {
    return Math.max(0, this.end - this.reached)
  }

  /** Rows read and kept until a checkpoint has them. */
  get retained(): number {
    return this.replayable ? 0 : this.reached - this.acknowledged
  }

  /** A checkpoint is wanted: no more can be kept. */
  get isPressed(): boolean {
    // Rows that a restart has yet to read again are not helped by a checkpoint.
    const unkept = this.consumed - this.acknowledged
    return !this.replayable && (unkept >= this.comfortable || (this.awaitingCheckpoint > 0 && unkept > 0))
  }

  /** How many rows are kept for a restart at most, besides those waiting. */
  get retention(): number {
    return this.comfortable + this.capacity
  }

  /** From here on a checkpoint is asked for; until it comes there is still room. */
  private get comfortable(): number {
    return Math.max(this.capacity, 1024)
  }

  /** Rows that can be read now from a cursor. */
  available(cursor: number): number {
    const limit = this.replayable ? Infinity : this.acknowledged + this.retention
    return Math.min(this.end, this.allowed, limit) - cursor
  }

  hasEnded(cursor: number): boolean {
    return this.closed && cursor >= this.end
  }

  /** At least one row, at most `limit`, from one chunk; and the cursor after them. */
  view(cursor: number, limit: number): View {
    const { chunk, hasAdvances = false, start } = this.pieceAt(cursor)
    const from = cursor - start
    const to = Math.min(chunk.rows.length, from + Math.min(limit, this.available(cursor)))
    return { rows: chunk.rows, undecodable: chunk.undecodable, hasAdvances, from, to }
  }

  /** The cursor after so many rows of the view from a cursor. */
  after(cursor: number, rows: number): number {
    if (cursor + rows > this.reached) {
      this.reached = cursor + rows
      if (this.retained > this.mostRetained) this.mostRetained = this.retained
    }
    return cursor + rows
  }

  /** The source's own position of a cursor; undefined at the start. */
  positionAt(cursor: number): Position | undefined {
    if (cursor === 0) return undefined
    const { chunk, start } = this.pieceAt(cursor - 1)
    return chunk.positionAfter(cursor - start)
  }

  append(chunk: Chunk<unknown>): void {
    this.pieces.push({ chunk, start: this.end })
    this.end += chunk.rows.length
    this.peak = Math.max(this.peak, this.fill)
  }

  /** One row, for queues. */
  push(row: unknown): void {
    const last = this.pieces.at(-1)
    if (last !== undefined && last.chunk.rows.length < 256) {
      ;(last.chunk.rows as Array<unknown>).push(row)
      this.end++
      this.peak = Math.max(this.peak, this.fill)
      return
    }
    const start = this.end
    this.append({ rows: [row], positionAfter: (rows) => start + rows })
  }

  /** What a record is to a queue, but none: it is numbered, read again and kept in a checkpoint like one. */
  pushAdvance(eventTime: number): void {
    this.push(new Advance(eventTime))
    this.pieces.at(-1)!.hasAdvances = true
  }

  /** Drops the first row that nobody has read: those behind it move up. What was read stays for a restart. */
  dropOldest(): void {
    if (this.fill === 0) {
      this.dropped++
      return
    }
    const at = this.pieces.indexOf(this.pieceAt(this.reached))
    const piece = this.pieces[at]!
    const { chunk, start } = piece
    const [gone] = (chunk.rows as Array<unknown>).splice(this.reached - start, 1)
    if (!(gone instanceof Advance)) this.dropped++
    const behind = this.pieces.slice(at + 1).map((piece) => ({ ...piece, start: piece.start - 1 }))
    this.pieces.splice(at, Infinity, ...(chunk.rows.length === 0 ? [] : [piece]), ...behind)
    this.end--
  }

  /** No more rows will come; those not read yet still will be. */
  close(): void {
    this.closed = true
  }

  get isClosed(): boolean {
    return this.closed
  }

  /** Ends here and now, leaving what was not read. */
  cutOff(): void {
    this.end = this.reached
    this.closed = true
  }

  /** The partition has committed a cursor. */
  commit(cursor: number): void {
    this.consumed = cursor
    if (this.replayable && !this.isWhole) this.trim(cursor)
  }

  /** A checkpoint holds everything before a cursor. */
  acknowledge(cursor: number): void {
    this.acknowledged = Math.max(this.acknowledged, cursor)
    this.trim(Math.min(this.acknowledged, this.consumed))
  }

  /** Rows offered in this run of the job. */
  get offered(): number {
    return this.end - this.base
  }

  /** Whether a checkpoint holds so many of them. */
  hasKept(offered: number): boolean {
    return this.acknowledged - this.base >= offered
  }

  /** Goes on where an earlier run of the job has left off: rows are numbered from there. */
  startAt(cursor: number): void {
    this.pieces = this.pieces.map((piece) => ({ ...piece, start: piece.start + cursor }))
    this.end += cursor
    this.base = cursor
    this.reached = this.consumed = this.acknowledged = cursor
  }

  /** Back to a cursor, for a new attempt inside the process. */
  rewind(cursor: number): void {
    this.consumed = cursor
  }

  allow(rows: number): void {
    this.allowed = rows
  }

  readonly announce: Effect.Effect<void> = Effect.suspend(() => TxRef.update(this.changed, (n) => n + 1))

  private trim(cursor: number): void {
    let gone = 0
    // The chunk of the last row before the cursor stays: it knows the position.
    while (gone < this.pieces.length - 1 && this.pieces[gone + 1]!.start < cursor) gone++
    if (gone > 0) this.pieces.splice(0, gone)
  }

  private pieceAt(row: number): Piece {
    let [low, high] = [0, this.pieces.length - 1]
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (this.pieces[middle]!.start <= row) low = middle
      else high = middle - 1
    }
    const piece = this.pieces[low]
    if (piece === undefined || row < piece.start || row >= piece.start + piece.chunk.rows.length) {
      throw new Error(`Inlet: row ${row} of split "${this.split}" was asked for after it was given up`)
    }
    return piece
  }
}

/** Reads a split into its inlet for as long as there is room, until it ends or fails. */
export const pump = Effect.fnUntraced(function*(source: string, inlet: Inlet, reader: Reader<unknown, unknown>) {
  while (!inlet.isClosed) {
    yield* awaitRoom(inlet)
    if (inlet.isClosed) break
    const room = inlet.capacity - inlet.fill
    const chunk = yield* reader.pull(room)
    if (inlet.isClosed) break
    if (chunk !== undefined && (chunk.rows.length === 0 || chunk.rows.length > room)) {
      return yield* new SourceInvalid({
        source,
        split: inlet.split,
        problem: `was asked for 1 to ${room} rows and gave ${chunk.rows.length}`,
        remedy: "`pull(max)` waits for at least one row, gives at most `max`, and answers undefined at the end"
      })
    }
    if (chunk === undefined) inlet.close()
    else inlet.append(chunk)
    yield* inlet.announce
  }
}, (effect, _, inlet) =>
  Effect.catchCause(effect, (cause) => {
    inlet.failure = cause
    return inlet.announce
  }))

/** Waits until the inlet takes another row, or takes none any more. */
export const awaitRoom = (inlet: Inlet): Effect.Effect<void> => {
  const hasRoom = () => inlet.fill < inlet.capacity || inlet.isClosed
  return Effect.suspend(() =>
    hasRoom() ? Effect.void : waitUntil([TxRef.get(inlet.changed)], () => {
      if (hasRoom()) return true
      // Said anew whenever there is still no room, because whoever announced something took it back.
      inlet.isAwaited = true
      return false
    })
  )
}

/** Waits until a condition holds that depends on what is read from references. */
export const waitUntil = (
  reads: ReadonlyArray<Effect.Effect<unknown>>,
  condition: () => boolean
): Effect.Effect<void> =>
  Effect.tx(Effect.flatMap(
    Effect.forEach(reads, identity, { discard: true }),
    () => condition() ? Effect.void : Effect.txRetry
  ))
