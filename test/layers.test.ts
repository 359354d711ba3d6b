import { describe, expect, it } from "@effect/vitest"
import * as Path from "node:path"
import { parse, readSources, type SourceFile } from "./support/sources.ts"

/**
 * The house plan: every file of `src` has a room, and looks down only. A folder ends with a slash; the longest match
 * counts. To add a file, give it a room here.
 */
const layers: ReadonlyArray<readonly [name: string, rooms: ReadonlyArray<string>]> = [
  ["0 algebra", [
    "Event.ts",
    "Watermark.ts",
    "Window.ts",
    "Trigger.ts",
    "Aggregate.ts",
    "Pattern.ts",
    "Partitioner.ts",
    "ErrorPolicy.ts",
    "internal/numbers.ts",
    "internal/rope.ts",
    "internal/machine/stateCodec.ts",
    "internal/state/keyIdentity.ts",
    "internal/checkpoint/plain.ts",
    "internal/checkpoint/malformed.ts"
  ]],
  ["1 description", [
    "Flow.ts",
    "KeyedFlow.ts",
    "Join.ts",
    "Table.ts",
    "Source.ts",
    "Sink.ts",
    "Database.ts",
    "Sqlite.ts",
    "FlowError.ts",
    "JobStatus.ts",
    "State.ts",
    "Plan.ts",
    "Upgrade.ts",
    "internal/plan/"
  ]],
  ["2 machines", ["Machine.ts", "internal/machine/", "internal/state/"]],
  ["3 runtime", [
    "Job.ts",
    "StateStore.ts",
    "Checkpoint.ts",
    "CheckpointStore.ts",
    "DeadLetter.ts",
    "Supervision.ts",
    "FlowMetrics.ts",
    "Reference.ts",
    "internal/runtime/",
    "internal/checkpoint/",
    "internal/stores/"
  ]],
  ["4 edges", [
    "index.ts",
    "Postgres.ts",
    "internal/postgres/",
    "internal/simulation/",
    "connectors/",
    "inspector/",
    "cli/",
    "testing/"
  ]]
]

/** Files that look no further down than this, though they live higher: the oracle must not share what it judges. */
const sightOf: Readonly<Record<string, number>> = { "Reference.ts": 1 }

/** The ways up: a description asks for what runs it when somebody does, not when it is loaded. */
const doors: Readonly<Record<string, string>> = {
  "Flow.ts": "internal/runtime/toStream.ts",
  "Sqlite.ts": "internal/stores/sqliteDatabase.ts"
}

const isDoor = (path: string, { lazy, target }: SourceFile["imports"][number]): boolean =>
  lazy === true && doors[path] === target

/** Layers below this one hold no clock, no chance, no timers, no runtime and no `node:*`. */
const firstImpureLayer = 3

/** Layers below this one import no package but `effect`. */
const firstLayerWithPackages = 4

const maximumCodeLines = 500

/** Files that hold more, each with the reason. */
const largeFiles: Readonly<Record<string, string>> = {}

const layerOf = (path: string): number => {
  const rooms = layers.flatMap(([, rooms], layer) => rooms.map((room) => ({ room, layer })))
    .filter(({ room }) => room.endsWith("/") ? path.startsWith(room) : path === room)
    .sort((a, b) => b.room.length - a.room.length)
  return rooms[0]?.layer ?? -1
}

const homeless = (files: ReadonlyArray<SourceFile>) =>
  files.filter(({ path }) => layerOf(path) === -1).map(({ path }) => `${path} has no room in the table of layers`)

const upwardImports = (files: ReadonlyArray<SourceFile>) =>
  files.flatMap(({ imports, path }) => {
    const sight = sightOf[path] ?? layerOf(path)
    return imports.filter((each) => each.relative && !isDoor(path, each) && layerOf(each.target) > sight)
      .map(({ target }) => `${path} (sees layer ${sight}) imports ${target} (layer ${layerOf(target)})`)
  })

const impurities = (files: ReadonlyArray<SourceFile>) =>
  files.filter(({ path }) => layerOf(path) < firstImpureLayer).flatMap(({ impurities, imports, path }) => [
    ...impurities.map((use) => `${path} uses ${use}`),
    ...imports.filter(({ target }) => /^node:|^effect\/(Clock|Random)$/.test(target))
      .map(({ target }) => `${path} imports ${target}`)
  ])

const foreignPackages = (files: ReadonlyArray<SourceFile>) =>
  files.filter(({ path }) => layerOf(path) < firstLayerWithPackages).flatMap(({ imports, path }) =>
    imports.filter(({ relative, target }) => !relative && !/^(effect(\/|$)|node:)/.test(target))
      .map(({ target }) => `${path} imports the package ${target}`)
  )

/** Cycles that exist when the program runs; types may refer to each other. */
const cycles = (files: ReadonlyArray<SourceFile>) => {
  const edges = new Map(files.map(({ imports, path }) => [
    path,
    imports.filter((each) => each.relative && !each.type && !isDoor(path, each)).map(({ target }) => target)
  ]))
  const found: Array<string> = []
  const done = new Set<string>()
  const visit = (path: string, trail: ReadonlyArray<string>): void => {
    const start = trail.indexOf(path)
    if (start >= 0) found.push([...trail.slice(start), path].join(" → "))
    if (start >= 0 || done.has(path)) return
    for (const target of edges.get(path) ?? []) visit(target, [...trail, path])
    done.add(path)
  }
  for (const path of edges.keys()) visit(path, [])
  return found
}

const tooLarge = (files: ReadonlyArray<SourceFile>) =>
  files.filter(({ codeLines, path }) => codeLines > maximumCodeLines && !(path in largeFiles))
    .map(({ codeLines, path }) => `${path} holds ${codeLines} lines of code: two concepts live in it`)

describe("the layers of src", () => {
  const files = readSources(Path.join(import.meta.dirname, "../src"))

  it("every file has a room", () => expect(homeless(files)).toEqual([]))
  it("imports point to lower layers only", () => expect(upwardImports(files)).toEqual([]))
  it("below the runtime there is no clock, no chance, no runtime and no node", () =>
    expect(impurities(files)).toEqual([]))
  it("below the edges there is no package but effect", () => expect(foreignPackages(files)).toEqual([]))
  it("no module imports itself by a detour", () => expect(cycles(files)).toEqual([]))
  it("no file holds two concepts", () => expect(tooLarge(files)).toEqual([]))
  it("the exceptions are still needed", () =>
    expect(Object.keys(largeFiles).filter((path) => !files.some((file) => file.path === path && file.codeLines > 500)))
      .toEqual([]))
})

describe("each check can fail", () => {
  it("a file without a room", () =>
    expect(homeless([parse("internal/helpers.ts", ""), parse("Window.ts", "")])).toEqual([
      "internal/helpers.ts has no room in the table of layers"
    ]))

  it.each([
    ["Window.ts", `import { Flow } from "./Flow.ts"`, "./Flow.ts"],
    ["Flow.ts", `import type { Job } from "./Job.ts"`, "./Job.ts"],
    ["Flow.ts", `import { toStream } from "./internal/runtime/toStream.ts"`, "./internal/runtime/toStream.ts"],
    ["Flow.ts", `const job = import("./internal/runtime/job.ts")`, "./internal/runtime/job.ts"],
    ["internal/plan/node.ts", `export * from "../runtime/partition.ts"`, "../runtime/partition.ts"],
    ["Machine.ts", `const job = await import("./Job.ts")`, "./Job.ts"],
    ["Plan.ts", `type Job = import("./Job.ts").Job`, "./Job.ts"],
    ["Job.ts", `import { Window } from "./index.ts"`, "./index.ts"],
    ["Reference.ts", `import { Machine } from "./Machine.ts"`, "./Machine.ts"],
    ["Event.ts", `import { intern } from "./internal/state/table.ts"`, "./internal/state/table.ts"]
  ])("%s: %s", (path, text, target) =>
    expect(upwardImports([parse(path, text)])).toEqual([
      expect.stringContaining(`imports ${Path.posix.join(Path.posix.dirname(path), target)} (layer`)
    ]))

  it("but looking down, or to the key identity, is allowed", () =>
    expect(upwardImports([
      parse("Reference.ts", `import * as Key from "./internal/state/keyIdentity.ts"; import { Flow } from "./Flow.ts"`),
      parse("Job.ts", `import { Window } from "./Window.ts"; import { FlowError } from "./FlowError.ts"`)
    ])).toEqual([]))

  it.each([
    "Date.now()",
    "new Date()",
    "Date()",
    "Math.random()",
    "performance.now()",
    "crypto.randomUUID()",
    "process.env",
    "setTimeout(f, 1)",
    "globalThis.setTimeout(f, 1)",
    "Effect.runSync(effect)",
    "Effect.sleep(1)",
    "Random.next",
    `import * as Clock from "effect/Clock"`,
    `import * as Fs from "node:fs"`
  ])("an impurity: %s", (text) => {
    expect(impurities([parse("Window.ts", text)])).not.toEqual([])
    expect(impurities([parse("Job.ts", text)])).toEqual([])
  })

  it("but not in comments, strings and types", () =>
    expect(impurities([parse("Window.ts", `// Date.now()\nconst text = "Math.random()"; new Date(0)`)])).toEqual([]))

  it("a package below the edges", () => {
    const text = `import csv from "csv-parse"; import * as Effect from "effect/Effect"`
    expect(foreignPackages([parse("Source.ts", text)])).toEqual(["Source.ts imports the package csv-parse"])
    expect(foreignPackages([parse("connectors/csv.ts", text)])).toEqual([])
  })

  it("a cycle", () => {
    const pair = (keyword: string) => [
      parse("Flow.ts", `import { b } from "./Plan.ts"`),
      parse("Plan.ts", `${keyword} { a } from "./Flow.ts"`)
    ]
    expect(cycles(pair("import"))).toEqual(["Flow.ts → Plan.ts → Flow.ts"])
    expect(cycles(pair("import type"))).toEqual([])
  })

  it("a file of 501 lines of code, comments not counted", () => {
    const lines = (count: number) => `${"/* a comment */\n\n".repeat(99)}${"f()\n".repeat(count)}`
    expect(tooLarge([parse("Flow.ts", lines(500))])).toEqual([])
    expect(tooLarge([parse("Flow.ts", lines(501))])).toEqual([
      "Flow.ts holds 501 lines of code: two concepts live in it"
    ])
  })
})
