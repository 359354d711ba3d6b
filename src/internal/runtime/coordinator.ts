/**
 * Epochs: pictures of the whole job, written to the store one after the other, and what follows from one that is durable.
 *
 * A picture is one synchronous effect, taken when no partition is in step. Encoding runs afterwards, in slices, while the
 * job goes on. Only when the store has an epoch are its rows given to sinks, and sources told that they may forget.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as TxRef from "effect/TxRef"
import type {
  AlongsideRefused,
  CheckpointStore,
  CheckpointStoreError,
  Commit,
  Drop,
  Fenced
} from "../../CheckpointStore.ts"
import type { Statement } from "../../Database.ts"
import type { RowNotEncodable } from "../../FlowError.ts"
import type { CheckpointStatus } from "../../JobStatus.ts"
import type { Marker, Prepared } from "../../Sink.ts"
import { packChunks } from "../checkpoint/chunks.ts"
import type { Tables } from "../checkpoint/contents.ts"
import { sha256Hex } from "../checkpoint/digest.ts"
import { type BlobReference, encodeManifest, format, type Manifest, type PartEntry } from "../checkpoint/manifest.ts"
import { SegmentWriter } from "../checkpoint/segment.ts"
import { Shelf } from "../checkpoint/shelf.ts"
import type { Graph } from "../plan/graph.ts"
import type { Applier, Pending } from "./applier.ts"
import type { Attempt, AttemptCut } from "./component.ts"
import { encodeAbsent, encodePart } from "./encoding.ts"
import { waitUntil } from "./inlet.ts"
import { lettersOf } from "./outputs.ts"
import type { Parts } from "./parts.ts"
import { commitSurely } from "./patience.ts"

/** Bytes of a blob, from which on another one begins. */
const blobBytes = 1024 * 1024

/** Changes that are not worth a new base. */
const smallBytes = 64 * 1024

/** Segments after the base, at most: so many are played back on a restart. */
export const longestChain = 256

/** What the job was launched with, and what it goes on from. */
export interface Launch {
  readonly job: string
  readonly fingerprint: string
  readonly plan: Manifest["plan"]
  readonly graph: Graph
  readonly partitions: number
  readonly attempt: number
  readonly lineage: string
  readonly parent: Manifest["parent"]
  readonly imported: Manifest["imported"]
  /** The store's head. */
  readonly head: number
  /** What the job goes on from says of its parts, and what tables held then; nothing for a job that begins from nothing. */
  readonly parts: ReadonlyArray<PartEntry>
  readonly chain: ReadonlyArray<Link>
  /** Epochs that the store keeps, and the blobs that each needs. */
  readonly kept: ReadonlyArray<Kept>
  readonly retain: number
  /** Reads what tables held at the end of a chain. */
  readonly tablesOf: (chain: ReadonlyArray<Link>) => Effect.Effect<Tables, unknown>
}

/** A committed epoch, what it needs, and whether somebody has given it a name. */
export interface Kept {
  readonly epoch: number
  readonly blobs: ReadonlyArray<string>
  /** Where its chain begins; 0 for the beginning of a job, which has none. */
  readonly base: number
  readonly isNamed: boolean
}

/** Where epochs end. */
export type Ending = Manifest["state"]

/** What one epoch wrote of the tables. */
export type Link = Manifest["chain"][number]

/** An epoch that is ready to be committed. */
interface Composed {
  readonly commit: Commit
  readonly manifest: Manifest
  readonly kept: ReadonlyArray<Kept>
  /** What the store's own database applies in the same transaction. */
  readonly joined: ReadonlySet<Pending>
  readonly alongside: ReadonlyArray<readonly [Applier, Statement]>
}

export class Coordinator {
  /** How many epochs this run has committed. */
  committed = 0
  figures: CheckpointStatus | undefined
  /** Bytes for sinks in a picture that is not durable yet. */
  sealedBytes = 0
  private readonly store: CheckpointStore["Service"]
  private readonly launch: Launch
  private readonly parts: Parts
  private readonly scope: Scope.Scope
  private readonly appliers: ReadonlyMap<number | undefined, Applier>
  private readonly one = Semaphore.makeUnsafe(1)
  private readonly epochs = TxRef.makeUnsafe(0)
  private readonly wanted = TxRef.makeUnsafe(0)
  private readonly failure = Deferred.makeUnsafe<never, unknown>()
  /** Why there will be no epoch any more. */
  private lost: Effect.Effect<never, unknown> | undefined
  /** What the last epoch says that sinks are still to be given. */
  isOwing: boolean
  /** The last epoch that was committed. */
  head: number
  private epoch: number
  private chain: ReadonlyArray<Link>
  private known: Array<PartEntry | undefined>
  private kept: ReadonlyArray<Kept>
  /** Blobs of what waits for sinks, by application. */
  private readonly outputBlobs = new Map<Pending, ReadonlyArray<BlobReference>>()

  constructor(
    store: CheckpointStore["Service"],
    launch: Launch,
    parts: Parts,
    /** By outlet; undefined is the dead letters. */
    appliers: ReadonlyMap<number | undefined, Applier>,
    /** Blobs of what waits already. */
    outputBlobs: ReadonlyMap<Pending, ReadonlyArray<BlobReference>>,
    scope: Scope.Scope
  ) {
    this.scope = scope
    this.store = store
    this.launch = launch
    this.parts = parts
    this.appliers = appliers
    this.epoch = this.head = launch.head
    this.chain = launch.chain
    this.isOwing = outputBlobs.size > 0
    this.known = []
    for (const entry of launch.parts) this.known[entry.part] = entry
    this.kept = launch.kept
    for (const [pending, blobs] of outputBlobs) this.outputBlobs.set(pending, blobs)
  }

  /** Read this to hear of every epoch. */
  get changes(): Effect.Effect<number> {
    return TxRef.get(this.epochs)
  }

  /** Asks for a checkpoint before its time. */
  get press(): Effect.Effect<void> {
    return TxRef.update(this.wanted, (n) => n + 1)
  }

  /** Does something while no epoch is being made. */
  between<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return this.one.withPermits(1)(effect)
  }

  /** What the latest epoch says of a part, and where to read what its tables hold. */
  latest(part: number): { readonly entry: PartEntry; readonly chain: ReadonlyArray<Link> } | undefined {
    const entry = this.known[part]
    return entry && { entry, chain: this.chain }
  }

  /** Takes checkpoints for ever: after every interval, and at once when somebody presses. Fails with any that fails. */
  every(interval: Duration.Input, isPressed: () => boolean): Effect.Effect<never, unknown> {
    return Effect.raceFirst(Effect.sleep(interval), waitUntil([TxRef.get(this.wanted)], isPressed)).pipe(
      Effect.andThen(this.checkpoint("running")),
      Effect.forever,
      Effect.raceFirst(Deferred.await(this.failure))
    )
  }

  /**
   * Makes an epoch. Once begun it goes on, whoever stops waiting for it: the picture has taken from the outputs what
   * belongs to it.
   */
  checkpoint(state: Ending, name?: string): Effect.Effect<number, unknown> {
    const made = this.one.withPermits(1)(
      Effect.suspend(() => this.lost ?? this.make(state, name)).pipe(
        // What the picture took is nowhere else any more: nothing may be committed after it.
        Effect.tapCause((cause) => {
          this.lost ??= Effect.failCause(cause)
          return Deferred.failCause(this.failure, cause)
        })
      )
    )
    return Effect.flatMap(Effect.forkIn(made, this.scope, { startImmediately: true }), Fiber.join)
  }

  private make(state: Ending, name: string | undefined): Effect.Effect<number, unknown> {
    return Effect.gen({ self: this }, function*() {
      const began = yield* Clock.currentTimeMillis
      const { captures, pauseMillis } = yield* this.picture
      const epoch = ++this.epoch
      const { appliers, launch, store } = this
      const { attempt, fingerprint, graph, imported, job, lineage, parent, partitions, plan } = launch
      const absent = this.known.filter((entry) => entry !== undefined)
        .filter(({ part }) => captures.every(({ cut }) => cut.part.part !== part))
      const isDue = this.isBaseDue(captures)
      // Where what the store has of absent parts cannot be read now, the chain goes on.
      const held = isDue && absent.length > 0 ? yield* Effect.option(launch.tablesOf(this.chain)) : Option.none()
      const isBase = isDue && (absent.length === 0 || Option.isSome(held))

      const shelf = new Shelf(epoch)
      const opaque: Array<unknown> | undefined = store.isDurable ? undefined : []

      const tables = new SegmentWriter(blobBytes)
      const entries: Array<PartEntry | undefined> = this.known.slice()
      for (const { cut: { part } } of captures) {
        const flight = new SegmentWriter(blobBytes)
        const entry = yield* encodePart(graph, part, isBase, { tables, flight, opaque })
        entries[part.part] = { ...entry, flight: shelf.add(`flight-${part.part}`, flight.finish(), opaque) }
      }
      if (isBase && Option.isSome(held)) yield* encodeAbsent(absent, held.value, tables)
      const link: Link = { epoch, blobs: shelf.add("state", tables.finish()) }
      const chain = isBase ? [link] : [...this.chain, link]

      const pending = yield* this.applications(epoch, captures)
      const written = new Map(this.outputBlobs)
      const compose = (isRefused: (applier: Applier) => boolean): Composed => {
        const joined = new Set<Pending>()
        const alongside: Array<readonly [Applier, Statement]> = []
        for (const [applier, application] of pending) {
          const join = applier.pending.length === 0 && !isRefused(applier) ? applier.alongside : undefined
          if (join !== undefined && join.database === store.database) {
            for (const statement of join.statements(application)) alongside.push([applier, statement])
            joined.add(application)
          } else if (!written.has(application)) {
            const { bytes, opaque } = packChunks(application.prepared)
            written.set(application, shelf.add(`sink-${applier.sink}`, [bytes], opaque))
          }
        }
        const sinks = Array.from(appliers.values(), (applier): Manifest["sinks"][number] => {
          const application = pending.get(applier)
          const isJoined = application !== undefined && joined.has(application)
          const waiting = [...applier.pending, ...application === undefined || isJoined ? [] : [application]]
          return {
            sink: applier.sink,
            applied: isJoined ? application.marker : applier.applied,
            pending: waiting.map((one) => ({
              marker: one.marker,
              after: one.after,
              rows: one.rows,
              blobs: written.get(one)!
            }))
          }
        })
        const manifest: Manifest = {
          format,
          job,
          fingerprint,
          ...plan === undefined ? {} : { plan },
          lineage,
          ...parent === undefined ? {} : { parent },
          ...imported === undefined ? {} : { imported },
          epoch,
          attempt,
          ...name === undefined ? {} : { name },
          state,
          partitions,
          takenAt: began,
          chain,
          parts: entries.filter((entry) => entry !== undefined),
          sinks
        }
        const { bytes, digest } = encodeManifest(manifest)
        const own: Kept = { epoch, blobs: blobsOf(manifest), base: chain[0]!.epoch, isNamed: name !== undefined }
        const { drop, kept } = this.retained([...this.kept, own])
        return {
          joined,
          alongside,
          manifest,
          kept,
          commit: {
            job,
            attempt,
            epoch,
            previous: this.head,
            digest,
            manifest: bytes,
            blobs: shelf.blobs.slice(),
            drop,
            alongside: alongside.map(([, statement]) => statement)
          }
        }
      }
      const { commit, joined, kept, manifest } = yield* this.commit(compose)

      this.head = epoch
      this.chain = chain
      this.known = entries
      this.kept = kept
      this.isOwing = manifest.sinks.some(({ pending }) => pending.length > 0)
      this.committed++
      this.figures = {
        epoch,
        bytes: commit.blobs.reduce((sum, blob) => sum + blob.bytes.length, commit.manifest.length),
        pauseMillis,
        durationMillis: (yield* Clock.currentTimeMillis) - began
      }
      for (const [applier, application] of pending) {
        const isDone = joined.has(application)
        if (!isDone) this.outputBlobs.set(application, written.get(application)!)
        yield* Effect.suspend(() => {
          // At once, so that what is kept is counted once at every moment.
          this.sealedBytes -= application.bytes
          applier.enqueue(application, isDone)
          return applier.announce
        })
      }
      this.sealedBytes = 0
      const waiting = new Set(Array.from(appliers.values()).flatMap((applier) => applier.pending))
      for (const one of this.outputBlobs.keys()) if (!waiting.has(one)) this.outputBlobs.delete(one)
      for (const { attempt, cut } of captures) yield* attempt.acknowledge(cut.part)
      yield* TxRef.update(this.epochs, (n) => n + 1)
      return epoch
    })
  }

  /**
   * Commits with all sinks that can join. One whose statements the database refuses is left out: it gets its rows from its
   * applier, where its failure is its own and holds up nobody else.
   */
  private commit(
    compose: (isRefused: (applier: Applier) => boolean) => Composed
  ): Effect.Effect<Composed, CheckpointStoreError | Fenced | AlongsideRefused> {
    return Effect.gen({ self: this }, function*() {
      const refused = new Set<Applier>()
      for (;;) {
        const composed = compose((applier) => refused.has(applier))
        const refusal = yield* commitSurely(this.store, composed.commit).pipe(
          Effect.as(undefined),
          Effect.catchTag("AlongsideRefused", Effect.succeed)
        )
        if (refusal === undefined) return composed
        const applier = composed.alongside[refusal.statement]?.[0]
        if (applier === undefined) return yield* refusal
        refused.add(applier)
        yield* Effect.logWarning(`Sink "${applier.sink}" cannot join epoch ${composed.commit.epoch}`, refusal)
      }
    })
  }

  /**
   * A picture of everything at one instant. When nobody is in step that is now; otherwise nobody enters a step until those
   * who are in one have committed. Nothing may come between looking and taking.
   */
  private get picture(): Effect.Effect<{ readonly captures: ReadonlyArray<Captured>; readonly pauseMillis: number }> {
    const live = () => this.parts.live
    const isSettled = () => this.parts.sabotage === "cut ignores steps" || live().every((attempt) => attempt.isSettled)
    const take = (): ReadonlyArray<Captured> => {
      const captures = live().map((attempt) => ({ attempt, cut: attempt.capture() }))
      this.sealedBytes = captures.reduce(
        (sum, { cut }) => cut.sealed.reduce((sum, [, { bytes }]) => sum + bytes, sum),
        0
      )
      return captures
    }
    const open = Effect.suspend(() => Effect.forEach(live(), ({ gate }) => TxRef.set(gate, false), { discard: true }))
    const closed = Effect.gen({ self: this }, function*() {
      for (;;) {
        const attempts = live()
        yield* Effect.forEach(attempts, ({ gate }) => TxRef.set(gate, true), { discard: true })
        // Who is lost in between is not waited for, and who has begun is asked to stand still, too.
        const isSame = () => live().every((attempt) => attempts.includes(attempt))
        yield* waitUntil(
          [this.parts.changes, ...attempts.flatMap(({ steps }) => steps)],
          () => !isSame() || isSettled()
        )
        // Nobody can enter a step while the gate is closed, so this holds however long ago the wait ended.
        const taken = yield* Effect.sync(() => isSame() && isSettled() ? take() : undefined)
        if (taken !== undefined) return taken
      }
    }).pipe(Effect.ensuring(open))
    return Effect.gen(function*() {
      const now = yield* Effect.sync(() => isSettled() ? take() : undefined)
      if (now !== undefined) return { captures: now, pauseMillis: 0 }
      const began = yield* Clock.monotonicTimeNanos
      const captures = yield* closed
      return { captures, pauseMillis: Number((yield* Clock.monotonicTimeNanos) - began) / 1e6 }
    })
  }

  /** A base tells all. Otherwise only what was touched since the last picture is told. */
  private isBaseDue(captures: ReadonlyArray<Captured>): boolean {
    const { length } = this.chain
    if (length === 0) return true
    // Parts that do not run, as one whose source takes long to open, have to be read from the store: for nothing but the
    // bound, and where that fails, not again before as many segments have come.
    if (captures.length < this.parts.count) return length % longestChain === 0
    const bytesOf = ({ blobs }: Link) => blobs.reduce((sum, { bytes }) => sum + bytes, 0)
    const [base, ...others] = this.chain
    const changes = others.reduce((sum, link) => sum + bytesOf(link), 0)
    return this.committed === 0 || length >= longestChain || changes > Math.max(bytesOf(base!), smallBytes)
  }

  /** What the epoch has for each sink. */
  private applications(
    epoch: number,
    captures: ReadonlyArray<Captured>
  ): Effect.Effect<ReadonlyMap<Applier, Pending>, RowNotEncodable> {
    return Effect.sync(() => {
      const rows = new Map<Applier, { prepared: Array<Prepared>; rows: number; bytes: number }>()
      const letters = this.appliers.get(undefined)
      const into = (applier: Applier, prepared: ReadonlyArray<Prepared>, count: number) => {
        const all = rows.get(applier) ?? { prepared: [], rows: 0, bytes: 0 }
        all.prepared.push(...prepared)
        all.rows += count
        all.bytes += prepared.reduce((sum, { bytes }) => sum + bytes.length, 0)
        rows.set(applier, all)
      }
      for (const { cut: { sealed } } of captures) {
        for (const [{ destination }, epoch] of sealed) {
          if (destination._tag === "ByEpoch") into(destination.applier, epoch.prepared, epoch.rows)
          if (letters !== undefined && epoch.letters.length > 0) {
            into(letters, lettersOf(letters, epoch.letters), epoch.letters.length)
          }
        }
      }
      const applications = new Map<Applier, Pending>()
      for (const [applier, all] of rows) {
        const marker: Marker = { lineage: this.launch.lineage, epoch, digest: digestOf(all.prepared) }
        const application = applier.application(marker, all.prepared, all.rows, all.bytes)
        if (application !== undefined) applications.set(applier, application)
      }
      return applications
    })
  }

  /** Keeps the latest epochs, the last one of the base before, and those with a name. */
  private retained(all: ReadonlyArray<Kept>): { readonly kept: ReadonlyArray<Kept>; readonly drop: Drop } {
    const inOrder = all.toSorted((a, b) => b.epoch - a.epoch)
    const bases = [...new Set(inOrder.flatMap(({ base }) => base === 0 ? [] : [base]))]
    const kept = inOrder.filter((one, i) =>
      i < this.launch.retain || one.isNamed || inOrder.find(({ base }) => base > 0 && base === bases[1]) === one
    )
    const needed = new Set(kept.flatMap(({ blobs }) => blobs))
    const gone = inOrder.filter((one) => !kept.includes(one))
    const blobs = new Set(gone.flatMap(({ blobs }) => blobs.filter((id) => !needed.has(id))))
    return { kept, drop: { epochs: gone.map(({ epoch }) => epoch), blobs: [...blobs] } }
  }
}

/** A part that runs, and its picture. */
interface Captured {
  readonly attempt: Attempt
  readonly cut: AttemptCut
}

/** Every blob that a checkpoint cannot be read without. */
export const blobsOf = ({ chain, parts, sinks }: Manifest): ReadonlyArray<string> =>
  [
    ...chain.flatMap(({ blobs }) => blobs),
    ...parts.flatMap(({ flight }) => flight),
    ...sinks.flatMap(({ pending }) => pending.flatMap(({ blobs }) => blobs))
  ].map(({ id }) => id)

const digestOf = (prepared: ReadonlyArray<Prepared>): string => {
  const bytes = new Uint8Array(prepared.reduce((sum, { bytes }) => sum + bytes.length, 0))
  let at = 0
  for (const one of prepared) {
    bytes.set(one.bytes, at)
    at += one.bytes.length
  }
  return sha256Hex(bytes)
}
