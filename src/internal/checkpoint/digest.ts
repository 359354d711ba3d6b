/**
 * Checksums of bytes, at once and not as a promise. Node's own modules are asked for by the first use, so that importing
 * Millrace loads nothing and works where there is no Node.
 *
 * The results are part of the checkpoint format, which must stay readable for ever: known answers in the tests hold them
 * in place.
 */

const seekCrc = (): (bytes: Uint8Array) => number => {
  const zlib = globalThis.process?.getBuiltinModule?.("node:zlib")
  // Absent from what only resembles Node, whatever its types say.
  return typeof zlib?.crc32 === "function" ? (bytes) => zlib.crc32(bytes) : crcByTable
}

let found: ((bytes: Uint8Array) => number) | undefined

/** CRC-32 as in zlib and PNG (polynomial 0xEDB88320, reflected), as an unsigned integer. */
export const crcOf = (bytes: Uint8Array): number => (found ??= seekCrc())(bytes)

let table: Uint32Array | undefined

const makeTable = (): Uint32Array =>
  Uint32Array.from({ length: 256 }, (_, byte) => {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? crc >>> 1 ^ 0xedb88320 : crc >>> 1
    return crc
  })

/** `crcOf` without Node: some ten times slower. */
export const crcByTable = (bytes: Uint8Array): number => {
  const steps = table ??= makeTable()
  let crc = 0xffffffff
  for (let i = 0; i < bytes.length; i++) crc = crc >>> 8 ^ steps[(crc ^ bytes[i]!) & 0xff]!
  return (crc ^ 0xffffffff) >>> 0
}

/** SHA-256 in lower case hexadecimal digits. */
export const sha256Hex = (bytes: Uint8Array): string => {
  const crypto = globalThis.process?.getBuiltinModule?.("node:crypto")
  if (crypto === undefined) {
    throw new Error("SHA-256 needs node:crypto, and there is none here: run on Node 22.19 or later, Bun or Deno")
  }
  return crypto.createHash("sha256").update(bytes).digest("hex")
}
