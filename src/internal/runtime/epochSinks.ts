/** All the sinks of a job that take whole epochs: how they are found again, how much they are owed, when one is sick. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Checkpoint } from "../../Checkpoint.ts"
import { SinkStalled } from "../../FlowError.ts"
import type { Marker, SinkFenced } from "../../Sink.ts"
import { unpackChunks } from "../checkpoint/chunks.ts"
import type { BlobReference, Manifest } from "../checkpoint/manifest.ts"
import type { Applier, Pending } from "./applier.ts"
import { waitUntil } from "./inlet.ts"
import type { Recovered } from "./recovery.ts"

/** By outlet; undefined is that of the dead letters. */
export type Appliers = ReadonlyMap<number | undefined, Applier>

/** Opens all sinks. */
export const open = (appliers: Appliers): Effect.Effect<void, unknown> =>
  Effect.forEach(appliers.values(), ({ opening }) => opening, { discard: true })

/** Opens all sinks and makes sure that a job could go on from a checkpoint, without moving any of them. */
export const check = (
  appliers: Appliers,
  job: string,
  sinks: ReadonlyArray<
    Pick<Checkpoint["sinks"][number], "sink" | "applied"> & {
      readonly pending: ReadonlyArray<{ readonly marker: Marker }>
    }
  >
): Effect.Effect<void, unknown> =>
  Effect.forEach(appliers.values(), (applier) => {
    const entry = sinks.find(({ sink }) => sink === applier.sink)
    if (entry === undefined) return applier.opening
    return applier.check(job, [entry.applied, ...entry.pending.map(({ marker }) => marker)])
  }, { discard: true })

/** Opens all sinks for a job that begins from nothing. */
export const begin = (appliers: Appliers, lineage: string, epoch: number): Effect.Effect<void, unknown> =>
  Effect.forEach(appliers.values(), (applier) => applier.begin({ lineage, epoch, digest: "" }), { discard: true })

/** Opens all sinks for a job that goes on. Answers with where what waits for them lies in the store. */
export const resume = Effect.fnUntraced(function*(
  appliers: Appliers,
  job: string,
  { blobs, manifest }: Pick<Recovered, "manifest" | "blobs">
): Effect.fn.Return<ReadonlyMap<Pending, ReadonlyArray<BlobReference>>, unknown> {
  const lying = new Map<Pending, ReadonlyArray<BlobReference>>()
  for (const applier of appliers.values()) {
    const entry: Manifest["sinks"][number] | undefined = manifest.sinks.find(({ sink }) => sink === applier.sink)
    if (entry === undefined) {
      yield* applier.begin({ lineage: manifest.lineage, epoch: manifest.epoch, digest: "" })
      continue
    }
    const pending: Array<Pending> = []
    for (const { after, blobs: references, marker, rows } of entry.pending) {
      const prepared = references.flatMap(({ id }) => unpackChunks(blobs.get(id)!.bytes, blobs.get(id)!.opaque))
      const bytes = prepared.reduce((sum, one) => sum + one.bytes.length, 0)
      const one: Pending = { marker, after, prepared, rows, bytes }
      lying.set(one, references)
      pending.push(one)
    }
    yield* applier.resume(job, entry.applied, pending)
  }
  return lying
})

/** Applies what becomes due, for ever. */
export const run = (appliers: Appliers): Effect.Effect<never, SinkFenced> =>
  appliers.size === 0
    ? Effect.never
    : Effect.andThen(
      Effect.forEach(appliers.values(), (applier) => applier.run, { concurrency: "unbounded", discard: true }),
      Effect.never
    )

const isSettled = (appliers: Appliers): boolean =>
  Array.from(appliers.values()).every(({ pending }) => pending.length === 0)

/** Waits until nothing that is durable waits for a sink. */
export const settled = (appliers: Appliers): Effect.Effect<void> =>
  waitUntil(Array.from(appliers.values(), ({ changes }) => changes), () => isSettled(appliers))

export const pendingBytes = (appliers: Appliers): number =>
  Array.from(appliers.values()).reduce((sum, { pendingBytes }) => sum + pendingBytes, 0)

/**
 * Fails when somebody has waited so long for a sink to take anything, naming the one that is owed most. `waits` says
 * whether somebody does: because no more can be kept, or because the job is at its end.
 */
export const stalled = (
  appliers: Appliers,
  waits: () => boolean,
  timeoutMillis: number
): Effect.Effect<never, SinkStalled> =>
  Effect.gen(function*() {
    const standing = new Map<Applier, { readonly written: number; readonly since: number }>()
    for (;;) {
      yield* Effect.sleep(Math.max(1, timeoutMillis / 8))
      const now = yield* Clock.currentTimeMillis
      for (const applier of appliers.values()) {
        const known = standing.get(applier)
        const isStill = known !== undefined && known.written === applier.written && applier.pending.length > 0 &&
          waits()
        if (!isStill) standing.set(applier, { written: applier.written, since: now })
      }
      const [sick] = Array.from(appliers.values())
        .filter((applier) => now - standing.get(applier)!.since >= timeoutMillis)
        .sort((a, b) => b.pendingBytes - a.pendingBytes)
      if (sick === undefined) continue
      return yield* new SinkStalled({
        sink: sick.sink,
        pendingBytes: sick.pendingBytes,
        afterMillis: now - standing.get(sick)!.since,
        cause: sick.failure && Cause.squash(sick.failure)
      })
    }
  })
