/** Jobs to be simulated: some that are as they should be, and one for each mistake that a user may make. */
import { Effect, FileSystem, Schedule, Schema } from "effect"
import { Aggregate, ErrorPolicy, Flow, Job, Sink, Source, Watermark, Window } from "millrace"
import type { Simulation } from "millrace/testing"

interface Row {
  readonly n: number
  readonly key: string
  readonly at: number
}

/** Behind by 4 at most; every seventh far too late, if so asked. */
const rowsOf = (count: number, isLate = false): ReadonlyArray<Row> =>
  Array.from({ length: count }, (_, n) => ({
    n,
    key: "abc"[(n * 7) % 3]!,
    at: 100 + n * 3 + (n % 2) * 4 - (isLate && n % 7 === 6 ? 60 : 0)
  }))

const time = { time: (row: Row) => row.at, watermark: Watermark.boundedOutOfOrderness(6) }
const keyed = Flow.keyBy((row: Row) => row.key, Schema.String)
const values = { count: Aggregate.count, sum: Aggregate.sum((row: Row) => row.n) }
const exactly = { delivery: "exactly-once" } as const

// ---------------------------------------------------------------------------------------------------------------------
// as they should be
// ---------------------------------------------------------------------------------------------------------------------

const windowed: Simulation.World = () => {
  const panes = Flow.from("rows", Source.memory(rowsOf(40, true)), time).pipe(
    keyed,
    Flow.window("panes", Window.tumbling(20), { allowedLateness: 10 }),
    Flow.aggregate(values)
  )
  return Job.make("windowed", [
    panes.results.pipe(Flow.to("panes", Sink.memory<unknown>())),
    panes.late.pipe(Flow.map(({ value }) => value.n), Flow.to("late", Sink.memory<unknown>()))
  ], exactly)
}

const sessions: Simulation.World = () =>
  Job.make("sessions", [
    Flow.from("rows", Source.memorySplits([rowsOf(20), rowsOf(25)]), time).pipe(
      keyed,
      Flow.window("sessions", Window.session({ gap: 11 })),
      Flow.aggregate(values),
      Flow.only("results", { late: "all of them are within the bound" }),
      Flow.to("sessions", Sink.memory<unknown>())
    )
  ], exactly)

const merged: Simulation.World = () =>
  Job.make("merged", [
    Flow.merge(
      Flow.from("left", Source.memory(rowsOf(20)), time),
      Flow.from("right", Source.memory(rowsOf(15)), time).pipe(Flow.filter((row) => row.n % 3 !== 1))
    ).pipe(
      keyed,
      Flow.window("sliding", Window.sliding({ size: 40, every: 20 })),
      Flow.aggregate(values),
      Flow.only("results", { late: "all of them are within the bound" }),
      Flow.to("sliding", Sink.memory<unknown>())
    )
  ], exactly)

const retried: Simulation.World = () => {
  const failed = new Set<number>()
  return Job.make("retried", [
    Flow.from("rows", Source.memory(rowsOf(30))).pipe(
      Flow.map((row) => {
        if (row.n % 5 === 0 && !failed.has(row.n)) {
          failed.add(row.n)
          throw new Error("not yet")
        }
        return row.n
      }, { onError: ErrorPolicy.retry(Schedule.spaced("20 millis"), { then: ErrorPolicy.fail }) }),
      Flow.to("numbers", Sink.memory<unknown>())
    )
  ], exactly)
}

const letters: Simulation.World = () =>
  Job.make("letters", [
    Flow.from("rows", Source.memory(rowsOf(30))).pipe(
      Flow.map((row) => {
        if (row.n % 4 === 1) throw new Error(`no ${row.n}`)
        return row.n
      }, { name: "odd", onError: ErrorPolicy.deadLetter }),
      Flow.to("numbers", Sink.memory<unknown>())
    )
  ], { ...exactly, deadLetters: Sink.memory() })

/** One in memory and a table of the user's own; a job that is made anew for each life. */
const twoSinks: Simulation.World = () => {
  const table = new Map<string, number>()
  const all = Sink.memory<number>()
  const latest = Sink.upsert((row: Row) => Effect.sync(() => void table.set(row.key, row.n)))
  return {
    job: () => {
      const rows = Flow.from("rows", Source.memory(rowsOf(30)))
      return Job.make("two sinks", [
        rows.pipe(Flow.map((row) => row.n), Flow.to("all", all)),
        rows.pipe(Flow.to("latest", latest))
      ], exactly)
    },
    outputs: Effect.sync(() => ({ latest: [...table] }))
  }
}

/** Rows that are written at once, to a sink of the user's own, which may come again. */
const atOnce: Simulation.World = () => {
  const rows: Array<unknown> = []
  return {
    job: Job.make("at once", [
      Flow.from("rows", Source.memory(rowsOf(30))).pipe(
        Flow.map((row) => row.n),
        Flow.to("numbers", Sink.forEach((n) => Effect.sync(() => void rows.push(n))))
      )
    ]),
    outputs: Effect.sync(() => ({ numbers: rows }))
  }
}

/** From a file to a file, both on the simulated disk; and a queue, which is given records. */
const files: Simulation.World = () => ({
  job: Job.make("files", [
    Flow.from("file", Source.ndjson("/in.ndjson", Schema.Number)).pipe(Flow.to("numbers", Sink.ndjson("/out.ndjson"))),
    Flow.from("queue", Source.queue<number>()).pipe(Flow.to("pushed", Sink.memory<number>()))
  ], exactly),
  files: { "/in.ndjson": Array.from({ length: 30 }, (_, n) => `${n}\n`).join("") },
  records: { queue: [1, 2, 3] },
  outputs: linesOf("/out.ndjson")
})

export const clean = { windowed, sessions, merged, retried, letters, "two sinks": twoSinks, "at once": atOnce, files }

// ---------------------------------------------------------------------------------------------------------------------
// sinks of the user's own
// ---------------------------------------------------------------------------------------------------------------------

/** What a table of the user's own holds. */
interface Table {
  marker: Sink.Marker | undefined
  readonly rows: Array<unknown>
}

const isAt = (a: Sink.Marker | undefined, b: Sink.Marker | undefined): boolean =>
  a?.lineage === b?.lineage && a?.epoch === b?.epoch

const fenced = (sink: string) =>
  Effect.fail(new Sink.SinkFenced({ sink, expected: "another place", found: "this one" }))

const rowsIn = ({ bytes }: Sink.Prepared): ReadonlyArray<unknown> => JSON.parse(new TextDecoder().decode(bytes))

/** A table with a marker beside it; `apply` is what a user may get wrong. */
const tableSink = (
  table: Table,
  apply: (application: Sink.Application) => Effect.Effect<void>
): Sink.Sink<unknown, never, never, "transactional"> =>
  Sink.transactional<unknown>({
    description: "a table",
    open: () => Effect.die("nobody has asked for eager delivery"),
    openEpochs: ({ sink }) =>
      Effect.succeed({
        prepare: (rows) => ({ bytes: new TextEncoder().encode(JSON.stringify(rows)) }),
        apply: (application) =>
          Effect.suspend((): Effect.Effect<void, Sink.SinkFenced> => {
            if (isAt(table.marker, application.marker)) return Effect.void
            if (isAt(table.marker, application.after)) return apply(application)
            return fenced(sink)
          }),
        position: {
          isVolatile: false,
          current: Effect.sync(() => table.marker),
          begin: (marker, from) =>
            Effect.suspend((): Effect.Effect<void, Sink.SinkFenced> => {
              if (isAt(table.marker, marker)) return Effect.void
              if (!isAt(table.marker, from)) return fenced(sink)
              table.marker = marker
              table.rows.length = 0
              return Effect.void
            })
        }
      })
  })

/** A job that writes numbers to a table. */
const toTable = (
  apply: (table: Table, application: Sink.Application) => Effect.Effect<void>
): Simulation.World =>
() => {
  const table: Table = { marker: undefined, rows: [] }
  return {
    job: Job.make("to a table", [
      Flow.from("rows", Source.memory(rowsOf(30))).pipe(
        Flow.map((row) => row.n),
        Flow.to("numbers", tableSink(table, (application) => apply(table, application)))
      )
    ], exactly),
    outputs: Effect.sync(() => ({ numbers: table.rows }))
  }
}

const write = (table: Table, { prepared }: Sink.Application) =>
  Effect.sync(() => void table.rows.push(...prepared.flatMap(rowsIn)))
const mark = (table: Table, { marker }: Sink.Application) => Effect.sync(() => void (table.marker = marker))

/** Both at once, as it should be. */
export const honestTable = toTable((table, application) =>
  Effect.sync(() => {
    table.rows.push(...application.prepared.flatMap(rowsIn))
    table.marker = application.marker
  })
)

// ---------------------------------------------------------------------------------------------------------------------
// mistakes
// ---------------------------------------------------------------------------------------------------------------------

const numbers = (
  f: (row: Row) => unknown,
  source: Source.Source<Row, unknown> = Source.memory(rowsOf(30))
): Job.Job<unknown> =>
  Job.make(
    "numbers",
    [Flow.from("rows", source).pipe(Flow.map(f), Flow.to("numbers", Sink.memory<unknown>()))],
    exactly
  )

/** Numbers as they are. */
export const inMemory: Simulation.World = () => numbers((row) => row.n)

/** A closure numbers the rows. */
const counts: Simulation.World = () => {
  let count = 0
  return numbers((row) => `${++count}: ${row.n}`)
}

/** A closure remembers what it has let through. */
const remembers: Simulation.World = () => {
  const seen = new Set<number>()
  const all = Sink.memory<number>()
  return Job.make("remembers", [
    Flow.from("rows", Source.memory(rowsOf(30))).pipe(
      Flow.map((row) => row.n),
      Flow.filter((n) => !seen.has(n) && seen.add(n).size > 0),
      Flow.to("all", all)
    )
  ], exactly)
}

/** A closure that is empty again in a new process. */
const forgets: Simulation.World = () => {
  const all = Sink.memory<unknown>()
  return {
    job: () => {
      let last = -1
      return Job.make("forgets", [
        Flow.from("rows", Source.memory(rowsOf(30))).pipe(
          Flow.map((row) => {
            const before = last
            last = row.n
            return { n: row.n, before }
          }),
          Flow.to("all", all)
        )
      ], exactly)
    }
  }
}

/** The place in a source is that of the last row, not of the next. */
const rereads: Simulation.World = () => {
  const rows = rowsOf(30)
  return numbers(
    (row) => row.n,
    Source.make<Row>({
      description: "rows",
      bounded: true,
      replayable: true,
      splits: Effect.succeed(["0"]),
      open: (_, position) =>
        Effect.sync(() => {
          let at = Number(position ?? 0)
          return {
            pull: () =>
              Effect.sync(() => {
                const some = rows.slice(at, at + 2)
                const from = at
                at += some.length
                return some.length === 0 ? undefined : { rows: some, positionAfter: (taken) => from + taken - 1 }
              })
          }
        })
    })
  )
}

/** An idempotent sink for which a repeat makes a difference. */
const appends: Simulation.World = () => {
  const rows: Array<unknown> = []
  return {
    job: Job.make("appends", [
      Flow.from("rows", Source.memory(rowsOf(30))).pipe(
        Flow.to("numbers", Sink.upsert((row: Row) => Effect.sync(() => void rows.push(row.n))))
      )
    ], exactly),
    outputs: Effect.sync(() => ({ numbers: rows }))
  }
}

/** A plain sink that writes only when its flow ends. */
const buffers: Simulation.World = () => {
  const rows: Array<unknown> = []
  const buffered = Sink.make<number>({
    description: "a buffer",
    open: () =>
      Effect.sync(() => {
        const buffer: Array<unknown> = []
        return {
          write: (batch) => Effect.sync(() => void buffer.push(...batch)),
          end: Effect.sync(() => void rows.push(...buffer))
        }
      })
  })
  return {
    job: Job.make("buffers", [
      Flow.from("rows", Source.memory(rowsOf(30))).pipe(Flow.map((row) => row.n), Flow.to("numbers", buffered))
    ]),
    outputs: Effect.sync(() => ({ numbers: rows }))
  }
}

/** A plain sink that writes what is left when it is closed: a process that is killed closes nothing. */
const finalizes: Simulation.World = () => {
  const rows: Array<unknown> = []
  const buffered = Sink.make<number>({
    description: "a buffer",
    open: () =>
      Effect.map(
        Effect.acquireRelease(Effect.sync((): Array<number> => []), (buffer) =>
          Effect.sync(() => void rows.push(...buffer))),
        (buffer) => ({
          write: (batch) =>
            Effect.sync(() => void buffer.push(...batch))
        })
      )
  })
  return {
    job: Job.make("finalizes", [
      Flow.from("rows", Source.memory(rowsOf(30))).pipe(Flow.map((row) => row.n), Flow.to("numbers", buffered))
    ]),
    outputs: Effect.sync(() => ({ numbers: rows }))
  }
}

export const mistakes = {
  counts,
  remembers,
  forgets,
  rereads,
  appends,
  buffers,
  finalizes,
  // The marker comes first: after a crash the table says that it has rows which it has not.
  "marks too early": toTable((table, application) =>
    Effect.andThen(mark(table, application), Effect.andThen(Effect.sleep("1 millis"), write(table, application)))
  ),
  "marks too late": toTable((table, application) =>
    Effect.andThen(write(table, application), Effect.andThen(Effect.sleep("1 millis"), mark(table, application)))
  )
}

/** A sink that never answers again once it has failed to be asked twice in a row. */
export const silent: Simulation.World = () => {
  let opened = 0
  const table: Table = { marker: undefined, rows: [] }
  const sink = tableSink(
    table,
    (application) => opened > 1 ? Effect.never : Effect.andThen(write(table, application), mark(table, application))
  )
  return {
    job: () => {
      opened++
      return Job.make("silent", [
        Flow.from("rows", Source.memory(rowsOf(30))).pipe(Flow.map((row) => row.n), Flow.to("numbers", sink))
      ], exactly)
    },
    outputs: Effect.sync(() => ({ numbers: table.rows }))
  }
}

function linesOf(path: string) {
  return Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const text = yield* fs.readFileString(path)
    return { numbers: text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as unknown) }
  })
}
