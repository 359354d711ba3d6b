import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, FileSystem, Option, Stream } from "effect"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { nodeFileSystem } from "../../src/internal/runtime/nodeFileSystem.ts"

const utf8 = new TextEncoder()
const bytes = (text: string) => utf8.encode(text)
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)

type Program = (fs: FileSystem.FileSystem, path: (name: string) => string) => Effect.Effect<unknown, unknown, never>

/** What happened, without what depends on the folder and the time. */
const comparable = (exit: Exit.Exit<unknown, unknown>): unknown => {
  if (Exit.isSuccess(exit)) return exit.value
  const [failure] = exit.cause.reasons
  if (failure?._tag !== "Fail") return exit.cause
  const { reason } = failure.error as { readonly reason: { readonly _tag: string; readonly method: string } }
  return { failed: reason._tag, method: reason.method }
}

/** Runs a program in a folder of its own and lists what is there afterwards. */
const observe = (fs: FileSystem.FileSystem, program: Program) =>
  Effect.acquireUseRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "millrace-fs-"))),
    (folder) =>
      Effect.gen(function*() {
        const path = (name: string) => Path.join(folder, name)
        Fs.writeFileSync(path("letters"), "abcdefghij")
        Fs.mkdirSync(path("folder/inner"), { recursive: true })
        Fs.writeFileSync(path("folder/inner/leaf"), "leaf")
        const result = comparable(yield* Effect.exit(program(fs, path)))
        const files = Fs.readdirSync(folder, { recursive: true, encoding: "utf8" }).sort().map((name) => {
          const isFile = Fs.statSync(path(name)).isFile()
          return [name, isFile ? Fs.readFileSync(path(name), "utf8") : undefined]
        })
        return { result, files }
      }),
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
  )

/** Every result of several effects, failures included. */
const each = (effects: ReadonlyArray<Effect.Effect<unknown, unknown>>) =>
  Effect.forEach(effects, (effect) => Effect.map(Effect.exit(effect), comparable))

const open =
  (name: string, flag: FileSystem.OpenFlag, use: (file: FileSystem.File) => Effect.Effect<unknown, unknown>): Program =>
  (fs, path) => Effect.scoped(Effect.flatMap(fs.open(path(name), { flag }), use))

const flags: ReadonlyArray<FileSystem.OpenFlag> = ["r", "r+", "w", "wx", "w+", "wx+", "a", "ax", "a+", "ax+"]

const readWriteRead = (file: FileSystem.File) =>
  each([
    Effect.map(file.readAlloc(3), Option.map(text)),
    file.writeAll(bytes("XYZ")),
    Effect.map(file.readAlloc(100), Option.map(text)),
    file.seek(1n, "start"),
    file.write(bytes("é")),
    file.seek(-1n, "current"),
    Effect.map(file.readAlloc(2), Option.map(text)),
    Effect.map(file.stat, ({ size, type }) => [size, type])
  ])

const programs: Readonly<Record<string, Program>> = {
  ...Object.fromEntries(flags.flatMap((flag) => [
    [`open ${flag}: a file that is there`, open("letters", flag, readWriteRead)],
    [`open ${flag}: a file that is not`, open("new", flag, readWriteRead)],
    [`open ${flag}: a folder`, open("folder", flag, readWriteRead)]
  ])),
  "open: no folder for it": open("nowhere/new", "w", () => Effect.void),
  "open: a file as a folder": open("letters/new", "r", () => Effect.void),
  "open: a path with a zero": open("a\0b", "r", () => Effect.void),
  "open: a mode": (fs, path) =>
    Effect.scoped(Effect.map(
      Effect.flatMap(fs.open(path("new"), { flag: "w", mode: 0o600 }), (file) => file.stat),
      ({ mode }) => mode
    )),
  "read: into a buffer, at a position, at the end": open("letters", "r", (file) => {
    const buffer = new Uint8Array(4)
    return each([
      file.read(buffer),
      file.read(buffer, { position: 1n }),
      Effect.sync(() => text(buffer)),
      file.read(buffer),
      file.read(buffer),
      Effect.sync(() => text(buffer)),
      file.read(buffer),
      file.read(new Uint8Array(0)),
      file.read(buffer, { position: -1n })
    ])
  }),
  "readAlloc: sizes and positions": open("letters", "r", (file) =>
    each([
      ...[0, 10, 11, -1, 1.5, NaN].map((size) => Effect.map(file.readAlloc(size), Option.map(text))),
      Effect.map(file.readAlloc(2, { position: 3n }), Option.map(text)),
      Effect.map(file.readAlloc(2, { position: 100n }), Option.map(text)),
      file.readAlloc(2, { position: -1n })
    ])),
  "seek: before the start": open(
    "letters",
    "r",
    (file) =>
      each([file.seek(-1n, "start"), file.seek(4n, "start"), file.seek(-5n, "current"), file.seek(-1n, "current")])
  ),
  "seek: beyond the end, then write": open(
    "letters",
    "r+",
    (file) => each([file.seek(12n, "start"), file.writeAll(bytes("Z")), file.seek(0n, "current"), file.sync])
  ),
  "truncate: an open file moves its position": open(
    "letters",
    "r+",
    (file) =>
      each([
        file.seek(8n, "start"),
        file.truncate(4),
        file.seek(0n, "current"),
        file.truncate(),
        file.seek(0n, "current")
      ])
  ),
  "truncate: an open file longer": open("letters", "r+", (file) => file.truncate(12)),
  "truncate: an open file in append mode": open(
    "letters",
    "a",
    (file) => each([file.truncate(4), file.writeAll(bytes("Z")), file.seek(0n, "current")])
  ),
  "write: nothing": open("letters", "r+", (file) => each([file.write(bytes("")), file.writeAll(bytes(""))])),
  "a file is closed with its scope": (fs, path) =>
    Effect.flatMap(
      Effect.scoped(fs.open(path("letters"))),
      (file) => Effect.map(Effect.exit(file.stat), Exit.isFailure)
    ),
  "truncate": (fs, path) => each([fs.truncate(path("letters"), 3), fs.truncate(path("nothing"), 3)]),
  "makeDirectory": (fs, path) =>
    each([
      fs.makeDirectory(path("a")),
      fs.makeDirectory(path("a")),
      fs.makeDirectory(path("a"), { recursive: true }),
      fs.makeDirectory(path("b/c")),
      // Theirs gives the first folder made, though its type says nothing.
      Effect.asVoid(fs.makeDirectory(path("b/c"), { recursive: true })),
      fs.makeDirectory(path("letters/c"), { recursive: true }),
      fs.makeDirectory(path("letters"))
    ]),
  "stat": (fs, path) =>
    each(
      ["letters", "folder", "nothing", "letters/x"].map((name) =>
        Effect.map(
          fs.stat(path(name)),
          ({ gid, mode, nlink, size, type, uid }) => ({ gid, mode, nlink, size, type, uid })
        )
      )
    ),
  "access and exists": (fs, path) =>
    each(["letters", "nothing", "letters/x", "a\0b"].flatMap((name) => [
      fs.exists(path(name)),
      fs.access(path(name)),
      fs.access(path(name), { readable: true, writable: true })
    ])),
  "readFile": (fs, path) =>
    each(["letters", "nothing", "folder"].map((name) => Effect.map(fs.readFile(path(name)), text))),
  "readFileString": (fs, path) => fs.readFileString(path("letters")),
  "writeFile": (fs, path) =>
    each([
      fs.writeFile(path("new"), bytes("one")),
      fs.writeFile(path("new"), bytes("2")),
      fs.writeFile(path("new"), bytes("3"), { flag: "a" }),
      fs.writeFile(path("new"), bytes("4"), { flag: "wx" }),
      fs.writeFile(path("nowhere/new"), bytes("5")),
      fs.writeFile(path("folder"), bytes("6")),
      fs.writeFileString(path("new2"), "é")
    ]),
  "readDirectory": (fs, path) =>
    each([
      fs.readDirectory(path("folder")),
      Effect.map(fs.readDirectory(path("."), { recursive: true }), (names) => names.sort()),
      fs.readDirectory(path("letters")),
      fs.readDirectory(path("nothing"))
    ]),
  "rename": (fs, path) =>
    each([
      fs.rename(path("letters"), path("renamed")),
      fs.rename(path("folder/inner/leaf"), path("renamed")),
      fs.rename(path("nothing"), path("other")),
      fs.rename(path("renamed"), path("folder"))
    ]),
  "remove": (fs, path) =>
    each([
      fs.remove(path("letters")),
      fs.remove(path("letters")),
      fs.remove(path("letters"), { force: true }),
      fs.remove(path("folder")),
      fs.remove(path("folder"), { recursive: true })
    ]),
  "realPath": (fs, path) =>
    each([
      Effect.map(fs.realPath(path("folder/../letters")), (real) => Path.basename(real)),
      fs.realPath(path("nothing"))
    ]),
  "stream": (fs, path) =>
    each([
      Effect.map(Stream.runCollect(fs.stream(path("letters"), { chunkSize: 3, offset: 2 })), (chunks) =>
        chunks.map(text)),
      Stream.runCollect(fs.stream(path("nothing")))
    ]),
  "sink": (fs, path) => Stream.run(Stream.make(bytes("a"), bytes("b")), fs.sink(path("new")))
}

describe("nodeFileSystem does what NodeFileSystem of @effect/platform-node does", () => {
  it.effect.each(Object.entries(programs))("%s", ([, program]) =>
    Effect.gen(function*() {
      const theirs = yield* observe(yield* FileSystem.FileSystem, program)
      assert.deepStrictEqual(yield* observe(nodeFileSystem, program), theirs)
    }).pipe(Effect.provide(NodeFileSystem.layer)))

  it.effect("readDirectoryEntries names the type of each entry", () =>
    Effect.map(
      observe(nodeFileSystem, (fs, path) => fs.readDirectoryEntries(path("."))),
      ({ result }) =>
        assert.sameDeepMembers(result as Array<unknown>, [
          { name: "folder", type: "Directory" },
          { name: "letters", type: "File" }
        ])
    ))

  it.effect("writeAll goes on after a short write", () =>
    Effect.map(
      observe(nodeFileSystem, open("new", "w", (file) => file.writeAll(bytes("é".repeat(1_000_000))))),
      ({ files }) => assert.strictEqual(files.find(([name]) => name === "new")?.[1]?.length, 1_000_000)
    ))
})

describe("nodeFileSystem", () => {
  it.effect("keeps the system's message, call and path", () =>
    Effect.gen(function*() {
      const { message, reason } = yield* Effect.flip(Effect.scoped(nodeFileSystem.open("nowhere/file")))
      assert.strictEqual(
        message,
        "NotFound: FileSystem.open (nowhere/file): ENOENT: no such file or directory, open 'nowhere/file'"
      )
      assert.deepInclude(reason, { syscall: "open", pathOrDescriptor: "nowhere/file" })
    }))

  it.effect("says what it does not do, and what does", () =>
    Effect.gen(function*() {
      const refusals = yield* Effect.forEach([
        nodeFileSystem.copy("a", "b"),
        nodeFileSystem.makeTempFile(),
        Effect.scoped(nodeFileSystem.open("a", { noFollow: true })),
        Stream.runDrain(nodeFileSystem.watch("a"))
      ], (refused: Effect.Effect<unknown, { readonly message: string }>) =>
        Effect.map(Effect.flip(refused), ({ message }) =>
          message))
      const why = "not supported by Millrace's built-in file system: provide NodeServices.layer"
      assert.deepStrictEqual(refusals, [
        `Unknown: FileSystem.copy (a): ${why}`,
        `Unknown: FileSystem.makeTempFile: ${why}`,
        `Unknown: FileSystem.open with noFollow (a): ${why}`,
        `Unknown: FileSystem.watch (a): ${why}`
      ])
    }))
})
