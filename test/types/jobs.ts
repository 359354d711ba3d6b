// Errors and requirements travel from sources and sinks to `Job.run`.
import { Context, Effect, Stream } from "effect"
import type { CheckpointStore } from "../../src/CheckpointStore.ts"
import * as Flow from "../../src/Flow.ts"
import type { JobError } from "../../src/FlowError.ts"
import * as Job from "../../src/Job.ts"
import * as Sink from "../../src/Sink.ts"
import type * as Source from "../../src/Source.ts"
import * as Watermark from "../../src/Watermark.ts"
import type { Equal, True } from "./equal.ts"
import { clicks, payments } from "./model.ts"

type Down = { readonly _tag: "Down" }
type MailError = { readonly _tag: "MailError" }
class Api extends Context.Service<Api, { readonly poll: Effect.Effect<number, Down> }>()("Api") {}
class Mail extends Context.Service<Mail, { readonly send: (text: string) => Effect.Effect<void, MailError> }>()(
  "Mail"
) {}

const polled = Flow.fromStream("api", Stream.fromEffect(Effect.flatMap(Api, (api) => api.poll)), {
  time: (value) => value,
  watermark: Watermark.monotonic
})
export const mailed = payments.pipe(
  Flow.to("mail", Sink.forEach((payment) => Effect.flatMap(Mail, (mail) => mail.send(payment.id))))
)
export const mailedFirst = Flow.to(
  payments,
  "mail",
  Sink.forEach((payment) => Effect.flatMap(Mail, (mail) => mail.send(payment.id)))
)
/** Written at once: what an output is told comes last, and the rows keep their type. */
export const noted = payments.pipe(
  Flow.to("notes", Sink.upsert((payment) => Effect.log(payment.id)), { delivery: "eager" })
)
export const notedFirst = Flow.to(payments, "notes", Sink.upsert((payment) => Effect.log(payment.id)), {
  delivery: "eager"
})
export const consumed = polled.pipe(
  Flow.to("stream", Sink.stream((results) => Stream.runForEach(results, (value) => Effect.log(value.toFixed(2)))))
)
export const job = Job.make("all", [mailed, consumed, clicks.pipe(Flow.discard("not looked at"))])
export const alone = Job.make("alone", [clicks.pipe(Flow.to("clicks", Sink.memory()))])
export const program = Job.run(job, { partitions: 4 })
export const piped = job.pipe(Job.run())
export const quiet = Job.run(alone)

export type Channels = [
  True<Equal<typeof polled, Flow.Flow<number, Down, Api>>>,
  True<Equal<typeof mailed, Flow.Output<Source.FileError | MailError, Mail, "plain">>>,
  True<Equal<typeof mailedFirst, typeof mailed>>,
  True<Equal<typeof noted, Flow.Output<Source.FileError, never, "plain">>>,
  True<Equal<typeof notedFirst, typeof noted>>,
  True<Equal<typeof consumed, Flow.Output<Down, Api, "plain">>>,
  True<Equal<typeof job, Job.Job<Source.FileError | MailError | Down, Mail | Api>>>,
  True<Equal<typeof alone, Job.Job>>,
  True<Equal<Effect.Error<typeof program>, Source.FileError | MailError | Down | JobError>>,
  True<Equal<Effect.Services<typeof program>, Mail | Api | CheckpointStore>>,
  True<Equal<typeof piped, typeof program>>,
  True<Equal<Effect.Error<typeof quiet>, JobError>>,
  True<Equal<Effect.Services<typeof quiet>, CheckpointStore>>
]
