/**
 * The laws of a transactional sink, against a model that holds rows and a marker in two variables: an epoch is applied
 * once, from the place where it was to be applied, or not at all.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import * as fc from "fast-check"
import type * as Sink from "../../src/Sink.ts"
import { deep } from "../support/deep.ts"
import { lawRuns } from "./runs.ts"

export interface Row {
  readonly id: number
  readonly text: string
}

export type PositionedWriter = Sink.EpochWriter<Row, unknown> & { readonly position: Sink.SinkPosition<unknown> }

/** One place that rows are written to, by whoever opens it. */
export interface Place {
  /** Opens the sink as another process does, or this one after a restart. */
  readonly open: (opening: Sink.EpochOpening) => Effect.Effect<PositionedWriter, unknown, Scope>
  readonly contents: Effect.Effect<ReadonlyArray<Row>, unknown>
}

export interface SinkUnderTest {
  readonly isVolatile: boolean
  /** What a job that begins from nothing does with the rows that are there. */
  readonly onBegin: "removes" | "keeps"
  /** How many epochs the sink can be taken back. */
  readonly rewinds: number
  /** What the place holds after these rows, if not just them. */
  readonly shown?: (rows: ReadonlyArray<Row>) => ReadonlyArray<Row>
  /** How many runs of the model, 50 unless given. */
  readonly runs?: number
  readonly place: Effect.Effect<Place, unknown, Scope>
}

const opening: Sink.EpochOpening = { job: "job", sink: "out" }

export const marker = (epoch: number, lineage = "a", digest = epoch === 0 ? "" : `rows of ${epoch}`): Sink.Marker => ({
  lineage,
  epoch,
  digest
})

const row = (id: number): Row => ({ id, text: `"${id}",\né\u2028` })

/** An epoch, in batches. */
export const application = (
  writer: Sink.EpochWriter<Row, unknown>,
  after: Sink.Marker,
  marker: Sink.Marker,
  batches: ReadonlyArray<ReadonlyArray<Row>>
): Sink.Application => ({
  after,
  marker,
  prepared: batches.map((batch) => writer.prepare(batch)),
  rows: batches.flat().length
})

// ---------------------------------------------------------------------------------------------------------------------
// the model
// ---------------------------------------------------------------------------------------------------------------------

interface Standing {
  readonly marker: Sink.Marker
  readonly rows: ReadonlyArray<Row>
}

type Answer = "done" | "fenced" | "unknown"

const at = ({ epoch, lineage }: Sink.Marker): string => `${lineage} ${epoch}`
const isSame = (a: Sink.Marker | undefined, b: Sink.Marker): boolean =>
  a !== undefined && at(a) === at(b) && a.digest === b.digest

class Model {
  /** Newest last. */
  private standings: Array<Standing> = []
  private readonly sink: SinkUnderTest

  constructor(sink: SinkUnderTest) {
    this.sink = sink
  }

  get marker(): Sink.Marker | undefined {
    return this.standings.at(-1)?.marker
  }

  get rows(): ReadonlyArray<Row> {
    return this.standings.at(-1)?.rows ?? []
  }

  apply(after: Sink.Marker, marker: Sink.Marker, rows: ReadonlyArray<Row>): Answer {
    if (isSame(this.marker, marker)) return "done"
    if (this.marker === undefined || at(this.marker) !== at(after)) return "fenced"
    this.standings = [...this.standings, { marker, rows: [...this.rows, ...rows] }].slice(-this.sink.rewinds - 1)
    return "done"
  }

  begin(marker: Sink.Marker, from: Sink.Marker | undefined): Answer {
    if (isSame(this.marker, marker)) return "done"
    if ((this.marker === undefined ? undefined : at(this.marker)) !== (from === undefined ? undefined : at(from))) {
      return "fenced"
    }
    this.standings = [{ marker, rows: this.sink.onBegin === "removes" ? [] : this.rows }]
    return "done"
  }

  rewind(to: Sink.Marker): Answer {
    const found = this.standings.findLastIndex(({ marker }) => isSame(marker, to))
    if (found === -1) return "unknown"
    this.standings = this.standings.slice(0, found + 1)
    return "done"
  }
}

type Action =
  /** From the marker of so many moves ago, to a new epoch. */
  | { readonly _tag: "Apply"; readonly writer: number; readonly ago: number; readonly batches: ReadonlyArray<number> }
  /** What was asked so many applications ago, once more, or with other rows. */
  | { readonly _tag: "Again"; readonly writer: number; readonly ago: number; readonly isOther: boolean }
  | { readonly _tag: "Begin"; readonly writer: number; readonly ago: number }
  | { readonly _tag: "Rewind"; readonly writer: number; readonly ago: number }
  | { readonly _tag: "Reopen"; readonly writer: number }

const writer = fc.nat(1)
/** Mostly from where the sink stands. */
const ago = fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(20) })

const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      _tag: fc.constant("Apply" as const),
      writer,
      ago,
      batches: fc.array(fc.nat(3), { maxLength: 3 })
    })
  },
  { weight: 3, arbitrary: fc.record({ _tag: fc.constant("Again" as const), writer, ago, isOther: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("Begin" as const), writer, ago }) },
  { weight: 2, arbitrary: fc.record({ _tag: fc.constant("Rewind" as const), writer, ago: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("Reopen" as const), writer }) }
)

/** What came of a call, in the words of the model. A failure that is no fence fails the test. */
const answerOf = (effect: Effect.Effect<boolean | void, unknown>): Effect.Effect<Answer, unknown> =>
  effect.pipe(
    Effect.map((known): Answer => known === false ? "unknown" : "done"),
    Effect.catchIf(
      (error) => (error as { readonly _tag?: unknown })._tag === "SinkFenced",
      () => Effect.succeed<Answer>("fenced")
    )
  )

const follow = Effect.fnUntraced(function*(sink: SinkUnderTest, actions: ReadonlyArray<Action>) {
  const place = yield* sink.place
  const shown = sink.shown ?? ((rows) => rows)
  const writers = [yield* place.open(opening), yield* place.open(opening)]
  const model = new Model(sink)
  /** Every marker that the sink was to move to, and before them none. */
  const markers: Array<Sink.Marker | undefined> = [undefined]
  const applications: Array<{ readonly application: Sink.Application; readonly rows: ReadonlyArray<Row> }> = []
  let last = 0
  const rows = (count: number) => Array.from({ length: count }, () => row(++last))
  const same = Effect.fnUntraced(function*(action: Action | undefined) {
    const said = JSON.stringify(action)
    for (const { position } of writers) assert.deepStrictEqual(yield* position.current, model.marker, said)
    assert.deepStrictEqual(yield* place.contents, shown(model.rows), said)
  })
  yield* same(undefined)
  for (const action of actions) {
    const writer = writers[action.writer]!
    switch (action._tag) {
      case "Apply": {
        const after = markers.at(-1 - action.ago) ?? marker(99, "never")
        const batches = action.batches.map(rows)
        const to = marker(++last, after.lineage)
        const asked = application(writer, after, to, batches)
        applications.push({ application: asked, rows: batches.flat() })
        const answer = yield* answerOf(writer.apply(asked))
        assert.strictEqual(answer, model.apply(after, to, batches.flat()), JSON.stringify(action))
        if (answer === "done") markers.push(to)
        break
      }
      case "Again": {
        const earlier = applications.at(-1 - action.ago)
        if (earlier === undefined) break
        const other = rows(1)
        const asked = action.isOther
          ? {
            ...application(writer, earlier.application.after, earlier.application.marker, [other]),
            marker: { ...earlier.application.marker, digest: `other ${last}` }
          }
          : earlier.application
        const answer = yield* answerOf(writer.apply(asked))
        const expected = model.apply(asked.after, asked.marker, action.isOther ? other : earlier.rows)
        assert.strictEqual(answer, expected, JSON.stringify(action))
        if (answer === "done") markers.push(asked.marker)
        break
      }
      case "Begin": {
        const from = markers.at(-1 - action.ago)
        const to = marker(0, `lineage ${++last}`)
        const answer = yield* answerOf(writer.position.begin(to, from))
        assert.strictEqual(answer, model.begin(to, from), JSON.stringify(action))
        // The answer may be lost, and the question asked again.
        if (answer === "done") yield* writer.position.begin(to, from)
        if (answer === "done") markers.push(to)
        break
      }
      case "Rewind": {
        const to = markers.at(-1 - action.ago)
        if (to === undefined || writer.position.rewind === undefined) break
        assert.strictEqual(yield* answerOf(writer.position.rewind(to)), model.rewind(to), JSON.stringify(action))
        if (isSame(model.marker, to)) markers.push(to)
        break
      }
      case "Reopen":
        writers[action.writer] = yield* place.open(opening)
    }
    yield* same(action)
  }
})

// ---------------------------------------------------------------------------------------------------------------------
// the laws
// ---------------------------------------------------------------------------------------------------------------------

/** Registers the laws of a sink. */
export const sinkLaws = (sink: SinkUnderTest): void => {
  const shown = sink.shown ?? ((rows: ReadonlyArray<Row>) => rows)
  const law = (name: string, test: (place: Place) => Effect.Effect<void, unknown, Scope>) =>
    it.effect(name, () => Effect.scoped(Effect.flatMap(sink.place, test)))
  const begun = Effect.fnUntraced(function*(place: Place) {
    const writer = yield* place.open(opening)
    yield* writer.position.begin(marker(0), undefined)
    return writer
  })

  law(
    "a sink that was never written to stands nowhere, and can be applied to only once a job has begun",
    (place) =>
      Effect.gen(function*() {
        const writer = yield* place.open(opening)
        assert.strictEqual(writer.position.isVolatile, sink.isVolatile)
        assert.strictEqual(writer.position.rewind !== undefined, sink.rewinds > 0)
        assert.isUndefined(yield* writer.position.current)
        const error = yield* Effect.flip(writer.apply(application(writer, marker(0), marker(1), [[row(1)]])))
        assert.deepInclude(error, {
          _tag: "SinkFenced",
          sink: "out",
          found: "no epoch",
          expected: "epoch 0 of lineage a"
        })
        assert.deepStrictEqual(yield* place.contents, [])
        yield* writer.position.begin(marker(0), undefined)
        assert.deepStrictEqual(yield* writer.position.current, marker(0))
      })
  )

  law("an epoch is applied in order, once, however often it is asked for", (place) =>
    Effect.gen(function*() {
      const writer = yield* begun(place)
      const first = application(writer, marker(0), marker(1), [[row(3), row(1)], [], [row(2)]])
      for (let i = 0; i < 3; i++) yield* writer.apply(first)
      assert.deepStrictEqual(yield* place.contents, shown([row(3), row(1), row(2)]))
      assert.deepStrictEqual(yield* writer.position.current, marker(1))
      // Epochs without rows may be left out.
      const next = application(writer, marker(1), marker(5), [[row(4)]])
      yield* writer.apply(next)
      yield* (yield* place.open(opening)).apply(next)
      assert.deepStrictEqual(yield* place.contents, shown([row(3), row(1), row(2), row(4)]))
    }))

  law("an epoch without rows moves the marker", (place) =>
    Effect.gen(function*() {
      const writer = yield* begun(place)
      yield* writer.apply(application(writer, marker(0), marker(1), []))
      assert.deepStrictEqual(yield* writer.position.current, marker(1))
      assert.deepStrictEqual(yield* place.contents, [])
    }))

  law(
    "an epoch from anywhere else than where the sink stands is fenced, and changes nothing",
    (place) =>
      Effect.gen(function*() {
        const writer = yield* begun(place)
        yield* writer.apply(application(writer, marker(0), marker(1), [[row(1)]]))
        yield* writer.apply(application(writer, marker(1), marker(2), [[row(2)]]))
        for (
          const [after, to] of [
            [marker(0), marker(3)],
            [marker(1), marker(3)],
            [marker(3), marker(4)],
            [marker(2, "b"), marker(3, "b")],
            // The same epoch with other rows, or the one before.
            [marker(1), marker(2, "a", "other rows")],
            [marker(0), marker(1)]
          ] as const
        ) {
          const error = yield* Effect.flip(writer.apply(application(writer, after, to, [[row(9)]])))
          assert.deepInclude(error, {
            _tag: "SinkFenced",
            found: "epoch 2 of lineage a",
            expected: `epoch ${after.epoch} of lineage ${after.lineage}`
          })
          assert.deepStrictEqual(yield* place.contents, shown([row(1), row(2)]))
          assert.deepStrictEqual(yield* writer.position.current, marker(2))
        }
      })
  )

  law("of two that write to it, the one that comes late changes nothing", (place) =>
    Effect.gen(function*() {
      const zombie = yield* begun(place)
      const other = yield* place.open(opening)
      assert.deepStrictEqual(yield* other.position.current, marker(0))
      const late = application(zombie, marker(0), marker(1, "a", "late"), [[row(8)], [row(9)]])
      yield* other.apply(application(other, marker(0), marker(1), [[row(1)]]))
      assert.deepInclude(yield* Effect.flip(zombie.apply(late)), { _tag: "SinkFenced" })
      assert.deepStrictEqual(yield* place.contents, shown([row(1)]))
      yield* other.position.begin(marker(0, "b"), marker(1))
      assert.deepInclude(yield* Effect.flip(zombie.apply(late)), { _tag: "SinkFenced" })
      yield* other.apply(application(other, marker(0, "b"), marker(1, "b"), [[row(2)]]))
      assert.deepStrictEqual(yield* place.contents, shown(sink.onBegin === "removes" ? [row(2)] : [row(1), row(2)]))
    }))

  law(
    "a job that begins from nothing says from where it does, and finds the rows gone or kept",
    (place) =>
      Effect.gen(function*() {
        const writer = yield* begun(place)
        yield* writer.apply(application(writer, marker(0), marker(1), [[row(1)]]))
        for (const from of [undefined, marker(0), marker(1, "b")]) {
          const error = yield* Effect.flip(writer.position.begin(marker(0, "c"), from))
          assert.deepInclude(error, { _tag: "SinkFenced", found: "epoch 1 of lineage a" })
          assert.deepStrictEqual(yield* place.contents, shown([row(1)]))
        }
        yield* writer.position.begin(marker(0, "c"), marker(1))
        assert.deepStrictEqual(yield* writer.position.current, marker(0, "c"))
        assert.deepStrictEqual(yield* place.contents, shown(sink.onBegin === "removes" ? [] : [row(1)]))
      })
  )

  if (sink.rewinds > 0) {
    law("it can be taken back to an epoch that it knows, and goes on from there", (place) =>
      Effect.gen(function*() {
        const writer = yield* begun(place)
        const { rewind } = writer.position
        for (const n of [1, 2, 3]) yield* writer.apply(application(writer, marker(n - 1), marker(n), [[row(n)]]))
        assert.isFalse(yield* rewind!(marker(4)))
        assert.isFalse(yield* rewind!(marker(2, "a", "other rows")))
        assert.isTrue(yield* rewind!(marker(3)))
        assert.deepStrictEqual(yield* place.contents, [row(1), row(2), row(3)])
        assert.isTrue(yield* rewind!(marker(1)))
        assert.deepStrictEqual(yield* place.contents, [row(1)])
        assert.deepStrictEqual(yield* writer.position.current, marker(1))
        assert.isFalse(yield* rewind!(marker(2)), "what it was taken back from is gone")
        yield* writer.apply(application(writer, marker(1), marker(2, "b"), [[row(7)]]))
        assert.deepStrictEqual(yield* place.contents, [row(1), row(7)])
        assert.isTrue(yield* rewind!(marker(0)))
        assert.deepStrictEqual(yield* place.contents, [])
      }))
  }

  it.effect("does what two variables would do", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.array(action, { maxLength: 40, size: "max" }),
          (actions) =>
            Effect.runPromise(Effect.scoped(follow(sink, [{ _tag: "Begin", writer: 0, ago: 0 }, ...actions])))
        ),
        { numRuns: lawRuns(sink.runs ?? 50) }
      )
    ), deep(60_000, 900_000))
}
