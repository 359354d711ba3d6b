/** Pieces of bytes in one: their number, their lengths, then the pieces themselves, in order. */
import type { Prepared } from "../../Sink.ts"
import { Malformed } from "./malformed.ts"

/** What pieces hold by reference stands beside the bytes, piece by piece; undefined where there is none. */
export const packChunks = (
  chunks: ReadonlyArray<Prepared>
): { readonly bytes: Uint8Array; readonly opaque: ReadonlyArray<ReadonlyArray<unknown>> | undefined } => {
  const head = 4 + 4 * chunks.length
  const bytes = new Uint8Array(chunks.reduce((sum, { bytes }) => sum + bytes.length, head))
  const view = new DataView(bytes.buffer)
  view.setUint32(0, chunks.length, true)
  let at = head
  chunks.forEach((chunk, i) => {
    view.setUint32(4 + 4 * i, chunk.bytes.length, true)
    bytes.set(chunk.bytes, at)
    at += chunk.bytes.length
  })
  const isOpaque = chunks.some(({ opaque }) => opaque !== undefined && opaque.length > 0)
  return { bytes, opaque: isOpaque ? chunks.map(({ opaque }) => opaque ?? []) : undefined }
}

export const unpackChunks = (
  bytes: Uint8Array,
  opaque: ReadonlyArray<unknown> | undefined
): ReadonlyArray<Prepared> => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const count = bytes.length < 4 ? NaN : view.getUint32(0, true)
  if (!(4 + 4 * count <= bytes.length)) throw new Malformed("the pieces of an epoch have no table")
  const lengths = Array.from({ length: count }, (_, i) => view.getUint32(4 + 4 * i, true))
  if (lengths.reduce((sum, length) => sum + length, 4 + 4 * count) !== bytes.length) {
    throw new Malformed("the pieces of an epoch are not as long as their table says")
  }
  let at = 4 + 4 * count
  return lengths.map((length, i) => {
    at += length
    const own = opaque?.[i] as ReadonlyArray<unknown> | undefined
    return { bytes: bytes.subarray(at - length, at), ...own === undefined ? {} : { opaque: own } }
  })
}
