/** Crashes at every side effect: nothing is lost, nothing comes twice, nothing is made up. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { Reference, Sink, Sqlite } from "millrace"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Flights from "../../examples/flights/flights.ts"
import * as FlightsJob from "../../examples/flights/job.ts"
import { sqliteStore } from "../../src/internal/stores/sqliteStore.ts"
import { type Around, database, everyPoint, type Power } from "../support/crashing.ts"
import { FolderDisk } from "../support/folderDisk.ts"
import { losses } from "../support/memoryDisk.ts"
import { countOf, crashed, slowly, through, type Watched } from "./crashed.ts"
import { type Kind, session, sliding, tumbling } from "./jobs.ts"
import { fileOf, inFiles, onDisk } from "./onDisk.ts"
import { assertSame, expected, type Outcome, Outside, partitionsOf, toTheEnd, worldOf } from "./world.ts"

describe.each<Kind>([tumbling(48), sliding(21), session(24)])("$name", (kind) => {
  it("is the same after a crash at every side effect", async () => {
    const reference = expected(kind)
    const points = await crashed(
      () => worldOf(kind, slowly),
      5,
      (outcome, what) => assertSame(outcome, reference, what)
    )
    // Otherwise there would not be much to lose.
    assert.isAbove(countOf(points, "before apply"), 0)
    assert.isAbove(countOf(points, "before commit"), 3)
    assert.isAbove(countOf(points, "before pull"), 6)
  })
})

// ---------------------------------------------------------------------------------------------------------------------
// files
// ---------------------------------------------------------------------------------------------------------------------

describe.each(losses)("checkpoints and results in files, power lost with %s", (loss) => {
  it("is the same after a crash at every change of the disk", async () => {
    const kind = tumbling(14)
    // Dropping an epoch makes durable, by the way, what the next one has forgotten to; keeping all of them does not.
    const retain = loss === "names lost" || loss === "contents torn" ? 1000 : 1
    const reference = expected(kind)
    const points = await crashed(
      (): Watched<Outcome> => {
        const disk = new FolderDisk()
        const outside = new Outside(onDisk(disk))
        return {
          outcome: outside.outcome,
          reboot: () => disk.reboot(loss),
          life: ({ around }) =>
            inFiles(disk, around, (store) => toTheEnd(kind.make(outside.parts(around, slowly)), store, { retain }))
        }
      },
      8,
      (outcome, what) => assertSame(outcome, reference, what)
    )
    assert.isAbove(countOf(points, "before rename /results"), 1)
    assert.isAbove(countOf(points, "before rename /store/"), 1)
  })
})

describe("the flights", () => {
  const Rows = Schema.fromJsonString(Schema.Array(Flights.Flight))
  const file = Path.join(
    Path.dirname(Fs.realpathSync("node_modules/vega-datasets/package.json")),
    "data/flights-2k.json"
  )
  const flights = Flights.inOrderOfReports(Schema.decodeUnknownSync(Rows)(Fs.readFileSync(file, "utf8"))).slice(0, 100)
  const names = ["hourly", "three-hours", "delayed-runs", "late"]
  const make = () => FlightsJob.make(flights, { dataset: "flights", folder: "/results" })

  it("are the same after a crash at every change of the disk", async () => {
    const contents = (disk: FolderDisk) => names.map((name) => (disk.read(fileOf(name)) ?? "").split("\n").sort())
    const counts = Object.entries(Reference.run(make())).map(([name, rows]) => [name, rows.length])
    let undisturbed: ReadonlyArray<ReadonlyArray<string>> | undefined
    await crashed(
      (): Watched<ReadonlyArray<ReadonlyArray<string>>> => {
        const disk = new FolderDisk()
        return {
          outcome: Effect.sync(() => contents(disk)),
          reboot: () => disk.reboot("all lost"),
          life: ({ around }) =>
            inFiles(disk, around, (store) => toTheEnd(make(), store, { batchSize: 34, bufferSize: 68, retain: 1 }))
        }
      },
      24,
      (outcome, what) => {
        undisturbed ??= outcome
        assert.deepStrictEqual(outcome, undisturbed, what)
      }
    )
    assert.deepStrictEqual(names.map((name, i) => [name, undisturbed![i]!.length - 1]), counts)
  })
})

// ---------------------------------------------------------------------------------------------------------------------
// a database
// ---------------------------------------------------------------------------------------------------------------------

describe("checkpoints and results in one database", () => {
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "millrace-recovery-"))
  const tables = ["panes", "late", "millrace_sinks", "millrace_jobs", "millrace_epochs", "millrace_blobs"]

  it("are the same after a crash around every transaction", async () => {
    const kind = tumbling(20)
    const reference = expected(kind)
    await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const context = yield* Layer.build(Sqlite.layer(Path.join(folder, "jobs.db")))
      const inner = yield* Effect.provideContext(Sqlite.Sqlite, context)
      const points = yield* Effect.promise(() =>
        crashed(
          (): Watched<Outcome> => {
            const empty = Effect.orDie(
              inner.transaction(tables.map((table) => ({ sql: `DROP TABLE IF EXISTS ${table}` })))
            )
            // Sinks and the store of a life share one, or they could not share a transaction.
            let lent: { readonly around: Around; readonly database: Sqlite.Database } | undefined
            const outside = new Outside({
              sink: (name, around) => {
                const table = Sink.sqlite<unknown>({ table: name })
                return Sink.transactional<unknown, unknown>({
                  description: name,
                  open: () => Effect.die("nobody has asked for eager delivery"),
                  openEpochs: (opening) =>
                    // A table has a position.
                    table.openEpochs!(opening).pipe(
                      Effect.map((writer) => ({ ...writer, position: writer.position! })),
                      Effect.provideService(
                        Sqlite.Sqlite,
                        around === lent?.around ? lent.database : database(around, inner)
                      )
                    )
                })
              },
              contents: (name) =>
                Effect.map(inner.transaction([{ sql: `SELECT value FROM ${name}` }]), ([rows]) =>
                  rows!.map(({ value }) => JSON.parse(String(value))))
            })
            return {
              outcome: outside.outcome,
              life: ({ around }, life) =>
                Effect.gen(function*() {
                  if (life === 0) {
                    yield* empty
                  }
                  const own = database(around, inner)
                  lent = { around, database: own }
                  const store = yield* sqliteStore(own)
                  yield* toTheEnd(kind.make(outside.parts(around, slowly)), store, {
                    partitions: partitionsOf(kind, life)
                  })
                })
            }
          },
          5,
          (outcome, what) =>
            assertSame(outcome, reference, what)
        )
      )
      assert.isAtLeast(countOf(points, "before transaction"), 12)
    })))
    Fs.rmSync(folder, { recursive: true })
  })
})

// ---------------------------------------------------------------------------------------------------------------------
// twice
// ---------------------------------------------------------------------------------------------------------------------

describe.each<readonly [Kind, most: number, pairs: number]>([
  [tumbling(10), Infinity, 500],
  [sliding(8), 12, 200],
  [session(8), 12, 200]
])("%j", (kind, most, fewest) => {
  it("is the same after a crash at every point, and another one during the recovery", async () => {
    const reference = expected(kind)
    const same = (outcome: Outcome, what: string) => assertSame(outcome, reference, what)
    let pairs = 0
    await everyPoint(async (n) => {
      let first: Power | undefined
      await everyPoint(async (m) => {
        const powers = await through(worldOf(kind), [n, m], 20, same)
        first = powers[0]
        pairs++
        // There is no second life after one that has ended.
        return powers[0]!.hasFailed ? powers[1] : undefined
      }, most)
      return first
    })
    assert.isAbove(pairs, fewest)
  })
})
