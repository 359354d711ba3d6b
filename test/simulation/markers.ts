/**
 * Rare states that a run must have been in at least now and then, or else the schedules prove little. They are observed
 * from outside wherever that is possible; what only a machine knows is seen by spies on its class.
 */
import { Buckets } from "../../src/internal/machine/buckets.ts"
import { Sessions } from "../../src/internal/machine/sessions.ts"
import { Slices } from "../../src/internal/machine/slices.ts"

/** Each is to be hit in so many of 10,000 schedules, at least. */
export const markers = [
  // crashes
  "crash: just before a commit",
  "crash: just after a commit, before its answer",
  "crash: just before an application",
  "crash: just after an application, before its answer",
  "crash: between the durable checkpoint and a sink's application",
  "crash: one sink has the epoch and another has not",
  "crash: before an operation of the scheduler, between two side effects",
  "crash: while the job is taken over",
  "crash: while a source is read",
  "crash: while sinks are opened or asked where they stand",
  "crash: in the middle of a change of the disk",
  "crash: what was not synced is gone",
  "crash: half of what was not synced is there",
  "crash: during recovery",
  "crash: during the recovery of a recovery",
  "crash: the last epoch is durable, and its sinks lack it",
  "crash: after a stop has begun",
  "crash: after a savepoint was asked for",
  // zombies
  "zombie: woke after its successor had made an epoch",
  "zombie: its commit was refused",
  "zombie: its application was refused",
  "zombie: its application was found done",
  "zombie: woke when the job had finished",
  // ambiguity
  "ambiguous: a commit whose answer was lost was found done",
  "ambiguous: a commit was tried again and done then",
  "ambiguous: a commit was tried three times or more",
  "ambiguous: an application whose answer was lost was found done",
  "ambiguous: an application that failed was done later",
  "ambiguous: a job was taken over without hearing so",
  "ambiguous: reading the store was tried again",
  "ambiguous: a pull whose answer was lost was made again",
  "ambiguous: a sink could not be opened",
  // slow, hanging
  "slow: a commit",
  "hanging: a commit, until it was let go",
  "hanging: an application while epochs were made",
  "hanging: a source",
  "pressed: no more may be kept for sinks",
  "pressed: a checkpoint came before its time",
  "stalled: the job failed and named its sink",
  "clock: the time of day went back",
  "clock: the time of day leapt ahead",
  "failing: a part was restarted",
  "failing: a part was restarted three times or more",
  "failing: a transaction was tried three times or more before it went through",
  "cut: partitions stood still for it",
  // goes on from
  "from: a checkpoint",
  "from: fewer partitions",
  "from: more partitions",
  "from: one partition to sixteen, or back",
  "from: rows in an open gate",
  "from: rows that waited before a sink",
  "from: dead letters that waited",
  "from: rows on their way into an operator",
  "from: an open session",
  "from: an open window",
  "from: a window that was just firing",
  "from: a split that had ended, others not",
  "from: a split that had given nothing yet",
  "from: a watermark generator with a state",
  "from: an epoch that a sink was owed",
  "from: two epochs that a sink was owed",
  "from: two segments or more",
  "from: a chain of eight segments or more",
  "from: a base made anew",
  "from: an older epoch, the newest being damaged",
  "from: an older epoch, with a sink ahead of it that went back",
  "from: an epoch whose parent is of another lineage",
  "from: a stop",
  "from: a finished job that owed nothing",
  "from: a finished job that owed something",
  "refused: nothing that could be trusted",
  "refused: a sink stands ahead of the checkpoint",
  "retention: an epoch was dropped",
  "retention: a base was dropped",
  "savepoint: taken",
  // event time
  "event time: a record bridged two sessions",
  "event time: late by the least that is possible",
  "event time: on time by the least that is possible",
  "event time: rows were read again that event time had passed"
] as const

export type Marker = typeof markers[number]

/** What one run was in. */
export type Seen = Set<Marker>

/** Whom spies tell: runs come one after the other. */
let current: Seen = new Set()

export const watch = (seen: Seen): void => {
  current = seen
}

// ---------------------------------------------------------------------------------------------------------------------
// spies
// ---------------------------------------------------------------------------------------------------------------------

/** Comes before a method, which may be private. */
const before = <Self>(type: { readonly prototype: Self }, method: string, spy: (self: Self, args: Args) => void) => {
  // A prototype is a record of its methods.
  const methods = type.prototype as Record<string, (...args: ReadonlyArray<unknown>) => unknown>
  const original = methods[method]!
  methods[method] = function(this: Self, ...args) {
    spy(this, args)
    return original.apply(this, [...args])
  }
}

/** As the spied method has them. */
type Args = ReadonlyArray<unknown>

interface Late {
  readonly options: { readonly allowedLatenessMillis: number }
}

const latenessOf = (self: unknown): number => (self as Late).options.allowedLatenessMillis

/** Tells of records at the edge of being late. */
const edge = (end: number, lateness: number, watermark: number): void => {
  if (end - 1 + lateness === watermark) current.add("event time: late by the least that is possible")
  if (end - 1 + lateness === watermark + 1) current.add("event time: on time by the least that is possible")
}

const spies = (): void => {
  before(Buckets, "record", (self, args) => {
    const [, time, , watermark] = args as readonly [unknown, number, unknown, number]
    const { assign } = self as unknown as { readonly assign: (time: number) => ReadonlyArray<{ readonly end: number }> }
    if (watermark < time - 1000 || watermark > time + 1000) return
    for (const { end } of assign(time)) edge(end, latenessOf(self), watermark)
  })
  before(Slices, "late", (self, args) => {
    const [, , , , last, watermark] = args as readonly [unknown, unknown, unknown, unknown, number, number]
    edge(last, latenessOf(self), watermark)
  })
  before(Sessions, "record", (self, args) => {
    const [, time, , watermark] = args as readonly [unknown, number, unknown, number]
    edge(time + (self as unknown as { readonly gapMillis: number }).gapMillis, latenessOf(self), watermark)
  })
  before(Sessions, "extended", (_, args) => {
    const [, from, to] = args as readonly [unknown, number, number]
    if (to - from > 1) current.add("event time: a record bridged two sessions")
  })
}

spies()
