/** How far the job has come, on one line of the terminal. */
import { Effect, Stdio, Stream } from "effect"
import type { Job } from "millrace"

const width = 30
const count = new Intl.NumberFormat("en-US")

/** `[=======>      ]  9,013 of 20,000 flights, event time 2001-01-17 04:59`. */
export const bar = (done: number, total: number, watermark: number): string => {
  const filled = total === 0 ? width : Math.floor(done / total * width)
  const head = filled < width ? ">" : ""
  const time = Number.isFinite(watermark)
    ? `, event time ${new Date(watermark).toISOString().slice(0, 16).replace("T", " ")}`
    : ""
  return `[${("=".repeat(filled) + head).padEnd(width)}] ${
    count.format(done).padStart(count.format(total).length)
  } of ${count.format(total)} flights${time}`
}

/** The flights that the operator `hourly` has taken in, over all partitions, and its event time. */
const standing = ({ operators }: Job.JobStatus) => {
  const partitions = operators.filter(({ operator }) => operator === "hourly")
  return {
    done: partitions.reduce((sum, partition) => sum + partition.in, 0),
    watermark: Math.min(...partitions.map(({ watermark }) => watermark))
  }
}

const draw = Effect.fnUntraced(function*(text: string) {
  const stdio = yield* Stdio.Stdio
  if (!(yield* stdio.stderrIsTerminal)) return
  yield* Effect.ignore(Stream.run(Stream.succeed(`\r\u001b[2K${text}`), stdio.stderr()))
})

/** Takes away a bar, also one that another process has left when it was killed. */
export const wipe = draw("")

/**
 * Draws the bar on standard error ten times a second for as long as it is not interrupted, and then wipes it away. Where
 * standard error is no terminal, it stays quiet.
 */
export const show = Effect.fn("progress.show")(function*<E>(handle: Job.Handle<E>, total: number) {
  const stdio = yield* Stdio.Stdio
  if (!(yield* stdio.stderrIsTerminal)) return yield* Effect.never
  return yield* handle.status.pipe(
    Effect.flatMap((status) => {
      const { done, watermark } = standing(status)
      return draw(bar(done, total, watermark))
    }),
    Effect.delay("100 millis"),
    Effect.forever,
    Effect.ensuring(wipe)
  )
})
