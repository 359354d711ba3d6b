/** Proof that a crash loses nothing and repeats nothing: a run that is killed again and again, beside one that is not. */
import { Console, Deferred, Effect, Exit, FileSystem, Path, Random, Schedule, Schema, Stream } from "effect"
import { CliError } from "effect/cli"
import { ChildProcess } from "effect/process"
import { CheckpointStore } from "millrace"
import * as Files from "./files.ts"
import * as Flights from "./flights.ts"
import * as Progress from "./progress.ts"
import * as Run from "./run.ts"

const kills = 3

/** At the rate that is chosen where none is given, a run takes so long. */
const seconds = 5

const count = new Intl.NumberFormat("en-US")

/** A crash test could not be made, or its files differ. */
export class CrashTestFailed extends Schema.TaggedError<CrashTestFailed>()("CrashTestFailed", {
  reason: Schema.String
}) {
  override get message() {
    return `The crash test failed: ${this.reason}`
  }
  override get [CliError.userMessage]() {
    return this.message
  }
}

const say = (line: string) => Console.log(`  ${line}`)

const failed = (reason: string) => new CrashTestFailed({ reason })

/** Runs children of this program in sub-folders, kills one of them `kills` times, and compares the results. */
export const run = Effect.fn("crashTest")(function*({ dataset, out, rate }: Omit<Run.Options, "resume">) {
  const path = yield* Path.Path
  const { length } = yield* Flights.load(dataset)
  const perSecond = rate ?? length / seconds
  // So many checkpoints apart the kills are, and the last of them is as far from the end.
  const apart = Math.floor(length / perSecond * 1000 / Run.checkpointMillis / (kills + 1))
  if (apart < 1) {
    const most = Math.floor(length * 1000 / Run.checkpointMillis / (kills + 1))
    return yield* failed(
      `a rate of ${perSecond} leaves too few checkpoints to kill between. Give one of at most ${most}`
    )
  }
  const folder = path.join(out, "crash-test")
  yield* (yield* FileSystem.FileSystem).remove(folder, { recursive: true, force: true })

  const undisturbed = path.join(folder, "undisturbed")
  yield* Console.log(`undisturbed: ${count.format(length)} flights, as fast as they can be read`)
  yield* toTheEnd(["--dataset", dataset, "--out", undisturbed], () => Effect.void)

  const killed = path.join(folder, "killed")
  const args = ["--dataset", dataset, "--out", killed, "--rate", String(perSecond), "--resume"]
  yield* Console.log(
    `killed ${kills} times: ${count.format(perSecond)} flights a second, a checkpoint every ${Run.checkpointMillis} ms`
  )
  const { store } = yield* Files.places(killed)
  for (let kill = 1, from = 0; kill <= kills; kill++) {
    from = yield* killedAfter(args, store, from + apart)
    yield* say(`killed (SIGKILL) when epoch ${from} was the last seen`)
  }
  yield* toTheEnd(args, say)
  yield* say("ran to its end")

  yield* compare(undisturbed, killed)
})

/** Starts this program as a child, and says what it says first. */
const start = Effect.fnUntraced(function*(args: ReadonlyArray<string>) {
  const path = yield* Path.Path
  const program = yield* path.fromFileUrl(new URL("./main.ts", import.meta.url))
  const child = yield* ChildProcess.make(process.execPath, [program, ...args], {
    stdin: "ignore",
    // A child draws its own progress.
    stderr: "inherit",
    killSignal: "SIGKILL"
  })
  const first = yield* Deferred.make<string>()
  yield* child.stdout.pipe(
    Stream.decodeText,
    Stream.splitLines,
    Stream.runForEach((line) => Deferred.succeed(first, line)),
    Effect.forkScoped
  )
  return { child, first: Deferred.await(first) }
})

/** Waits until the store holds an epoch, kills the child some time later, and answers with the last epoch that was seen. */
const killedAfter = Effect.fnUntraced(function*(args: ReadonlyArray<string>, store: string, epoch: number) {
  const { child, first } = yield* start(args)
  const watched = Effect.gen(function*() {
    yield* say(yield* first)
    const seen = yield* Run.lastEpoch.pipe(
      Effect.repeat({ until: (last) => last >= epoch, schedule: Schedule.spaced("50 millis") }),
      // Closed before the kill: the next child finds the database as a crash leaves it, with nobody to look after it.
      Effect.provide(CheckpointStore.layerSqlite(store))
    )
    // Anywhere between two checkpoints, and in the middle of one.
    yield* Effect.sleep(yield* Random.nextIntBetween(0, Run.checkpointMillis))
    return seen
  })
  const tooEarly = failed(`a run ended by itself before epoch ${epoch} and its kill. Give a lower --rate`)
  const seen = yield* Effect.raceFirst(
    watched,
    Effect.andThen(Effect.exit(child.exitCode), Effect.fail(tooEarly))
  )
  yield* Effect.ignore(child.kill({ killSignal: "SIGKILL" }))
  yield* Progress.wipe
  // There is an exit code only where there was no signal.
  return Exit.isSuccess(yield* Effect.exit(child.exitCode)) ? yield* tooEarly : seen
}, Effect.scoped)

/** Runs a child that nobody kills. */
const toTheEnd = Effect.fnUntraced(
  function*(args: ReadonlyArray<string>, says: (first: string) => Effect.Effect<void>) {
    const { child, first } = yield* start(args)
    const code = yield* Effect.raceFirst(child.exitCode, Effect.andThen(Effect.flatMap(first, says), Effect.never))
    if (code !== 0) return yield* failed(`a run ended with code ${code}`)
  },
  Effect.scoped
)

/** Byte by byte. */
const compare = Effect.fnUntraced(function*(undisturbed: string, killed: string) {
  const fileSystem = yield* FileSystem.FileSystem
  const [expected, actual] = [yield* Files.places(undisturbed), yield* Files.places(killed)]
  const different: Array<string> = []
  for (const name of Files.names) {
    const wanted = yield* fileSystem.readFile(expected.result(name))
    const found = yield* fileSystem.readFile(actual.result(name))
    const isEqual = wanted.length === found.length && wanted.every((byte, i) => byte === found[i])
    if (!isEqual) different.push(actual.result(name))
    yield* Console.log(`${isEqual ? "equal" : "different"}: ${name}.ndjson, ${count.format(found.length)} bytes`)
  }
  if (different.length > 0) {
    return yield* failed(`after ${kills} kills ${different.join(" and ")} differ from those of the undisturbed run`)
  }
  yield* Console.log(`After ${kills} kills all four files are equal to those of the undisturbed run, byte by byte.`)
})
