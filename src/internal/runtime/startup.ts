/** What happens between the launch of a job and its first record: the store is taken over, the past is read, sinks are found. */
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Scope from "effect/Scope"
import { Start } from "../../Checkpoint.ts"
import type { CheckpointStore } from "../../CheckpointStore.ts"
import type { Sink } from "../../Sink.ts"
import { Tables } from "../checkpoint/contents.ts"
import { Malformed } from "../checkpoint/malformed.ts"
import { encodeManifest, format, type Manifest } from "../checkpoint/manifest.ts"
import { recordOf } from "../plan/record.ts"
import { Applier } from "./applier.ts"
import { Coordinator } from "./coordinator.ts"
import * as epochSinks from "./epochSinks.ts"
import { importValue } from "./importing.ts"
import type { Program, Settings } from "./job.ts"
import { fingerprintOf } from "./judging.ts"
import type { Parts } from "./parts.ts"
import { commitSurely, patient } from "./patience.ts"
import {
  newLineage,
  partContents,
  readBlob,
  readTables,
  recover,
  type Recovered,
  type Recovery,
  refuseForgotten,
  sound,
  unrestorable
} from "./recovery.ts"
import { deadLetterCodec, type RowCodec, rowCodec } from "./rowCodec.ts"
import { type PartStanding, standingOf, unstarted } from "./standing.ts"
import { isBeginning, isToTakeIn, judgedEpoch, judgedValue, succeed } from "./succession.ts"

/** The first epoch of a job: nothing has happened, and sinks are about to begin. */
const beginning = Effect.fnUntraced(function*(
  store: CheckpointStore["Service"],
  { previous, sinks, ...first }:
    & Pick<Manifest, "job" | "fingerprint" | "plan" | "attempt" | "epoch" | "partitions">
    & { readonly previous: number; readonly sinks: ReadonlyArray<string> }
): Effect.fn.Return<Recovered, unknown> {
  const { attempt, epoch, job } = first
  const lineage = yield* newLineage
  const manifest: Manifest = {
    ...first,
    format,
    lineage,
    state: "running",
    takenAt: yield* Clock.currentTimeMillis,
    chain: [],
    parts: [],
    sinks: sinks.map((sink) => ({ sink, applied: { lineage, epoch, digest: "" }, pending: [] }))
  }
  const { bytes, digest } = encodeManifest(manifest)
  yield* commitSurely(store, {
    job,
    attempt,
    epoch,
    previous,
    digest,
    manifest: bytes,
    blobs: [],
    drop: { epochs: [], blobs: [] },
    alongside: []
  })
  return { manifest, tables: new Tables(), blobs: new Map(), isHead: true }
})

/** Makes an epoch for the program of one that another has left; says whether that was needed. */
const upgradedBy = Effect.fnUntraced(function*(
  program: Program,
  { upgrade }: Settings,
  store: CheckpointStore["Service"],
  attempt: number,
  appliers: epochSinks.Appliers,
  { from, head }: Recovery
): Effect.fn.Return<boolean, unknown> {
  if (from === undefined || isBeginning(from)) return false
  const judgement = yield* judgedEpoch(from, program, upgrade)
  if (!judgement.differs) return false
  const { manifest: { epoch, sinks } } = from
  if (!from.isHead) yield* refuseForgotten(program.name, program.graph, epoch)
  // Sinks first here, too: whoever goes back to the program before must find what it had.
  yield* epochSinks.check(appliers, program.name, sinks.filter(({ sink }) => judgement.outputs.has(sink)))
  yield* succeed(store, attempt, head, from, judgement, program)
  return true
}, (effect, { name }, _settings, _store, _attempt, _appliers, { head }) =>
  Effect.catchIf(
    effect,
    (failure) => failure instanceof Malformed,
    ({ message }) => Effect.fail(unrestorable(name, head, message))
  ))

/** A job that can begin, or one that has nothing left to do. */
export interface Started {
  readonly coordinator: Coordinator
  readonly appliers: epochSinks.Appliers
  /** Whether it begins from nothing. */
  readonly isFresh: boolean
  /** The checkpoint that it goes on from was the last of a finished job. */
  readonly isFinished: boolean
  readonly standing: (part: number) => Effect.Effect<PartStanding, unknown>
}

export const start = Effect.fnUntraced(function*(
  program: Program,
  settings: Settings,
  hasty: CheckpointStore["Service"],
  parts: Parts,
  jobScope: Scope.Scope,
  context: Context.Context<FileSystem.FileSystem>
): Effect.fn.Return<Started, unknown> {
  const { deadLetters, graph, name } = program
  const { upgrade } = settings
  const store = patient(hasty)
  const fingerprint = fingerprintOf(program)
  const plan = recordOf(graph, deadLetters)
  const attempt = yield* store.acquire(name)
  const inCharge = store.remove(name, attempt, { epochs: [], blobs: [] })

  const appliers = new Map<number | undefined, Applier>()
  const applier = (label: string, sink: Sink<never, unknown, unknown>, codec: RowCodec) =>
    new Applier(
      label,
      // The context holds what the sink asks for: the type of `Job.run` has seen to it.
      Effect.provideContext(sink.openEpochs!({ job: name, sink: label, codec }), context as never) as never,
      store.isDurable,
      jobScope,
      inCharge
    )
  graph.outlets.forEach(({ byEpoch, name: label, port, sink }, outlet) => {
    if (byEpoch) appliers.set(outlet, applier(label, sink, rowCodec(graph, port)))
  })
  if (deadLetters?.openEpochs !== undefined) {
    appliers.set(undefined, applier("dead letters", deadLetters, deadLetterCodec))
  }

  const isAfresh = settings.start === "afresh"
  const value = yield* Start
  const imported = value && { lineage: value.lineage, epoch: value.epoch }
  if (value !== undefined && (yield* isToTakeIn(store, name, isAfresh, value))) {
    const { outputs } = yield* judgedValue(value, program, upgrade)
    // Sinks first: a checkpoint that they cannot go on from must not become the head.
    yield* epochSinks.check(appliers, name, value.sinks.filter(({ sink }) => outputs.has(sink)))
    const [head] = yield* store.list(name)
    yield* importValue(hasty, { attempt, head: head?.epoch ?? 0, lineage: yield* newLineage }, value)
  }
  const pieces = { parts: parts.count, sinks: Array.from(appliers.values(), ({ sink }) => sink) }
  const found = yield* recover(store, name, isAfresh && value === undefined, pieces)
  const recovery = (yield* upgradedBy(program, settings, hasty, attempt, appliers, found))
    ? yield* recover(store, name, false, pieces)
    : found
  const { kept } = recovery

  // A job that begins anew opens its sinks first: one that cannot be opened leaves the store as it was. And before any of
  // them begins anew the store knows of it: a crash in between finds the beginning, not the end of the last run.
  if (recovery.from === undefined) yield* epochSinks.open(appliers)
  const sinks = Array.from(appliers.values(), ({ sink }) => sink)
  const from = recovery.from ?? (yield* beginning(store, {
    job: name,
    fingerprint,
    plan,
    attempt,
    epoch: recovery.head + 1,
    previous: recovery.head,
    partitions: settings.partitions,
    sinks
  }))
  const isFresh = from.isHead && isBeginning(from)
  const head = Math.max(recovery.head, from.manifest.epoch)

  // Going on from anything but the last epoch, the job leaves the line that the others belong to.
  const { lineage: known, ...at } = from.manifest
  const lineage = from.isHead ? known : yield* newLineage
  const parent = from.isHead ? at.parent : { lineage: known, epoch: at.epoch }
  if (!from.isHead) yield* refuseForgotten(name, graph, at.epoch)
  const isFinished = at.state === "finished"
  const isOwed = at.sinks.some(({ pending }) => pending.length > 0)
  const lying = isFresh
    ? yield* Effect.as(epochSinks.begin(appliers, lineage, at.epoch), new Map())
    : isFinished && !isOwed
    ? new Map()
    : yield* epochSinks.resume(appliers, name, from)

  const coordinator = new Coordinator(
    // It is patient by itself, and looks at the store between two tries.
    hasty,
    {
      job: name,
      fingerprint,
      plan,
      graph,
      partitions: settings.partitions,
      attempt,
      lineage,
      parent,
      imported: imported ?? at.imported,
      head,
      parts: at.parts,
      chain: at.chain,
      kept: recovery.from === undefined ? [...kept, { epoch: head, blobs: [], base: 0, isNamed: false }] : kept,
      retain: settings.retain,
      tablesOf: (chain) => readTables(store, name, chain)
    },
    parts,
    appliers,
    lying,
    jobScope
  )

  // What has been read already serves the first attempt of each part, and is let go then.
  let read: Recovered | undefined = from
  const waiting = new Set(Array.from({ length: parts.count }, (_, part) => part))
  const standing = (part: number): Effect.Effect<PartStanding, unknown> =>
    coordinator.between(Effect.gen(function*() {
      const latest = coordinator.latest(part)
      const isFirst = waiting.delete(part)
      const recovered = isFirst && latest?.chain === at.chain ? read : undefined
      if (waiting.size === 0) read = undefined
      if (latest === undefined) return unstarted
      const { chain, entry } = latest
      const tables = recovered?.tables ?? (yield* readTables(store, name, chain))
      const blobs = new Map(recovered?.blobs)
      for (const reference of entry.flight) {
        if (!blobs.has(reference.id)) blobs.set(reference.id, yield* readBlob(store, name, reference))
      }
      const { head: epoch } = coordinator
      return yield* sound(() =>
        standingOf(graph, settings.partitions, epoch, partContents(entry, tables, ({ id }) => blobs.get(id)!))
      )
    })).pipe(Effect.catchIf(
      (failure) => failure instanceof Malformed,
      ({ message }) => Effect.fail(unrestorable(name, coordinator.head, message))
    ))
  return { coordinator, appliers, isFresh, isFinished, standing }
})
