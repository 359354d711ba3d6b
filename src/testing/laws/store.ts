/**
 * The laws of a checkpoint store: what a job may rely on does not depend on where its checkpoints are.
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { CheckpointStore } from "../../CheckpointStore.ts"
import { blobIn, bytes, type Commit, commitOf, epochs, filled, hostile, job, nothing, type Store } from "./commits.ts"
import { type Checks, forAll, holds, type Law, law, same } from "./law.ts"
import { live, script, type StorePlace } from "./storeModel.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface StoreOptions extends Checks {
  /** Whether what was committed outlives the process. A store that does not is opened once for each law. */
  readonly isDurable: boolean
  /** Whether sinks may join its transactions. False by default. */
  readonly hasDatabase?: boolean
}

const built = (layer: Layer.Layer<CheckpointStore, unknown>): Effect.Effect<Store, unknown, Scope.Scope> =>
  Effect.map(Layer.build(Layer.fresh(layer)), (context) => Context.get(context, CheckpointStore))

const someBytes: Arbitrary.Arbitrary<Uint8Array> = Arbitrary.map(
  Arbitrary.array(Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 })))),
  (all) => Uint8Array.from(all)
)

const refused = (effect: Effect.Effect<void, { readonly _tag: string }>): Effect.Effect<void, unknown> =>
  Effect.flatMap(Effect.exit(effect), (exit) => {
    const found = Exit.isSuccess(exit) ? "success" : Option.getOrUndefined(Exit.findErrorOption(exit))?._tag
    return Effect.sync(() => holds(found === "Fenced", "Fenced", found, "a commit or a removal that is to be refused"))
  })

/**
 * What a job relies on in its store: attempts fence, an epoch follows the head or is refused, a commit takes effect wholly
 * or not at all, once, what was written comes back as it was, and nothing goes but what is dropped.
 *
 * **Details**
 *
 * `place` makes a new, empty place and answers with the layer that opens it; every building of the layer is a handle of its
 * own, as another process has it.
 *
 * @since 0.1.0
 * @category laws
 */
export const store = <E>(
  place: Effect.Effect<Layer.Layer<CheckpointStore, E>, unknown, Scope.Scope>,
  options: StoreOptions
): ReadonlyArray<Law> => {
  const { hasDatabase = false, isDurable } = options
  const here: Effect.Effect<StorePlace, unknown, Scope.Scope> = Effect.flatMap(place, (layer) => {
    const open = built(layer)
    return isDurable ? Effect.succeed({ open }) : Effect.map(open, (store) => ({ open: Effect.succeed(store) }))
  })
  const laws: Array<Law> = []
  const declare = (
    name: string,
    check: (store: Store, place: StorePlace) => Effect.Effect<void, unknown, Scope.Scope>
  ): void => {
    const opened = Effect.flatMap(here, (place) => Effect.flatMap(place.open, (store) => check(store, place)))
    laws.push(law("store", name, Effect.scoped(opened)))
  }

  declare("says what it is", (store) =>
    Effect.sync(() => {
      same(store.isDurable, isDurable)
      same(store.database !== undefined, hasDatabase)
    }))

  declare("attempts count from 1, for each job", (store, { open }) =>
    Effect.gen(function*() {
      same(yield* store.acquire("a"), 1)
      same(yield* store.acquire("a"), 2)
      same(yield* store.acquire("b"), 1)
      same(yield* (yield* open).acquire("a"), 3)
      for (let attempt = 4; attempt <= 12; attempt++) same(yield* store.acquire("a"), attempt)
    }))

  declare("attempts that are taken at once are different ones", (store, { open }) =>
    Effect.gen(function*() {
      const other = yield* open
      const taken = yield* Effect.all(
        Array.from({ length: 8 }, (_, i) => (i % 2 === 0 ? store : other).acquire(job)),
        { concurrency: "unbounded" }
      )
      same(new Set(taken).size, 8)
      const latest = Math.max(...taken)
      yield* store.commit(commitOf({ attempt: latest, epoch: 1 }))
      same(yield* epochs(other), [1])
    }))

  declare("a job that nobody has seen has nothing", (store) =>
    Effect.gen(function*() {
      same(yield* store.list(job), [])
      same(yield* store.manifest(job, 1), Option.none())
      same(yield* store.blob(job, "1.state-0"), Option.none())
      yield* refused(store.commit(commitOf({ attempt: 1, epoch: 1 })))
      yield* refused(store.remove(job, 1, nothing))
      same(yield* store.list(job), [])
    }))

  declare(
    "an earlier attempt can write no more, nor one that nobody has taken",
    (store, { open }) =>
      Effect.gen(function*() {
        const first = yield* filled(store, 1)
        const other = yield* open
        const second = yield* other.acquire(job)
        const late = commitOf({ attempt: first, epoch: 2 })
        yield* refused(store.commit(late))
        yield* refused(store.commit({ ...late, attempt: 7 }))
        yield* refused(store.remove(job, first, { epochs: [1], blobs: ["1.state-0"] }))
        yield* refused(store.remove(job, 7, { epochs: [1], blobs: ["1.state-0"] }))
        same(yield* epochs(store), [1])
        same(yield* blobIn(store, "2.state-0"), undefined)
        same(yield* blobIn(store, "1.state-0"), bytes("state 1"))
        yield* other.commit(commitOf({ attempt: second, epoch: 2 }))
        same(yield* epochs(store), [2, 1])
      })
  )

  declare("the same commit again changes nothing and succeeds", (store, { open }) =>
    Effect.gen(function*() {
      const attempt = yield* filled(store, 2)
      const before = yield* store.list(job)
      for (const handle of [store, yield* open]) {
        for (const epoch of [2, 1]) {
          const blobs = [{ id: `${epoch}.state-0`, bytes: bytes("other bytes") }]
          yield* handle.commit(commitOf({ attempt, epoch, blobs }))
          same(yield* handle.list(job), before)
          same(yield* blobIn(handle, `${epoch}.state-0`), bytes(`state ${epoch}`))
        }
      }
    }))

  declare("an epoch follows the head or is refused", (store) =>
    Effect.gen(function*() {
      const attempt = yield* filled(store, 3)
      const wrong: ReadonlyArray<Partial<Commit> & { readonly epoch: number }> = [
        { epoch: 4, previous: 0 },
        { epoch: 4, previous: 2 },
        { epoch: 4, previous: 4 },
        { epoch: 3, previous: 3, manifest: bytes("another") },
        { epoch: 3, previous: 2, manifest: bytes("another") },
        { epoch: 2, previous: 3, manifest: bytes("another") },
        { epoch: 0, previous: 3 },
        { epoch: NaN, previous: 3 }
      ]
      for (const wish of wrong) yield* refused(store.commit(commitOf({ attempt, ...wish })))
      same(yield* epochs(store), [3, 2, 1])
      same(yield* store.manifest(job, 3), Option.some(bytes("manifest 3")))
      yield* store.commit(commitOf({ attempt, epoch: 9, previous: 3 }))
      same(yield* epochs(store), [9, 3, 2, 1])
    }))

  declare(
    "of commits at once one wins, complete, and nothing is left of the others",
    (store, { open }) =>
      Effect.gen(function*() {
        const handles = [store, yield* open]
        const attempt = yield* store.acquire(job)
        let head = 0
        for (let round = 0; round < 8; round++) {
          const commits = Array.from({ length: 4 }, (_, i) => {
            // Half of the rounds fight for the same epoch, the others for following the same one.
            const epoch = round % 2 === 0 ? head + 1 : head + 1 + i
            const manifest = bytes(`round ${round}, commit ${i}`)
            const blobs = [{ id: `${epoch}.by-${round}-${i}`, bytes: manifest }]
            return commitOf({ attempt, epoch, previous: head, manifest, blobs })
          })
          const exits = yield* Effect.forEach(
            commits,
            (commit, i) => Effect.exit(handles[i % 2]!.commit(commit)),
            { concurrency: "unbounded" }
          )
          const winners = commits.filter((_, i) => Exit.isSuccess(exits[i]!))
          same(winners.length, 1, `round ${round}`)
          for (const commit of commits) {
            const won = commit === winners[0]
            same(yield* blobIn(store, commit.blobs[0]!.id), won ? commit.manifest : undefined)
          }
          head = winners[0]!.epoch
          const listed = yield* store.list(job)
          same(listed[0], { epoch: head, attempt, digest: winners[0]!.digest })
          same(listed.length, round + 1)
          same(yield* store.manifest(job, head), Option.some(winners[0]!.manifest))
        }
      })
  )

  declare("the same commit twice at once succeeds twice", (store, { open }) =>
    Effect.gen(function*() {
      const other = yield* open
      const attempt = yield* store.acquire(job)
      for (let epoch = 1; epoch <= 4; epoch++) {
        const commit = commitOf({ attempt, epoch })
        yield* Effect.all([store.commit(commit), other.commit(commit)], { concurrency: "unbounded" })
      }
      same(yield* epochs(other), [4, 3, 2, 1])
    }))

  declare("when a job has been taken over, the head stays where it is", (store, { open }) =>
    Effect.gen(function*() {
      const other = yield* open
      let head = 0
      for (let round = 0; round < 12; round++) {
        const attempt = yield* store.acquire(job)
        const commit = commitOf({ attempt, epoch: head + 1, blobs: [{ id: `${head + 1}.x`, bytes: bytes("x") }] })
        const committing = yield* Effect.forkChild(Effect.exit(store.commit(commit)))
        for (let i = 0; i < round * 20; i++) yield* Effect.yieldNow
        const next = yield* other.acquire(job)
        const seen = yield* other.list(job)
        const exit = yield* Fiber.join(committing)
        same(yield* other.list(job), seen)
        same((seen[0]?.epoch ?? 0) === head + 1, Exit.isSuccess(exit))
        head = seen[0]?.epoch ?? 0
        if (head > 0) same(yield* blobIn(other, `${head}.x`), bytes("x"))
        yield* other.commit(
          commitOf({ attempt: next, epoch: ++head, blobs: [{ id: `${head}.x`, bytes: bytes("x") }] })
        )
      }
    }))

  declare("epochs are listed newest first, by number", (store) =>
    Effect.gen(function*() {
      const attempt = yield* store.acquire(job)
      let previous = 0
      const committed = [1, 2, 9, 10, 11, 100, 2 ** 40]
      for (const epoch of committed) {
        yield* store.commit(commitOf({ attempt, epoch, previous }))
        previous = epoch
      }
      same(
        yield* store.list(job),
        committed.toReversed().map((epoch) => ({ epoch, attempt, digest: commitOf({ attempt, epoch }).digest }))
      )
    }))

  declare(
    "manifests and blobs come back as they were, also in another handle",
    (store, { open }) =>
      Effect.gen(function*() {
        const other = yield* open
        const attempt = yield* store.acquire(job)
        const contents: Array<readonly [Uint8Array, ReadonlyArray<Uint8Array>]> = [
          ...yield* Arbitrary.sampleEffect(Arbitrary.all([someBytes, Arbitrary.array(someBytes)]), {
            count: 8,
            size: 40,
            ...options.seed === undefined ? {} : { seed: options.seed }
          })
        ]
        contents.push([new Uint8Array(0), [new Uint8Array(0)]])
        // A view on a part of a larger buffer.
        contents.push([bytes("xmanifestx").subarray(1, 9), [new Uint8Array(2 ** 20).subarray(7, 2 ** 19)]])
        for (const [index, [manifest, parts]] of contents.entries()) {
          const epoch = index + 1
          const blobs = parts.map((bytes, part) => ({ id: `${epoch}.part-${part}`, bytes }))
          const sizes = [manifest, ...parts].map(({ byteLength }) => byteLength)
          yield* store.commit(commitOf({ attempt, epoch, manifest, blobs }))
          same(
            [manifest, ...parts].map(({ byteLength }) => byteLength),
            sizes,
            "nothing is taken away"
          )
        }
        for (const [index, [manifest, parts]] of contents.entries()) {
          same(yield* other.manifest(job, index + 1), Option.some(manifest.slice()))
          for (const [part, bytes] of parts.entries()) {
            same(yield* blobIn(other, `${index + 1}.part-${part}`), bytes.slice())
          }
        }
      })
  )

  declare("what is dropped is gone, and nothing else", (store, { open }) =>
    Effect.gen(function*() {
      const attempt = yield* store.acquire(job)
      const blobs = (epoch: number) => ["a", "b"].map((part) => ({ id: `${epoch}.${part}`, bytes: bytes(part) }))
      for (let epoch = 1; epoch <= 4; epoch++) yield* store.commit(commitOf({ attempt, epoch, blobs: blobs(epoch) }))
      yield* store.commit(commitOf({
        attempt,
        epoch: 5,
        blobs: blobs(5),
        drop: { epochs: [1, 3, 77], blobs: ["1.a", "2.b", "77.a", "nothing"] }
      }))
      const there = Effect.fnUntraced(function*(handle: Store) {
        const found: Array<string> = []
        for (const epoch of [1, 2, 3, 4, 5]) {
          for (const { id } of blobs(epoch)) if ((yield* blobIn(handle, id)) !== undefined) found.push(id)
          if (Option.isSome(yield* handle.manifest(job, epoch))) found.push(`${epoch}`)
        }
        return found
      })
      const other = yield* open
      same(yield* there(other), [
        "1.b",
        "2.a",
        "2",
        "3.a",
        "3.b",
        "4.a",
        "4.b",
        "4",
        "5.a",
        "5.b",
        "5"
      ])
      same(yield* epochs(other), [5, 4, 2])
      yield* other.remove(job, attempt, { epochs: [4], blobs: ["1.b", "3.a"] })
      same(yield* there(store), ["2.a", "2", "3.b", "4.a", "4.b", "5.a", "5.b", "5"])
      // Whoever takes over finds it so, too.
      yield* other.acquire(job)
      same(yield* there(store), ["2.a", "2", "3.b", "4.a", "4.b", "5.a", "5.b", "5"])
    }))

  declare("a job whose epochs are all removed can begin again", (store) =>
    Effect.gen(function*() {
      const attempt = yield* filled(store, 2)
      yield* store.remove(job, attempt, { epochs: [1, 2], blobs: ["1.state-0"] })
      same(yield* store.list(job), [])
      yield* store.commit(commitOf({ attempt, epoch: 3, previous: 0 }))
      same(yield* epochs(store), [3])
      same(yield* blobIn(store, "2.state-0"), bytes("state 2"))
    }))

  declare(
    "everything is there after reopening, and the next attempt follows the last",
    (_, { open }) =>
      Effect.gen(function*() {
        yield* Effect.scoped(Effect.flatMap(open, (store) => filled(store, 3)))
        const again = yield* open
        same(yield* epochs(again), [3, 2, 1])
        same(yield* again.acquire(job), 2)
        same(yield* blobIn(again, "2.state-0"), bytes("state 2"))
        yield* again.commit(commitOf({ attempt: 2, epoch: 4 }))
        same((yield* again.list(job)).map(({ attempt }) => attempt), [2, 1, 1, 1])
      })
  )

  declare("jobs and blobs have any name, and none is taken for another", (store, { open }) =>
    Effect.gen(function*() {
      const names = hostile.map((name, index) => ({ name, index, content: bytes(`${index}`) }))
      for (const { content, name } of names) {
        const attempt = yield* store.acquire(name)
        same(attempt, 1, JSON.stringify(name))
        yield* store.commit(commitOf({ job: name, attempt, epoch: 1, manifest: content, blobs: [] }))
      }
      const other = yield* open
      for (const { content, name } of names) {
        same(yield* other.manifest(name, 1), Option.some(content), JSON.stringify(name))
      }
      const blobs = names.map(({ content, name }) => ({ id: name, bytes: content }))
      yield* store.commit(commitOf({ job: "a", attempt: 1, epoch: 2, blobs }))
      for (const { content, name } of names) {
        same(yield* other.blob("a", name), Option.some({ id: name, bytes: content }))
        same(yield* other.blob("b", name), Option.none())
      }
      yield* store.remove("a", 1, { epochs: [], blobs: ["../x", "A", "\ud800"] })
      for (const { content, name } of names) {
        const wanted = ["../x", "A", "\ud800"].includes(name) ? undefined : content
        same(yield* blobIn(other, name, "a"), wanted, JSON.stringify(name))
      }
    }))

  declare("jobs do not see each other", (store) =>
    Effect.gen(function*() {
      const [a, b] = [yield* filled(store, 3, "a"), yield* filled(store, 1, "b")]
      yield* store.acquire("b")
      yield* store.remove("a", a, { epochs: [1], blobs: ["1.state-0"] })
      same(yield* epochs(store, "a"), [3, 2])
      same(yield* epochs(store, "b"), [1])
      same(yield* blobIn(store, "1.state-0", "b"), bytes("state 1"))
      same(yield* blobIn(store, "2.state-0", "b"), undefined)
      yield* store.commit(commitOf({ job: "a", attempt: a, epoch: 4 }))
      yield* refused(store.commit(commitOf({ job: "b", attempt: b, epoch: 2 })))
    }))

  declare("an interrupted commit has happened or not, and the job goes on", (store) =>
    Effect.gen(function*() {
      const attempt = yield* store.acquire(job)
      let head = 0
      for (let round = 0; round < 20; round++) {
        const commit = commitOf({ attempt, epoch: head + 1 })
        const fiber = yield* Effect.forkChild(store.commit(commit))
        for (let i = 0; i < round * round; i++) yield* Effect.yieldNow
        yield* Fiber.interrupt(fiber)
        // Whichever it was, saying it again makes it so.
        yield* store.commit(commit)
        head++
        same((yield* epochs(store))[0], head)
        same(yield* blobIn(store, `${head}.state-0`), bytes(`state ${head}`))
      }
    }))

  declare("values without an encoding are kept as they are, or refused", (store) =>
    Effect.gen(function*() {
      const attempt = yield* store.acquire(job)
      const value = { when: () => 1 }
      const commit = commitOf({ attempt, epoch: 1, blobs: [{ id: "1.rows", bytes: bytes(""), opaque: [value] }] })
      if (isDurable) {
        const error = yield* Effect.flip(store.commit(commit))
        same(error._tag, "CheckpointStoreError", "a value that has no encoding")
        same(yield* store.list(job), [])
      } else {
        yield* store.commit(commit)
        const found = Option.getOrThrow(yield* store.blob(job, "1.rows"))
        same(found.opaque?.[0], value)
      }
    }))

  if (!hasDatabase) {
    declare("statements for a database are refused where there is none", (store) =>
      Effect.gen(function*() {
        const attempt = yield* store.acquire(job)
        const commit = commitOf({ attempt, epoch: 1, alongside: [{ sql: "SELECT 1" }] })
        same((yield* Effect.flip(store.commit(commit)))._tag, "CheckpointStoreError")
        same(yield* store.list(job), [])
      }))
  }

  laws.push(law(
    "store",
    "does what a model of maps does",
    forAll(
      script,
      (actions) => Effect.scoped(Effect.flatMap(here, (place) => live(place, actions))),
      { runs: 30, size: 25, ...options }
    )
  ))
  return laws
}
