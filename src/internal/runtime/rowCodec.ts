/** How rows under way are written into a checkpoint: by the schema of their flow where it has one, as plain data otherwise. */
import { format } from "effect/Formatter"
import * as Schema from "effect/Schema"
import type { DeadLetter } from "../../DeadLetter.ts"
import type { EpochOpening } from "../../Sink.ts"
import { fromJson, NotEncodable, toJson } from "../checkpoint/plain.ts"
import type { Graph, Port } from "../plan/graph.ts"

/** `opaque` takes what has no encoding, by reference; without it such a row throws `NotEncodable`. */
export type RowCodec = NonNullable<EpochOpening["codec"]>

const plain: RowCodec = { toJson, fromJson }

const escape = "~"

/** What the schema of a flow refuses (nobody has checked rows that were in memory) is written as plain data, and marked. */
const bySchema = (schema: Schema.Codec<unknown, unknown>): RowCodec => {
  const codec = Schema.toCodecJson(schema)
  const encode = Schema.encodeUnknownOption(codec)
  const decode = Schema.decodeUnknownSync(codec)
  return {
    toJson: (value, opaque) => {
      const encoded = encode(value)
      if (encoded._tag === "None") return { [escape]: ["unchecked", toJson(value, opaque)] }
      return isMarked(encoded.value) ? { [escape]: ["checked", encoded.value] } : encoded.value
    },
    fromJson: (json, opaque) => {
      if (!isMarked(json)) return decode(json)
      const [mark, value] = json[escape] as readonly [string, Schema.Json]
      return mark === "unchecked" ? fromJson(value, opaque) : decode(value)
    }
  }
}

const isMarked = (json: Schema.Json): json is { readonly [escape]: Schema.Json } =>
  typeof json === "object" && json !== null && Object.hasOwn(json, escape)

/** Panes hold a key, and late records a record, that have a schema when the whole has none. */
const byWindow = (
  field: "key" | "value",
  schema: Schema.Codec<unknown, unknown> | undefined
): RowCodec => {
  if (schema === undefined) return plain
  const part = bySchema(schema)
  return {
    toJson: (value, opaque) => {
      const { [field]: own, ...rest } = value as Record<string, unknown>
      return [part.toJson(own, opaque), toJson(rest, opaque)]
    },
    fromJson: (json, opaque) => {
      const [own, rest] = json as readonly [Schema.Json, Schema.Json]
      return { ...fromJson(rest, opaque) as object, [field]: part.fromJson(own, opaque) }
    }
  }
}

/** Of the rows that leave an operator by one of its outputs. */
export const rowCodec = ({ operators }: Graph, { operator, output, schema }: Port): RowCodec => {
  if (schema !== undefined) return bySchema(schema)
  const { node } = operators[operator]!
  if (node._tag !== "Window") return plain
  return output === "results" ? byWindow("key", node.key.schema) : byWindow("value", node.element)
}

/** A dead letter must not be what stops a job: an original that has no encoding is described. */
export const deadLetterCodec: RowCodec = {
  toJson: (value, opaque) => {
    const letter = value as DeadLetter
    try {
      return toJson(letter, opaque)
    } catch (error) {
      if (!(error instanceof NotEncodable)) throw error
      return toJson({ ...letter, original: format(letter.original) }, opaque)
    }
  },
  fromJson
}
