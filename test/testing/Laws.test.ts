/** Every suite of laws finds the parts that do not keep them, and says which law, for what. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Option, Schema } from "effect"
import { Aggregate, CheckpointStore, Sink, Source, Window } from "millrace"
import { Laws } from "millrace/testing"
import { runs } from "../laws/runs.ts"
import { arbitrarySeed } from "../support/seed.ts"

const checks = { runs: runs(60), ...arbitrarySeed }

/** The laws that a part breaks, by name, with what is said of them. */
const broken = (laws: ReadonlyArray<Laws.Law>): Effect.Effect<ReadonlyMap<string, Laws.LawBroken>> =>
  Effect.map(
    Effect.forEach(laws, ({ check, name }) => Effect.map(Effect.result(check), (result) => ({ name, result }))),
    (all) =>
      new Map(all.flatMap(({ name, result }) => result._tag === "Failure" ? [[name, result.failure] as const] : []))
  )

const names = (laws: ReadonlyArray<Laws.Law>) => Effect.map(broken(laws), (found) => [...found.keys()])

// ---------------------------------------------------------------------------------------------------------------------

describe("Laws.aggregate", () => {
  const sumOf = (options: Partial<Parameters<typeof Aggregate.make<number, number, number>>[0]>) =>
    Laws.aggregate(
      Aggregate.make<number, number, number>({
        zero: 0,
        add: (acc, input) => acc + input,
        merge: (a, b) => a + b,
        done: (acc) => acc,
        state: Schema.Number,
        ...options
      }),
      { values: [0, 1, 2, 5], ...checks }
    )

  it.effect("a right one keeps them all", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* names(sumOf({})), [])
    }))

  it.effect("values come from a schema, from an arbitrary, or from a list", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* names(Laws.aggregate(Aggregate.count, { values: Schema.String, ...checks })), [])
    }))

  it.effect("a merge that is not associative: the law, the smallest case, and what was expected", () =>
    Effect.gen(function*() {
      const found = yield* broken(sumOf({ merge: (a, b) => a === 0 ? b : b === 0 ? a : a + 2 * b }))
      const law = found.get("merge is associative")!
      const [a, b, c] = JSON.parse(law.counterexample.slice(0, law.counterexample.lastIndexOf("]") + 1))
      assert.deepStrictEqual([a, b, c].map((inputs) => inputs.length), [1, 1, 1])
      assert.include(
        law.message,
        `The aggregate breaks the law "merge is associative"\n  for       [[[1,0]],[[1,0]],[[1,0]]], merge(merge(a, b), c)\n  expected  7\n  found     5`
      )
    }))

  for (
    const [what, options, law] of [
      ["a zero that is none", { zero: 1 }, "zero is the identity of merge"],
      ["a merge that forgets", { merge: (a: number) => a }, "any split folds to the same answer"],
      [
        "an add that looks at the order of arrival",
        { add: (acc: number, input: number) => acc * 2 + input },
        "any order of arrival gives the same answer where each input has a time of its own"
      ],
      [
        "a state that does not hold all",
        { state: Schema.Literals([0, 1]) as unknown as Schema.Codec<number, unknown> },
        "a checkpoint between any two inputs changes nothing"
      ],
      [
        "an add that throws",
        {
          add: (acc: number, input: number) => {
            if (acc > 3) throw new Error("too much")
            return acc + input
          }
        },
        "fold is what simultaneous inputs give"
      ]
    ] as const
  ) {
    it.effect(what, () =>
      Effect.gen(function*() {
        assert.include(yield* names(sumOf(options)), law)
      }))
  }

  it.effect("an accumulator that is changed in place", () =>
    Effect.gen(function*() {
      const inPlace = Aggregate.make<number, { total: number }, number>({
        zero: { total: 0 },
        add: (acc, input) => {
          acc.total += input
          return acc
        },
        merge: (a, b) => ({ total: a.total + b.total }),
        done: ({ total }) => total,
        state: Schema.Struct({ total: Schema.Number })
      })
      assert.include(
        yield* names(Laws.aggregate(inPlace, { values: [1], ...checks })),
        "add and merge change none of their arguments"
      )
    }))
})

// ---------------------------------------------------------------------------------------------------------------------

describe("Laws.windows", () => {
  for (
    const window of [
      Window.tumbling("1 hour"),
      Window.tumbling(7, { offset: 3 }),
      Window.sliding({ size: "1 hour", every: "7 minutes" }),
      Window.sliding({ size: 3, every: 10 }),
      Window.session({ gap: 20 }),
      Window.session({ gap: "1 day" })
    ]
  ) {
    it.effect(`${Window.describe(window)} keeps them`, () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* names(Laws.windows(window, checks)), [])
      }))
  }

  const custom = (assign: (timestamp: number) => ReadonlyArray<Window.Bounds>, maxSize?: number) =>
    Laws.windows(Window.custom({ name: "own", assign, ...maxSize === undefined ? {} : { maxSize } }), checks)

  it.effect("one that misses its own timestamp before 1970", () =>
    Effect.gen(function*() {
      const found = yield* broken(custom((timestamp) => {
        const start = Math.trunc(timestamp / 10) * 10
        return [{ start, end: start + 10 }]
      }))
      assert.deepStrictEqual([...found.keys()], ["a timestamp lies in each of its windows"])
      const { counterexample, expected, found: was } = [...found.values()][0]!
      assert.deepStrictEqual([counterexample, expected, was], ["-1", "start <= timestamp < end", "\"[0, 10)\""])
    }))

  it.effect("one whose last millisecond is outside", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(
        yield* names(custom((timestamp) => {
          const start = Math.floor(timestamp / 10) * 10
          return [{ start, end: start + 9 }]
        })),
        ["a timestamp lies in each of its windows"]
      )
    }))

  it.effect("bounds that are fractions, that change, that come twice, that are longer than they say, that throw", () =>
    Effect.gen(function*() {
      let calls = 0
      const around = (timestamp: number, size: number) => ({ start: timestamp, end: timestamp + size })
      assert.deepStrictEqual(yield* names(custom((t) => [around(t, 1.5)])), ["bounds are whole milliseconds"])
      assert.deepStrictEqual(yield* names(custom((t) => [around(t, ++calls)])), [
        "a timestamp has the same windows each time"
      ])
      assert.deepStrictEqual(yield* names(custom((t) => [around(t, 1), around(t, 1)])), ["no window is given twice"])
      assert.deepStrictEqual(yield* names(custom((t) => [around(t, 5)], 4)), ["no window is longer than maxSize"])
      assert.strictEqual(
        (yield* names(custom(() => {
          throw new Error("no")
        }))).length,
        4
      )
    }))
})

// ---------------------------------------------------------------------------------------------------------------------

describe("Laws.source", () => {
  type Reading = Extract<Source.Body<number, never, never>, { readonly _tag: "Read" }>
  /** 0 … 39 in two splits; a wrong one in one respect. */
  const numbers = (
    wrong: Partial<{
      readonly splits: Reading["splits"]
      readonly from: (position: Source.Position) => number
      readonly count: (max: number) => number
      readonly row: (n: number, max: number) => number
      readonly position: (n: number) => Source.Position
    }> = {},
    replayable = true
  ) =>
    Source.make<number>({
      description: "numbers",
      bounded: true,
      replayable,
      splits: wrong.splits ?? Effect.succeed(["even", "odd"]),
      open: (split, position) =>
        Effect.sync(() => {
          let next = position === undefined ? 0 : (wrong.from ?? Number)(position)
          const first = split === "even" ? 0 : 1
          return {
            pull: (max) =>
              Effect.sync(() => {
                const start = next
                const rows = Array.from(
                  { length: Math.min((wrong.count ?? ((max) => max))(max), 20 - start) },
                  (_, i) => (wrong.row ?? ((n) => n))(2 * (start + i) + first, max)
                )
                next += rows.length
                return rows.length === 0
                  ? undefined
                  : { rows, positionAfter: (taken) => (wrong.position ?? ((n) => n))(start + taken) }
              })
          }
        })
    })

  it.effect("a right one keeps them, and so do those of Millrace that are read", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* names(Laws.source(numbers())), [])
      assert.deepStrictEqual(yield* names(Laws.source(numbers({ count: (max) => Math.min(max, 3) }))), [])
      assert.strictEqual(Laws.source(numbers({}, false)).length, 2)
      assert.throws(() => Laws.source(Source.memory([1])), `nothing is read from "memory"`)
    }))

  it.effect("a position that is off by one", () =>
    Effect.gen(function*() {
      const law = "opened at the position of a row, it gives the rest"
      const found = (yield* broken(Laws.source(numbers({ from: (position) => Number(position) + 1 })))).get(law)!
      assert.strictEqual(found.counterexample, `split "even", opened at 1, after row 0, batches of 1`)
      assert.strictEqual(found.expected.slice(0, 5), "[2,4,")
      assert.strictEqual(found.found.slice(0, 5), "[4,6,")
      // And the other way: a row comes twice.
      assert.deepStrictEqual(yield* names(Laws.source(numbers({ position: (n) => n - 1 }))), [law])
    }))

  it.effect("a pull that gives too many, rows that depend on the batch, splits that change, positions that are no JSON", () =>
    Effect.gen(function*() {
      let calls = 0
      const first = (source: Source.Source<number>) => Effect.map(names(Laws.source(source)), ([name]) => name)
      const tooMany = "a pull gives at least one row, and no more than was asked for"
      assert.strictEqual(yield* first(numbers({ count: (max) => max + 1 })), tooMany)
      assert.strictEqual(
        yield* first(numbers({ row: (n, max) => max === 7 ? n + 1 : n })),
        "rows do not depend on the size of batches"
      )
      const unstable = "splits are the same each time, each with a name of its own"
      assert.strictEqual(yield* first(numbers({ splits: Effect.sync(() => [`${++calls}`]) })), unstable)
      assert.strictEqual(yield* first(numbers({ splits: Effect.succeed(["a", "a"]) })), unstable)
      assert.strictEqual(
        yield* first(numbers({
          position: (n) => new Date(n) as unknown as Source.Position,
          from: (position) => new Date(position as string).getTime()
        })),
        "positions are JSON"
      )
    }))
})

// ---------------------------------------------------------------------------------------------------------------------

describe("Laws.sink", () => {
  interface Table {
    rows: ReadonlyArray<string>
    marker: Sink.Marker | undefined
    earlier: ReadonlyArray<Pick<Table, "rows" | "marker">>
  }
  const isAt = (a: Sink.Marker | undefined, b: Sink.Marker | undefined) =>
    a?.lineage === b?.lineage && a?.epoch === b?.epoch
  const isSame = (a: Sink.Marker | undefined, b: Sink.Marker | undefined) => isAt(a, b) && a?.digest === b?.digest

  interface Wrong {
    readonly isRepeat: typeof isSame
    readonly follows: typeof isAt
    readonly beginsFrom: typeof isAt
    readonly forgetsRows: boolean
    readonly movesFirst: boolean
    readonly reverses: boolean
    readonly keepsRowsOnRewind: boolean
    readonly leavesMarkerWithoutRows: boolean
  }

  /** A transactional sink over a table in memory that outlives it; a wrong one in one respect. */
  const laws = (wrong: Partial<Wrong> = {}) => {
    const place = Effect.sync((): Laws.SinkPlace<string> => {
      const table: Table = { rows: [], marker: undefined, earlier: [] }
      const fenced = (sink: string) => new Sink.SinkFenced({ sink, expected: "there", found: "here" })
      const move = (
        sink: string,
        from: Sink.Marker | undefined,
        to: Sink.Marker,
        isFrom: typeof isAt,
        rows: Table["rows"]
      ) =>
        Effect.suspend(() => {
          if ((wrong.isRepeat ?? isSame)(table.marker, to)) return Effect.void
          if (wrong.movesFirst === true) table.rows = rows
          if (!isFrom(table.marker, from)) return Effect.fail(fenced(sink))
          table.earlier = [...table.earlier, { rows: table.rows, marker: table.marker }]
          if (wrong.leavesMarkerWithoutRows !== true || rows.length > table.rows.length) table.marker = to
          table.rows = rows
          return Effect.void
        })
      return {
        contents: Effect.sync(() => table.rows),
        open: Laws.opening(Sink.transactional<string>({
          description: "table",
          open: () => Effect.die("nobody asks for eager delivery"),
          openEpochs: ({ sink }) =>
            Effect.succeed({
              prepare: (rows) => ({ bytes: new TextEncoder().encode(JSON.stringify(rows)) }),
              apply: ({ after, marker, prepared }) => {
                const rows = prepared.flatMap(({ bytes }): Table["rows"] => JSON.parse(new TextDecoder().decode(bytes)))
                const added = wrong.forgetsRows === true ? rows.slice(0, 2) : rows
                const ordered = wrong.reverses === true ? added.toReversed() : added
                return move(sink, after, marker, wrong.follows ?? isAt, [...table.rows, ...ordered])
              },
              position: {
                isVolatile: false,
                current: Effect.sync(() => table.marker),
                begin: (marker, from) => {
                  const begun = move(sink, from, marker, wrong.beginsFrom ?? isAt, [])
                  return Effect.andThen(
                    begun,
                    Effect.sync(() => {
                      table.marker = marker
                      table.earlier = []
                    })
                  )
                },
                rewind: (to) =>
                  Effect.sync(() => {
                    const all = [...table.earlier, { rows: table.rows, marker: table.marker }]
                    const at = all.findLastIndex(({ marker }) => isSame(marker, to))
                    if (at < 0) return false
                    table.marker = all[at]!.marker
                    if (wrong.keepsRowsOnRewind !== true) table.rows = all[at]!.rows
                    table.earlier = all.slice(0, at)
                    return true
                  })
              }
            })
        }))
      }
    })
    return Laws.sink({ place, row: (n) => `row ${n}`, onBegin: "removes", rewinds: Infinity, ...checks })
  }

  it.effect("a right one keeps them all", () =>
    Effect.gen(function*() {
      const found = yield* broken(laws())
      assert.deepStrictEqual([...found.values()].map(({ message }) => message), [])
    }))

  it.effect("one that accepts a wrong predecessor", () =>
    Effect.gen(function*() {
      const found = yield* broken(laws({ follows: () => true }))
      const law = "an epoch from anywhere else than where the sink stands is fenced, and changes nothing"
      const { counterexample, expected, found: was } = found.get(law)!
      assert.strictEqual(
        counterexample,
        `at epoch 2 of lineage a, from {"lineage":"a","epoch":0,"digest":""} to {"lineage":"a","epoch":3,"digest":"rows of 3"}`
      )
      assert.deepStrictEqual([expected, was], [`"fenced"`, `"done"`])
      assert.include([...found.keys()], "does what two variables would do")
    }))

  for (
    const [what, wrong, law] of [
      [
        "one that forgets the lineage",
        { follows: (a, b) => a?.epoch === b?.epoch },
        "an epoch from anywhere else than where the sink stands is fenced, and changes nothing"
      ],
      [
        "one that applies an epoch twice",
        { isRepeat: () => false, follows: () => true },
        "an epoch is applied in order, once, however often it is asked for"
      ],
      [
        "one that takes other rows for the same",
        { isRepeat: isAt },
        "an epoch from anywhere else than where the sink stands is fenced, and changes nothing"
      ],
      [
        "one that writes before it looks",
        { movesFirst: true },
        "of two that write to it, the one that comes late changes nothing"
      ],
      [
        "one that forgets rows",
        { forgetsRows: true },
        "an epoch is applied in order, once, however often it is asked for"
      ],
      [
        "one that mixes rows up",
        { reverses: true },
        "an epoch is applied in order, once, however often it is asked for"
      ],
      [
        "one that begins from anywhere",
        { beginsFrom: () => true },
        "a job that begins from nothing says from where it does, and finds the rows gone or kept"
      ],
      [
        "one that goes back without its rows",
        { keepsRowsOnRewind: true },
        "it can be taken back to an epoch that it knows, and goes on from there"
      ],
      [
        "one that leaves its marker where there are no rows",
        { leavesMarkerWithoutRows: true },
        "an epoch without rows moves the marker"
      ]
    ] satisfies ReadonlyArray<readonly [string, Partial<Wrong>, string]>
  ) {
    it.effect(what, () =>
      Effect.gen(function*() {
        const found = yield* names(laws(wrong))
        assert.include(found, law)
        assert.include(found, "does what two variables would do")
      }))
  }
})

// ---------------------------------------------------------------------------------------------------------------------

describe("Laws.store", () => {
  type Store = CheckpointStore.CheckpointStore["Service"]
  const laws = (wrong: (store: Store) => Partial<Store> = () => ({})) =>
    Laws.store(
      Effect.succeed(Layer.effect(
        CheckpointStore.CheckpointStore,
        Effect.map(Layer.build(Layer.fresh(CheckpointStore.layerMemory)), (context) => {
          const store = Context.get(context, CheckpointStore.CheckpointStore)
          return CheckpointStore.CheckpointStore.of({ ...store, ...wrong(store) })
        })
      )),
      { isDurable: false, ...checks }
    )
  const model = "does what a model of maps does"

  it.effect("a right one keeps them all", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual([...(yield* broken(laws())).values()].map(({ message }) => message), [])
    }))

  it.effect("one that forgets fencing", () =>
    Effect.gen(function*() {
      const found = yield* broken(laws((store) => {
        let latest = 0
        return {
          acquire: (job) => Effect.tap(store.acquire(job), (attempt) => Effect.sync(() => void (latest = attempt))),
          commit: (commit) => store.commit({ ...commit, attempt: latest })
        }
      }))
      const { expected, found: was, message } = found.get(
        "an earlier attempt can write no more, nor one that nobody has taken"
      )!
      assert.deepStrictEqual([expected, was], ["Fenced", `"success"`])
      assert.include(message, `The store breaks the law "an earlier attempt can write no more`)
      assert.include([...found.keys()], model)
    }))

  for (
    const [what, wrong, law] of [
      ["one that takes any predecessor", (store) => {
        return {
          commit: (commit) =>
            Effect.flatMap(store.list(commit.job), (all) => store.commit({ ...commit, previous: all[0]?.epoch ?? 0 }))
        }
      }, "an epoch follows the head or is refused"],
      ["one that refuses what it has", (store) => {
        return {
          commit: (commit) =>
            Effect.flatMap(store.list(commit.job), (all) =>
              all.some(({ epoch }) => epoch === commit.epoch)
                ? Effect.fail(
                  new CheckpointStore.Fenced({ job: commit.job, operation: "commit", problem: "it is there" })
                )
                : store.commit(commit))
        }
      }, "the same commit again changes nothing and succeeds"],
      ["one that lists the oldest first", (store) => ({
        list: (job) => Effect.map(store.list(job), (all) => all.toReversed())
      }), "epochs are listed newest first, by number"],
      ["one that drops nothing", (store) => ({
        commit: (commit) => store.commit({ ...commit, drop: { epochs: [], blobs: [] } })
      }), "what is dropped is gone, and nothing else"],
      ["one that keeps one job", (store) => ({
        list: () => store.list("fraud"),
        commit: (commit) => store.commit({ ...commit, job: "fraud" }),
        acquire: () => store.acquire("fraud")
      }), "jobs do not see each other"],
      ["one that cuts blobs", (store) => ({
        blob: (job, id) =>
          Effect.map(store.blob(job, id), Option.map((blob) => ({ ...blob, bytes: blob.bytes.slice(0, 200) })))
      }), "manifests and blobs come back as they were, also in another handle"],
      ["one that says what it is not", () => ({ isDurable: true }), "says what it is"]
    ] satisfies ReadonlyArray<readonly [string, (store: Store) => Partial<Store>, string]>
  ) {
    it.effect(what, () =>
      Effect.gen(function*() {
        assert.include(yield* names(laws(wrong)), law)
      }))
  }
})

// ---------------------------------------------------------------------------------------------------------------------

describe("Laws.register", () => {
  it("declares a test for each law, which fails with what is broken", async () => {
    const tests = new Map<string, () => Promise<void>>()
    const never = Window.custom({ name: "never", assign: (t) => [{ start: t - 2, end: t }] })
    Laws.register(Laws.windows(never, checks), (name, test) => tests.set(name, test))
    assert.strictEqual(tests.size, 4)
    await tests.get("no window is given twice")!()
    const error = await tests.get("a timestamp lies in each of its windows")!().then(() => undefined, (error) => error)
    assert.instanceOf(error, Laws.LawBroken)
    assert.strictEqual(
      error.message,
      `The window breaks the law "a timestamp lies in each of its windows"\n`
        + `  for       0\n  expected  start <= timestamp < end\n  found     "[-2, 0)"`
    )
  })
})
