/**
 * What a file of a store holds: a mark, a checksum, a length, the bytes. The checksum also covers what the file is, so
 * that one file in the place of another is as wrong as a flipped bit.
 */

/** CRC32, which goes on from an earlier one. */
export type Crc32 = (bytes: Uint8Array, from?: number) => number

/** "Millrace, file format 1". */
const mark = 0x4d6c7231
const headerLength = 16

const utf8 = new TextEncoder()

const checksum = (crc32: Crc32, identity: string, bytes: Uint8Array): number =>
  crc32(bytes, crc32(utf8.encode(`${identity}\n${bytes.length}\n`)))

export const header = (crc32: Crc32, identity: string, bytes: Uint8Array): Uint8Array => {
  const view = new DataView(new ArrayBuffer(headerLength))
  view.setUint32(0, mark)
  view.setUint32(4, checksum(crc32, identity, bytes))
  view.setBigUint64(8, BigInt(bytes.length))
  return new Uint8Array(view.buffer)
}

/** The bytes in a file, or what is wrong with it. */
export const unframe = (crc32: Crc32, identity: string, file: Uint8Array): Uint8Array | string => {
  if (file.length < headerLength) return `it holds ${file.length} bytes, fewer than its header`
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  if (view.getUint32(0) !== mark) return "it does not begin as such a file does"
  const length = view.getBigUint64(8)
  const bytes = new Uint8Array(file.buffer, file.byteOffset + headerLength, file.length - headerLength)
  if (length !== BigInt(bytes.length)) return `it holds ${bytes.length} bytes and should hold ${length}`
  return view.getUint32(4) === checksum(crc32, identity, bytes) ? bytes : "its checksum is wrong"
}
