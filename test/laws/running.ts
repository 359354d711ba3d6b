/** Runs random jobs, by the engine and by the reference, and compares what came of it. */
import { assert } from "@effect/vitest"
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as fc from "fast-check"
import * as CheckpointStore from "../../src/CheckpointStore.ts"
import type { DeadLetter } from "../../src/DeadLetter.ts"
import * as Job from "../../src/Job.ts"
import * as Reference from "../../src/Reference.ts"
import * as Sink from "../../src/Sink.ts"
import * as SeededScheduler from "../../src/testing/SeededScheduler.ts"
import { deep } from "../support/deep.ts"
import { report } from "../support/report.ts"
import { build, type Built, type Outlet, type Parts, type Spec, text } from "./randomFlows.ts"
import { lawRuns, runs } from "./runs.ts"

/** What sinks and dead letters have received. */
export interface Received {
  readonly outputs: Readonly<Record<string, ReadonlyArray<unknown>>>
  readonly refused: ReadonlyArray<Reference.Refused>
}

/** How the fibers of a run take turns. */
export interface Interleaving {
  readonly seed: number
  readonly operations: number | undefined
  readonly preempt: number
}

export const run = <A>(
  effect: Effect.Effect<A, unknown>,
  interleaving: Interleaving | undefined
): Promise<Exit.Exit<A, unknown>> => {
  if (interleaving === undefined) return Effect.runPromiseExit(effect)
  const { operations, preempt, seed } = interleaving
  return SeededScheduler.run(effect, {
    seed,
    preempt,
    // Sixteen partitions in five stages that are pre-empted at every other operation take half a million.
    maxSteps: 4_000_000,
    ...operations === undefined ? {} : { operations }
  })
}

export const succeeded = <A>(exit: Exit.Exit<A, unknown>): A => {
  if (Exit.isSuccess(exit)) return exit.value
  throw new Error(`the job failed: ${Cause.pretty(exit.cause)}`)
}

// -------------------------------------------------------------------------------------------------------------------
// running
// -------------------------------------------------------------------------------------------------------------------

/** A job whose sinks write into arrays, which each run of it begins anew. */
export const recorded = (
  spec: Spec,
  given: Partial<Parts> = {},
  onWrite: (keep: () => void) => Effect.Effect<void, unknown> = Effect.sync
) => {
  const written = new Map<string, Array<unknown>>()
  const recorder = (name: string) => {
    const rows: Array<unknown> = []
    written.set(name, rows)
    return Sink.make<unknown, unknown>({
      description: "recorder",
      open: () => Effect.succeed({ write: (batch) => onWrite(() => void rows.push(...batch)) })
    })
  }
  const deadLetters = recorder("dead letters")
  const built = build(spec, { sink: recorder, deadLetters, ...given })
  const received = (): Received => {
    const { "dead letters": refused, ...outputs } = Object.fromEntries(
      Array.from(written, ([name, rows]) => [name, rows.splice(0)] as const)
    )
    return { outputs, refused: refused as ReadonlyArray<DeadLetter> }
  }
  return { built, received }
}

export const launched = (job: Job.Job, options: Job.RunOptions): Effect.Effect<Job.JobStatus, unknown> =>
  Effect.scoped(Effect.gen(function*() {
    const handle = yield* Job.launch(job, options)
    yield* handle.await
    return yield* handle.status
  })).pipe(Effect.provide(CheckpointStore.layerMemory))

export const expected = ({ job }: Built): Received => ({ outputs: Reference.run(job), refused: Reference.refused(job) })

/** Sleeps of less than a second are a few turns of the scheduler, longer ones do not end: no run depends on real time. */
export const turns = (seed: number): Clock.Clock => {
  const next = random(seed)
  return {
    currentTimeMillisUnsafe: () => 0,
    currentTimeMillis: Effect.succeed(0),
    currentTimeNanosUnsafe: () => 0n,
    currentTimeNanos: Effect.succeed(0n),
    monotonicTimeNanosUnsafe: () => 0n,
    monotonicTimeNanos: Effect.succeed(0n),
    sleep: (duration) =>
      Duration.toMillis(duration) >= 1000
        ? Effect.never
        : Effect.gen(function*() {
          // Not `Effect.repeat`, which sleeps itself.
          for (let turns = next(12); turns >= 0; turns--) yield* Effect.yieldNow
        })
  } as Clock.Clock
}

/** Whole numbers below n, from a seed. */
export const random = (seed: number) => {
  let state = Math.imul(seed + 1, 0x9e3779b1) | 1
  return (n: number): number => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % n
  }
}

// -------------------------------------------------------------------------------------------------------------------
// comparing
// -------------------------------------------------------------------------------------------------------------------

interface PaneLike {
  readonly isLast: boolean
}

/** What is certain of a value, as text. */
const certainText = ({ waits }: Built, { kind }: Outlet) => (value: unknown): string => {
  if (kind !== "pane" || !waits) return text(value)
  const { isLast: _, ...rest } = value as PaneLike
  return text(rest)
}

const refusedText = ({ key, operator, original, timestamp }: Reference.Refused): string =>
  text({ operator, original, timestamp, key })

/** Values that must keep their order have one origin. */
const originOf = ({ certain, kind }: Outlet, value: unknown): string => {
  if (certain === "all") return ""
  if (kind === "pane") return String((value as { readonly key: unknown }).key)
  const row = (kind === "late" ? (value as { readonly value: unknown }).value : value) as {
    readonly from: string
    readonly key: number
  }
  return certain === "by origin" ? row.from : `${row.from} ${row.key}`
}

const grouped = (
  outlet: Outlet,
  values: ReadonlyArray<unknown>,
  textOf: (value: unknown) => string
): Record<string, ReadonlyArray<string>> => {
  const groups: Record<string, Array<string>> = {}
  for (const value of values) (groups[originOf(outlet, value)] ??= []).push(textOf(value))
  return groups
}

const textOf = ({ disorder }: Spec, built: Built, outlet: Outlet) =>
  disorder === "within" ? certainText(built, outlet) : text

/** The same multiset in every sink, and the same order where it is certain. */
export const same = (spec: Spec, built: Built, actual: Received, reference: Received, what: string): void => {
  for (const outlet of built.outlets) {
    const exactly = textOf(spec, built, outlet)
    const [got, wanted] = [actual.outputs[outlet.name] ?? [], reference.outputs[outlet.name]!]
    assert.deepStrictEqual(got.map(exactly).sort(), wanted.map(exactly).sort(), `${what}: ${outlet.name}`)
    if (outlet.certain === "none") continue
    assert.deepStrictEqual(
      grouped(outlet, got, exactly),
      grouped(outlet, wanted, exactly),
      `${what}: the order in ${outlet.name}`
    )
  }
  assert.deepStrictEqual(
    actual.refused.map(refusedText).sort(),
    reference.refused.map(refusedText).sort(),
    `${what}: dead letters`
  )
}

/** After a restart nothing is missing and nothing is made up, but it may come again. */
export const covers = (spec: Spec, built: Built, actual: Received, reference: Received, what: string): void => {
  const check = (got: ReadonlyArray<string>, wanted: ReadonlyArray<string>, name: string) => {
    assert.deepStrictEqual([...new Set(got)].sort(), [...new Set(wanted)].sort(), `${what}: ${name}`)
    const left = new Map<string, number>()
    for (const one of got) left.set(one, (left.get(one) ?? 0) + 1)
    for (const one of wanted) {
      const count = left.get(one) ?? 0
      assert.isAbove(count, 0, `${what}: ${name} lacks ${one}`)
      left.set(one, count - 1)
    }
  }
  for (const outlet of built.outlets) {
    const exactly = textOf(spec, built, outlet)
    check((actual.outputs[outlet.name] ?? []).map(exactly), reference.outputs[outlet.name]!.map(exactly), outlet.name)
  }
  check(actual.refused.map(refusedText), reference.refused.map(refusedText), "dead letters")
}

// -------------------------------------------------------------------------------------------------------------------
// laws
// -------------------------------------------------------------------------------------------------------------------

/** Runs a job once and compares it with the reference, its order and its state included. */
export const once = async (
  spec: Spec,
  options: { partitions?: number; batchSize?: number; bufferSize?: number },
  interleaving?: Interleaving
) => {
  const { built, received } = recorded(spec)
  const reference = expected(built)
  const status = succeeded(await run(launched(built.job, options), interleaving))
  same(spec, built, received(), reference, JSON.stringify({ ...options, ...interleaving }))
  return status
}

export const interleavings: fc.Arbitrary<Interleaving> = fc.record({
  seed: fc.nat({ max: 1_000_000_000 }),
  operations: fc.option(fc.integer({ min: 1, max: 64 }), { nil: undefined }),
  preempt: fc.constantFrom(0, 0.05, 0.2, 0.5)
})

/** More runs may take longer. */
export const timeout = deep(180_000, 900_000) * runs(1)

/** A failure prints the job, what it read, and the seeds that lead there again. */
export const check = async <Ts extends [unknown, ...Array<unknown>]>(
  numRuns: number,
  property: fc.IAsyncProperty<Ts>
): Promise<void> => {
  const began = performance.now()
  await fc.assert(property, {
    numRuns: lawRuns(numRuns),
    interruptAfterTimeLimit: deep(120_000, 600_000) * Math.max(1, runs(1)),
    markInterruptAsFailure: true
  })
  report(`${lawRuns(numRuns)} runs`, began)
}
