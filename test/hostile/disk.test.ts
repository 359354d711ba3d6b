/**
 * A disk that fails: each call in turn, once or for a while, with a full disk or an error, in the store, in the file of a sink,
 * and in the file of a checkpoint. What comes of it are the right results, or a typed error and the right results later.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, FileSystem, Option } from "effect"
import { Checkpoint, CheckpointStore, FlowError, Source } from "millrace"
import { assertSame, pass, run, type Store } from "../recovery/world.ts"
import { everyPoint, fileSystem, live, Power } from "../support/crashing.ts"
import { deep, isDeep } from "../support/deep.ts"
import { type Fault, FaultyDisk } from "../support/faultyDisk.ts"
import { FolderDisk } from "../support/folderDisk.ts"
import { losses } from "../support/memoryDisk.ts"
import { headOn, inFiles, left, lifeOn, reference, runOn, seed } from "./world.ts"

/** Two lives in one: a job goes on from a crash, so that reading and rewinding fail as well. */
const crashed = await left(5)

const isTyped = (error: unknown): boolean =>
  error instanceof Source.FileError || error instanceof CheckpointStore.CheckpointStoreError
  || error instanceof FlowError.CheckpointRefused

/** As often as an operation is tried again in the first seconds. */
const while_ = 6

const modes: ReadonlyArray<readonly [name: string, fault: Fault, length: number]> = [
  ["no room, once", "ENOSPC", 1],
  ["no room, for a while", "ENOSPC", while_],
  ["an error, once", "EIO", 1],
  ["an error, for a while", "EIO", while_],
  ["an error, for good", "EIO", Infinity]
]

describe.each([["a job that begins", () => new FolderDisk()], ["a job that goes on", () => crashed.copy()]] as const)(
  "%s",
  (_, make) => {
    it.each(modes)(
      "meets %s at every call: the results are right, or come right later",
      async (name, fault, length) => {
        const began = Date.now()
        const outcomes = { right: 0, later: 0 }
        const stride = deep(length === Infinity ? 61 : 29, 1)
        for (let n = 1;; n += stride) {
          const disk = make()
          // A sink is tried for ever; somebody loses patience and ends the process.
          const patience = new Power()
          const faulty = new FaultyDisk(disk.fileSystem, fault, {
            from: n,
            length,
            slow: pass(2),
            refusal: (refused) => {
              if (refused === 200) patience.fail()
            }
          })
          const exit = await run(live(patience, lifeOn(disk, { fileSystem: faulty.fileSystem })), seed, { pace: 5 })
          const what = `${name}, call ${n}`
          if (Exit.isSuccess(exit) && Option.isSome(exit.value)) {
            assertSame(exit.value.value, reference, what)
            outcomes.right++
          } else {
            if (Exit.isFailure(exit)) {
              const error = Exit.findErrorOption(exit)
              assert.isTrue(Option.isSome(error) && isTyped(error.value), `${what}: ${String(exit.cause)}`)
            }
            // The power fails as well, before anybody has looked: what was not synced is gone.
            disk.reboot(n % 2 === 0 ? "all lost" : "nothing lost")
            const later = await runOn(disk)
            if (Exit.isFailure(later)) throw new Error(`${what}, later: ${String(later.cause)}`)
            assertSame(later.value, reference, `${what}, later`)
            outcomes.later++
          }
          if (faulty.refused === 0) break
        }
        if (length === Infinity) assert.isAbove(outcomes.later, 2)
        else assert.isAbove(outcomes.right, 5)
        if (isDeep) console.log(`disk: ${name}: ${JSON.stringify(outcomes)} in ${(Date.now() - began) / 1000} s`)
      }
    )
  }
)

it("a job whose disk has no room waits, and goes on without loss when there is room again", async () => {
  // From when the job runs: before that, it says that it cannot begin.
  let begun = 0
  const whole = new FolderDisk()
  const counting = new FaultyDisk(whole.fileSystem, "ENOSPC", {})
  const store = (inner: Store): Store => ({
    ...inner,
    commit: (commit) => {
      if (commit.epoch === 2) begun = counting.calls
      return inner.commit(commit)
    }
  })
  await run(lifeOn(whole, { fileSystem: counting.fileSystem, store }), seed, { pace: 5 })
  assert.isAbove(begun, 0)
  // Each time a dozen tries long: fewer than a commit is tried.
  let waited = 0
  for (let n = begun + 1; n < begun + 160; n += deep(20, 1)) {
    const disk = new FolderDisk()
    const faulty = new FaultyDisk(disk.fileSystem, "ENOSPC", { from: n, length: 12 })
    const exit = await run(lifeOn(disk, { fileSystem: faulty.fileSystem }), seed, { pace: 5 })
    if (faulty.refused === 0) break
    if (Exit.isFailure(exit)) throw new Error(`call ${n}: ${String(exit.cause)}`)
    assertSame(exit.value, reference, `call ${n}`)
    assert.strictEqual(faulty.refused, 12)
    waited++
  }
  assert.isAbove(waited, 5)
})

describe("the file of a checkpoint", () => {
  const path = "/results/value.json"
  const job = "tumbling"

  const values = Effect.runPromise(inFiles(crashed.fileSystem, (store) =>
    Effect.gen(function*() {
      const at = (epoch: number) =>
        Effect.provideService(Checkpoint.atEpoch(job, epoch), CheckpointStore.CheckpointStore, store)
      return [yield* at(headOn(crashed) - 1), yield* at(headOn(crashed))] as const
    })))

  const on = <A, E>(fs: FileSystem.FileSystem, effect: Effect.Effect<A, E>) =>
    Effect.provideService(effect, FileSystem.FileSystem, fs)

  it("is the old one or the new one, whichever call fails", async () => {
    const [before, after] = await values
    let failed = 0
    for (const fault of ["ENOSPC", "EIO"] as const) {
      for (const length of [1, Infinity]) {
        for (let n = 1;; n++) {
          const disk = crashed.copy()
          await Effect.runPromise(on(disk.fileSystem, Checkpoint.writeFile(before, path)))
          const files = disk.files
          const faulty = new FaultyDisk(disk.fileSystem, fault, { from: n, length })
          const exit = await Effect.runPromise(Effect.exit(on(faulty.fileSystem, Checkpoint.writeFile(after, path))))
          const found = await Effect.runPromise(on(disk.fileSystem, Checkpoint.readFile(path)))
          if (faulty.refused === 0) {
            assert.deepStrictEqual(found, after)
            break
          }
          failed++
          assert.isTrue(Exit.isFailure(exit))
          assert.instanceOf(
            Option.getOrThrow(Exit.findErrorOption(exit as Exit.Exit<never, unknown>)),
            Source.FileError
          )
          assert.isTrue([before.epoch, after.epoch].includes(found.epoch))
          assert.deepStrictEqual(found, found.epoch === before.epoch ? before : after)
          // Nothing is left lying about, but where the disk does not let it be taken away.
          if (length === 1) assert.deepStrictEqual(disk.files, files)
        }
      }
    }
    assert.isAbove(failed, 10)
  })

  it.each(losses)("is the old one or the new one after a loss of power at any moment, %s", async (loss) => {
    const [before, after] = await values
    let crashes = 0
    await everyPoint(async (n) => {
      const disk = crashed.copy()
      await Effect.runPromise(on(disk.fileSystem, Checkpoint.writeFile(before, path)))
      const power = new Power(n)
      const own = fileSystem(power.around, disk.fileSystem)
      await Effect.runPromise(live(power, on(own, Checkpoint.writeFile(after, path))))
      disk.reboot(loss)
      const found = await Effect.runPromise(on(disk.fileSystem, Checkpoint.readFile(path)))
      if (power.hasFailed) crashes++
      else assert.deepStrictEqual(found, after, "it was written before the power failed")
      assert.deepStrictEqual(found, found.epoch === before.epoch ? before : after, `point ${n}`)
      return power
    })
    assert.isAbove(crashes, 5)
  })
})
