/**
 * The main program: hourly figures, sliding windows and runs of delays over real flights that are reported out of order.
 *
 * It keeps a checkpoint every half second beside its results. Killed or stopped, it goes on with `--resume` as if nothing
 * had happened, and `--crash-test` shows that the files are then the same as ever, byte for byte. Without either it begins
 * anew and replaces what the run before has left. `node examples/flights/main.ts --help` names all its options; `files.ts`
 * says what it takes for two runs to give the same files.
 */
import * as NodeChildProcessSpawner from "@effect/platform-node/NodeChildProcessSpawner"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodePath from "@effect/platform-node/NodePath"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeStdio from "@effect/platform-node/NodeStdio"
import * as NodeTerminal from "@effect/platform-node/NodeTerminal"
import { Effect, Layer, Option } from "effect"
import { CliError, Command, Flag } from "effect/cli"
import * as CrashTest from "./crashTest.ts"
import * as Run from "./run.ts"

const options = {
  rate: Flag.Finite("rate").pipe(
    Flag.withDescription("Flights a second; as many as possible when it is left out"),
    Flag.filter((rate) => rate > 0, () => "a number above 0"),
    Flag.optional
  ),
  dataset: Flag.String("dataset").pipe(
    Flag.withDescription("A file of the package vega-datasets with the fields date, delay, origin and destination"),
    Flag.withDefault("flights-20k")
  ),
  out: Flag.String("out").pipe(
    Flag.withDescription("The folder of the results and of checkpoints.db"),
    Flag.withDefault("out/flights")
  ),
  resume: Flag.Boolean("resume").pipe(
    Flag.withDescription("Go on from the last checkpoint in the folder, or from the beginning where there is none"),
    Flag.withDefault(false)
  ),
  crashTest: Flag.Boolean("crash-test").pipe(
    Flag.withDescription(
      "Kill a run several times, resume it each time, and compare its results with those of an undisturbed run"
    ),
    Flag.withDefault(false)
  )
}

const main = Effect.fn("main")(
  function*({ crashTest, dataset, out, rate, resume }: Command.Command.Config.Infer<typeof options>) {
    const perSecond = Option.getOrUndefined(rate)
    if (!crashTest) return yield* Run.run({ dataset, out, rate: perSecond, resume })
    if (resume) {
      const cause = "--crash-test begins and resumes runs of its own: leave out --resume, or leave out --crash-test"
      return yield* new CliError.UserError({ cause })
    }
    yield* CrashTest.run({ dataset, out, rate: perSecond })
  },
  Effect.catchTag("CheckpointRefused", (cause) => {
    const userMessage = `${cause.message}. Here that means: leave out --resume, or use it as the run before was used`
    return Effect.fail(new CliError.UserError({ cause, userMessage }))
  }),
  Effect.catchTag(
    [
      "FileError",
      "PlatformError",
      "SqliteError",
      "CheckpointStoreError",
      "SinkAheadOfCheckpoint",
      "SinkStalled",
      "SinkFenced",
      "Fenced"
    ],
    (cause) => new CliError.UserError({ cause })
  )
)

/** What a command needs of Node, module by module: the index of `@effect/platform-node` loads its servers and sockets too. */
const node = NodeChildProcessSpawner.layer.pipe(
  Layer.provideMerge(Layer.mergeAll(NodeFileSystem.layer, NodePath.layer, NodeStdio.layer, NodeTerminal.layer))
)

Command.make("flights", options, main).pipe(
  Command.withDescription("Delays of real US flights, by airport and event time, from reports that come out of order"),
  Command.run({ version: "1.0.0" }),
  Effect.provide(node),
  NodeRuntime.runMain
)
