/**
 * What becomes of a checkpoint in a program that may have changed since. State is found by the names of operators; what
 * cannot go on as it was meant is refused by name, unless the user has said what is to become of it.
 */
import * as Effect from "effect/Effect"
import { CheckpointRefused } from "../../FlowError.ts"
import * as Plan from "../../Plan.ts"
import type { Answers, Entry, Status } from "../../Upgrade.ts"
import { type Rewrite, rewritten } from "../machine/migrating.ts"
import { settled } from "../machine/operator.ts"
import type { WindowNode } from "../plan/node.ts"
import {
  deadLettersName,
  type InputRecord,
  type OperatorRecord,
  type OutputRecord,
  type PlanRecord,
  recordOf
} from "../plan/record.ts"
import { isSame, reads, shapeText } from "../plan/shape.ts"
import { canonicalJson } from "../state/keyIdentity.ts"
import { compareWindows, type Comparison, type Difference, other } from "./comparing.ts"
import { deadLettersId, gateId, inputId, queueId } from "./encoding.ts"
import type { Evidence } from "./evidence.ts"
import type { Program } from "./job.ts"

/** What goes on of an operator of the checkpoint, by the name that it has now. */
export interface Fate {
  readonly name: string
  /** Its state, or the positions of a source. */
  readonly keepsState: boolean
  /** What has to be done to each accumulator. */
  readonly rewrite: Rewrite | undefined
  readonly keepsRows: (id: string) => boolean
  /** Event time at its inputs: not where it may begin further back. */
  readonly keepsWatermarks: boolean
  /** The rule of a source's watermarks goes on. */
  readonly keepsGenerator: boolean
}

export interface Judgement {
  readonly entries: ReadonlyArray<Entry>
  /** By the name in the checkpoint; of what is not here nothing goes on. */
  readonly operators: ReadonlyMap<string, Fate>
  /** Those that go on. */
  readonly outputs: ReadonlySet<string>
  readonly plan: PlanRecord
  /** The checkpoint has to be rewritten before the job can go on from it. */
  readonly differs: boolean
}

const stopFirst =
  "Stop the job with the program that wrote the checkpoint (it brings what is under way to its sinks), and upgrade from there"

const answer = (field: string, name: string): string => `{ upgrade: { ${field}: [${JSON.stringify(name)}] } }`

const many = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`

/** The fingerprint of a program, which says less than the record of its plan: for people, and for checkpoints without one. */
export const fingerprintOf = ({ deadLetters, graph, name }: Program): string => {
  const plan = Plan.fromGraph(name, graph)
  const delivery = (byEpoch: boolean) => byEpoch ? "by epoch" : "at once"
  const letters = deadLetters && { output: deadLettersName, reason: delivery(deadLetters.openEpochs !== undefined) }
  return Plan.fingerprint({
    ...plan,
    sinks: plan.sinks.map((sink, i) => ({ ...sink, details: delivery(graph.outlets[i]!.byEpoch) })),
    discarded: letters === undefined ? plan.discarded : [...plan.discarded, letters]
  })
}

export const judge = (evidence: Evidence, program: Program, answers: Answers): Judgement => {
  const plan = recordOf(program.graph, program.deadLetters)
  const before = evidence.plan ?? plan
  const differs = canonicalJson(before) !== canonicalJson(plan)
  const refusal = wholly(evidence, program, differs)
  if (refusal !== undefined) {
    const entry: Entry = { what: "job", name: program.name, status: "refused", ...refusal }
    return { entries: [entry], operators: new Map(), outputs: new Set(), plan, differs }
  }
  const operators = new Operators(evidence, program, answers, before, plan)
  const outputs = new Outputs(evidence, answers, before, plan, operators)
  const entries = [...operators.entries, ...outputs.entries]
  return {
    entries,
    operators: operators.fates,
    outputs: outputs.kept,
    plan,
    // A policy that a record does not show may have changed what becomes of rows.
    differs: differs || entries.some(({ status }) => status !== "kept")
  }
}

/** What is wrong with the checkpoint as a whole. */
const wholly = (
  { fingerprint, job, plan, state }: Evidence,
  program: Program,
  differs: boolean
): Pick<Entry, "reason" | "remedy"> | undefined => {
  if (job !== program.name) {
    return {
      reason: `it is one of job "${job}"`,
      remedy: "Give Checkpoint.layer a checkpoint of this job, as its program is now"
    }
  }
  if (plan === undefined && fingerprint !== fingerprintOf(program)) {
    return {
      reason: "it was written before checkpoints remembered their plan, and the plan is another",
      remedy: "Let the program that wrote it go on from it once, with this release"
    }
  }
  if (differs && state === "finished") {
    return {
      reason: "it is the end of a finished job, with which nothing can go on, and the program has changed",
      remedy: "Give what is to be processed now to a job of another name"
    }
  }
  return undefined
}

class Operators {
  readonly entries: Array<Entry> = []
  readonly fates = new Map<string, Fate>()
  private readonly evidence: Evidence
  private readonly program: Program
  private readonly answers: Answers
  private readonly before: PlanRecord
  private readonly now: PlanRecord
  private readonly renamed: ReadonlyMap<string, string>

  constructor(evidence: Evidence, program: Program, answers: Answers, before: PlanRecord, now: PlanRecord) {
    this.evidence = evidence
    this.program = program
    this.answers = answers
    this.before = before
    this.now = now
    // An answer to what nobody asks has no effect.
    this.renamed = new Map(
      Object.entries(answers.renamed ?? {}).filter(([was, is]) => known(before, was) && !known(before, is))
    )
    const met = new Set<string>()
    for (const operator of before.operators) this.met(operator, met)
    for (const { operator, source, state } of now.operators) {
      if (met.has(operator)) continue
      const reason = source !== undefined ? "begins at its beginning" : state !== undefined ? "begins empty" : ""
      this.entries.push({ what: whatOf(source), name: operator, status: "new", reason })
    }
    this.entries.sort((a, b) => this.placeOf(a) - this.placeOf(b))
  }

  nameOf(before: string): string {
    return this.renamed.get(before) ?? before
  }

  /** Whether an input gives what it gave: the same output of an operator of the same name, written in a way that is read. */
  isInput(before: InputRecord, now: InputRecord | undefined): boolean {
    return now !== undefined && this.nameOf(before.operator) === now.operator && before.output === now.output
      && before.kind === now.kind && reads(before.row, now.row)
      && (before.key === undefined || now.key === undefined ? before.key === now.key : reads(before.key, now.key))
  }

  private placeOf({ name, was }: Entry): number {
    const at = this.now.operators.findIndex(({ operator }) => operator === name)
    return at < 0 ? this.now.operators.length + this.before.operators.findIndex((one) => one.operator === was) : at
  }

  private met(before: OperatorRecord, met: Set<string>): void {
    const { operator: was } = before
    const name = this.nameOf(was)
    const now = this.now.operators.find(({ operator }) => operator === name)
    const say = (status: Status, reason: string, remedy?: string) =>
      this.entries.push({
        what: whatOf(before.source),
        name,
        ...name === was ? {} : { was },
        status,
        reason,
        ...remedy === undefined ? {} : { remedy }
      })
    if (now === undefined) return void this.gone(before, say)
    met.add(name)
    const { accept = [], reset = [] } = this.answers
    const { differences, rewrite, says } = this.compared(before, now)
    const isReset = reset.includes(name)
    const unsettled = accept.includes(name) ? differences.filter(({ isTheirs }) => !isTheirs) : differences
    const strays = this.strays(before, now)
    const held = this.heldBy(was)
    const keepsState = unsettled.length === 0
    this.fates.set(was, {
      name,
      keepsState,
      rewrite,
      keepsRows: (id) => !strays.some((stray) => stray.id === id),
      keepsWatermarks: sameSources(this.sourcesOf(this.before, was, true), this.sourcesOf(this.now, name, false)),
      keepsGenerator: before.source?.watermark === now.source?.watermark
    })
    const problems = [...unsettled.map(({ text }) => text), ...strays.map(({ text }) => text)]
    if (problems.length > 0 && !isReset) {
      const remedies = [
        ...strays.length > 0 ? [stopFirst] : [],
        ...unsettled.length > 0 && unsettled.every(({ isTheirs }) => isTheirs)
          ? [`If it means the same, say ${answer("accept", name)}`]
          : [],
        ...unsettled.length > 0 && now.state !== undefined ? this.remedyOf(before, unsettled) : [],
        `${now.source === undefined ? "Begin with it anew" : "Read it from its beginning"} by ${answer("reset", name)}`
      ]
      return void say("refused", problems.join("; "), remedies.join(". "))
    }
    if (problems.length > 0) return void say("reset", `${problems.join("; ")}: ${held || "nothing"} given up`)
    const accepted = differences.map(({ text }) => `${text}, which is accepted`)
    const reasons = [...says, ...accepted, ...held === "" ? [] : [held]]
    say(rewrite !== undefined || says.length > 0 ? "migrated" : "kept", reasons.join("; "))
  }

  private remedyOf({ state }: OperatorRecord, differences: ReadonlyArray<Difference>): ReadonlyArray<string> {
    if (state === undefined) return []
    const isOfFields = ({ text }: Difference) => text.includes("its field") || text.startsWith("its state")
    const { version } = state
    return [
      ...differences.some(isOfFields)
        ? [
          `Count its version up: Flow.aggregate(fields, { state: { version: ${version + 1}, migrations: { ${version}: `
          + "(old) => … } } })"
        ]
        : [],
      ...differences.every(isOfFields)
        ? []
        : ["Leave it as it was, beside a new one with another name, until it is empty"]
    ]
  }

  private gone(before: OperatorRecord, say: (status: Status, reason: string, remedy?: string) => void): void {
    const { operator: was } = before
    const held = this.heldBy(was)
    const isStateful = before.state !== undefined || (before.source !== undefined && held !== "")
    if (held === "" && !isStateful) return say("removed", "had nothing")
    const has = held === "" ? "its state, which is empty now," : held
    if (this.answers.drop?.includes(was) === true) return say("orphaned", `is gone: ${has} given up`)
    const remedies = [
      ...isStateful ? [] : [stopFirst],
      ...was === this.nameOf(was)
        ? [`If it goes by another name now, say { upgrade: { renamed: { ${JSON.stringify(was)}: "…" } } }`]
        : [],
      `Give up what it has by ${answer("drop", was)}`
    ]
    return say("refused", `is gone, and the checkpoint has ${has.replace(/,$/, "")} of it`, remedies.join(". "))
  }

  /** What would be lost with it, in words. */
  private heldBy(was: string): string {
    const { evidence } = this
    const entries = evidence.operators.filter(({ operator }) => operator === was)
    const keys = entries.reduce(
      (sum, { machine, partition }) =>
        (machine?.tables ?? []).filter((id) => !id.includes("panes ")).reduce(
          (sum, id) => sum + (evidence.table(was, partition, id)?.keys.length ?? 0),
          sum
        ),
      0
    )
    const splits = evidence.splits.filter(({ source }) => source === was).length
    const rows = [...evidence.rows.get(was) ?? []].reduce((sum, [id, n]) => id === queueId ? sum : sum + n, 0)
    return [
      ...keys > 0 ? [`${keys} ${keys === 1 ? "entry" : "entries"} of state`] : [],
      ...splits > 0 ? [`the position of ${many(splits, "split")}`] : [],
      ...rows > 0 ? [`${many(rows, "record")} under way`] : []
    ].join(", ")
  }

  /** Rows under way that have no place, and why. */
  private strays(before: OperatorRecord, now: OperatorRecord): ReadonlyArray<{ readonly id: string; text: string }> {
    return [...this.evidence.rows.get(before.operator) ?? []].flatMap(([id, count]) => {
      if (id === queueId) return []
      const isGated = id === gateId
      const at = isGated ? 0 : before.inputs.findIndex((_, input) => inputId(input) === id)
      const was = before.inputs[at]
      const rows = `${many(count, "record")} under way to it`
      if (was === undefined || !this.isInput(was, now.inputs[at])) {
        const is = now.inputs[at]
        const told = was === undefined || is === undefined
          ? "no longer have an input"
          : portOf(was) !== portOf(is)
          ? `came from ${portOf(was)}, and it reads ${portOf(is)}`
          : isSame(was.row, is.row)
          ? "have other keys"
          : `were written as ${shapeText(was.row)}, and it reads ${shapeText(is.row)}`
        return [{ id, text: `${rows} ${told}` }]
      }
      return isGated && !this.triesAgain(now.operator)
        ? [{ id, text: `${rows} wait to be tried again, and it does not try again any more` }]
        : []
    })
  }

  private triesAgain(label: string): boolean {
    const { graph, policy } = this.program
    const node = graph.operators.find((operator) => operator.label === label)?.node
    const own = node !== undefined && "onError" in node ? node.onError : undefined
    return settled(own ?? policy) !== (own ?? policy)
  }

  private compared(before: OperatorRecord, now: OperatorRecord): Comparison {
    const none = { says: [], rewrite: undefined }
    if (
      (before.state === undefined) !== (now.state === undefined)
      || (before.source === undefined) !== (now.source === undefined)
    ) {
      // An operator without state has nothing that could be lost by becoming another.
      const isEmpty = before.state === undefined && before.source === undefined
      return { ...none, differences: isEmpty ? [] : [other("it", `a ${before.kind}`, `a ${now.kind}`)] }
    }
    if (before.source !== undefined) return { ...none, ...this.sources(before.source, now.source!, before.operator) }
    if (before.state === undefined) return { ...none, differences: [] }
    // The plan's own record has said that it is one.
    const node = this.program.graph.operators.find(({ label }) => label === now.operator)!.node as WindowNode
    return compareWindows(before.state, now.state!, node)
  }

  private sources(
    before: NonNullable<OperatorRecord["source"]>,
    now: NonNullable<OperatorRecord["source"]>,
    label: string
  ) {
    const differences: Array<Difference> = []
    const says: Array<string> = []
    if (before.description !== now.description) {
      differences.push(other("what it reads", `"${before.description}"`, `"${now.description}"`, true))
    }
    const told = ({ watermark }: typeof before) => watermark === undefined ? "without event time" : "with event time"
    if ((before.watermark === undefined) !== (now.watermark === undefined)) {
      differences.push(other("it", told(before), told(now)))
    } else if (before.watermark !== now.watermark) {
      says.push(`its watermarks were ${before.watermark} and are ${now.watermark}: event time goes on from where it is`)
    }
    const { splits } = now
    const gone = this.evidence.splits.filter(({ source, split }) =>
      source === label && splits !== undefined && Number(split) >= splits
    )
    if (gone.length > 0) {
      differences.push({
        text: `the checkpoint has positions of ${many(before.splits ?? gone.length, "split")}, and it has ${splits}`,
        isTheirs: false
      })
    }
    return { differences, says }
  }

  /** The sources behind an operator, by their names now; of the checkpoint those whose positions go on. */
  private sourcesOf(plan: PlanRecord, label: string, isBefore: boolean): ReadonlySet<string> {
    const found = new Set<string>()
    const seen = new Set<string>()
    const visit = (label: string): void => {
      const operator = plan.operators.find((one) => one.operator === label)
      if (operator === undefined || seen.has(label)) return
      seen.add(label)
      if (operator.source !== undefined) {
        const isReset = isBefore && (this.fates.get(label)?.keepsState ?? true) === false
        found.add(isReset ? `${label}, begun anew` : isBefore ? this.nameOf(label) : label)
      }
      for (const input of operator.inputs) visit(input.operator)
    }
    visit(label)
    return found
  }
}

const known = ({ operators }: PlanRecord, name: string): boolean => operators.some(({ operator }) => operator === name)

const whatOf = (source: OperatorRecord["source"]): "source" | "operator" => source === undefined ? "operator" : "source"

const sameSources = (a: ReadonlySet<string>, b: ReadonlySet<string>): boolean =>
  a.size === b.size && [...a].every((name) => b.has(name))

const portOf = ({ kind, operator, output }: InputRecord): string =>
  `${kind} "${output === "out" ? operator : `${operator}.${output}`}"`

class Outputs {
  readonly entries: Array<Entry> = []
  readonly kept = new Set<string>()

  constructor(
    evidence: Evidence,
    { outputs = {} }: Answers,
    before: PlanRecord,
    now: PlanRecord,
    operators: Operators
  ) {
    const isNew = ({ output }: OutputRecord) => before.outputs.every((one) => one.output !== output)
    const say = (name: string, status: Status, reason: string, remedy?: string) =>
      this.entries.push({ what: "output", name, status, reason, ...remedy === undefined ? {} : { remedy } })
    const option = (field: string, name: string) => `{ upgrade: { outputs: { ${field}: [${JSON.stringify(name)}] } } }`
    for (const was of before.outputs) {
      const { output: name } = was
      const pending = evidence.pending.get(name) ?? 0
      const queued = (name === deadLettersName
        ? evidence.rows.get("")?.get(deadLettersId)
        : evidence.rows.get(name)?.get(queueId)) ?? 0
      const waits = pending + queued === 0 ? "" : `${many(pending + queued, "row")} waiting for it`
      const is = now.outputs.find(({ output }) => output === name)
      if (is === undefined) {
        const other = now.outputs.find((one) => isNew(one) && one.delivery === "by epoch" && one.sink === was.sink)
        const reason = other === undefined
          ? `is gone, and the checkpoint has ${waits}`
          : `is gone, and "${other.output}" is new and writes to the same ${was.sink}`
        if (waits === "" && other === undefined) say(name, "removed", "nothing waits for it")
        else if (outputs.drop?.includes(name) === true) {
          say(name, "orphaned", `is gone: ${waits || "its place"} given up`)
        } else {
          say(
            name,
            "refused",
            reason,
            [
              other === undefined ? stopFirst : `Leave it its name, by which its sink knows how far it has come`,
              `Give it up by ${option("drop", name)}`
            ].join(". ")
          )
        }
        continue
      }
      const differences: Array<string> = []
      if (was.delivery !== is.delivery) differences.push(other("its delivery", was.delivery, is.delivery).text)
      const [kind, kindNow] = [was, is].map(({ sink }) => sink.split(" ")[0]!) as [string, string]
      if (was.guarantee !== is.guarantee || kind !== kindNow) {
        const told = (sink: string, guarantee: string) => `${guarantee} (${sink})`
        differences.push(other("its sink", told(was.sink, was.guarantee), told(is.sink, is.guarantee)).text)
      }
      const isRead = reads(was.input.row, is.input.row)
      if (pending > 0 && !isRead) {
        differences.push(
          `${many(pending, "row")} waiting for it were written as ${shapeText(was.input.row)}, and it takes ${
            shapeText(is.input.row)
          }`
        )
      }
      if (queued > 0 && name !== deadLettersName && !operators.isInput(was.input, is.input)) {
        differences.push(
          `${many(queued, "record")} under way to it came from ${portOf(was.input)}, and it reads ${portOf(is.input)}`
        )
      }
      const isReset = differences.length > 0 && outputs.reset?.includes(name) === true
      if (!isReset) this.kept.add(name)
      if (differences.length === 0) say(name, "kept", waits)
      else if (isReset) say(name, "reset", `${differences.join("; ")}: ${waits || "nothing"} given up`)
      else {
        say(
          name,
          "refused",
          differences.join("; "),
          [
            ...pending + queued > 0 ? [stopFirst] : [],
            `Give the output another name, or have its sink begin anew by ${option("reset", name)}`
          ].join(". ")
        )
      }
    }
    for (const { output } of now.outputs.filter(isNew)) say(output, "new", "begins with this epoch")
  }
}

/** Tries every rewriting of state on all that there is: what it cannot read is refused before anything is touched. */
export const tried = Effect.fnUntraced(function*(
  evidence: Evidence,
  { graph }: Pick<Program, "graph">,
  judgement: Judgement
): Effect.fn.Return<Judgement> {
  const failures = new Map<string, string>()
  for (const { machine, operator, partition } of evidence.operators) {
    const fate = judgement.operators.get(operator)
    const rewrite = fate?.rewrite
    if (fate === undefined || rewrite === undefined || !fate.keepsState || machine === undefined) continue
    // Only windows are rewritten.
    const { window } = graph.operators.find(({ label }) => label === fate.name)!.node as WindowNode
    for (const id of machine.tables) {
      const table = evidence.table(operator, partition, id)
      if (table === undefined) continue
      try {
        rewritten(window, table, rewrite)
      } catch (cause) {
        failures.set(fate.name, cause instanceof Error ? cause.message : String(cause))
      }
      yield* Effect.yieldNow
    }
  }
  if (failures.size === 0) return judgement
  return {
    ...judgement,
    entries: judgement.entries.map((entry): Entry => {
      const failure = entry.what === "operator" ? failures.get(entry.name) : undefined
      return failure === undefined ? entry : {
        ...entry,
        status: "refused",
        reason: `its state cannot be rewritten: ${failure}`,
        remedy: `Mend the migration, or begin with it anew by ${answer("reset", entry.name)}`
      }
    })
  }
})

/** The whole judgement, as an error where anything is refused. */
export const refusalOf = (evidence: Evidence, name: string, { entries }: Judgement): CheckpointRefused | undefined => {
  const refused = entries.filter(({ status }) => status === "refused")
  if (refused.length === 0) return undefined
  const isWhole = refused.some(({ what }) => what === "job")
  const told = refused.map(({ name, reason, what }) => what === "job" ? reason : `${what} "${name}": ${reason}`)
  const remedies = new Set(refused.map(({ remedy }) => remedy))
  return new CheckpointRefused({
    job: name,
    epoch: evidence.epoch,
    problem: isWhole ? told.join("; ") : `it was written by a job with another plan: ${told.join("; ")}`,
    remedy: [
      ...remedies,
      "Otherwise run the program that wrote it, give the changed job another name, or begin anew with { start: \"afresh\" }"
    ].join(". "),
    entries
  })
}
