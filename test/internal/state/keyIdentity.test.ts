import { describe, expect, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as fc from "fast-check"
import {
  canonicalJson,
  compareIdentity,
  hashKey,
  identifiedKey,
  type Identity,
  identityOf,
  InvalidKey,
  keyGroupOf,
  keyIdentity
} from "../../../src/internal/state/keyIdentity.ts"
import { runs } from "../../laws/runs.ts"

const Point = Schema.Struct({ x: Schema.Number, y: Schema.Number })
const Mixed = Schema.Union([
  Schema.String,
  Schema.Number,
  Schema.BigInt,
  Schema.Boolean,
  Point,
  Schema.Array(Schema.String)
])
const mixed = keyIdentity(Mixed)

const primitive: fc.Arbitrary<Identity> = fc.oneof(fc.string(), fc.double(), fc.integer(), fc.bigInt(), fc.boolean())
const shuffled = (value: unknown): unknown =>
  value === null || typeof value !== "object"
    ? value
    : Array.isArray(value)
    ? value.map(shuffled)
    : Object.fromEntries(Object.entries(value).reverse().map(([name, property]) => [name, shuffled(property)]))

describe("the identity of a key", () => {
  it("is the key itself for primitives", () => {
    for (const key of ["", "a", 1, NaN, Infinity, 1n, true]) expect(mixed(key)).toBe(key)
    expect(mixed(-0)).toBe(0)
    expect(mixed("1")).not.toBe(mixed(1))
  })

  it("is the content for composites, whatever the order of properties", () => {
    expect(mixed({ x: 1, y: 2 })).toBe(mixed({ y: 2, x: 1 }))
    expect(mixed({ x: 0, y: 2 })).toBe(mixed({ y: 2, x: -0 }))
    expect(mixed({ x: 1, y: 2 })).not.toBe(mixed({ x: 2, y: 1 }))
    expect(mixed(["a", "b"])).not.toBe(mixed(["b", "a"]))
  })

  it("never meets that of a string", () => {
    const composite = mixed({ x: 1, y: 2 })
    expect(mixed(String(composite))).not.toBe(composite)
    expect(mixed(String(mixed(String(composite))))).not.toBe(mixed(String(composite)))
  })

  it("is that of the encoded form: dates, bigints and classes are keys", () => {
    class Card extends Schema.Class<Card>("Card")({ number: Schema.BigInt, until: Schema.Date }) {}
    const identity = keyIdentity(Card)
    const card = (until: number) => new Card({ number: 12n, until: new Date(until) })
    expect(identity(card(0))).toBe(identity(card(0)))
    expect(identity(card(0))).not.toBe(identity(card(1)))
    expect(identifiedKey(Card)(identity(card(1)))).toEqual(card(1))
  })

  it("leads back to an equal key", () => {
    const back = identifiedKey(Mixed)
    fc.assert(
      fc.property(
        fc.oneof(primitive, fc.array(fc.string()), fc.record({ x: fc.integer(), y: fc.integer() })),
        (key) => {
          expect(mixed(back(mixed(key)))).toBe(mixed(key))
        }
      ),
      { numRuns: runs(1000) }
    )
  })

  it("refuses what has no content", () => {
    const symbols = keyIdentity(
      Schema.Symbol as unknown as Schema.ConstraintCodec<unknown, unknown>,
      "The operator \"spending\""
    )
    expect(() => symbols(() => 0)).toThrow(InvalidKey)
    expect(() => symbols(() => 0)).toThrow("The operator \"spending\" was given the key")
  })
})

describe("canonical JSON", () => {
  it("parses to the value, and is one text however the value was built", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = canonicalJson(value)
        expect(JSON.stringify(JSON.parse(text))).toBe(JSON.stringify(JSON.parse(canonicalJson(shuffled(value)))))
        expect(text).toBe(canonicalJson(shuffled(value)))
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)))
      }),
      { numRuns: runs(1000) }
    )
  })

  it("has golden texts", () => {
    expect(canonicalJson({ b: [1, -0, 1e21, NaN], a: { d: undefined, c: null }, "": 2n, at: new Date(0) }))
      .toBe(`{"":"2","a":{"c":null},"at":"1970-01-01T00:00:00.000Z","b":[1,0,1e+21,"NaN"]}`)
    expect(canonicalJson([undefined, null, "ß\n"])).toBe(`[null,null,"ß\\n"]`)
  })

  it("refuses what would lose its content", () => {
    for (const value of [new Map([[1, 2]]), new Set([1]), Symbol("a"), () => 0]) {
      expect(() => canonicalJson(value)).toThrow(TypeError)
    }
    expect(identityOf({ b: 1, a: 2 })).toBe(identityOf({ a: 2, b: 1 }))
  })
})

describe("the canonical order of identities", () => {
  it("is total", () => {
    fc.assert(
      fc.property(primitive, primitive, primitive, (a, b, c) => {
        expect(Math.sign(compareIdentity(a, b))).toBe(0 - Math.sign(compareIdentity(b, a)))
        if (compareIdentity(a, b) <= 0 && compareIdentity(b, c) <= 0) {
          expect(compareIdentity(a, c)).toBeLessThanOrEqual(0)
        }
        expect(compareIdentity(a, a)).toBe(0)
      }),
      { numRuns: runs(1000) }
    )
  })
})

describe("the hash of a key", () => {
  it("is MurmurHash3 over UTF-16", () => {
    expect(hashKey("")).toBe(0)
    expect(hashKey("\u4321\u8765")).toBe(0xf55b516b)
    expect(hashKey("\u4321")).toBe(0xa0f7b07a)
  })

  // State is found again by these numbers: a change here is a change of the checkpoint format.
  it.each<[Identity, number, number]>([
    ["a", 1867108634, 26],
    ["user-42", 2703341929, 105],
    ["grüße 🌍", 2010022401, 1],
    [0, 3935659133, 125],
    [1, 1096108556, 12],
    [-1, 2728933689, 57],
    [0.1, 3272091764, 116],
    [NaN, 1265848112, 48],
    [Infinity, 429660644, 100],
    [2 ** 53, 3886237819, 123],
    [0n, 2992457707, 107],
    [1n, 2724904126, 62],
    [-(10n ** 30n), 4206927323, 91],
    [true, 2511813514, 10],
    [false, 821347078, 6],
    [identityOf({ y: 2, x: [1] }), 1704288549, 37]
  ])("of %s never changes", (key, hash, group) => {
    expect(hashKey(key)).toBe(hash)
    expect(keyGroupOf(key)).toBe(group)
  })

  it("is the same for equal keys", () => {
    expect(hashKey(-0)).toBe(hashKey(0))
    const odd = new Float64Array(new BigUint64Array([0x7ff8000000000001n]).buffer)[0]!
    expect(hashKey(odd)).toBe(hashKey(NaN))
  })

  it.each<[string, (i: number) => Identity]>([
    ["whole numbers", (i) => i],
    ["multiples of 1024", (i) => i * 1024],
    ["fractions", (i) => i / 10],
    ["short strings", (i) => `user-${i}`],
    ["bigints", (i) => BigInt(i) * 1_000_000_007n],
    ["composites", (i) => identityOf({ user: i, region: "eu" })]
  ])("spreads %s over the key groups", (_, keyAt) => {
    const keys = 128 * 200
    const groups = new Array<number>(128).fill(0)
    const hashes = new Set<number>()
    for (let i = 0; i < keys; i++) {
      groups[keyGroupOf(keyAt(i))]!++
      hashes.add(hashKey(keyAt(i)))
    }
    // Chi squared with 127 degrees of freedom is 128 ± 16; a hundred thousand keys share a hash about once.
    const chiSquared = groups.reduce((sum, count) => sum + (count - 200) ** 2 / 200, 0)
    expect(chiSquared).toBeGreaterThan(60)
    expect(chiSquared).toBeLessThan(220)
    expect(keys - hashes.size).toBeLessThan(4)
  })
})
