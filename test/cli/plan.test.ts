/** The command that a deployment asks before it goes on. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { CheckpointStore, Job } from "millrace"
import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { main } from "../../src/cli/plan.ts"

const program = (window: string, name = "visits") => `
import { Schema } from "effect"
import { Aggregate, Flow, Job, Sink, Source, Watermark, Window } from "millrace"
export const visits = Source.queue({ schema: Schema.Number, durable: true })
export const job = Job.make("job", [
  Flow.from(${JSON.stringify(name)}, visits, { time: (n) => n, watermark: Watermark.monotonic }).pipe(
    Flow.global,
    Flow.window("counted", Window.tumbling(${JSON.stringify(window)})),
    Flow.aggregate({ count: Aggregate.count }),
    Flow.only("results", { late: "in order" }),
    Flow.to("counts", Sink.memory())
  )
])
`

const root = Path.join(import.meta.dirname, "../..")

/** Beside the repository's own modules, so that "millrace" is found. */
const folder = Effect.acquireRelease(
  Effect.sync(() => {
    Fs.mkdirSync(Path.join(root, ".cache"), { recursive: true })
    return Fs.mkdtempSync(Path.join(root, ".cache/cli-"))
  }),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
)

const told = async (...args: ReadonlyArray<string>) => {
  const lines: Array<string> = []
  const errors: Array<string> = []
  const code = await main(args, { log: (line) => void lines.push(line), error: (line) => void errors.push(line) })
  return { code, out: lines.join("\n"), error: errors.join("\n") }
}

const stopped = Effect.fnUntraced(
  function*(folder: string, file: string) {
    const { job, visits } = yield* Effect.promise(() => import(file))
    const handle = yield* Job.launch(job as Job.Job)
    yield* handle.pushAll(visits, [1, 2, 3] as never)
    yield* handle.stop
  },
  (effect, folder) =>
    effect.pipe(Effect.scoped, Effect.provide(CheckpointStore.layerSqlite(Path.join(folder, "job.db"))))
)

describe("millrace plan", () => {
  it.live("says what becomes of a checkpoint, by its exit code too", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const write = (name: string, text: string) => {
        Fs.writeFileSync(Path.join(path, name), text)
        return Path.join(path, name)
      }
      const first = write("first.ts", program("1 minute"))
      const changed = write("changed.ts", program("1 hour"))
      const renamed = write("renamed.ts", program("1 minute", "views"))
      const none = write("none.ts", "export const nothing = 1")
      const store = `sqlite:${Path.join(path, "job.db")}`
      yield* stopped(path, first)
      const before = Fs.readdirSync(path)
      const ask = (...args: ReadonlyArray<string>) => Effect.promise(() => told("plan", ...args))

      const same = yield* ask(first, "--store", store)
      assert.deepStrictEqual([same.code, same.error], [0, ""])
      assert.match(same.out, /^job "job" goes on from epoch \d+\n {2}kept/)

      const refused = yield* ask(changed, "--store", store)
      assert.strictEqual(refused.code, 1)
      assert.match(refused.out, /refused {2}operator "counted" .*tumbling\(3600000 ms\)/)
      const reset = yield* ask(changed, "--store", store, "--reset", "counted", "--json")
      assert.strictEqual(reset.code, 1)
      assert.strictEqual(JSON.parse(reset.out).verdict, "loses")

      assert.strictEqual((yield* ask(renamed, "--store", store)).code, 1)
      const found = yield* ask(renamed, "--store", store, "--rename", "visits=views")
      assert.match(found.out, /kept +source "views" +was "visits"; the position of 1 split/)
      assert.strictEqual(found.code, 0)

      const wrong: ReadonlyArray<readonly [RegExp, ReadonlyArray<string>]> = [
        [/Give --store/, ["plan", first]],
        [/takes sqlite:<path> or file:<folder>/, ["plan", first, "--store", "redis:1"]],
        [/There is no store/, ["plan", first, "--store", "sqlite:/nowhere.db"]],
        [/There is no module/, ["plan", "nowhere.ts", "--store", store]],
        [/exports no job/, ["plan", none, "--store", store]],
        [/has "job"/, ["plan", first, "--store", store, "--job", "other"]],
        [/Unknown option/, ["plan", first, "--store", store, "--force"]],
        [/--rename takes/, ["plan", first, "--store", store, "--rename", "visits"]],
        [/^millrace plan <module>/, ["run"]]
      ]
      for (const [message, args] of wrong) {
        const { code, error } = yield* Effect.promise(() => told(...args))
        assert.strictEqual(code, 2, error)
        assert.match(error, message)
      }
      assert.strictEqual((yield* Effect.promise(() => told("--help"))).code, 0)
      assert.deepStrictEqual(
        Fs.readdirSync(path).filter((name) => !name.startsWith("job.db-")),
        before.filter((name) => !name.startsWith("job.db-"))
      )

      // As it is called.
      const out = execFileSync(
        process.execPath,
        [Path.join(root, "src/cli/main.ts"), "plan", first, "--store", store],
        {
          cwd: Os.tmpdir(),
          encoding: "utf8"
        }
      )
      assert.strictEqual(out.trimEnd(), same.out)
    }))
})
