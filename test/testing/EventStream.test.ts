import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Schema } from "effect"
import { Aggregate, CheckpointStore, ErrorPolicy, Flow, Job, Sink, Source, Watermark, Window } from "millrace"
import { EventStream } from "millrace/testing"
import { runs } from "../laws/runs.ts"
import { arbitrarySeed } from "../support/seed.ts"

const Click = Schema.Struct({ page: Schema.String, at: Schema.Number })
interface Click extends Schema.Schema.Type<typeof Click> {}
type Options = EventStream.Options<Click, "page">

/** A property of all streams of some options, or what a counterexample looks like. */
const always = (options: Partial<Options>, property: (stream: EventStream.EventStream<Click>) => boolean | void) =>
  Effect.map(
    Arbitrary.checkEffect(
      EventStream.arbitrary(Click, { time: "at", minLength: 10, ...options }),
      (stream) => property(stream) !== false,
      { runs: runs(60), ...arbitrarySeed }
    ),
    (result) => assert.isUndefined(Arbitrary.formatCheckFailure(result))
  )

const sampled = (options: Partial<Options>, count = 100) =>
  Effect.map(
    Arbitrary.sampleEffect(
      EventStream.arbitrary(Click, { time: "at", minLength: 100, maxLength: 100, ...options }),
      { count, ...arbitrarySeed }
    ),
    (streams) => streams.flatMap(({ entries }) => entries)
  )

const everything: Partial<Options> = {
  disorder: "5 seconds",
  lateness: { share: 0.2, by: "1 minute" },
  duplicates: 0.2,
  bursts: { share: 0.1, size: 4 },
  idleGaps: { share: 0.1, by: "1 hour" },
  badTimestamps: 0.1,
  splits: 3,
  from: 1_000_000,
  keys: { field: "page", values: ["/", "/help"] }
}

describe("EventStream.arbitrary", () => {
  it.effect("without knobs is in order, on time, once, with steps of a second at most", () =>
    always({}, ({ bad, duplicates, entries, events, late, onTime, splits }) => {
      assert.deepStrictEqual([bad, duplicates, late], [[], [], []])
      assert.deepStrictEqual(onTime, events)
      assert.deepStrictEqual(splits, [events])
      let last = 0
      for (const { behindMillis, burst, event, isAfterIdle, time } of entries) {
        assert.strictEqual(event.at, time)
        assert.deepStrictEqual([behindMillis, burst, isAfterIdle], [0, undefined, false])
        assert.isTrue(time >= last && time - last <= 1000)
        last = time
      }
    }))

  it.effect("what it says of records is what they are", () =>
    always(everything, ({ bad, boundMillis, duplicates, entries, events, late, onTime, splits }) => {
      assert.deepStrictEqual(entries.map(({ event }) => event), events)
      assert.deepStrictEqual(splits.flat().length, events.length)
      assert.strictEqual(bad.length + late.length + onTime.length, events.length)
      const latest = [-Infinity, -Infinity, -Infinity]
      const seen: Array<EventStream.Entry<Click>> = []
      const bursts = new Map<number, number>()
      for (const entry of entries) {
        const { behindMillis, burst, duplicateOf, event, isBad, isLate, split, time } = entry
        assert.isTrue(["/", "/help"].includes(event.page))
        assert.strictEqual(isBad, !Number.isSafeInteger(event.at))
        if (isBad) assert.isNaN(time)
        else {
          assert.strictEqual(event.at, time)
          assert.isTrue(time >= 1_000_000)
          assert.strictEqual(behindMillis, Math.max(0, latest[split]! - time))
          // The watermark of the split, as Millrace makes it, has come past the record.
          assert.strictEqual(isLate, time <= latest[split]! - boundMillis - 1)
          assert.isTrue(behindMillis <= boundMillis + 60_000)
          latest[split] = Math.max(latest[split]!, time)
        }
        if (duplicateOf !== undefined) assert.strictEqual(seen[duplicateOf]!.event, event)
        if (burst !== undefined) {
          assert.strictEqual(bursts.get(burst) ?? time, time)
          bursts.set(burst, time)
        }
        seen.push(entry)
      }
      assert.strictEqual(duplicates.length, seen.filter(({ duplicateOf }) => duplicateOf !== undefined).length)
    }))

  it.effect("disorder: behind, but never by more, and then never late", () =>
    Effect.gen(function*() {
      yield* always({ disorder: 50 }, ({ entries, late }) => {
        assert.deepStrictEqual(late, [])
        for (const { behindMillis } of entries) assert.isTrue(behindMillis <= 50)
      })
      const entries = yield* sampled({ disorder: 50, step: 20 })
      assert.isTrue(entries.filter(({ behindMillis }) => behindMillis > 0).length > entries.length / 5)
      assert.isTrue(entries.some(({ behindMillis }) => behindMillis > 40))
    }))

  it.effect("shares are about what was asked for", () =>
    Effect.gen(function*() {
      const shareOf = (options: Partial<Options>, is: (entry: EventStream.Entry<Click>) => boolean) =>
        Effect.map(sampled(options), (entries) => entries.filter(is).length / entries.length)
      const near = (found: number, wanted: number) =>
        assert.isTrue(Math.abs(found - wanted) < 0.05, `${found} instead of ${wanted}`)
      for (const share of [0, 0.1, 0.5, 0.9]) {
        near(yield* shareOf({ lateness: { share, by: 1000 } }, ({ isLate }) => isLate), share)
        near(yield* shareOf({ duplicates: share }, ({ duplicateOf }) => duplicateOf !== undefined), share)
        near(yield* shareOf({ badTimestamps: share }, ({ isBad }) => isBad), share)
        near(yield* shareOf({ idleGaps: { share, by: 1000 } }, ({ isAfterIdle }) => isAfterIdle), share)
      }
      assert.strictEqual(yield* shareOf({ badTimestamps: 1 }, ({ isBad }) => isBad), 1)
      assert.strictEqual(yield* shareOf({ lateness: { share: 1, by: 5 } }, ({ isLate }) => isLate), 0.99)
    }))

  for (
    const [name, options, is] of [
      ["lateness", { lateness: { share: 0, by: 1000 } }, ({ isLate }) => isLate],
      ["duplicates", { duplicates: 0 }, ({ duplicateOf }) => duplicateOf !== undefined],
      ["bursts", { bursts: { share: 0, size: 3 } }, ({ burst }) => burst !== undefined],
      ["idleGaps", { idleGaps: { share: 0, by: 1000 } }, ({ isAfterIdle }) => isAfterIdle],
      ["badTimestamps", { badTimestamps: 0 }, ({ isBad }) => isBad],
      ["disorder", { disorder: 0, lateness: { share: 0, by: 1 } }, ({ behindMillis }) => behindMillis > 0],
      ["splits", { splits: 1 }, ({ split }) => split > 0]
    ] satisfies ReadonlyArray<
      readonly [string, Partial<Options>, (entry: EventStream.Entry<Click>) => boolean]
    >
  ) {
    it.effect(`${name} at nothing: none of it, whatever else there is`, () =>
      always({ ...everything, ...options }, ({ entries }) => !entries.some(is)))
  }

  it.effect("bursts: 2 to size records of one timestamp, one behind the other", () =>
    always({ bursts: { share: 0.3, size: 4 }, disorder: "1 second" }, ({ entries }) => {
      const sizes = new Map<number, number>()
      for (const [at, { burst, time }] of entries.entries()) {
        if (burst === undefined) continue
        sizes.set(burst, (sizes.get(burst) ?? 0) + 1)
        const before = entries[at - 1]
        if (sizes.get(burst)! > 1) assert.deepStrictEqual([before!.burst, before!.time], [burst, time])
      }
      const last = entries.at(-1)!.burst
      for (const [burst, size] of sizes) assert.isTrue(size <= 4 && (size >= 2 || burst === last))
    }))

  it.effect("idle gaps: a jump of more than a step, by the bound at most", () =>
    always({ idleGaps: { share: 0.3, by: 500 }, step: 10 }, ({ entries }) => {
      let last = entries[0]!.time
      for (const { isAfterIdle, time } of entries.slice(1)) {
        assert.isTrue(isAfterIdle ? time - last > 10 && time - last <= 510 : time - last <= 10)
        last = time
      }
    }))

  it.effect("lengths: from minLength to maxLength, and both occur", () =>
    Effect.gen(function*() {
      const streams = yield* Arbitrary.sampleEffect(
        EventStream.arbitrary(Click, { time: "at", minLength: 3, maxLength: 30 }),
        { count: 300, ...arbitrarySeed }
      )
      const lengths = streams.map(({ events }) => events.length)
      assert.deepStrictEqual([Math.min(...lengths), Math.max(...lengths)], [3, 30])
    }))

  it.effect("shrinks to the record that matters, in order, on time", () =>
    Effect.gen(function*() {
      const found = Effect.fnUntraced(function*(is: (entry: EventStream.Entry<Click>) => boolean) {
        const result = yield* Arbitrary.checkEffect(
          EventStream.arbitrary(Click, { time: "at", ...everything, from: 0 }),
          ({ entries }) => !entries.some(is),
          { runs: 500, maxShrinks: 3000, ...arbitrarySeed }
        )
        if (result._tag !== "Falsified") throw new Error(`${result._tag}: there is none`)
        return result.shrunkInput.entries
      })
      // For something late there has to be something before it.
      const late = yield* found(({ isLate }) => isLate)
      assert.deepStrictEqual(late.map(({ behindMillis }) => behindMillis), [0, 5001])
      const duplicate = yield* found(({ duplicateOf }) => duplicateOf !== undefined)
      assert.deepStrictEqual(duplicate.map(({ duplicateOf }) => duplicateOf), [undefined, 0])
      assert.strictEqual((yield* found(({ isBad }) => isBad)).length, 1)
      assert.strictEqual((yield* found(({ behindMillis }) => behindMillis > 100)).length, 2)
      const burst = yield* found(({ burst }) => burst === 1)
      assert.deepStrictEqual(burst.map(({ burst }) => burst), [0, 0, 1])
      const [last] = (yield* found(({ time }) => time > 70_000)).slice(-1)
      assert.deepStrictEqual([last!.isLate, last!.isBad, last!.split], [false, false, 0])
    }))

  it.effect("dates, classes, and timestamps that are put in by hand", () =>
    Effect.gen(function*() {
      class Order extends Schema.Class<Order>("Order")({ placed: Schema.Date }) {}
      const orders = yield* Arbitrary.sampleEffect(
        EventStream.arbitrary(Order, { time: "placed", minLength: 5, badTimestamps: 0.5 }),
        { count: 20, ...arbitrarySeed }
      )
      for (const { event, isBad, time } of orders.flatMap(({ entries }) => entries)) {
        assert.instanceOf(event, Order)
        assert.deepStrictEqual(event.placed.getTime(), isBad ? NaN : time)
      }
      const text = yield* Arbitrary.sampleEffect(
        EventStream.arbitrary(Schema.String, { time: { set: (_, millis) => `${millis}` }, minLength: 5 }),
        { count: 5, ...arbitrarySeed }
      )
      for (const { event, time } of text.flatMap(({ entries }) => entries)) assert.strictEqual(event, `${time}`)
    }))

  it.effect("late under another bound is what a job of that bound calls late", () =>
    Effect.gen(function*() {
      const streams = yield* Arbitrary.sampleEffect(
        EventStream.arbitrary(Click, {
          time: "at",
          step: 20,
          disorder: 20,
          lateness: { share: 0.2, by: 100 },
          badTimestamps: 0.1,
          minLength: 20
        }),
        { count: 10, ...arbitrarySeed }
      )
      for (
        const { bad, bound, expected, late, stream } of streams.flatMap((stream) =>
          [0, 20, 40].map((bound) => ({
            stream,
            bound,
            bad: stream.bad,
            expected: EventStream.lateFor(stream, bound).map(({ event }) => event),
            late: Sink.memory<Window.Late<Click>>()
          }))
        )
      ) {
        const letters = Sink.memory<unknown>()
        // In windows of a millisecond, late is what has come after its own timestamp was passed.
        const outputs = Flow.from("clicks", Source.memory(stream.events), {
          time: ({ at }) => at,
          watermark: Watermark.boundedOutOfOrderness(bound),
          onError: ErrorPolicy.deadLetter
        }).pipe(
          Flow.keyBy(() => 0, Schema.Number),
          Flow.window("each", Window.tumbling(1)),
          Flow.aggregate({ count: Aggregate.count })
        )
        const job = Job.make("late", [
          outputs.results.pipe(Flow.discard("not looked at")),
          outputs.late.pipe(Flow.to("late", late))
        ], { deadLetters: letters })
        yield* Effect.provide(Job.run(job), CheckpointStore.layerMemory)
        assert.deepStrictEqual((yield* late.contents).map(({ value }) => value), expected)
        assert.strictEqual((yield* letters.contents).length, bad.length)
        if (bound === 20) assert.deepStrictEqual(expected, stream.late)
      }
    }))

  it("refuses what makes no sense, naming the option", () => {
    const refusal = (options: Partial<Options>) => {
      try {
        EventStream.arbitrary(Click, { time: "at", ...options })
        return "taken"
      } catch (error) {
        return (error as Error).message
      }
    }
    assert.strictEqual(refusal({}), "taken")
    assert.strictEqual(
      refusal({ duplicates: 1.5 }),
      `EventStream option "duplicates" is 1.5: give a probability from 0 to 1`
    )
    assert.strictEqual(
      refusal({ lateness: { share: 0.1, by: 0 } }),
      `EventStream option "lateness.by" is 0: give a duration of whole milliseconds, from 1`
    )
    assert.strictEqual(refusal({ splits: 0 }), `EventStream option "splits" is 0: give a whole number from 1`)
    assert.strictEqual(
      refusal({ bursts: { share: 0.1, size: 1 } }),
      `EventStream option "bursts.size" is 1: give a whole number from 2`
    )
    assert.strictEqual(refusal({ from: 0.5 }), `EventStream option "from" is 0.5: give whole epoch milliseconds`)
  })
})
