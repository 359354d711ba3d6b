/**
 * The laws of keyed, versioned state, against a plain `Map`. One suite for the copy-on-write `Table` of the machines and
 * for the transactional `StateStore`: they are one concept behind two doors.
 */
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as fc from "fast-check"
import { runs } from "./runs.ts"

export type Key = string | number | bigint | boolean

export interface Entry {
  readonly key: Key
  readonly value: number
  readonly version: number
}

export interface Content {
  readonly version: number
  readonly entries: Iterable<Entry>
}

export interface Picture extends Content {
  readonly size: number
  readonly get: (key: Key) => Option.Option<number>
  readonly release: () => void
}

export interface Changes {
  readonly version: number
  readonly full: boolean
  readonly puts: ReadonlyArray<Entry>
  readonly deletes: ReadonlyArray<Key>
}

export type Write =
  | { readonly _tag: "Put"; readonly key: Key; readonly value: number }
  | { readonly _tag: "Delete"; readonly key: Key }

/** What the laws need of a state. */
export interface KeyedState {
  readonly commit: (writes: ReadonlyArray<Write>) => Effect.Effect<void>
  readonly get: (key: Key) => Effect.Effect<Option.Option<number>>
  readonly versionOf: (key: Key) => Effect.Effect<Option.Option<number>>
  readonly version: Effect.Effect<number>
  readonly size: Effect.Effect<number>
  readonly keys: Effect.Effect<ReadonlyArray<Key>>
  readonly snapshot: Effect.Effect<Picture>
  readonly changes: (since: number) => Effect.Effect<Changes>
  readonly forget: (version: number) => Effect.Effect<void>
  readonly restore: (content: Content) => Effect.Effect<void>
}

type Action =
  | { readonly _tag: "Commit"; readonly writes: ReadonlyArray<Write> }
  | { readonly _tag: "Snapshot" }
  | { readonly _tag: "Slice"; readonly which: number; readonly length: number }
  | { readonly _tag: "Release"; readonly which: number }
  | { readonly _tag: "Follow"; readonly which: number }
  | { readonly _tag: "Forget"; readonly ago: number }
  | { readonly _tag: "Restore"; readonly which: number }

/** 1 and "1", NaN, both zeros and strings that look like marked ones. */
const keys: ReadonlyArray<Key> = [0, 1, "1", NaN, -3.5, 1n, true, false, "", "\u0000", "\u0000{}", "b", "B", "ß"]

const key = fc.oneof(fc.constantFrom(...keys), fc.constant(-0))
const write: fc.Arbitrary<Write> = fc.oneof(
  fc.record({ _tag: fc.constant("Put" as const), key, value: fc.nat(99) }),
  fc.record({ _tag: fc.constant("Delete" as const), key })
)
const which = fc.nat(5)

const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ _tag: fc.constant("Commit" as const), writes: fc.array(write, { maxLength: 6 }) })
  },
  { weight: 2, arbitrary: fc.constant({ _tag: "Snapshot" as const }) },
  {
    weight: 2,
    arbitrary: fc.record({ _tag: fc.constant("Slice" as const), which, length: fc.integer({ min: 1, max: 4 }) })
  },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("Release" as const), which }) },
  { weight: 2, arbitrary: fc.record({ _tag: fc.constant("Follow" as const), which }) },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("Forget" as const), ago: fc.nat(4) }) },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("Restore" as const), which }) }
)

export const actions = fc.array(action, { maxLength: 40, size: "max" })

/** A snapshot, what it must show for ever, and an iteration over it that has come this far. */
interface Watched {
  readonly picture: Picture
  readonly model: ReadonlyMap<Key, number>
  readonly rest: Iterator<Entry>
  readonly seen: Array<Entry>
}

/** Somebody who keeps a copy up to date by asking for changes. */
interface Follower {
  version: number
  readonly copy: Map<Key, number>
}

const contentOf = (entries: Iterable<Entry>): Map<Key, number> => {
  const content = new Map<Key, number>()
  for (const { key, value } of entries) {
    if (content.has(key)) expect.fail(`${String(key)} is shown twice`)
    content.set(key, value)
  }
  return content
}

/** Lives through the actions beside the model, and fails where they differ. */
export const live = (state: KeyedState, script: ReadonlyArray<Action>): Effect.Effect<void> =>
  Effect.gen(function*() {
    let model = new Map<Key, number>()
    let version = yield* state.version
    const watched: Array<Watched> = []
    const followers: ReadonlyArray<Follower> = Array.from({ length: 3 }, () => ({ version, copy: new Map() }))

    const step = Effect.fnUntraced(function*(action: Action) {
      switch (action._tag) {
        case "Commit": {
          const before = new Map(model)
          for (const write of action.writes) {
            if (write._tag === "Put") model.set(write.key, write.value)
            else model.delete(write.key)
          }
          yield* state.commit(action.writes)
          const after = yield* state.version
          for (const { _tag, key } of action.writes) {
            if (_tag !== "Put" && !before.has(key) && !model.has(key)) continue
            expect(after).toBeGreaterThan(version)
            expect(yield* state.versionOf(key)).toEqual(model.has(key) ? Option.some(after) : Option.none())
          }
          return
        }
        case "Snapshot": {
          const picture = yield* state.snapshot
          watched.push({ picture, model: new Map(model), rest: picture.entries[Symbol.iterator](), seen: [] })
          return
        }
        case "Slice": {
          const one = watched[action.which]
          for (let i = 0; one !== undefined && i < action.length; i++) {
            const next = one.rest.next()
            if (next.done !== true) one.seen.push(next.value)
          }
          return
        }
        case "Release": {
          const [one] = watched.splice(action.which, 1)
          one?.picture.release()
          return
        }
        case "Follow": {
          const follower = followers[action.which]
          if (follower !== undefined) yield* catchUp(follower)
          return
        }
        case "Forget":
          return yield* state.forget(version - action.ago)
        case "Restore": {
          const one = watched[action.which]
          if (one === undefined) return
          yield* state.restore(one.picture)
          model = new Map(one.model)
          for (const { key, version } of one.picture.entries) {
            expect(yield* state.versionOf(key)).toEqual(Option.some(version))
          }
        }
      }
    })

    const catchUp = Effect.fnUntraced(function*(follower: Follower) {
      const changes = yield* state.changes(follower.version)
      if (changes.full) follower.copy.clear()
      for (const { key, value, version } of changes.puts) {
        if (!changes.full) expect(version).toBeGreaterThan(follower.version)
        follower.copy.set(key, value)
      }
      for (const key of changes.deletes) follower.copy.delete(key)
      follower.version = changes.version
      expect(follower.copy).toEqual(model)
      expect(changes.version).toBe(yield* state.version)
      expect(changes.puts.map(({ key }) => key)).toEqual(inOrder(changes.puts.map(({ key }) => key)))
      expect([...changes.deletes]).toEqual(inOrder(changes.deletes))
      expect(changes.puts.some(({ key }) => changes.deletes.includes(key))).toBe(false)
    })

    for (const action of script) {
      yield* step(action)
      const now = yield* state.version
      expect(now).toBeGreaterThanOrEqual(version)
      version = now
      expect(yield* state.size).toBe(model.size)
      expect(yield* state.keys).toEqual(inOrder([...model.keys()]))
      for (const key of keys) agree(yield* state.get(key), model.get(key))
      for (const { model, picture } of watched) {
        expect(picture.size).toBe(model.size)
        for (const key of keys) agree(picture.get(key), model.get(key))
        const content = contentOf(picture.entries)
        if (content.size !== model.size) expect(content).toEqual(model)
        for (const [key, value] of content) if (value !== model.get(key)) expect(content).toEqual(model)
      }
    }
    for (const follower of followers) yield* catchUp(follower)
    for (const { model, rest, seen } of watched) {
      for (let next = rest.next(); next.done !== true; next = rest.next()) seen.push(next.value)
      expect(contentOf(seen)).toEqual(model)
    }
  })

// `expect` alone would take most of the time of the suite.
const agree = (found: Option.Option<number>, wanted: number | undefined): void => {
  if (Option.getOrUndefined(found) !== wanted) expect(found).toEqual(Option.fromUndefinedOr(wanted))
}

const types = ["boolean", "number", "bigint", "string"]

/** The canonical order, told a second time. */
const inOrder = (keys: ReadonlyArray<Key>): ReadonlyArray<Key> =>
  types.flatMap((type) =>
    keys.filter((key) => typeof key === type).map((key) => ({ key, last: Number.isNaN(key) }))
      .sort((a, b) => Number(a.last) - Number(b.last) || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
      .map(({ key }) => key)
  )

/** `around` says how the whole life is run: as it is, in one transaction, with retries. */
export const keyedStateLaws = (
  name: string,
  make: () => KeyedState,
  around: (life: Effect.Effect<void>) => Effect.Effect<void> = (life) => life
): void => {
  it(`${name}: is a Map with versions, whose pictures last and whose changes lead from any version to this one`, () => {
    fc.assert(
      fc.property(actions, (script) => Effect.runSync(around(Effect.suspend(() => live(make(), script))))),
      { numRuns: runs(1000) }
    )
  })
}
