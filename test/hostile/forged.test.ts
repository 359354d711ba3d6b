/**
 * Checkpoints made by somebody who means harm, with the right checksums. They are refused in the typed channel, or they mean
 * what they say: nothing is thrown past it, no prototype changes, and nothing is allocated for the sake of a number alone.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, FileSystem, Option, Schema } from "effect"
import { Checkpoint, CheckpointStore, FlowError, Sink, Source } from "millrace"
import { packChunks, unpackChunks } from "../../src/internal/checkpoint/chunks.ts"
import { decodeColumn, decodeKeys, encodeColumn, encodeKeys } from "../../src/internal/checkpoint/columns.ts"
import { readFlight, Tables } from "../../src/internal/checkpoint/contents.ts"
import { crcOf, sha256Hex } from "../../src/internal/checkpoint/digest.ts"
import { Malformed } from "../../src/internal/checkpoint/malformed.ts"
import { decodeManifest, type Manifest } from "../../src/internal/checkpoint/manifest.ts"
import { fromJson, toJson } from "../../src/internal/checkpoint/plain.ts"
import { rowsSection, tableSection } from "../../src/internal/checkpoint/sections.ts"
import { readSegment, SegmentWriter } from "../../src/internal/checkpoint/segment.ts"
import { checkedText, textOf } from "../../src/internal/checkpoint/valueFile.ts"
import { readEpoch } from "../../src/internal/runtime/recovery.ts"
import { memoryStore } from "../../src/internal/stores/memoryStore.ts"
import { Outside, pass, random, run, type Store, toTheEnd } from "../recovery/world.ts"
import { deep, isDeep } from "../support/deep.ts"
import { headOn, inFiles, kind, left, onDisk } from "./world.ts"

const job = "tumbling"
const disk = await left(8)
const head = headOn(disk)

/** The text of the newest manifest and what it names, from the disk. */
const { blobs, text } = await Effect.runPromise(inFiles(disk.fileSystem, (store) =>
  Effect.gen(function*() {
    const { blobs, manifest } = yield* readEpoch(store, job, head)
    const all = new Map(Array.from(blobs, ([id, { bytes }]) => [id, bytes] as const))
    for (const { id } of manifest.chain.flatMap(({ blobs }) => blobs)) {
      all.set(id, Option.getOrThrow(yield* store.blob(job, id)).bytes)
    }
    return { blobs: all, text: new TextDecoder().decode(Option.getOrThrow(yield* store.manifest(job, head))) }
  })))
const json = text.slice(0, text.indexOf("\n"))

const utf8 = new TextEncoder()

/** A manifest with the digest that belongs to it. */
const signed = (json: string): Uint8Array => utf8.encode(`${json}\n${sha256Hex(utf8.encode(json))}\n`)

/** What every object inherits, before and after: nobody may add to it. */
const prototypes = [Object.prototype, Array.prototype, Function.prototype, Map.prototype, String.prototype]
const inherited = () => prototypes.map((prototype) => JSON.stringify(Reflect.ownKeys(prototype).map(String)))
const sentinel = Object.freeze({ names: inherited(), empty: Object.freeze({}) })

const assertUntouched = (what: string): void => {
  assert.deepStrictEqual(inherited(), sentinel.names, what)
  assert.strictEqual(Object.getPrototypeOf(sentinel.empty), Object.prototype, what)
  assert.notProperty({}, "polluted", what)
}

/** What a decoder answers, or that it refuses; anything but `Malformed` fails the test. */
const decoded = (what: string, decode: () => unknown): "read" | "refused" => {
  try {
    decode()
    return "read"
  } catch (error) {
    if (error instanceof Malformed) return "refused"
    throw new Error(`${what} threw ${String(error)}`, { cause: error })
  }
}

const nested = (depth: number, open = "[", close = "]"): string => open.repeat(depth) + close.repeat(depth)

/** Texts of JSON that somebody could put anywhere. */
const hostileJson: ReadonlyArray<string> = [
  "null",
  "0",
  "-1",
  "-0",
  "1e400",
  "0.5",
  "9007199254740993",
  "\"NaN\"",
  "\"Infinity\"",
  "[]",
  "{}",
  "true",
  "\"\"",
  "\"\\ud800\"",
  "\"\\u0000\"",
  "\"\\u0000|\"",
  "\"\\u0000-\"",
  "\"\\u0000{\"",
  "{\"__proto__\":{\"polluted\":true}}",
  "{\"constructor\":{\"prototype\":{\"polluted\":true}}}",
  "{\"toString\":null}",
  "{\"a\":1,\"a\":2}",
  "{\"~\":[\"map\",1]}",
  "{\"~\":[\"bytes\",\"!\"]}",
  "{\"~\":1}",
  "{\"~\":[\"object\",\"__proto__\",{\"polluted\":true}]}",
  "{\"~\":[\"opaque\",0]}",
  "[[9007199254740991,0]]",
  "4294967295",
  "9007199254740991",
  "[0,4294967295]",
  nested(1_000_000),
  nested(5_000),
  nested(100_000, "{\"a\":", "}").replace("{\"a\":}", "{\"a\":1}"),
  "[\"\\u0000\",\"\\u0000\"]"
]

/** Every place in a value of JSON, as the path to it. */
const places = (value: unknown, path: ReadonlyArray<string | number> = []): Array<ReadonlyArray<string | number>> => {
  if (typeof value !== "object" || value === null) return [path]
  const inner = Array.isArray(value)
    ? value.flatMap((item, i) => places(item, [...path, i]))
    : Object.entries(value).flatMap(([name, item]) => places(item, [...path, name]))
  return [path, ...inner]
}

/** Stands for a text that is put in when the rest has become one: some texts are values that nothing can hold. */
const mark = "@@@"

/** The text of a value with something else in one place. */
const grafted = (value: unknown, path: ReadonlyArray<string | number>, graft: string): string => {
  if (path.length === 0) return graft
  const copy: unknown = structuredClone(value)
  let at = copy as Record<string | number, unknown>
  for (const step of path.slice(0, -1)) at = at[step] as Record<string | number, unknown>
  at[path.at(-1)!] = mark
  return JSON.stringify(copy).replace(`"${mark}"`, () => graft)
}

/** Takes something away, or has it twice, or a number moved a little. */
const altered = (value: unknown, path: ReadonlyArray<string | number>, next: (n: number) => number): string => {
  const copy: unknown = structuredClone(value)
  let at = copy as Record<string | number, unknown>
  for (const step of path.slice(0, -1)) at = at[step] as Record<string | number, unknown>
  const last = path.at(-1)
  if (last === undefined) return "{}"
  const found = at[last]
  if (typeof found === "number" && next(2) === 0) at[last] = [found + 1, -found, found * 2 ** 40, found + 0.5][next(4)]
  else if (Array.isArray(at) && next(2) === 0) at.splice(Number(last), 0, found)
  else if (Array.isArray(at)) at.splice(Number(last), 1)
  else delete at[last]
  return JSON.stringify(copy)
}

const bytesAltered = (bytes: Uint8Array, next: (n: number) => number): Uint8Array => {
  const copy = bytes.slice()
  if (copy.length === 0) return copy
  for (let n = 1 + next(3); n > 0; n--) {
    switch (next(4)) {
      case 0:
        copy[next(copy.length)] = next(256)
        break
      case 1:
        if (copy.length >= 4) {
          const view = new DataView(copy.buffer)
          const numbers = [0, 1, 0x40000000, 0x7fffffff, 0xffffffff, copy.length, copy.length + 1]
          view.setUint32(next(copy.length - 3), numbers[next(numbers.length)]!, true)
        }
        break
      case 2:
        return copy.slice(0, next(copy.length + 1))
      default: {
        const from = next(copy.length)
        copy.copyWithin(next(copy.length), from, from + next(32))
      }
    }
  }
  return copy
}

/** A segment whose header is any text. */
const segmentOf = (header: string, contents: Uint8Array): Uint8Array => {
  const text = utf8.encode(header)
  const bytes = new Uint8Array(8 + text.length + contents.length)
  bytes.set(utf8.encode("MLR1"))
  new DataView(bytes.buffer).setUint32(4, text.length, true)
  bytes.set(text, 8)
  bytes.set(contents, 8 + text.length)
  return bytes
}

const played = (bytes: Uint8Array): void => {
  const tables = new Tables()
  tables.play(bytes)
  tables.table("o", 0, "t")
}

const place = { operator: "o", partition: 0, id: "t" }

const segment = ((): Uint8Array => {
  const writer = new SegmentWriter(1e6)
  writer.add(tableSection(place, true, ["a", 1, true], [[1, 2, 3], [["x"], { y: 1 }, null]], ["gone"]))
  writer.add(tableSection(place, false, ["b"], [[1.5], ["z"]], []))
  return writer.finish()[0]!
})()

const flight = ((): Uint8Array => {
  const writer = new SegmentWriter(1e6)
  writer.add(rowsSection(place, [{ a: 1 }, "b"], [1, NaN], ["k", undefined], [0, 5]))
  return writer.finish()[0]!
})()

const chunks = packChunks([{ bytes: utf8.encode("[1,2]") }, { bytes: utf8.encode("[3]") }]).bytes

describe("a decoder refuses, and does nothing else to, what is", () => {
  it("any JSON in any place of a manifest", () => {
    const value: unknown = JSON.parse(json)
    const all = places(value)
    let [read, refused] = [0, 0]
    all.forEach((path, i) => {
      // The deep ones are slow, and one place is like another to them.
      for (const graft of hostileJson) {
        if (i % (graft.length > 1000 ? deep(64, 2) : deep(4, 1)) !== 0) continue
        const what = `${graft.slice(0, 40)} at ${path.join(".")}`
        if (decoded(what, () => decodeManifest(signed(grafted(value, path, graft)))) === "read") read++
        else refused++
      }
    })
    for (const graft of hostileJson) decoded(graft.slice(0, 40), () => decodeManifest(signed(graft)))
    assertUntouched("manifests")
    assert.isAbove(refused, all.length * deep(1, 5))
    if (isDeep) console.log(`forged: manifests: ${read} read, ${refused} refused`)
  })

  it("plain data of hostile forms", () => {
    for (const graft of hostileJson) {
      const parsed = JSON.parse(graft) as Schema.Json
      decoded(graft.slice(0, 40), () => fromJson(parsed, undefined))
      decoded(graft.slice(0, 40), () => fromJson([parsed, { a: parsed }], []))
    }
    assert.strictEqual(decoded("deep", () => fromJson(JSON.parse(nested(1_000_000)), undefined)), "refused")
    const own = fromJson(JSON.parse("{\"__proto__\":{\"polluted\":{\"~\":[\"undefined\"]}},\"b\":1}"), undefined)
    assert.isTrue(Object.hasOwn(own as object, "__proto__"))
    assert.strictEqual(Object.getPrototypeOf(own), Object.prototype)
    assertUntouched("plain data")
  })

  it("a length or a count without the bytes for it", () => {
    const giants = [2 ** 30, 2 ** 31, 2 ** 32 - 1, 2 ** 53 - 1]
    // More than this would be memory for nothing.
    const allowance = 64 * 1024 * 1024
    const before = process.memoryUsage()
    for (const giant of giants) {
      const header = { ...place, kind: "table", full: true, count: giant, columns: [9, 9], deletedCount: 0, deleted: 0 }
      for (
        const forged of [
          header,
          { ...header, count: 1, columns: [giant, 9] },
          { ...header, count: 0, columns: [], deletedCount: giant, deleted: 9 },
          { ...header, count: 0, columns: [], deleted: giant }
        ]
      ) {
        const bytes = segmentOf(JSON.stringify([forged]), new Uint8Array(18))
        assert.strictEqual(decoded("a segment", () => played(bytes)), "refused")
      }
      for (const decode of [decodeColumn, decodeKeys]) {
        for (const kind of [1, 2, 3, 4]) {
          const bytes = Uint8Array.of(kind, ...utf8.encode("[1,2]"))
          assert.strictEqual(decoded("a column", () => decode(bytes, giant)), "refused")
        }
      }
      const long = new Uint8Array(16)
      new DataView(long.buffer).setUint32(0, Math.min(giant, 2 ** 32 - 1), true)
      assert.strictEqual(decoded("pieces", () => unpackChunks(long, undefined)), "refused")
      const longSegment = segment.slice()
      new DataView(longSegment.buffer).setUint32(4, Math.min(giant, 2 ** 32 - 1), true)
      assert.strictEqual(decoded("a header", () => readSegment(longSegment)), "refused")
    }
    const after = process.memoryUsage()
    assert.isBelow(after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers, allowance)
  })

  it("columns that multiply", () => {
    // Many rows in one column, then one row in many columns: filled up, that would be ten billion places.
    const writer = new SegmentWriter(1e9)
    const rows = Array.from({ length: 100_000 }, (_, i) => i)
    writer.add(tableSection(place, true, rows, [rows], []))
    writer.add(tableSection(place, false, [-1], Array.from({ length: 100_000 }, () => [1]), []))
    const [bomb] = writer.finish()
    assert.strictEqual(decoded("a bomb", () => played(bomb!)), "refused")
  })

  it("event time that is nowhere", () => {
    const writer = new SegmentWriter(1e6)
    writer.add(rowsSection(place, [1], [0], ["k"], [NaN]))
    assert.strictEqual(decoded("rows", () => readFlight(writer.finish()[0]!, undefined)), "refused")
  })

  it("anything that is made by changing what is right", () => {
    const next = random(5)
    const began = Date.now()
    const total = deep(6_000, 1_000_000)
    const value: unknown = JSON.parse(json)
    const all = places(value)
    const plain = toJson(
      { a: [1, undefined, 5n], b: new Map([[{ x: 1 }, new Set([1])]]), c: new Date(0), "~": Option.some(1) },
      undefined
    )
    const inner = places(plain)
    const column = encodeColumn([{ a: 1 }, "b", -0])
    const keys = encodeKeys(["a", 1n, true])
    const doubles = encodeColumn([1.5, NaN])
    const file = textOf(plainValue)
    const fileValue: unknown = JSON.parse(file)
    const filePlaces = places(fileValue)
    const outcomes = { read: 0, refused: 0 }
    for (let n = 0; n < total; n++) {
      const what = `${n}`
      switch (next(10)) {
        case 0:
          outcomes[decoded(what, () => decodeManifest(signed(altered(value, all[next(all.length)]!, next))))]++
          break
        case 1: {
          const forged = signed(new TextDecoder().decode(bytesAltered(utf8.encode(json), next)).replaceAll("\n", " "))
          outcomes[decoded(what, () => decodeManifest(forged))]++
          break
        }
        case 2:
          outcomes[decoded(what, () => played(bytesAltered(segment, next)))]++
          break
        case 3:
          outcomes[decoded(what, () => readFlight(bytesAltered(flight, next), undefined))]++
          break
        case 4:
          outcomes[decoded(what, () => unpackChunks(bytesAltered(chunks, next), undefined))]++
          break
        case 5:
          outcomes[
            decoded(what, () => {
              fromJson(JSON.parse(altered(plain, inner[next(inner.length)]!, next)), undefined)
            })
          ]++
          break
        case 6:
          outcomes[decoded(what, () => decodeColumn(bytesAltered(column, next), 3))]++
          break
        case 7:
          outcomes[decoded(what, () => decodeKeys(bytesAltered(keys, next), 3))]++
          break
        case 8:
          outcomes[decoded(what, () => decodeColumn(bytesAltered(doubles, next), 2))]++
          break
        default: {
          const { checksum: _, ...content } = JSON.parse(altered(fileValue, filePlaces[next(filePlaces.length)]!, next))
          try {
            Schema.decodeUnknownSync(Checkpoint.schema)(checkedText(utf8.encode(textOf(content))))
            outcomes.read++
          } catch (error) {
            // What `readFile` makes a refusal of.
            assert.instanceOf(error, Error, what)
            outcomes.refused++
          }
        }
      }
    }
    assertUntouched("mutants")
    assert.isAbove(outcomes.refused, total / 3)
    assert.isAbove(outcomes.read, total / 100)
    if (isDeep) {
      console.log(
        `forged: ${total} mutants ${JSON.stringify(outcomes)} in ${((Date.now() - began) / 1000).toFixed(1)} s`
      )
    }
  })
})

// ---------------------------------------------------------------------------------------------------------------------
// runs
// ---------------------------------------------------------------------------------------------------------------------

/** A store that holds one epoch, made by whoever. */
const holding = (manifest: Uint8Array, pieces: ReadonlyMap<string, Uint8Array> = blobs): Effect.Effect<Store> =>
  Effect.gen(function*() {
    const store: Store = { ...memoryStore(), isDurable: true }
    const attempt = yield* store.acquire(job)
    yield* store.commit({
      job,
      attempt,
      epoch: head,
      previous: 0,
      digest: "d",
      manifest,
      blobs: Array.from(pieces, ([id, bytes]) => ({ id, bytes })),
      drop: { epochs: [], blobs: [] },
      alongside: []
    })
    return store
  }).pipe(Effect.orDie)

/** On sinks that stand where the checkpoint that was forged knows them. */
const livedOn = (store: Effect.Effect<Store>, start?: Checkpoint.Checkpoint) => {
  const own = disk.copy()
  const outside = new Outside(onDisk(own))
  const life = Effect.flatMap(
    store,
    (store) => toTheEnd(kind.make(outside.parts((_, effect) => effect, () => pass(2))), store, {})
  ).pipe(
    Effect.provideService(FileSystem.FileSystem, own.fileSystem)
  )
  return run(start === undefined ? life : Effect.provide(life, Checkpoint.layer(start)), 3, { pace: 5 })
}

const isTyped = (error: unknown): boolean =>
  error instanceof FlowError.CheckpointRefused || error instanceof FlowError.SinkAheadOfCheckpoint
  || error instanceof CheckpointStore.CheckpointStoreError || error instanceof CheckpointStore.Fenced
  || error instanceof Source.FileError || error instanceof Sink.SinkFenced

const assertTyped = (exit: Exit.Exit<unknown, unknown>, what: string): void => {
  if (Exit.isSuccess(exit)) return
  const error = Exit.findErrorOption(exit)
  assert.isTrue(Option.isSome(error) && isTyped(error.value), `${what}: ${String(exit.cause)}`)
}

const plainValue = await Effect.runPromise(
  Effect.map(
    Checkpoint.atEpoch(job, head).pipe(
      Effect.provideServiceEffect(CheckpointStore.CheckpointStore, holding(signed(json)))
    ),
    (value) => Schema.encodeSync(Checkpoint.schema)(value)
  )
)

describe("a job that is given a forged checkpoint", () => {
  it("goes on from one that is as it should be", async () => {
    const exit = await livedOn(holding(signed(json)))
    assert.isTrue(Exit.isSuccess(exit), String(exit))
  })

  it("says so in the typed channel, wherever the manifest lies", async () => {
    const value: unknown = JSON.parse(json)
    const next = random(9)
    const all = places(value)
    const began = Date.now()
    const outcomes = { read: 0, refused: 0 }
    const total = deep(250, 20_000)
    for (let n = 0; n < total; n++) {
      const path = all[next(all.length)]!
      const small = hostileJson.filter((graft) => graft.length < 1000)
      const forged = next(2) === 0 ? altered(value, path, next) : grafted(value, path, small[next(small.length)]!)
      const exit = await livedOn(holding(signed(forged)))
      assertTyped(exit, `${n}, ${path.join(".")}`)
      outcomes[Exit.isSuccess(exit) ? "read" : "refused"]++
    }
    assertUntouched("runs")
    assert.isAbove(outcomes.refused, total / 4)
    if (isDeep) {
      console.log(`forged: ${total} runs ${JSON.stringify(outcomes)} in ${((Date.now() - began) / 1000).toFixed(1)} s`)
    }
  })

  it("says so in the typed channel, wherever a piece lies", async () => {
    const next = random(10)
    const manifest = JSON.parse(json) as Manifest
    const total = deep(100, 5000)
    const outcomes = { read: 0, refused: 0 }
    for (let n = 0; n < total; n++) {
      const [id, bytes] = Array.from(blobs)[next(blobs.size)]!
      const forged = bytesAltered(bytes, next)
      const pieces = new Map(blobs).set(id, forged)
      // The checksum is made to fit.
      const fitting = JSON.stringify(
        manifest,
        (_, part: unknown) =>
          typeof part === "object" && part !== null && "crc" in part && "id" in part && part.id === id
            ? { id, bytes: forged.length, crc: crcOf(forged) }
            : part
      )
      const exit = await livedOn(holding(signed(fitting), pieces))
      assertTyped(exit, `${id}, ${n}`)
      outcomes[Exit.isSuccess(exit) ? "read" : "refused"]++
    }
    assert.isAbove(outcomes.refused, total / 4)
    assertUntouched("pieces")
  })

  it("says so in the typed channel, whatever a program brings from a file", async () => {
    const next = random(12)
    const all = places(plainValue)
    const total = deep(100, 5000)
    const outcomes = { read: 0, refused: 0 }
    for (let n = 0; n < total; n++) {
      let value: Checkpoint.Checkpoint
      try {
        value = Schema.decodeUnknownSync(Checkpoint.schema)(
          JSON.parse(altered(plainValue, all[next(all.length)]!, next))
        )
      } catch {
        continue
      }
      const exit = await livedOn(Effect.sync((): Store => ({ ...memoryStore(), isDurable: true })), value)
      assertTyped(exit, `${n}`)
      outcomes[Exit.isSuccess(exit) ? "read" : "refused"]++
    }
    assert.isAbove(outcomes.read + outcomes.refused, total / 10)
    assertUntouched("values")
  })
})
