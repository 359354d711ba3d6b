/**
 * The names of files in a store. Jobs and ids are data from outside: whatever they hold, a name is one file in the
 * folder, and no two share one, not even where upper and lower case are the same.
 */
import type { Committed } from "../../CheckpointStore.ts"

/** What a text is hashed with where it is too long for a file's name: SHA-256, in hexadecimal. */
export type Hash = (text: string) => string

/** File systems allow 255 bytes; the rest is for what stands before. */
const longestName = 200

/** Lower-case letters, digits, `_`, `-` and dots in between stay; other UTF-16 units, so also lone surrogates, do not. */
export const encoded = (text: string): string =>
  text.replace(/[^a-z0-9_.-]|\.$/g, (unit) => `%${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)

const named = (text: string, hash: Hash): string => {
  const name = encoded(text)
  // A tilde is in no encoded name, so no name is taken for a hashed one.
  return name.length <= longestName ? name : `${name.slice(0, 100)}~${hash(name)}`
}

export const jobFolder = (job: string, hash: Hash): string => `job-${named(job, hash)}`

export const blobFile = (id: string, hash: Hash): string => `blob-${named(id, hash)}`

/** The epoch that wrote a blob, where its id begins with it, as the ids of jobs do. */
export const writtenBy = (name: string): number | undefined => parse(/^blob-([1-9]\d{0,14})\./, name)

export const manifestFile = ({ attempt, digest, epoch }: Committed): string => `manifest-${epoch}-${attempt}-${digest}`

export const isDigest = (text: string): boolean => /^[0-9a-f]{1,128}$/.test(text)

const parse = (pattern: RegExp, name: string): number | undefined => {
  const digits = pattern.exec(name)?.[1]
  return digits === undefined ? undefined : Number(digits)
}

export const attemptFile = (attempt: number): string => `attempt-${attempt}`

export const attemptOf = (name: string): number | undefined => parse(/^attempt-([1-9]\d{0,14})$/, name)

/** An epoch on its way, by the attempt that writes it. */
export const stagingFolder = (attempt: number, number: number): string => `staging-${attempt}-${number}`

export const stagedBy = (name: string): number | undefined => parse(/^staging-([1-9]\d{0,14})-\d+$/, name)

/** What the taking over of a job puts out of the way, to remove it. */
export const trashFolder = (attempt: number, number: number): string => `trash-${attempt}-${number}`

export const isTrash = (name: string): boolean => /^trash-\d+-\d+$/.test(name)

/** The epoch that follows another: named after what it follows, so that no two can follow the same. */
export const followingFolder = (previous: number): string => `after-${previous}`

export const previousOf = (name: string): number | undefined => parse(/^after-(0|[1-9]\d{0,15})$/, name)

export const isFollowing = (name: string): boolean => previousOf(name) !== undefined

/** An epoch that is being dropped; afterwards, those of its blobs that others still need. */
export const keptFolder = (attempt: number, number: number): string => `kept-${attempt}-${number}`

export const isKept = (name: string): boolean => /^kept-\d+-\d+$/.test(name)

export const committedOf = (name: string): Committed | undefined => {
  const parts = /^manifest-([1-9]\d{0,15})-([1-9]\d{0,14})-([0-9a-f]{1,128})$/.exec(name)
  return parts === null
    ? undefined
    : { epoch: Number(parts[1]), attempt: Number(parts[2]), digest: parts[3] ?? "" }
}
