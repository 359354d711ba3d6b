/** Checkpoints of every released format, as they were written then, go on in this release as if it had written them. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Checkpoint, CheckpointStore, type FlowError, Job, Upgrade } from "millrace"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { sha256Hex } from "../../src/internal/checkpoint/digest.ts"
import { memoryStore } from "../../src/internal/stores/memoryStore.ts"
import { type Golden, goldens, told, type World } from "./format-1.ts"

const folder = Path.join(import.meta.dirname, "golden/format-1")

/** A copy, because a job that goes on writes to its store. */
const copied = Effect.acquireRelease(
  Effect.sync(() => {
    const copy = Fs.mkdtempSync(Path.join(Os.tmpdir(), "millrace-golden-"))
    Fs.cpSync(folder, copy, { recursive: true })
    return copy
  }),
  (copy) => Effect.sync(() => Fs.rmSync(copy, { recursive: true }))
)

type Store = Layer.Layer<CheckpointStore.CheckpointStore, unknown>

const forms: Readonly<Record<string, (copy: string, golden: Golden) => Effect.Effect<Store, unknown>>> = {
  SQLite: (copy) => Effect.succeed(CheckpointStore.layerSqlite(Path.join(copy, "jobs.db"))),
  files: (copy) => Effect.succeed(CheckpointStore.layerFileSystem(Path.join(copy, "files"))),
  "a value in a file": (copy, { name }) =>
    Effect.gen(function*() {
      const value = yield* Checkpoint.readFile(Path.join(copy, `${name}.json`))
      const { layerMemory } = CheckpointStore
      return Layer.merge(Checkpoint.layer(value), layerMemory)
    })
}

const expected = ({ name }: Golden): unknown =>
  JSON.parse(Fs.readFileSync(Path.join(folder, `${name}.expected.json`), "utf8"))

describe.each(Object.keys(forms))("format 1, as %s", (form) => {
  it.live.each(goldens.flatMap((golden) => [[golden.name, 1, golden], [golden.name, 4, golden]] as const))(
    "%s goes on to the end, on %i partitions",
    ([_, partitions, golden]) =>
      Effect.gen(function*() {
        const store = yield* forms[form]!(yield* copied, golden)
        const world: World = { isSick: false, rows: new Map() }
        const job = golden.make(world)
        const plan = yield* Job.plan(job).pipe(Effect.provide(store))
        assert.strictEqual(Upgrade.verdict(plan), "safe")
        assert.isDefined(plan.epoch)
        assert.isTrue(plan.entries.every(({ status }) => status === "kept"), Upgrade.toText(plan))
        yield* Job.run(job, { partitions }).pipe(Effect.provide(store))
        assert.deepStrictEqual(told(world) as unknown, expected(golden))
      })
  )
})

describe("a format to come", () => {
  /** The head of a golden store, and behind it the same as a later release would write it. */
  const forged = Effect.gen(function*() {
    const golden = goldens[0]!
    const store = memoryStore()
    const value = yield* Checkpoint.readFile(Path.join(folder, `${golden.name}.json`))
    const job = golden.make({ isSick: false, rows: new Map() })
    const run = Job.run(job).pipe(
      Effect.provide(Checkpoint.layer(value)),
      Effect.provideService(CheckpointStore.CheckpointStore, store)
    )
    yield* run
    const [head] = yield* store.list(job.name)
    const bytes = yield* Effect.flatMap(store.manifest(job.name, head!.epoch), Effect.fromOption)
    const epoch = head!.epoch + 1
    const json = JSON.parse(new TextDecoder().decode(bytes).split("\n")[0]!) as object
    const text = JSON.stringify({ ...json, format: 99, epoch, state: "running", something: "new" })
    const digest = sha256Hex(new TextEncoder().encode(text))
    yield* store.commit({
      job: job.name,
      attempt: yield* store.acquire(job.name),
      epoch,
      previous: head!.epoch,
      digest,
      manifest: new TextEncoder().encode(`${text}\n${digest}\n`),
      blobs: [],
      drop: { epochs: [], blobs: [] },
      alongside: []
    })
    return { job, store, epoch }
  })

  it.live("is refused by name, and not passed over for the epoch before: a downgrade loses nothing", () =>
    Effect.gen(function*() {
      const { epoch, job, store } = yield* forged
      const provided = Effect.provideService(CheckpointStore.CheckpointStore, store)
      for (const use of [Effect.asVoid(Job.plan(job)), Job.run(job), Effect.asVoid(Checkpoint.latest(job.name))]) {
        const error =
          (yield* Effect.flip(provided(use as Effect.Effect<void, unknown, never>))) as FlowError.CheckpointRefused
        assert.strictEqual(error._tag, "CheckpointRefused")
        assert.strictEqual(error.epoch, epoch)
        assert.match(error.message, /has format 99, and this release reads format 1/)
        assert.match(error.message, /Run the release that wrote it, or a later one/)
      }
      assert.strictEqual((yield* store.list(job.name))[0]!.epoch, epoch)
      const [newest, before] = yield* provided(Checkpoint.list(job.name))
      assert.strictEqual(newest!.state, "unreadable")
      assert.match(newest!.problem!, /format 99/)
      assert.strictEqual(before!.state, "finished")
      // And whoever means it may.
      yield* provided(Job.run(job, { start: "afresh" }))
    }))

  it.live("is refused in a file, too", () =>
    Effect.gen(function*() {
      const copy = yield* copied
      const path = Path.join(copy, "tumbling.json")
      Fs.writeFileSync(path, Fs.readFileSync(path, "utf8").replace("\"format\": 1,", "\"format\": 99,"))
      const error = yield* Effect.flip(Checkpoint.readFile(path))
      assert.match(error.message, /it has format 99, and this release reads format 1/)
    }))
})
