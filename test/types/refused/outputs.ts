// Every output goes to a sink that takes it, or is dropped with a reason.
import { Effect, Stream } from "effect"
import * as Aggregate from "../../../src/Aggregate.ts"
import type { CheckpointStore } from "../../../src/CheckpointStore.ts"
import * as Flow from "../../../src/Flow.ts"
import * as Job from "../../../src/Job.ts"
import * as Sink from "../../../src/Sink.ts"
import * as Window from "../../../src/Window.ts"
import { byCard, clicks, payments } from "../model.ts"

const counted = byCard.pipe(Flow.window("w", Window.tumbling("1 minute")), Flow.aggregate({ n: Aggregate.count }))
const strings = Sink.memory<string>()
declare const retracting: Flow.Flow<number, never, never, "retracts">
declare const updating: Flow.Flow<number, never, never, "updates">
declare const upserts: Sink.Sink<number, never, never, "idempotent", "updates">

// refused: Property '"~millrace/Flow"' is missing
export const record = counted.pipe(Flow.map((pane) => pane))

// refused: Property 'late' is missing
export const withoutReason = counted.pipe(Flow.only("results", {}))

// refused: Property 'late' is missing
export const withoutReasonFirst = Flow.only(counted, "results", {})

// refused: 'lates' does not exist in type
export const typoInReason = counted.pipe(Flow.only("results", { late: "too old", lates: "too old" }))

// refused: '"result"' is not assignable
export const typoInOutput = Flow.only(counted, "result", { late: "too old" })

// refused: Expected 1 arguments, but got 0
export const discarded = counted.late.pipe(Flow.discard())

// refused: Type 'Click' is not assignable to type 'string'
export const otherElements = clicks.pipe(Flow.to("s", strings))

// refused: is not assignable to type 'string'
export const otherElementsFirst = Flow.to(clicks, "s", strings)

// refused: Property 'amont' does not exist on type 'Payment'. Did you mean 'amount'?
export const typoInSink = payments.pipe(Flow.to("s", Sink.forEach((payment) => Effect.log(payment.amont))))

// refused: Property 'length' does not exist on type 'Payment'
export const typoInStream = payments.pipe(
  Flow.to("s", Sink.stream((results) => Stream.runForEach(results, (result) => Effect.log(result.length))))
)

// refused: is not assignable to type 'Effect<
export const notAnEffect = payments.pipe(Flow.to("s", Sink.forEach((payment) => payment.id)))

// refused: Type '"retracts"' is not assignable to type '"no event time"'
export const appendsOnly = retracting.pipe(Flow.to("s", Sink.ndjson("s")))

// refused: Type '"retracts"' is not assignable to type '"no event time" | "updates"'
export const updatesOnly = retracting.pipe(Flow.to("s", upserts))

// refused: Type '"retracts"' is not assignable to type '"no event time"'
export const streamsAppendOnly = retracting.pipe(Flow.toStream())

// A sink that can replace rows takes updates.
export const updates = updating.pipe(Flow.to("s", upserts))

// refused: Property '"~millrace/Output"' is missing
export const goesNowhere = Job.make("j", [clicks])

// refused: Property '"~millrace/Output"' is missing
export const recordGoesNowhere = Job.make("j", [counted])

// refused: Type '"never"' is not assignable to type 'Delivery | undefined'
export const unknownDelivery = Job.make("j", [clicks.pipe(Flow.to("s", Sink.memory()))], { delivery: "never" })

const job = Job.make("j", [payments.pipe(Flow.to("s", Sink.memory()))])

// refused: Type 'FileError | JobError' is not assignable to type 'never'
export const errorsReachRun: Effect.Effect<void, never, CheckpointStore> = Job.run(job)

// refused: Type 'CheckpointStore' is not assignable to type 'never'
export const storeIsAskedFor: Effect.Effect<void, unknown> = Job.run(job)

// refused: 'partition' does not exist in type 'RunOptions'
export const typoInOptions = Job.run(job, { partition: 4 })
