/** A model of a checkpoint store, in maps, and scripts for both. */
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as CheckpointStore from "../../CheckpointStore.ts"
import { blobIn, bytes, type Commit, commitOf, type Store } from "./commits.ts"
import { between, same } from "./law.ts"

/** A place where checkpoints are kept. Each opening is a handle of its own, as another process would have it. */
export interface StorePlace {
  readonly open: Effect.Effect<Store, unknown, Scope.Scope>
}

type Action =
  | { readonly _tag: "Acquire"; readonly job: string }
  | {
    readonly _tag: "Commit"
    readonly job: string
    readonly attempt: number
    readonly step: number
    readonly previous: number
    readonly content: number
    readonly blobs: ReadonlyArray<readonly [slot: number, bytes: Uint8Array]>
    readonly drop: Dropping
  }
  | { readonly _tag: "Again"; readonly job: string }
  | { readonly _tag: "Remove"; readonly job: string; readonly attempt: number; readonly drop: Dropping }
  | { readonly _tag: "Reopen" }

/** How many epochs ago, and which of the blobs ever written. */
interface Dropping {
  readonly ago: ReadonlyArray<number>
  readonly blobs: ReadonlyArray<number>
}

/** Mostly what is right. */
const offset = Arbitrary.map(between(0, 9), (at) => at < 8 ? 0 : at === 8 ? -1 : 1)
const someJob = Arbitrary.map(between(0, 2), (at) => at < 2 ? "a" : "a/b")
const dropping: Arbitrary.Arbitrary<Dropping> = Arbitrary.all({
  ago: Arbitrary.array(between(0, 4), { maxLength: 2 }),
  blobs: Arbitrary.array(between(0, 20), { maxLength: 3 })
})
const steps = [1, 1, 1, 1, 1, 2, 5, 0, -1]

const action: Arbitrary.Arbitrary<Action> = Arbitrary.map(
  Arbitrary.all({
    kind: between(0, 12),
    job: someJob,
    attempt: offset,
    step: between(0, steps.length - 1),
    previous: offset,
    content: between(0, 3),
    blobs: Arbitrary.array(
      Arbitrary.all([between(0, 2), Arbitrary.array(between(0, 255), { maxLength: 20 })]),
      { maxLength: 3 }
    ),
    drop: dropping
  }),
  ({ attempt, blobs, content, drop, job, kind, previous, step }): Action => {
    if (kind < 2) return { _tag: "Acquire", job }
    if (kind < 10) {
      return {
        _tag: "Commit",
        job,
        attempt,
        step: steps[step]!,
        previous,
        content,
        blobs: blobs.map(([slot, bytes]) => [slot, Uint8Array.from(bytes)] as const),
        drop
      }
    }
    return kind === 10
      ? { _tag: "Again", job }
      : kind === 11
      ? { _tag: "Remove", job, attempt, drop }
      : { _tag: "Reopen" }
  }
)

export const script: Arbitrary.Arbitrary<ReadonlyArray<Action>> = Arbitrary.array(action, { maxLength: 25 })

/** What a store must show of one job. */
interface Model {
  attempt: number
  highest: number
  last: Commit | undefined
  readonly epochs: Map<number, Commit>
  readonly blobs: Map<string, Uint8Array>
  readonly ids: Array<string>
}

/** Lets a store and a model of it live through a script. */
export const live = Effect.fnUntraced(function*(place: StorePlace, actions: ReadonlyArray<Action>) {
  const models = new Map(["a", "a/b"].map((job): [string, Model] => [
    job,
    { attempt: 0, highest: 0, last: undefined, epochs: new Map(), blobs: new Map(), ids: [] }
  ]))
  let store = yield* place.open

  const headOf = ({ epochs }: Model) => Math.max(0, ...epochs.keys())

  const dropOf = (model: Model, { ago, blobs }: Dropping): CheckpointStore.Drop => ({
    epochs: ago.map((count) => headOf(model) - count),
    blobs: blobs.flatMap((index) => model.ids[index] ?? [])
  })

  const dropFrom = (model: Model, { blobs, epochs }: CheckpointStore.Drop) => {
    for (const epoch of epochs) model.epochs.delete(epoch)
    for (const id of blobs) model.blobs.delete(id)
  }

  const expectCommit = Effect.fnUntraced(function*(model: Model, wish: Commit) {
    const { attempt, digest, epoch, previous } = wish
    const known = model.epochs.get(epoch)
    const isLatest = attempt === model.attempt && attempt > 0
    const isRepeated = known?.attempt === attempt && known.digest === digest
    // What a commit drops belongs to it: the same commit drops the same.
    const commit = isRepeated ? { ...wish, drop: known.drop } : wish
    const isNew = previous === headOf(model) && epoch > headOf(model)
    const exit = yield* Effect.exit(store.commit(commit))
    same(Exit.isSuccess(exit), isLatest && (isRepeated || isNew))
    if (!isLatest || isRepeated || !isNew) return
    for (const { bytes, id } of commit.blobs) model.blobs.set(id, bytes)
    model.epochs.set(epoch, commit)
    model.highest = Math.max(model.highest, epoch)
    model.last = commit
    dropFrom(model, commit.drop)
  })

  for (const action of actions) {
    if (action._tag === "Reopen") {
      store = yield* place.open
      continue
    }
    const { job } = action
    const model = models.get(job)!
    switch (action._tag) {
      case "Acquire":
        same(yield* store.acquire(job), ++model.attempt)
        break
      case "Commit": {
        const head = headOf(model)
        // An epoch is never used again, except to be refused.
        const epoch = action.step > 0 ? model.highest + action.step : head + action.step
        const blobs = action.blobs.map(([slot, bytes]) => ({ id: `${epoch}.state-${slot}`, bytes }))
        if (action.step > 0) model.ids.push(...blobs.map(({ id }) => id))
        yield* expectCommit(
          model,
          commitOf({
            job,
            attempt: model.attempt + action.attempt,
            epoch,
            previous: head + action.previous,
            manifest: bytes(`content ${action.content}`),
            blobs,
            drop: dropOf(model, action.drop)
          })
        )
        break
      }
      case "Again":
        if (model.last !== undefined) yield* expectCommit(model, model.last)
        break
      case "Remove": {
        const attempt = model.attempt + action.attempt
        const drop = dropOf(model, action.drop)
        const exit = yield* Effect.exit(store.remove(job, attempt, drop))
        const isAllowed = attempt === model.attempt && attempt > 0
        same(Exit.isSuccess(exit), isAllowed)
        if (isAllowed) dropFrom(model, drop)
      }
    }
    const wanted = [...model.epochs.values()].sort((a, b) => b.epoch - a.epoch)
      .map(({ attempt, digest, epoch }) => ({ epoch, attempt, digest }))
    same(yield* store.list(job), wanted)
  }

  for (const [job, model] of models) {
    for (let epoch = 0; epoch <= model.highest; epoch++) {
      const wanted = Option.fromUndefinedOr(model.epochs.get(epoch)?.manifest)
      same(yield* store.manifest(job, epoch), wanted)
    }
    for (const id of model.ids) same(yield* blobIn(store, id, job), model.blobs.get(id))
  }
})
