/** How the accumulators of one aggregate are written into a column, and read again. */
import * as Schema from "effect/Schema"

/**
 * Annotates a codec of accumulators past which finite numbers may go as they are, because it writes nothing but numbers as
 * numbers.
 */
export const numbersPass = "~millrace/numbersPass"

export interface StateCodec {
  readonly encode: (state: unknown) => unknown
  readonly decode: (encoded: unknown) => unknown
}

/** Untouched, also those that JSON has no word for: a column of numbers alone holds every one of them. */
const numbers: StateCodec = {
  encode: (state) => state,
  // In a column that holds other things as well they are texts, as `Schema.Number` writes them.
  decode: (encoded) => typeof encoded === "string" ? Number(encoded) : encoded
}

export const stateCodec = (schema: Schema.Codec<unknown, unknown>): StateCodec => {
  const { ast } = schema
  if (ast._tag === "Number" && ast.checks === undefined && ast.encoding === undefined) return numbers
  const json = Schema.toCodecJson(schema)
  const encode = Schema.encodeUnknownSync(json)
  const decode = Schema.decodeUnknownSync(json)
  return ast.annotations?.[numbersPass] === true
    ? {
      encode: (state) => Number.isFinite(state) ? state : encode(state),
      decode: (encoded) => typeof encoded === "number" ? encoded : decode(encoded)
    }
    : { encode, decode }
}
