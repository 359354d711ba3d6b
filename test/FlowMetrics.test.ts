import { assert, describe, it } from "@effect/vitest"
import { Effect, Metric } from "effect"
import { TestClock } from "effect/testing"
import { CheckpointStore, ErrorPolicy, Flow, FlowMetrics, Job, Sink, Source } from "millrace"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { atOnce, counted, type Reading, reading, settle, timed } from "./support/jobs.ts"

const metrics = Object.entries(FlowMetrics).flatMap(([name, member]) =>
  Metric.isMetric(member) ? [{ name, metric: member }] : []
)

/** What has been published of a metric for a job: the value per set of attributes. */
const published = (id: string, job: string) =>
  Effect.map(
    Metric.snapshot,
    (snapshots) =>
      snapshots.filter((snapshot) => snapshot.id === id && snapshot.attributes?.["job"] === job).map(
        ({ attributes, state, type }) => {
          const { job: _, ...others } = attributes as Record<string, string>
          const figures: Record<string, unknown> = {
            type,
            ...others,
            value: Number("count" in state ? state.count : "value" in state ? state.value : NaN)
          }
          return figures
        }
      )
  )

describe("the metrics of a job", () => {
  it.effect("are published with names and attributes while it runs and when it ends", () =>
    Effect.gen(function*() {
      const source = Source.queue<Reading>({ capacity: 100 })
      const { late, results } = counted(
        Flow.from("readings", source, timed).pipe(
          Flow.filter(({ key }) => {
            if (key === "bad") throw new Error("bad")
            return true
          }, { name: "good", onError: ErrorPolicy.deadLetter })
        )
      )
      const job = Job.make("measured", [
        results.pipe(Flow.to("results", Sink.memory())),
        late.pipe(Flow.to("late", Sink.memory()))
      ], { deadLetters: Sink.memory() })
      const handle = yield* Job.launch(job, { bufferSize: 64 })
      yield* handle.pushAll(source, [
        reading("a", 1),
        reading("bad", 2),
        reading("b", 25),
        reading("a", 3)
      ])
      yield* settle
      yield* TestClock.adjust("3 seconds")
      yield* settle
      const of = (metric: Metric.Metric<never, unknown>) => published(metric.id, "measured")
      const at = (operator: string) => ({ operator, partition: "0" })
      assert.deepInclude(yield* of(FlowMetrics.recordsIn), { type: "Counter", ...at("readings"), value: 4 })
      assert.deepInclude(yield* of(FlowMetrics.recordsIn), { type: "Counter", ...at("good"), value: 4 })
      assert.deepInclude(yield* of(FlowMetrics.recordsOut), { type: "Counter", ...at("good"), value: 3 })
      assert.deepStrictEqual(yield* of(FlowMetrics.recordsDead), [{ type: "Counter", ...at("good"), value: 1 }])
      assert.deepStrictEqual(yield* of(FlowMetrics.recordsLate), [{ type: "Counter", ...at("counted"), value: 1 }])
      assert.deepInclude(yield* of(FlowMetrics.recordsWritten), { type: "Counter", sink: "results", value: 1 })
      assert.deepInclude(yield* of(FlowMetrics.recordsWritten), { type: "Counter", sink: "dead letters", value: 1 })
      assert.deepInclude(yield* of(FlowMetrics.watermark), { type: "Gauge", ...at("counted"), value: 24 })
      assert.deepInclude(yield* of(FlowMetrics.watermarkLag), { type: "Gauge", ...at("counted"), value: 3000 - 24 })
      assert.deepStrictEqual(yield* of(FlowMetrics.stateKeys), [{ type: "Gauge", ...at("counted"), value: 1 }])
      assert.deepInclude(yield* of(FlowMetrics.bufferCapacity), {
        type: "Gauge",
        buffer: "readings, split 0",
        value: 100
      })
      assert.deepInclude(yield* of(FlowMetrics.bufferFill), { type: "Gauge", buffer: "readings, split 0", value: 0 })
      assert.strictEqual((yield* of(FlowMetrics.batchSize)).length, 1)
      assert.deepStrictEqual(yield* of(FlowMetrics.checkpoints), [{ type: "Counter", value: 3 }])
      assert.deepStrictEqual(yield* of(FlowMetrics.restarts), [])

      // The end is published at once, without waiting for the next second.
      yield* handle.push(source, reading("c", 26))
      yield* handle.drain
      assert.deepInclude(yield* of(FlowMetrics.recordsIn), { type: "Counter", ...at("readings"), value: 5 })
      assert.deepInclude(yield* of(FlowMetrics.recordsWritten), { type: "Counter", sink: "results", value: 3 })
    }).pipe(Effect.provide(CheckpointStore.layerMemory)))

  it.effect("count restarts, and count nothing twice because of them", () =>
    Effect.gen(function*() {
      const source = Source.queue<number>()
      let failing = false
      const flow = Flow.from("n", source).pipe(Flow.map((n) => {
        if (failing) {
          failing = false
          throw new Error("once")
        }
        return n
      }, { name: "once" }))
      const handle = yield* Job.launch(Job.make("restarted", [flow.pipe(Flow.to("out", Sink.memory()))]), {
        checkpointEvery: "1 hour",
        partitions: 2,
        restarts: atOnce
      })
      yield* handle.pushAll(source, [1, 2, 3])
      yield* settle
      yield* TestClock.adjust("1 second")
      failing = true
      yield* handle.push(source, 4)
      yield* settle
      yield* handle.drain
      assert.deepStrictEqual(yield* published(FlowMetrics.restarts.id, "restarted"), [{ type: "Counter", value: 1 }])
      const taken = (yield* published(FlowMetrics.recordsIn.id, "restarted")).filter(({ operator }) =>
        operator === "once"
      )
      assert.strictEqual(taken.reduce((sum, { value }) => sum + Number(value), 0), 4)
    }).pipe(Effect.provide(CheckpointStore.layerMemory)))
})

describe("docs/reference/metrics.md", () => {
  const page = Fs.readFileSync(Path.join(import.meta.dirname, "../docs/reference/metrics.md"), "utf8")
  const rows = [...page.matchAll(/^\| `(\w+)` *\| (\w+) *\| ([^|]+?) *\| ([^|]+?) *\| ([^|]+?) *\|$/gm)].map((row) =>
    row.slice(1)
  )

  it("lists every metric of the module, and no other", () => {
    assert.deepStrictEqual(rows.map(([id]) => id).sort(), metrics.map(({ metric }) => metric.id).sort())
  })

  for (const { metric, name } of metrics) {
    it(`${name}: its kind, its meaning and its unit`, () => {
      const [, kind, unit, , meaning] = rows.find(([id]) => id === metric.id)!
      assert.strictEqual(kind, metric.type.toLowerCase())
      assert.strictEqual(metric.description, `${meaning} [${unit}]`)
    })
  }
})
