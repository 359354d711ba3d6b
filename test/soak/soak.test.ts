/**
 * Days of a job's life in seconds: checkpoints every ten seconds, crashes every two hours, sources that pause, fail and take
 * long to open, clocks that are set wrong. Nothing may be lost, and nothing may grow.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Option, Schedule, Schema } from "effect"
import {
  Aggregate,
  CheckpointStore,
  ErrorPolicy,
  Flow,
  Job,
  Sink,
  type Source,
  Supervision,
  Watermark,
  Window
} from "millrace"
import * as V8 from "node:v8"
import * as Vm from "node:vm"
import type { Manifest } from "../../src/internal/checkpoint/manifest.ts"
import { blobsOf } from "../../src/internal/runtime/coordinator.ts"
import { memoryStore } from "../../src/internal/stores/memoryStore.ts"
import { random } from "../laws/running.ts"
import { type Around, live, Power, sink as poweredSink, store as poweredStore } from "../support/crashing.ts"
import { deep } from "../support/deep.ts"
import { report } from "../support/report.ts"
import { VirtualTime } from "../support/virtualTime.ts"
import { begin, bound, cycle, type Days, hour, look, makeDays, minute, Reading, sourceOf } from "./days.ts"

const retain = 3
/** Segments of a chain, by the bound of the coordinator. */
const longestChain = 256

V8.setFlagsFromString("--expose-gc")
const gc = Vm.runInNewContext("gc") as () => void

const heap = (): number => {
  gc()
  return process.memoryUsage().heapUsed
}

// ---------------------------------------------------------------------------------------------------------------------
// what outlives the job
// ---------------------------------------------------------------------------------------------------------------------

/** A store that says after each commit what it holds: no more than it was told to keep. */
const watchedStore = () => {
  const inner = memoryStore()
  const needs = new Map<number, ReadonlyArray<string>>()
  const blobs = new Set<string>()
  const seen = { commits: 0, mostEpochs: 0, longestChain: 0, mostBlobs: 0 }
  const store: CheckpointStore.CheckpointStore["Service"] = {
    ...inner,
    commit: (commit) =>
      Effect.gen(function*() {
        yield* inner.commit(commit)
        // Its first line, as it was written a moment ago.
        const [json] = new TextDecoder().decode(commit.manifest).split("\n")
        const manifest = JSON.parse(json!) as Manifest
        needs.set(commit.epoch, blobsOf(manifest))
        for (const { id } of commit.blobs) blobs.add(id)
        for (const epoch of commit.drop.epochs) needs.delete(epoch)
        for (const id of commit.drop.blobs) blobs.delete(id)
        const held = yield* inner.list(commit.job)
        assert.deepStrictEqual(held.map(({ epoch }) => epoch).sort(), [...needs.keys()].sort())
        seen.commits++
        seen.mostEpochs = Math.max(seen.mostEpochs, held.length)
        seen.mostBlobs = Math.max(seen.mostBlobs, blobs.size)
        seen.longestChain = Math.max(seen.longestChain, manifest.chain.length)
        // The whole comparison now and then, for it takes as long as the rest of the epoch.
        if (seen.commits % 50 > 0) return
        const needed = new Set([...needs.values()].flat())
        assert.deepStrictEqual([...blobs].filter((id) => !needed.has(id)), [], "blobs that nobody needs")
      })
  }
  return { store, seen }
}

interface Row {
  readonly operator: string
  readonly key: string | undefined
  readonly from: number
  readonly to: number
  readonly ids: ReadonlyArray<number>
}

/** Transactional sinks that remember of their rows only how often they have seen each record. */
class Tally {
  readonly panes = new Map<string, Uint8Array>()
  readonly late = new Map<string, Uint8Array>()
  readonly problems: Array<string> = []
  private readonly sinks = new Map<string, Sink.Sink<Row, Error, never, "transactional">>()
  private readonly days: Days

  constructor(days: Days) {
    this.days = days
  }

  sink(name: string): Sink.Sink<Row, Error, never, "transactional"> {
    const known = this.sinks.get(name) ?? this.makeSink()
    this.sinks.set(name, known)
    return known
  }

  private makeSink(): Sink.Sink<Row, Error, never, "transactional"> {
    let at: Sink.Marker | undefined
    const isAt = (marker: Sink.Marker | undefined) => marker?.lineage === at?.lineage && marker?.epoch === at?.epoch
    const move = (from: Sink.Marker | undefined, to: Sink.Marker, change: () => void) =>
      Effect.suspend(() => {
        if (isAt(to)) return Effect.void
        if (!isAt(from)) return Effect.fail(new Error("it stands elsewhere"))
        at = to
        change()
        return Effect.void
      })
    return Sink.transactional<Row, Error>({
      description: "tally",
      open: () => Effect.die("nobody has asked for eager delivery"),
      openEpochs: () =>
        Effect.succeed({
          prepare: (rows) => ({ bytes: new TextEncoder().encode(JSON.stringify(rows)) }),
          apply: ({ after, marker, prepared }) =>
            move(after, marker, () => {
              for (const { bytes } of prepared) {
                // What `prepare` has written.
                for (const row of JSON.parse(new TextDecoder().decode(bytes)) as ReadonlyArray<Row>) this.add(row)
              }
            }),
          position: {
            isVolatile: false,
            current: Effect.sync(() => at),
            begin: (to, from) => move(from, to, () => {})
          }
        })
    })
  }

  private add({ from, ids, key, operator, to }: Row): void {
    const book = key === undefined ? this.late : this.panes
    const counts = book.get(operator) ?? new Uint8Array(this.days.byId.length)
    book.set(operator, counts)
    for (const id of ids) {
      counts[id]!++
      const record = this.days.byId[id]
      if (key === undefined || (record?.key === key && record.at >= from && record.at < to)) continue
      this.problems.push(`${operator}: ${id} in ${key} ${from}`)
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// the job
// ---------------------------------------------------------------------------------------------------------------------

const timed = { time: ({ at }: Reading) => at, watermark: Watermark.boundedOutOfOrderness(bound) }
const ids = { ids: Aggregate.map(Aggregate.collect<Reading>(), (rows) => rows.map(({ id }) => id)) }

const windows: ReadonlyArray<readonly [name: string, window: Window.Window]> = [
  ["tumbling", Window.tumbling("10 minutes")],
  ["sliding", Window.sliding({ size: "20 minutes", every: "10 minutes" })],
  ["sessions", Window.session({ gap: "5 minutes" })]
]

const makeJob = (
  around: Around,
  tallies: { readonly main: Tally; readonly slow: Tally },
  sources: { readonly main: Source.Source<Reading, string>; readonly slow: Source.Source<Reading, string> },
  fails: (id: number) => boolean
) => {
  const counted = (flow: Flow.Flow<Reading, string>, name: string, window: Window.Window, tally: Tally) => {
    const { late, results } = flow.pipe(
      Flow.keyBy(({ key }) => key, Schema.String),
      Flow.window(name, window),
      Flow.aggregate(ids)
    )
    const pane = Flow.map(results, ({ key, value, window }): Row => ({
      operator: name,
      key,
      from: window.start,
      to: window.end,
      ids: value.ids
    }))
    const straggler = Flow.map(late, ({ value }): Row => ({
      operator: name,
      key: undefined,
      from: 0,
      to: 0,
      ids: [value.id]
    }))
    return { pane, straggler, tally, name }
  }
  const checked = Flow.from("readings", sources.main, timed).pipe(
    Flow.map((reading) => {
      if (fails(reading.id)) throw new Error("not now")
      return reading
    }, { name: "checked", onError: ErrorPolicy.retry(Schedule.spaced("7 seconds"), { then: ErrorPolicy.fail }) }),
    Flow.typed(Reading)
  )
  const all = [
    ...windows.map(([name, window]) => counted(checked, name, window, tallies.main)),
    counted(Flow.from("slow", sources.slow, timed), "slow tumbling", Window.tumbling("10 minutes"), tallies.slow)
  ]
  return Job.make(
    "soak",
    all.flatMap(({ name, pane, straggler, tally }) => [
      pane.pipe(Flow.to(name, poweredSink(around, name, tally.sink(name)))),
      straggler.pipe(Flow.to(`${name} late`, poweredSink(around, `${name} late`, tally.sink(`${name} late`))))
    ]),
    { delivery: "exactly-once" }
  )
}

// ---------------------------------------------------------------------------------------------------------------------
// its life
// ---------------------------------------------------------------------------------------------------------------------

/** What is remembered while nothing happens. */
interface Floor {
  readonly keys: number
  readonly timers: number
  readonly heap: number
}

interface Appointment {
  readonly at: number
  readonly what: "crash" | "stop" | "look" | "forward" | "back"
}

/** The appointments of a run: a crash or a stop each two hours or so, the clock of the machine an hour off now and then. */
const appointments = (hours: number, next: (n: number) => number): ReadonlyArray<Appointment> => {
  const all: Array<Appointment> = []
  const isCalm = (at: number) => at % cycle < cycle - 2 * look || at % cycle > cycle - look
  for (let at = 0; at < hours * hour; at += 105 * minute + next(30 * minute)) {
    if (at > 0) all.push({ at: isCalm(at) ? at : at - 3 * look, what: next(3) === 0 ? "stop" : "crash" })
  }
  for (let at = cycle - look; at < hours * hour; at += cycle) all.push({ at, what: "look" })
  for (let at = hour; at < hours * hour; at += 5 * hour + next(hour)) {
    all.push({ at, what: next(2) === 0 ? "forward" : "back" })
    all.push({ at: at + hour, what: "look" }, { at: at + 2 * hour, what: next(2) === 0 ? "forward" : "back" })
  }
  return all.sort((a, b) => a.at - b.at)
}

const soak = async (seed: number, hours: number) => {
  const next = random(seed)
  // Metrics are written every second, which would be most of what is done here: once a minute will do.
  const time = new VirtualTime(begin, (millis) => millis === 1000 ? minute : millis)
  const [main, slow] = [makeDays(hours, next), makeDays(hours, next)]
  const tallies = { main: new Tally(main), slow: new Tally(slow) }
  const { seen, store } = watchedStore()
  const floors: Array<Floor> = []
  const counts = { lives: 0, crashes: 0, stops: 0, restarts: 0, retried: 0, steps: 0, slowOpenings: 0 }
  const tried = new Set<number>()
  const planned = appointments(hours, next)
  let done = 0
  let failing = -1

  const life = (power: Power) => {
    const opening = Effect.suspend(() => {
      const minutes = next(2) * next(56)
      if (minutes > 43) counts.slowOpenings++
      return Effect.sleep(minutes * minute)
    })
    const before = (split: number) =>
      Effect.suspend(() => {
        if (failing !== split) return Effect.void
        failing = -1
        return Effect.fail("the source fails")
      })
    const fails = (id: number) => {
      if (id % 97 !== 5 || tried.has(id)) return false
      tried.add(id)
      counts.retried++
      return true
    }
    const job = makeJob(power.around, tallies, {
      main: sourceOf(time, main.splits, "main", before),
      slow: sourceOf(time, slow.splits.slice(0, 1), "slow", () => Effect.void, opening)
    }, fails)
    return Effect.scoped(Effect.gen(function*() {
      const handle = yield* Job.launch(job, {
        partitions: 1 + next(3),
        checkpointEvery: "10 seconds",
        retain,
        restarts: Supervision.restarts({ max: 5, within: "1 hour" })
      }).pipe(Effect.provideService(CheckpointStore.CheckpointStore, poweredStore(power.around, store)))
      const kept = Effect.gen(function*() {
        for (; done < planned.length;) {
          const { at, what } = planned[done]!
          yield* time.until(at)
          done++
          failing = next(3)
          switch (what) {
            case "look": {
              const { operators, restarts } = yield* handle.status
              counts.restarts += restarts
              if (at % cycle !== cycle - look) break
              const own = operators.filter(({ operator }) => !operator.startsWith("slow"))
              floors.push({
                keys: own.reduce((sum, { keys }) => sum + keys, 0),
                timers: time.outstanding,
                heap: heap()
              })
              failing = -1
              break
            }
            case "forward":
            case "back":
              counts.steps++
              time.skew += what === "forward" ? hour : -hour
              break
            case "stop":
              counts.stops++
              yield* handle.stop
              return "stopped" as const
            case "crash":
              counts.crashes++
              return power.fail()
          }
        }
        return yield* Effect.never
      })
      // One that is stopped has ended, too.
      const ended = Effect.flatMap(handle.await, () => Effect.map(handle.status, ({ state }) => state))
      return yield* Effect.raceFirst(kept, ended)
    }))
  }

  const exit = await time.run(Effect.gen(function*() {
    for (;;) {
      counts.lives++
      const power = new Power()
      const ended = yield* live(power, life(power))
      if (Option.isSome(ended) && ended.value === "finished") return
    }
  }))
  assert.isTrue(Exit.isSuccess(exit), Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "")
  return { time, main, slow, tallies, seen, floors, counts }
}

/** Each record once among the panes and what was late, and only what could be late was. */
const assertComplete = (operator: string, { byId, splits }: Days, { late, panes }: Tally, wanted: number): void => {
  const none = new Uint8Array(byId.length)
  const [on, off] = [panes.get(operator) ?? none, late.get(operator) ?? none]
  const wrong = splits.flat().filter(({ id, isRisky }) => {
    const [inPanes, asLate] = [on[id]!, off[id]!]
    if (!isRisky) return inPanes !== wanted || asLate !== 0
    // Of windows that overlap it may be too late for some.
    return asLate === 1 ? inPanes !== 0 : asLate !== 0 || inPanes < 1 || inPanes > wanted
  })
  const seen = wrong.slice(0, 5).map((one) => ({ ...one, inPanes: on[one.id], late: off[one.id] }))
  assert.deepStrictEqual(seen, [], `${operator}: ${wrong.length} records`)
}

describe("days of a job", () => {
  const hours = deep(7, 72)
  it.each(deep([1], [1, 2, 3, 4, 5]))("lose nothing and leave nothing behind, seed %i", async (seed) => {
    const began = performance.now()
    const { counts, floors, main, seen, slow, tallies, time } = await soak(seed, hours)
    for (const { problems } of [tallies.main, tallies.slow]) assert.deepStrictEqual(problems.slice(0, 5), [])
    for (const [name] of windows) assertComplete(name, main, tallies.main, name === "sliding" ? 2 : 1)
    assertComplete("slow tumbling", { ...slow, splits: slow.splits.slice(0, 1) }, tallies.slow, 1)

    // All that is left each time is what the last record of each split has opened.
    // The last cycle ends with the job, before anybody looks.
    assert.isAtLeast(floors.length, Math.ceil((hours * hour) / cycle) - 1)
    for (const floor of floors) {
      assert.deepStrictEqual([floor.keys, floor.timers], [floors[0]!.keys, floors[0]!.timers], JSON.stringify(floors))
    }
    assert.isAbove(floors[0]!.keys, 0)
    const growth = (floors.at(-1)!.heap - floors[0]!.heap) / 2 ** 20
    assert.isBelow(growth, 8, "megabytes")

    assert.isAtMost(seen.mostEpochs, retain + 1)
    assert.isAtMost(seen.longestChain, longestChain)
    assert.isAbove(seen.commits, hours * 340)
    assert.isAbove(counts.crashes + counts.stops, hours / 3)
    assert.isAbove(counts.restarts, 0)
    assert.isAbove(counts.retried, 0)
    const late = tallies.main.late.get("tumbling")?.reduce((sum, n) => sum + n, 0) ?? 0
    assert.isAbove(late, 20)
    report(
      `${hours} h, ${main.byId.length} records (${late} late), ${time.wakeUps} wake-ups, ${
        JSON.stringify({ ...counts, ...seen, floors: floors.length, keys: floors[0]!.keys, growth: growth.toFixed(2) })
      }`,
      began
    )
  }, deep(120_000, 900_000))
})
