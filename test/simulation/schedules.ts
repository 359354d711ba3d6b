/**
 * Runs a job through all that a seed has in store for it: several lives that crash, stop or become zombies, troubles with
 * everything outside, and a last life in which they end. Then nothing may be lost, nothing may have come twice, and the
 * job must have come to its end about as soon as one that nothing ever happened to.
 */
import { assert } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import { CheckpointStore, type Job, Supervision } from "millrace"
import { decodeManifest, type Manifest } from "../../src/internal/checkpoint/manifest.ts"
import { launch, type RunningJob, type Settings } from "../../src/internal/runtime/job.ts"
import { partContents, readBlob, readTables } from "../../src/internal/runtime/recovery.ts"
import { build } from "../laws/randomFlows.ts"
import { expected, random, type Received, same } from "../laws/running.ts"
import { Power } from "../support/crashing.ts"
import { SeededTime } from "../support/seededTime.ts"
import { type Marker, type Seen, watch } from "./markers.ts"
import { type Habits, type Life, printed, type Scenario, scenarioOf } from "./scenarios.ts"
import { type Rates, Troubles } from "./troubles.ts"
import { type Alive, type Files, World } from "./world.ts"

const well: Rates = { permille: 0, ways: [], most: 0 }

/** Launches that a supervisor of the process would make before the troubles are over. */
const mostLaunches = 40

/** What a run that is over may still wait for, once: the pauses of everybody who tries again. */
const longestPausesMillis = 30_000

/** How long a life may last before somebody ends it. */
const patienceMillis = 90_000

const settingsOf = (habits: Habits, partitions: number): Settings => ({
  partitions,
  batchSize: habits.batchSize,
  bufferSize: habits.bufferSize,
  checkpointEvery: habits.checkpointMillis,
  maxPendingBytes: habits.maxPendingBytes,
  retain: habits.retain,
  start: "resume",
  upgrade: {},
  sinkTimeoutMillis: 60_000,
  // Faults are few, and their number is not what is tried here.
  restarts: Supervision.restarts({ max: 1000, within: "1 hour" })
})

/** What one run was. */
export interface Report {
  readonly seen: ReadonlySet<Marker>
  /** Of the choices of the scheduler, and of what sinks hold. */
  readonly fingerprint: string
  readonly epochs: number
  /** Per commit when it was tried, and when it was told that it had failed. */
  readonly tries: ReadonlyArray<ReadonlyArray<{ readonly from: number; readonly to: number }>>
  /** Scheduler steps from the end of all troubles, and those of a clean run. */
  readonly steps: number
  readonly cleanSteps: number
}

/** Names of the errors that a job may fail with while things go wrong. */
const isExpected = (cause: Cause.Cause<unknown>, scenario: Scenario): boolean => {
  const error = Option.getOrUndefined(Cause.findErrorOption(cause))
  if (error instanceof Error && error.message.startsWith("trouble: ")) return true
  const tag = (error as { readonly _tag?: string } | undefined)?._tag
  // Who asks for a savepoint may find the job at its end.
  if (tag === "JobNotRunning") return true
  if (tag === "CheckpointStoreError" || tag === "SinkStalled" || tag === "Fenced" || tag === "SinkFenced") return true
  const damaged = scenario.lives.some(({ damaged }) => damaged > 0)
  return damaged && (tag === "CheckpointRefused" || tag === "SinkAheadOfCheckpoint")
}

/** A life whose power failed and may come back. */
interface Zombie {
  readonly alive: Alive
  readonly fiber: Fiber.Fiber<unknown, unknown>
  /** When it wakes: after so many epochs of another life, or when that is over. */
  readonly epochs: number
}

class Run {
  readonly seen: Seen = new Set()
  readonly world: World
  readonly time: SeededTime
  private readonly scenario: Scenario
  private readonly next: (n: number) => number
  private readonly files: Array<Files> = []
  private readonly zombies: Array<Zombie> = []
  private crashesInRecovery = 0
  private job: RunningJob | undefined
  private readonly seed: number

  constructor(scenario: Scenario, seed: number) {
    this.seed = seed
    this.scenario = scenario
    this.next = random(seed)
    this.time = new SeededTime({ ...scenario.pace, seed })
    this.world = new World(scenario, this.seen, this.next, () => this.time.now)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // a life
  // -------------------------------------------------------------------------------------------------------------------

  private born(rates: Rates, power: Power, faults: ReadonlyArray<number> = []): Alive {
    const files = this.files.pop()!
    files.power = power
    return {
      power,
      troubles: new Troubles(this.next, rates),
      files,
      faults: new Set(faults),
      isZombie: false,
      hasRead: false
    }
  }

  /** Launches the job and does something with it; its scope ends with that. */
  private launched<A>(
    alive: Alive,
    partitions: number,
    use: (job: RunningJob) => Effect.Effect<A, unknown>
  ): Effect.Effect<A, unknown> {
    return Effect.scoped(Effect.gen({ self: this }, function*() {
      const { job: { program } } = this.world.built(alive)
      const job = yield* launch(program, settingsOf(this.scenario.habits, partitions))
      this.job = job
      return yield* Effect.ensuring(use(job), Effect.flatMap(job.status, (status) => this.noteStatus(status, alive)))
    })).pipe(
      Effect.provideService(CheckpointStore.CheckpointStore, this.world.store(alive)),
      Effect.provideService(FileSystem.FileSystem, alive.files.fileSystem)
    )
  }

  private readonly noteStatus = (status: Job.JobStatus, { troubles: { calls } }: Alive): Effect.Effect<void> =>
    Effect.sync(() => {
      const { seen } = this
      if (status.restarts > 0) seen.add("failing: a part was restarted")
      if (status.restarts > 2) seen.add("failing: a part was restarted three times or more")
      if ((status.lastCheckpoint?.pauseMillis ?? 0) > 0) seen.add("cut: partitions stood still for it")
      const { checkpointMillis, maxPendingBytes } = this.scenario.habits
      if (status.pendingBytes >= maxPendingBytes) seen.add("pressed: no more may be kept for sinks")
      if (checkpointMillis > 1000 && status.checkpoints > 0 && status.state === "running") {
        seen.add("pressed: a checkpoint came before its time")
      }
      for (const { call, outcome } of calls) {
        if (outcome === "slow" && call.startsWith("commit")) seen.add("slow: a commit")
        if (outcome.startsWith("hangs") && call.startsWith("commit")) seen.add("hanging: a commit, until it was let go")
        if (outcome.startsWith("hangs") && call.startsWith("pull")) seen.add("hanging: a source")
        if (outcome.startsWith("hangs") && call.startsWith("apply") && status.checkpoints > 1) {
          seen.add("hanging: an application while epochs were made")
        }
        if (outcome === "answer lost" && call === "acquire") {
          seen.add("ambiguous: a job was taken over without hearing so")
        }
        if (outcome !== "slow" && /^(list|manifest|blob)/.test(call)) {
          seen.add("ambiguous: reading the store was tried again")
        }
        if (outcome === "answer lost" && call.startsWith("pull")) {
          seen.add("ambiguous: a pull whose answer was lost was made again")
        }
        if (outcome !== "slow" && call.startsWith("open sink")) seen.add("ambiguous: a sink could not be opened")
      }
    })

  /** One life, until it ends, its power fails, or nobody has any patience left. Answers with the status of a job that has ended. */
  private live({ damage, damaged, ending, faults, jump, partitions, rates }: Life): Effect.Effect<void, unknown> {
    return Effect.gen({ self: this }, function*() {
      const { scenario, seen, time, world } = this
      // Of zombies that write to files there are tests of their own.
      const isZombie = ending._tag === "zombie" && scenario.sinks === "ledgers"
      // The changes of a disk are many.
      const scale = (scenario.store === "in files" ? 4 : 1) + (scenario.sinks === "files" ? 2 : 0)
      const where = ending._tag === "crash at a side effect" || ending._tag === "zombie" ? ending.where : undefined
      let pointsLeft = where === undefined ? Infinity : where === "anywhere" ? ending.at * scale : ending.at
      const counts = where === "commits" ? / commit \d/ : where === "applications" ? / apply \d/ : /./
      const power = new Power((point) => counts.test(point) && --pointsLeft === 0)
      const alive = this.born(rates, power, faults)
      const jobName = "random"
      if (damaged > 0) yield* world.damage(jobName, damaged, damage)
      yield* this.survey(partitions)
      const headBefore = yield* world.raw.list(jobName)
      if (ending._tag === "crash at an operation" && ending.at < Infinity) {
        time.before(ending.at, () => power.fail(time.soon))
      }
      let jumped = false
      const jumping = jump === undefined ? Effect.void : Effect.andThen(
        Effect.sleep(jump.afterMillis),
        Effect.sync(() => {
          jumped = true
          time.offset += jump.byMillis
        })
      )
      let asked: Marker | undefined
      const asking = (
        what: "stop" | "savepoint",
        job: RunningJob,
        at: number,
        crashesAt: number
      ): Effect.Effect<void, unknown> =>
        Effect.gen(function*() {
          yield* Effect.sleep(at / 4)
          asked = what === "stop" ? "crash: after a stop has begun" : "crash: after a savepoint was asked for"
          pointsLeft = crashesAt
          return yield* what === "stop" ? job.stop : Effect.andThen(job.savepoint("before"), Effect.never)
        })
      const life = this.launched(alive, partitions, (job) =>
        Effect.gen(function*() {
          yield* Effect.forkChild(jumping)
          const over = ending._tag === "stop" || ending._tag === "savepoint, then crash"
            ? Effect.raceFirst(
              job.await,
              asking(ending._tag === "stop" ? "stop" : "savepoint", job, ending.at, ending.crashesAt)
            )
            : job.await
          yield* over
        }))
      const waking = yield* Effect.forkDetach(this.waking)
      const fiber = yield* Effect.forkDetach(life)
      const ended = yield* Effect.raceFirst(Fiber.await(fiber), power.failed).pipe(Effect.timeoutOption(patienceMillis))
      const exit = fiber.pollUnsafe()
      if (jumped) {
        seen.add(jump!.byMillis < 0 ? "clock: the time of day went back" : "clock: the time of day leapt ahead")
      }
      if (Option.isNone(ended)) power.fail()
      if (power.hasFailed && exit === undefined) {
        yield* this.noteCrash(alive, ending, headBefore.length > 0, asked)
        if (ending._tag === "zombie" && isZombie) this.zombies.push({ alive, fiber, epochs: ending.wakesAfterEpochs })
        else {
          yield* Effect.forkDetach(Fiber.interrupt(fiber))
          if (scenario.store === "in files" || scenario.sinks === "files") {
            world.disk.reboot(scenario.loss)
            if (/lost/.test(scenario.loss) && scenario.loss !== "nothing lost") {
              seen.add("crash: what was not synced is gone")
            }
            if (scenario.loss === "contents torn") seen.add("crash: half of what was not synced is there")
          }
        }
      } else if (exit !== undefined && Exit.isFailure(exit)) {
        const refused = yield* this.judge(exit.cause)
        if (refused) world.repair()
      }
      const woken = waking.pollUnsafe()
      yield* Fiber.interrupt(waking)
      if (woken !== undefined) yield* woken
    })
  }

  /** Answers whether the job was refused for what it found; throws for what nothing explains. */
  private judge(cause: Cause.Cause<unknown>): Effect.Effect<boolean, unknown> {
    return Effect.suspend(() => {
      if (!isExpected(cause, this.scenario)) return Effect.failCause(cause)
      const tag = (Option.getOrUndefined(Cause.findErrorOption(cause)) as { readonly _tag?: string } | undefined)?._tag
      if (tag === "SinkStalled") this.seen.add("stalled: the job failed and named its sink")
      if (tag === "CheckpointRefused") this.seen.add("refused: nothing that could be trusted")
      if (tag === "SinkAheadOfCheckpoint") this.seen.add("refused: a sink stands ahead of the checkpoint")
      return Effect.succeed(tag === "CheckpointRefused" || tag === "SinkAheadOfCheckpoint")
    })
  }

  private noteCrash(alive: Alive, ending: Life["ending"], hasHead: boolean, asked: Marker | undefined) {
    return Effect.gen({ self: this }, function*() {
      const { seen, world } = this
      const point = alive.power.points.at(-1) ?? ""
      if (ending._tag === "crash at an operation") {
        seen.add("crash: before an operation of the scheduler, between two side effects")
      }
      if (asked !== undefined) seen.add(asked)
      if (point.startsWith("before commit")) seen.add("crash: just before a commit")
      if (point.startsWith("after commit")) seen.add("crash: just after a commit, before its answer")
      if (point.startsWith("before apply")) seen.add("crash: just before an application")
      if (point.startsWith("after apply")) seen.add("crash: just after an application, before its answer")
      if (point.endsWith("acquire")) seen.add("crash: while the job is taken over")
      if (point.includes(" pull ")) seen.add("crash: while a source is read")
      if (/(open|look|begin|rewind).* (sink\d|dead letters)/.test(point)) {
        seen.add("crash: while sinks are opened or asked where they stand")
      }
      if (/ (write|sync|rename|truncate|remove|make|open) \//.test(point)) {
        seen.add("crash: in the middle of a change of the disk")
      }
      const isInRecovery = hasHead && !alive.hasRead
      this.crashesInRecovery = isInRecovery ? this.crashesInRecovery + 1 : 0
      if (this.crashesInRecovery > 0) seen.add("crash: during recovery")
      if (this.crashesInRecovery > 1) seen.add("crash: during the recovery of a recovery")
      const head = yield* this.head
      if (head === undefined) return
      const { have, lack } = world.owed(head)
      if (lack > 0) seen.add("crash: between the durable checkpoint and a sink's application")
      if (lack > 0 && have > 0) seen.add("crash: one sink has the epoch and another has not")
      if (lack > 0 && head.state === "finished") seen.add("crash: the last epoch is durable, and its sinks lack it")
    })
  }

  /** Zombies that wake while another life is at work, once that has made so many epochs. */
  private get waking(): Effect.Effect<void, unknown> {
    return Effect.gen({ self: this }, function*() {
      const { committed } = this.world
      const from = committed.length
      for (const one of this.zombies.slice()) {
        for (let millis = 0.5; committed.length < from + one.epochs; millis *= 1.5) yield* Effect.sleep(millis)
        yield* this.awoken(one)
      }
    })
  }

  private awoken(one: Zombie): Effect.Effect<void, unknown> {
    return Effect.gen({ self: this }, function*() {
      const at = this.zombies.indexOf(one)
      if (at >= 0) this.zombies.splice(at, 1)
      const head = yield* this.head
      if (head !== undefined && head.attempt > 1) this.seen.add("zombie: woke after its successor had made an epoch")
      if (head?.state === "finished") this.seen.add("zombie: woke when the job had finished")
      one.alive.isZombie = true
      one.alive.troubles.heal()
      one.alive.power.wake()
      yield* Effect.timeoutOption(Fiber.await(one.fiber), patienceMillis)
      yield* Effect.forkDetach(Fiber.interrupt(one.fiber))
      const exit = one.fiber.pollUnsafe()
      if (exit !== undefined && Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)) {
        yield* this.judge(exit.cause)
      }
    })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // what a life goes on from
  // -------------------------------------------------------------------------------------------------------------------

  private get head(): Effect.Effect<Manifest | undefined, unknown> {
    const { raw } = this.world
    return Effect.gen(function*() {
      const [head] = yield* raw.list("random")
      if (head === undefined) return undefined
      return decodeManifest(yield* Effect.flatMap(raw.manifest("random", head.epoch), Effect.fromOption))
    })
  }

  /** Notes what is special about the checkpoint that a launch finds. */
  private survey(partitions: number): Effect.Effect<void, unknown> {
    return Effect.gen({ self: this }, function*() {
      const { seen, world } = this
      const manifest = yield* this.head
      if (manifest === undefined || manifest.chain.length === 0) return
      if (world.damagedEpochs.has(manifest.epoch) || world.damagedBlobs.size > 0) {
        if (world.committed.length > 2) seen.add("from: an older epoch, the newest being damaged")
        return
      }
      const isOwing = manifest.sinks.some(({ pending }) => pending.length > 0)
      if (manifest.state === "finished") {
        seen.add(isOwing ? "from: a finished job that owed something" : "from: a finished job that owed nothing")
      }
      if (isOwing) seen.add("from: an epoch that a sink was owed")
      if (manifest.sinks.some(({ pending }) => pending.length > 1)) seen.add("from: two epochs that a sink was owed")
      if (manifest.parent !== undefined) seen.add("from: an epoch whose parent is of another lineage")
      if (manifest.state === "finished") return
      seen.add("from: a checkpoint")
      if (partitions < manifest.partitions) seen.add("from: fewer partitions")
      if (partitions > manifest.partitions) seen.add("from: more partitions")
      if (Math.abs(partitions - manifest.partitions) === 15) seen.add("from: one partition to sixteen, or back")
      if (manifest.chain.length > 1) seen.add("from: two segments or more")
      if (manifest.state === "stopped") seen.add("from: a stop")
      const tables = yield* readTables(world.raw, manifest.job, manifest.chain)
      for (const entry of manifest.parts) {
        const { splits } = entry
        if (splits.some(({ ended }) => ended) && !splits.every(({ ended }) => ended)) {
          seen.add("from: a split that had ended, others not")
        }
        if (splits.some(({ cursor, ended }) => cursor === 0 && !ended) && splits.some(({ cursor }) => cursor > 0)) {
          seen.add("from: a split that had given nothing yet")
        }
        if (splits.some(({ generator }) => generator !== undefined)) {
          seen.add("from: a watermark generator with a state")
        }
        for (const { machine, operator, partition } of entry.operators) {
          for (const id of machine?.tables ?? []) {
            if ((tables.table(operator, partition, id)?.keys.length ?? 0) === 0) continue
            seen.add(id === "sessions" ? "from: an open session" : "from: an open window")
          }
        }
        const blobs = yield* Effect.forEach(entry.flight, (reference) => readBlob(world.raw, manifest.job, reference))
        const { flights, lists } = partContents(entry, tables, ({ id }) => blobs.find((blob) => blob.id === id)!)
        if (lists.some(({ keys }) => keys.length > 0)) seen.add("from: a window that was just firing")
        for (const { id, rows } of flights) {
          if (rows.values.length === 0) continue
          if (id.startsWith("gate")) seen.add("from: rows in an open gate")
          if (id.startsWith("queue")) seen.add("from: rows that waited before a sink")
          if (id.startsWith("dead letters")) seen.add("from: dead letters that waited")
          if (id.startsWith("input")) seen.add("from: rows on their way into an operator")
        }
      }
    })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // the whole
  // -------------------------------------------------------------------------------------------------------------------

  /** The last life, from launch to launch until nothing goes wrong any more. Answers with how long that took. */
  private toTheEnd(limit: { readonly steps: number; readonly millis: number } | undefined) {
    return Effect.gen({ self: this }, function*() {
      const { last: { healsAfterMillis, partitions, rates } } = this.scenario
      const { time } = this
      let began = { steps: time.steps, millis: time.now }
      let healed: Effect.Effect<void> = Effect.void
      const troubled = limit !== undefined && healsAfterMillis !== undefined
      let alive: Alive | undefined
      if (troubled) {
        healed = Effect.andThen(
          Effect.sleep(healsAfterMillis),
          Effect.sync(() => {
            began = { steps: time.steps, millis: time.now }
            isHealed = true
            alive?.troubles.heal()
          })
        )
      }
      let isHealed = !troubled
      yield* Effect.forkChild(healed)
      for (let launches = 0; launches < mostLaunches; launches++) {
        yield* this.survey(partitions)
        alive = this.born(isHealed ? well : rates, new Power())
        const pausesMillis = troubled || this.world.damagedBlobs.size + this.world.damagedEpochs.size > 0
          ? longestPausesMillis
          : 500
        const overdue = limit === undefined ? Effect.never : Effect.gen({ self: this }, function*() {
          while (!isHealed || time.now - began.millis < 2 * limit.millis + pausesMillis) yield* Effect.sleep(500)
          const status = this.job === undefined ? undefined : yield* this.job.status
          return yield* Effect.fail(new Error(`it has not come to its end in time: ${waitsFor(status)}`))
        })
        const running = this.launched(alive, partitions, (job) => Effect.andThen(job.await, job.status))
        const exit = yield* Effect.exit(Effect.raceFirst(running, overdue))
        if (Exit.isSuccess(exit)) {
          return { status: exit.value, steps: time.steps - began.steps, millis: time.now - began.millis }
        }
        if (isHealed && this.world.damagedEpochs.size + this.world.damagedBlobs.size === 0 && !troubled) yield* exit
        if (yield* this.judge(exit.cause)) this.world.repair()
        yield* Effect.sleep(20)
      }
      return yield* Effect.die(new Error(`${mostLaunches} launches were not enough`))
    })
  }

  /** Answers with what was received, and how it went. */
  async all(limit: { readonly steps: number; readonly millis: number } | undefined) {
    const lives = limit === undefined ? [] : this.scenario.lives
    await this.world.prepare()
    for (let i = 0; i < lives.length + (this.scenario.store === "in files" ? 12 : mostLaunches + 1); i++) {
      this.files.push(await this.world.files())
    }
    watch(this.seen)
    const run = Effect.gen({ self: this }, function*() {
      for (const life of lives) yield* this.live(life)
      for (const one of this.zombies.slice()) yield* this.awoken(one)
      const { millis, status, steps } = yield* this.toTheEnd(limit)
      const contents = this.world.received
      const again = this.born(well, new Power())
      const afterwards = yield* this.launched(again, 1, (job) => Effect.andThen(job.await, job.status))
      return { status, steps, millis, contents, afterwards: afterwards.state, received: this.world.received }
    })
    const exit = await this.time.run(run.pipe(Random.withSeed(`${this.seed}`)))
    if (Exit.isSuccess(exit)) return exit.value
    const now = this.job === undefined ? undefined : await Effect.runPromise(this.job.status)
    throw new Error(`${Cause.pretty(exit.cause)}\n${waitsFor(now)}`)
  }
}

/** Who waits for whom, as far as the job says. */
const waitsFor = (status: Job.JobStatus | undefined): string =>
  status === undefined ? "no job was launched" : JSON.stringify({
    state: status.state,
    pendingBytes: status.pendingBytes,
    checkpoints: status.checkpoints,
    restarts: status.restarts,
    sinks: status.sinks.filter(({ pendingBytes }) => pendingBytes > 0),
    buffers: status.buffers.filter(({ fill }) => fill > 0).map(({ capacity, fill, name }) =>
      `${name}: ${fill} of ${capacity}`
    ),
    steps: status.steps.map(({ partition, stage, steps }) => `stage ${stage} partition ${partition}: ${steps} steps`)
  })

/** Scheduler steps that are allowed beside twice those of a clean run: a recovery reads what a clean run has not. */
const stepsBeside = 4000

const textOf = (received: Received): string => JSON.stringify(received)

/** Lives through what a seed has in store, and throws if anything came of it that should not have. */
export const schedule = async (
  seed: number,
  scenario = scenarioOf(seed),
  file = "test/simulation/schedules.test.ts"
): Promise<Report> => {
  try {
    const built = build(scenario.spec)
    const reference = expected(built)
    const clean = await new Run({ ...scenario, lives: [] }, seed).all(undefined)
    same(scenario.spec, built, clean.received, reference, "with nothing in its way")
    const run = new Run(scenario, seed)
    const { afterwards, contents, received, status, steps } = await run.all(clean)
    assert.strictEqual(status.state, "finished")
    same(scenario.spec, built, contents, reference, "in the end")
    for (const { keys, operator } of status.operators) assert.strictEqual(keys, 0, `${operator} remembers`)
    assert.strictEqual(afterwards, "finished")
    assert.deepStrictEqual(received, contents, "launched once more")
    assert.isAtMost(
      steps,
      2 * clean.steps + stepsBeside,
      `scheduler steps to the end, of ${clean.steps} in a clean run`
    )
    return {
      seen: run.seen,
      fingerprint: `${run.time.fingerprint} ${run.time.steps} ${textOf(received)}`,
      epochs: run.world.committed.length,
      tries: [...run.world.tries.values()],
      steps,
      cleanSteps: clean.steps
    }
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : String(cause)
    throw new Error(
      `schedule ${seed}: ${problem}\nReplay it with MILLRACE_SCHEDULE=${seed} vitest run ${file}`
        + `\n${printed(scenario)}`,
      { cause }
    )
  }
}
