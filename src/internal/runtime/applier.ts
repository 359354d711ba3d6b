/**
 * What waits for one sink: the rows of epochs that are durable, applied one epoch after the other, however long it takes.
 *
 * A sink that fails is opened anew and tried again, while the job goes on until it can keep no more for it.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as TxRef from "effect/TxRef"
import { RowNotEncodable, SinkAheadOfCheckpoint } from "../../FlowError.ts"
import {
  type Application,
  type EpochWriter,
  type Marker,
  type Prepared,
  SinkFenced,
  type SinkPosition
} from "../../Sink.ts"
import { standsAt } from "../plan/SinkFenced.ts"
import { waitUntil } from "./inlet.ts"
import { pauseMillis } from "./patience.ts"

/** An epoch's rows for the sink, and what they weigh. */
export interface Pending extends Application {
  readonly bytes: number
}

/** Opens the sink; its scope closes when it is opened again, or when the job ends. */
export type Open = Effect.Effect<EpochWriter<unknown, unknown>, unknown, Scope.Scope>

const nowhere: Marker = { lineage: "", epoch: 0, digest: "" }

export const markerText = (marker: Marker | undefined): string =>
  marker === undefined ? "the beginning" : `epoch ${marker.epoch} of ${marker.lineage}`

export class Applier {
  readonly sink: string
  /** Where the sink is known to stand. */
  applied: Marker = nowhere
  /** Rows applied since the job was launched. */
  written = 0
  /** When a failing or silent application began, and why it failed last. */
  failure: Cause.Cause<unknown> | undefined
  /** Epochs that are durable and wait, in order. */
  private waiting: ReadonlyArray<Pending> = []
  /** Where the sink will stand when all of them are applied. */
  private next: Marker = nowhere
  private writer: EpochWriter<unknown, unknown> | undefined
  private scope: Scope.Closeable | undefined
  private readonly open: Open
  /** Whether what is written down must outlive the process. */
  private readonly isDurable: boolean
  private readonly changed = TxRef.makeUnsafe(0)
  private readonly jobScope: Scope.Scope
  /** Fails where another run has taken the job over. */
  private readonly inCharge: Effect.Effect<void, unknown>

  constructor(
    sink: string,
    open: Open,
    isDurable: boolean,
    jobScope: Scope.Scope,
    inCharge: Effect.Effect<void, unknown>
  ) {
    this.sink = sink
    this.isDurable = isDurable
    this.open = open
    this.jobScope = jobScope
    this.inCharge = inCharge
  }

  get pending(): ReadonlyArray<Pending> {
    return this.waiting
  }

  get pendingBytes(): number {
    return this.waiting.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  /** Read this to hear of every application. */
  get changes(): Effect.Effect<number> {
    return TxRef.get(this.changed)
  }

  /** Writes rows down for an epoch to come. Throws where one of them cannot be written. */
  prepare(rows: ReadonlyArray<unknown>): Prepared {
    const prepared = this.writer!.prepare(rows)
    if (this.isDurable && prepared.opaque !== undefined && prepared.opaque.length > 0) {
      throw new RowNotEncodable({ at: this.sink, problem: "it holds something that is no plain data" })
    }
    return prepared
  }

  get alongside(): EpochWriter<unknown, unknown>["alongside"] {
    return this.writer!.alongside
  }

  /** What an epoch has for the sink, following what waits already. Undefined where it has nothing. */
  application(marker: Marker, prepared: ReadonlyArray<Prepared>, rows: number, bytes: number): Pending | undefined {
    return rows === 0 ? undefined : { marker, after: this.next, prepared, rows, bytes }
  }

  /** The epoch is durable; `isDone` where its store has applied it too. To be announced. */
  enqueue(pending: Pending, isDone: boolean): void {
    this.next = pending.marker
    if (isDone) {
      this.applied = pending.marker
      this.written += pending.rows
    } else this.waiting = [...this.waiting, pending]
  }

  /** Opens the sink. */
  get opening(): Effect.Effect<void, unknown> {
    return Effect.asVoid(this.opened)
  }

  /** Opens the sink and makes sure that a job could go on from one of these places, without moving it. */
  check(job: string, known: ReadonlyArray<Marker>): Effect.Effect<void, unknown> {
    return Effect.gen({ self: this }, function*() {
      const { position } = yield* this.opened
      if (position === undefined) return
      const found = yield* position.current
      if (found === undefined ? position.isVolatile : known.some((marker) => standsAt(found, marker))) return
      const { knows } = position
      if (found !== undefined && position.rewind !== undefined) {
        if (knows === undefined) return
        for (const marker of known) if (yield* knows(marker)) return
      }
      return yield* this.ahead(job, found, known)
    })
  }

  private ahead(job: string, found: Marker | undefined, known: ReadonlyArray<Marker>): SinkAheadOfCheckpoint {
    return new SinkAheadOfCheckpoint({
      job,
      sink: this.sink,
      found: markerText(found),
      expected: markerText(known.at(-1))
    })
  }

  /** Opens the sink for a job that begins from nothing. */
  begin(marker: Marker): Effect.Effect<void, unknown> {
    return Effect.gen({ self: this }, function*() {
      const { position } = yield* this.opened
      if (position !== undefined) {
        const found = yield* position.current
        // Only now: who was overtaken before the look would see the place of another run, and begin anew from there. Who
        // is overtaken after it is refused by the sink, which has moved.
        yield* this.inCharge
        yield* position.begin(marker, found)
      }
      this.applied = this.next = marker
    })
  }

  /**
   * Opens the sink for a job that goes on, and finds out what of the pending epochs it has. `SinkAheadOfCheckpoint`: it
   * stands where the checkpoint does not know it, and cannot be taken back.
   */
  resume(job: string, applied: Marker, pending: ReadonlyArray<Pending>): Effect.Effect<void, unknown> {
    return Effect.gen({ self: this }, function*() {
      const { position } = yield* this.opened
      const known = [applied, ...pending.map(({ marker }) => marker)]
      let at = 0
      if (position !== undefined) {
        const found = yield* position.current
        at = known.findIndex((marker) => standsAt(found, marker))
        if (at < 0) yield* this.inCharge
        if (at < 0 && found === undefined && position.isVolatile) {
          // What it held is gone with the process that held it.
          yield* Effect.logWarning(
            `Sink "${this.sink}" of job "${job}" lives in memory: it begins empty, after ${markerText(applied)}`
          )
          yield* position.begin(applied, undefined)
          at = 0
        }
        if (at < 0) {
          at = yield* this.rewound(position, known)
          if (at < 0) return yield* this.ahead(job, found, known)
        }
      }
      this.applied = known[at]!
      this.waiting = pending.slice(at)
      this.next = known.at(-1)!
      yield* this.announce
    })
  }

  /** Takes the sink back to the latest place that the checkpoint knows; a negative number if it knows none of them. */
  private rewound(position: SinkPosition<unknown>, known: ReadonlyArray<Marker>): Effect.Effect<number, unknown> {
    return Effect.gen(function*() {
      let at = known.length - 1
      while (at >= 0 && !(position.rewind !== undefined && (yield* position.rewind(known[at]!)))) at--
      return at
    })
  }

  /** Applies what comes, for ever. Fails only where another run has taken the sink. */
  get run(): Effect.Effect<never, SinkFenced> {
    return Effect.gen({ self: this }, function*() {
      for (let failures = 0;;) {
        if (this.waiting.length === 0) yield* waitUntil([this.changes], () => this.waiting.length > 0)
        const pending = this.waiting[0]!
        const exit = yield* Effect.exit(this.apply(pending))
        if (Exit.isSuccess(exit)) {
          failures = 0
          this.failure = undefined
          this.applied = pending.marker
          this.written += pending.rows
          this.waiting = this.waiting.slice(1)
          yield* this.announce
          continue
        }
        const fenced = Cause.findErrorOption(exit.cause)
        if (fenced._tag === "Some" && fenced.value instanceof SinkFenced) return yield* fenced.value
        this.failure = exit.cause
        const millis = yield* pauseMillis(failures++)
        yield* Effect.logWarning(
          `Sink "${this.sink}" could not take ${markerText(pending.marker)}; it is tried again in ${millis} ms`,
          exit.cause
        )
        yield* this.announce
        yield* Effect.sleep(millis)
        // A sink that cannot be opened again is one that fails again.
        yield* Effect.catchCause(this.reopen, (cause) => Effect.sync(() => void (this.failure = cause)))
      }
    })
  }

  private apply(pending: Pending): Effect.Effect<void, unknown> {
    return Effect.flatMap(this.opened, (writer) => writer.apply(pending))
  }

  /** As it is open, or opened now. */
  private get opened(): Effect.Effect<EpochWriter<unknown, unknown>, unknown> {
    return Effect.suspend(() => this.writer === undefined ? this.reopen : Effect.succeed(this.writer))
  }

  /** Tells who waits that something has changed. */
  get announce(): Effect.Effect<void> {
    return TxRef.update(this.changed, (n) => n + 1)
  }

  private get reopen(): Effect.Effect<EpochWriter<unknown, unknown>, unknown> {
    return Effect.gen({ self: this }, function*() {
      if (this.scope !== undefined) yield* Scope.close(this.scope, Exit.void)
      const scope = yield* Scope.fork(this.jobScope)
      this.scope = scope
      const writer = yield* Scope.provide(this.open, scope)
      this.writer = writer
      return writer
    })
  }
}
