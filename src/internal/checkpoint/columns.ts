/**
 * One column of values or keys as bytes. This is a format that must stay readable for ever; known bytes in the tests
 * hold it in place.
 *
 * The first byte tells the kind of the rest:
 *
 * - 1: whole numbers from −2³¹ to 2³¹ − 1 without −0, four bytes each, little endian;
 * - 2: other numbers, eight bytes of IEEE 754 each, little endian, NaN as 7ff8000000000000;
 * - 3: the UTF-8 text of a JSON array, where −0 is the number `-0`; in a column of keys, of strings alone;
 * - 4: in a column of keys, the text of a JSON array of keys in the form of `plain.ts`.
 *
 * A column says neither its length nor how many values it holds: who keeps the bytes keeps both.
 */
import type { Identity } from "../state/keyIdentity.ts"
import { Malformed } from "./malformed.ts"
import { fromJson, toJson } from "./plain.ts"

const int32 = 1
const float64 = 2
const text = 3
const tagged = 4

/** No column of so many rows is shorter: what a claim of rows is held against before anything is allocated for them. */
export const minimumBytes = (count: number): number => 1 + 2 * count

/**
 * JSON values; NaN, the infinities and −0 as well in a column of numbers alone, and −0 anywhere. Throws a `TypeError` for
 * what the text would lose or change.
 */
export const encodeColumn = (values: ReadonlyArray<unknown>): Uint8Array => {
  const bytes = encodeNumbers(values)
  if (bytes !== undefined) return bytes
  let exact = true
  for (let i = 0; i < values.length; i++) if (!isExactAsText(values[i], i, 1)) exact = false
  return encodeText(text, exact ? JSON.stringify(values) : exactText(values))
}

export const encodeKeys = (keys: ReadonlyArray<Identity>): Uint8Array => {
  const bytes = encodeNumbers(keys)
  if (bytes !== undefined) return bytes
  return keys.every((key) => typeof key === "string")
    ? encodeText(text, JSON.stringify(keys))
    : encodeText(tagged, JSON.stringify(keys.map((key) => toJson(key, undefined))))
}

/** Throws `Malformed` unless the bytes hold exactly so many values. */
export const decodeColumn = (bytes: Uint8Array, count: number): ReadonlyArray<unknown> => {
  checkCount(count)
  switch (bytes[0]) {
    case int32:
      return decodeInts(bytes, count)
    case float64:
      return decodeDoubles(bytes, count)
    case text:
      return decodeText(bytes, count)
    default:
      throw new Malformed(`a column of the unknown kind ${bytes[0]}`)
  }
}

/** Throws `Malformed` unless the bytes hold exactly so many keys. */
export const decodeKeys = (bytes: Uint8Array, count: number): ReadonlyArray<Identity> => {
  checkCount(count)
  switch (bytes[0]) {
    case int32:
      return decodeInts(bytes, count)
    case float64:
      return decodeDoubles(bytes, count)
    case text:
      return decodeText(bytes, count).map((key) =>
        typeof key === "string" ? key : refuse("a column of strings with something else in it")
      )
    case tagged:
      return decodeText(bytes, count).map(decodeKey)
    default:
      throw new Malformed(`a column of keys of the unknown kind ${bytes[0]}`)
  }
}

const refuse = (problem: string): never => {
  throw new Malformed(problem)
}

const checkCount = (count: number): void => {
  if (!Number.isSafeInteger(count) || count < 0) refuse(`a column of ${count} rows`)
}

const checkLength = (bytes: Uint8Array, length: number): void => {
  if (bytes.length !== length) refuse(`a column of ${bytes.length} bytes where its rows make ${length}`)
}

// A DataView throughout: as fast as typed arrays, whatever the byte order of the machine and wherever the bytes start.
const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** Undefined unless all are numbers. */
const encodeNumbers = (values: ReadonlyArray<unknown>): Uint8Array | undefined => {
  const bytes = new Uint8Array(1 + 4 * values.length)
  bytes[0] = int32
  const view = viewOf(bytes)
  for (let i = 0; i < values.length; i++) {
    const value = values[i]
    if (typeof value !== "number") return undefined
    // The conversion never gives −0 or NaN, so both are seen to differ.
    if (!Object.is(value | 0, value)) return encodeDoubles(values)
    view.setInt32(1 + 4 * i, value, true)
  }
  return bytes
}

const encodeDoubles = (values: ReadonlyArray<unknown>): Uint8Array | undefined => {
  const bytes = new Uint8Array(1 + 8 * values.length)
  bytes[0] = float64
  const view = viewOf(bytes)
  for (let i = 0; i < values.length; i++) {
    const value = values[i]
    if (typeof value !== "number") return undefined
    if (value === value) {
      view.setFloat64(1 + 8 * i, value, true)
    } else {
      // There are many NaNs, and which one a machine writes is its own affair.
      view.setUint32(5 + 8 * i, 0x7ff80000, true)
    }
  }
  return bytes
}

const decodeInts = (bytes: Uint8Array, count: number): ReadonlyArray<number> => {
  checkLength(bytes, 1 + 4 * count)
  const view = viewOf(bytes)
  const values = new Array<number>(count)
  for (let i = 0; i < count; i++) values[i] = view.getInt32(1 + 4 * i, true)
  return values
}

const decodeDoubles = (bytes: Uint8Array, count: number): ReadonlyArray<number> => {
  checkLength(bytes, 1 + 8 * count)
  const view = viewOf(bytes)
  const values = new Array<number>(count)
  for (let i = 0; i < count; i++) values[i] = view.getFloat64(1 + 8 * i, true)
  return values
}

const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** The kind is below 128, so it is the one byte of its own character. */
const encodeText = (kind: number, json: string): Uint8Array => encoder.encode(String.fromCharCode(kind) + json)

const decodeText = (bytes: Uint8Array, count: number): ReadonlyArray<unknown> => {
  const values = parse(bytes.subarray(1))
  if (!Array.isArray(values)) return refuse("a column whose JSON is no array")
  if (values.length !== count) return refuse(`a column of ${values.length} rows where ${count} were kept`)
  return values
}

/** The JSON of UTF-8 text; throws `Malformed` for anything else. */
export const parse = (bytes: Uint8Array): unknown => {
  try {
    return JSON.parse(decoder.decode(bytes))
  } catch (cause) {
    throw new Malformed("bytes that are no JSON text", { cause })
  }
}

const decodeKey = (json: unknown): Identity => {
  // What was parsed from text is JSON, and `fromJson` looks at it again.
  const key = fromJson(json as Parameters<typeof fromJson>[0], undefined)
  switch (typeof key) {
    case "string":
    case "number":
    case "bigint":
    case "boolean":
      return key
    default:
      return refuse("a column of keys with something else in it")
  }
}

/** Twice what `plain.ts` makes of the deepest value, and what `JSON.stringify` has the stack for. */
const maximumDepth = 2_500

const unfit = (row: number, what: string): never => {
  throw new TypeError(`Row ${row} of a column holds ${what}, which JSON text does not keep: encode it first`)
}

/** Whether `JSON.stringify` keeps the value, which it does but for −0. Throws for what no JSON text keeps. */
const isExactAsText = (value: unknown, row: number, depth: number): boolean => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return true
    case "number":
      return Number.isFinite(value) ? !Object.is(value, -0) : unfit(row, `${value} beside or inside other values`)
    case "object":
      break
    default:
      return unfit(row, `a value of the type ${typeof value}`)
  }
  if (value === null) return true
  if (depth > maximumDepth) return unfit(row, `more than ${maximumDepth} levels`)
  let exact = true
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) if (!isExactAsText(value[i], row, depth + 1)) exact = false
    return exact
  }
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) return unfit(row, "an object that is not plain")
  for (const name of Object.keys(value)) {
    // A plain object, read at a name that it has.
    if (!isExactAsText((value as Record<string, unknown>)[name], row, depth + 1)) exact = false
  }
  return exact
}

/** `JSON.stringify` that writes −0 as `-0`, which every parser of JSON reads as −0. */
const exactText = (value: unknown): string => {
  if (typeof value === "number") return Object.is(value, -0) ? "-0" : String(value)
  if (typeof value !== "object" || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(exactText).join(",")}]`
  return `{${Object.entries(value).map(([name, value]) => `${JSON.stringify(name)}:${exactText(value)}`).join(",")}}`
}
