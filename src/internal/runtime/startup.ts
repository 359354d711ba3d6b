/** What happens between the launch of a job and its first record: the store is taken over, the past is read, sinks are found. */
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Scope from "effect/Scope"
import { type Checkpoint, Start } from "../../Checkpoint.ts"
import type { CheckpointStore } from "../../CheckpointStore.ts"
import { CheckpointRefused } from "../../FlowError.ts"
import * as Plan from "../../Plan.ts"
import type { Sink } from "../../Sink.ts"
import { Tables } from "../checkpoint/contents.ts"
import { Malformed } from "../checkpoint/malformed.ts"
import { encodeManifest, format, type Manifest } from "../checkpoint/manifest.ts"
import { Applier } from "./applier.ts"
import { Coordinator } from "./coordinator.ts"
import * as epochSinks from "./epochSinks.ts"
import { importValue } from "./importing.ts"
import type { Program, Settings } from "./job.ts"
import type { Parts } from "./parts.ts"
import { commitSurely, patient } from "./patience.ts"
import {
  newLineage,
  partContents,
  readBlob,
  readManifest,
  readTables,
  recover,
  type Recovered,
  sound,
  unrestorable
} from "./recovery.ts"
import { deadLetterCodec, type RowCodec, rowCodec } from "./rowCodec.ts"
import { type PartStanding, standingOf, unstarted } from "./standing.ts"

/** Sources without positions have forgotten what they gave after an epoch that is not the last. */
const refuseForgotten = (job: string, graph: Program["graph"], epoch: number): Effect.Effect<void, CheckpointRefused> =>
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

/**
 * What a checkpoint must share with the job that goes on from it. Where a sink writes may change, because it remembers itself
 * how far it has come; not whether its rows wait for their epochs.
 */
const fingerprintOf = (name: string, graph: Program["graph"], deadLetters: Program["deadLetters"]): string => {
  const plan = Plan.fromGraph(name, graph)
  const delivery = (byEpoch: boolean) => byEpoch ? "by epoch" : "at once"
  const letters = deadLetters && { output: "dead letters", reason: delivery(deadLetters.openEpochs !== undefined) }
  return Plan.fingerprint({
    ...plan,
    sinks: plan.sinks.map((sink, i) => ({ ...sink, details: delivery(graph.outlets[i]!.byEpoch) })),
    discarded: letters === undefined ? plan.discarded : [...plan.discarded, letters]
  })
}

/** The first epoch of a job: nothing has happened, and sinks are about to begin. */
const beginning = Effect.fnUntraced(function*(
  store: CheckpointStore["Service"],
  { previous, sinks, ...first }:
    & Pick<Manifest, "job" | "fingerprint" | "attempt" | "epoch" | "partitions">
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

/**
 * Whether a checkpoint that the program brings is to become the head of the store: not if the store has gone on from it
 * before. One of another job, or of another plan, is refused before the store has it, where it would be in the way.
 */
const isToTakeIn = Effect.fnUntraced(function*(
  store: CheckpointStore["Service"],
  job: string,
  fingerprint: string,
  isAfresh: boolean,
  value: Checkpoint
): Effect.fn.Return<boolean, unknown> {
  const problem = value.job !== job
    ? `it is one of job "${value.job}"`
    : value.fingerprint !== fingerprint
    ? "it was written by a job with another plan"
    : undefined
  if (problem !== undefined) {
    const remedy = "Give Checkpoint.layer a checkpoint of this job, as its program is now"
    return yield* new CheckpointRefused({ job, epoch: value.epoch, problem, remedy })
  }
  if (isAfresh) return true
  const is = (at: { readonly lineage: string; readonly epoch: number } | undefined) =>
    at?.lineage === value.lineage && at.epoch === value.epoch
  // Of the newest that can be read: a damaged head must not take the job back to where the program began.
  for (const { epoch } of yield* store.list(job)) {
    const manifest = yield* readManifest(store, job, epoch)
    if (!(manifest instanceof Malformed)) return !is(manifest) && !is(manifest.imported)
  }
  return true
})

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
  { deadLetters, graph, name }: Program,
  settings: Settings,
  hasty: CheckpointStore["Service"],
  parts: Parts,
  jobScope: Scope.Scope,
  context: Context.Context<FileSystem.FileSystem>
): Effect.fn.Return<Started, unknown> {
  const store = patient(hasty)
  const fingerprint = fingerprintOf(name, graph, deadLetters)
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
  if (value !== undefined && (yield* isToTakeIn(store, name, fingerprint, isAfresh, value))) {
    // Sinks first: a checkpoint that they cannot go on from must not become the head.
    yield* epochSinks.check(appliers, name, value)
    const [head] = yield* store.list(name)
    yield* importValue(hasty, { attempt, head: head?.epoch ?? 0, lineage: yield* newLineage }, value)
  }
  const recovery = yield* recover(store, name, fingerprint, isAfresh && value === undefined, {
    parts: parts.count,
    sinks: Array.from(appliers.values(), ({ sink }) => sink)
  })
  const { kept } = recovery

  // A job that begins anew opens its sinks first: one that cannot be opened leaves the store as it was. And before any of
  // them begins anew the store knows of it: a crash in between finds the beginning, not the end of the last run.
  if (recovery.from === undefined) yield* epochSinks.open(appliers)
  const sinks = Array.from(appliers.values(), ({ sink }) => sink)
  const from = recovery.from ?? (yield* beginning(store, {
    job: name,
    fingerprint,
    attempt,
    epoch: recovery.head + 1,
    previous: recovery.head,
    partitions: settings.partitions,
    sinks
  }))
  const isFresh = from.isHead && from.manifest.chain.length === 0
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
