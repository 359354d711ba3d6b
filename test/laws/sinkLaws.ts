/** The laws that everybody's transactional sinks must keep, for those of Millrace, and the words in which they refuse. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import { Laws } from "millrace/testing"
import type * as Sink from "../../src/Sink.ts"
import { application, marker, type PositionedWriter as Positioned } from "../../src/testing/laws/sink.ts"
import { deep } from "../support/deep.ts"
import { arbitrarySeed } from "../support/seed.ts"
import { lawRuns } from "./runs.ts"

export { application, marker }

export interface Row {
  readonly id: number
  readonly text: string
}

export type PositionedWriter = Positioned<Row>

/** One place that rows are written to, by whoever opens it. */
export interface Place {
  /** Opens the sink as another process does, or this one after a restart. */
  readonly open: (opening: Sink.EpochOpening) => Effect.Effect<PositionedWriter, unknown, Scope>
  readonly contents: Effect.Effect<ReadonlyArray<Row>, unknown>
}

export interface SinkUnderTest extends Omit<Laws.SinkOptions<Row>, "row" | "place"> {
  readonly place: Effect.Effect<Place, unknown, Scope>
}

const row = (id: number): Row => ({ id, text: `"${id}",\né\u2028` })

/** Registers the laws of a sink. */
export const sinkLaws = (sink: SinkUnderTest): void => {
  Laws.register(
    Laws.sink<Row>({ ...sink, row, runs: lawRuns(sink.runs ?? 50), ...arbitrarySeed }),
    (name, test) => it(name, test, deep(60_000, 900_000))
  )

  it.effect("says where it stands, and where it should", () =>
    Effect.scoped(Effect.gen(function*() {
      const writer = yield* (yield* sink.place).open({ job: "job", sink: "out" })
      const refusal = (after: Sink.Marker) =>
        Effect.map(Effect.flip(writer.apply(application(writer, after, marker(9), [[row(1)]]))), (error) =>
          assert.deepInclude(error, {
            _tag: "SinkFenced",
            sink: "out",
            found,
            expected: `epoch ${after.epoch} of lineage ${after.lineage}`
          }))
      let found = "no epoch"
      yield* refusal(marker(0))
      yield* writer.position.begin(marker(0), undefined)
      yield* writer.apply(application(writer, marker(0), marker(2), [[row(1)]]))
      found = "epoch 2 of lineage a"
      yield* refusal(marker(2, "b"))
      yield* refusal(marker(1))
    })))
}
