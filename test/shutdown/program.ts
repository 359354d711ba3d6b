/**
 * A job in a process of its own, which stops when it is told to end, as the guide has it. Says where it is, and when it ends,
 * what it still holds. Run by `signals.test.ts`: `program.ts <folder> <records> <phase> <milliseconds that the phase takes>`.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Duration, Effect } from "effect"
import { CheckpointStore, Flow, Job, Sink, Source } from "millrace"
import * as Fs from "node:fs"
import type { Phase } from "./phases.ts"

const [folder = "", records = "0", phase = "none", millis = "0"] = process.argv.slice(2)
const count = Number(records)

const say = (what: string): void => void Fs.writeSync(1, `${what}\n`)

/** Says that the phase has begun, and lets it take its time. */
const lingers = (here: Phase): Effect.Effect<void> =>
  phase === here
    ? Effect.andThen(Effect.sync(() => say(here)), Effect.sleep(Duration.millis(Number(millis))))
    : Effect.void

const source = Source.make<number>({
  description: "numbers",
  bounded: true,
  replayable: true,
  splits: Effect.as(lingers("starting"), ["0"]),
  open: (_, position) =>
    Effect.sync(() => {
      let at = Number(position ?? 0)
      return {
        pull: (max) =>
          Effect.gen(function*() {
            if (at >= count) return undefined
            // Some hundred records, and then slower, so that there is something left to be told to end in.
            if (at >= 400 && phase !== "ending" && phase !== "none") yield* Effect.sleep("20 millis")
            if (at === 420) yield* lingers("running")
            const start = at
            at = Math.min(count, start + Math.min(max, 20))
            const rows = Array.from({ length: at - start }, (_, i) => start + i)
            return { rows, positionAfter: (taken: number) => start + taken }
          })
      }
    })
})

const file = Sink.ndjson<number>(`${folder}/numbers.ndjson`)
let applications = 0
const sink = Sink.transactional<number, unknown>({
  description: file.description,
  open: file.open,
  openEpochs: (opening) =>
    Effect.map(file.openEpochs!(opening), (writer) => ({
      ...writer,
      // A file has a position.
      position: writer.position!,
      apply: (application) =>
        Effect.andThen(
          Effect.suspend(() => applications++ === 1 ? lingers("applying") : Effect.void),
          writer.apply(application)
        )
    }))
})

const job = Job.make("numbers", [Flow.from("numbers", source).pipe(Flow.to("numbers", sink))])

let commits = 0
const main = Effect.gen(function*() {
  const inner = yield* CheckpointStore.CheckpointStore
  const store = CheckpointStore.CheckpointStore.of({
    ...inner,
    commit: (commit) =>
      Effect.andThen(
        Effect.suspend(() => {
          const isEnding = new TextDecoder().decode(commit.manifest).includes("\"state\":\"finished\"")
          return isEnding ? lingers("ending") : commits++ === 2 ? lingers("checkpointing") : Effect.void
        }),
        inner.commit(commit)
      )
  })
  const handle = yield* Job.launch(job, { checkpointEvery: "50 millis" }).pipe(
    Effect.provideService(CheckpointStore.CheckpointStore, store)
  )
  yield* Effect.addFinalizer(() => Effect.ignore(handle.stop))
  if (phase === "draining") {
    yield* Effect.sleep("200 millis")
    yield* Effect.forkChild(handle.drain)
    yield* lingers("draining")
  }
  yield* handle.await
}).pipe(Effect.scoped, Effect.provide(CheckpointStore.layerFileSystem(`${folder}/checkpoints`)))

/** Files of the folder that are open, where the system says so. */
const openFiles = (): ReadonlyArray<string> => {
  const fds = "/proc/self/fd"
  if (!Fs.existsSync(fds)) return []
  return Fs.readdirSync(fds).flatMap((fd) => {
    try {
      const path = Fs.readlinkSync(`${fds}/${fd}`)
      return path.startsWith(folder) ? [path] : []
    } catch {
      // That of the listing itself.
      return []
    }
  })
}

process.on("exit", () => {
  // Pipes are those of whoever runs this, and an immediate is what ends the program. A request that the system was at when
  // who made it was interrupted is answered by nobody, and keeps nothing open.
  const resources = process.getActiveResourcesInfo().filter((name) => !/Pipe|TTY|SignalWrap|Immediate|Req/.test(name))
  say(JSON.stringify({ resources, openFiles: openFiles() }))
})

NodeRuntime.runMain(main)
