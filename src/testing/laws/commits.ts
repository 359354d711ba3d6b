/** Commits as the laws of stores write them, and what they read of them. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Crypto from "node:crypto"
import type * as CheckpointStore from "../../CheckpointStore.ts"

export type Store = CheckpointStore.CheckpointStore["Service"]
export type Commit = CheckpointStore.Commit

export const bytes = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text)

const digestOf = (manifest: Uint8Array): string => Crypto.createHash("sha256").update(manifest).digest("hex")

export const nothing: CheckpointStore.Drop = { epochs: [], blobs: [] }

export const job = "fraud"

type Wish = Partial<Commit> & { readonly attempt: number; readonly epoch: number }

/** A commit, by what matters in it: it follows the epoch before and has one blob unless told otherwise. */
export const commitOf = (wish: Wish): Commit => {
  const { epoch } = wish
  const manifest = wish.manifest ?? bytes(`manifest ${epoch}`)
  return {
    job,
    previous: epoch - 1,
    digest: digestOf(manifest),
    manifest,
    blobs: [{ id: `${epoch}.state-0`, bytes: bytes(`state ${epoch}`) }],
    drop: nothing,
    alongside: [],
    ...wish
  }
}

/** Commits epochs 1 to `count` under a new attempt. */
export const filled = Effect.fnUntraced(function*(store: Store, count: number, of = job) {
  const attempt = yield* store.acquire(of)
  for (let epoch = 1; epoch <= count; epoch++) yield* store.commit(commitOf({ job: of, attempt, epoch }))
  return attempt
})

export const epochs = (store: Store, of = job) => Effect.map(store.list(of), (all) => all.map(({ epoch }) => epoch))

export const blobIn = (store: Store, id: string, of = job) =>
  Effect.map(store.blob(of, id), (found) => Option.getOrUndefined(Option.map(found, ({ bytes }) => bytes)))

/** Names that a path, a query or a pattern might take for something else. */
export const hostile: ReadonlyArray<string> = [
  "../x",
  "..",
  ".",
  "a/b",
  "a\\b",
  "/etc/passwd",
  "__proto__",
  "constructor",
  "",
  " ",
  "a",
  "A",
  "a.",
  "%0041",
  "con",
  "nul\0l",
  "nul",
  "\\u0000",
  "\0",
  "line\nbreak",
  "Grüße 🌊",
  "\ud800",
  "\udfff",
  "\ufffd",
  "é",
  "e\u0301",
  "x".repeat(300),
  `${"x".repeat(300)}y`,
  "🌊".repeat(100),
  "'; DROP TABLE millrace_jobs; --",
  "*",
  "attempt-7"
]
