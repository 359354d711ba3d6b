/**
 * The meaning of a job, worked out by hand: every flow is a finished array, every window a list of its records that is
 * folded anew whenever it fires.
 *
 * It is slow and obvious, and shares neither machines nor runtime with the engine. What it does share is what a job is made
 * of: the plan's graph with its checks, your functions, windows and aggregates, the generators of `Watermark`, and the
 * identity of keys. The laws compare the two on random jobs; compare them on your own job by handing the same records to
 * both.
 *
 * *Event time.* A flow is a sequence of records and watermarks. One split of a source gives each record, and after it the
 * watermark that its generator makes of it; at the end comes +∞. Operators keep that order, and a window puts its panes
 * before the watermark that made them due. So along one path, from one split and through no merge, lateness is judged
 * exactly as by the engine. Where several splits or flows come together, the engine's watermark depends on how they are
 * read; records within the disorder bound of their splits are late in no case, and that is what stands here: the inputs
 * follow each other, judged by −∞, and only then comes +∞. Records beyond the bound behind such a place are outside of what
 * the reference can say.
 *
 * *Order.* Of one path it is that of the records; of panes that fall due together that of their windows' ends, then
 * starts, then of their first records.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { ErrorPolicy } from "./ErrorPolicy.ts"
import type { Graph, Operator, Port } from "./internal/plan/graph.ts"
import type { SourceNode, TransformNode, WindowNode } from "./internal/plan/node.ts"
import { identifiedKey, type Identity, keyIdentity } from "./internal/state/keyIdentity.ts"
import type { Plan } from "./Plan.ts"
import * as Watermark from "./Watermark.ts"
import type { Bounds, Late, Pane, Window } from "./Window.ts"

/**
 * What is needed of a job: `Job.make` gives more.
 *
 * @category models
 * @since 0.1.0
 */
export interface Subject {
  readonly plan: Plan
}

/**
 * Records per source and split. They take the place of what the source would read, and must be given for every source
 * that is not in memory.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly inputs?: Readonly<Record<string, ReadonlyArray<ReadonlyArray<unknown>>>>
}

/**
 * The values that each sink receives, by its name.
 *
 * @category models
 * @since 0.1.0
 */
export type Outputs = Readonly<Record<string, ReadonlyArray<unknown>>>

/**
 * A record that user code refused under the policy `deadLetter`: what `DeadLetter` says, without the partition.
 *
 * @category models
 * @since 0.1.0
 */
export interface Refused {
  readonly operator: string
  readonly original: unknown
  readonly reason: string
  readonly timestamp: number | undefined
  readonly key: unknown
}

/**
 * A source is not in memory, and its records were not given.
 *
 * @category errors
 * @since 0.1.0
 */
export class InputMissing extends Schema.TaggedError<InputMissing>("millrace/Reference/InputMissing")("InputMissing", {
  source: Schema.String
}) {
  override get message(): string {
    return `Reference: source "${this.source}" is not in memory; give its records, { inputs: { "${this.source}": [[…]] } }`
  }
}

/**
 * User code threw on a record, and the operator's policy is `fail`.
 *
 * @category errors
 * @since 0.1.0
 */
export class Failed extends Schema.TaggedError<Failed>("millrace/Reference/Failed")("Failed", {
  operator: Schema.String,
  record: Schema.Unknown,
  cause: Schema.Defect()
}) {
  override get message(): string {
    const reason = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `Reference: operator "${this.operator}" failed: ${reason}; give it an error policy for such records`
  }
}

// -------------------------------------------------------------------------------------------------------------------
// flows
// -------------------------------------------------------------------------------------------------------------------

interface Element {
  readonly value: unknown
  /** NaN in flows without event time. */
  readonly time: number
  /** Of the last keyBy before it. */
  readonly key: Identity | undefined
}

/** From here on no record with this time or an earlier one is expected. */
interface Advance {
  readonly watermark: number
}

type Event = Element | Advance
type Events = ReadonlyArray<Event>

const theEnd: Advance = { watermark: Infinity }

const isAdvance = (event: Event): event is Advance => "watermark" in event

/** A single path keeps its watermarks. Of several, one after the other, only the end can be told. */
const together = (paths: ReadonlyArray<Events>): Events =>
  paths.length === 1 ? paths[0]! : [...paths.flat().filter((event) => !isAdvance(event)), theEnd]

/** What happens to a record on which user code threw. */
type Refuse = (error: unknown, value: unknown, time: number, key: unknown) => void

/** What a function makes of every record; watermarks stay where they are. */
const each = (events: Events, refuse: Refuse, f: (element: Element) => ReadonlyArray<Element>): Events =>
  events.flatMap((event): Events => {
    if (isAdvance(event)) return [event]
    try {
      return f(event)
    } catch (error) {
      refuse(error, event.value, event.time, event.key)
      return []
    }
  })

// -------------------------------------------------------------------------------------------------------------------
// operators without state
// -------------------------------------------------------------------------------------------------------------------

const readSplit = (node: SourceNode, rows: ReadonlyArray<unknown>, refuse: Refuse): Events => {
  const { time: timeOf, watermark } = node
  if (timeOf === undefined || watermark === undefined) {
    return [...rows.map((value) => ({ value, time: NaN, key: undefined })), theEnd]
  }
  const generator = Watermark.generator(watermark)
  const events: Array<Event> = []
  for (const value of rows) {
    try {
      const time = timeOf(value)
      if (!Number.isSafeInteger(time)) throw new Error(`the time ${String(time)} is not whole epoch milliseconds`)
      generator.observe(time, value)
      events.push({ value, time, key: undefined }, { watermark: generator.current })
    } catch (error) {
      refuse(error, value, NaN, undefined)
    }
  }
  return [...events, theEnd]
}

const transformed = ({ f, kind }: TransformNode, value: unknown): ReadonlyArray<unknown> => {
  switch (kind) {
    case "map":
      return [f(value)]
    case "filter":
      return f(value) === true ? [value] : []
    case "filterMap":
      return Option.toArray(f(value) as Option.Option<unknown>)
    case "flatMap":
      return [...f(value) as Iterable<unknown>]
  }
}

// -------------------------------------------------------------------------------------------------------------------
// windows
// -------------------------------------------------------------------------------------------------------------------

/** A window of one key, with every record it has taken. */
interface Opened extends Bounds {
  readonly key: Identity
  readonly records: ReadonlyArray<Element>
  readonly panes: number
  /** Event time has passed its end. */
  readonly fired: boolean
}

const byEnd = (self: Bounds, that: Bounds): number => self.end - that.end || self.start - that.start
const byStart = (self: Bounds, that: Bounds): number => self.start - that.start || self.end - that.end

/** The windows of a timestamp, looked for one by one; the one of a session is that of a record on its own. */
const windowsAt = (window: Window, time: number): ReadonlyArray<Bounds> => {
  switch (window._tag) {
    case "Session":
      return [{ start: time, end: time + window.gapMillis }]
    case "Custom":
      return window.assign(time).toSorted(byStart)
    case "Aligned": {
      const { everyMillis, offsetMillis, sizeMillis } = window
      const found: Array<Bounds> = []
      const last = Math.floor((time - offsetMillis) / everyMillis) + 1
      for (let n = last - Math.ceil(sizeMillis / everyMillis) - 2; n <= last; n++) {
        const start = n * everyMillis + offsetMillis
        if (start <= time && time < start + sizeMillis) found.push({ start, end: start + sizeMillis })
      }
      return found
    }
  }
}

/** What the aggregates say of these records, in the order in which they came. */
const folded = ({ fields }: WindowNode, records: ReadonlyArray<Element>): Record<string, unknown> =>
  Object.fromEntries(fields.map(([name, aggregate]) => {
    let acc = aggregate.zero
    for (const { time, value } of records) acc = aggregate.add(acc, value, time)
    return [name, aggregate.done(acc)]
  }))

/** Whether a record can be added: user code that throws leaves everything as it was. */
const tryAdding = ({ fields }: WindowNode, records: ReadonlyArray<Element>, { time, value }: Element): void => {
  for (const [, aggregate] of fields) {
    let acc = aggregate.zero
    for (const before of records) acc = aggregate.add(acc, before.value, before.time)
    aggregate.add(acc, value, time)
  }
}

/** The two outputs of a window. */
interface Windowed {
  readonly results: Events
  readonly late: Events
}

const windowed = (node: WindowNode, allowedLatenessMillis: number, events: Events, refuse: Refuse): Windowed => {
  const keyOf = node.key.schema === undefined ? () => undefined : identifiedKey(node.key.schema)
  const results: Array<Event> = []
  const late: Array<Event> = []
  let watermark = -Infinity
  let open: ReadonlyArray<Opened> = []
  const expires = ({ end }: Bounds) => end - 1 + allowedLatenessMillis
  const isPassed = ({ end }: Bounds) => end - 1 <= watermark

  /** The window after it has fired. */
  const fire = (opened: Opened, timing: "on-time" | "late"): Opened => {
    const { end, key, panes, records, start } = opened
    const window = { start, end }
    try {
      const pane: Pane<unknown, unknown> = {
        window,
        key: keyOf(key),
        value: folded(node, records),
        timing,
        index: panes,
        isLast: timing === "on-time" && (allowedLatenessMillis === 0 || watermark === Infinity)
      }
      results.push({ value: pane, time: end - 1, key })
      return { ...opened, fired: true, panes: panes + 1 }
    } catch (error) {
      refuse(error, { window, key: keyOf(key) }, end - 1, key)
      return { ...opened, fired: true }
    }
  }

  /** Puts windows in the place of others; those that event time has passed fire at once, again or for the first time. */
  const replace = (before: ReadonlyArray<Opened>, after: ReadonlyArray<Opened>): void => {
    const fired = after.map((opened) => isPassed(opened) ? fire(opened, "late") : opened)
    open = [...open.filter((opened) => !before.includes(opened)), ...fired]
  }

  const take = (element: Element): void => {
    const { time, value } = element
    const key = element.key!
    const bounds = windowsAt(node.window, time)
    if (bounds.length === 0) return
    const own = open.filter((opened) => opened.key === key)
    const before = node.window._tag === "Session"
      ? own.filter((opened) => opened.start <= bounds[0]!.end && bounds[0]!.start <= opened.end)
      : own.filter((opened) => bounds.some(({ end, start }) => opened.start === start && opened.end === end))
    const touches = node.window._tag === "Session" && before.length > 0
    const live = bounds.filter((window) => expires(window) > watermark)
    if (live.length === 0 && !touches) {
      const output: Late<unknown> = { value, windows: bounds, lateByMillis: watermark - time, watermark }
      late.push({ value: output, time, key: element.key })
      return
    }
    const after = node.window._tag === "Session" ?
      [sessionOf(key, [...before].sort(byStart), bounds[0]!)] :
      live.map((window) =>
        before.find(({ end, start }) => start === window.start && end === window.end) ??
          { ...window, key, records: [], panes: 0, fired: false }
      )
    for (const { records } of after) tryAdding(node, records, element)
    replace(before, after.map((opened) => ({ ...opened, records: [...opened.records, element] })))
  }

  for (const event of events) {
    if (!isAdvance(event)) {
      try {
        take(event)
      } catch (error) {
        refuse(error, event.value, event.time, event.key)
      }
      continue
    }
    watermark = event.watermark
    const due = open.filter((opened) => isPassed(opened) && !opened.fired).toSorted(byEnd)
    const fired = new Map(due.map((opened) => [opened, fire(opened, "on-time")]))
    open = open.map((opened) => fired.get(opened) ?? opened).filter((opened) => expires(opened) > watermark)
    results.push(event)
    late.push(event)
  }
  return { results, late }
}

/** One session of those that a record touches, the earliest first, and the record's own. */
const sessionOf = (key: Identity, touched: ReadonlyArray<Opened>, own: Bounds): Opened => ({
  key,
  start: Math.min(own.start, ...touched.map(({ start }) => start)),
  end: Math.max(own.end, ...touched.map(({ end }) => end)),
  records: touched.flatMap(({ records }) => records),
  panes: Math.max(0, ...touched.map(({ panes }) => panes)),
  fired: false
})

// -------------------------------------------------------------------------------------------------------------------
// jobs
// -------------------------------------------------------------------------------------------------------------------

interface Evaluated {
  readonly outputs: Outputs
  readonly refused: ReadonlyArray<Refused>
}

const evaluate = (job: Subject, options: Options | undefined): Evaluated => {
  const { operators, outlets }: Graph = job.plan.graph
  // The job's own policy stands beside its plan, where only the runtime looks.
  const { program } = job as { readonly program?: { readonly policy: ErrorPolicy } }
  const flows = new Map<string, Events>()
  const refused: Array<Refused> = []
  const nameOf = ({ operator, output }: Port) => `${operator}.${output}`

  for (const operator of operators) {
    const { id, inputs, label, node } = operator
    const input = together(inputs.map((port) => flows.get(nameOf(port))!))
    const policy = ("onError" in node ? node.onError : undefined) ?? program?.policy
    const refuse: Refuse = (error, original, time, key) => {
      // A function that throws on a record throws on it again: trying again settles nothing.
      const settled = policy?._tag === "Retry" ? policy.then : policy
      if (settled === undefined || settled._tag === "Fail") {
        throw new Failed({ operator: label, record: original, cause: error })
      }
      if (settled._tag === "Skip") return
      const reason = error instanceof Error ? error.message : String(error)
      refused.push({ operator: label, original, reason, timestamp: Number.isNaN(time) ? undefined : time, key })
    }
    for (const [output, events] of Object.entries(outputsOf(operator, input, options, refuse))) {
      flows.set(nameOf({ operator: id, output }), events)
    }
  }

  const valuesOf = (port: Port) => flows.get(nameOf(port))!.flatMap((event) => isAdvance(event) ? [] : [event.value])
  return { outputs: Object.fromEntries(outlets.map(({ name, port }) => [name, valuesOf(port)])), refused }
}

const outputsOf = (
  { allowedLatenessMillis, label, node }: Operator,
  input: Events,
  options: Options | undefined,
  refuse: Refuse
): Readonly<Record<string, Events>> => {
  switch (node._tag) {
    case "Source": {
      const { body } = node.source
      const splits = options?.inputs?.[node.name] ?? (body._tag === "Memory" ? body.splits : undefined)
      if (splits === undefined) throw new InputMissing({ source: node.name })
      return { out: together(splits.map((rows) => readSplit(node, rows, refuse))) }
    }
    case "Transform":
      return {
        out: each(input, refuse, (element) => transformed(node, element.value).map((value) => ({ ...element, value })))
      }
    case "Merge":
    case "Partition":
      return { out: input }
    case "Split": {
      const chosen = each(input, refuse, (element) => {
        const branch = node.branches.find(([, test]) => test(element.value) === true)?.[0] ?? "otherwise"
        return [{ ...element, value: { branch, value: element.value } }]
      })
      const of = (branch: string): Events =>
        chosen.flatMap((event): Events => {
          if (isAdvance(event)) return [event]
          const taken = event.value as { readonly branch: string; readonly value: unknown }
          return taken.branch === branch ? [{ ...event, value: taken.value }] : []
        })
      return Object.fromEntries([...node.branches.map(([name]) => name), "otherwise"].map((name) => [name, of(name)]))
    }
    case "KeyBy": {
      const { key, schema } = node
      if (key === undefined) return { out: each(input, refuse, (element) => [{ ...element, key: 0 }]) }
      const identity = keyIdentity(schema!, `Operator "${label}"`)
      return {
        out: each(
          input,
          (error, value, time) => refuse(error, value, time, undefined),
          (element) => [{ ...element, key: identity(key(element.value)) }]
        )
      }
    }
    case "Window":
      return { ...windowed(node, allowedLatenessMillis, input, refuse) }
  }
}

/**
 * What every sink of a job receives, by brute force.
 *
 * *Details.* Partitioners deal nothing out here, so `Partitioner.broadcast` gives one copy. Records are refused by the
 * policy of their operator, and a retry counts as in vain.
 *
 * *Errors.* Throws `InputMissing` for a source that is not in memory and not among the `inputs`, and `Failed` where user
 * code throws under the policy `fail`.
 *
 * ```ts run
 * import { Schema } from "effect"
 * import { Aggregate, Flow, Job, Reference, Sink, Source, Watermark, Window } from "millrace"
 *
 * const clicks = [{ page: "home", at: 3 }, { page: "home", at: 9 }, { page: "home", at: 10 }, { page: "home", at: 9 }]
 * const counted = Flow.from("clicks", Source.memory(clicks), { time: (click) => click.at, watermark: Watermark.monotonic }).pipe(
 *   Flow.keyBy((click) => click.page, Schema.String),
 *   Flow.window("per page", Window.tumbling(10)),
 *   Flow.aggregate({ clicks: Aggregate.count })
 * )
 * const job = Job.make("pages", [
 *   counted.results.pipe(Flow.map((pane) => pane.value.clicks), Flow.to("counts", Sink.memory<number>())),
 *   counted.late.pipe(Flow.map((late) => late.value.at), Flow.to("late", Sink.memory<number>()))
 * ])
 *
 * Reference.run(job) // => { counts: [2, 1], late: [9] }
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const run = (job: Subject, options?: Options): Outputs => evaluate(job, options).outputs

/**
 * What the dead letters of a job receive, operator by operator.
 *
 * @category running
 * @since 0.1.0
 */
export const refused = (job: Subject, options?: Options): ReadonlyArray<Refused> => evaluate(job, options).refused
