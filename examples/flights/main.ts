/**
 * The main program: hourly figures, sliding windows and runs of delays over real flights that are reported out of order.
 *
 * `node examples/flights/main.ts --help` names its options. A further run gives the same files, byte for byte: see
 * `files.ts` for what it takes.
 */
import * as NodeChildProcessSpawner from "@effect/platform-node/NodeChildProcessSpawner"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodePath from "@effect/platform-node/NodePath"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeStdio from "@effect/platform-node/NodeStdio"
import * as NodeTerminal from "@effect/platform-node/NodeTerminal"
import { Console, Effect, Layer, Option } from "effect"
import { CliError, Command, Flag } from "effect/cli"
import { CheckpointStore, Job, Supervision } from "millrace"
import * as Files from "./files.ts"
import * as Flights from "./flights.ts"
import * as FlightsJob from "./job.ts"
import * as Progress from "./progress.ts"
import * as Report from "./report.ts"

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
    Flag.withDescription("The folder of the results"),
    Flag.withDefault("out/flights")
  )
}

const main = Effect.fn("flights")(
  function*({ dataset, out, rate }: Command.Command.Config.Infer<typeof options>) {
    const flights = Flights.inOrderOfReports(yield* Flights.load(dataset))
    const job = FlightsJob.make(flights, { folder: out, perSecond: Option.getOrUndefined(rate) })

    // A restart would write some lines again: a file takes what it is given.
    const handle = yield* Job.launch(job, { partitions: 4, restarts: Supervision.never })
    yield* Effect.raceFirst(handle.await, Progress.show(handle, flights.length))

    const files = yield* Files.settle(out)
    const accounted = Report.accounted(files)
    if (accounted !== flights.length) {
      return yield* Effect.die(
        `${flights.length} flights were given, and hourly.ndjson and late.ndjson account for ${accounted}`
      )
    }
    yield* Console.log(Report.text(files))
  },
  Effect.scoped,
  Effect.provide(CheckpointStore.layerMemory),
  Effect.catchTag("FileError", (cause) => new CliError.UserError({ cause }))
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
