/**
 * The laws of a checkpoint store. One suite for all of them: what a job may rely on does not depend on where its
 * checkpoints are.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Option, type Scope } from "effect"
import * as fc from "fast-check"
import type { CheckpointStore } from "millrace"
import * as Crypto from "node:crypto"
import { lawRuns } from "./runs.ts"

export type Store = CheckpointStore.CheckpointStore["Service"]

/** A place where checkpoints are kept. Each opening is a handle of its own, as another process would have it. */
export interface Place {
  readonly open: Effect.Effect<Store, unknown, Scope.Scope>
}

export interface Kind {
  readonly isDurable: boolean
  readonly hasDatabase: boolean
  /** A new place, gone with the scope. */
  readonly place: Effect.Effect<Place, unknown, Scope.Scope>
  /** How many random scripts it lives through. */
  readonly scripts: number
}

export const bytes = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text)

const digestOf = (manifest: Uint8Array): string => Crypto.createHash("sha256").update(manifest).digest("hex")

const nothing: CheckpointStore.Drop = { epochs: [], blobs: [] }

export const job = "fraud"

type Wish = Partial<CheckpointStore.Commit> & { readonly attempt: number; readonly epoch: number }

/** A commit, by what matters in it: it follows the epoch before and has one blob unless told otherwise. */
export const commitOf = (wish: Wish): CheckpointStore.Commit => {
  const { epoch } = wish
  const manifest = wish.manifest ?? bytes(`manifest ${epoch}`)
  return {
    job,
    previous: epoch - 1,
    digest: digestOf(manifest),
    manifest,
    blobs: [{ id: `${epoch}.state-0`, bytes: bytes(`state ${epoch}`) }],
    drop: nothing,
    alongside: [],
    ...wish
  }
}

/** Commits epochs 1 to `count` under a new attempt. */
export const filled = Effect.fnUntraced(function*(store: Store, count: number, of = job) {
  const attempt = yield* store.acquire(of)
  for (let epoch = 1; epoch <= count; epoch++) yield* store.commit(commitOf({ job: of, attempt, epoch }))
  return attempt
})

export const epochs = (store: Store, of = job) => Effect.map(store.list(of), (all) => all.map(({ epoch }) => epoch))

const refused = (effect: Effect.Effect<void, { readonly _tag: string; readonly message: string }>) =>
  Effect.map(Effect.flip(effect), (error) => {
    assert.strictEqual(error._tag, "Fenced")
    return error.message
  })

export const blobIn = (store: Store, id: string, of = job) =>
  Effect.map(store.blob(of, id), (found) => Option.getOrUndefined(Option.map(found, ({ bytes }) => bytes)))

const hostile: ReadonlyArray<string> = [
  "../x",
  "..",
  ".",
  "a/b",
  "a\\b",
  "/etc/passwd",
  "__proto__",
  "constructor",
  "",
  " ",
  "a",
  "A",
  "a.",
  "%0041",
  "con",
  "nul\0l",
  "nul",
  "\\u0000",
  "\0",
  "line\nbreak",
  "Grüße 🌊",
  "\ud800",
  "\udfff",
  "\ufffd",
  "é",
  "e\u0301",
  "x".repeat(300),
  `${"x".repeat(300)}y`,
  "🌊".repeat(100),
  "'; DROP TABLE millrace_jobs; --",
  "*",
  "attempt-7"
]

export const storeLaws = (name: string, { hasDatabase, isDurable, place, scripts }: Kind): void => {
  const law = (title: string, test: (store: Store, place: Place) => Effect.Effect<void, unknown, Scope.Scope>) =>
    it.live(title, () =>
      Effect.scoped(Effect.gen(function*() {
        const here = yield* place
        yield* test(yield* here.open, here)
      })))

  describe(name, () => {
    law("says what it is", (store) =>
      Effect.sync(() => {
        assert.strictEqual(store.isDurable, isDurable)
        assert.strictEqual(store.database !== undefined, hasDatabase)
      }))

    law("attempts count from 1, for each job", (store, { open }) =>
      Effect.gen(function*() {
        assert.strictEqual(yield* store.acquire("a"), 1)
        assert.strictEqual(yield* store.acquire("a"), 2)
        assert.strictEqual(yield* store.acquire("b"), 1)
        assert.strictEqual(yield* (yield* open).acquire("a"), 3)
        for (let attempt = 4; attempt <= 12; attempt++) assert.strictEqual(yield* store.acquire("a"), attempt)
      }))

    law("attempts that are taken at once are different ones", (store, { open }) =>
      Effect.gen(function*() {
        const other = yield* open
        const taken = yield* Effect.all(
          Array.from({ length: 8 }, (_, i) => (i % 2 === 0 ? store : other).acquire(job)),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(new Set(taken).size, 8)
        const latest = Math.max(...taken)
        yield* store.commit(commitOf({ attempt: latest, epoch: 1 }))
        assert.deepStrictEqual(yield* epochs(other), [1])
      }))

    law("a job that nobody has seen has nothing", (store) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* store.list(job), [])
        assert.deepStrictEqual(yield* store.manifest(job, 1), Option.none())
        assert.deepStrictEqual(yield* store.blob(job, "1.state-0"), Option.none())
        yield* refused(store.commit(commitOf({ attempt: 1, epoch: 1 })))
        yield* refused(store.remove(job, 1, nothing))
        assert.deepStrictEqual(yield* store.list(job), [])
      }))

    law(
      "an earlier attempt can write no more, nor one that nobody has taken",
      (store, { open }) =>
        Effect.gen(function*() {
          const first = yield* filled(store, 1)
          const other = yield* open
          const second = yield* other.acquire(job)
          const late = commitOf({ attempt: first, epoch: 2 })
          assert.strictEqual(
            yield* refused(store.commit(late)),
            `Job "fraud" may not commit epoch 2: its attempt is 1, and the latest is 2. `
              + "Another run of the job has taken over; let one run at a time, or give the other another name"
          )
          yield* refused(store.commit({ ...late, attempt: 7 }))
          yield* refused(store.remove(job, first, { epochs: [1], blobs: ["1.state-0"] }))
          yield* refused(store.remove(job, 7, { epochs: [1], blobs: ["1.state-0"] }))
          assert.deepStrictEqual(yield* epochs(store), [1])
          assert.deepStrictEqual(yield* blobIn(store, "2.state-0"), undefined)
          assert.deepStrictEqual(yield* blobIn(store, "1.state-0"), bytes("state 1"))
          yield* other.commit(commitOf({ attempt: second, epoch: 2 }))
          assert.deepStrictEqual(yield* epochs(store), [2, 1])
        })
    )

    law("the same commit again changes nothing and succeeds", (store, { open }) =>
      Effect.gen(function*() {
        const attempt = yield* filled(store, 2)
        const before = yield* store.list(job)
        for (const handle of [store, yield* open]) {
          for (const epoch of [2, 1]) {
            const blobs = [{ id: `${epoch}.state-0`, bytes: bytes("other bytes") }]
            yield* handle.commit(commitOf({ attempt, epoch, blobs }))
            assert.deepStrictEqual(yield* handle.list(job), before)
            assert.deepStrictEqual(yield* blobIn(handle, `${epoch}.state-0`), bytes(`state ${epoch}`))
          }
        }
      }))

    law("an epoch follows the head or is refused", (store) =>
      Effect.gen(function*() {
        const attempt = yield* filled(store, 3)
        const wrong: ReadonlyArray<Partial<CheckpointStore.Commit> & { readonly epoch: number }> = [
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
        assert.deepStrictEqual(yield* epochs(store), [3, 2, 1])
        assert.deepStrictEqual(yield* store.manifest(job, 3), Option.some(bytes("manifest 3")))
        yield* store.commit(commitOf({ attempt, epoch: 9, previous: 3 }))
        assert.deepStrictEqual(yield* epochs(store), [9, 3, 2, 1])
      }))

    law(
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
            assert.strictEqual(winners.length, 1, `round ${round}`)
            for (const commit of commits) {
              const won = commit === winners[0]
              assert.deepStrictEqual(yield* blobIn(store, commit.blobs[0]!.id), won ? commit.manifest : undefined)
            }
            head = winners[0]!.epoch
            const listed = yield* store.list(job)
            assert.deepStrictEqual(listed[0], { epoch: head, attempt, digest: winners[0]!.digest })
            assert.strictEqual(listed.length, round + 1)
            assert.deepStrictEqual(yield* store.manifest(job, head), Option.some(winners[0]!.manifest))
          }
        })
    )

    law("the same commit twice at once succeeds twice", (store, { open }) =>
      Effect.gen(function*() {
        const other = yield* open
        const attempt = yield* store.acquire(job)
        for (let epoch = 1; epoch <= 4; epoch++) {
          const commit = commitOf({ attempt, epoch })
          yield* Effect.all([store.commit(commit), other.commit(commit)], { concurrency: "unbounded" })
        }
        assert.deepStrictEqual(yield* epochs(other), [4, 3, 2, 1])
      }))

    law("when a job has been taken over, the head stays where it is", (store, { open }) =>
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
          assert.deepStrictEqual(yield* other.list(job), seen)
          assert.strictEqual((seen[0]?.epoch ?? 0) === head + 1, Exit.isSuccess(exit))
          head = seen[0]?.epoch ?? 0
          if (head > 0) assert.deepStrictEqual(yield* blobIn(other, `${head}.x`), bytes("x"))
          yield* other.commit(
            commitOf({ attempt: next, epoch: ++head, blobs: [{ id: `${head}.x`, bytes: bytes("x") }] })
          )
        }
      }))

    law("epochs are listed newest first, by number", (store) =>
      Effect.gen(function*() {
        const attempt = yield* store.acquire(job)
        let previous = 0
        const committed = [1, 2, 9, 10, 11, 100, 2 ** 40]
        for (const epoch of committed) {
          yield* store.commit(commitOf({ attempt, epoch, previous }))
          previous = epoch
        }
        assert.deepStrictEqual(
          yield* store.list(job),
          committed.toReversed().map((epoch) => ({ epoch, attempt, digest: commitOf({ attempt, epoch }).digest }))
        )
      }))

    law(
      "manifests and blobs come back as they were, also in another handle",
      (store, { open }) =>
        Effect.gen(function*() {
          const other = yield* open
          const attempt = yield* store.acquire(job)
          const contents = fc.sample(
            fc.tuple(fc.uint8Array({ maxLength: 3000 }), fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 9 })),
            8
          )
          contents.push([new Uint8Array(0), [new Uint8Array(0)]])
          // A view on a part of a larger buffer.
          contents.push([bytes("xmanifestx").subarray(1, 9), [new Uint8Array(2 ** 20).subarray(7, 2 ** 19)]])
          for (const [index, [manifest, parts]] of contents.entries()) {
            const epoch = index + 1
            const blobs = parts.map((bytes, part) => ({ id: `${epoch}.part-${part}`, bytes }))
            const sizes = [manifest, ...parts].map(({ byteLength }) => byteLength)
            yield* store.commit(commitOf({ attempt, epoch, manifest, blobs }))
            assert.deepStrictEqual(
              [manifest, ...parts].map(({ byteLength }) => byteLength),
              sizes,
              "nothing is taken away"
            )
          }
          for (const [index, [manifest, parts]] of contents.entries()) {
            assert.deepStrictEqual(yield* other.manifest(job, index + 1), Option.some(manifest.slice()))
            for (const [part, bytes] of parts.entries()) {
              assert.deepStrictEqual(yield* blobIn(other, `${index + 1}.part-${part}`), bytes.slice())
            }
          }
        })
    )

    law("what is dropped is gone, and nothing else", (store, { open }) =>
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
        assert.deepStrictEqual(yield* there(other), [
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
        assert.deepStrictEqual(yield* epochs(other), [5, 4, 2])
        yield* other.remove(job, attempt, { epochs: [4], blobs: ["1.b", "3.a"] })
        assert.deepStrictEqual(yield* there(store), ["2.a", "2", "3.b", "4.a", "4.b", "5.a", "5.b", "5"])
        // Whoever takes over finds it so, too.
        yield* other.acquire(job)
        assert.deepStrictEqual(yield* there(store), ["2.a", "2", "3.b", "4.a", "4.b", "5.a", "5.b", "5"])
      }))

    law("a job whose epochs are all removed can begin again", (store) =>
      Effect.gen(function*() {
        const attempt = yield* filled(store, 2)
        yield* store.remove(job, attempt, { epochs: [1, 2], blobs: ["1.state-0"] })
        assert.deepStrictEqual(yield* store.list(job), [])
        yield* store.commit(commitOf({ attempt, epoch: 3, previous: 0 }))
        assert.deepStrictEqual(yield* epochs(store), [3])
        assert.deepStrictEqual(yield* blobIn(store, "2.state-0"), bytes("state 2"))
      }))

    law(
      "everything is there after reopening, and the next attempt follows the last",
      (_, { open }) =>
        Effect.gen(function*() {
          yield* Effect.scoped(Effect.flatMap(open, (store) => filled(store, 3)))
          const again = yield* open
          assert.deepStrictEqual(yield* epochs(again), [3, 2, 1])
          assert.strictEqual(yield* again.acquire(job), 2)
          assert.deepStrictEqual(yield* blobIn(again, "2.state-0"), bytes("state 2"))
          yield* again.commit(commitOf({ attempt: 2, epoch: 4 }))
          assert.deepStrictEqual((yield* again.list(job)).map(({ attempt }) => attempt), [2, 1, 1, 1])
        })
    )

    law("jobs and blobs have any name, and none is taken for another", (store, { open }) =>
      Effect.gen(function*() {
        const names = hostile.map((name, index) => ({ name, index, content: bytes(`${index}`) }))
        for (const { content, name } of names) {
          const attempt = yield* store.acquire(name)
          assert.strictEqual(attempt, 1, JSON.stringify(name))
          yield* store.commit(commitOf({ job: name, attempt, epoch: 1, manifest: content, blobs: [] }))
        }
        const other = yield* open
        for (const { content, name } of names) {
          assert.deepStrictEqual(yield* other.manifest(name, 1), Option.some(content), JSON.stringify(name))
        }
        const blobs = names.map(({ content, name }) => ({ id: name, bytes: content }))
        yield* store.commit(commitOf({ job: "a", attempt: 1, epoch: 2, blobs }))
        for (const { content, name } of names) {
          assert.deepStrictEqual(yield* other.blob("a", name), Option.some({ id: name, bytes: content }))
          assert.deepStrictEqual(yield* other.blob("b", name), Option.none())
        }
        yield* store.remove("a", 1, { epochs: [], blobs: ["../x", "A", "\ud800"] })
        for (const { content, name } of names) {
          const wanted = ["../x", "A", "\ud800"].includes(name) ? undefined : content
          assert.deepStrictEqual(yield* blobIn(other, name, "a"), wanted, JSON.stringify(name))
        }
      }))

    law("jobs do not see each other", (store) =>
      Effect.gen(function*() {
        const [a, b] = [yield* filled(store, 3, "a"), yield* filled(store, 1, "b")]
        yield* store.acquire("b")
        yield* store.remove("a", a, { epochs: [1], blobs: ["1.state-0"] })
        assert.deepStrictEqual(yield* epochs(store, "a"), [3, 2])
        assert.deepStrictEqual(yield* epochs(store, "b"), [1])
        assert.deepStrictEqual(yield* blobIn(store, "1.state-0", "b"), bytes("state 1"))
        assert.deepStrictEqual(yield* blobIn(store, "2.state-0", "b"), undefined)
        yield* store.commit(commitOf({ job: "a", attempt: a, epoch: 4 }))
        yield* refused(store.commit(commitOf({ job: "b", attempt: b, epoch: 2 })))
      }))

    law("an interrupted commit has happened or not, and the job goes on", (store) =>
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
          assert.strictEqual((yield* epochs(store))[0], head)
          assert.deepStrictEqual(yield* blobIn(store, `${head}.state-0`), bytes(`state ${head}`))
        }
      }))

    law("values without an encoding are kept as they are, or refused", (store) =>
      Effect.gen(function*() {
        const attempt = yield* store.acquire(job)
        const value = { when: () => 1 }
        const commit = commitOf({ attempt, epoch: 1, blobs: [{ id: "1.rows", bytes: bytes(""), opaque: [value] }] })
        if (isDurable) {
          const error = yield* Effect.flip(store.commit(commit))
          assert.strictEqual(
            error.message,
            `The checkpoint store could not commit epoch 1 for job "fraud": "1.rows" holds values without an encoding; `
              + "give the records a schema, or use layerMemory"
          )
          assert.deepStrictEqual(yield* store.list(job), [])
        } else {
          yield* store.commit(commit)
          const found = Option.getOrThrow(yield* store.blob(job, "1.rows"))
          assert.strictEqual(found.opaque?.[0], value)
        }
      }))

    if (!hasDatabase) {
      law("statements for a database are refused where there is none", (store) =>
        Effect.gen(function*() {
          const attempt = yield* store.acquire(job)
          const commit = commitOf({ attempt, epoch: 1, alongside: [{ sql: "SELECT 1" }] })
          assert.strictEqual((yield* Effect.flip(store.commit(commit)))._tag, "CheckpointStoreError")
          assert.deepStrictEqual(yield* store.list(job), [])
        }))
    }

    it("does what the model does", () =>
      fc.assert(
        fc.asyncProperty(script, (actions) =>
          Effect.runPromise(Effect.scoped(Effect.flatMap(place, (here) => live(here, actions))))),
        { numRuns: lawRuns(scripts) }
      ))
  })
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

const dropping: fc.Arbitrary<Dropping> = fc.record({
  ago: fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 2 }),
  blobs: fc.array(fc.nat(20), { maxLength: 3 })
})

const someJob = fc.constantFrom("a", "a", "a/b")
/** Mostly what is right. */
const offset = fc.constantFrom(0, 0, 0, 0, 0, 0, 0, 0, -1, 1)

const script: fc.Arbitrary<ReadonlyArray<Action>> = fc.array(
  fc.oneof(
    { weight: 2, arbitrary: fc.record({ _tag: fc.constant("Acquire" as const), job: someJob }) },
    {
      weight: 8,
      arbitrary: fc.record({
        _tag: fc.constant("Commit" as const),
        job: someJob,
        attempt: offset,
        step: fc.constantFrom(1, 1, 1, 1, 1, 2, 5, 0, -1),
        previous: offset,
        content: fc.nat(3),
        blobs: fc.array(fc.tuple(fc.nat(2), fc.uint8Array({ maxLength: 20 })), { maxLength: 3 }),
        drop: dropping
      })
    },
    { weight: 1, arbitrary: fc.record({ _tag: fc.constant("Again" as const), job: someJob }) },
    {
      weight: 1,
      arbitrary: fc.record({ _tag: fc.constant("Remove" as const), job: someJob, attempt: offset, drop: dropping })
    },
    { weight: 1, arbitrary: fc.constant({ _tag: "Reopen" as const }) }
  ),
  { maxLength: 25, size: "max" }
)

/** What a store must show of one job. */
interface Model {
  attempt: number
  highest: number
  last: CheckpointStore.Commit | undefined
  readonly epochs: Map<number, CheckpointStore.Commit>
  readonly blobs: Map<string, Uint8Array>
  readonly ids: Array<string>
}

const live = Effect.fnUntraced(function*(place: Place, actions: ReadonlyArray<Action>) {
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

  const expectCommit = Effect.fnUntraced(function*(model: Model, wish: CheckpointStore.Commit) {
    const { attempt, digest, epoch, previous } = wish
    const known = model.epochs.get(epoch)
    const isLatest = attempt === model.attempt && attempt > 0
    const isRepeated = known?.attempt === attempt && known.digest === digest
    // What a commit drops belongs to it: the same commit drops the same.
    const commit = isRepeated ? { ...wish, drop: known.drop } : wish
    const isNew = previous === headOf(model) && epoch > headOf(model)
    const exit = yield* Effect.exit(store.commit(commit))
    assert.strictEqual(Exit.isSuccess(exit), isLatest && (isRepeated || isNew))
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
        assert.strictEqual(yield* store.acquire(job), ++model.attempt)
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
        assert.strictEqual(Exit.isSuccess(exit), isAllowed)
        if (isAllowed) dropFrom(model, drop)
      }
    }
    const wanted = [...model.epochs.values()].sort((a, b) => b.epoch - a.epoch)
      .map(({ attempt, digest, epoch }) => ({ epoch, attempt, digest }))
    assert.deepStrictEqual(yield* store.list(job), wanted)
  }

  for (const [job, model] of models) {
    for (let epoch = 0; epoch <= model.highest; epoch++) {
      const wanted = Option.fromUndefinedOr(model.epochs.get(epoch)?.manifest)
      assert.deepStrictEqual(yield* store.manifest(job, epoch), wanted)
    }
    for (const id of model.ids) assert.deepStrictEqual(yield* blobIn(store, id, job), model.blobs.get(id))
  }
})
