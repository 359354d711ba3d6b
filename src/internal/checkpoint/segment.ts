/**
 * Sections of keyed state as one stretch of bytes. This is a format that must stay readable for ever; known bytes in the
 * tests hold it in place.
 *
 * Four bytes `MLR1`, the length of the header (32 bits, unsigned, little endian), the header, then the columns of all
 * sections back to back, with the deleted keys of each section after its columns. The header is the UTF-8 text of a JSON
 * array with one object per section: `operator`, `partition`, `kind`, `id`, `full`, `count`, `columns` (the length of each
 * in bytes), `deletedCount`, `deleted` (a length in bytes). There are no checksums: who keeps the bytes keeps theirs.
 */
import { minimumBytes, parse } from "./columns.ts"
import { Malformed } from "./malformed.ts"

export interface Section {
  /** The label, which the user may have chosen. */
  readonly operator: string
  readonly partition: number
  readonly kind: "table" | "list" | "rows"
  readonly id: string
  /** True: forget what earlier sections said of this table first. */
  readonly isFull: boolean
  /** Rows of the columns. */
  readonly count: number
  /** As `columns.ts` encodes them. At least one if there are rows. */
  readonly columns: ReadonlyArray<Uint8Array>
  /** Keys that are gone: an encoded column of keys, and how many. No bytes will do where there are none. */
  readonly deletedCount: number
  readonly deleted: Uint8Array
}

interface Header {
  readonly operator: string
  readonly partition: number
  readonly kind: Section["kind"]
  readonly id: string
  readonly full: boolean
  readonly count: number
  readonly columns: ReadonlyArray<number>
  readonly deletedCount: number
  readonly deleted: number
}

const encoder = new TextEncoder()
const magic = encoder.encode("MLR1")
const prefix = magic.length + 4
// Three characters of one byte each.
const [open, comma, close] = encoder.encode("[,]") as unknown as readonly [number, number, number]

/** Gathers sections into blobs. It keeps the columns by reference until the blob that they belong to is full. */
export class SegmentWriter {
  private readonly maximumBytes: number
  private readonly blobs: Array<Uint8Array> = []
  private headers: Array<Uint8Array> = []
  private contents: Array<Uint8Array> = []
  private headerBytes = 0
  private contentBytes = 0

  /** A blob is larger than `maximumBytes` only if it holds one section, which is never split. */
  constructor(maximumBytes: number) {
    this.maximumBytes = maximumBytes
  }

  add(section: Section): void {
    const header = headerFor(section)
    const problem = problemWith(header)
    // What is written must be read again: better here than when all that is left is the file.
    if (problem !== undefined) {
      throw new Error(`SegmentWriter: the section ${section.id} of ${section.operator} ${problem}`)
    }
    const text = encoder.encode(JSON.stringify(header))
    const contents = [...section.columns, section.deleted]
    const contentBytes = contents.reduce((sum, column) => sum + column.length, 0)
    const size = prefix + this.headerBytes + this.contentBytes + text.length + 2 + contentBytes
    if (this.headers.length > 0 && size > this.maximumBytes) this.flush()
    this.headers.push(text)
    this.contents.push(...contents)
    this.headerBytes += text.length + 1
    this.contentBytes += contentBytes
  }

  /** All blobs, in order; none without sections. The writer begins anew. */
  finish(): ReadonlyArray<Uint8Array> {
    if (this.headers.length > 0) this.flush()
    return this.blobs.splice(0)
  }

  private flush(): void {
    // A comma or bracket before each header, and the bracket at the end.
    const headerBytes = this.headerBytes + 1
    const bytes = new Uint8Array(prefix + headerBytes + this.contentBytes)
    bytes.set(magic)
    new DataView(bytes.buffer).setUint32(magic.length, headerBytes, true)
    let at = prefix
    for (const header of this.headers) {
      bytes[at] = at === prefix ? open : comma
      bytes.set(header, at + 1)
      at += header.length + 1
    }
    bytes[at++] = close
    for (const content of this.contents) {
      bytes.set(content, at)
      at += content.length
    }
    this.blobs.push(bytes)
    this.headers = []
    this.contents = []
    this.headerBytes = 0
    this.contentBytes = 0
  }
}

/** The sections of a blob, whose columns are views of its bytes. Throws `Malformed` for what no writer has written. */
export const readSegment = (bytes: Uint8Array): ReadonlyArray<Section> => {
  if (bytes.length < prefix || magic.some((byte, i) => bytes[i] !== byte)) {
    return refuse("a segment that does not start as one")
  }
  const length = new DataView(bytes.buffer, bytes.byteOffset, prefix).getUint32(magic.length, true)
  if (length > bytes.length - prefix) return refuse("a segment that ends inside of its header")
  const headers = parse(bytes.subarray(prefix, prefix + length))
  if (!Array.isArray(headers)) return refuse("a segment whose header is no array")
  let at = prefix + length
  for (const header of headers) {
    checkHeader(header)
    for (const length of header.columns) at += length
    at += header.deleted
  }
  if (at !== bytes.length) return refuse(`a segment of ${bytes.length} bytes whose columns end at ${at}`)
  at = prefix + length
  const take = (length: number): Uint8Array => bytes.subarray(at, at += length)
  // All of them were checked.
  return (headers as ReadonlyArray<Header>).map(({ full, ...header }) => ({
    ...header,
    isFull: full,
    columns: header.columns.map(take),
    deleted: take(header.deleted)
  }))
}

const refuse = (problem: string): never => {
  throw new Malformed(problem)
}

const headerFor = (section: Section): Header => ({
  operator: section.operator,
  partition: section.partition,
  kind: section.kind,
  id: section.id,
  full: section.isFull,
  count: section.count,
  columns: section.columns.map((column) => column.length),
  deletedCount: section.deletedCount,
  deleted: section.deleted.length
})

const isWhole = (value: unknown): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && !Object.is(value, -0)

const kinds: ReadonlyArray<unknown> = ["table", "list", "rows"] satisfies ReadonlyArray<Section["kind"]>

function checkHeader(header: unknown): asserts header is Header {
  const problem = problemWith(header)
  if (problem !== undefined) refuse(`a section that ${problem}`)
}

/** Above all that nobody need believe a number of rows: there are bytes for them. */
const problemWith = (header: unknown): string | undefined => {
  if (typeof header !== "object" || header === null || Object.keys(header).length !== 9) return "is not one"
  // Whatever it is, its properties may be asked for.
  const { columns, count, deleted, deletedCount, full, id, kind, operator, partition } = header as Record<
    string,
    unknown
  >
  if (typeof operator !== "string" || typeof id !== "string") return "has no name"
  if (!kinds.includes(kind)) return "is of an unknown kind"
  if (typeof full !== "boolean") return "does not say whether it is full"
  if (!isWhole(partition) || !isWhole(count) || !isWhole(deletedCount) || !isWhole(deleted)) {
    return "has no whole numbers"
  }
  if (!Array.isArray(columns) || !columns.every(isWhole)) return "has columns without lengths"
  if (count > 0 && columns.length === 0) return "has rows and no columns"
  if (columns.some((length) => length < minimumBytes(count))) return `claims ${count} rows for fewer bytes`
  if (deletedCount > 0 && deleted < minimumBytes(deletedCount)) {
    return `claims ${deletedCount} deletions for fewer bytes`
  }
  return undefined
}
