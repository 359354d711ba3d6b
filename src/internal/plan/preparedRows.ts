/** Rows as bytes and back, for sinks that hand the rows of an epoch on as values. */
import * as Schema from "effect/Schema"
import type { Prepared } from "../../Sink.ts"
import { fromJson, toJson } from "../checkpoint/plain.ts"

export interface RowCodec<A> {
  readonly prepare: (rows: ReadonlyArray<A>) => Prepared
  readonly rowsOf: (prepared: Prepared) => ReadonlyArray<A>
}

const utf8 = new TextEncoder()
const text = new TextDecoder()

/** As a JSON array by the schema; without one as plain data, and by reference what is none. */
export const rowCodec = <A>(schema: Schema.Codec<A, unknown> | undefined): RowCodec<A> => {
  if (schema === undefined) {
    return {
      prepare: (rows) => {
        const opaque: Array<unknown> = []
        const bytes = utf8.encode(JSON.stringify(rows.map((row) => toJson(row, opaque))))
        return opaque.length === 0 ? { bytes } : { bytes, opaque }
      },
      rowsOf: ({ bytes, opaque }) => {
        const rows: ReadonlyArray<Schema.Json> = JSON.parse(text.decode(bytes))
        // What `prepare` of this codec wrote was an `A`.
        return rows.map((row) => fromJson(row, opaque) as A)
      }
    }
  }
  const codec = Schema.toCodecJson(schema)
  const encode = Schema.encodeUnknownSync(codec)
  const decode = Schema.decodeUnknownSync(codec)
  return {
    prepare: (rows) => ({ bytes: utf8.encode(JSON.stringify(rows.map((row) => encode(row)))) }),
    rowsOf: ({ bytes }) => {
      const rows: ReadonlyArray<unknown> = JSON.parse(text.decode(bytes))
      return rows.map((row) => decode(row))
    }
  }
}
