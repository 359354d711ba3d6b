import { describe, expect, it } from "@effect/vitest"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import * as fc from "fast-check"
import { isDeepStrictEqual } from "node:util"
import { Malformed } from "../../../src/internal/checkpoint/malformed.ts"
import { fromJson, NotEncodable, toJson } from "../../../src/internal/checkpoint/plain.ts"
import { runs } from "../../laws/runs.ts"

const text = (value: unknown, opaque?: Array<unknown>) => JSON.stringify(toJson(value, opaque))
const parse = (json: string, opaque?: ReadonlyArray<unknown>) => fromJson(JSON.parse(json) as Schema.Json, opaque)

/** `isDeepStrictEqual` knows prototypes, −0 and NaN; the order of maps and sets shows in the text. */
const expectSame = (actual: unknown, expected: unknown) => {
  if (!isDeepStrictEqual(actual, expected)) expect(actual).toStrictEqual(expected)
  expect(isDeepStrictEqual(actual, expected)).toBe(true)
  expect(text(actual)).toBe(text(expected))
}

const own = (entries: ReadonlyArray<readonly [string, unknown]>, prototype: object | null = Object.prototype) => {
  const target: object = Object.create(prototype)
  for (const [name, value] of entries) {
    Object.defineProperty(target, name, { value, configurable: true, enumerable: true, writable: true })
  }
  return target
}

const anyText = fc.array(fc.oneof(fc.integer({ min: 0, max: 0xffff }), fc.integer({ min: 0xd800, max: 0xdfff })), {
  maxLength: 5
}).map((units) => String.fromCharCode(...units))
const name = fc.oneof(
  fc.constantFrom("~", "~~", "__proto__", "constructor", "toString", "toJSON", "length", "0", "12", "a", ""),
  anyText
)
const { value } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5, depthSize: "small" },
    fc.oneof(
      fc.constantFrom<unknown>(null, undefined, NaN, Infinity, -Infinity, -0, 0, "~", new Date(NaN), Option.none()),
      fc.boolean(),
      anyText,
      fc.double(),
      fc.integer(),
      fc.bigInt(),
      // From one realm, as the dates and bytes of users are.
      fc.integer({ min: -8.64e15, max: 8.64e15 }).map((millis) => new Date(millis)),
      fc.array(fc.nat(255), { maxLength: 10 }).map((bytes) => Uint8Array.from(bytes))
    ),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.array(fc.tuple(name, tie("value")), { maxLength: 4 }).map((entries) => own(entries)),
    fc.array(fc.tuple(name, tie("value")), { maxLength: 4 }).map((entries) => own(entries, null)),
    fc.array(fc.tuple(tie("value"), tie("value")), { maxLength: 3 }).map((entries) => new Map(entries)),
    fc.array(tie("value"), { maxLength: 3 }).map((items) => new Set(items)),
    tie("value").map(Option.some)
  )
}))

class Money {
  readonly cents: number
  constructor(cents: number) {
    this.cents = cents
  }
}

const nested = (levels: number, wrap: (inner: unknown) => unknown): unknown => {
  let value: unknown = 1
  for (let i = 0; i < levels; i++) value = wrap(value)
  return value
}

const wraps: ReadonlyArray<readonly [string, (inner: unknown) => unknown]> = [
  ["arrays", (inner) => [inner]],
  ["objects", (inner) => ({ inner })],
  ["escaped objects", (inner) => ({ "~": inner })],
  ["bare objects", (inner) => own([["inner", inner]], null)],
  ["maps", (inner) => new Map([[inner, inner === 1 ? 2 : 3]])],
  ["sets", (inner) => new Set([inner])],
  ["options", (inner) => Option.some(inner)]
]

const failure = (run: () => unknown): unknown => {
  try {
    run()
  } catch (cause) {
    return cause
  }
  return undefined
}

const notEncodable = (value: unknown): readonly [path: string, kind: string] => {
  const cause = failure(() => toJson(value, undefined))
  if (!(cause instanceof NotEncodable)) throw new Error(`expected NotEncodable, not ${String(cause)}`)
  expect(cause.message).toContain(`${cause.path} is ${cause.kind}`)
  return [cause.path, cause.kind]
}

describe("plain data as JSON", () => {
  it("comes back as it was, through text", () => {
    fc.assert(
      fc.property(value, (value) => {
        const json = toJson(value, undefined)
        expectSame(fromJson(json, undefined), value)
        expectSame(parse(JSON.stringify(json)), value)
        expect(isDeepStrictEqual(JSON.parse(JSON.stringify(json)), json)).toBe(true)
      }),
      { numRuns: runs(2000) }
    )
  })

  it("comes back with an opaque part by reference", () => {
    fc.assert(
      fc.property(value, value, (before, after) => {
        const money = new Money(5)
        const opaque: Array<unknown> = ["of another value"]
        const json = toJson({ before, money, after }, opaque)
        expect(opaque).toStrictEqual(["of another value", money])
        const back = parse(JSON.stringify(json), opaque)
        expect((back as { money: unknown }).money).toBe(money)
        expect(isDeepStrictEqual(back, { before, money, after })).toBe(true)
      }),
      { numRuns: runs(300) }
    )
  })

  // These texts are in files that must stay readable for ever.
  it.each<[unknown, string]>([
    [null, `null`],
    [{ a: 1, b: "x", c: [true, 0.5] }, `{"a":1,"b":"x","c":[true,0.5]}`],
    [undefined, `{"~":["undefined"]}`],
    [{ a: undefined }, `{"a":{"~":["undefined"]}}`],
    [
      [1, NaN, Infinity, -Infinity, -0, 0],
      `[1,{"~":["number","NaN"]},{"~":["number","Infinity"]},{"~":["number","-Infinity"]},{"~":["number","-0"]},0]`
    ],
    [-12n, `{"~":["bigint","-12"]}`],
    [new Date(1_700_000_000_000), `{"~":["date",1700000000000]}`],
    [new Date(NaN), `{"~":["date",null]}`],
    [new Map<unknown, unknown>([["a", 1], [2, [3]]]), `{"~":["map","a",1,2,[3]]}`],
    [new Set(["a", 1]), `{"~":["set","a",1]}`],
    [new Uint8Array([1, 2, 255]), `{"~":["bytes","AQL/"]}`],
    [Option.none(), `{"~":["none"]}`],
    [Option.some(Option.some(1)), `{"~":["some",{"~":["some",1]}]}`],
    [{ a: 1, "~": ["some", 1] }, `{"~":["object","a",1,"~",["some",1]]}`],
    [own([["a", 1], ["~", 2]], null), `{"~":["bare","a",1,"~",2]}`],
    [own([["__proto__", { polluted: true }]]), `{"__proto__":{"polluted":true}}`],
    ["\ud800", `"\\ud800"`]
  ])("%o has a known text", (value, known) => {
    expect(text(value)).toBe(known)
    expectSame(parse(known), value)
  })

  it("has a known text for an opaque value", () => {
    const money = new Money(5)
    const opaque = [1, 2]
    expect(text([money], opaque)).toBe(`[{"~":["opaque",2]}]`)
    expect(parse(`[{"~":["opaque",2]}]`, opaque)).toStrictEqual([money])
  })

  it("reads the holes of an array as undefined", () => {
    // oxlint-disable-next-line no-sparse-arrays
    expect(text([1, , 3])).toBe(`[1,{"~":["undefined"]},3]`)
    const back = parse(text(new Array(2)))
    expect(Object.keys(back as object)).toEqual(["0", "1"])
  })

  it("gives options that are options", () => {
    const back = parse(text([Option.some(1), Option.none()])) as ReadonlyArray<Option.Option<number>>
    expect(back.map(Option.getOrElse(() => 7))).toEqual([1, 7])
    expect(back[1]).toBe(Option.none())
  })

  it("leaves alone what already is JSON", () => {
    const common = { name: "a", count: 3, tags: ["x", "y"], inner: { empty: null, nothing: [] } }
    expect(toJson(common, undefined)).toBe(common)
    expect(fromJson(common, undefined)).toBe(common)
    const mixed = { common, when: new Date(0) }
    expect((toJson(mixed, undefined) as { common: unknown }).common).toBe(common)
    expect(toJson(Object.freeze({ a: Object.freeze([1]) }), undefined)).toEqual({ a: [1] })
  })

  it("does not change what it encodes", () => {
    const value = { a: 1, b: undefined, c: [1, new Date(0)] }
    toJson(value, undefined)
    expect(value).toStrictEqual({ a: 1, b: undefined, c: [1, new Date(0)] })
  })

  it("takes no notice of properties that objects inherit", () => {
    // As in a realm whose prototypes are frozen, where assigning to an inherited name throws.
    // oxlint-disable-next-line no-extend-native
    Object.defineProperty(Object.prototype, "sentinel", { value: 1, configurable: true, writable: false })
    try {
      const value = own([["a", undefined], ["sentinel", 2]])
      expect(isDeepStrictEqual(parse(text(value)), value)).toBe(true)
    } finally {
      Reflect.deleteProperty(Object.prototype, "sentinel")
    }
  })
})

describe("what is not plain data", () => {
  class Items extends Array<number> {}
  class Index extends Map<string, number> {}
  const hidden = Object.defineProperty({ a: 1 }, "b", { value: 2, enumerable: false })

  it.each<[unknown, path: string, kind: string]>([
    [new Money(1), "value", "an instance of Money"],
    [{ items: [1, 2, 3, { when: new Money(1) }] }, "value.items[3].when", "an instance of Money"],
    [[() => 1], "value[0]", "a function"],
    [{ "a b": Symbol("s") }, `value["a b"]`, "a symbol"],
    [{ x: new Float64Array(1) }, "value.x", "an instance of Float64Array"],
    [Buffer.from("a"), "value", "an instance of Buffer"],
    [new Map([["k", [/a/]]]), `value.get("k")[0]`, "an instance of RegExp"],
    [new Map([[{}, Symbol("s")]]), "value.values()[0]", "a symbol"],
    [new Map([[1, 1], [Symbol("s"), 1]] as Array<[unknown, unknown]>), "value.keys()[1]", "a symbol"],
    [new Set([1, new WeakMap()]), "value.values()[1]", "an instance of WeakMap"],
    [Option.some({ a: Promise.resolve() }), "value.value.a", "an instance of Promise"],
    [{ "~": new Error("no") }, `value["~"]`, "an instance of Error"],
    [own([["a", () => 1]], null), "value.a", "a function"],
    [Object.create({}), "value", "an object with a prototype of its own"],
    [{ [Symbol("s")]: 1 }, "value", "an object with symbols or hidden properties"],
    [{ hidden }, "value.hidden", "an object with symbols or hidden properties"],
    ["abc".match(/b/), "value", "an array with properties of its own"],
    [Object.assign([1], { "01": 1 }), "value", "an array with properties of its own"],
    [Object.assign([1], { "4294967295": 1 }), "value", "an array with properties of its own"],
    [Object.assign([1], { [Symbol("s")]: 1 }), "value", "an array with properties of its own"],
    [new Items(), "value", "an instance of Items"],
    [Object.assign(new Date(0), { zone: "UTC" }), "value", "a Date with properties of its own"],
    [Object.assign(new Set(), { zone: "UTC" }), "value", "a Set with properties of its own"],
    [new Index(), "value", "an instance of Index"]
  ])("%o is refused by its place and kind, or opaque", (value, path, kind) => {
    expect(notEncodable(value)).toEqual([path, kind])
    const opaque: Array<unknown> = []
    const json = JSON.stringify(toJson(value, opaque))
    expect(opaque.length).toBe(1)
    expect(isDeepStrictEqual(parse(json, opaque), value)).toBe(true)
  })

  it("is opaque as a whole if it has a cycle", () => {
    const node: Record<string, unknown> = { money: new Money(1) }
    node["self"] = { node }
    const opaque: Array<unknown> = ["before"]
    expect(toJson(node, opaque)).toEqual({ "~": ["opaque", 1] })
    expect(opaque).toEqual(["before", node])
    expect(notEncodable({ a: { self: node["self"] } })[1]).toBe("an instance of Money")
    delete node["money"]
    const [path, kind] = notEncodable(node)
    expect(kind).toBe("part of a cycle")
    expect(path).toMatch(/^value\.self\.node\.self\.node.{20,300}$/)
    expect(fromJson(toJson([[node]], opaque), opaque)).toStrictEqual([[node]])
  })

  it("finds cycles through every container, and in moderate time", () => {
    for (const [, wrap] of wraps.slice(0, 4)) {
      const target: Array<unknown> = []
      target.push(wrap(target))
      expect(notEncodable(target)[1]).toBe("part of a cycle")
    }
    const map = new Map<unknown, unknown>()
    map.set("a", Option.some(new Set([map])))
    expect(notEncodable(map)[1]).toBe("part of a cycle")
    const large: Array<unknown> = Array.from({ length: 20_000 }, (_, i) => [i])
    large.push(large)
    const opaque: Array<unknown> = []
    expect(toJson(large, opaque)).toEqual({ "~": ["opaque", 0] })
    expect(opaque[0]).toBe(large)
  })

  it("does not take a value that is there twice for a cycle", () => {
    const shared = nested(50, (inner) => [inner])
    expectSame(parse(text([shared, { shared }])), [shared, { shared }])
  })

  it.each(wraps)("stops at 1,000 levels: %s", (_, wrap) => {
    const deep = nested(1_000, wrap)
    const json = JSON.stringify(toJson(deep, undefined))
    expect(JSON.stringify(toJson(parse(json), undefined))).toBe(json)
    const deeper = wrap(deep)
    expect(notEncodable(deeper)[1]).toBe("inside of more than 1,000 others")
    const opaque: Array<unknown> = []
    expect(toJson(deeper, opaque)).toEqual({ "~": ["opaque", 0] })
    expect(opaque[0]).toBe(deeper)
  })
})

describe("JSON that was not written here", () => {
  const malformed = (json: string, opaque?: ReadonlyArray<unknown>) =>
    expect(failure(() => parse(json, opaque)), json.slice(0, 80)).toBeInstanceOf(Malformed)

  const wrong = [
    `{"~":1}`,
    `{"~":null}`,
    `{"~":{}}`,
    `{"~":[]}`,
    `{"~":["undefined"],"a":1}`,
    `{"a":1,"~":["undefined"]}`,
    `{"~":["undefined",1]}`,
    `{"~":["none",1]}`,
    `{"~":["some"]}`,
    `{"~":["some",1,2]}`,
    `{"~":["unknown",1]}`,
    `{"~":["toString",1]}`,
    `{"~":["__proto__",1]}`,
    `{"~":[["some"],1]}`,
    `{"~":["number",1]}`,
    `{"~":["number","1"]}`,
    `{"~":["number","nan"]}`,
    `{"~":["bigint",1]}`,
    `{"~":["bigint",""]}`,
    `{"~":["bigint","0x1"]}`,
    `{"~":["bigint","-0"]}`,
    `{"~":["bigint"," 1"]}`,
    `{"~":["date","1970-01-01"]}`,
    `{"~":["date",0.5]}`,
    `{"~":["date",8640000000000001]}`,
    `{"~":["bytes",1]}`,
    `{"~":["bytes","A"]}`,
    `{"~":["bytes","A==="]}`,
    `{"~":["bytes","AQ=A"]}`,
    `{"~":["bytes","\u00e9AAA"]}`,
    `{"~":["map",1]}`,
    `{"~":["map",1,2,1,3]}`,
    `{"~":["map",[1,2]]}`,
    `{"~":["set",1,1]}`,
    `{"~":["object","~"]}`,
    `{"~":["object","a",1]}`,
    `{"~":["object"]}`,
    `{"~":["object",1,1,"~",2]}`,
    `{"~":["object","~",1,"~",2]}`,
    `{"~":["bare","a",1,"a",2]}`,
    `{"~":["bare",null,1]}`,
    `{"~":["opaque",0]}`
  ]

  it.each(wrong)("%s is malformed, wherever it is", (json) => {
    malformed(json)
    malformed(`[1,${json}]`)
    malformed(`{"a":{"b":${json}}}`)
    malformed(`{"~":["map",${json},1]}`)
    malformed(`{"~":["set",${json}]}`)
    malformed(`{"~":["some",${json}]}`)
    malformed(`{"~":["object","~",${json}]}`)
  })

  it.each(["0", "-1", "1", "0.5", "1e9", `"0"`, `"length"`, "null", `{"~":["number","NaN"]}`])(
    "the opaque value %s is malformed unless it was kept",
    (index) => {
      malformed(`{"~":["opaque",${index}]}`)
      malformed(`{"~":["opaque",${index}]}`, [])
      if (index !== "0") malformed(`{"~":["opaque",${index}]}`, ["kept"])
    }
  )

  it("is no JSON at all", () => {
    for (const value of [undefined, 1n, () => 1, Symbol("s")]) {
      expect(failure(() => fromJson([value] as unknown as Schema.Json, []))).toBeInstanceOf(Malformed)
    }
  })

  it.each([
    ["[", "]"],
    [`{"a":`, "}"],
    [`{"~":["some",`, "]}"],
    [`{"~":["map",`, ",1]}"],
    [`{"~":["set",`, "]}"],
    [`{"~":["object","~",`, "]}"]
  ])("is too deep: %s", (open, close) => {
    for (const levels of [1_001, 5_000, 200_000]) {
      malformed(open.repeat(levels) + "1" + close.repeat(levels))
    }
    expect(failure(() => parse(open.repeat(1_000) + "1" + close.repeat(1_000)))).toBe(undefined)
  })

  const prototypes = [
    Object,
    Array,
    Map,
    Set,
    Date,
    Uint8Array,
    Function,
    String,
    Number
  ].map(({ prototype }): object => prototype).concat(
    Object.getPrototypeOf(Option.none()),
    Object.getPrototypeOf(Option.some(1))
  )
  const sentinel = () =>
    prototypes.flatMap((prototype) => [
      Object.getPrototypeOf(prototype) as unknown,
      ...Reflect.ownKeys(prototype).flatMap((name) => {
        const property = Object.getOwnPropertyDescriptor(prototype, name)!
        return [name, property.value, property.get, property.set, property.configurable, property.writable]
      })
    ])
  const expectUnchanged = (before: ReadonlyArray<unknown>) => {
    const after = sentinel()
    expect(after.length).toBe(before.length)
    expect(after.every((part, i) => Object.is(part, before[i]))).toBe(true)
  }

  it("changes no prototype", () => {
    const before = sentinel()
    const payloads = [
      `{"__proto__":{"polluted":1}}`,
      `{"__proto__":{"polluted":{"~":["undefined"]}},"a":{"~":["bigint","1"]}}`,
      `{"constructor":{"prototype":{"polluted":{"~":["bigint","1"]}}}}`,
      `{"~":["object","~",1,"__proto__",{"polluted":1}]}`,
      `{"~":["bare","__proto__",{"polluted":1}]}`,
      `[{"a":{"~":["undefined"]},"__proto__":{"~":["object","~",1,"__proto__",{"polluted":1}]}}]`,
      `{"~":["map","__proto__",{"polluted":1}]}`
    ]
    for (const payload of payloads) {
      const value = parse(payload)
      expect((value as { polluted?: unknown }).polluted).toBe(undefined)
      expect(({} as { polluted?: unknown }).polluted).toBe(undefined)
      toJson(value, undefined)
    }
    expect(parse(payloads[1]!)).toHaveProperty(["a"], 1n)
    expect(Object.hasOwn(parse(payloads[1]!) as object, "__proto__")).toBe(true)
    expectUnchanged(before)
  })

  it("with any bit flipped, is another value or malformed", () => {
    const bytes = new TextEncoder().encode(text({
      a: [1, undefined, NaN, -3n, new Date(5), new Date(NaN)],
      b: new Map<unknown, unknown>([["k", new Set([1, "x"])], [{ "~": 1 }, own([["y", 2]], null)]]),
      c: new Uint8Array([1, 2, 3, 4]),
      d: Option.some(Option.none())
    }))
    const before = sentinel()
    let decoded = 0
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = bytes.slice()
      flipped[bit >> 3]! ^= 1 << (bit & 7)
      let json: Schema.Json
      try {
        json = JSON.parse(new TextDecoder().decode(flipped)) as Schema.Json
      } catch {
        continue
      }
      const cause = failure(() => fromJson(json, undefined))
      if (cause === undefined) decoded++
      else expect(cause).toBeInstanceOf(Malformed)
    }
    expect(decoded).toBeGreaterThan(0)
    expectUnchanged(before)
  })

  it("of any shape is a value that comes back, or malformed", () => {
    const tags = [
      "undefined",
      "none",
      "some",
      "number",
      "bigint",
      "date",
      "bytes",
      "map",
      "set",
      "object",
      "bare",
      "opaque"
    ]
    const { hostile } = fc.letrec<{ hostile: Schema.Json }>((tie) => ({
      hostile: fc.oneof(
        { maxDepth: 4 },
        fc.oneof(
          fc.constantFrom<Schema.Json>(null, "NaN", "-0", "12", "~", "__proto__", "AQL/", "AQM=", 0, 1, -1, 0.5, 1e300),
          fc.constantFrom(...tags)
        ),
        fc.array(tie("hostile"), { maxLength: 4 }),
        fc.array(fc.tuple(name, tie("hostile")), { maxLength: 3 }).map((entries) => own(entries) as Schema.Json),
        fc.tuple(fc.constantFrom(...tags), fc.array(tie("hostile"), { maxLength: 4 }))
          .map(([tag, rest]) => ({ "~": [tag, ...rest] }))
      )
    }))
    const before = sentinel()
    let decoded = 0
    fc.assert(
      fc.property(hostile, (json) => {
        let value: unknown
        try {
          value = fromJson(json, ["kept"])
        } catch (cause) {
          expect(cause).toBeInstanceOf(Malformed)
          return
        }
        decoded++
        expectSame(parse(text(value)), value)
      }),
      { numRuns: runs(3000) }
    )
    expect(decoded).toBeGreaterThan(0)
    expectUnchanged(before)
  })
})
