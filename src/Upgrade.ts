/**
 * What becomes of a job's state when its program has changed: of each operator, source and output, with the reason and the
 * remedy. `Job.plan` says it before anything runs, and `Job.run` decides by the same.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * `new`: the checkpoint knows nothing of it, and it begins empty, at its beginning, from this epoch. `kept`: it goes on.
 * `migrated`: it goes on with state that was rewritten. `removed`: it is gone, and nothing with it. `reset`: it begins anew,
 * because it was told so. `orphaned`: what the checkpoint has of it is given up, because it was told so. `refused`: the job
 * does not run.
 *
 * @since 0.1.0
 * @category models
 */
export const Status = Schema.Literals(["new", "kept", "migrated", "removed", "reset", "orphaned", "refused"])

/**
 * @since 0.1.0
 * @category models
 */
export type Status = typeof Status.Type

/**
 * What becomes of one operator, source or output.
 *
 * @since 0.1.0
 * @category models
 */
export const Entry = Schema.Struct({
  what: Schema.Literals(["operator", "source", "output", "job"]),
  name: Schema.String,
  /** Its name in the checkpoint, where that was another. */
  was: Schema.optionalKey(Schema.String),
  status: Status,
  /** In words: what differs, what it holds. */
  reason: Schema.String,
  /** What can be done, where it is refused. */
  remedy: Schema.optionalKey(Schema.String)
})

/**
 * @since 0.1.0
 * @category models
 */
export type Entry = typeof Entry.Type

/**
 * What running a job would make of a checkpoint.
 *
 * @since 0.1.0
 * @category models
 */
export interface Upgrade {
  readonly job: string
  /** Of the checkpoint that the job would go on from; undefined where there is none. */
  readonly epoch: number | undefined
  readonly entries: ReadonlyArray<Entry>
}

/**
 * What the user has to say to changes that lose something, or that only they can judge.
 *
 * **Details**
 *
 * An answer is used only where the checkpoint and the program differ: once the job has gone on, it has no effect any more,
 * and may stay where it is. Names are those that operators and sources have in plans; outputs have names of their own.
 *
 * @since 0.1.0
 * @category models
 */
export interface Answers {
  /** Operators and sources that go by other names now: `{ before: "now" }`. */
  readonly renamed?: Readonly<Record<string, string>>
  /** Operators that begin empty, and sources that begin at their beginning, where they cannot go on. */
  readonly reset?: ReadonlyArray<string>
  /** Operators and sources that the program has no more: their state, position and records under way are given up. */
  readonly drop?: ReadonlyArray<string>
  /** Operators and sources of which what differs means the same: a file that was moved, an aggregate put in other words. */
  readonly accept?: ReadonlyArray<string>
  readonly outputs?: {
    /** Outputs whose sinks begin anew, each in its way; what waits for them is given up. */
    readonly reset?: ReadonlyArray<string>
    /** Outputs that the program has no more: what waits for them is given up. */
    readonly drop?: ReadonlyArray<string>
  }
}

/**
 * How the state of an operator is read that an earlier version of it has written.
 *
 * **Details**
 *
 * The state is a record of accumulators by the names of the aggregate's fields, each in its encoded form: `Aggregate.count`
 * is a number, `Aggregate.make` what its `state` writes. `migrations[1]` makes the state of version 2 of that of version 1,
 * and so on; a field that it leaves out begins empty. Versions count from 1, which is what an operator has that states none.
 *
 * @since 0.1.0
 * @category models
 */
export interface StateVersion {
  readonly version: number
  readonly migrations?: Readonly<Record<number, (old: EncodedState) => EncodedState>>
}

/**
 * The accumulators of one key in one window, by the names of the fields, in their encoded form.
 *
 * @since 0.1.0
 * @category models
 */
export type EncodedState = Readonly<Record<string, unknown>>

/**
 * `safe`: everything goes on. `loses`: it runs, and gives something up, as it was told. `refused`: it does not run.
 *
 * @since 0.1.0
 * @category getters
 */
export const verdict = ({ entries }: Pick<Upgrade, "entries">): "safe" | "loses" | "refused" => {
  const has = (...all: ReadonlyArray<Status>) => entries.some(({ status }) => all.includes(status))
  return has("refused") ? "refused" : has("reset", "orphaned") ? "loses" : "safe"
}

const verdicts = {
  safe: "The job goes on with everything it has.",
  loses: "The job goes on, and gives up what it was told to.",
  refused: "The job refuses this checkpoint."
}

/**
 * As text, a line for each operator, source and output, and one for what comes of it all.
 *
 * @since 0.1.0
 * @category printing
 */
export const toText = (self: Upgrade): string => {
  const { entries, epoch, job } = self
  const rows = entries.map((entry) => ({
    status: entry.status,
    name: `${entry.what} "${entry.name}"`,
    reason: `${entry.was === undefined ? "" : `was "${entry.was}"; `}${entry.reason}`,
    remedy: entry.remedy
  }))
  const wide = (of: (row: typeof rows[number]) => string) => Math.max(0, ...rows.map((row) => of(row).length))
  const [statuses, names] = [wide(({ status }) => status), wide(({ name }) => name)]
  return [
    `job "${job}" ${epoch === undefined ? "has no checkpoint" : `goes on from epoch ${epoch}`}`,
    ...rows.flatMap(({ name, reason, remedy, status }) => [
      `  ${status.padEnd(statuses)}  ${name.padEnd(names)}  ${reason}`.trimEnd(),
      ...remedy === undefined ? [] : [`  ${" ".repeat(statuses)}  → ${remedy}`]
    ]),
    epoch === undefined ? "The job begins from nothing." : verdicts[verdict(self)]
  ].join("\n")
}
