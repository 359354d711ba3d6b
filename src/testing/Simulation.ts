/**
 * A job of your own in a simulated world: a store, sinks, sources and a clock that fail in every way they may, and lives
 * that end anywhere, all from one seed.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import type { CheckpointStore } from "../CheckpointStore.ts"
import * as plans from "../internal/simulation/plan.ts"
import { type Ran, readable, runOnce, type Subject, type Surroundings } from "../internal/simulation/run.ts"
import { recordsIn, shrink, type Sizes } from "../internal/simulation/shrink.ts"
import * as verdict from "../internal/simulation/verdict.ts"
import { lettersName } from "../internal/simulation/wrapping.ts"
import * as Job from "../Job.ts"

// -------------------------------------------------------------------------------------------------------------------
// worlds
// -------------------------------------------------------------------------------------------------------------------

/**
 * Rows by the names of outputs; those of the dead letters are called `dead letters`.
 *
 * @since 0.1.0
 * @category models
 */
export type Outputs = verdict.Outputs

/**
 * A job with what the simulation cannot know of it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Setup<out R = never> {
  /**
   * The job; or a function that makes it anew for each life, as a new process does: what its closures hold is lost with the
   * process. Its sinks outlive it, so they are made outside the function.
   */
  readonly job: Job.Job<unknown, R> | (() => Job.Job<unknown, R>)
  /** Reads the sinks of your own, by the names of their outputs. Those of `Sink.memory` are read without being asked for. */
  readonly outputs?: Effect.Effect<Outputs, unknown, R | FileSystem.FileSystem>
  /** What sources give instead of what they would read: queues, which never end, and whatever is not simulated. */
  readonly records?: Readonly<Record<string, ReadonlyArray<unknown>>>
  /** What stands in the files of the simulated disk at the beginning. */
  readonly files?: Readonly<Record<string, string>>
}

/**
 * Makes a job with fresh sinks, once for every run.
 *
 * @since 0.1.0
 * @category models
 */
export type World<R = never> = () => Job.Job<unknown, R> | Setup<R>

// -------------------------------------------------------------------------------------------------------------------
// faults and plans
// -------------------------------------------------------------------------------------------------------------------

/**
 * How likely each kind of fault is, from 0 to 1.
 *
 * **Details**
 *
 * `crash`, `zombie` and `stop` count per life: whether it ends so. `slow`, `hang`, `ambiguous` and `clock` count per call
 * to the store, a sink or a source; each run takes a multiple of them of its own, from none to three times as much. `torn`
 * counts per run.
 *
 * @since 0.1.0
 * @category models
 */
export type Faults = plans.Faults

/**
 * Sets of faults to begin with: `{ ...Simulation.faults.none, crash: 1 }`.
 *
 * @since 0.1.0
 * @category faults
 */
export const faults: { readonly all: Faults; readonly none: Faults } = { all: plans.all, none: plans.none }

/**
 * Describes a run completely, as plain data: the seed, the settings of the job, which records are read, and every fault.
 *
 * @since 0.1.0
 * @category models
 */
export const Plan: Schema.Codec<plans.Plan> = plans.Plan
/**
 * @since 0.1.0
 * @category models
 */
export type Plan = plans.Plan

/**
 * One fault of a plan: in which life, where, and what it does.
 *
 * @since 0.1.0
 * @category models
 */
export type Fault = plans.Fault

/**
 * What differs in one output.
 *
 * @since 0.1.0
 * @category models
 */
export type Difference = verdict.Difference

/**
 * What all runs have in common.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** What is not given is as in `faults.all`. */
  readonly faults?: Partial<Faults>
  /** Numbers of partitions, of which each life has one. 1, 2, 3 and 5 by default. */
  readonly partitions?: readonly [number, ...Array<number>]
  /** Lives with faults at most, before the one without. 3 by default. */
  readonly lives?: number
  /** Settings of the job that are not left to chance. */
  readonly options?: Omit<Job.RunOptions, "partitions" | "start">
  /** How long, on the simulated clock, the job may take to its end once there are no faults. A minute by default. */
  readonly patience?: Duration.Input
  /** A run of more turns of fibers is taken for one that never ends. A million by default. */
  readonly maxSteps?: number
  /** What of a row must be the same as undisturbed; all of it by default. */
  readonly essence?: (row: unknown, output: string) => unknown
  /** A key by which rows of an output keep their order. Undefined, the default: none do. */
  readonly orderedBy?: (row: unknown, output: string) => unknown
  /** Looks at what came of a run. What it throws is a failure. */
  readonly check?: (outputs: Outputs) => void
}

/**
 * @since 0.1.0
 * @category models
 */
export interface RunOptions extends Options {
  /** 0 by default. */
  readonly seed?: number
  /** Replays this run; what it says comes before all other options. */
  readonly plan?: Plan
}

/**
 * @since 0.1.0
 * @category models
 */
export interface CheckOptions extends Options {
  /** How many seeds are tried. */
  readonly runs: number
  /** The first of them. 0 by default. */
  readonly seed?: number
  /** How often a run that failed is tried again to make it smaller, at most. 400 by default. */
  readonly shrinks?: number
}

/**
 * What came of a run that was as it should be.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome {
  readonly outputs: Outputs
  readonly plan: Plan
  /** What happened to the job, in words, in order. */
  readonly log: ReadonlyArray<string>
  /** How often each kind of fault struck, and each rare state was reached. */
  readonly seen: Readonly<Record<string, number>>
  /** Of all choices of the scheduler, all calls and all faults: equal runs have equal ones. */
  readonly fingerprint: string
  /** What passed on the simulated clock. */
  readonly virtualMillis: number
}

/**
 * What came of many runs that were as they should be.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report {
  readonly runs: number
  readonly faults: number
  /** Over all runs. */
  readonly seen: Readonly<Record<string, number>>
  readonly virtualMillis: number
}

// -------------------------------------------------------------------------------------------------------------------
// errors
// -------------------------------------------------------------------------------------------------------------------

/**
 * A job does not come to the same results under faults: what happened to it, what differs, and how to see it again.
 *
 * @since 0.1.0
 * @category errors
 */
export class SimulationFailed
  extends Schema.TaggedError<SimulationFailed>("millrace/SimulationFailed")("SimulationFailed", {
    job: Schema.String,
    /** Of the run that failed first. */
    seed: Schema.Number,
    /** `differs`: outputs. `failed`: the job, or `check`. `stuck`: it has not come to its end without faults. */
    reason: Schema.Literals(["differs", "failed", "stuck"]),
    /** Why it failed, or who waits for what. */
    details: Schema.String,
    differences: Schema.Array(verdict.Difference),
    /** What happened to the job, in words, in order. */
    log: Schema.Array(Schema.String),
    /** Records that were read, as far as they are known. */
    records: Schema.Int,
    /** Faults and records of the run that failed first, and how often smaller ones were tried. */
    shrunk: Schema.UndefinedOr(Schema.Struct({ faults: Schema.Int, records: Schema.Int, tries: Schema.Int })),
    plan: plans.Plan
  })
{
  override get message() {
    const { details, differences, job, log, plan, reason, records, seed, shrunk } = this
    const what = {
      differs: "does not come to the same results",
      failed: "fails",
      stuck: "does not come to its end when there are no faults any more"
    }[reason]
    const origin = shrunk === undefined
      ? ""
      : ` (shrunk from ${counted(shrunk.faults, "fault")} and ${
        counted(shrunk.records, "record")
      } in ${shrunk.tries} tries)`
    const count = plan.faults.length
    return [
      `Job "${job}" ${what} under seed ${seed}: ${counted(count, "fault")}, ${counted(records, "record")}${origin}`,
      ...log.map((line, i) => `  ${i + 1}. ${line}`),
      ...details === "" ? [] : [details],
      ...differences.map(verdict.inWords),
      `Replay it with Simulation.run(world, { plan: ${JSON.stringify(plan)} })`
    ].join("\n")
  }
}

const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`

/**
 * A job that cannot be simulated as it is.
 *
 * @since 0.1.0
 * @category errors
 */
export class SimulationRefused
  extends Schema.TaggedError<SimulationRefused>("millrace/SimulationRefused")("SimulationRefused", {
    job: Schema.String,
    problem: Schema.String,
    remedy: Schema.String
  })
{
  override get message() {
    return `Job "${this.job}" cannot be simulated: ${this.problem}. ${this.remedy}`
  }
}

// -------------------------------------------------------------------------------------------------------------------
// running
// -------------------------------------------------------------------------------------------------------------------

const subjectOf = (world: World<unknown>): Subject => {
  const made = world()
  return Job.isJob(made) ? { job: made } : made
}

const jobOf = ({ job }: Subject) => typeof job === "function" ? job() : job

/** What can be said before anything runs. */
const refusal = (world: World<unknown>): SimulationRefused | undefined => {
  const subject = subjectOf(world)
  const job = jobOf(subject)
  const { name, program: { graph } } = job
  const records = subject.records ?? {}
  const sources = graph.operators.flatMap(({ node }) => node._tag === "Source" ? [node] : [])
  for (const given of Object.keys(records)) {
    if (sources.some(({ name }) => name === given)) continue
    return new SimulationRefused({
      job: name,
      problem: `there are records for "${given}", and no source of that name`,
      remedy: `Its sources are ${sources.map(({ name }) => `"${name}"`).join(", ")}`
    })
  }
  const endless = sources.find(({ name, source }) =>
    records[name] === undefined && (source.body._tag === "Queue" || !source.bounded)
  )
  if (endless !== undefined) {
    return new SimulationRefused({
      job: name,
      problem: `source "${endless.name}" never ends`,
      remedy: `Give the records that it is to deliver: { job, records: { "${endless.name}": [...] } }`
    })
  }
  if (typeof subject.job === "function") {
    const [before, after] = [readable(job), readable(subject.job())]
    for (const [output, sink] of before) {
      if (after.get(output) === sink) continue
      return new SimulationRefused({
        job: name,
        problem: `the sink of output "${output}" is another one in every life`,
        remedy: "Make sinks beside the function that makes the job: what was written outlives a process"
      })
    }
  }
  if (subject.outputs === undefined && readable(job).size === 0) {
    return new SimulationRefused({
      job: name,
      problem: "there is no output that could be read",
      remedy: "Give outputs an effect that reads its sinks: { job, outputs: Effect.sync(() => ({ name: rows })) }"
    })
  }
  return undefined
}

/** How many records each split has, where they can be left out. */
const sizesOf = (world: World<unknown>): Sizes => {
  const subject = subjectOf(world)
  const { program: { graph } } = jobOf(subject)
  return Object.fromEntries(graph.operators.flatMap(({ node }): ReadonlyArray<[string, ReadonlyArray<number>]> => {
    if (node._tag !== "Source") return []
    const { body } = node.source
    const records = subject.records?.[node.name]
    if (records !== undefined) return [[node.name, [records.length]]]
    return body._tag === "Memory" ? [[node.name, body.splits.map(({ length }) => length)]] : []
  }))
}

interface Finding {
  readonly reason: SimulationFailed["reason"]
  readonly details: string
  readonly differences: ReadonlyArray<Difference>
}

const found = (reason: Finding["reason"], details: string, differences: Finding["differences"] = []): Finding => ({
  reason,
  details,
  differences
})

/** Runs worlds, and knows what would have come of each undisturbed. */
class Court {
  private readonly world: World<unknown>
  private readonly options: Options
  private readonly surroundings: Surroundings
  private readonly known = new Map<string, Promise<Ran>>()
  readonly sizes: Sizes
  readonly name: string

  constructor(world: World<unknown>, options: Options, context: Context.Context<never>) {
    this.world = world
    this.options = options
    this.sizes = sizesOf(world)
    this.name = jobOf(subjectOf(world)).name
    this.surroundings = {
      context,
      options: options.options ?? {},
      patienceMillis: Duration.toMillis(Duration.fromInputUnsafe(options.patience ?? "1 minute")),
      maxSteps: options.maxSteps ?? 1_000_000
    }
  }

  get faults(): Faults {
    return { ...plans.all, ...this.options.faults }
  }

  draw(seed: number): Plan {
    const { lives = 3, partitions = [1, 2, 3, 5] } = this.options
    const records = Math.max(1, ...Object.values(this.sizes).flat())
    return plans.draw(seed, this.faults, { lives, partitions, records })
  }

  run(plan: Plan, faults: Faults | undefined): Promise<Ran> {
    return runOnce(subjectOf(this.world), plan, faults, this.surroundings)
  }

  /** What comes of the same records undisturbed. */
  private undisturbed(records: Plan["records"]): Promise<Ran> {
    const key = JSON.stringify(records)
    const known = this.known.get(key) ?? this.run(plans.undisturbed(records), undefined)
    this.known.set(key, known)
    return known
  }

  /** Why the job cannot be judged, or nothing. */
  async refusal(records: Plan["records"]): Promise<SimulationRefused | undefined> {
    const { trouble } = await this.undisturbed(records)
    return trouble && new SimulationRefused({
      job: this.name,
      problem: `it does not come to its end undisturbed either:\n${trouble.message}\n`,
      remedy: "Mend that first; if it needs more time, raise patience or maxSteps"
    })
  }

  /** What is wrong with a run, or nothing; nothing, too, where its records do not come to an end undisturbed. */
  async judge({ job, outputs, plan, trouble }: Ran): Promise<Finding | undefined> {
    const reference = await this.undisturbed(plan.records)
    if (reference.trouble !== undefined) return undefined
    if (trouble !== undefined) {
      return trouble._tag === "Stuck"
        ? found("stuck", trouble.message)
        : found("failed", `  in life ${trouble.life}: ${trouble.message}`)
    }
    const { check, essence = (row: unknown) => row, orderedBy } = this.options
    const { deadLetters, graph } = job.program
    const isAtOnce = (name: string): boolean =>
      name === lettersName
        ? deadLetters !== undefined && deadLetters.openEpochs === undefined
        : graph.outlets.some((outlet) => outlet.name === name && !outlet.byEpoch)
    const names = new Set([...Object.keys(reference.outputs), ...Object.keys(outputs)])
    const differences = [...names].flatMap((name) =>
      verdict.differenceIn(name, outputs[name] ?? [], reference.outputs[name] ?? [], {
        atLeastOnce: isAtOnce(name),
        essence: (row) => essence(verdict.certain(row), name),
        orderedBy: orderedBy && ((row) => orderedBy(row, name))
      }) ?? []
    )
    if (differences.length > 0) return found("differs", "", differences)
    try {
      check?.(outputs)
    } catch (error) {
      return found("failed", `  check: ${error instanceof Error ? error.message : String(error)}`)
    }
    return undefined
  }

  failed({ log, plan }: Ran, seed: number, finding: Finding, shrunk: SimulationFailed["shrunk"]): SimulationFailed {
    const records = recordsIn(plan, this.sizes)
    return new SimulationFailed({ job: this.name, seed, ...finding, log, records, shrunk, plan })
  }
}

type Needs<R> = Exclude<R, CheckpointStore | FileSystem.FileSystem>

/** A court for a world that can be judged. */
const convened = Effect.fnUntraced(function*<R>(world: World<R>, options: Options) {
  const refused = refusal(world as World<unknown>)
  if (refused !== undefined) return yield* refused
  const context = yield* Effect.context<Needs<R>>()
  return new Court(world as World<unknown>, options, context as Context.Context<never>)
})

const outcomeOf = ({ fingerprint, log, outputs, plan, seen, virtualMillis }: Ran): Outcome => ({
  outputs,
  plan,
  log,
  seen,
  fingerprint,
  virtualMillis
})

/**
 * Runs a job once, under the faults that a seed chooses, or as a plan says.
 *
 * **Details**
 *
 * The job is launched on a simulated store, with faults around its store, its sinks and its sources. It lives up to `lives`
 * lives, each on a number of partitions of its own, and then one without faults, in which it must come to its end. What its
 * outputs hold then is compared with what they hold after a run without faults: the same rows, each as often; for sinks
 * that are written at once, each at least as often. Nothing waits for real time.
 *
 * **Gotchas**
 *
 * What does real input and output is not simulated: its timing is its own, so runs are not the same again. The `FileSystem`
 * of the job is a simulated disk, on which `Sink.ndjson` and `Source.ndjson` work.
 *
 * @since 0.1.0
 * @category running
 */
export const run = <R = never>(
  world: World<R>,
  options: RunOptions = {}
): Effect.Effect<Outcome, SimulationFailed | SimulationRefused, Needs<R>> =>
  Effect.gen(function*() {
    const court = yield* convened(world, options)
    const { plan: given, seed = 0 } = options
    const plan = given ?? court.draw(seed)
    const refused = yield* Effect.promise(() => court.refusal(plan.records))
    if (refused !== undefined) return yield* refused
    const ran = yield* Effect.promise(() => court.run(plan, given === undefined ? court.faults : undefined))
    const finding = yield* Effect.promise(() => court.judge(ran))
    if (finding !== undefined) return yield* court.failed(ran, plan.seed, finding, undefined)
    return outcomeOf(ran)
  })

/**
 * Runs a job under many seeds. The first run that fails is made as small as it can be, and is the error.
 *
 * **Example**
 *
 * ```ts run
 * import { Effect } from "effect"
 * import { Flow, Job, Sink, Source } from "millrace"
 * import { Simulation } from "millrace/testing"
 *
 * // The counter goes on where it was when records are read again after a crash.
 * const world = () => {
 *   let count = 0
 *   return Job.make("numbered", [
 *     Flow.from("letters", Source.memory(["a", "b", "c"])).pipe(
 *       Flow.map((letter) => `${++count} ${letter}`),
 *       Flow.to("numbered", Sink.memory<string>())
 *     )
 *   ], { delivery: "exactly-once" })
 * }
 *
 * const failure = await Effect.runPromise(Effect.flip(Simulation.check(world, { runs: 100 })))
 * failure._tag // => "SimulationFailed"
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const check = <R = never>(
  world: World<R>,
  options: CheckOptions
): Effect.Effect<Report, SimulationFailed | SimulationRefused, Needs<R>> =>
  Effect.gen(function*() {
    const court = yield* convened(world, options)
    const { runs, seed: first = 0, shrinks = 400 } = options
    const refused = yield* Effect.promise(() => court.refusal({}))
    if (refused !== undefined) return yield* refused
    const seen: Record<string, number> = {}
    let struck = 0
    let virtualMillis = 0
    for (let seed = first; seed < first + runs; seed++) {
      const ran = yield* Effect.promise(() => court.run(court.draw(seed), court.faults))
      const finding = yield* Effect.promise(() => court.judge(ran))
      if (finding !== undefined) return yield* yield* Effect.promise(() => smallest(court, ran, finding, seed, shrinks))
      for (const [marker, count] of Object.entries(ran.seen)) seen[marker] = (seen[marker] ?? 0) + count
      struck += ran.plan.faults.length
      virtualMillis += ran.virtualMillis
    }
    return { runs, faults: struck, seen, virtualMillis }
  })

const smallest = async (
  court: Court,
  ran: Ran,
  finding: Finding,
  seed: number,
  shrinks: number
): Promise<SimulationFailed> => {
  const { sizes } = court
  const tried = async (plan: Plan, faults: Faults | undefined) => {
    const again = await court.run(plan, faults)
    const other = await court.judge(again)
    return other?.reason === finding.reason ? { ...again, finding: other } : undefined
  }
  const { found, tries } = await shrink(
    { ...ran, finding },
    sizes,
    (plan) => tried(plan, undefined),
    (plan, kinds) => {
      // One life is enough to look for what is simple.
      const { partitions, seed, store } = plan
      const drawn = plans.draw(seed, court.faults, { lives: 2, partitions: [1], records: 4 })
      const last = partitions.at(-1)!
      const lives = kinds.size === 1 ? [1, last] : [1, 1, last]
      return tried({ ...drawn, partitions: lives, store, records: plan.records }, plans.only(kinds, court.faults))
    },
    shrinks
  )
  const shrunk = { faults: ran.plan.faults.length, records: recordsIn(ran.plan, sizes), tries }
  return court.failed(found, seed, found.finding, shrunk)
}
