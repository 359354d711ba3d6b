/**
 * One life of the flights job, in a process that can be killed and stopped: `node test/kills/child.ts '{ … }'`.
 *
 * It says what it does, a line each: `in charge` when the store has given it the job, `epoch 7` when epoch 7 is durable, `stopping` just before it stops itself, and
 * at its end `finished` or `failed Fenced: why`.
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodePath from "@effect/platform-node/NodePath"
import { Cause, Effect, Exit, Layer, References } from "effect"
import * as Fs from "node:fs"
import * as Flights from "../../examples/flights/flights.ts"
import type { Around } from "../support/crashing.ts"
import { job, type Options, type Place } from "./places.ts"

export interface Life extends Options {
  readonly place: Place
  /** At which call to a store or a disk to send itself a signal, and on which side of it; only calls that fit count. */
  readonly end?: {
    readonly signal: "SIGKILL" | "SIGSTOP"
    readonly call: number
    readonly side: "before" | "after"
    readonly fits: string
  }
}

// Written at once: what is said before a kill must be heard.
const say = (line: string): void => void Fs.writeSync(1, `${line}\n`)

const { end, place, ...options }: Life = JSON.parse(process.argv[2]!)
const fits = new RegExp(end?.fits ?? "")

let calls = 0
const send = (side: "before" | "after", number: number): void => {
  if (end === undefined || side !== end.side || number !== end.call) return
  if (end.signal === "SIGSTOP") say("stopping")
  process.kill(process.pid, end.signal)
}

const around: Around = (call, effect) =>
  Effect.suspend(() => {
    const number = fits.test(call) ? ++calls : 0
    send("before", number)
    return Effect.tap(effect, () =>
      Effect.sync(() => {
        if (call === "acquire") say("in charge")
        if (call.startsWith("commit ")) say(`epoch ${call.slice("commit ".length)}`)
        send("after", number)
      }))
  })

const life = Effect.gen(function*() {
  const flights = Flights.inOrderOfReports(yield* Flights.load(options.dataset))
  yield* job(place, flights, options, around)
}).pipe(
  Effect.scoped,
  Effect.provideService(References.MinimumLogLevel, "Error"),
  Effect.provide(Layer.mergeAll(NodeFileSystem.layer, NodePath.layer))
)

const exit = await Effect.runPromiseExit(life)
if (Exit.isSuccess(exit)) say("finished")
else {
  const error: unknown = Cause.squash(exit.cause)
  const tag = typeof error === "object" && error !== null && "_tag" in error ? error._tag : "Unknown"
  say(`failed ${String(tag)}: ${error instanceof Error ? error.message : String(error)}`.replaceAll("\n", " "))
}
process.exit()
