/** A store that fails may answer the next time: what is asked again, how often, and what came of it meanwhile. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import {
  AlongsideRefused,
  type CheckpointStore,
  type CheckpointStoreError,
  type Commit,
  Fenced
} from "../../CheckpointStore.ts"
import { Malformed } from "../checkpoint/malformed.ts"

type Store = CheckpointStore["Service"]

const firstPauseMillis = 50
const longestPauseMillis = 5000

/** About a minute, with the pauses. */
const commitTries = 20
/** About three seconds. */
const readTries = 7

/** Between half of what is due and all of it: jobs that one store has failed do not come back to it together. */
export const pauseMillis = (tries: number): Effect.Effect<number> => {
  const most = Math.min(longestPauseMillis, firstPauseMillis * 2 ** tries)
  return Random.nextIntBetween(most / 2, most)
}

/**
 * What came of a commit that failed is read from the store before anything else is done. One that a sink's statement has
 * failed would fail so again: that is for the caller.
 */
export const commitSurely = (
  store: Store,
  commit: Commit
): Effect.Effect<void, CheckpointStoreError | Fenced | AlongsideRefused> =>
  Effect.gen(function*() {
    for (let tries = 1;; tries++) {
      const failure = yield* store.commit(commit).pipe(Effect.as(undefined), Effect.catch(Effect.succeed))
      if (failure === undefined) return
      if (failure instanceof AlongsideRefused) return yield* failure
      const head = yield* Effect.option(Effect.map(store.list(commit.job), (all) => all[0]))
      if (Option.isSome(head)) {
        if (head.value?.epoch === commit.epoch && head.value.digest === commit.digest) return
        if (failure instanceof Fenced) return yield* failure
        if ((head.value?.epoch ?? 0) !== commit.previous) {
          const problem = `the store's head is epoch ${head.value?.epoch ?? 0}, not ${commit.previous}`
          return yield* new Fenced({ job: commit.job, operation: `commit epoch ${commit.epoch}`, problem })
        }
      }
      if (tries === commitTries) return yield* failure
      const millis = yield* pauseMillis(tries)
      yield* Effect.logWarning(`Epoch ${commit.epoch} is tried again in ${millis} ms`, failure)
      yield* Effect.sleep(millis)
    }
  })

/** Asks again what only reads, or may be done twice. What is damaged will be so the next time. */
const asked = <A, E extends CheckpointStoreError | Fenced>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> => {
  const again = (tries: number): Effect.Effect<A, E> =>
    effect.pipe(Effect.catch((failure) => {
      const isFinal = failure instanceof Fenced || failure.cause instanceof Malformed
      if (tries === readTries || isFinal) return Effect.fail(failure)
      return Effect.flatMap(pauseMillis(tries), (millis) =>
        Effect.logWarning(`${failure.message}; it is asked again in ${millis} ms`).pipe(
          Effect.andThen(Effect.sleep(millis)),
          Effect.andThen(again(tries + 1))
        ))
    }))
  return again(1)
}

/** The store as a job reads it. Its commits are left to `commitSurely`. */
export const patient = (store: Store): Store => ({
  ...store,
  acquire: (job) => asked(store.acquire(job)),
  list: (job) => asked(store.list(job)),
  manifest: (job, epoch) => asked(store.manifest(job, epoch)),
  blob: (job, id) => asked(store.blob(job, id)),
  remove: (job, attempt, drop) => asked(store.remove(job, attempt, drop))
})
