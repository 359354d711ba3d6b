/**
 * What makes two keys the same key, and which key group a key belongs to.
 *
 * The results of `hashKey` and `keyGroupOf` are part of the checkpoint format: they decide where the state of a key is
 * found again, so they never change. Golden values in the tests hold them in place.
 */
import { format } from "effect/Formatter"
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"

/** What a `Map` can hold as a key with the meaning we want: equal exactly if the keys are the same key. */
export type Identity = string | number | bigint | boolean

/** A key that the schema of keys does not accept, or that has no content to compare by. */
export class InvalidKey extends Schema.TaggedError<InvalidKey>("millrace/InvalidKey")("InvalidKey", {
  owner: Schema.String,
  key: Schema.Unknown,
  problem: Schema.String
}) {
  override get message() {
    return `${this.owner} was given the key ${
      format(this.key)
    } (${this.problem}): use a key that its schema accepts, or widen the schema`
  }
}

/**
 * NUL starts the identities that are not the key itself. A second NUL follows where the key is a string that starts
 * with NUL, and never starts a JSON text, so no two kinds can meet.
 */
const mark = "\u0000"

/**
 * Makes the function that gives a key its identity. Primitives that the schema leaves as they are, are themselves (−0 is
 * 0, NaN equals NaN, 1 and "1" differ); everything else is the canonical JSON text of its encoded form, so objects compare
 * by content whatever the order of their properties. Throws `InvalidKey` for a key that the schema does not accept.
 *
 * Two keys with one encoded form are one key, because a checkpoint could not tell them apart either.
 */
export const keyIdentity = <K>(
  schema: Schema.ConstraintCodec<K, unknown>,
  owner = "A keyed operator"
): (key: K) => Identity => {
  const refuse = (key: unknown, problem: string): never => {
    throw new InvalidKey({ owner, key, problem })
  }
  let encode: ((key: unknown) => unknown) | undefined
  const encoded = (key: unknown): Identity => {
    try {
      encode ??= Schema.encodeUnknownSync(Schema.toCodecJson(schema))
      return mark + canonicalJson(encode(key))
    } catch (cause) {
      return refuse(key, cause instanceof Error ? cause.message : String(cause))
    }
  }
  // The common cases cost a comparison or two per record.
  switch (plainPrimitive(schema.ast)) {
    case "number":
      return (key) => typeof key !== "number" ? refuse(key, "it is no number") : key === 0 ? 0 : key
    case "string":
      return (key) =>
        typeof key !== "string" ? refuse(key, "it is no string") : key.charCodeAt(0) === 0 ? mark + key : key
    case "bigint":
      return (key) => typeof key === "bigint" ? key : refuse(key, "it is no bigint")
    case "boolean":
      return (key) => typeof key === "boolean" ? key : refuse(key, "it is no boolean")
  }
  if (isTransformed(schema.ast)) return encoded
  const isKey = Schema.is(schema)
  return (key) => {
    const own = primitiveIdentity(key)
    return own === undefined ? encoded(key) : isKey(key) ? own : encoded(key)
  }
}

/** The one type of primitives that a schema accepts, if it accepts them all and changes none. */
const plainPrimitive = (ast: SchemaAST.AST): "string" | "number" | "bigint" | "boolean" | undefined => {
  if (ast.checks !== undefined || ast.encoding !== undefined) return undefined
  switch (ast._tag) {
    case "String":
      return "string"
    case "Number":
      return "number"
    case "BigInt":
      return "bigint"
    case "Boolean":
      return "boolean"
    default:
      return undefined
  }
}

/** Whether primitives may be encoded as something else. */
const isTransformed = (ast: SchemaAST.AST): boolean =>
  ast.encoding !== undefined || ast._tag === "Suspend" || (ast._tag === "Union" && ast.types.some(isTransformed))

/** The way back from an identity to a key with that identity, by the same codec. */
export const identifiedKey = <K>(schema: Schema.ConstraintCodec<K, unknown>): (identity: Identity) => K => {
  let decode: ((encoded: unknown) => K) | undefined
  return (identity) => {
    // A primitive is its own identity, so it is a K if its identity came from one.
    if (typeof identity !== "string" || identity.charCodeAt(0) !== 0) return identity as K
    if (identity.charCodeAt(1) === 0) return identity.slice(1) as K
    decode ??= Schema.decodeUnknownSync(Schema.toCodecJson(schema))
    return decode(JSON.parse(identity.slice(1)))
  }
}

/** What an identity shows to people and files: the key itself, or its encoded form. */
export const encodedKey = (identity: Identity): unknown => {
  if (typeof identity !== "string" || identity.charCodeAt(0) !== 0) return identity
  return identity.charCodeAt(1) === 0 ? identity.slice(1) : JSON.parse(identity.slice(1))
}

/** The identity of a value without a schema: what `keyIdentity` gives, with the value as its own encoded form. */
export const identityOf = (value: unknown): Identity => primitiveIdentity(value) ?? mark + canonicalJson(value)

const primitiveIdentity = (value: unknown): Identity | undefined => {
  switch (typeof value) {
    case "string":
      return value.charCodeAt(0) === 0 ? mark + value : value
    case "number":
      return value === 0 ? 0 : value
    case "bigint":
    case "boolean":
      return value
    default:
      return undefined
  }
}

/**
 * The one JSON text of a value: properties sorted by UTF-16 code units, absent where undefined. What JSON has no word
 * for is written as `Schema.toCodecJson` writes it: NaN and ±Infinity, bigints and dates as strings. −0 is 0.
 */
export const canonicalJson = (value: unknown): string => {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value)
    case "number":
      return Number.isFinite(value) ? String(value) : `"${value}"`
    case "bigint":
      return `"${value}"`
    case "boolean":
      return String(value)
    case "undefined":
      return "null"
    case "object":
      return value === null ? "null" : canonicalObject(value)
    default:
      throw new TypeError(`a ${typeof value} has no JSON text`)
  }
}

const canonicalObject = (value: object): string => {
  if (Array.isArray(value)) return `[${Array.from(value, canonicalJson).join(",")}]`
  if ("toJSON" in value && typeof value.toJSON === "function") return canonicalJson(value.toJSON())
  if (value instanceof Map || value instanceof Set) {
    throw new TypeError("a Map or Set is no key: encode it with a schema")
  }
  const properties: Array<string> = []
  for (const [name, property] of Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1)) {
    if (property !== undefined) properties.push(`${JSON.stringify(name)}:${canonicalJson(property)}`)
  }
  return `{${properties.join(",")}}`
}

const rank = { boolean: 0, number: 1, bigint: 2, string: 3 }

/** The canonical order of identities: booleans, numbers with NaN last, bigints, strings by UTF-16 code units. */
export const compareIdentity = (a: Identity, b: Identity): number => {
  if (typeof a !== typeof b) return rank[typeof a as keyof typeof rank] - rank[typeof b as keyof typeof rank]
  if (a === b) return 0
  if (a !== a) return b !== b ? 0 : 1
  return b !== b || a < b ? -1 : 1
}

/**
 * MurmurHash3 (x86, 32 bits) of an identity, as an unsigned integer: strings over their UTF-16 code units in little
 * endian with seed 0, numbers over their eight IEEE 754 bytes in little endian with seed 1 (NaN as the canonical one),
 * bigints over their decimal text with seed 2, booleans over one byte with seed 3. Stable for ever.
 */
export const hashKey = (identity: Identity): number => {
  switch (typeof identity) {
    case "string":
      return hashText(identity, 0)
    case "number":
      return hashNumber(identity)
    case "bigint":
      return hashText(String(identity), 2)
    default:
      return finish(3 ^ scramble(identity ? 1 : 0), 1)
  }
}

/** How many key groups there are. Fixed for ever, and a power of two, so that a mask finds the group. */
export const keyGroups = 128

/**
 * The key group of an identity: where its state lies in a checkpoint, on however many partitions it is read again. By a
 * mask, because an exchange asks for every row, and the remainder of an unsigned number is a division of floating point.
 */
export const keyGroupOf = (identity: Identity): number => hashKey(identity) & (keyGroups - 1)

const hashText = (text: string, seed: number): number => {
  const length = text.length
  let hash = seed
  let i = 0
  for (; i + 1 < length; i += 2) hash = mix(hash, text.charCodeAt(i) | text.charCodeAt(i + 1) << 16)
  if (i < length) hash ^= scramble(text.charCodeAt(i))
  return finish(hash, length * 2)
}

// A view of its own, because typed arrays follow the byte order of the machine.
const eight = new DataView(new ArrayBuffer(8))

const hashNumber = (value: number): number => {
  if (value === value) {
    eight.setFloat64(0, value === 0 ? 0 : value, true)
  } else {
    eight.setUint32(0, 0, true)
    eight.setUint32(4, 0x7ff80000, true)
  }
  return finish(mix(mix(1, eight.getInt32(0, true)), eight.getInt32(4, true)), 8)
}

const scramble = (block: number): number => {
  const k = Math.imul(block, 0xcc9e2d51)
  return Math.imul(k << 15 | k >>> 17, 0x1b873593)
}

const mix = (hash: number, block: number): number => {
  const h = hash ^ scramble(block)
  return Math.imul(h << 13 | h >>> 19, 5) + 0xe6546b64 | 0
}

const finish = (hash: number, bytes: number): number => {
  let h = hash ^ bytes
  h = Math.imul(h ^ h >>> 16, 0x85ebca6b)
  h = Math.imul(h ^ h >>> 13, 0xc2b2ae35)
  return (h ^ h >>> 16) >>> 0
}
