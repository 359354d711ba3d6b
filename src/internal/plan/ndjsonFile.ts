/** Lines of JSON in a file, read from a byte offset. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Scope } from "effect/Scope"
import type { Position, Reader } from "../../Source.ts"
import { toJson } from "../checkpoint/plain.ts"
import { at, FileError } from "./FileError.ts"
import { decoded } from "./readers.ts"

/** Bytes asked of the file at a time. */
const readBytes = 256 * 1024

/** Bytes of a line, beyond which its end is no longer looked for. */
export const maximumLineBytes = 64 * 1024 * 1024

const newline = 10

const utf8 = new TextDecoder()
const exactUtf8 = new TextDecoder("utf-8", { fatal: true })

/** What bytes that are no UTF-8 become in the text, and what a file may hold in its own right. */
const replacement = "\ufffd"

/** Whole lines, as the bytes they are and as text. */
class Block {
  private readonly bytes: Uint8Array
  /** Offset of the first byte in the file. */
  private readonly start: number
  private readonly text: string
  /** Every character is one byte: places in the text are places in the bytes. */
  private readonly isNarrow: boolean
  private textAt = 0
  private byteAt = 0

  constructor(bytes: Uint8Array, start: number) {
    this.bytes = bytes
    this.start = start
    this.text = utf8.decode(bytes)
    this.isNarrow = this.text.length === bytes.length
  }

  /** Takes at most `max` lines that are not empty, and for each the offset after it in the file. */
  take(max: number, lines: Array<Line>, ends: Array<number>): void {
    const { bytes, isNarrow, text } = this
    while (lines.length < max && this.textAt < text.length) {
      const found = text.indexOf("\n", this.textAt)
      const end = found < 0 ? text.length : found
      const line = text.slice(this.textAt, end).trim()
      const from = this.byteAt
      this.textAt = end + 1
      // The byte of a newline is part of no other character: there are as many in the bytes as in the text.
      this.byteAt = found < 0 ? bytes.length : (isNarrow ? found : bytes.indexOf(newline, this.byteAt)) + 1
      if (line === "") continue
      lines.push(line.includes(replacement) ? this.checked(line, from) : line)
      ends.push(this.start + this.byteAt)
    }
  }

  /** The line that ends here, as its own bytes if they are no UTF-8: its text would have lost what they were. */
  private checked(line: string, from: number): Line {
    const end = this.bytes[this.byteAt - 1] === newline ? this.byteAt - 1 : this.byteAt
    const bytes = this.bytes.subarray(from, end)
    try {
      exactUtf8.decode(bytes)
      return line
    } catch {
      // Bytes have this form, which is an object.
      return toJson(Uint8Array.from(bytes), undefined) as Schema.JsonObject
    }
  }
}

/** A line as text; where it is none, its bytes in a form that every file of dead letters can hold. */
type Line = string | Schema.JsonObject

/** Gathers bytes into blocks that end where a line ends, so that no character is ever split. */
class LineCutter {
  /** What came after the last newline. */
  private pieces: Array<Uint8Array> = []
  unfinishedBytes = 0
  /** Offset in the file of the line that is not finished. */
  offset: number

  constructor(offset: number) {
    this.offset = offset
  }

  push(bytes: Uint8Array): Block | undefined {
    const end = bytes.lastIndexOf(newline) + 1
    if (end === 0) return this.keep(bytes)
    this.keep(bytes.subarray(0, end))
    const block = this.cut()
    this.keep(bytes.subarray(end))
    return block
  }

  /** Whatever is left: the last line may lack its end. */
  cut(): Block {
    const bytes = concat(this.pieces, this.unfinishedBytes)
    const block = new Block(bytes, this.offset)
    this.offset += bytes.length
    this.pieces = []
    this.unfinishedBytes = 0
    return block
  }

  private keep(bytes: Uint8Array): undefined {
    if (bytes.length > 0) this.pieces.push(bytes)
    this.unfinishedBytes += bytes.length
  }
}

const concat = (pieces: ReadonlyArray<Uint8Array>, length: number): Uint8Array => {
  if (pieces.length === 1) return pieces[0]!
  const whole = new Uint8Array(length)
  let end = 0
  for (const piece of pieces) {
    whole.set(piece, end)
    end += piece.length
  }
  return whole
}

/** The JSON form of a number is a number, NaN or ±Infinity by name; whoever gave a string wants to hear "number". */
const plainer = (reason: string): string => reason.replaceAll(`"Infinity" | "-Infinity" | "NaN"`, "number")

export const read = <A>(
  path: string,
  schema: Schema.Codec<A, unknown>,
  position: Position | undefined
): Effect.Effect<Reader<A, FileError>, FileError, FileSystem.FileSystem | Scope> =>
  Effect.gen(function*() {
    const fileSystem = yield* FileSystem.FileSystem
    const file = yield* at(path, "open")(fileSystem.open(path, { flag: "r" }))
    const start = typeof position === "number" ? position : 0
    if (start > 0) yield* goTo(file, path, start)
    const decode = Schema.decodeUnknownSync(Schema.toCodecJson(schema))
    const cutter = new LineCutter(start)
    let block: Block | undefined
    let ended = false
    const fill = Effect.gen(function*() {
      const bytes = yield* at(path, "read")(file.readAlloc(readBytes))
      ended = Option.isNone(bytes)
      block = Option.isSome(bytes) ? cutter.push(bytes.value) : cutter.cut()
      if (cutter.unfinishedBytes > maximumLineBytes) {
        const cause = new Error(`the line at byte ${cutter.offset} is longer than ${maximumLineBytes} bytes`)
        return yield* new FileError({ path, operation: "read", cause })
      }
    })
    return {
      pull: Effect.fnUntraced(function*(max) {
        const lines: Array<Line> = []
        const ends: Array<number> = []
        for (;;) {
          block?.take(max, lines, ends)
          if (lines.length > 0) break
          if (ended) return undefined
          yield* fill
        }
        return decoded(
          lines,
          (line) => decode(typeof line === "string" ? JSON.parse(line) : refused()),
          (taken) => ends[taken - 1]!,
          plainer
        )
      })
    }
  })

const refused = (): never => {
  throw new Error("The line is not UTF-8")
}

const goTo = Effect.fnUntraced(function*(file: FileSystem.File, path: string, start: number) {
  if (!Number.isSafeInteger(start)) {
    const cause = new Error(`a checkpoint says that it was read to byte ${start}, which is no place in a file`)
    return yield* new FileError({ path, operation: "go on reading", cause })
  }
  const { size } = yield* at(path, "look at")(file.stat)
  if (size < BigInt(start)) {
    const cause = new Error(`it ends at byte ${size}, but was read to byte ${start} before: it is not the same file`)
    return yield* new FileError({ path, operation: "go on reading", cause })
  }
  yield* at(path, "seek in")(file.seek(BigInt(start), "start"))
})

/** One line per value. */
export const encodeLines = (values: ReadonlyArray<unknown>, encode: (value: unknown) => unknown): string => {
  let text = ""
  for (const value of values) {
    // Not a string for undefined, functions and symbols, whatever its type says.
    const line: string | undefined = JSON.stringify(encode(value))
    if (line === undefined) throw new TypeError(`JSON has no form for ${String(value)}`)
    text += line + "\n"
  }
  return text
}
