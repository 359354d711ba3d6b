/** How a program takes over the checkpoint of an earlier one: what it would make of it, and the epoch that it makes of it. */
import * as Effect from "effect/Effect"
import { type Checkpoint, Start } from "../../Checkpoint.ts"
import type { CheckpointStore, CheckpointStoreError, Fenced } from "../../CheckpointStore.ts"
import type { CheckpointRefused } from "../../FlowError.ts"
import type { Answers, Upgrade } from "../../Upgrade.ts"
import { Malformed } from "../checkpoint/malformed.ts"
import { recordOf } from "../plan/record.ts"
import { type Evidence, evidenceIn, evidenceOf } from "./evidence.ts"
import type { Program } from "./job.ts"
import { fingerprintOf, judge, type Judgement, refusalOf, tried } from "./judging.ts"
import { commitSurely, patient } from "./patience.ts"
import { newLineage, readManifest, recover, type Recovered, refuseForgotten, sound } from "./recovery.ts"
import { upgraded } from "./upgrading.ts"

type Store = CheckpointStore["Service"]

const judgementOf = (evidence: Evidence, program: Program, answers: Answers): Effect.Effect<Judgement> =>
  Effect.suspend(() => tried(evidence, program, judge(evidence, program, answers)))

const judged = Effect.fnUntraced(function*(
  evidence: Evidence,
  program: Program,
  answers: Answers
): Effect.fn.Return<Judgement, CheckpointRefused> {
  const judgement = yield* judgementOf(evidence, program, answers)
  const refusal = refusalOf(evidence, program.name, judgement)
  return refusal === undefined ? judgement : yield* refusal
})

/** Whether the job has nothing behind it but its beginning. */
export const isBeginning = ({ manifest }: Recovered): boolean => manifest.chain.length === 0

/** Refuses what the program cannot go on from; says what it makes of the rest. */
export const judgedValue = (value: Checkpoint, program: Program, answers: Answers) =>
  judged(evidenceIn(value), program, answers)

export const judgedEpoch = (from: Recovered, program: Program, answers: Answers) =>
  Effect.flatMap(sound(() => evidenceOf(from)), (evidence) => judged(evidence, program, answers))

/** Makes an epoch for the program of what an earlier one has left, and the head of it. */
export const succeed = Effect.fnUntraced(function*(
  store: Store,
  attempt: number,
  head: number,
  from: Recovered,
  judgement: Judgement,
  program: Program
): Effect.fn.Return<void, CheckpointStoreError | Fenced | Malformed> {
  const { epoch: last, lineage: known, parent } = from.manifest
  const epoch = Math.max(head, last) + 1
  const made = yield* upgraded(from, judgement, program, {
    epoch,
    attempt,
    fingerprint: fingerprintOf(program),
    // Going on from anything but the last epoch, the job leaves the line that the others belong to.
    ...from.isHead
      ? { lineage: known, parent }
      : { lineage: yield* newLineage, parent: { lineage: known, epoch: last } }
  })
  yield* Effect.logInfo(`Job "${program.name}" goes on from epoch ${last} with another plan, as epoch ${epoch}`)
  yield* commitSurely(store, {
    job: program.name,
    attempt,
    epoch,
    previous: head,
    digest: made.digest,
    manifest: made.bytes,
    blobs: made.blobs,
    drop: { epochs: [], blobs: [] },
    alongside: []
    // There is nothing alongside that could be refused.
  }).pipe(Effect.catchTag("AlongsideRefused", (refusal) => Effect.die(refusal)))
})

/** Whether a checkpoint that the program brings is to become the head of the store: not if the store has gone on from it. */
export const isToTakeIn = Effect.fnUntraced(function*(
  store: Store,
  job: string,
  isAfresh: boolean,
  value: Checkpoint
): Effect.fn.Return<boolean, CheckpointStoreError> {
  if (isAfresh || value.job !== job) return true
  const is = (at: { readonly lineage: string; readonly epoch: number } | undefined) =>
    at?.lineage === value.lineage && at.epoch === value.epoch
  // Of the newest that can be read: a damaged head must not take the job back to where the program began.
  for (const { epoch } of yield* store.list(job)) {
    const manifest = yield* readManifest(store, job, epoch)
    if (!(manifest instanceof Malformed)) return !is(manifest) && !is(manifest.imported)
  }
  return true
})

/** What running the job would make of the checkpoint in the store, or of the one that it brings; nothing is changed. */
export const preview = Effect.fnUntraced(function*(
  hasty: Store,
  program: Program,
  { answers, isAfresh }: { readonly answers: Answers; readonly isAfresh: boolean }
): Effect.fn.Return<Upgrade, CheckpointStoreError | CheckpointRefused | Malformed> {
  const { name: job } = program
  const store = patient(hasty)
  const value = yield* Start
  const told = (evidence: Evidence) =>
    Effect.map(
      judgementOf(evidence, program, answers),
      ({ entries }): Upgrade => ({ job, epoch: evidence.epoch, entries })
    )
  if (value !== undefined && (yield* isToTakeIn(store, job, isAfresh, value))) return yield* told(evidenceIn(value))
  const { from } = yield* recover(store, job, isAfresh && value === undefined, { parts: 0, sinks: [] })
  if (from === undefined || isBeginning(from)) {
    const { operators, outputs } = recordOf(program.graph, program.deadLetters)
    return {
      job,
      epoch: undefined,
      entries: [
        ...operators.map(({ operator, source, state }) => ({
          what: source === undefined ? "operator" as const : "source" as const,
          name: operator,
          status: "new" as const,
          reason: source !== undefined ? "begins at its beginning" : state !== undefined ? "begins empty" : ""
        })),
        ...outputs.map(({ output }) => ({
          what: "output" as const,
          name: output,
          status: "new" as const,
          reason: "begins with the first epoch"
        }))
      ]
    }
  }
  if (!from.isHead) yield* refuseForgotten(job, program.graph, from.manifest.epoch)
  return yield* told(yield* sound(() => evidenceOf(from)))
})
