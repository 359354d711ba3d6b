/**
 * Records that user code refused, kept with the reason, and the way to have them processed again.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import { ExactNumber } from "./internal/numbers.ts"
import * as readers from "./internal/plan/readers.ts"
import * as Source from "./Source.ts"

/**
 * A record that an operator with the policy `deadLetter` could not process, or a sink could not write down.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeadLetter {
  /** The operator or sink that refused it. */
  readonly operator: string
  readonly partition: number
  /** The record as the operator got it; what the source read, if it could not be decoded. */
  readonly original: unknown
  readonly reason: string
  /** Event time in epoch milliseconds, where there is one. */
  readonly timestamp: number | undefined
  /** Its key in encoded form, where it has one. */
  readonly key: unknown
  /** The split that it was read from, where it was refused before it went to another partition. */
  readonly origin: Origin | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Origin {
  readonly source: string
  readonly split: string
}

/**
 * The schema of a line of dead letters, as `Sink.ndjson` writes them: what JSON leaves out is undefined again.
 *
 * @since 0.1.0
 * @category schemas
 */
export const schema: Schema.Codec<DeadLetter, unknown> = Schema.Struct({
  operator: Schema.String,
  partition: Schema.Int,
  original: Schema.optionalKey(Schema.Unknown),
  reason: Schema.String,
  timestamp: Schema.optionalKey(ExactNumber),
  key: Schema.optionalKey(Schema.Unknown),
  origin: Schema.optionalKey(Schema.Struct({ source: Schema.String, split: Schema.String }))
}).pipe(Schema.decodeTo(
  Schema.declare((u): u is DeadLetter => hasProperty(u, "operator") && hasProperty(u, "reason")),
  SchemaTransformation.transform({
    decode: ({ key, origin, original, timestamp, ...letter }): DeadLetter => ({
      ...letter,
      key,
      origin,
      original,
      timestamp
    }),
    encode: ({ key, origin, original, timestamp, ...letter }) => ({
      ...letter,
      ...origin === undefined ? {} : { origin },
      ...key === undefined ? {} : { key },
      ...original === undefined ? {} : { original },
      ...timestamp === undefined ? {} : { timestamp }
    })
  })
))

/**
 * The records that an operator refused, as a source: merge it into the flow that the operator reads, in a job of its own or
 * in the next version of the same one, once the cause is mended.
 *
 * **Details**
 *
 * `schema` decodes the original from its JSON form, as it stands in a file of dead letters; one that it refuses goes to the
 * error policy of the new source. The source keeps the positions of the letters, so it goes on where it was after a restart.
 *
 * **Example**
 *
 * ```ts
 * import { Schema } from "effect"
 * import { DeadLetter, Flow, Source } from "millrace"
 *
 * const letters = Source.ndjson("dead-letters.ndjson", DeadLetter.schema)
 * const again = Flow.from("again", DeadLetter.originals(letters, { operator: "parse", schema: Schema.String }))
 * ```
 *
 * @since 0.1.0
 * @category replaying
 */
export const originals: {
  <A>(
    options: { readonly operator: string; readonly schema: Schema.Codec<A, unknown> }
  ): <E, R>(letters: Source.Source<DeadLetter, E, R>) => Source.Source<A, E, R>
  <A, E, R>(
    letters: Source.Source<DeadLetter, E, R>,
    options: { readonly operator: string; readonly schema: Schema.Codec<A, unknown> }
  ): Source.Source<A, E, R>
} = dual(
  2,
  <A, E, R>(
    letters: Source.Source<DeadLetter, E, R>,
    { operator, schema }: { readonly operator: string; readonly schema: Schema.Codec<A, unknown> }
  ): Source.Source<A, E, R> => {
    const { body, bounded, description } = letters
    const decode = Schema.decodeUnknownSync(Schema.toCodecJson(schema))
    const reading = {
      description: `originals of ${description} from "${operator}"`,
      bounded,
      schema
    }
    switch (body._tag) {
      case "Queue":
        throw new Source.InvalidSource({
          option: "letters",
          value: description,
          remedy: "give dead letters that can be read, from a file for one"
        })
      case "Memory":
        return Source.make<A, E, R>({
          ...reading,
          replayable: true,
          splits: Effect.succeed(body.splits.map((_, i) => String(i))),
          open: (split, position) => {
            const reader = readers.fromArray(body.splits[Number(split)]!, typeof position === "number" ? position : 0)
            return Effect.succeed(chosen(reader, operator, decode))
          }
        }) as Source.Source<A, E, R>
      case "Read":
        return Source.make<A, E, R>({
          ...reading,
          replayable: body.replayable,
          splits: body.splits,
          open: (split, position) =>
            Effect.map(body.open(split, position), (reader) => chosen(reader, operator, decode))
        }) as Source.Source<A, E, R>
    }
  }
)

/** The letters of one operator, opened. */
const chosen = <A, E>(
  reader: Source.Reader<DeadLetter, E>,
  operator: string,
  decode: (original: unknown) => A
): Source.Reader<A, E> => ({
  pull: (max) =>
    Effect.gen(function*() {
      for (;;) {
        const chunk = yield* reader.pull(max)
        if (chunk === undefined) return undefined
        // A letter that could not be read itself is not lost: it goes on as it came.
        const places = chunk.rows.flatMap((letter, row) =>
          chunk.undecodable?.has(row) === true || letter.operator === operator ? [row] : []
        )
        if (places.length === 0) continue
        const undecodable = new Map<number, Source.Undecodable>()
        const rows = places.map((place, row) => {
          const unread = chunk.undecodable?.get(place)
          if (unread !== undefined) undecodable.set(row, unread)
          else {
            const { original } = chunk.rows[place]!
            try {
              return decode(original)
            } catch (cause) {
              undecodable.set(row, { original, reason: readers.reasonOf(cause) })
            }
          }
          // Never looked at: `undecodable` names this row.
          return undefined as A
        })
        return { rows, undecodable, positionAfter: (taken: number) => chunk.positionAfter(places[taken - 1]! + 1) }
      }
    })
})
