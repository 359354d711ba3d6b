import { assert, describe, expect, it } from "@effect/vitest"
import { Effect, Schedule, Schema } from "effect"
import * as fc from "fast-check"
import { Aggregate, ErrorPolicy, Flow, Job, Partitioner, Plan, Sink, Source, Watermark, Window } from "millrace"
import { PlanInvalid } from "../src/FlowError.ts"
import * as graphs from "../src/internal/plan/graph.ts"
import * as layouts from "../src/internal/plan/layout.ts"
import { runs } from "./laws/runs.ts"

interface Reading {
  readonly sensor: string
  readonly at: number
  readonly value: number
}
const Reading = Schema.Struct({ sensor: Schema.String, at: Schema.Number, value: Schema.Number })

const time = { time: (reading: Reading) => reading.at, watermark: Watermark.boundedOutOfOrderness("5 seconds") }
const readings = (name = "readings", schema = true) =>
  Flow.from(name, Source.memory<Reading>([], schema ? { schema: Reading } : {}), time)
const bySensor = Flow.keyBy((reading: Reading) => reading.sensor, Schema.String)
const counted = (name: string, window = Window.tumbling("1 minute"), flow = readings()) =>
  flow.pipe(bySensor, Flow.window(name, window), Flow.aggregate({ count: Aggregate.count }))
const kept = <K, A, Out>(outputs: Flow.WindowOutputs<K, A, Out, never, never, never>) =>
  Flow.only(outputs, "results", { late: "counted in the metrics" })

/** What `Job.make` says no to. */
const refusal = (make: () => unknown): PlanInvalid => {
  try {
    make()
  } catch (error) {
    assert.instanceOf(error, PlanInvalid)
    return error
  }
  return assert.fail("it was made")
}

describe("Job.make refuses, naming the operator and the remedy", () => {
  const refusals: ReadonlyArray<
    readonly [what: string, make: () => unknown, operator: string, problem: RegExp, remedy: RegExp]
  > = [
    [
      "a job without a name",
      () => Job.make(" ", [readings().pipe(Flow.to("out", Sink.memory()))]),
      " ",
      /has no name/,
      /not empty/
    ],
    ["a job without outputs", () => Job.make("nothing", []), "nothing", /no outputs/, /Flow\.to/],
    [
      "a source without a name",
      () => Job.make("job", [readings("").pipe(Flow.to("out", Sink.memory()))]),
      "",
      /source without a name/,
      /not empty/
    ],
    [
      "a window without a name",
      () => Job.make("job", [counted("").pipe(kept, Flow.to("out", Sink.memory()))]),
      "",
      /window without a name/,
      /not empty/
    ],
    [
      "a split without a name",
      () =>
        Job.make("job", [
          readings().pipe(Flow.split("", {}), ({ otherwise }) => otherwise, Flow.to("out", Sink.memory()))
        ]),
      "",
      /split without a name/,
      /not empty/
    ],
    [
      "an operator whose name is blank",
      () =>
        Job.make("job", [
          readings().pipe(Flow.map((reading) => reading.value, { name: "  " }), Flow.to("out", Sink.memory()))
        ]),
      "  ",
      /map without a name/,
      /not empty/
    ],
    [
      "a sink without a name",
      () => Job.make("job", [readings().pipe(Flow.to("", Sink.memory()))]),
      "readings",
      /sink without a name/,
      /Flow\.to/
    ],
    [
      "two windows of one name",
      () => {
        const flow = readings()
        return Job.make("job", [
          counted("spending", Window.tumbling("1 minute"), flow).pipe(kept, Flow.to("a", Sink.memory())),
          counted("spending", Window.tumbling("1 hour"), flow).pipe(kept, Flow.to("b", Sink.memory()))
        ])
      },
      "spending",
      /name of two operators \(a window and a window\)/,
      /name of its own/
    ],
    [
      "a source and a window of one name",
      () => Job.make("job", [counted("readings").pipe(kept, Flow.to("out", Sink.memory()))]),
      "readings",
      /a source and a window/,
      /name of its own/
    ],
    [
      "two sinks of one name",
      () => {
        const flow = readings()
        return Job.make("job", [flow.pipe(Flow.to("out", Sink.memory())), flow.pipe(Flow.to("out", Sink.memory()))])
      },
      "out",
      /two sinks/,
      /name of its own/
    ],
    [
      "late records that go nowhere",
      () => Job.make("job", [counted("spending").results.pipe(Flow.to("out", Sink.memory()))]),
      "spending",
      /goes nowhere: "late"/,
      /Flow\.discard\(reason\).*Flow\.only/
    ],
    [
      "branches that go nowhere",
      () => {
        const { high } = readings().pipe(
          Flow.split("levels", { high: (reading) => reading.value > 9, low: (reading) => reading.value < 1 })
        )
        return Job.make("job", [high.pipe(Flow.to("high", Sink.memory()))])
      },
      "levels",
      /goes nowhere: "low" and "otherwise"/,
      /Flow\.discard\(reason\)/
    ],
    [
      "a branch named otherwise",
      () => readings().pipe(Flow.split("levels", { otherwise: () => true })),
      "levels",
      /branch named "otherwise"/,
      /another name/
    ],
    [
      "a discard without a reason",
      () => {
        const { late, results } = counted("spending")
        return Job.make("job", [results.pipe(Flow.to("out", Sink.memory())), late.pipe(Flow.discard(" "))])
      },
      "spending",
      /discards its output "late" without a reason/,
      /say why/
    ],
    [
      "Flow.only without a reason",
      () =>
        Job.make("job", [counted("spending").pipe(Flow.only("results", { late: "" }), Flow.to("out", Sink.memory()))]),
      "spending",
      /"late" without a reason/,
      /say why/
    ],
    [
      "a window without event time, past the types",
      () => {
        const untimed = Flow.from("readings", Source.memory<Reading>([])) as Flow.Flow<Reading>
        return Job.make("job", [
          counted("spending", Window.tumbling("1 minute"), untimed).pipe(kept, Flow.to("out", Sink.memory()))
        ])
      },
      "spending",
      /without event time/,
      /\{ time, watermark \} in Flow\.from/
    ],
    [
      "an allowed lateness without end",
      () =>
        Job.make("job", [
          readings().pipe(
            bySensor,
            Flow.window("spending", Window.tumbling("1 minute"), { allowedLateness: Infinity }),
            Flow.aggregate({ count: Aggregate.count }),
            kept,
            Flow.to("out", Sink.memory())
          )
        ]),
      "spending",
      /allowed lateness/,
      /whole milliseconds/
    ],
    [
      "records kept without a schema",
      () =>
        Job.make("job", [
          readings("readings", false).pipe(
            bySensor,
            Flow.window("spending", Window.tumbling("1 minute")),
            Flow.aggregate({ all: Aggregate.collect() }),
            kept,
            Flow.to("out", Sink.memory())
          )
        ]),
      "spending",
      /keeps whole records in "all"/,
      /Flow\.typed\(schema\)/
    ],
    [
      "a window that computes nothing",
      () =>
        Job.make("job", [
          readings().pipe(
            bySensor,
            Flow.window("spending", Window.tumbling("1 minute")),
            Flow.aggregate({}),
            kept,
            Flow.to("out", Sink.memory())
          )
        ]),
      "spending",
      /computes nothing/,
      /at least one field/
    ],
    [
      "dead letters that nobody keeps",
      () =>
        Job.make("job", [
          readings().pipe(
            Flow.map((reading) => reading.value, { name: "value", onError: ErrorPolicy.deadLetter }),
            Flow.to("out", Sink.memory())
          )
        ]),
      "value",
      /the job keeps none/,
      /deadLetters: sink/
    ],
    [
      "dead letters at the end of a retry",
      () =>
        Job.make("job", [readings().pipe(Flow.to("out", Sink.memory()))], {
          onError: ErrorPolicy.retry(Schedule.recurs(1), { then: ErrorPolicy.deadLetter })
        }),
      "readings",
      /the job keeps none/,
      /deadLetters: sink/
    ]
  ]
  for (const [what, make, operator, problem, remedy] of refusals) {
    it(what, () => {
      const error = refusal(make)
      assert.strictEqual(error.operator, operator)
      assert.match(error.problem, problem)
      assert.match(error.remedy, remedy)
      const subject = { operator: "Operator", job: "Job", sink: "Sink" }[error.subject]
      assert.strictEqual(error.message, `${subject} "${operator}" ${error.problem}: ${error.remedy}`)
    })
  }
})

describe("Job.make accepts", () => {
  it("records kept with a schema: at the source, by Flow.typed, in the aggregate", () => {
    const collected = (flow: Flow.Flow<Reading>, all: Aggregate.Aggregate<Reading, unknown, ReadonlyArray<Reading>>) =>
      Job.make("job", [
        flow.pipe(
          bySensor,
          Flow.window("kept", Window.tumbling("1 minute")),
          Flow.aggregate({ all }),
          kept,
          Flow.to("out", Sink.memory())
        )
      ])
    collected(readings(), Aggregate.collect())
    collected(readings("readings", false).pipe(Flow.typed(Reading)), Aggregate.collect())
    collected(readings("readings", false), Aggregate.collect({ schema: Reading }))
  })

  it("dead letters with a sink for them", () => {
    Job.make("job", [readings().pipe(Flow.to("out", Sink.memory()))], {
      onError: ErrorPolicy.deadLetter,
      deadLetters: Sink.memory()
    })
  })

  it("a flow value used twice: it is one operator", () => {
    const mapped = readings().pipe(Flow.map((reading) => reading.value))
    const { plan } = Job.make("job", [
      mapped.pipe(Flow.to("a", Sink.memory())),
      mapped.pipe(Flow.to("b", Sink.memory()))
    ])
    assert.deepStrictEqual(plan.operators.map(({ name }) => name), ["readings", "readings.map"])
    assert.deepStrictEqual(plan.sinks.map(({ reads }) => reads), ["readings.map", "readings.map"])
  })

  it("operators without names: they are called after their place", () => {
    const flow = readings()
    const { plan } = Job.make("job", [
      flow.pipe(Flow.map((reading) => reading.value), Flow.to("a", Sink.memory())),
      flow.pipe(
        Flow.map((reading) => reading.sensor),
        Flow.filter((sensor) => sensor !== ""),
        Flow.to("b", Sink.memory())
      )
    ])
    assert.deepStrictEqual(plan.operators.map(({ name }) => name), [
      "readings",
      "readings.map",
      "readings.map#2",
      "readings.map#2.filter"
    ])
  })
})

const job = (change?: { readonly window?: Window.Window; readonly name?: string; readonly factor?: number }) => {
  const backup = readings("backup").pipe(
    Flow.map(({ at, sensor, value }) => ({ at, sensor, value: value * (change?.factor ?? 1) }), {
      name: "scaled",
      onError: ErrorPolicy.skip
    }),
    Flow.typed(Reading)
  )
  const { late, results } = readings().pipe(
    Flow.merge(backup),
    bySensor,
    Flow.window(change?.name ?? "spending", change?.window ?? Window.tumbling("1 minute"), {
      allowedLateness: "30 seconds"
    }),
    Flow.aggregate({ count: Aggregate.count, worst: Aggregate.max((reading: Reading) => reading.value) })
  )
  const levels = results.pipe(
    Flow.partitionBy(Partitioner.roundRobin),
    Flow.split("levels", { busy: (pane) => pane.value.count > 10 })
  )
  return Job.make("sensors", [
    levels.busy.pipe(Flow.to("busy", Sink.ndjson("busy.ndjson"))),
    levels.otherwise.pipe(Flow.discard("not \"interesting\"")),
    late.pipe(Flow.to("late", Sink.memory()))
  ])
}

describe("Plan prints itself", () => {
  const { plan } = job()
  for (const partitions of [1, 4]) {
    it.each([["text", Plan.toText], ["mermaid", Plan.toMermaid], ["json", Plan.toJson]] as const)(
      `${partitions} partitions, %s`,
      async (format, print) => {
        const printed = print(plan, { partitions })
        const text = typeof printed === "string" ? printed : JSON.stringify(printed, undefined, 2)
        const file = `plan-${partitions}.${format === "text" ? "txt" : format === "mermaid" ? "mmd" : "json"}`
        await expect(`${text}\n`).toMatchFileSnapshot(`golden/${file}`)
      }
    )
  }
})

describe("Plan.fingerprint", () => {
  const { fingerprint } = Plan
  const known = fingerprint(job().plan)

  it("is sixteen hexadecimal digits that never change", () => {
    assert.strictEqual(known, "db9e9132087a0fc3")
    assert.strictEqual(fingerprint(job().plan), known)
  })
  it("does not see lambdas", () => assert.strictEqual(fingerprint(job({ factor: 2 }).plan), known))
  it.each<[string, Parameters<typeof job>[0]]>([
    ["the size of a window", { window: Window.tumbling("2 minutes") }],
    ["the kind of a window", { window: Window.session({ gap: "1 minute" }) }],
    ["a name", { name: "expenses" }]
  ])("sees %s", (_, change) => assert.notStrictEqual(fingerprint(job(change).plan), known))
  it("sees aggregates, sinks, policies and reasons", () => {
    const plans = [
      counted("w").pipe(kept, Flow.to("out", Sink.memory())),
      counted("w").pipe(kept, Flow.to("out", Sink.ndjson("out.ndjson"))),
      counted("w").pipe(Flow.only("results", { late: "for another reason" }), Flow.to("out", Sink.memory())),
      readings().pipe(
        bySensor,
        Flow.window("w", Window.tumbling("1 minute")),
        Flow.aggregate({ count: Aggregate.sum((reading: Reading) => reading.value) }),
        kept,
        Flow.to("out", Sink.memory())
      ),
      readings().pipe(
        bySensor,
        Flow.window("w", Window.tumbling("1 minute"), { onError: ErrorPolicy.skip }),
        Flow.aggregate({ count: Aggregate.count }),
        kept,
        Flow.to("out", Sink.memory())
      )
    ].map((output) => fingerprint(Job.make("job", [output]).plan))
    assert.strictEqual(new Set(plans).size, plans.length)
  })
})

// The layout.

/** Whether stages wait for each other in a circle. */
const isCircular = ({ exchanges, stageOf }: layouts.Layout): boolean => {
  const edges = exchanges.map(({ from, to }) => [stageOf[from.operator]!, stageOf[to.operator]!] as const)
  const reaches = (from: number, to: number, seen = new Set<number>()): boolean =>
    edges.some(([a, b]) => a === from && (b === to || (!seen.has(b) && (seen.add(b), reaches(b, to, seen)))))
  return edges.some(([from]) => reaches(from, from))
}

describe("the layout", () => {
  const layoutOf = (outputs: ReadonlyArray<Flow.Output<never, never, Sink.Guarantee>>, partitions: number) => {
    const graph = graphs.make("job", outputs.map(Flow.endingOf))
    return { graph, layout: layouts.make(graph, partitions) }
  }

  it("one partition needs no exchange", () => {
    const { components, exchanges } = layouts.make(job().plan.graph, 1)
    assert.deepStrictEqual([components.length, components[0]!.stages.length, exchanges.length], [1, 1, 0])
  })

  it("a merge of flows at different levels gets a forward exchange", () => {
    const source = readings()
    const { graph, layout } = layoutOf([
      source.pipe(bySensor, Flow.merge(source), Flow.to("out", Sink.memory()))
    ], 4)
    assert.deepStrictEqual(
      layout.exchanges.map(({ from, route, to }) => [
        graph.operators[from.operator]!.label,
        graph.operators[to.operator]!.label,
        route
      ]),
      [["readings", "readings.keyBy", "Key"], ["readings", "readings.keyBy+readings.merge", "Forward"]]
    )
    assert.isFalse(isCircular(layout))
  })

  it("parts that share nothing are components of their own", () => {
    const { layout } = layoutOf([
      readings("a").pipe(bySensor, Flow.to("a", Sink.memory())),
      readings("b").pipe(Flow.to("b", Sink.memory()))
    ], 2)
    assert.deepStrictEqual(layout.components.map(({ outlets, stages }) => [stages.length, outlets]), [[2, [0]], [1, [
      1
    ]]])
  })

  /** A program of steps, each on flows made before. */
  const program = fc.array(
    fc.tuple(fc.constantFrom("source", "map", "keyBy", "partitionBy", "merge", "split", "window"), fc.nat(), fc.nat()),
    { minLength: 1, maxLength: 30 }
  )
  it("stages never wait for each other in a circle, and every operator has one", () =>
    fc.assert(
      fc.property(program, fc.integer({ min: 1, max: 16 }), (steps, partitions) => {
        const flows: Array<Flow.Flow<Reading>> = [readings("source")]
        const outputs: Array<Flow.Output<never, never, Sink.Guarantee>> = []
        steps.forEach(([step, a, b], i) => {
          const flow = flows[a % flows.length]!
          if (step === "source") flows.push(readings(`source ${i}`))
          else if (step === "map") flows.push(flow.pipe(Flow.map((reading) => reading)))
          else if (step === "keyBy") flows.push(flow.pipe(bySensor))
          else if (step === "partitionBy") flows.push(flow.pipe(Flow.partitionBy(Partitioner.broadcast)))
          else if (step === "merge") flows.push(flow.pipe(Flow.merge(flows[b % flows.length]!)))
          else if (step === "split") {
            const { high, otherwise } = flow.pipe(Flow.split(`split ${i}`, { high: (reading) => reading.value > 0 }))
            flows.push(high)
            outputs.push(otherwise.pipe(Flow.discard("not needed")))
          } else {
            const { late, results } = flow.pipe(
              bySensor,
              Flow.window(`window ${i}`, Window.tumbling("1 minute")),
              Flow.aggregate({ count: Aggregate.count })
            )
            flows.push(results.pipe(Flow.map((pane) => ({ sensor: pane.key, at: 0, value: 0 }))))
            outputs.push(late.pipe(Flow.discard("not needed")))
          }
        })
        flows.forEach((flow, i) => outputs.push(flow.pipe(Flow.to(`sink ${i}`, Sink.memory()))))
        const { graph, layout } = layoutOf(outputs, partitions)
        assert.isFalse(isCircular(layout))
        const staged = layout.components.flatMap(({ stages }) => stages.flatMap(({ operators }) => operators))
        assert.deepStrictEqual([...staged].sort((x, y) => x - y), graph.operators.map(({ id }) => id))
        assert.deepStrictEqual(
          graph.operators.map(({ id }) =>
            layout.components.flatMap(({ stages }) => stages)
              .find(({ operators }) => operators.includes(id))!.id
          ),
          layout.stageOf
        )
        if (partitions === 1) assert.strictEqual(layout.exchanges.length, 0)
        // Within a stage rows go down a chain: nobody reads from an operator behind it.
        for (const { inputs, id } of graph.operators) for (const { operator } of inputs) assert.isBelow(operator, id)
      }),
      { numRuns: runs(300) }
    ))
})

it.effect("a plan is inert: nothing is opened before the job runs", () =>
  Effect.sync(() => {
    const opened: Array<string> = []
    const source = Source.make({
      description: "watched",
      bounded: true,
      replayable: true,
      splits: Effect.sync(() => (opened.push("splits"), ["0"])),
      open: () => Effect.sync(() => (opened.push("open"), { pull: () => Effect.succeed(undefined) }))
    })
    const { plan } = Job.make("job", [Flow.from("watched", source).pipe(Flow.to("out", Sink.memory()))])
    Plan.toText(plan)
    Plan.toJson(plan, { partitions: 3 })
    assert.deepStrictEqual(opened, [])
  }))
