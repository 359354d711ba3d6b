import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import { decodeColumn, decodeKeys, encodeColumn, encodeKeys } from "../../../src/internal/checkpoint/columns.ts"
import { Malformed } from "../../../src/internal/checkpoint/malformed.ts"
import { readSegment, type Section, SegmentWriter } from "../../../src/internal/checkpoint/segment.ts"
import { runs } from "../../laws/runs.ts"

const write = (sections: ReadonlyArray<Section>, maximumBytes = Infinity) => {
  const writer = new SegmentWriter(maximumBytes)
  for (const section of sections) writer.add(section)
  return writer.finish()
}

const section = (
  name: string,
  keys: ReadonlyArray<string>,
  values: ReadonlyArray<unknown>,
  deleted: ReadonlyArray<number>,
  rest: Pick<Section, "kind" | "isFull" | "partition"> = { kind: "table", isFull: false, partition: 3 }
): Section => ({
  operator: name,
  id: `cells ${name}`,
  ...rest,
  count: keys.length,
  columns: [encodeKeys(keys), encodeColumn(values)],
  deletedCount: deleted.length,
  deleted: encodeKeys(deleted)
})

const anySection: fc.Arbitrary<Section> = fc.record({
  name: fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom("__proto__", "\ud800", "ß🌍", "")),
  rows: fc.array(fc.tuple(fc.string(), fc.jsonValue()), { maxLength: 5 }),
  deleted: fc.array(fc.integer(), { maxLength: 5 }),
  rest: fc.record({
    kind: fc.constantFrom<Section["kind"]>("table", "list", "rows"),
    isFull: fc.boolean(),
    partition: fc.nat()
  })
}).map(({ deleted, name, rest, rows }) => {
  const made = section(name, rows.map(([key]) => key), rows.map(([, value]) => value), deleted, rest)
  return deleted.length === 0 ? { ...made, deleted: new Uint8Array(0) } : made
})

const bare = ({ columns, deleted, ...section }: Section) => ({
  ...section,
  columns: columns.map((column) => [...column]),
  deleted: [...deleted]
})

const le32 = (length: number) => [0, 8, 16, 24].map((shift) => length >>> shift & 0xff)
const segment = (header: string, rest: ReadonlyArray<number> = []): Uint8Array => {
  const text = new TextEncoder().encode(header)
  return Uint8Array.from([...new TextEncoder().encode("MLR1"), ...le32(text.length), ...text, ...rest])
}

const good = {
  operator: "spending",
  partition: 3,
  kind: "table",
  id: "cells",
  full: true,
  count: 2,
  columns: [9],
  deletedCount: 1,
  deleted: 5
}
const goodBytes = [1, 7, 0, 0, 0, 8, 0, 0, 0, 1, 9, 0, 0, 0]

const malformed = (bytes: Uint8Array) => {
  let cause: unknown
  try {
    readSegment(bytes)
  } catch (thrown) {
    cause = thrown
  }
  expect(cause).toBeInstanceOf(Malformed)
}

describe("a segment", () => {
  it("gives back its sections, from wherever it starts", () => {
    fc.assert(
      fc.property(fc.array(anySection, { maxLength: 6 }), fc.nat(9), (sections, by) => {
        const blobs = write(sections)
        expect(blobs.length).toBe(sections.length === 0 ? 0 : 1)
        for (const blob of blobs) {
          const buffer = new Uint8Array(blob.length + by + 3).fill(0xff)
          buffer.set(blob, by)
          expect(readSegment(buffer.subarray(by, by + blob.length)).map(bare)).toStrictEqual(sections.map(bare))
        }
      }),
      { numRuns: runs(500) }
    )
  })

  it("ends before it is larger than it may be, unless one section alone is", () => {
    fc.assert(
      fc.property(fc.array(anySection, { maxLength: 12 }), fc.integer({ min: 0, max: 2_000 }), (sections, maximum) => {
        const blobs = write(sections, maximum)
        const read = blobs.map(readSegment)
        expect(read.flat().map(bare)).toStrictEqual(sections.map(bare))
        blobs.forEach((blob, i) => {
          if (read[i]!.length > 1) expect(blob.length).toBeLessThanOrEqual(maximum)
          // The next section would not have found room.
          const next = read[i + 1]?.[0]
          if (next !== undefined) expect(write([...read[i]!, next])[0]!.length).toBeGreaterThan(maximum)
        })
      }),
      { numRuns: runs(300) }
    )
  })

  it("is as large as it may be, and not a byte larger", () => {
    const two = [section("a", ["x"], [1], [2]), section("b", ["y"], [null], [])]
    const size = write(two)[0]!.length
    expect(write(two, size).length).toBe(1)
    expect(write(two, size - 1).length).toBe(2)
  })

  // These bytes are in files that must stay readable for ever.
  it("has known bytes", () => {
    const made: Section = {
      operator: "spending",
      partition: 3,
      kind: "table",
      id: "cells",
      isFull: true,
      count: 2,
      columns: [encodeKeys([7, 8])],
      deletedCount: 1,
      deleted: encodeKeys([9])
    }
    const other: Section = {
      ...made,
      kind: "list",
      isFull: false,
      count: 0,
      columns: [],
      deletedCount: 0,
      deleted: new Uint8Array()
    }
    const header =
      `[{"operator":"spending","partition":3,"kind":"table","id":"cells","full":true,"count":2,"columns":[9],` +
      `"deletedCount":1,"deleted":5},{"operator":"spending","partition":3,"kind":"list","id":"cells","full":false,` +
      `"count":0,"columns":[],"deletedCount":0,"deleted":0}]`
    const known = segment(header, goodBytes)
    expect(Buffer.from(known.subarray(0, 8)).toString("hex")).toBe("4d4c523106010000")
    expect(write([made, other])).toStrictEqual([known])
    expect(readSegment(known).map(bare)).toStrictEqual([made, other].map(bare))
    expect(readSegment(segment("[]"))).toEqual([])
  })

  it("reads without copying", () => {
    const [blob] = write([section("a", ["x"], [1], [2])])
    for (const { columns, deleted } of readSegment(blob!)) {
      for (const column of [...columns, deleted]) expect(column.buffer).toBe(blob!.buffer)
    }
  })

  it("begins anew after it was finished", () => {
    const writer = new SegmentWriter(1_000)
    writer.add(section("a", ["x"], [1], []))
    const first = writer.finish()
    expect(writer.finish()).toEqual([])
    writer.add(section("b", ["x"], [1], []))
    expect(first.length).toBe(1)
    expect(writer.finish().flatMap(readSegment).map(({ operator }) => operator)).toEqual(["b"])
  })

  it.each<[Partial<Section>, string]>([
    [{ count: 3 }, "claims 3 rows for fewer bytes"],
    [{ deletedCount: 3 }, "claims 3 deletions for fewer bytes"],
    [{ columns: [] }, "has rows and no columns"],
    [{ partition: -1 }, "has no whole numbers"],
    [{ count: 0.5 }, "has no whole numbers"]
  ])("does not write what could not be read: %j", (wrong, message) => {
    const writer = new SegmentWriter(1_000)
    const made = { ...section("a", ["x"], [1], [2]), ...wrong }
    expect(() => writer.add(made)).toThrow(`SegmentWriter: the section cells a of a ${message}`)
    expect(writer.finish()).toEqual([])
  })
})

describe("bytes that are no segment", () => {
  const sections = [
    section("a", ["x", "ß"], [1, null], [1, 2]),
    section("b", [], [], []),
    section("c", ["z"], [0.5], [])
  ]
  const [blob] = write(sections) as readonly [Uint8Array]

  it("are malformed at every other length", () => {
    for (let length = 0; length < blob.length; length++) malformed(blob.subarray(0, length))
    malformed(Uint8Array.from([...blob, 0]))
    expect(readSegment(blob).length).toBe(3)
  })

  it("with any bit flipped, are other sections or malformed, and nothing else is thrown", () => {
    let whole = 0
    for (let bit = 0; bit < blob.length * 8; bit++) {
      const flipped = blob.slice()
      flipped[bit >> 3]! ^= 1 << (bit & 7)
      try {
        for (const { columns, count, deleted, deletedCount } of readSegment(flipped)) {
          decodeKeys(columns[0]!, count)
          decodeColumn(columns[1]!, count)
          decodeKeys(deleted, deletedCount)
        }
        whole++
      } catch (cause) {
        expect(cause).toBeInstanceOf(Malformed)
      }
    }
    expect(whole).toBeGreaterThan(0)
    expect(whole).toBeLessThan(blob.length * 8)
  })

  it.each<[string, unknown]>([
    ["operator", 1],
    ["operator", null],
    ["id", undefined],
    ["id", 1],
    ["kind", "rope"],
    ["kind", null],
    ["full", 1],
    ["full", undefined],
    ["partition", -1],
    ["partition", 0.5],
    ["partition", "3"],
    ["count", -1],
    ["count", 2 ** 31],
    ["count", 2 ** 53],
    ["count", 5],
    ["count", null],
    ["columns", 9],
    ["columns", { length: 1 }],
    ["columns", ["9"]],
    ["columns", [-9]],
    ["columns", [8]],
    ["columns", [10]],
    ["columns", [9, 0]],
    ["columns", [2 ** 31]],
    ["columns", [2 ** 53 - 1, 2 ** 53 - 1]],
    ["columns", []],
    ["deletedCount", 2 ** 31],
    ["deletedCount", 3],
    ["deletedCount", -1],
    ["deletedCount", undefined],
    ["deleted", 4],
    ["deleted", 6],
    ["deleted", -1],
    ["deleted", 2 ** 40],
    ["other", 1],
    ["__proto__", { count: 2 }]
  ])("are malformed with %s %j in the header", (name, value) => {
    expect(readSegment(segment(JSON.stringify([good]), goodBytes)).length).toBe(1)
    const header = JSON.stringify([Object.fromEntries([...Object.entries(good), [name, value]])])
    malformed(segment(header, goodBytes))
  })

  it.each([
    "",
    "{}",
    "null",
    "1",
    `"a"`,
    "[1]",
    "[null]",
    "[[]]",
    "[{}]",
    "[] []",
    "[",
    "\ufeff[]",
    "[".repeat(200_000),
    "[".repeat(200_000) + "]".repeat(200_000)
  ])("case %# is malformed as a header", (header) => {
    malformed(segment(header))
  })

  it("are malformed with a header that ends elsewhere, or another magic", () => {
    const bytes = segment(JSON.stringify([good]), goodBytes)
    for (const length of [0, 1, 10, bytes.length - 8, bytes.length, 2 ** 31, 2 ** 32 - 1]) {
      malformed(Uint8Array.from([...bytes.subarray(0, 4), ...le32(length), ...bytes.subarray(8)]))
    }
    expect(() => readSegment(Uint8Array.from([...bytes.subarray(0, 4), ...le32(bytes.length), ...bytes.subarray(8)])))
      .toThrow("a segment that ends inside of its header")
    malformed(Uint8Array.from([...new TextEncoder().encode("MLR2"), ...bytes.subarray(4)]))
    malformed(Uint8Array.from([...bytes.subarray(0, 8), 0xff, ...bytes.subarray(9)]))
  })

  it("are malformed if they claim 2^31 rows in ten bytes", () => {
    malformed(
      segment(
        JSON.stringify([{ ...good, count: 2 ** 31, columns: [10], deletedCount: 0, deleted: 0 }]),
        Array(10).fill(0)
      )
    )
    malformed(segment(JSON.stringify([{ ...good, count: 2 ** 31, columns: [2 ** 33] }]), Array(10).fill(0)))
  })

  it("of any content are sections or malformed", () => {
    fc.assert(
      fc.property(fc.json(), fc.uint8Array({ maxLength: 40 }), (header, rest) => {
        if (header !== "[]" || rest.length > 0) malformed(segment(header, [...rest]))
      }),
      { numRuns: runs(300) }
    )
  })

  it("change no prototype", () => {
    malformed(segment(`[{"__proto__":${JSON.stringify(good)}}]`, goodBytes))
    expect(({} as { count?: unknown }).count).toBe(undefined)
  })
})
