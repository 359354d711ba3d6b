/**
 * The laws of a transactional sink, against a model that holds rows and a marker in two variables: an epoch is applied
 * once, from the place where it was to be applied, or not at all.
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { ambient } from "../../internal/runtime/surroundings.ts"
import type * as Sink from "../../Sink.ts"
import { between, boolean, type Checks, forAll, holds, type Law, law, same } from "./law.ts"

/**
 * One place that rows are written to, by whoever opens it: a file, a table.
 *
 * @since 0.1.0
 * @category models
 */
export interface SinkPlace<A> {
  /** Opens the sink as another process does, or this one after a restart. `Laws.opening` makes one of a sink. */
  readonly open: (opening: Sink.EpochOpening) => Effect.Effect<Sink.EpochWriter<A, unknown>, unknown, Scope.Scope>
  /** All rows that are there, as a reader of the place sees them. */
  readonly contents: Effect.Effect<ReadonlyArray<A>, unknown>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface SinkOptions<A> extends Checks {
  /** A new place with nothing in it, gone with the scope. */
  readonly place: Effect.Effect<SinkPlace<A>, unknown, Scope.Scope>
  /** The n-th row to be written: for different numbers, different rows. */
  readonly row: (n: number) => A
  /** What a job that begins from nothing does with the rows that are there. */
  readonly onBegin: "removes" | "keeps"
  /** How many epochs the sink can be taken back: 0 where it has no `rewind`. */
  readonly rewinds: number
  /** What the marker and the rows are lost with. False by default. */
  readonly isVolatile?: boolean
  /** What the place holds after these rows, if not just them: the last of each key, say. */
  readonly shown?: (rows: ReadonlyArray<A>) => ReadonlyArray<A>
}

/**
 * How the laws open a sink whose services are all provided.
 *
 * @since 0.1.0
 * @category laws
 */
export const opening = <A, E>(sink: Sink.Sink<A, E, never, "transactional">): SinkPlace<A>["open"] => (own) =>
  Effect.flatMap(ambient, (context) =>
    // The ambient context has a file system, which its type does not say; the scope stays that of the law.
    Effect.provideContext(sink.openEpochs!(own) as Effect.Effect<Sink.EpochWriter<A, E>, E, Scope.Scope>, context))

export type PositionedWriter<A> = Sink.EpochWriter<A, unknown> & { readonly position: Sink.SinkPosition<unknown> }

const epochOpening: Sink.EpochOpening = { job: "job", sink: "out" }

export const marker = (epoch: number, lineage = "a", digest = epoch === 0 ? "" : `rows of ${epoch}`): Sink.Marker => ({
  lineage,
  epoch,
  digest
})

/** An epoch, in batches. */
export const application = <A>(
  writer: Sink.EpochWriter<A, unknown>,
  after: Sink.Marker,
  marker: Sink.Marker,
  batches: ReadonlyArray<ReadonlyArray<A>>
): Sink.Application => ({
  after,
  marker,
  prepared: batches.map((batch) => writer.prepare(batch)),
  rows: batches.flat().length
})

const opened = <A>(place: SinkPlace<A>): Effect.Effect<PositionedWriter<A>, unknown, Scope.Scope> =>
  Effect.map(place.open(epochOpening), (writer) => {
    holds(writer.position !== undefined, "a writer with a position", writer.position)
    // It has one.
    return writer as PositionedWriter<A>
  })

// ---------------------------------------------------------------------------------------------------------------------
// the model
// ---------------------------------------------------------------------------------------------------------------------

interface Standing<A> {
  readonly marker: Sink.Marker
  readonly rows: ReadonlyArray<A>
}

type Answer = "done" | "fenced" | "unknown"

const at = ({ epoch, lineage }: Sink.Marker): string => `${lineage} ${epoch}`
const isSame = (a: Sink.Marker | undefined, b: Sink.Marker): boolean =>
  a !== undefined && at(a) === at(b) && a.digest === b.digest

class Model<A> {
  /** Newest last. */
  private standings: Array<Standing<A>> = []
  private readonly sink: SinkOptions<A>

  constructor(sink: SinkOptions<A>) {
    this.sink = sink
  }

  get marker(): Sink.Marker | undefined {
    return this.standings.at(-1)?.marker
  }

  get rows(): ReadonlyArray<A> {
    return this.standings.at(-1)?.rows ?? []
  }

  apply(after: Sink.Marker, marker: Sink.Marker, rows: ReadonlyArray<A>): Answer {
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

const action: Arbitrary.Arbitrary<Action> = Arbitrary.map(
  Arbitrary.all({
    kind: between(0, 14),
    writer: between(0, 1),
    isNow: between(0, 3),
    past: between(0, 12),
    batches: Arbitrary.array(between(0, 3), { maxLength: 3 }),
    isOther: boolean
  }),
  ({ batches, isNow, isOther, kind, past, writer }): Action => {
    // Mostly from where the sink stands.
    const ago = isNow === 3 ? past : 0
    if (kind < 8) return { _tag: "Apply", writer, ago, batches }
    if (kind < 11) return { _tag: "Again", writer, ago, isOther }
    if (kind === 11) return { _tag: "Begin", writer, ago }
    return kind < 14 ? { _tag: "Rewind", writer, ago: past } : { _tag: "Reopen", writer }
  }
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

const follow = Effect.fnUntraced(function*<A>(sink: SinkOptions<A>, actions: ReadonlyArray<Action>) {
  const place = yield* sink.place
  const shown = sink.shown ?? ((rows: ReadonlyArray<A>) => rows)
  const writers = [yield* opened(place), yield* opened(place)]
  const model = new Model<A>(sink)
  /** Every marker that the sink was to move to, and before them none. */
  const markers: Array<Sink.Marker | undefined> = [undefined]
  const applications: Array<{ readonly application: Sink.Application; readonly rows: ReadonlyArray<A> }> = []
  let last = 0
  const rows = (count: number) => Array.from({ length: count }, () => sink.row(++last))
  const compare = Effect.fnUntraced(function*(action: Action | undefined) {
    const said = action === undefined ? "at the beginning" : `after ${JSON.stringify(action)}`
    for (const { position } of writers) same(yield* position.current, model.marker, `the marker, ${said}`)
    same(yield* place.contents, shown(model.rows), `the rows, ${said}`)
  })
  yield* compare(undefined)
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
        same(answer, model.apply(after, to, batches.flat()), JSON.stringify(action))
        if (answer === "done") markers.push(to)
        break
      }
      case "Again": {
        const earlier = applications.at(-1 - action.ago % Math.max(1, applications.length))
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
        same(answer, expected, JSON.stringify(action))
        if (answer === "done") markers.push(asked.marker)
        break
      }
      case "Begin": {
        const from = markers.at(-1 - action.ago)
        const to = marker(0, `lineage ${++last}`)
        const answer = yield* answerOf(writer.position.begin(to, from))
        same(answer, model.begin(to, from), JSON.stringify(action))
        // The answer may be lost, and the question asked again.
        if (answer === "done") yield* writer.position.begin(to, from)
        if (answer === "done") markers.push(to)
        break
      }
      case "Rewind": {
        const to = markers.at(-1 - action.ago % markers.length)
        if (to === undefined || writer.position.rewind === undefined) break
        same(yield* answerOf(writer.position.rewind(to)), model.rewind(to), JSON.stringify(action))
        if (isSame(model.marker, to)) markers.push(to)
        break
      }
      case "Reopen":
        writers[action.writer] = yield* opened(place)
    }
    yield* compare(action)
  }
})

// ---------------------------------------------------------------------------------------------------------------------
// the laws
// ---------------------------------------------------------------------------------------------------------------------

/**
 * What exactly-once rests on: an epoch moves a sink from the marker it follows, together with its rows, or not at all; the
 * same epoch again changes nothing; whoever comes late is fenced; the marker is read back, by anybody; a sink that can go
 * back goes back to what was there.
 *
 * @since 0.1.0
 * @category laws
 */
export const sink = <A>(options: SinkOptions<A>): ReadonlyArray<Law> => {
  const { isVolatile = false, onBegin, rewinds, row } = options
  const shown = options.shown ?? ((rows: ReadonlyArray<A>) => rows)
  const declare = (name: string, check: (place: SinkPlace<A>) => Effect.Effect<void, unknown, Scope.Scope>): Law =>
    law("sink", name, Effect.scoped(Effect.flatMap(options.place, check)))
  const begun = Effect.fnUntraced(function*(place: SinkPlace<A>) {
    const writer = yield* opened(place)
    yield* writer.position.begin(marker(0), undefined)
    return writer
  })
  const rowsAre = (place: SinkPlace<A>, numbers: ReadonlyArray<number>, at: string) =>
    Effect.map(place.contents, (found) => same(found, shown(numbers.map(row)), `the rows, ${at}`))
  const standsAt = ({ position }: PositionedWriter<A>, expected: Sink.Marker | undefined, at: string) =>
    Effect.map(position.current, (found) => same(found, expected, `the marker, ${at}`))
  const fenced = (effect: Effect.Effect<unknown, unknown>, at: string) =>
    Effect.map(answerOf(Effect.asVoid(effect)), (found) => same(found, "fenced", at))

  const laws = [
    declare(
      "it says whether it is volatile, and whether it can go back",
      (place) =>
        Effect.map(opened(place), ({ position }) => {
          same(position.isVolatile, isVolatile, "isVolatile")
          same(position.rewind !== undefined, rewinds > 0, "has a rewind")
        })
    ),

    declare(
      "a sink that was never written to stands nowhere, and can be applied to only once a job has begun",
      Effect.fnUntraced(function*(place) {
        const writer = yield* opened(place)
        yield* standsAt(writer, undefined, "never written to")
        yield* fenced(
          writer.apply(application(writer, marker(0), marker(1), [[row(1)]])),
          "applied to before a job began"
        )
        yield* rowsAre(place, [], "after a refusal")
        yield* writer.position.begin(marker(0), undefined)
        yield* standsAt(writer, marker(0), "begun")
      })
    ),

    declare(
      "an epoch is applied in order, once, however often it is asked for",
      Effect.fnUntraced(function*(place) {
        const writer = yield* begun(place)
        const first = application(writer, marker(0), marker(1), [[row(3), row(1)], [], [row(2)]])
        for (let i = 1; i <= 3; i++) {
          yield* writer.apply(first)
          yield* rowsAre(place, [3, 1, 2], `applied ${i} times`)
        }
        yield* standsAt(writer, marker(1), "applied")
        // Epochs without rows may be left out.
        const next = application(writer, marker(1), marker(5), [[row(4)]])
        yield* writer.apply(next)
        yield* (yield* opened(place)).apply(next)
        yield* rowsAre(place, [3, 1, 2, 4], "applied by another, too")
      })
    ),

    declare(
      "an epoch without rows moves the marker",
      Effect.fnUntraced(function*(place) {
        const writer = yield* begun(place)
        yield* writer.apply(application(writer, marker(0), marker(1), []))
        yield* standsAt(writer, marker(1), "applied without rows")
        yield* rowsAre(place, [], "applied without rows")
      })
    ),

    declare(
      "an epoch from anywhere else than where the sink stands is fenced, and changes nothing",
      Effect.fnUntraced(function*(place) {
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
          const at = `at epoch 2 of lineage a, from ${JSON.stringify(after)} to ${JSON.stringify(to)}`
          yield* fenced(writer.apply(application(writer, after, to, [[row(9)]])), at)
          yield* rowsAre(place, [1, 2], at)
          yield* standsAt(writer, marker(2), at)
        }
      })
    ),

    declare(
      "of two that write to it, the one that comes late changes nothing",
      Effect.fnUntraced(function*(place) {
        const zombie = yield* begun(place)
        const other = yield* opened(place)
        yield* standsAt(other, marker(0), "opened by another")
        const late = application(zombie, marker(0), marker(1, "a", "late"), [[row(8)], [row(9)]])
        yield* other.apply(application(other, marker(0), marker(1), [[row(1)]]))
        yield* fenced(zombie.apply(late), "after another has applied the epoch")
        yield* rowsAre(place, [1], "after another has applied the epoch")
        yield* other.position.begin(marker(0, "b"), marker(1))
        yield* fenced(zombie.apply(late), "after another has begun a lineage")
        yield* other.apply(application(other, marker(0, "b"), marker(1, "b"), [[row(2)]]))
        yield* rowsAre(place, onBegin === "removes" ? [2] : [1, 2], "in the new lineage")
      })
    ),

    declare(
      "a job that begins from nothing says from where it does, and finds the rows gone or kept",
      Effect.fnUntraced(function*(place) {
        const writer = yield* begun(place)
        yield* writer.apply(application(writer, marker(0), marker(1), [[row(1)]]))
        for (const from of [undefined, marker(0), marker(1, "b")]) {
          const at = `begun from ${JSON.stringify(from)} at epoch 1 of lineage a`
          yield* fenced(writer.position.begin(marker(0, "c"), from), at)
          yield* rowsAre(place, [1], at)
        }
        yield* writer.position.begin(marker(0, "c"), marker(1))
        yield* standsAt(writer, marker(0, "c"), "begun anew")
        yield* rowsAre(place, onBegin === "removes" ? [] : [1], "begun anew")
      })
    )
  ]

  if (rewinds > 0) {
    laws.push(declare(
      "it can be taken back to an epoch that it knows, and goes on from there",
      Effect.fnUntraced(function*(place) {
        const writer = yield* begun(place)
        const to = Effect.fnUntraced(function*(where: Sink.Marker, isKnown: boolean, rows: ReadonlyArray<number>) {
          const at = `taken back to ${JSON.stringify(where)}`
          same(yield* writer.position.rewind!(where), isKnown, at)
          yield* rowsAre(place, rows, at)
          if (isKnown) yield* standsAt(writer, where, at)
        })
        const all = rewinds >= 3 ? [1, 2, 3] : [1]
        for (const n of all) yield* writer.apply(application(writer, marker(n - 1), marker(n), [[row(n)]]))
        const last = all.length
        yield* to(marker(last + 1), false, all)
        yield* to(marker(last, "a", "other rows"), false, all)
        yield* to(marker(last), true, all)
        if (last === 3) {
          yield* to(marker(1), true, [1])
          // What it was taken back from is gone.
          yield* to(marker(2), false, [1])
        }
        yield* to(marker(0), true, [])
        yield* writer.apply(application(writer, marker(0), marker(2, "b"), [[row(7)]]))
        yield* rowsAre(place, [7], "gone on from there")
      })
    ))
  }

  return [
    ...laws,
    law(
      "sink",
      "does what two variables would do",
      forAll(
        // An array of arrays, because an array alone has no more elements than the size of a check.
        Arbitrary.map(
          Arbitrary.array(Arbitrary.array(action, { maxLength: 10 }), { maxLength: 4 }),
          (all) => all.flat()
        ),
        (actions) => Effect.scoped(follow(options, [{ _tag: "Begin", writer: 0, ago: 0 }, ...actions])),
        { runs: 50, size: 40, ...options }
      )
    )
  ]
}
