/**
 * A process that was stopped while it wrote to a file, at any change that it makes to the disk, and wakes when another has
 * taken the file over: nothing that it does then has an effect.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, FileSystem } from "effect"
import { Sink } from "millrace"
import { fileSystem, Power } from "../support/crashing.ts"
import { FolderDisk } from "../support/folderDisk.ts"

const path = "/results/rows.ndjson"

type Writer = Sink.EpochWriter<number, unknown>

const marker = (epoch: number, lineage = "l"): Sink.Marker => ({
  lineage,
  epoch,
  digest: epoch === 0 ? "" : `${lineage}${epoch}`
})

/** A writer of epochs as one process has it, which never comes to close it. */
const opened = (disk: FolderDisk, power: Power) =>
  Sink.ndjson<number>(path).openEpochs!({ job: "job", sink: "out" }).pipe(
    Effect.provideService(FileSystem.FileSystem, fileSystem(power.around, disk.fileSystem)),
    Effect.scoped
  )

const apply = (writer: Writer, to: Sink.Marker, after: Sink.Marker) =>
  writer.apply({ marker: to, after, prepared: [writer.prepare([to.epoch])], rows: 1 })

interface Place {
  readonly marker: Sink.Marker
  readonly text: string
}

interface Deed {
  readonly name: string
  readonly before: ReadonlyArray<number>
  readonly run: (writer: Writer) => Effect.Effect<unknown, unknown>
  readonly next: Place
}

const deeds: ReadonlyArray<Deed> = [
  {
    name: "the first application",
    before: [],
    run: (writer) => apply(writer, marker(1), marker(0)),
    next: { marker: marker(1), text: "1\n" }
  },
  {
    name: "an application",
    before: [1, 2],
    run: (writer) => apply(writer, marker(3), marker(2)),
    next: { marker: marker(3), text: "1\n2\n3\n" }
  },
  {
    name: "looking where the file stands",
    before: [1, 2],
    run: (writer) => writer.position!.current,
    next: { marker: marker(2), text: "1\n2\n" }
  },
  {
    name: "a beginning",
    before: [1, 2],
    run: (writer) => writer.position!.begin(marker(0, "other"), marker(2)),
    next: { marker: marker(0, "other"), text: "" }
  },
  {
    name: "a way back",
    before: [1, 2],
    run: (writer) => writer.position!.rewind!(marker(1)),
    next: { marker: marker(1), text: "1\n" }
  }
]

/** When the process wakes: when its successor has applied so many epochs, or while it applies the first. */
const wakings = [1, 2, "meanwhile"] as const

/** Stops the process at the n-th point; answers with whether there is one. */
const stoppedAt = Effect.fnUntraced(function*(
  { before, next, run }: Deed,
  point: number,
  isOwner: boolean,
  waking: (typeof wakings)[number],
  seen: Set<string>
) {
  const said = `point ${point}, ${isOwner ? "in charge" : "after a crash"}, woken ${waking}`
  const disk = new FolderDisk()
  let hasBegun = false
  let reached = 0
  const old = new Power(() => hasBegun && ++reached === point)
  const first = yield* opened(disk, isOwner ? old : new Power())
  yield* first.position!.begin(marker(0), undefined)
  for (const epoch of before) yield* apply(first, marker(epoch), marker(epoch - 1))
  // One that did not write the epochs before takes the file over on its way.
  const stopped = isOwner ? first : yield* opened(disk, old)
  hasBegun = true
  const zombie = yield* Effect.forkChild(Effect.exit(run(stopped)))
  yield* Effect.raceFirst(old.failed, Fiber.await(zombie))
  if (!old.hasFailed) return false

  const second = yield* opened(disk, new Power())
  const places = [{ marker: marker(before.length), text: before.map((epoch) => `${epoch}\n`).join("") }, next]
  const find = Effect.gen(function*() {
    const found = yield* second.position!.current
    const place = places.find(({ marker }) => marker.lineage === found?.lineage && marker.epoch === found.epoch)
    assert.isDefined(place, said)
    return place!
  })
  // It goes on in a lineage of its own, so that nothing of what the other does can be right by chance.
  let from = yield* find
  assert.strictEqual(disk.read(path), from.text, said)
  if (waking === "meanwhile") old.wake()
  const firstExit = yield* Effect.exit(apply(second, marker(101, "own"), from.marker))
  if (Exit.isFailure(firstExit)) {
    // Both had the right to move on, and the other was faster.
    assert.strictEqual(waking, "meanwhile", said)
    seen.add("the other was faster")
    from = yield* find
    assert.strictEqual(from, next, said)
    yield* apply(second, marker(101, "own"), from.marker)
  }
  if (waking === 1) old.wake()
  if (waking === 1) yield* Fiber.await(zombie)
  yield* apply(second, marker(102, "own"), marker(101, "own"))
  if (waking === 2) old.wake()
  const exit = yield* Fiber.join(zombie)
  assert.strictEqual(disk.read(path), `${from.text}101\n102\n`, said)
  yield* apply(second, marker(103, "own"), marker(102, "own"))
  assert.strictEqual(disk.read(path), `${from.text}101\n102\n103\n`, said)
  const third = yield* opened(disk, new Power())
  assert.deepStrictEqual(yield* third.position!.current, marker(103, "own"), said)
  if (Exit.isFailure(exit)) {
    seen.add("fenced")
    assert.include(String(exit.cause), "SinkFenced", said)
  } else if (next.marker !== from.marker && waking !== "meanwhile" && from !== next) {
    // It asked for what it can no longer have, and must not be told that it has it.
    assert.isTrue(exit.value === false || (exit.value as Sink.Marker | undefined)?.lineage === "own", said)
  }
  return true
})

describe("a zombie that was stopped while it wrote to a file writes nothing when it wakes", () => {
  it.effect.each(deeds)("in the middle of $name", (deed) =>
    Effect.gen(function*() {
      const seen = new Set<string>()
      let stops = 0
      for (const isOwner of [true, false]) {
        for (const waking of wakings) {
          let point = 1
          while (yield* stoppedAt(deed, point, isOwner, waking, seen)) point++
          stops += point - 1
        }
      }
      const isLook = deed.name === "looking where the file stands"
      assert.isAbove(stops, isLook ? 20 : 60)
      if (!isLook && deed.name !== "a way back") assert.isTrue(seen.has("fenced"), "none was fenced")
    }))
})

describe("two runs that write to a file beside each other", () => {
  it.effect("both apply what is due, and nobody finds it twice or damaged", () =>
    Effect.gen(function*() {
      const disk = new FolderDisk()
      const [a, b] = [yield* opened(disk, new Power()), yield* opened(disk, new Power())]
      yield* a.position!.begin(marker(0), undefined)
      for (let epoch = 1; epoch <= 20; epoch++) {
        const both = [apply(a, marker(epoch), marker(epoch - 1)), apply(b, marker(epoch), marker(epoch - 1))]
        yield* Effect.all(both, { concurrency: "unbounded" })
      }
      assert.strictEqual(disk.read(path), Array.from({ length: 20 }, (_, i) => `${i + 1}\n`).join(""))
    }))
})
