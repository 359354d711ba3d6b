/** What may happen to a job, as plain data: one whole number says all of it. */
import * as fc from "fast-check"
import { type Disorder, print, type Spec, specs } from "../laws/randomFlows.ts"
import { type Loss, losses } from "../support/memoryDisk.ts"
import type { Pace } from "../support/seededTime.ts"
import type { Outcome, Rates } from "./troubles.ts"

/** What all launches of a job have in common. */
export interface Habits {
  readonly batchSize: number
  readonly bufferSize: number
  readonly checkpointMillis: number
  readonly retain: number
  readonly maxPendingBytes: number
  /** How long a source takes for a few rows, at most. */
  readonly readMillis: number
  /** How often what is refused is tried again. */
  readonly retries: number
}

/** Which side effects count. */
export type Where = "anywhere" | "commits" | "applications"

/** How a life ends unless the job has finished by then. `at` counts side effects, operations, or milliseconds. */
export type Ending =
  | { readonly _tag: "crash at a side effect"; readonly at: number; readonly where: Where }
  | { readonly _tag: "crash at an operation"; readonly at: number }
  | { readonly _tag: "zombie"; readonly at: number; readonly where: Where; readonly wakesAfterEpochs: number }
  | { readonly _tag: "stop"; readonly at: number; readonly crashesAt: number }
  | { readonly _tag: "savepoint, then crash"; readonly at: number; readonly crashesAt: number }

export interface Life {
  readonly partitions: number
  readonly ending: Ending
  readonly rates: Rates
  /** After so many records of it, operators fail. */
  readonly faults: ReadonlyArray<number>
  /** How the time of day jumps, and when. */
  readonly jump: { readonly afterMillis: number; readonly byMillis: number } | undefined
  /** How many of the newest epochs cannot be read any more when it begins, and what of them is damaged. */
  readonly damaged: number
  readonly damage: "manifest" | "blob"
}

export interface Scenario {
  readonly spec: Spec
  readonly habits: Habits
  readonly store: "in memory" | "in files"
  readonly sinks: "ledgers" | "files"
  /** Whether ledgers can be put back. */
  readonly rewinds: boolean
  /** What a loss of power takes with it. */
  readonly loss: Loss
  readonly lives: ReadonlyArray<Life>
  /** How the last life begins: well, or with troubles that end after a while. */
  readonly last: { readonly partitions: number; readonly rates: Rates; readonly healsAfterMillis: number | undefined }
  readonly pace: Omit<Pace, "seed">
}

const partitionsFor = (disorder: Disorder): fc.Arbitrary<number> =>
  disorder === "one partition" ? fc.constant(1) : fc.oneof(
    { weight: 12, arbitrary: fc.integer({ min: 1, max: 4 }) },
    { weight: 2, arbitrary: fc.integer({ min: 5, max: 16 }) },
    { weight: 1, arbitrary: fc.constant(16) }
  )

const ways: ReadonlyArray<Exclude<Outcome, "well">> = [
  "fails",
  "fails late",
  "answer lost",
  "slow",
  "hangs before",
  "hangs after"
]

const rates: fc.Arbitrary<Rates> = fc.record({
  permille: fc.constantFrom(0, 0, 20, 60, 150, 300, 500),
  ways: fc.oneof(
    fc.constant(["fails", "answer lost"] as const),
    fc.constant(["fails", "answer lost", "slow"] as const),
    fc.subarray([...ways], { minLength: 1 })
  ),
  most: fc.constantFrom(1, 3, 12, 24)
})

/** Most come in the midst of the work, some while it begins. */
const sooner = (max: number) =>
  fc.oneof(
    { weight: 2, arbitrary: fc.integer({ min: 1, max: Math.ceil(max / 8) }) },
    { weight: 3, arbitrary: fc.integer({ min: Math.ceil(max / 8), max }) }
  )

const endings: fc.Arbitrary<Ending> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      _tag: fc.constant("crash at a side effect"),
      at: sooner(240),
      where: fc.constant("anywhere")
    })
  },
  {
    weight: 2,
    arbitrary: fc.record({
      _tag: fc.constant("crash at a side effect"),
      at: fc.integer({ min: 1, max: 12 }),
      where: fc.constantFrom("commits", "applications")
    })
  },
  {
    weight: 2,
    arbitrary: fc.record({
      _tag: fc.constant("zombie"),
      at: fc.integer({ min: 1, max: 8 }),
      where: fc.constantFrom("commits", "applications"),
      wakesAfterEpochs: fc.constantFrom(0, 1, 3, 99)
    })
  },
  { weight: 3, arbitrary: fc.record({ _tag: fc.constant("crash at an operation"), at: sooner(30_000) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      _tag: fc.constant("zombie"),
      at: sooner(160),
      where: fc.constant("anywhere"),
      wakesAfterEpochs: fc.constantFrom(0, 1, 3, 99)
    })
  },
  {
    weight: 1,
    arbitrary: fc.record({ _tag: fc.constant("stop"), at: sooner(40), crashesAt: fc.constantFrom(1, 8, 9999) })
  },
  {
    weight: 1,
    arbitrary: fc.record({
      _tag: fc.constant("savepoint, then crash"),
      at: sooner(30),
      crashesAt: fc.constantFrom(1, 2, 4, 12)
    })
  }
)

const lifeFor = (disorder: Disorder): fc.Arbitrary<Life> =>
  fc.record({
    partitions: partitionsFor(disorder),
    ending: endings,
    rates,
    faults: fc.oneof(
      { weight: 3, arbitrary: fc.constant([]) },
      { weight: 1, arbitrary: fc.uniqueArray(fc.nat({ max: 40 }), { minLength: 1, maxLength: 5 }) }
    ),
    jump: fc.option(
      fc.record({
        afterMillis: fc.integer({ min: 1, max: 20 }),
        byMillis: fc.constantFrom(-3_600_000, -50, 50, 3_600_000)
      }),
      { nil: undefined, freq: 3 }
    ),
    damaged: fc.constantFrom(0, 0, 0, 0, 0, 0, 0, 1, 1, 2),
    damage: fc.constantFrom("manifest", "blob")
  })

const scenarios = (disorder: Disorder): fc.Arbitrary<Scenario> =>
  fc.record({
    spec: specs(disorder),
    habits: fc.record({
      batchSize: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 16 })),
      bufferSize: fc.integer({ min: 1, max: 24 }),
      checkpointMillis: fc.constantFrom(1, 2, 4, 8, 3_600_000),
      retain: fc.constantFrom(1, 2, 3, 1000),
      maxPendingBytes: fc.constantFrom(1, 400, 2 ** 26),
      readMillis: fc.constantFrom(0, 1, 4, 4),
      retries: fc.constantFrom(0, 2, 6)
    }),
    store: fc.constantFrom("in memory", "in memory", "in files"),
    sinks: fc.constantFrom("ledgers", "ledgers", "files"),
    rewinds: fc.constantFrom(true, true, true, false),
    loss: fc.constantFrom(...losses),
    lives: fc.array(lifeFor(disorder), { minLength: 1, maxLength: 4 }),
    last: fc.record({
      partitions: partitionsFor(disorder),
      rates,
      healsAfterMillis: fc.constantFrom(undefined, undefined, 20, 200)
    }),
    pace: fc.record({
      operations: fc.option(fc.integer({ min: 2, max: 64 }), { nil: undefined }),
      preempt: fc.constantFrom(0, 0.05, 0.2),
      tickMillis: fc.constantFrom(0.02, 0.1, 0.4)
    })
  })

const disorders: ReadonlyArray<Disorder> = ["within", "one exchange", "one partition"]

/** The scenario of a seed. */
export const scenarioOf = (seed: number): Scenario => {
  const [scenario] = fc.sample(fc.noBias(scenarios(disorders[seed % disorders.length]!)), { seed, numRuns: 1 })
  return scenario!
}

/** For people. */
export const printed = ({ spec, ...world }: Scenario): string => `${print(spec)}${JSON.stringify(world)}\n`

/** The scenario of a seed, with nothing but calls whose outcome is not what is said of it, at 5 to 30 in a hundred. */
export const ambiguousOf = (seed: number): Scenario => {
  const { habits, lives: [life], ...scenario } = scenarioOf(seed)
  const permille = 50 + seed * 7 % 251
  const rates: Rates = { permille, ways: ["fails", "fails late", "answer lost"], most: 1000 }
  return {
    ...scenario,
    habits: { ...habits, checkpointMillis: 1 + seed % 8, readMillis: 4 },
    lives: [{
      ...life!,
      ending: { _tag: "crash at an operation", at: Infinity },
      faults: [],
      jump: undefined,
      damaged: 0,
      rates
    }],
    last: { ...scenario.last, rates, healsAfterMillis: 20 }
  }
}
