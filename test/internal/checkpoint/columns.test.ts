import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import { isDeepStrictEqual } from "node:util"
import {
  decodeColumn,
  decodeKeys,
  encodeColumn,
  encodeKeys,
  minimumBytes
} from "../../../src/internal/checkpoint/columns.ts"
import { Malformed } from "../../../src/internal/checkpoint/malformed.ts"
import type { Identity } from "../../../src/internal/state/keyIdentity.ts"
import { runs } from "../../laws/runs.ts"

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex")
const column = (kind: number, text: string) => Uint8Array.from([kind, ...new TextEncoder().encode(text)])

/** `isDeepStrictEqual` tells −0 from 0 and finds NaN the same as NaN. */
const expectSame = (actual: unknown, expected: unknown) => {
  if (!isDeepStrictEqual(actual, expected)) expect(actual).toStrictEqual(expected)
  expect(isDeepStrictEqual(actual, expected)).toBe(true)
}

/** The same bytes, so many bytes into a buffer with others around. */
const shifted = (bytes: Uint8Array, by: number): Uint8Array => {
  const buffer = new Uint8Array(bytes.length + by + 3).fill(0xff)
  buffer.set(bytes, by)
  return buffer.subarray(by, by + bytes.length)
}

/** What decodes, does so in full; everything else is malformed. Whether it decoded. */
const decodes = (decode: typeof decodeColumn, bytes: Uint8Array, count: number): boolean => {
  try {
    expect(decode(bytes, count).length).toBe(count)
    return true
  } catch (cause) {
    expect(cause).toBeInstanceOf(Malformed)
    return false
  }
}

const int32 = fc.oneof(fc.integer(), fc.constantFrom(0, -1, 2 ** 31 - 1, -(2 ** 31)))
const number = fc.oneof(fc.double(), fc.constantFrom(NaN, Infinity, -Infinity, -0, 2 ** 31, -(2 ** 31) - 1, 5e-324))
const string = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.array(fc.integer({ min: 0xd7ff, max: 0xe000 })).map((units) => String.fromCharCode(...units)),
  fc.constantFrom("", "\u0000", "\u0000{\"a\":1}", "\ufeff")
)
const values = fc.oneof(
  fc.array(int32),
  fc.array(number),
  fc.array(fc.oneof(int32, number)),
  fc.array(fc.jsonValue()),
  fc.array(fc.oneof(fc.constantFrom(null, -0, 0), fc.double({ noNaN: true, noDefaultInfinity: true }))).map((
    some
  ) => [null, ...some])
)
const keys: fc.Arbitrary<ReadonlyArray<Identity>> = fc.oneof(
  fc.array(int32),
  fc.array(number),
  fc.array(string),
  fc.array(fc.boolean()),
  fc.array(fc.bigInt()),
  fc.array(fc.oneof<Array<fc.Arbitrary<Identity>>>(int32, number, string, fc.boolean(), fc.bigInt()))
)

describe("a column of values", () => {
  it("comes back, wherever the bytes start", () => {
    fc.assert(
      fc.property(values, fc.nat(9), (values, by) => {
        const bytes = encodeColumn(values)
        expectSame(decodeColumn(shifted(bytes, by), values.length), values)
        expect(bytes.length).toBeGreaterThanOrEqual(minimumBytes(values.length))
      }),
      { numRuns: runs(1500) }
    )
  })

  // These bytes are in files that must stay readable for ever.
  it.each<[ReadonlyArray<unknown>, string]>([
    [[], "01"],
    [[1, -2, 2 ** 31 - 1, -(2 ** 31)], "01 01000000 feffffff ffffff7f 00000080"],
    [[0.5, 1], "02 000000000000e03f 000000000000f03f"],
    [[-0], "02 0000000000000080"],
    [[2 ** 31, NaN], "02 000000000000e041 000000000000f87f"],
    [[Infinity, -Infinity], "02 000000000000f07f 000000000000f0ff"],
    [["a", null, 1, { b: [true] }], "03" + Buffer.from(`["a",null,1,{"b":[true]}]`).toString("hex")],
    [[null, -0, { a: [-0] }], "03" + Buffer.from(`[null,-0,{"a":[-0]}]`).toString("hex")],
    [["ß"], "03 5b22c39f225d"],
    [["\ud800"], "03" + Buffer.from(`["\\ud800"]`).toString("hex")]
  ])("%j has known bytes", (values, spaced) => {
    const known = spaced.replaceAll(" ", "")
    expect(hex(encodeColumn(values))).toBe(known)
    expectSame(decodeColumn(Buffer.from(known, "hex"), values.length), values)
  })

  it("writes one NaN, whichever it is given", () => {
    const odd = new Float64Array(new BigUint64Array([0xfff8_0000_0000_beefn]).buffer)[0]!
    expect(hex(encodeColumn([odd]))).toBe("02000000000000f87f")
    expect(decodeColumn(Buffer.from("02efbe00000000f8ff", "hex"), 1)).toEqual([NaN])
  })

  it("is written in full after it has begun as something smaller", () => {
    for (const last of [0.5, "a", null]) {
      const values = [...Array(100).keys(), last]
      expect(decodeColumn(encodeColumn(values), 101)).toEqual(values)
      expect(decodeColumn(encodeColumn([0.1, ...values]), 102)).toEqual([0.1, ...values])
    }
  })

  const deep = (levels: number) => JSON.parse("[".repeat(levels) + "]".repeat(levels)) as unknown

  it("may be deep", () => {
    const bytes = encodeColumn([deep(2_400)])
    expect(JSON.stringify(decodeColumn(bytes, 1))).toBe(JSON.stringify([deep(2_400)]))
  })

  it.each<[ReadonlyArray<unknown>, string]>([
    [["a", NaN], "Row 1 of a column holds NaN"],
    [[1, null, Infinity], "Row 2 of a column holds Infinity"],
    [[{ a: [1, { b: -Infinity }] }], "Row 0 of a column holds -Infinity"],
    [[1, undefined], "Row 1 of a column holds a value of the type undefined"],
    [new Array(2), "Row 0 of a column holds a value of the type undefined"],
    [[{ a: undefined }], "Row 0 of a column holds a value of the type undefined"],
    [["a", 1n], "Row 1 of a column holds a value of the type bigint"],
    [[{ toJSON: () => 1 }], "Row 0 of a column holds a value of the type function"],
    [[Symbol("s")], "Row 0 of a column holds a value of the type symbol"],
    [["a", new Date(0)], "Row 1 of a column holds an object that is not plain"],
    [[new Map()], "Row 0 of a column holds an object that is not plain"],
    [[deep(3_000)], "Row 0 of a column holds more than 2500 levels"]
  ])("case %#: what JSON does not keep is refused", (values, message) => {
    expect(() => encodeColumn(values)).toThrow(TypeError)
    expect(() => encodeColumn(values)).toThrow(message)
  })
})

describe("a column of keys", () => {
  it("comes back, wherever the bytes start", () => {
    fc.assert(
      fc.property(keys, fc.nat(9), (keys, by) => {
        const bytes = encodeKeys(keys)
        expectSame(decodeKeys(shifted(bytes, by), keys.length), keys)
        expect(bytes.length).toBeGreaterThanOrEqual(minimumBytes(keys.length))
      }),
      { numRuns: runs(1500) }
    )
  })

  // These bytes are in files that must stay readable for ever.
  it.each<[ReadonlyArray<Identity>, string]>([
    [[], "01"],
    [[7, -1], "0107000000ffffffff"],
    [[NaN, 0.5], "02000000000000f87f000000000000e03f"],
    [["a", "\u0000[1]"], "03" + Buffer.from(`["a","\\u0000[1]"]`).toString("hex")],
    [[true, false], "04" + Buffer.from(`[true,false]`).toString("hex")],
    [[12n], "04" + Buffer.from(`[{"~":["bigint","12"]}]`).toString("hex")],
    [["a", 1, NaN, -0], "04" + Buffer.from(`["a",1,{"~":["number","NaN"]},{"~":["number","-0"]}]`).toString("hex")]
  ])("case %# has known bytes", (keys, known) => {
    expect(hex(encodeKeys(keys))).toBe(known)
    expectSame(decodeKeys(Buffer.from(known, "hex"), keys.length), keys)
  })

  it.each([
    column(3, `["a",1]`),
    column(3, `["a",null]`),
    column(4, `["a",null]`),
    column(4, `["a",{}]`),
    column(4, `["a",{"~":["undefined"]}]`),
    column(4, `["a",{"~":["date",0]}]`),
    column(4, `["a",{"~":["opaque",0]}]`),
    column(4, `["a",{"~":["other",0]}]`),
    column(5, `["a","b"]`)
  ])("case %#: what is no key is malformed", (bytes) => {
    expect(decodes(decodeKeys, bytes, 2)).toBe(false)
  })
})

describe("bytes that were not written here", () => {
  const examples: ReadonlyArray<readonly [typeof decodeColumn, Uint8Array, count: number]> = [
    [decodeColumn, encodeColumn([1, 2, 3]), 3],
    [decodeColumn, encodeColumn([1, 2.5, NaN]), 3],
    [decodeColumn, encodeColumn(["a", null, { b: "ß🌍" }]), 3],
    [decodeKeys, encodeKeys([1, 2]), 2],
    [decodeKeys, encodeKeys([1.5, 2]), 2],
    [decodeKeys, encodeKeys(["a", "ß🌍"]), 2],
    [decodeKeys, encodeKeys(["a", 5n, true, NaN]), 4]
  ]

  it("are malformed at every other length, and for every other count", () => {
    for (const [decode, bytes, count] of examples) {
      expect(decodes(decode, bytes, count)).toBe(true)
      for (let length = 0; length < bytes.length; length++) {
        expect(decodes(decode, bytes.subarray(0, length), count)).toBe(false)
      }
      expect(decodes(decode, Uint8Array.from([...bytes, 0]), count)).toBe(false)
      for (const other of [0, 1, count - 1, count + 1, 100]) {
        if (other !== count) expect(decodes(decode, bytes, other)).toBe(false)
      }
    }
  })

  it("with any bit flipped, are other values or malformed", () => {
    let decoded = 0
    let refused = 0
    for (const [decode, bytes, count] of examples) {
      for (let bit = 0; bit < bytes.length * 8; bit++) {
        const flipped = bytes.slice()
        flipped[bit >> 3]! ^= 1 << (bit & 7)
        if (decodes(decode, flipped, count)) decoded++
        else refused++
      }
    }
    expect(decoded).toBeGreaterThan(0)
    expect(refused).toBeGreaterThan(0)
  })

  it("of any content are values or malformed", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 5 }), fc.uint8Array({ maxLength: 40 }), fc.nat(10), (kind, rest, count) => {
        decodes(decodeColumn, Uint8Array.from([kind, ...rest]), count)
        decodes(decodeKeys, Uint8Array.from([kind, ...rest]), count)
      }),
      { numRuns: runs(500) }
    )
  })

  it.each([
    column(3, ``),
    column(3, `[1,2,3]x`),
    column(3, `{"length":3}`),
    column(3, `"abc"`),
    column(3, `null  `),
    column(3, `[1,2,3,4]`),
    column(3, `\ufeff[1,2,3]`),
    Uint8Array.from([3, 0x5b, 0x22, 0xff, 0x22, 0x2c, 0x31, 0x2c, 0x31, 0x5d]),
    column(4, `[1,2,3]`),
    column(0, `[1,2,3]`),
    column(255, `[1,2,3]`)
  ])("case %# is malformed", (bytes) => {
    expect(decodes(decodeColumn, bytes, 3)).toBe(false)
  })

  it("are malformed if they claim more rows than they can hold, before anything is made of them", () => {
    // From 2^32 on, making an array of so many places would throw a RangeError.
    for (const count of [2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53, Infinity, NaN, -1, 0.5]) {
      for (const kind of [1, 2, 3, 4]) {
        expect(decodes(decodeColumn, Uint8Array.from([kind, 0, 0, 0, 0, 0, 0, 0, 0, 0]), count)).toBe(false)
        expect(decodes(decodeKeys, Uint8Array.from([kind, 0, 0, 0, 0, 0, 0, 0, 0, 0]), count)).toBe(false)
      }
    }
  })

  it("may be deep without end, and neither overflow nor hang", () => {
    const deep = column(4, `[${"[".repeat(200_000)}${"]".repeat(200_000)}]`)
    expect(decodes(decodeKeys, deep, 1)).toBe(false)
    decodes(decodeColumn, Uint8Array.from([3, ...deep.subarray(1)]), 1)
  })

  it("change no prototype", () => {
    const [value] = decodeColumn(column(3, `[{"__proto__":{"polluted":1}}]`), 1)
    expect((value as { polluted?: unknown }).polluted).toBe(undefined)
    expect(({} as { polluted?: unknown }).polluted).toBe(undefined)
  })
})
