/** State is cut at any moment on some partitions and restored on others: nobody sees a difference in what comes out. */
import { assert, describe, it } from "@effect/vitest"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as fc from "fast-check"
import * as Aggregate from "../../src/Aggregate.ts"
import * as ErrorPolicy from "../../src/ErrorPolicy.ts"
import { Fields } from "../../src/internal/machine/fields.ts"
import { type Clock, type Counts, type Host, noCounts } from "../../src/internal/machine/operator.ts"
import { Regrouped } from "../../src/internal/machine/regrouped.ts"
import { RetryGate } from "../../src/internal/machine/retryGate.ts"
import { machine, MachineOperator, type OperatorCut, type OperatorPart } from "../../src/internal/machine/windowing.ts"
import { type Identity, keyGroupOf, keyGroups } from "../../src/internal/state/keyIdentity.ts"
import * as Window from "../../src/Window.ts"
import { lawRuns } from "../laws/runs.ts"
import { bench, concat, kept } from "./bench.ts"

/** Of the groups 7, 26, 48, 67, 84, 100 and 118: every number of partitions divides them differently. */
const keys = ["b", "a", "e", "v", "j", "k", "t"]

const kinds: ReadonlyArray<readonly [string, Window.Window]> = [
  ["tumbling", Window.tumbling(10)],
  ["with gaps", Window.sliding({ size: 5, every: 10 })],
  [
    "custom",
    Window.custom({ name: "two", assign: (time) => [{ start: time - 5, end: time + 5 }, { start: 0, end: 30 }] })
  ],
  ["sliding", Window.sliding({ size: 10, every: 4 })],
  ["session", Window.session({ gap: 10 })]
]

class ManualClock implements Clock {
  now = -Infinity
  before: number | undefined = undefined
  current(): number {
    return this.now
  }
  previous(): number {
    return this.before ?? this.now
  }
}

/** An operator as the runtime drives it. */
class Partition {
  readonly clock = new ManualClock()
  readonly operator: MachineOperator
  readonly groups: readonly [number, number]
  private readonly budget: number
  private spent = 0

  constructor(
    window: Window.Window,
    lateness: number,
    budget: number,
    groups: readonly [number, number],
    out: Array<string>,
    counts: Counts
  ) {
    this.groups = groups
    this.budget = budget
    const host: Host = {
      full: () => this.spent >= this.budget,
      hold: () => {},
      reject: (_, { error }) => {
        throw error
      },
      settle: (_, __, { error }) => {
        throw error
      }
    }
    const site = { label: "window", policy: ErrorPolicy.fail, counts }
    this.operator = new MachineOperator(site, host, this.clock, (emit) =>
      machine(
        {
          _tag: "Window",
          name: "window",
          input: undefined as never, // not looked at by the machine
          window,
          allowedLatenessMillis: lateness,
          fields: [["texts", concat], ["count", Aggregate.count]],
          key: { schema: Schema.String },
          element: undefined,
          state: { version: 1 },
          onError: undefined
        },
        lateness,
        emit
      ))
    this.operator.connect((output) => ({
      push: (value, time, key) => {
        this.spent++
        out.push(JSON.stringify({ output, value, time, key }))
        if (output !== "results" || (value as Window.Pane<unknown, unknown>).timing !== "on-time") return
        // Who reads this has not been told that event time is past it.
        assert.isAbove(time, this.operator.output.current())
      }
    }))
  }

  owns(key: Identity): boolean {
    const group = keyGroupOf(key)
    return group >= this.groups[0] && group < this.groups[1]
  }

  /** Event time moves; of what is due then, so many calls are made. */
  move(to: number, calls = Infinity): void {
    const { clock, operator } = this
    if (to > clock.now) {
      clock.before = clock.now
      clock.now = to
    }
    if (this.work(calls)) clock.before = undefined
    else operator.hold()
  }

  /** Whether everything due is done. */
  work(calls = Infinity): boolean {
    while (this.operator.nextTimer <= this.clock.now) {
      if (calls-- <= 0) return false
      this.spent = 0
      if (this.operator.advance(this.clock.now)) break
    }
    return true
  }
}

type Event =
  | { readonly _tag: "Record"; readonly key: string; readonly time: number }
  | { readonly _tag: "Move"; readonly partition: number; readonly to: number }

/** Life on so many partitions, up to a cut or the end. */
interface Phase {
  readonly partitions: number
  readonly budget: number
  readonly events: ReadonlyArray<Event>
  /** The last move of some partitions, and how many calls of it are made before the cut. */
  readonly last: ReadonlyArray<{ readonly to: number; readonly calls: number }>
  /** A cut right after the restore, when only so many calls of what is due have been made. */
  readonly hasty: number | undefined
  /** The clocks begin before everything, and not where the slowest of the old ones was. */
  readonly fromStart: boolean
}

const instants = fc.oneof(
  { weight: 20, arbitrary: fc.integer({ min: -20, max: 60 }) },
  { weight: 1, arbitrary: fc.constant(Infinity) }
)
const events: fc.Arbitrary<ReadonlyArray<Event>> = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        _tag: fc.constant("Record" as const),
        key: fc.constantFrom(...keys),
        time: fc.integer({ min: -20, max: 60 })
      })
    },
    {
      weight: 1,
      arbitrary: fc.record({ _tag: fc.constant("Move" as const), partition: fc.nat({ max: 6 }), to: instants })
    }
  ),
  { maxLength: 30, size: "max" }
)
const phases: fc.Arbitrary<ReadonlyArray<Phase>> = fc.array(
  fc.record({
    partitions: fc.constantFrom(1, 2, 3, 7),
    budget: fc.integer({ min: 1, max: 3 }),
    events,
    last: fc.array(fc.record({ to: instants, calls: fc.nat({ max: 3 }) }), { maxLength: 7, size: "max" }),
    hasty: fc.option(fc.nat({ max: 3 }), { nil: undefined, freq: 4 }),
    fromStart: fc.boolean()
  }),
  { minLength: 2, maxLength: 4, size: "max" }
)

const rangeOf = (partition: number, partitions: number): readonly [number, number] => [
  Math.ceil(partition * keyGroups / partitions),
  Math.ceil((partition + 1) * keyGroups / partitions)
]

const partOf = (cut: OperatorCut, groups: readonly [number, number]): OperatorPart => ({
  machine: kept(cut.machine, groups),
  floors: cut.floors,
  settled: cut.settled
})

/** What a checkpoint has kept of the tables of a partition, as one cut after the other has told it. */
class Replay {
  private tables = new Map<string, Map<Identity, string>>()

  /** Of a table that was there before, nothing but what was touched. The tables must then be what the cut shows. */
  read({ machine }: OperatorCut): void {
    const tables = new Map<string, Map<Identity, string>>()
    for (const { codec, cut: { touched, view }, id } of machine.tables) {
      const rows = touched === undefined ? new Map<Identity, string>() : this.tables.get(id)!
      for (const slot of touched ?? view.slots()) {
        const value = view.valueOf(slot)
        const columns = Array.from({ length: codec.width }, (): Array<unknown> => [])
        if (value === undefined) rows.delete(slot.key)
        else {
          codec.write(value, columns)
          rows.set(slot.key, JSON.stringify(columns.map(([cell]) => cell)))
        }
      }
      tables.set(id, rows)
    }
    this.tables = tables
    for (const { columns, id, keys } of kept(machine).tables) {
      const rows = keys.map((key, row) => [key, JSON.stringify(columns.map((column) => column[row]))] as const)
      assert.deepStrictEqual(new Map(rows), this.tables.get(id))
    }
    for (const { cut } of machine.tables) cut.view.release()
  }
}

/** The content of a cut, in an order of its own. */
const contentOf = ({ floors, machine, settled }: OperatorPart) => ({
  floors,
  settled,
  meta: machine.meta,
  tables: machine.tables.map(({ columns, id, keys }) => ({
    id,
    rows: keys.map((key, row) => JSON.stringify([key, ...columns.map((column) => column[row])])).sort()
  })),
  lists: machine.lists.map(({ id, keys }) => ({ id, keys: [...keys].sort() }))
})

describe.each(kinds)("restoring on other partitions: %s", (_, window) => {
  const make = (
    { budget, partitions }: Phase,
    lateness: number,
    out: Array<string>,
    counts: Counts
  ): ReadonlyArray<Partition> =>
    Array.from(
      { length: partitions },
      (_, i) => new Partition(window, lateness, budget, rangeOf(i, partitions), out, counts)
    )

  const restore = (fresh: Partition, parts: ReadonlyArray<OperatorPart>, now: number) => {
    const [from, to] = fresh.groups
    fresh.clock.now = now
    const ours = parts.filter(({ machine: { groups } }) => groups[0] < to && from < groups[1])
    fresh.operator.restore(ours, (key) => fresh.owns(key))
  }

  it("every record is judged, and every window fires, as if nothing had happened", () => {
    let [regroupings, interruptions] = [0, 0]
    fc.assert(
      fc.property(phases, fc.constantFrom(0, 7, 25), (phases, lateness) => {
        const out: Array<string> = []
        const counts = noCounts()
        // Every key by itself, on a partition that nobody disturbs.
        const expected: Array<string> = []
        const expectedCounts = noCounts()
        const alone = new Map(
          keys.map((key) => [
            key,
            new Partition(window, lateness, Infinity, [0, keyGroups], expected, expectedCounts)
          ])
        )
        const move = (partition: Partition, to: number, calls?: number) => {
          partition.move(to, calls)
          for (const [key, own] of alone) if (partition.owns(key)) own.move(to)
        }
        let old: ReadonlyArray<Partition> = []
        let parts: ReadonlyArray<OperatorPart> = []
        phases.forEach((phase, at) => {
          const now = make(phase, lateness, out, counts)
          for (const partition of now) {
            const [from, to] = partition.groups
            const before = old.filter(({ groups }) => groups[0] < to && from < groups[1])
            const least = Math.min(Infinity, ...before.map(({ clock }) => clock.now))
            restore(partition, parts, phase.fromStart || at === 0 ? -Infinity : least)
            if (partition.operator.machine instanceof Regrouped) regroupings++
            if (!partition.work(phase.hasty)) interruptions++
          }
          const replays = new Map(now.map((partition) => [partition, new Replay()]))
          if (phase.hasty === undefined) {
            for (const [i, event] of phase.events.entries()) {
              if (i % 5 === 0) {
                for (const [{ groups, operator }, replay] of replays) replay.read(operator.cut(groups))
              }
              if (event._tag === "Move") {
                move(now[event.partition % now.length]!, event.to)
                continue
              }
              const { key, time } = event
              now.find((partition) => partition.owns(key))!.operator.push(`${time} `, time, key)
              alone.get(key)!.operator.push(`${time} `, time, key)
            }
            for (const [i, { calls, to }] of phase.last.entries()) if (i < now.length) move(now[i]!, to, calls)
          }
          parts = now.map((partition) => {
            const cut = partition.operator.cut(partition.groups)
            const part = partOf(cut, partition.groups)
            replays.get(partition)!.read(cut)
            return part
          })
          // Restored as it was, it gives the same again, whether its clock knows of that already or not.
          const again = make(phase, lateness, [], noCounts())
          again.forEach((partition, i) => {
            restore(partition, parts, i % 2 === 0 ? now[i]!.clock.now : -Infinity)
            const cut = partOf(partition.operator.cut(partition.groups), partition.groups)
            assert.deepStrictEqual(contentOf(cut), contentOf(parts[i]!))
          })
          old = now
        })
        for (const partition of old) {
          partition.work()
          move(partition, Infinity)
          const { machine, nextTimer, output } = partition.operator
          assert.strictEqual(machine.size, 0)
          assert.strictEqual(machine.nextTimer, Infinity)
          assert.strictEqual(nextTimer, Infinity)
          assert.strictEqual(output.current(), Infinity)
          assert.notInstanceOf(machine, Regrouped)
        }
        assert.deepStrictEqual(out.sort(), expected.sort())
        assert.deepStrictEqual(counts, expectedCounts)
      }),
      { numRuns: lawRuns(400) }
    )
    assert.isAbove(regroupings, 0)
    assert.isAbove(interruptions, 0)
  })
})

describe("restoring a gate", () => {
  const gateOf = () => {
    const tried: Array<unknown> = []
    const site = { label: "store", policy: ErrorPolicy.fail, counts: noCounts() }
    const clock = new ManualClock()
    const host: Host = { full: () => false, hold: () => {}, reject: () => {}, settle: () => {} }
    let broken = true
    const policy = ErrorPolicy.retry(Schedule.forever, { then: ErrorPolicy.skip })
    const gate: RetryGate = new RetryGate(site, host, policy, clock, {
      push: (value, time, key) => {
        tried.push(value)
        if (broken) gate.host.reject(site, { error: "broken", value, time, key })
      }
    })
    return { gate, clock, tried, mend: () => broken = false }
  }

  const stalledAt = (watermark: number, values: ReadonlyArray<string>) => {
    const { clock, gate } = gateOf()
    clock.now = watermark
    for (const value of values) gate.push(value, watermark + 1, value)
    clock.now = 100
    return gate
  }

  it("rows of several gates wait in the order of the parts, and event time where the least held it", () => {
    const gates = [stalledAt(20, ["a", "b"]), stalledAt(30, ["c"]), stalledAt(10, [])]
    const cuts = gates.map((gate) => gate.cut())
    assert.deepStrictEqual(cuts.map(({ held }) => held), [20, 30, undefined])
    assert.deepStrictEqual(cuts[0]!.rows, {
      values: ["a", "b"],
      times: [21, 21],
      keys: ["a", "b"],
      watermarks: [20, 20]
    })
    const { clock, gate, mend, tried } = gateOf()
    clock.now = 50
    gate.restore(cuts)
    assert.strictEqual(gate.label, "store")
    assert.strictEqual(gate.output.current(), 20)
    // Like a gate to which all of them have come, and which has not tried any yet.
    assert.deepStrictEqual(gate.cut().rows.values, ["a", "b", "c"])
    assert.isUndefined(gate.stalled)
    mend()
    assert.isTrue(gate.advance())
    assert.deepStrictEqual(tried, ["a", "b", "c"])
    assert.strictEqual(gate.output.current(), 50)
    // What was cut does not change.
    assert.deepStrictEqual(cuts[0]!.rows.values, ["a", "b"])
  })

  it("nothing waits, and nothing is held, where no part has a row", () => {
    const { clock, gate } = gateOf()
    clock.now = 50
    gate.restore([stalledAt(10, []).cut(), { rows: { values: [], times: [], keys: [] }, held: 7 }])
    assert.strictEqual(gate.nextTimer, Infinity)
    assert.strictEqual(gate.output.current(), 50)
  })
})

describe("accumulators in columns", () => {
  const self = (n: number) => n
  const round = (fields: Fields, acc: unknown) => {
    const columns = Array.from({ length: fields.codec.width }, (): Array<unknown> => [])
    fields.codec.write(acc as never, columns)
    return { cells: columns.map(([cell]) => cell), back: fields.codec.read(columns, 0) }
  }
  const folded = (fields: Fields, inputs: ReadonlyArray<number>) =>
    inputs.reduce((acc, input) => fields.add(acc, input, 0), fields.zero)
  const plain = Aggregate.make({
    zero: 0,
    add: (_, input: number) => input,
    merge: (_, that) => that,
    done: (acc) => acc,
    state: Schema.Number
  })

  it("numbers go as they are where the state is a number, and texts are read as `Schema.Number` writes them", () => {
    const fields = new Fields([["last", plain as Aggregate.Aggregate<unknown, unknown, unknown>]], undefined)
    for (const n of [1.5, NaN, -0, Infinity, -Infinity]) {
      const { back, cells } = round(fields, folded(fields, [n]))
      assert.isTrue(Object.is(cells[0], n))
      assert.isTrue(Object.is(back, n))
      assert.isTrue(Object.is(fields.codec.read([[String(n === 0 ? 0 : n)]], 0), n === 0 ? 0 : n))
    }
  })

  it.each<readonly [string, (f: (n: number) => number) => unknown, ReadonlyArray<number>, unknown]>([
    ["sum", Aggregate.sum, [1, 2], 3],
    ["sum", Aggregate.sum, [NaN], ["NaN", 0]],
    ["sum", Aggregate.sum, [1e16, 1], [1e16, 1]],
    ["min", Aggregate.min, [4, 3], 3],
    ["min", Aggregate.min, [NaN], "NaN"],
    ["min", Aggregate.min, [], null]
  ])("of %s", (_, aggregate, inputs, cell) => {
    const field = aggregate(self) as Aggregate.Aggregate<unknown, unknown, unknown>
    for (const fields of [new Fields([["a", field]], undefined), new Fields([["a", field], ["b", field]], undefined)]) {
      const acc = folded(fields, inputs)
      const { back, cells } = round(fields, acc)
      assert.deepStrictEqual(cells, cells.map(() => cell))
      assert.deepStrictEqual(back, acc)
      assert.deepStrictEqual(fields.done(back), fields.done(acc))
    }
  })

  it("an accumulator that is undefined is one all the same", () => {
    const unknowing = Aggregate.make({
      zero: undefined,
      add: () => undefined,
      merge: () => undefined,
      done: (acc) => String(acc),
      state: Schema.Undefined
    }) as Aggregate.Aggregate<unknown, unknown, unknown>
    for (const window of [Window.tumbling(10), Window.sliding({ size: 10, every: 4 }), Window.session({ gap: 10 })]) {
      const options = { aggregate: unknowing, bound: 100 }
      const whole = bench(window, options).at(1)
      const first = whole.cut()
      whole.at(1)
      for (const { cut: { touched, view } } of whole.cut().machine.tables) {
        assert.deepStrictEqual(touched!.map((slot) => [slot.key, view.valueOf(slot) === undefined]), [["a", false]])
      }
      const restored = bench(window, options, first)
      restored.advance(Infinity)
      assert.isAbove(restored.panes.length, 0)
      for (const pane of restored.panes) assert.match(pane, /a: undefined on-time$/)
    }
  })

  it("several sessions of a key, and numbers that JSON has no word for", () => {
    const options = { aggregate: plain as Aggregate.Aggregate<unknown, unknown, unknown>, bound: 100 }
    const window = Window.session({ gap: 10 })
    const whole = bench(window, options).at(0, "a", NaN).at(50, "a", 2).at(0, "b", -Infinity).at(7, "c", 3)
    const restored = bench(window, options, whole.cut())
    whole.advance(Infinity)
    restored.advance(Infinity)
    assert.lengthOf(whole.panes, 4)
    assert.deepStrictEqual(restored.panes, whole.panes)
  })
})
