/**
 * Plain data without a schema, as JSON and back. This is a format that must stay readable for ever; known texts in the
 * tests hold it in place.
 *
 * What JSON keeps as it is, is its own encoding: null, booleans, strings, finite numbers, arrays, and objects without a
 * property named `~`. Everything else is an object with that one property, whose value is an array of a tag and its
 * arguments:
 *
 * - `["undefined"]`, also for what a sparse array does not have;
 * - `["number", "NaN" | "Infinity" | "-Infinity" | "-0"]`, `["bigint", decimal digits]`;
 * - `["date", milliseconds, or null if invalid]`, `["bytes", base64]` for a Uint8Array;
 * - `["map", key, value, key, value, …]`, `["set", item, …]`, `["none"]`, `["some", value]`;
 * - `["object", name, value, name, value, …]` for an object that has a property named `~`, and `["bare", …]` likewise for
 *   one without a prototype;
 * - `["opaque", index]` for what has no encoding, among the values kept beside the JSON.
 *
 * Both directions stop at 1,000 levels of arrays, objects, maps, sets and options inside each other.
 */
import * as Base64 from "effect/encoding/Base64"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import { printed } from "../numbers.ts"
import { Malformed } from "./malformed.ts"

/** How many levels of containers a value has at most. */
const maximumDepth = 1_000

/** A value that is not plain data, in a place where it cannot be kept as it is. */
export class NotEncodable extends Error {
  override readonly name = "NotEncodable"
  /** Where it is: `value.items[3].when`. */
  readonly path: string
  /** What it is: `an instance of Money`. */
  readonly kind: string
  constructor(path: string, kind: string) {
    super(
      `${path} is ${kind}, which has no encoding without a schema: give one, or keep JSON, undefined, bigint, Date, ` +
        "Map, Set, Uint8Array and Option, all plain and without cycles"
    )
    this.path = path
    this.kind = kind
  }
}

/**
 * The JSON of a value; the value itself where it already is JSON. What is not plain data goes to `opaque`, or throws
 * `NotEncodable` where there is none. A value with a cycle, or too deep, goes there as a whole.
 */
export const toJson = (value: unknown, opaque: Array<unknown> | undefined): Schema.Json => {
  const before = opaque?.length
  try {
    return new Encoder(opaque).encode(value, 0)
  } catch (cause) {
    if (cause !== endless || opaque === undefined || before === undefined) throw cause
    // What the attempt has put there is part of the value.
    opaque.length = before
    return escaped("opaque", opaque.push(value) - 1)
  }
}

/** The value of JSON that may be damaged or hostile: throws `Malformed` for what `toJson` does not write. */
export const fromJson = (json: Schema.Json, opaque: ReadonlyArray<unknown> | undefined): unknown =>
  decode(json, opaque, 0)

const escaped = (...content: ReadonlyArray<Schema.Json>): Schema.Json => ({ "~": content })

/** Sets an own property. An inherited one of that name may be a setter, or frozen, and is none of our business. */
const define = (target: object, name: string, value: unknown): void => {
  if (name in target) {
    Object.defineProperty(target, name, { value, configurable: true, enumerable: true, writable: true })
  } else {
    // The one way to write to an object whose names are not known before.
    ;(target as Record<string, unknown>)[name] = value
  }
}

const numberJson = (value: number): Schema.Json =>
  Number.isFinite(value) && !Object.is(value, -0)
    ? value
    : escaped("number", Object.is(value, -0) ? "-0" : String(value))

/** Thrown inside of `toJson` for a value that is opaque as a whole. */
const endless = new Error("a cycle, or too deep")

/** Above this depth nobody looks for cycles; below, at the powers of two, so that data which ends pays next to nothing. */
const shallow = 32

/** A class because it is on the path of every value of state: one hidden class, no closures. */
class Encoder {
  private readonly opaque: Array<unknown> | undefined
  /** What the value at hand is inside of, from the outermost, and which step leads on from each. */
  private readonly containers: Array<object> = []
  private readonly steps: Array<string | number> = []

  constructor(opaque: Array<unknown> | undefined) {
    this.opaque = opaque
  }

  /** `depth` is how many containers the value is in. */
  encode(value: unknown, depth: number): Schema.Json {
    switch (typeof value) {
      case "string":
      case "boolean":
        return value
      case "number":
        return numberJson(value)
      case "undefined":
        return escaped("undefined")
      case "bigint":
        return escaped("bigint", String(value))
      case "object":
        return value === null ? null : this.object(value, depth)
      default:
        return this.foreign(value, `a ${typeof value}`, depth)
    }
  }

  private object(value: object, depth: number): Schema.Json {
    const prototype: unknown = Object.getPrototypeOf(value)
    if (prototype === Object.prototype) return this.plain(value, depth)
    if (Array.isArray(value) && prototype === Array.prototype) return this.array(value, depth)
    if (prototype === null) return this.plain(value, depth, "bare")
    if (value instanceof Uint8Array && prototype === Uint8Array.prototype) return escaped("bytes", Base64.encode(value))
    if (Option.isOption(value)) return this.option(value, depth)
    const kind = value instanceof Date && prototype === Date.prototype
      ? "Date"
      : value instanceof Map && prototype === Map.prototype
      ? "Map"
      : value instanceof Set && prototype === Set.prototype
      ? "Set"
      : undefined
    if (kind === undefined) return this.foreign(value, instanceKind(value), depth)
    if (Reflect.ownKeys(value).length > 0) return this.foreign(value, `a ${kind} with properties of its own`, depth)
    if (value instanceof Map) return this.map(value, depth)
    if (value instanceof Set) return this.set(value, depth)
    const millis = (value as Date).getTime()
    return escaped("date", millis === millis ? millis : null)
  }

  private plain(value: object, depth: number, tag?: "bare"): Schema.Json {
    const names = Object.keys(value)
    if (Object.getOwnPropertyNames(value).length > names.length || Object.getOwnPropertySymbols(value).length > 0) {
      return this.foreign(value, "an object with symbols or hidden properties", depth)
    }
    this.enter(value, depth)
    // A plain object, read at the names that it has.
    const properties = value as Record<string, unknown>
    if (tag !== undefined || Object.hasOwn(value, "~")) {
      const content: Array<Schema.Json> = [tag ?? "object"]
      for (const name of names) {
        this.steps[depth] = name
        content.push(name, this.encode(properties[name], depth + 1))
      }
      return { "~": content }
    }
    let copy: Record<string, Schema.Json> | undefined
    for (let i = 0; i < names.length; i++) {
      const name = names[i]!
      const property = properties[name]
      this.steps[depth] = name
      const json = this.encode(property, depth + 1)
      if (copy === undefined) {
        if (json === property) continue
        copy = {}
        for (let j = 0; j < i; j++) define(copy, names[j]!, properties[names[j]!])
      }
      define(copy, name, json)
    }
    // All properties were found to be JSON.
    return copy ?? properties as Schema.JsonObject
  }

  private array(value: ReadonlyArray<unknown>, depth: number): Schema.Json {
    if (hasMoreThanItems(value)) return this.foreign(value, "an array with properties of its own", depth)
    this.enter(value, depth)
    let copy: Array<Schema.Json> | undefined
    for (let i = 0; i < value.length; i++) {
      const item = value[i]
      this.steps[depth] = i
      const json = this.encode(item, depth + 1)
      if (copy !== undefined) copy.push(json)
      else if (json !== item) {
        // Those before were found to be JSON.
        copy = value.slice(0, i) as Array<Schema.Json>
        copy.push(json)
      }
    }
    // All items were found to be JSON.
    return copy ?? value as Schema.JsonArray
  }

  private map(value: ReadonlyMap<unknown, unknown>, depth: number): Schema.Json {
    this.enter(value, depth)
    const content: Array<Schema.Json> = ["map"]
    let step = 0
    for (const [key, item] of value) {
      this.steps[depth] = step++
      content.push(this.encode(key, depth + 1))
      this.steps[depth] = step++
      content.push(this.encode(item, depth + 1))
    }
    return { "~": content }
  }

  private set(value: ReadonlySet<unknown>, depth: number): Schema.Json {
    this.enter(value, depth)
    const content: Array<Schema.Json> = ["set"]
    let step = 0
    for (const item of value) {
      this.steps[depth] = step++
      content.push(this.encode(item, depth + 1))
    }
    return { "~": content }
  }

  private option(value: Option.Option<unknown>, depth: number): Schema.Json {
    if (Option.isNone(value)) return escaped("none")
    this.enter(value, depth)
    this.steps[depth] = "value"
    return escaped("some", this.encode(value.value, depth + 1))
  }

  private foreign(value: unknown, kind: string, depth: number): Schema.Json {
    if (this.opaque === undefined) throw new NotEncodable(this.path(depth), kind)
    return escaped("opaque", this.opaque.push(value) - 1)
  }

  private enter(container: object, depth: number): void {
    this.containers[depth] = container
    if (depth < shallow || (depth < maximumDepth && (depth & (depth - 1)) !== 0)) return
    const isCycle = new Set(this.containers.slice(0, depth + 1)).size <= depth
    if (!isCycle && depth < maximumDepth) return
    if (this.opaque !== undefined) throw endless
    throw new NotEncodable(this.path(depth), isCycle ? "part of a cycle" : "inside of more than 1,000 others")
  }

  private path(depth: number): string {
    const shown = this.steps.slice(0, Math.min(depth, shallow)).map((step, i) => stepText(this.containers[i]!, step))
    return `value${shown.join("")}${depth > shallow ? "…" : ""}`
  }
}

const stepText = (container: object, step: string | number): string => {
  if (typeof step === "string") {
    return /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(step)
      ? `.${step}`
      : `[${printed(step)}]`
  }
  if (container instanceof Set) return `.values()[${step}]`
  if (!(container instanceof Map)) return `[${step}]`
  const place = Math.floor(step / 2)
  if (step % 2 === 0) return `.keys()[${place}]`
  const key: unknown = [...container.keys()][place]
  return typeof key === "string" || typeof key === "number" ? `.get(${printed(key)})` : `.values()[${place}]`
}

const instanceKind = (value: object): string => {
  const name: unknown = value.constructor?.name
  return typeof name === "string" && name !== "" && name !== "Object"
    ? `an instance of ${name}`
    : "an object with a prototype of its own"
}

/** Whether an array has properties that are no items, as the matches of regular expressions do. */
const hasMoreThanItems = (value: ReadonlyArray<unknown>): boolean => {
  if (Object.getOwnPropertySymbols(value).length > 0) return true
  // The names of items come first.
  const last = Object.keys(value).at(-1)
  return last !== undefined && (String(Number(last) >>> 0) !== last || Number(last) >= value.length)
}

const refuse = (problem: string): never => {
  throw new Malformed(problem)
}

type Opaque = ReadonlyArray<unknown> | undefined

const decode = (json: unknown, opaque: Opaque, depth: number): unknown => {
  switch (typeof json) {
    case "string":
    case "boolean":
    case "number":
      return json
    case "object":
      if (json === null) return null
      if (Array.isArray(json)) return decodeArray(json, opaque, depth)
      return "~" in json ? decodeEscaped(json, json["~"], opaque, depth) : decodeObject(json, opaque, depth)
    default:
      return refuse(`a ${typeof json} where JSON was expected`)
  }
}

const descend = (depth: number): number => depth < maximumDepth ? depth + 1 : refuse("more than 1,000 levels")

const decodeObject = (json: object, opaque: Opaque, depth: number): unknown => {
  const inner = descend(depth)
  // A plain object, read at the names that it has.
  const properties = json as Record<string, unknown>
  const names = Object.keys(json)
  let copy: object | undefined
  for (let i = 0; i < names.length; i++) {
    const name = names[i]!
    const value = decode(properties[name], opaque, inner)
    if (copy === undefined) {
      if (value === properties[name]) continue
      copy = {}
      for (let j = 0; j < i; j++) define(copy, names[j]!, properties[names[j]!])
    }
    define(copy, name, value)
  }
  return copy ?? json
}

const decodeArray = (json: ReadonlyArray<unknown>, opaque: Opaque, depth: number): ReadonlyArray<unknown> => {
  const inner = descend(depth)
  let copy: Array<unknown> | undefined
  for (let i = 0; i < json.length; i++) {
    const value = decode(json[i], opaque, inner)
    if (copy !== undefined) copy.push(value)
    else if (value !== json[i]) {
      copy = json.slice(0, i)
      copy.push(value)
    }
  }
  return copy ?? json
}

const decodeEscaped = (json: object, content: unknown, opaque: Opaque, depth: number): unknown => {
  if (!Array.isArray(content) || Object.keys(json).length !== 1) return refuse("a property ~ that is no escape")
  const tag: unknown = content[0]
  const argument: unknown = content[1]
  switch (tag) {
    case "map":
      return decodeMap(content, opaque, descend(depth))
    case "set":
      return decodeSet(content, opaque, descend(depth))
    case "object":
    case "bare":
      return decodeNamed(tag, content, opaque, descend(depth))
    case "undefined":
    case "none":
      if (content.length !== 1) return refuse(`an escape ${tag} with arguments`)
      return tag === "none" ? Option.none() : undefined
  }
  if (content.length !== 2) return refuse("an escape of the wrong length")
  switch (tag) {
    case "number":
      return typeof argument === "string" && /^(NaN|-?Infinity|-0)$/.test(argument)
        ? Number(argument)
        : refuse("an escape of a number that needs none")
    case "bigint":
      return decodeBigint(argument)
    case "date":
      return decodeDate(argument)
    case "bytes":
      return decodeBytes(argument)
    case "some":
      return Option.some(decode(argument, opaque, descend(depth)))
    case "opaque":
      return typeof argument === "number" && opaque !== undefined && argument in opaque
        ? opaque[argument]
        : refuse("an opaque value that was not kept")
    default:
      return refuse(typeof tag === "string" ? `an escape with the unknown tag ${printed(tag.slice(0, 40))}` : "no tag")
  }
}

const decodeMap = (content: ReadonlyArray<unknown>, opaque: Opaque, depth: number): unknown => {
  if (content.length % 2 === 0) return refuse("a map with a key and no value")
  const map = new Map<unknown, unknown>()
  for (let i = 1; i < content.length; i += 2) {
    map.set(decode(content[i], opaque, depth), decode(content[i + 1], opaque, depth))
  }
  return map.size * 2 + 1 === content.length ? map : refuse("a map with one key twice")
}

const decodeSet = (content: ReadonlyArray<unknown>, opaque: Opaque, depth: number): unknown => {
  const set = new Set<unknown>()
  for (let i = 1; i < content.length; i++) set.add(decode(content[i], opaque, depth))
  return set.size + 1 === content.length ? set : refuse("a set with one item twice")
}

const decodeNamed = (
  tag: "object" | "bare",
  content: ReadonlyArray<unknown>,
  opaque: Opaque,
  depth: number
): unknown => {
  if (content.length % 2 === 0) return refuse("an object with a name and no value")
  const target: object = tag === "bare" ? Object.create(null) : {}
  for (let i = 1; i < content.length; i += 2) {
    const name = content[i]
    if (typeof name !== "string" || Object.hasOwn(target, name)) {
      return refuse("a name that is no string, or twice there")
    }
    define(target, name, decode(content[i + 1], opaque, depth))
  }
  return tag === "bare" || "~" in target ? target : refuse("an escape of an object that needs none")
}

const decodeBigint = (digits: unknown): unknown => {
  if (typeof digits !== "string" || !/^(0|-?[1-9][0-9]*)$/.test(digits)) return refuse("a bigint without digits")
  try {
    return BigInt(digits)
  } catch (cause) {
    throw new Malformed("a bigint that no machine can hold", { cause })
  }
}

const decodeDate = (millis: unknown): unknown => {
  if (millis === null) return new Date(NaN)
  return typeof millis === "number" && Number.isInteger(millis) && Math.abs(millis) <= 8.64e15
    ? new Date(millis)
    : refuse("a date out of bounds")
}

const decodeBytes = (text: unknown): unknown => {
  const bytes = typeof text === "string" ? Base64.decode(text) : undefined
  return bytes !== undefined && Result.isSuccess(bytes) ? bytes.success : refuse("bytes that are not base64")
}
