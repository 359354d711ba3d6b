/**
 * A source that can give everything at once, and a sink a hundred times slower. Prints what the buffers and the heap held
 * at most. Run by `memory.test.ts` with a small heap: `slowSink.ts <partitions> <records>`.
 */
import { Effect, Schema } from "effect"
import { Aggregate, CheckpointStore, Flow, Job, Sink, Source, Watermark, Window } from "millrace"

const partitions = Number(process.argv[2])
const records = Number(process.argv[3])
/** Rows that the sink writes in a turn; a step of the source takes in 4,096 records in one. */
const rowsPerTurn = 41

/** About 500 bytes that no other record shares. */
const payload = (i: number): ReadonlyArray<number> => Array.from({ length: 60 }, (_, j) => i + j + 0.5)

let asked = 0
const source = Source.iterable((function*() {
  for (let i = 0; i < records; i++) {
    asked++
    yield { key: i % 1000, at: i, payload: payload(i) }
  }
})())

let written = 0
const sink = Sink.make<{ readonly row: number; readonly payload: ReadonlyArray<number> }>({
  description: "slow",
  open: () =>
    Effect.succeed({
      write: Effect.fnUntraced(function*(rows) {
        for (let from = 0; from < rows.length; from += rowsPerTurn) {
          yield* Effect.yieldNow
          written += Math.min(rowsPerTurn, rows.length - from)
        }
      })
    })
})

// Every record is alone with its key in its window: one pane, and so two rows, for each.
const job = Job.make("slow", [
  Flow.from("records", source, { time: ({ at }) => at, watermark: Watermark.monotonic }).pipe(
    Flow.keyBy(({ key }) => key, Schema.Number),
    Flow.window("alone", Window.tumbling(10)),
    Flow.aggregate({ at: Aggregate.max(({ at }) => at) }),
    Flow.only("results", { late: "in order" }),
    Flow.flatMap(({ window }) => [0, 1].map((row) => ({ row, payload: payload(window.start) }))),
    Flow.to("slow", sink)
  )
])

const heap = (): number => {
  globalThis.gc!()
  return process.memoryUsage().heapUsed
}

const main = Effect.gen(function*() {
  const baseline = heap()
  // Often, because a checkpoint keeps what it holds alive.
  const handle = yield* Job.launch(job, { partitions, checkpointEvery: "100 millis" })
  const seen = {
    looks: 0,
    heapGrowth: 0,
    overfull: [] as Array<string>,
    peaks: {} as Record<string, string>,
    ahead: 0,
    bound: 0
  }
  let next = 0
  for (;;) {
    const { buffers, state } = yield* handle.status
    for (const { capacity, fill, name, peak } of buffers) {
      if (fill > capacity || peak > capacity) seen.overfull.push(`${name}: ${fill}, at most ${peak}, of ${capacity}`)
      seen.peaks[name] = `${peak} of ${capacity}`
    }
    // What is between the source and the sink, and what may be: the buffers in use, and a step's worth for each of them.
    seen.ahead = Math.max(seen.ahead, asked - Math.floor(written / 2))
    const used = buffers.filter(({ name, peak }) => peak > 0 && !name.includes("kept for a restart"))
    seen.bound = used.reduce((sum, { capacity }) => sum + capacity + 4096, 0)
    seen.looks++
    if (written >= next) {
      seen.heapGrowth = Math.max(seen.heapGrowth, heap() - baseline)
      next += records / 10
    }
    if (state === "finished" || state === "failed") break
    yield* Effect.yieldNow
  }
  yield* handle.await
  return { ...seen, asked, written, checkpoints: (yield* handle.status).checkpoints }
})

console.log(
  JSON.stringify(await Effect.runPromise(Effect.scoped(main).pipe(Effect.provide(CheckpointStore.layerMemory))))
)
