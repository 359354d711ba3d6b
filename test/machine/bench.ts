/** A window machine on its own, fed with literals, under the watermarks of one split. */
import * as Schema from "effect/Schema"
import * as Aggregate from "../../src/Aggregate.ts"
import { machine } from "../../src/internal/machine/windowing.ts"
import type { CutTable, MachineCut, MachinePart, TablePart } from "../../src/internal/state/cut.ts"
import { keyGroups } from "../../src/internal/state/keyIdentity.ts"
import type { Emit, Machine } from "../../src/Machine.ts"
import type { Late, Pane, Window } from "../../src/Window.ts"

export interface BenchOptions {
  readonly lateness?: number
  readonly bound?: number
  readonly aggregate?: Aggregate.Aggregate<unknown, unknown, unknown>
  /** Results that one call may put out. */
  readonly budget?: number
  /** Told of each result: its pane and the event time it carries. */
  readonly onPane?: (pane: Pane<unknown, unknown>, time: number) => void
}

export interface Bench {
  readonly machine: Machine<unknown>
  /** Panes in words, such as `[0,10) a: 2 on-time`. */
  readonly panes: Array<string>
  /** Late records in words, such as `9 of [0,10) at W=9, late by 0`. */
  readonly late: Array<string>
  readonly counts: { late: number; partlyLate: number; outside: number }
  readonly failures: Array<unknown>
  watermark: number
  /** A record, of key "a" unless told, and then the watermark that it brings. */
  readonly at: (time: number, key?: string, value?: unknown) => Bench
  /** Moves event time, in as many calls as the budget asks for; says how many. */
  readonly advance: (watermark: number) => number
  /** One call of the machine; true when everything due is done. */
  readonly step: (watermark: number) => boolean
  readonly cut: () => { readonly machine: MachineCut; readonly watermark: number }
}

/** Text of inputs one after the other: the order of merging can be seen. */
export const concat = Aggregate.make({
  zero: "",
  add: (acc, input: string) => acc + input,
  merge: (self, that) => self + that,
  done: (acc) => acc,
  state: Schema.String
}) as Aggregate.Aggregate<unknown, unknown, unknown>

const paneText = ({ index, isLast, key, timing, value, window }: Pane<unknown, unknown>): string => {
  const { answer } = value as { readonly answer: unknown }
  return `[${window.start},${window.end}) ${key}: ${answer} ${timing}${index === 0 ? "" : ` #${index}`}${
    isLast ? "" : ", more may follow"
  }`
}

export const bench = (window: Window, options: BenchOptions = {}, from?: ReturnType<Bench["cut"]>): Bench => {
  const { aggregate = Aggregate.count, bound = 0, budget = Infinity, lateness = 0 } = options
  const panes: Array<string> = []
  const late: Array<string> = []
  const failures: Array<unknown> = []
  const counts = { late: 0, partlyLate: 0, outside: 0 }
  let spent = 0
  const emit: Emit<unknown> = {
    out: (output, value, time) => {
      spent++
      if (output === "results") {
        panes.push(paneText(value as Pane<unknown, unknown>))
        options.onPane?.(value as Pane<unknown, unknown>, time)
        return
      }
      const { lateByMillis, watermark, windows } = value as Late<unknown>
      late.push(
        `${time} of ${
          windows.map(({ end, start }) => `[${start},${end})`).join(" ")
        } at W=${watermark}, late by ${lateByMillis}`
      )
    },
    full: () => spent >= budget,
    count: (what) => counts[what]++,
    failed: (error) => failures.push(error)
  }
  const made = machine(
    {
      _tag: "Window",
      name: "bench",
      // Not looked at by the machine.
      input: undefined as never,
      window,
      allowedLatenessMillis: lateness,
      fields: [["answer", aggregate]],
      key: { schema: Schema.String },
      element: undefined,
      state: { version: 1 },
      onError: undefined
    },
    lateness,
    emit
  )
  if (from !== undefined) made.restore(kept(from.machine), () => true)
  const self: Bench = {
    machine: made,
    panes,
    late,
    counts,
    failures,
    watermark: from?.watermark ?? -Infinity,
    at: (time, key = "a", value = `${time} `) => {
      made.record(value, time, key, self.watermark)
      self.advance(time - bound - 1)
      return self
    },
    step: (watermark) => {
      self.watermark = Math.max(self.watermark, watermark)
      spent = 0
      return made.advance(self.watermark)
    },
    advance: (watermark) => {
      let calls = 0
      self.watermark = Math.max(self.watermark, watermark)
      // As the runtime does: only when something is due.
      while (made.nextTimer <= self.watermark) {
        calls++
        if (self.step(watermark)) break
      }
      return calls
    },
    cut: () => ({ machine: made.cut(), watermark: self.watermark })
  }
  return self
}

export const end = Infinity

const json = <A>(value: A): A => JSON.parse(JSON.stringify(value)) as A

/** All of a table, as a checkpoint gives it back. */
export const keptTable = ({ codec, cut: { view }, id }: CutTable): TablePart => {
  const slots = [...view.slots()]
  const columns = Array.from({ length: codec.width }, (): Array<unknown> => [])
  for (const slot of slots) codec.write(view.valueOf(slot)!, columns)
  return { id, keys: slots.map(({ key }) => key), columns: json(columns) }
}

/** What a checkpoint keeps of a cut, in full; the cut may be read again. */
export const kept = (cut: MachineCut, groups: readonly [number, number] = [0, keyGroups]): MachinePart => ({
  groups,
  meta: json(cut.meta),
  tables: cut.tables.map(keptTable),
  lists: cut.lists.map(({ id, keys }) => ({ id, keys: [...keys] }))
})
