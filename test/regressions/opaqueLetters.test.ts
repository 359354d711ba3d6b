/** A dead letter never stops the job, whatever its original is, also where the store outlives the process. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { CheckpointStore, type DeadLetter, ErrorPolicy, Flow, Job, Sink, Source } from "millrace"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

const store = Layer.unwrap(
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "millrace-letters-"))),
      (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
    ),
    (folder) => CheckpointStore.layerSqlite(Path.join(folder, "store.db"))
  )
)

it.live("an original that a durable store cannot keep is described in Sink.memory, too", () =>
  Effect.gen(function*() {
    const letters = Sink.memory<DeadLetter.DeadLetter>()
    class Money {
      readonly cents = 5
    }
    const job = Job.make("job", [
      Flow.from("n", Source.memory<unknown>([1, new Money(), 3])).pipe(
        Flow.map((n) => {
          if (typeof n !== "number") throw new Error("no number")
          return n
        }, { name: "tasted", onError: ErrorPolicy.deadLetter }),
        Flow.to("out", Sink.memory())
      )
    ], { deadLetters: letters })
    yield* Job.run(job)
    const all = yield* letters.contents
    assert.strictEqual(all.length, 1)
    assert.match(JSON.stringify(all[0]!.original), /cents/)
  }).pipe(Effect.provide(store)))
