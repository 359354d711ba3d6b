/** A damaged head took jobs back further than anybody had asked: behind a fresh start, or to where a layer began. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"

import { Checkpoint, CheckpointStore, Flow, Job, Sink } from "millrace"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

import { settle } from "../support/jobs.ts"
import { eventually, hasSeen, Rationed, Ward } from "../support/sickness.ts"

const world = (allowed = 10) => {
  const ration = new Rationed(100, allowed)
  const rows: Array<number> = []
  const out = Sink.upsert<number, never, never>((n) => Effect.sync(() => void rows.push(n)))
  const job = Job.make("job", [
    Flow.from("n", ration.source).pipe(Flow.map((n) => n, { name: "passed" }), Flow.to("out", out))
  ])
  return { ration, rows, job }
}
const step = (w: ReturnType<typeof world>, handle: Job.Handle<unknown>, to: number) =>
  Effect.gen(function*() {
    yield* w.ration.allow(to)
    yield* eventually(handle, hasSeen("passed", to))
    yield* settle
    yield* handle.checkpoint
    yield* settle
  })

it.live("file store: a damaged head manifest leaves the savepoint reachable, and Checkpoint.layer usable", () => {
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "rev-"))
  return Effect.gen(function*() {
    const w = world()
    const value = yield* Effect.scoped(Effect.gen(function*() {
      const handle = yield* Job.launch(w.job, { checkpointEvery: "1 hour" })
      yield* eventually(handle, hasSeen("passed", 10))
      const value = yield* handle.savepoint("precious")
      yield* step(w, handle, 20)
      return value
    }))
    const home = Path.join(folder, "job-job")
    const manifests = Fs.readdirSync(home).flatMap((room) =>
      Fs.statSync(Path.join(home, room)).isDirectory()
        ? Fs.readdirSync(Path.join(home, room)).filter((f) => f.startsWith("manifest-")).map((f) =>
          Path.join(home, room, f)
        ) :
        []
    )
    const epochOf = (f: string) => Number(Path.basename(f).split("-")[1])
    const head = manifests.sort((a, b) => epochOf(b) - epochOf(a))[0]!
    const bytes = Fs.readFileSync(head)
    bytes[bytes.length >> 1]! ^= 1
    Fs.writeFileSync(head, bytes)
    const found = yield* Effect.exit(Checkpoint.savepoint("job", "precious"))
    yield* w.ration.allow(100)
    const exit = yield* Effect.exit(Job.run(w.job).pipe(Effect.provide(Checkpoint.layer(value))))
    assert.strictEqual(`${found._tag} ${exit._tag}`, "Success Success")
  }).pipe(Effect.provide(CheckpointStore.layerFileSystem(folder)))
}, 30000)

it.effect("a damaged head does not take a job with a layer back to where the layer began", () => {
  const ward = new Ward()
  return Effect.gen(function*() {
    const w = world()
    const value = yield* Effect.scoped(Effect.gen(function*() {
      const handle = yield* Job.launch(w.job, { checkpointEvery: "1 hour" })
      yield* eventually(handle, hasSeen("passed", 10))
      yield* settle
      return yield* handle.savepoint("s")
    }))
    const layered = Effect.provide(Checkpoint.layer(value))
    yield* layered(Effect.scoped(Effect.gen(function*() {
      const handle = yield* Job.launch(w.job, { checkpointEvery: "1 hour" })
      for (const to of [20, 30, 40, 50]) yield* step(w, handle, to)
    })))
    const head = ward.commits.at(-1)!.epoch
    ward.isManifestDamaged = (epoch) => epoch === head
    const before = w.rows.length
    yield* w.ration.allow(100)
    yield* layered(Job.run(w.job))
    assert.isAtLeast(w.rows[before]!, 30)
  }).pipe(Effect.provide(ward.over(CheckpointStore.layerMemory)))
})

it.effect("a damaged epoch of a job begun afresh does not bring the run back that was given up", () => {
  const ward = new Ward()
  return Effect.gen(function*() {
    const w = world(50)
    yield* Effect.scoped(Effect.gen(function*() {
      const handle = yield* Job.launch(w.job, { checkpointEvery: "1 hour" })
      yield* eventually(handle, hasSeen("passed", 50))
      yield* settle
      yield* handle.checkpoint
    }))
    yield* Effect.scoped(Effect.gen(function*() {
      const handle = yield* Job.launch(w.job, { checkpointEvery: "1 hour", start: "afresh" })
      yield* eventually(handle, hasSeen("passed", 50))
      yield* settle
      yield* handle.checkpoint
    }))
    const head = ward.commits.at(-1)!.epoch
    ward.isManifestDamaged = (epoch) => epoch === head
    yield* w.ration.allow(100)
    const exit = yield* Effect.exit(Job.run(w.job))
    assert.strictEqual(exit._tag, "Failure")
  }).pipe(Effect.provide(ward.over(CheckpointStore.layerMemory)))
})
