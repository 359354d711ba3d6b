/**
 * Random jobs. A `Spec` is plain data, so that it shrinks; `build` makes a job of any spec, leaving out what a condition
 * of the laws forbids.
 */
import * as Option from "effect/Option"
import * as Order from "effect/Order"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as fc from "fast-check"
import * as Aggregate from "../../src/Aggregate.ts"
import type { DeadLetter } from "../../src/DeadLetter.ts"
import * as ErrorPolicy from "../../src/ErrorPolicy.ts"
import * as Flow from "../../src/Flow.ts"
import * as Job from "../../src/Job.ts"
import * as Partitioner from "../../src/Partitioner.ts"
import * as Plan from "../../src/Plan.ts"
import * as Sink from "../../src/Sink.ts"
import * as Source from "../../src/Source.ts"
import * as Watermark from "../../src/Watermark.ts"
import * as Window from "../../src/Window.ts"

/** Every element between the operators of a random job. */
export interface Row {
  /** Where it comes from: a split of a source, or a window. */
  readonly from: string
  readonly key: number
  readonly n: number
  readonly at: number
}

const Row = Schema.Struct({ from: Schema.String, key: Schema.Number, n: Schema.Number, at: Schema.Number })

/**
 * How far records may be out of order, and what the job must look like for its answer to be certain: within the bound of
 * their split, anything goes; beyond it, one split and one exchange; or one split and one partition.
 */
export type Disorder = "within" | "one exchange" | "one partition"

export type WindowSpec =
  | { readonly _tag: "tumbling"; readonly size: number; readonly offset: number }
  | { readonly _tag: "sliding"; readonly size: number; readonly every: number; readonly offset: number }
  | { readonly _tag: "session"; readonly gap: number }
  | { readonly _tag: "custom"; readonly size: number }

export type AggregateSpec =
  | { readonly _tag: "count" | "sum" | "avg" | "min" | "max" | "minBy" | "maxBy" | "struct" | "filter" }
  | { readonly _tag: "collect"; readonly atMost: number | undefined }

/** A number on multiples of which user code throws, and what happens then. */
export interface Refusal {
  readonly multiplesOf: number
  readonly policy: "skip" | "deadLetter"
}

export type Operation =
  | {
    readonly _tag: "map" | "filter" | "filterMap" | "flatMap"
    readonly m: number
    readonly refusal: Refusal | undefined
  }
  | { readonly _tag: "rekey"; readonly m: number }
  | { readonly _tag: "merge"; readonly with: number }
  | { readonly _tag: "split"; readonly m: number; readonly only: boolean }
  | { readonly _tag: "keyBy" | "global" }
  | { readonly _tag: "partitionBy"; readonly rule: "roundRobin" | "hash" | "custom" }
  | {
    readonly _tag: "window"
    readonly keyed: "by key" | "global" | "as it is"
    readonly window: WindowSpec
    readonly lateness: number | undefined
    readonly fields: ReadonlyArray<AggregateSpec>
    readonly refusal: Refusal | undefined
    readonly late: "kept" | "discarded"
  }

export interface Step {
  /** Which of the flows made so far it reads, modulo their number. */
  readonly reads: number
  readonly operation: Operation
}

export interface SourceSpec {
  readonly bound: number
  /** Per split how far each record goes ahead of the one before, and how far it lags behind that. */
  readonly splits: ReadonlyArray<
    ReadonlyArray<{ readonly ahead: number; readonly lag: number; readonly key: number; readonly n: number }>
  >
  readonly start: number
}

export interface Spec {
  readonly disorder: Disorder
  /** Whether no two splits have a timestamp in common. */
  readonly distinct: boolean
  readonly sources: ReadonlyArray<SourceSpec>
  readonly steps: ReadonlyArray<Step>
}

/** How the order of what a sink receives is certain. */
export type Certain = "all" | "by origin" | "by origin and key" | "none"

export interface Outlet {
  readonly name: string
  readonly kind: "row" | "pane" | "late"
  readonly certain: Certain
}

export interface Built {
  readonly job: Job.Job
  readonly outlets: ReadonlyArray<Outlet>
  readonly inputs: Readonly<Record<string, ReadonlyArray<ReadonlyArray<Row>>>>
  /** Whether a window waits for late records: then what `isLast` says of a pane depends on the interleaving. */
  readonly waits: boolean
}

/** The world around a random job. */
export interface Parts {
  readonly source: (name: string, splits: ReadonlyArray<ReadonlyArray<Row>>) => Source.Source<Row, unknown>
  readonly sink: (name: string) => Sink.Sink<unknown, unknown>
  readonly deadLetters: Sink.Sink<DeadLetter, unknown>
  /** Sees each record that passes an operator, and may throw. */
  readonly touch: () => void
  readonly onError: ErrorPolicy.ErrorPolicy
  /** What every source, and every flow before it is keyed, passes through: all of it, unchanged. */
  readonly passing: (flow: Flow.Flow<Row, unknown>, place: number) => Flow.Flow<Row, unknown>
  /** How often what is refused is tried again before; all of it in vain. */
  readonly retries: number
}

/** A flow while the job is made. */
interface Open {
  readonly flow: Flow.Flow<unknown, unknown>
  readonly keyed: Flow.KeyedFlow<unknown, Row, unknown> | undefined
  readonly kind: Outlet["kind"]
  /** The window behind panes and late records. */
  readonly window: string
  readonly origins: ReadonlySet<string>
  readonly exchanges: number
  readonly certain: Certain
  /** Whether two records of a key on different paths may have the same time. */
  readonly ties: boolean
  /** What remains of times divided by two, where all have it in common. */
  readonly parity: 0 | 1 | undefined
  taken: boolean
}

// -------------------------------------------------------------------------------------------------------------------
// from a spec to a job
// -------------------------------------------------------------------------------------------------------------------

const modulo = (n: number, m: number): number => ((n % m) + m) % m

/** An integer that depends on all of a value. */
const digest = (value: unknown): number => {
  let hash = 7
  for (const code of Array.from(text(value), (letter) => letter.charCodeAt(0))) hash = (hash * 31 + code) % 1009
  return hash - 500
}

/** Equal texts mean equal values, whatever the order of their fields. */
export const text = (value: unknown): string => JSON.stringify(value, canonical)

const canonical = (_: string, field: unknown): unknown => {
  if (typeof field === "number") return Number.isFinite(field) ? field : String(field)
  if (typeof field !== "object" || field === null || Array.isArray(field)) return field
  const names = Object.keys(field)
  if (names.every((name, i) => i === 0 || names[i - 1]! < name)) return field
  return Object.fromEntries(Object.entries(field).sort(([a], [b]) => (a < b ? -1 : 1)))
}

export const inputsOf = ({ disorder, distinct, sources }: Spec): Built["inputs"] => {
  const splitsInAll = distinct ? sources.reduce((sum, { splits }) => sum + splits.length, 0) : 1
  let residue = 0
  return Object.fromEntries(sources.map(({ bound, splits, start }, i) => [
    `source${i}`,
    splits.map((records, j): ReadonlyArray<Row> => {
      // Even times, so that an odd gap never lies between two of them; in one path nothing needs to be avoided.
      const step = disorder === "within" ? 2 * splitsInAll : 1
      const shift = distinct ? 2 * residue++ : 0
      let latest = Math.floor(start / step)
      return records.map(({ ahead, key, lag, n }) => {
        const behind = disorder === "within" ? lag % (Math.floor(bound / step) + 1) : lag
        latest += ahead
        return { from: `source${i}/${j}`, key, n, at: (latest - behind) * step + shift }
      })
    })
  ]))
}

const windowOf = (spec: WindowSpec, even: boolean): Window.Window => {
  const length = (n: number) => even ? 2 * n : n
  switch (spec._tag) {
    case "tumbling":
      return Window.tumbling(length(spec.size), { offset: length(spec.offset) })
    case "sliding":
      return Window.sliding({ size: length(spec.size), every: length(spec.every), offset: length(spec.offset) })
    case "session":
      return Window.session({ gap: even ? 2 * spec.gap - 1 : spec.gap })
    case "custom": {
      const size = length(spec.size)
      return Window.custom({
        name: `custom ${size}`,
        assign: (time) => {
          const n = Math.floor(time / size)
          // A window of one size, one of three, and none for every fourth stretch.
          return modulo(n, 4) === 3
            ? []
            : [{ start: (n - 1) * size, end: (n + 2) * size }, { start: n * size, end: (n + 1) * size }]
        }
      })
    }
  }
}

type Field = Aggregate.Aggregate<Row, unknown, unknown>

const rowOrder: Order.Order<Row> = Order.make((a, b) =>
  Math.sign(a.at - b.at || a.n - b.n || a.key - b.key) as -1 | 0 | 1
)

/** `certain`: the order of arrival may decide; otherwise aggregates get an order of their own. */
const aggregateOf = (spec: AggregateSpec, certain: boolean, n: (row: Row) => number): Field => {
  const rank = (row: Row) => modulo(n(row), 5)
  const byRank = Order.Number
  const byAll = Order.combine(Order.mapInput(byRank, rank), rowOrder)
  switch (spec._tag) {
    case "count":
      return Aggregate.count
    case "sum":
      return Aggregate.sum(n)
    case "avg":
      return Aggregate.avg(n)
    case "min":
      return Aggregate.min(n)
    case "max":
      return Aggregate.max(n)
    case "minBy":
      return certain
        ? Aggregate.minBy(rank, byRank)
        : Aggregate.map(Aggregate.minBy((row: Row) => row, byAll), Option.map(withoutOrigin))
    case "maxBy":
      return certain
        ? Aggregate.maxBy(rank, byRank)
        : Aggregate.map(Aggregate.maxBy((row: Row) => row, byAll), Option.map(withoutOrigin))
    case "collect":
      return certain
        ? Aggregate.collect<Row>(spec.atMost === undefined ? {} : { atMost: spec.atMost })
        : Aggregate.map(Aggregate.collect<Row>(), (rows) => rows.map(withoutOrigin).sort(rowOrder))
    case "struct":
      return Aggregate.struct({ least: Aggregate.min(n), both: Aggregate.tuple([Aggregate.count, Aggregate.max(n)]) })
    case "filter":
      return Aggregate.filter(Aggregate.mapInput(Aggregate.sum((x: number) => x), n), (row: Row) => row.n % 2 === 0)
  }
}

const withoutOrigin = ({ at, key, n }: Row) => ({ from: "", key, n, at })

const policyOf = (refusal: Refusal | undefined, retries: number) => {
  if (refusal === undefined) return {}
  const policy = refusal.policy === "skip" ? ErrorPolicy.skip : ErrorPolicy.deadLetter
  return { onError: retries === 0 ? policy : ErrorPolicy.retry(Schedule.recurs(retries), { then: policy }) }
}

const memory: Parts = {
  source: (_, splits) => Source.memorySplits(splits, { schema: Row }),
  sink: () => Sink.memory<unknown>(),
  deadLetters: Sink.memory<DeadLetter>(),
  touch: () => {},
  passing: (flow) => flow,
  onError: ErrorPolicy.fail,
  retries: 0
}

export const rowSchema = Row

export const build = (spec: Spec, given: Partial<Parts> = {}): Built => {
  const parts: Parts = { ...memory, deadLetters: Sink.memory<DeadLetter>(), ...given }
  const inputs = inputsOf(spec)
  const { disorder, distinct } = spec
  const opens: Array<Open> = []
  const discarded: Array<Flow.Output<unknown>> = []
  let named = 0
  let places = 0
  let waits = false

  const outOf = (input: Open, flow: Flow.Flow<Row, unknown>, change: Partial<Open> = {}): void => {
    input.taken = true
    opens.push({ ...input, flow, keyed: undefined, kind: "row", taken: false, ...change })
  }
  const typed = Flow.typed(Row)

  /** What an operator reads: rows, with panes and late records turned into such. */
  const rowsOf = ({ flow, kind, window }: Open): Flow.Flow<Row, unknown> => {
    switch (kind) {
      case "row":
        return flow as Flow.Flow<Row, unknown>
      case "pane":
        return typed(
          Flow.map(
            flow as Flow.Flow<Window.Pane<number | undefined, unknown>, unknown>,
            ({ index, key, timing, value, window: { end, start } }) => ({
              from: window,
              key: key ?? 0,
              n: digest([start, end, index, timing, value]),
              at: end - 1
            })
          )
        )
      case "late":
        return typed(Flow.map(flow as Flow.Flow<Window.Late<Row>, unknown>, ({ lateByMillis, value, windows }) => ({
          ...value,
          n: digest([value.n, lateByMillis, windows])
        })))
    }
  }

  const refusing = <A>(refusal: Refusal | undefined, f: (row: Row) => A) => (row: Row): A => {
    // Where errors are refused, a planted one would be too.
    if (refusal === undefined) parts.touch()
    if (refusal !== undefined && row.n % refusal.multiplesOf === 0) throw new Error(`no ${refusal.multiplesOf}`)
    return f(row)
  }

  const keyedBy = (input: Open, global: boolean): Open => {
    const rows = typed(parts.passing(rowsOf(input), places++))
    const keyed = global ? Flow.global(rows) : Flow.keyBy(rows, (row) => row.key, Schema.Number)
    const certain = input.certain === "all" || input.certain === "by origin" ? "by origin and key" : "none"
    return {
      ...input,
      flow: keyed,
      keyed: keyed as Flow.KeyedFlow<unknown, Row, unknown>,
      kind: "row",
      exchanges: input.exchanges + 1,
      certain,
      ties: input.ties || input.exchanges > 0,
      taken: false
    }
  }

  const isAllowed = (exchanges: number) => disorder !== "one exchange" || exchanges <= 1

  const apply = (input: Open, operation: Operation): void => {
    switch (operation._tag) {
      case "map": {
        const { m, refusal } = operation
        return outOf(
          input,
          typed(
            Flow.map(
              rowsOf(input),
              refusing(refusal, (row) => ({ ...row, n: (row.n * 3 + m) % 97 })),
              policyOf(refusal, parts.retries)
            )
          )
        )
      }
      case "rekey":
        return outOf(input, typed(Flow.map(rowsOf(input), (row) => ({ ...row, key: modulo(row.n, operation.m) }))), {
          certain: input.certain === "by origin and key" ? "none" : input.certain
        })
      case "filter": {
        const { m, refusal } = operation
        const test = refusing(refusal, (row) => row.n % m !== 0)
        if (input.keyed === undefined) {
          return outOf(input, Flow.filter(rowsOf(input), test, policyOf(refusal, parts.retries)))
        }
        const keyed = Flow.filter(input.keyed, test, policyOf(refusal, parts.retries))
        return outOf(input, keyed, { keyed: keyed as Flow.KeyedFlow<unknown, Row, unknown> })
      }
      case "filterMap": {
        const { m, refusal } = operation
        const f = refusing(refusal, (row) => row.n % m === 0 ? Option.none() : Option.some({ ...row, n: row.n + m }))
        return outOf(input, typed(Flow.filterMap(rowsOf(input), f, policyOf(refusal, parts.retries))))
      }
      case "flatMap": {
        const { m, refusal } = operation
        const f = refusing(
          refusal,
          (row) => Array.from({ length: modulo(row.n, m) }, (_, i) => ({ ...row, n: row.n + i }))
        )
        return outOf(input, typed(Flow.flatMap(rowsOf(input), f, policyOf(refusal, parts.retries))))
      }
      case "merge": {
        const other = opens[operation.with % opens.length]!
        if (disorder !== "within") return
        const disjoint = ![...input.origins].some((origin) => other.origins.has(origin))
        other.taken = true
        return outOf(input, typed(Flow.merge(rowsOf(input), rowsOf(other))), {
          origins: new Set([...input.origins, ...other.origins]),
          exchanges: Math.max(input.exchanges, other.exchanges),
          certain: !disjoint || input.certain === "none" || other.certain === "none"
            ? "none"
            : input.certain === "by origin and key" || other.certain === "by origin and key"
            ? "by origin and key"
            : "by origin",
          ties: input.ties || other.ties || !disjoint || !distinct || input.exchanges + other.exchanges > 0,
          parity: input.parity === other.parity ? input.parity : undefined
        })
      }
      case "split": {
        const { m } = operation
        const outputs = Flow.split(rowsOf(input), `split${named++}`, {
          even: (row) => row.n % 2 === 0,
          rest: (row) => row.n % m === 0
        })
        if (operation.only) {
          return outOf(input, Flow.only(outputs, "even", { rest: "not this time", otherwise: "neither this" }))
        }
        outOf(input, outputs.even)
        outOf(input, outputs.rest)
        return outOf(input, outputs.otherwise)
      }
      case "keyBy":
      case "global": {
        if (!isAllowed(input.exchanges + 1)) return
        input.taken = true
        return void opens.push(keyedBy(input, operation._tag === "global"))
      }
      case "partitionBy": {
        if (!isAllowed(input.exchanges + 1)) return
        const partitioner: Partitioner.Partitioner<Row> = operation.rule === "roundRobin"
          ? Partitioner.roundRobin
          : operation.rule === "hash"
          ? Partitioner.hash((row) => row.n)
          : Partitioner.custom("by n", (row, partitions) => modulo(row.n, partitions))
        return outOf(input, Flow.partitionBy(rowsOf(input), partitioner), {
          exchanges: input.exchanges + 1,
          certain: "none",
          ties: true
        })
      }
      case "window":
        return windowed(input, operation)
    }
  }

  const windowed = (input: Open, operation: Extract<Operation, { readonly _tag: "window" }>): void => {
    const reuse = operation.keyed === "as it is" && input.keyed !== undefined
    if (!reuse && !isAllowed(input.exchanges + 1)) return
    const keyed = reuse ? input : keyedBy(input, operation.keyed === "global")
    input.taken = true
    const name = `window${named++}`
    const even = disorder === "within"
    const spec: WindowSpec = even && operation.window._tag === "session" && input.parity === undefined
      ? { _tag: "tumbling", size: operation.window.gap, offset: 0 }
      : operation.window
    const sure = !keyed.ties
    const { refusal } = operation
    const n = refusing(refusal, (row) => row.n)
    // With a refusal the first field reads `n`, so that it is refused at all.
    const fields = operation.fields.map((field) => aggregateOf(field, sure, n))
    if (refusal !== undefined) fields.push(Aggregate.sum(n))
    const { lateness } = operation
    waits ||= lateness !== undefined && lateness > 0
    const outputs = Flow.window(keyed.keyed!, name, windowOf(spec, even), {
      ...lateness === undefined ? {} : { allowedLateness: lateness },
      ...policyOf(refusal, parts.retries)
    }).pipe(Flow.aggregate(Object.fromEntries(fields.map((field, i) => [`f${i}`, field]))))
    const parity = !even ? undefined : spec._tag === "session" ? input.parity : 1
    const behind: Open = {
      ...keyed,
      keyed: undefined,
      window: name,
      origins: new Set([name]),
      kind: "pane",
      flow: outputs.results,
      // Two windows of a custom rule may end together: their order is not certain.
      certain: spec._tag === "custom" ? "none" : "by origin and key",
      ties: true,
      parity,
      taken: false
    }
    opens.push(behind)
    if (operation.late === "discarded") discarded.push(Flow.discard("not of interest")(outputs.late))
    else opens.push({ ...keyed, keyed: undefined, flow: outputs.late, kind: "late", window: name, taken: false })
  }

  Object.entries(inputs).forEach(([name, splits], i) => {
    const { bound } = spec.sources[i]!
    opens.push({
      flow: parts.passing(
        Flow.from(name, parts.source(name, splits), {
          time: (row) => row.at,
          watermark: bound === 0 ? Watermark.monotonic : Watermark.boundedOutOfOrderness(bound)
        }),
        places++
      ),
      keyed: undefined,
      kind: "row",
      window: "",
      origins: new Set(splits.map((_, j) => `${name}/${j}`)),
      exchanges: 0,
      certain: splits.length === 1 ? "all" : "by origin",
      ties: splits.length > 1 && !distinct,
      parity: disorder === "within" ? 0 : undefined,
      taken: false
    })
  })
  for (const { operation, reads } of spec.steps) if (opens.length < 24) apply(opens[reads % opens.length]!, operation)

  const outlets: Array<Outlet> = []
  const outputs = opens.filter(({ taken }) => !taken).map(({ certain, flow, kind }, i) => {
    const name = `sink${i}`
    outlets.push({ name, kind, certain })
    return flow.pipe(Flow.to(name, parts.sink(name)))
  })
  const job = Job.make("random", [...outputs, ...discarded], {
    deadLetters: parts.deadLetters,
    onError: parts.onError
  }) as Job.Job
  return { job, outlets, inputs, waits }
}

/** A counterexample for people: what the job is, and what it reads. */
export const print = (spec: Spec): string => {
  const { inputs, job } = build(spec)
  const rows = Object.entries(inputs).flatMap(([name, splits]) =>
    splits.map((split, i) => `  ${name}/${i}: ${split.map(({ at, key, n }) => `${n}@${at} of ${key}`).join(", ")}`)
  )
  return `\n${Plan.toText(job.plan, { partitions: 2 })}\n${rows.join("\n")}\nspec ${JSON.stringify(spec)}\n`
}

// -------------------------------------------------------------------------------------------------------------------
// random specs
// -------------------------------------------------------------------------------------------------------------------

const windows: fc.Arbitrary<WindowSpec> = fc.oneof(
  fc.record({
    _tag: fc.constant("tumbling"),
    size: fc.integer({ min: 1, max: 15 }),
    offset: fc.integer({ min: -20, max: 20 })
  }),
  fc.record({
    _tag: fc.constant("sliding"),
    size: fc.integer({ min: 1, max: 15 }),
    every: fc.integer({ min: 1, max: 15 }),
    offset: fc.integer({ min: -20, max: 20 })
  }),
  fc.record({ _tag: fc.constant("session"), gap: fc.integer({ min: 1, max: 12 }) }),
  fc.record({ _tag: fc.constant("custom"), size: fc.integer({ min: 1, max: 10 }) })
)

const aggregates: fc.Arbitrary<AggregateSpec> = fc.oneof(
  ...(["count", "sum", "avg", "min", "max", "minBy", "maxBy", "struct", "filter"] as const).map((_tag) =>
    fc.constant({ _tag })
  ),
  fc.record({ _tag: fc.constant("collect"), atMost: fc.option(fc.integer({ min: 0, max: 3 }), { nil: undefined }) })
)

const refusals = fc.option(
  fc.record({ multiplesOf: fc.integer({ min: 3, max: 7 }), policy: fc.constantFrom("skip", "deadLetter") }),
  { nil: undefined, freq: 3 }
)

const stateless: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({
    _tag: fc.constantFrom("map", "filter", "filterMap", "flatMap"),
    m: fc.integer({ min: 2, max: 5 }),
    refusal: refusals
  }),
  fc.record({ _tag: fc.constant("rekey"), m: fc.integer({ min: 1, max: 4 }) }),
  fc.record({ _tag: fc.constant("merge"), with: fc.nat({ max: 11 }) }),
  fc.record({ _tag: fc.constant("split"), m: fc.integer({ min: 2, max: 5 }), only: fc.boolean() }),
  fc.record({ _tag: fc.constantFrom("keyBy", "global") }),
  fc.record({ _tag: fc.constant("partitionBy"), rule: fc.constantFrom("roundRobin", "hash", "custom") })
)

const windowing: fc.Arbitrary<Operation> = fc.record({
  _tag: fc.constant("window"),
  keyed: fc.constantFrom("by key", "by key", "global", "as it is"),
  window: windows,
  lateness: fc.oneof(fc.constant(undefined), fc.constant(undefined), fc.integer({ min: 0, max: 25 })),
  fields: fc.array(aggregates, { minLength: 1, maxLength: 3 }),
  refusal: refusals,
  late: fc.constantFrom("kept", "kept", "discarded")
})

const steps = fc.array(
  fc.record({
    reads: fc.nat({ max: 11 }),
    operation: fc.oneof({ weight: 3, arbitrary: stateless }, { weight: 2, arbitrary: windowing })
  }),
  { minLength: 1, maxLength: 7 }
)

const splitOf = (maxLength: number) =>
  fc.array(
    fc.record({
      ahead: fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 12 })),
      lag: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 30 })),
      key: fc.nat({ max: 3 }),
      n: fc.integer({ min: -9, max: 9 })
    }),
    { maxLength }
  )

const sourceOf = (minSplits: number, maxSplits: number, records: number): fc.Arbitrary<SourceSpec> =>
  fc.record({
    bound: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 20 })),
    splits: fc.array(splitOf(records), { minLength: minSplits, maxLength: maxSplits, size: "max" }),
    start: fc.integer({ min: -60, max: 60 })
  })

export const specs = (disorder: Disorder): fc.Arbitrary<Spec> =>
  fc.record({
    disorder: fc.constant(disorder),
    distinct: disorder === "within" ? fc.boolean() : fc.constant(false),
    sources: disorder === "within"
      ? fc.array(sourceOf(1, 3, 12), { minLength: 1, maxLength: 2 })
      : fc.tuple(sourceOf(1, 1, 50)),
    steps
  }).map((spec) => Object.defineProperty(spec, fc.toStringMethod, { value: () => print(spec), enumerable: false }))
