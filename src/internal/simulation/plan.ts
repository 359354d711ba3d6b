/** What describes a simulated run completely: plain data that can be written down and replayed. */
import * as Schema from "effect/Schema"
import { type Chance, chance, magnitude, oneOf, whole } from "./chance.ts"
import { type Loss, losses } from "./disk.ts"

/** Where a fault strikes: at the nth call of this name in its life, or when its life has made so many operations. */
export type Place =
  | {
    readonly call: string
    readonly nth: number
    readonly when: "before" | "within" | "after"
    /** How long after the call has begun; for `within`. */
    readonly micros?: number
  }
  | { readonly operation: number }

export interface Fault {
  /** Counted from 1. */
  readonly life: number
  readonly at: Place
  readonly does:
    | "crash"
    | "pause"
    | "stop"
    | "slow"
    | "hang"
    | "fail"
    | "fail late"
    | "lose the answer"
    | "move the clock"
  /** How long a call takes, how far the clock moves. */
  readonly millis?: number
  /** What a crash takes from the disk. */
  readonly loss?: Loss
  /** After how many operations of its successor a life that was paused goes on. */
  readonly wakes?: number
}

export interface Plan {
  /** Of the scheduler, and of all that is not said here. */
  readonly seed: number
  /** The probability that a fiber is stopped before an operation. */
  readonly preempt: number
  /** Partitions of one life after the other; the last one is without faults. */
  readonly partitions: ReadonlyArray<number>
  readonly batchSize: number
  readonly bufferSize: number
  readonly checkpointEveryMillis: number
  /** Checkpoints that the store keeps. */
  readonly retain: number
  /** Records that a source gives at once, and how long it takes for them at most. */
  readonly chunk: number
  readonly paceMillis: number
  readonly store: "memory" | "files"
  /** Of sources that are not read in full: for each split which records, from here to before there. */
  readonly records: Readonly<Record<string, ReadonlyArray<ReadonlyArray<readonly [from: number, until: number]>>>>
  readonly faults: ReadonlyArray<Fault>
}

const Place = Schema.Union([
  Schema.Struct({
    call: Schema.String,
    nth: Schema.Int,
    when: Schema.Literals(["before", "within", "after"]),
    micros: Schema.optionalKey(Schema.Int)
  }),
  Schema.Struct({ operation: Schema.Int })
])

const Fault = Schema.Struct({
  life: Schema.Int,
  at: Place,
  does: Schema.Literals([
    "crash",
    "pause",
    "stop",
    "slow",
    "hang",
    "fail",
    "fail late",
    "lose the answer",
    "move the clock"
  ]),
  millis: Schema.optionalKey(Schema.Int),
  loss: Schema.optionalKey(Schema.Literals(losses)),
  wakes: Schema.optionalKey(Schema.Int)
})

export const Plan: Schema.Codec<Plan> = Schema.Struct({
  seed: Schema.Number,
  preempt: Schema.Number,
  partitions: Schema.Array(Schema.Int),
  batchSize: Schema.Int,
  bufferSize: Schema.Int,
  checkpointEveryMillis: Schema.Int,
  retain: Schema.Int,
  chunk: Schema.Int,
  paceMillis: Schema.Int,
  store: Schema.Literals(["memory", "files"]),
  records: Schema.Record(Schema.String, Schema.Array(Schema.Array(Schema.Tuple([Schema.Int, Schema.Int])))),
  faults: Schema.Array(Fault)
})

/** How likely each kind of fault is. */
export interface Faults {
  /** That a life ends in a crash: around a call, or between any two operations. */
  readonly crash: number
  /** That what would be a crash is a pause: the old life goes on when another has taken its job over. */
  readonly zombie: number
  /** That a life is stopped in good order. */
  readonly stop: number
  /** Of a call, that it takes its time. */
  readonly slow: number
  /** Of a call, that it does not answer for a long time. */
  readonly hang: number
  /** Of a call, that it fails, happens without an answer, or neither happens nor answers. */
  readonly ambiguous: number
  /** That checkpoints are files on a disk, which loses or tears what was not synced when a life crashes. */
  readonly torn: number
  /** At a call, that the wall clock jumps, forward or back. */
  readonly clock: number
}

export const all: Faults = {
  crash: 0.8,
  zombie: 0.25,
  stop: 0.1,
  slow: 0.03,
  hang: 0.004,
  ambiguous: 0.03,
  torn: 0.25,
  clock: 0.01
}

export const none: Faults = { crash: 0, zombie: 0, stop: 0, slow: 0, hang: 0, ambiguous: 0, torn: 0, clock: 0 }

/** Everything about a run but its faults. */
export const draw = (
  seed: number,
  faults: Faults,
  { lives, partitions, records }: {
    readonly lives: number
    readonly partitions: readonly [number, ...Array<number>]
    /** In the longest split. */
    readonly records: number
  }
): Plan => {
  const next = chance(seed, 1)
  return {
    seed,
    preempt: oneOf(next, [0, 0.02, 0.1]),
    partitions: Array.from({ length: whole(next, 1, lives) + 1 }, () => oneOf(next, partitions)),
    batchSize: oneOf(next, [1, 2, 4, 16, 256]),
    bufferSize: oneOf(next, [1, 4, 16, 512]),
    checkpointEveryMillis: oneOf(next, [2, 6, 20, 60, 1000]),
    retain: oneOf(next, [1, 2, 3]),
    chunk: Math.max(1, Math.ceil(records / magnitude(next, 2, 40))),
    paceMillis: oneOf(next, [0, 1, 4]),
    store: next() < faults.torn ? "files" : "memory",
    records: {},
    faults: []
  }
}

/** The same job, undisturbed. */
export const undisturbed = (records: Plan["records"]): Plan => ({
  seed: 0,
  preempt: 0,
  partitions: [1],
  batchSize: 4096,
  bufferSize: 8192,
  checkpointEveryMillis: 1000,
  retain: 3,
  chunk: 4096,
  paceMillis: 0,
  store: "memory",
  records,
  faults: []
})

/** How a life will end, as chance has it. */
export type End =
  | {
    readonly at: "call"
    /** Only calls that write are counted. */
    readonly writes: boolean
    readonly count: number
    readonly place: { readonly when: "before" | "after" } | { readonly when: "within"; readonly micros: number }
    readonly fault: EndFault
  }
  | { readonly at: "operation"; readonly count: number; readonly fault: EndFault }

type EndFault = Pick<Fault, "does"> & Partial<Pick<Fault, "loss" | "wakes">>

export const drawEnd = (next: Chance, faults: Faults): End | undefined => {
  const roll = next()
  if (roll >= faults.crash) {
    if (roll >= faults.crash + faults.stop) return undefined
    return { at: "operation", count: magnitude(next, 100, 8000), fault: { does: "stop" } }
  }
  const fault: EndFault = next() < faults.zombie
    ? { does: "pause", wakes: magnitude(next, 1, 8000) }
    : { does: "crash", ...next() < faults.torn * 2 ? { loss: oneOf(next, losses) } : {} }
  const when = oneOf<"before" | "within" | "after">(next, ["before", "within", "after"])
  const place = when === "within" ? { when, micros: magnitude(next, 1, 5000) } as const : { when } as const
  const which = next()
  // Most calls read. Those that write are where there is something to lose.
  if (which < 0.4) return { at: "call", writes: true, count: magnitude(next, 1, 40), place, fault }
  if (which < 0.7) return { at: "call", writes: false, count: magnitude(next, 1, 120), place, fault }
  return { at: "operation", count: magnitude(next, 30, 20_000), fault }
}

/** What happens around one call, as chance has it. */
export const drawAtCall = (
  next: Chance,
  faults: Faults
): ReadonlyArray<Pick<Fault, "does" | "millis"> & { readonly when: "before" | "after" }> => {
  const roll = next()
  let least = 0
  const falls = (probability: number): boolean => {
    least += probability
    return roll < least
  }
  if (falls(faults.slow)) return [{ when: "before", does: "slow", millis: magnitude(next, 1, 200) }]
  if (falls(faults.hang)) return [{ when: "before", does: "hang", millis: magnitude(next, 1000, 20_000) }]
  if (falls(faults.ambiguous)) {
    const millis = magnitude(next, 1, 300)
    return [
      oneOf<Pick<Fault, "does" | "millis"> & { readonly when: "before" | "after" }>(next, [
        { when: "before", does: "fail" },
        { when: "before", does: "fail late", millis },
        { when: "after", does: "lose the answer", millis }
      ])
    ]
  }
  if (falls(faults.clock)) {
    const far = oneOf(next, [1000, 60_000, 3_600_000, 86_400_000])
    return [{ when: "before", does: "move the clock", millis: next() < 0.5 ? far : -far }]
  }
  return []
}

/** The rates of one run: not every run has every fault, and some have many. */
export const drawRates = (seed: number, faults: Faults): Faults => {
  const next = chance(seed, 2)
  const some = (rate: number) => rate * oneOf(next, [0, 0.5, 1, 1, 3])
  return {
    ...faults,
    slow: some(faults.slow),
    hang: some(faults.hang),
    ambiguous: some(faults.ambiguous),
    clock: some(faults.clock)
  }
}

/** Faults of these kinds alone, and often. */
export const only = (kinds: ReadonlySet<Fault["does"]>, faults: Faults): Faults => {
  const isEnd = kinds.has("crash") || kinds.has("pause")
  return {
    crash: isEnd ? 1 : 0,
    zombie: kinds.has("pause") ? (kinds.has("crash") ? 0.5 : 1) : 0,
    stop: kinds.has("stop") ? 1 : 0,
    slow: kinds.has("slow") ? Math.max(faults.slow, 0.1) : 0,
    hang: kinds.has("hang") ? Math.max(faults.hang, 0.1) : 0,
    ambiguous: kinds.has("fail") || kinds.has("fail late") || kinds.has("lose the answer")
      ? Math.max(faults.ambiguous, 0.1)
      : 0,
    torn: faults.torn,
    clock: kinds.has("move the clock") ? Math.max(faults.clock, 0.1) : 0
  }
}
