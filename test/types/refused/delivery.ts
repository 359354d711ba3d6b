// Exactly once, outside too: every sink of such a job takes whole epochs.
import { Effect, Stream } from "effect"
import * as Aggregate from "../../../src/Aggregate.ts"
import type { DeadLetter } from "../../../src/DeadLetter.ts"
import * as ErrorPolicy from "../../../src/ErrorPolicy.ts"
import * as Flow from "../../../src/Flow.ts"
import * as Job from "../../../src/Job.ts"
import * as Sink from "../../../src/Sink.ts"
import * as Window from "../../../src/Window.ts"
import { byCard, type Click, clicks, type Payment, payments } from "../model.ts"

const kept = clicks.pipe(Flow.to("kept", Sink.ndjson("kept.ndjson")))
const printed = clicks.pipe(Flow.to("printed", Sink.forEach((click) => Effect.log(click.page))))
declare const plain: Sink.Sink<Click>
declare const letters: Sink.Sink<DeadLetter, never, never, "plain">
declare const updating: Flow.Flow<Payment, never, never, "updates">
declare const retracting: Flow.Flow<Payment, never, never, "retracts">

// refused: Type '"plain"' is not assignable to type '"idempotent" | "transactional"'
export const forEach = Job.make("j", [printed], { delivery: "exactly-once" })

// refused: Type '"plain"' is not assignable to type '"idempotent" | "transactional"'
export const oneOfTwo = Job.make("j", [kept, printed], { delivery: "exactly-once" })

// refused: Type '"plain"' is not assignable to type '"idempotent" | "transactional"'
export const ownSink = Job.make("j", [
  clicks.pipe(
    Flow.to("own", Sink.make({ description: "own", open: () => Effect.succeed({ write: () => Effect.void }) }))
  )
], { delivery: "exactly-once" })

// refused: Type '"plain"' is not assignable to type '"idempotent" | "transactional"'
export const streamed = Job.make("j", [
  clicks.pipe(Flow.to("streamed", Sink.stream((results) => Stream.runDrain(results))))
], { delivery: "exactly-once" })

// refused: Type '"plain"' is not assignable to type '"idempotent" | "transactional"'
export const eager = Job.make("j", [
  clicks.pipe(Flow.to("eager", Sink.ndjson("eager.ndjson"), { delivery: "eager" }))
], { delivery: "exactly-once" })

// refused: Type '"plain"' is not assignable to type '"idempotent" | "transactional"'
export const eagerUpserts = Job.make("j", [
  Flow.to(clicks, "eager", Sink.upsert((click: Click) => Effect.log(click.page)), { delivery: "eager" })
], { delivery: "exactly-once" })

// refused: Type '"plain"' is not assignable to type '"idempotent" | "transactional"'
export const anySink = Job.make("j", [clicks.pipe(Flow.to("any", plain))], { delivery: "exactly-once" })

// refused: Type '"plain"' is not assignable to type '"idempotent" | "transactional"'
export const lateOnes = Job.make("j", [
  kept,
  byCard.pipe(
    Flow.window("w", Window.tumbling("1 minute")),
    Flow.aggregate({ n: Aggregate.count }),
    Flow.only("late", { results: "of no interest" }),
    Flow.to("late", Sink.forEach(() => Effect.void))
  )
], { delivery: "exactly-once" })

// refused: Type '"plain"' is not assignable to type '"idempotent" | "transactional"'
export const deadLetters = Job.make("j", [kept], {
  delivery: "exactly-once",
  onError: ErrorPolicy.deadLetter,
  deadLetters: letters
})

// refused: '"exactly once"' is not assignable to type
export const typo = Job.make("j", [kept], { delivery: "exactly once" })

// Without the promise, any sink will do.
export const atLeastOnce = Job.make("j", [kept, printed], { deadLetters: letters })

// refused: Type '"updates"' is not assignable to type '"no event time"'
export const appendsUpdates = updating.pipe(Flow.to("s", Sink.sqlite<Payment>({ table: "payments" })))

// refused: Type '"retracts"' is not assignable to type '"no event time" | "updates"'
export const upsertsRetractions = retracting.pipe(
  Flow.to("s", Sink.sqlite({ table: "payments", key: (payment: Payment) => payment.id }))
)

// refused: '"cardd"' is not assignable to type
export const typoInKey = Sink.sqlite({
  table: "payments",
  columns: { card: (payment: Payment) => payment.card },
  key: "cardd"
})

// refused: Property 'position' is missing
export const withoutPosition = Sink.transactional<Click>({
  description: "mine",
  open: () => Effect.succeed({ write: () => Effect.void }),
  openEpochs: () => Effect.succeed({ prepare: () => ({ bytes: new Uint8Array() }), apply: () => Effect.void })
})

// refused: Type 'Sqlite' is not assignable to type 'never'
export const databaseIsAskedFor: Flow.Output<unknown, never> = payments.pipe(
  Flow.to("rows", Sink.sqlite<Payment>({ table: "payments" }))
)

// refused: Property 'crad' does not exist on type 'Payment'
export const typoInKeyOf = payments.pipe(Flow.to("s", Sink.sqlite({ table: "s", key: (payment) => payment.crad })))

// refused: Property 'amont' does not exist on type 'Payment'. Did you mean 'amount'?
export const typoInUpsert = payments.pipe(Flow.to("s", Sink.upsert((payment) => Effect.log(payment.amont))))
