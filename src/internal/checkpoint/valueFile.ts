/**
 * The text of a checkpoint in a file that people can read: JSON, whose last field is the checksum of all the others. Who
 * edits the file takes the checksum out; what chance has changed is found by it.
 */
import type * as Schema from "effect/Schema"
import { sha256Hex } from "./digest.ts"
import { Malformed } from "./malformed.ts"
import { Value } from "./value.ts"

/** Whatever the white space: the same content has the same checksum. */
const checksumOf = (content: unknown): string => sha256Hex(new TextEncoder().encode(JSON.stringify(content)))

export const textOf = (value: Schema.Json): string =>
  `${JSON.stringify({ ...value as Schema.JsonObject, checksum: checksumOf(value) }, undefined, 1)}\n`

/** Throws for anything but such a text, with its checksum or without. */
export const checkedText = (bytes: Uint8Array): unknown => {
  const parsed: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes))
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) throw new Malformed("it is no object")
  const { checksum, ...content } = parsed as Readonly<Record<string, unknown>>
  if (checksum === undefined) {
    // The name of the checksum may have been damaged as well as anything else.
    const unknown = Object.keys(content).find((name) => !Object.hasOwn(Value.fields, name))
    if (unknown !== undefined) throw new Malformed(`it has no checksum, and a field "${unknown}" that nobody knows`)
  } else if (checksum !== checksumOf(content)) {
    throw new Malformed("it does not match its checksum. If you have edited it, remove the field checksum")
  }
  return content
}
