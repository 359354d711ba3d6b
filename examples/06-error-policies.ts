// You will learn what an operator may do with a record on which its function throws: skip it, try it again, or hand it to
// the dead letters with the reason. The policy of the job holds for operators that state none; without any, the job fails.
import { Console, Effect, Schedule } from "effect"
import { CheckpointStore, type DeadLetter, ErrorPolicy, Flow, Job, Sink, Source } from "millrace"

const lines = Flow.from("lines", Source.memory(["10", "ten", "20", "-1", "30"]))

const parse = (line: string): number => {
  const amount = Number(line)
  if (Number.isNaN(amount)) throw new Error(`"${line}" is no number`)
  return amount
}

const refused = (amount: number): number => {
  if (amount < 0) throw new Error(`${amount} is less than nothing`)
  return amount
}

/** Fails at first, like something at the other end of a wire. */
let attempts = 0
const convert = (amount: number): string => {
  if (amount === 20 && ++attempts < 3) throw new Error("no answer")
  return `${amount} EUR`
}

const amounts = lines.pipe(
  Flow.map(parse, { name: "parse", onError: ErrorPolicy.skip }),
  Flow.map(refused, { name: "check" }),
  Flow.map(convert, {
    name: "convert",
    onError: ErrorPolicy.retry(Schedule.recurs(5), { then: ErrorPolicy.fail })
  })
)

const deadLetters = Sink.memory<DeadLetter.DeadLetter>()

const job = Job.make("error policies", [amounts.pipe(Flow.to("console", Sink.forEach(Console.log)))], {
  onError: ErrorPolicy.deadLetter,
  deadLetters
})

const main = Effect.gen(function*() {
  const handle = yield* Job.launch(job)
  yield* handle.await
  for (const { operator, original, reason } of yield* deadLetters.contents) {
    yield* Console.log(`"${operator}" refused ${original}: ${reason}`)
  }
  for (const { dead, operator, skipped } of (yield* handle.status).operators) {
    if (dead + skipped > 0) yield* Console.log(`"${operator}" skipped ${skipped}, dead letters ${dead}`)
  }
  yield* Console.log(`"convert" was tried ${attempts} times on one record`)
})

await main.pipe(Effect.scoped, Effect.provide(CheckpointStore.layerMemory), Effect.runPromise)

// Output:
// 10 EUR
// 20 EUR
// 30 EUR
// "check" refused -1: -1 is less than nothing
// "parse" skipped 1, dead letters 0
// "check" skipped 0, dead letters 1
// "convert" was tried 3 times on one record
