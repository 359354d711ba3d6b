/** Rows as bytes and back, for sinks that hand the rows of an epoch on as values. */
import * as Schema from "effect/Schema"
import type { EpochOpening, Prepared } from "../../Sink.ts"
import { fromJson, toJson } from "../checkpoint/plain.ts"

export interface PreparedRows<A> {
  readonly prepare: (rows: ReadonlyArray<A>) => Prepared
  readonly rowsOf: (prepared: Prepared) => ReadonlyArray<A>
}

const utf8 = new TextEncoder()
const text = new TextDecoder()

/** What is no plain data is written in the words of its flow; no escape of plain data has this name. */
const escape = "~"
const byFlow = "by flow"

const isByFlow = (json: Schema.Json): json is { readonly [escape]: readonly [string, Schema.Json] } =>
  typeof json === "object" && json !== null && escape in json && (json[escape] as ReadonlyArray<unknown>)[0] === byFlow

/**
 * As a JSON array by the schema. Without one as plain data; what is none in the words of the flow, and by reference if it has
 * none for it either.
 */
export const preparedRows = <A>(
  schema: Schema.Codec<A, unknown> | undefined,
  flow?: EpochOpening["codec"]
): PreparedRows<A> => {
  if (schema === undefined) {
    const written = (row: A, opaque: Array<unknown>): Schema.Json => {
      if (flow === undefined) return toJson(row, opaque)
      try {
        return toJson(row, undefined)
      } catch {
        return { [escape]: [byFlow, flow.toJson(row, opaque)] }
      }
    }
    const read = (json: Schema.Json, opaque: ReadonlyArray<unknown> | undefined): unknown =>
      flow !== undefined && isByFlow(json) ? flow.fromJson(json[escape][1], opaque) : fromJson(json, opaque)
    return {
      prepare: (rows) => {
        const opaque: Array<unknown> = []
        const bytes = utf8.encode(JSON.stringify(rows.map((row) => written(row, opaque))))
        return opaque.length === 0 ? { bytes } : { bytes, opaque }
      },
      rowsOf: ({ bytes, opaque }) => {
        const rows: ReadonlyArray<Schema.Json> = JSON.parse(text.decode(bytes))
        // What `prepare` of this codec wrote was an `A`.
        return rows.map((row) => read(row, opaque) as A)
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
