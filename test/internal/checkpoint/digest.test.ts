import { afterEach, describe, expect, it, vi } from "@effect/vitest"
import * as fc from "fast-check"
import { crcByTable, crcOf, sha256Hex } from "../../../src/internal/checkpoint/digest.ts"
import { runs } from "../../laws/runs.ts"

const utf8 = (text: string) => new TextEncoder().encode(text)

// These are part of the checkpoint format.
const crcs: ReadonlyArray<readonly [text: string, crc: number]> = [
  ["", 0],
  ["a", 0xe8b7be43],
  ["123456789", 0xcbf43926],
  ["The quick brown fox jumps over the lazy dog", 0x414fa339]
]

describe("the CRC of bytes", () => {
  it.each(crcs)("of %j is known", (text, crc) => {
    expect(crcOf(utf8(text))).toBe(crc)
    expect(crcByTable(utf8(text))).toBe(crc)
  })

  it("is the same with and without Node, wherever the bytes start", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(50), (bytes, from) => {
        expect(crcByTable(bytes.subarray(from))).toBe(crcOf(bytes.subarray(from)))
      }),
      { numRuns: runs(300) }
    )
  })
})

describe("the SHA-256 of bytes", () => {
  it.each([
    ["", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
    ["abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]
  ])("of %j is known", (text, digest) => expect(sha256Hex(utf8(text))).toBe(digest))
})

describe("where there is no Node", () => {
  afterEach(() => {
    vi.unstubAllGlobals()
  })

  it.each([
    ["no process", undefined],
    ["a process of a bundler", {}],
    ["modules of something else", { getBuiltinModule: () => undefined }]
  ])("%s: the CRC is counted here, and SHA-256 says what it lacks", async (_, process) => {
    vi.resetModules()
    const fresh = await import("../../../src/internal/checkpoint/digest.ts")
    vi.stubGlobal("process", process)
    const results = crcs.map(([text]) => fresh.crcOf(utf8(text)))
    let failure: unknown
    try {
      fresh.sha256Hex(utf8("abc"))
    } catch (cause) {
      failure = cause
    }
    vi.unstubAllGlobals()
    expect(results).toEqual(crcs.map(([, crc]) => crc))
    expect(String(failure)).toContain("SHA-256 needs node:crypto")
  })

  it("a zlib without crc32 is passed over", async () => {
    vi.resetModules()
    const fresh = await import("../../../src/internal/checkpoint/digest.ts")
    vi.stubGlobal("process", { getBuiltinModule: () => ({}) })
    const crc = fresh.crcOf(utf8("123456789"))
    vi.unstubAllGlobals()
    expect(crc).toBe(0xcbf43926)
  })
})
