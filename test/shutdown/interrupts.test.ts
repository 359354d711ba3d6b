/** A job that is interrupted anywhere ends, lets go of everything that it held, and can be gone on with. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, FileSystem, Metric } from "effect"
import { SeededScheduler } from "millrace/testing"
import { type Kind, session, sliding, tumbling } from "../recovery/jobs.ts"
import { inFiles, onDisk } from "../recovery/onDisk.ts"
import {
  assertSame,
  expected,
  launched,
  Outside,
  partitionsOf,
  pass,
  prepared,
  succeeded,
  toTheEnd
} from "../recovery/world.ts"
import { deep } from "../support/deep.ts"
import { FolderDisk } from "../support/folderDisk.ts"
import { report } from "../support/report.ts"

const seed = 11

/** Everything that is done is done; nobody counts. */
const plainly = <A, E, R>(_: string, effect: Effect.Effect<A, E, R>) => effect

/** Counts fibers that have begun and not ended, and files that are open. */
class Held {
  fibers = 0
  files = 0

  readonly around = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.provideService(effect, Metric.FiberRuntimeMetrics, {
      recordFiberStart: () => void this.fibers++,
      recordFiberEnd: () => void this.fibers--
    })

  readonly disk = (inner: FolderDisk): FolderDisk =>
    Object.assign(Object.create(inner), {
      fileSystem: FileSystem.make({
        ...inner.fileSystem,
        open: (path, options) =>
          Effect.acquireRelease(
            Effect.tap(inner.fileSystem.open(path, options), () => Effect.sync(() => void this.files++)),
            () => Effect.sync(() => void this.files--)
          )
      })
    })
}

/** How a life that is interrupted ends: at once, or as the guide has it, with a finalizer that stops the job. */
type Manner = "at once" | "stopping"

const slowly = () => pass(3)

/** All files below a folder. */
const filesOf = (disk: FolderDisk, folder: string): Effect.Effect<ReadonlyArray<string>> =>
  Effect.gen(function*() {
    const { fileSystem } = disk
    const names = yield* Effect.orElseSucceed(fileSystem.readDirectory(folder), () => [])
    const inner = yield* Effect.forEach(names, (name) => filesOf(disk, `${folder}/${name}`))
    return [...names.map((name) => `${folder}/${name}`), ...inner.flat()]
  })

const isTemporary = (path: string): boolean => /\.tmp$|\/(staging|trash)-\d+-\d+$/.test(path)

const interruptedAt = async (kind: Kind, manner: Manner, n: number) => {
  const disk = new FolderDisk()
  const outside = new Outside(onDisk(disk))
  const held = new Held()
  let operations = 0
  /** The first, which is the one to be interrupted. */
  let first: Fiber.Fiber<unknown, unknown> | undefined
  let isInterrupted = false
  const inner = SeededScheduler.make(seed, { operations: 16 })
  const scheduler: SeededScheduler.SeededScheduler = Object.assign(Object.create(inner), {
    shouldYield: (fiber: Fiber.Fiber<unknown, unknown>) => {
      if (first !== undefined && !isInterrupted && ++operations === n) {
        isInterrupted = true
        const target = first
        // As somebody else's doing: nobody can be interrupted while they are asked whether they yield.
        inner.makeDispatcher().scheduleTask(() => target.interruptUnsafe(), 0)
      }
      return inner.shouldYield(fiber)
    }
  })
  const run = (number: number, use: (disk: FolderDisk) => Effect.Effect<unknown, unknown>) =>
    Effect.gen(function*() {
      const life = yield* Effect.forkDetach(held.around(use(held.disk(disk))))
      first = number === 0 ? life : undefined
      const exit = yield* Fiber.await(life)
      // Who was told to end has ended by the time that all others have had their turns.
      yield* pass(50)
      assert.deepStrictEqual(
        { fibers: held.fibers, files: held.files },
        { fibers: 0, files: 0 },
        `life ${number} at ${n}`
      )
      return exit
    })
  const parts = () => outside.parts(plainly, slowly)
  const all = Effect.gen(function*() {
    const exit = yield* run(0, (disk) =>
      inFiles(disk, plainly, (store) =>
        Effect.scoped(Effect.gen(function*() {
          const handle = yield* launched(kind.make(parts()), store, { partitions: partitionsOf(kind, 0) })
          if (manner === "stopping") yield* Effect.addFinalizer(() => Effect.ignore(handle.stop))
          yield* handle.await
        }))))
    const left = (yield* filesOf(disk, "")).filter(isTemporary)
    const again = yield* run(
      1,
      (disk) =>
        inFiles(disk, plainly, (store) => toTheEnd(kind.make(parts()), store, { partitions: partitionsOf(kind, 1) }))
    )
    return {
      exit,
      left,
      again,
      outcome: yield* outside.outcome,
      leftInTheEnd: (yield* filesOf(disk, "")).filter(isTemporary)
    }
  })
  const done = succeeded(await SeededScheduler.runWith(prepared(all, seed, 8), scheduler), `an interrupt at ${n}`)
  return { ...done, operations, isInterrupted }
}

describe.each<readonly [Kind, Manner]>([
  [tumbling(20), "at once"],
  [tumbling(20), "stopping"],
  [sliding(14), "stopping"],
  [session(10), "at once"],
  [session(10), "stopping"]
])("%j, %s", (kind, manner) => {
  it("an interrupt anywhere leaves nothing behind, and nothing is lost", async () => {
    const began = performance.now()
    const reference = expected(kind)
    const clean = await interruptedAt(kind, manner, Infinity)
    assertSame(clean.outcome, reference, "undisturbed")
    const step = Math.max(1, Math.floor(clean.operations / deep(12, 1000)))
    let interrupts = 0
    let cut = 0
    let left = 0
    for (let n = 1; n <= clean.operations; n += step) {
      const { again, exit, isInterrupted, left: temporary, leftInTheEnd, outcome } = await interruptedAt(
        kind,
        manner,
        n
      )
      if (!isInterrupted) continue
      interrupts++
      if (Exit.isFailure(exit)) cut++
      left += temporary.length
      assert.isTrue(Exit.isSuccess(again), `gone on after an interrupt at ${n}`)
      assert.deepStrictEqual(leftInTheEnd, [], `files after an interrupt at ${n}`)
      assertSame(outcome, reference, `after an interrupt at ${n}`)
    }
    assert.isAbove(interrupts, deep(10, 900))
    assert.isAbove(cut, interrupts / 2)
    report(`${interrupts} interrupts, ${cut} lives cut short, ${left} temporary files until the next life`, began)
  }, deep(60_000, 900_000))
})
