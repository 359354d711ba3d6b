/** What a job goes on from: the newest checkpoint that can be trusted, or nothing, and never anything in between. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type { Blob, CheckpointStore, CheckpointStoreError } from "../../CheckpointStore.ts"
import { CheckpointRefused } from "../../FlowError.ts"
import { unpackChunks } from "../checkpoint/chunks.ts"
import { readFlight, Tables } from "../checkpoint/contents.ts"
import { crcOf } from "../checkpoint/digest.ts"
import { Malformed, OtherFormat } from "../checkpoint/malformed.ts"
import { type BlobReference, decodeManifest, type Manifest, type PartEntry } from "../checkpoint/manifest.ts"
import type { Graph } from "../plan/graph.ts"
import { blobsOf, type Kept, type Link } from "./coordinator.ts"
import type { PartContents } from "./standing.ts"
import { type PieceNames, withStrays } from "./strays.ts"

type Store = CheckpointStore["Service"]

/** A checkpoint that has been read and found sound. */
export interface Recovered {
  readonly manifest: Manifest
  readonly tables: Tables
  /** The bytes of everything else that it names. */
  readonly blobs: ReadonlyMap<string, Blob>
  /** It is the last that was committed. */
  readonly isHead: boolean
}

export interface Recovery {
  /** The last epoch that the store has, sound or not; 0 if none. */
  readonly head: number
  readonly kept: ReadonlyArray<Kept>
  readonly from: Recovered | undefined
}

/** Reads a blob and makes sure of it. */
export const readBlob = Effect.fnUntraced(function*(
  store: Store,
  job: string,
  { bytes, crc, id }: BlobReference
): Effect.fn.Return<Blob, CheckpointStoreError | Malformed> {
  const blob = yield* store.blob(job, id)
  if (Option.isNone(blob)) return yield* Effect.fail(new Malformed(`its piece ${id} is missing`))
  if (blob.value.bytes.length !== bytes || crcOf(blob.value.bytes) !== crc) {
    return yield* Effect.fail(new Malformed(`its piece ${id} is damaged`))
  }
  return blob.value
})

/** Plays back what tables hold. */
export const readTables = Effect.fnUntraced(function*(
  store: Store,
  job: string,
  chain: ReadonlyArray<Link>
): Effect.fn.Return<Tables, CheckpointStoreError | Malformed> {
  const tables = new Tables()
  for (const { blobs } of chain) {
    for (const reference of blobs) {
      const { bytes } = yield* readBlob(store, job, reference)
      yield* sound(() => tables.play(bytes))
    }
  }
  return tables
})

/** A part as a checkpoint has it; `blobOf` gives what `flight` names. */
export const partContents = (
  entry: PartEntry,
  tables: Tables,
  blobOf: (reference: BlobReference) => Blob
): PartContents => {
  const read = entry.flight.map((reference) => {
    const { bytes, opaque } = blobOf(reference)
    return readFlight(bytes, opaque)
  })
  return {
    entry,
    table: (operator, partition, id) => tables.table(operator, partition, id),
    flights: read.flatMap(({ flights }) => flights),
    lists: read.flatMap(({ lists }) => lists)
  }
}

/**
 * Runs a reader of bytes from outside: whatever it throws, a full stack included, is that they are malformed. Bytes with
 * the right checksums may still have been made by somebody else.
 */
export const sound = <A>(read: () => A): Effect.Effect<A, Malformed> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(read())
    } catch (cause) {
      return Effect.fail(malformedBy(cause))
    }
  })

/** What was read as a checkpoint does not make a job: somebody has written it by hand, or another program. */
export const unrestorable = (job: string, epoch: number, problem: string): CheckpointRefused =>
  new CheckpointRefused({
    job,
    epoch,
    problem: `the job cannot go on from what it says: ${problem}`,
    remedy: "Run the program that wrote it, bring its store back from a copy, "
      + "or begin anew with { start: \"afresh\" }"
  })

const malformedBy = (cause: unknown): Malformed =>
  cause instanceof Malformed
    ? cause
    : new Malformed(cause instanceof Error ? cause.message : String(cause), { cause })

/** The manifest of an epoch, or what is wrong with it. That a store cannot answer now says nothing of what it holds. */
export const readManifest = (
  store: Store,
  job: string,
  epoch: number
): Effect.Effect<Manifest | Malformed, CheckpointStoreError> =>
  store.manifest(job, epoch).pipe(
    Effect.flatMap(Option.match({
      onNone: () => Effect.fail(new Malformed("its manifest is missing")),
      onSome: (bytes) => sound(() => decodeManifest(bytes))
    })),
    Effect.catchIf((failure) => damageOf(failure) !== undefined, (failure) => Effect.succeed(damageOf(failure)!))
  ) as Effect.Effect<Manifest | Malformed, CheckpointStoreError>

/** One committed epoch, read in full. */
export const readEpoch = Effect.fnUntraced(function*(
  store: Store,
  job: string,
  epoch: number
): Effect.fn.Return<Omit<Recovered, "isHead">, CheckpointStoreError | Malformed> {
  const manifest = yield* readManifest(store, job, epoch)
  return yield* manifest instanceof Malformed ? Effect.fail(manifest) : readContents(store, job, epoch, manifest)
})

/** All that a manifest names. */
const readContents = Effect.fnUntraced(function*(
  store: Store,
  job: string,
  epoch: number,
  manifest: Manifest
): Effect.fn.Return<Omit<Recovered, "isHead">, CheckpointStoreError | Malformed> {
  if (manifest.job !== job || manifest.epoch !== epoch) {
    const told = `its manifest is that of epoch ${manifest.epoch} of job "${manifest.job}"`
    return yield* Effect.fail(new Malformed(told))
  }
  const tables = yield* readTables(store, job, manifest.chain)
  const blobs = new Map<string, Blob>()
  for (const reference of [...manifest.parts.flatMap(({ flight }) => flight), ...pendingBlobs(manifest)]) {
    blobs.set(reference.id, yield* readBlob(store, job, reference))
  }
  // Read once for nothing: what cannot be read is found out while there still is an older epoch to turn to.
  yield* sound(() => {
    for (const { id } of manifest.parts.flatMap(({ flight }) => flight)) readFlight(blobs.get(id)!.bytes, undefined)
    for (const { id } of pendingBlobs(manifest)) unpackChunks(blobs.get(id)!.bytes, undefined)
  })
  return { manifest, tables, blobs }
})

const pendingBlobs = ({ sinks }: Manifest): ReadonlyArray<BlobReference> =>
  sinks.flatMap(({ pending }) => pending.flatMap(({ blobs }) => blobs))

/** Looks for what the job goes on from. Refuses where something was committed and nothing of it can be trusted. */
export const recover = Effect.fnUntraced(function*(
  store: Store,
  job: string,
  isAfresh: boolean,
  pieces: PieceNames
): Effect.fn.Return<Recovery, CheckpointStoreError | CheckpointRefused> {
  const committed = yield* store.list(job)
  const kept: Array<Kept> = []
  const damaged = new Set<number>()
  let from: Recovered | undefined
  let newest: Malformed | undefined
  let hasBegun = false
  for (const [i, { epoch }] of committed.entries()) {
    const manifest = yield* readManifest(store, job, epoch)
    if (manifest instanceof Malformed) damaged.add(epoch)
    // What is damaged stands for no base, or it would take the place of one that could be used.
    kept.push(
      manifest instanceof Malformed
        ? { epoch, blobs: [], base: 0, isNamed: false }
        : {
          epoch,
          blobs: blobsOf(manifest),
          base: manifest.chain[0]?.epoch ?? 0,
          isNamed: manifest.name !== undefined
        }
    )
    if (from !== undefined || isAfresh || hasBegun) continue
    const reading = manifest instanceof Malformed
      ? Effect.fail(manifest)
      : readContents(store, job, epoch, manifest)
    const read = yield* reading.pipe(
      Effect.map((recovered): Recovered | Malformed => ({ ...recovered, isHead: i === 0 })),
      Effect.catch((failure) => {
        const damage = damageOf(failure)
        return damage === undefined ? Effect.fail(failure as CheckpointStoreError) : Effect.succeed(damage)
      })
    )
    if (read instanceof OtherFormat) return yield* refuseFormat(job, epoch, read)
    if (read instanceof Malformed) {
      newest ??= read
      yield* Effect.logWarning(`Job "${job}" passes over epoch ${epoch}: ${read.message}`)
      continue
    }
    // To go back to the beginning would be to start afresh, which nobody has asked for; what lies before was given up.
    hasBegun = read.manifest.chain.length === 0
    if (i === 0 || !hasBegun) from = read
  }
  const head = committed[0]?.epoch ?? 0
  if (from === undefined && newest !== undefined) {
    return yield* new CheckpointRefused({
      job,
      epoch: head,
      problem: newest.message,
      remedy: "Bring its store back from a copy, restore a savepoint with Checkpoint.layer, "
        + "or give everything up with { start: \"afresh\" }"
    })
  }
  return { head, kept: yield* withStrays(store, job, kept, damaged, pieces), from }
})

/** Sources without positions have forgotten what they gave after an epoch that is not the last. */
export const refuseForgotten = (job: string, graph: Graph, epoch: number): Effect.Effect<void, CheckpointRefused> =>
  Effect.suspend(() => {
    const forgetful = graph.operators.flatMap(({ label, node }) => {
      const body = node._tag === "Source" ? node.source.body : undefined
      return body === undefined || body._tag === "Memory" || (body._tag === "Read" && body.replayable) ? [] : [label]
    })
    if (forgetful.length === 0) return Effect.void
    return Effect.fail(
      new CheckpointRefused({
        job,
        epoch,
        problem: `later ones are damaged, and ${
          forgetful.map((name) => `"${name}"`).join(", ")
        } cannot give again what came after`,
        remedy: "Bring the store back from a copy, take the loss by restoring this epoch with Checkpoint.atEpoch and "
          + "Checkpoint.layer, or begin anew with { start: \"afresh\" }"
      })
    )
  })

/** What another release has written says nothing to this one; to pass over it would undo what that release did. */
export const refuseFormat = (job: string, epoch: number, { message }: OtherFormat): CheckpointRefused =>
  new CheckpointRefused({
    job,
    epoch,
    problem: message,
    remedy:
      "Run the release that wrote it, or a later one; to use this one all the same, bring the store back from a copy of "
      + "before, give the job another name, or begin anew with { start: \"afresh\" }"
  })

/** Stores that check what they read say so in their own words. */
const damageOf = (failure: CheckpointStoreError | Malformed): Malformed | undefined =>
  failure instanceof Malformed ? failure : failure.cause instanceof Malformed ? failure.cause : undefined

/** A name for a line of epochs that nobody else has. */
export const newLineage: Effect.Effect<string> = Effect.map(
  Effect.all(Array.from({ length: 4 }, () => Random.nextIntBetween(0, 0xffff_ffff))),
  (parts) => parts.map((part) => part.toString(16).padStart(8, "0")).join("")
)
