/** A job that begins from nothing replaces what an older run has left in a file, even if its first attempt never got so far. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { CheckpointStore, Flow, Job, Sink, Source } from "millrace"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

it.live("an attempt that fails before a file is opened leaves none of an older run's rows in it", () =>
  Effect.gen(function*() {
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "millrace-older-"))),
      (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
    )
    const path = Path.join(folder, "rows.ndjson")
    Fs.writeFileSync(path, `"of an older run"\n`)
    const openings: Array<Sink.Opening> = []
    let written = 0
    const fragile = Sink.make<number, string>({
      description: "fails when it is opened first, and when it is written to first",
      open: (opening) =>
        Effect.suspend(() => {
          openings.push(opening)
          if (openings.length === 1) return Effect.fail("not yet")
          return Effect.succeed({
            write: () => Effect.suspend(() => written++ === 0 ? Effect.fail("not yet either") : Effect.void)
          })
        })
    })
    // One source, so that all are of one part, and restarted together.
    const rows = Flow.from("rows", Source.memory([1, 2, 3]))
    const job = Job.make("job", [
      rows.pipe(Flow.to("fragile", fragile)),
      rows.pipe(Flow.to("file", Sink.ndjson<number>(path), { delivery: "eager" }))
    ])
    yield* Effect.provide(Job.run(job), CheckpointStore.layerMemory)
    assert.deepStrictEqual(openings, [
      { attempt: 1, isFresh: true },
      { attempt: 1, isFresh: true },
      { attempt: 3, isFresh: true }
    ])
    const text = Fs.readFileSync(path, "utf8")
    assert.match(text, /^1\n2\n3\n(1\n2\n3\n)?$/)
  }).pipe(Effect.scoped))
