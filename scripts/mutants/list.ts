/** The planted bugs. Each names the tests that must catch it; a place to change must be the only one of its kind. */

export interface Edit {
  readonly file: string
  readonly find: string
  readonly replace: string
}

export interface Mutant {
  readonly name: string
  readonly edits: ReadonlyArray<Edit>
  readonly tests: ReadonlyArray<string>
}

const edit = (file: string, find: string, replace: string): Edit => ({ file: `src/internal/${file}`, find, replace })

/** Caught by the laws over random flows, not by a test written for the line that is broken. */
const byLaws = (name: string, ...edits: ReadonlyArray<Edit>): Mutant => ({ name, edits, tests: ["test/laws"] })
/** Caught by the tests of restarts. */
const byRestarts = (name: string, ...edits: ReadonlyArray<Edit>): Mutant => ({
  name,
  edits,
  tests: ["test/laws", "test/Supervision.test.ts", "test/regressions/generatorState.test.ts"]
})

/** Caught by the tests named: by crashes, restarts and rescaling. */
const by = (tests: ReadonlyArray<string>) => (name: string, ...edits: ReadonlyArray<Edit>): Mutant => ({
  name,
  edits,
  tests: tests.map((test) => `test/${test}.test.ts`)
})
const byCrashes = by(["recovery/everySideEffect"])
const byVectors = by(["recovery/vectors"])
const byRestores = by(["Checkpoint", "machine/restoring", "Endings"])
const byZombies = by(["regressions/zombieFiles"])

export const mutants: ReadonlyArray<Mutant> = [
  byLaws(
    "window end: fires one millisecond late",
    edit(
      "machine/buckets.ts",
      "return end - 1 + (fired ? this.options.allowedLatenessMillis : 0)",
      "return end + (fired ? this.options.allowedLatenessMillis - 1 : 0)"
    )
  ),
  byLaws(
    "watermark minimum: the furthest input decides",
    edit(
      "runtime/chain.ts",
      "if (watermark < least) least = watermark",
      "if (least === Infinity || watermark > least) least = watermark"
    )
  ),
  byLaws(
    "watermark minimum: the furthest side of a merge decides",
    edit(
      "machine/operator.ts",
      "for (const input of this.inputs) least = Math.min(least, input.current())\n    return least",
      "for (const input of this.inputs) least = least === Infinity ? input.current() : Math.max(least, input.current())\n    return least"
    )
  ),
  byLaws(
    "watermark per batch instead of in band",
    edit(
      "runtime/task.ts",
      "if (watermark > input.watermark) this.move(input, watermark)",
      ";(input as { latest?: number }).latest = watermark"
    ),
    edit(
      "runtime/task.ts",
      "input.cursor = inlet.after(cursor, taken)",
      "input.cursor = inlet.after(cursor, taken)\n    this.move(input, (input as { latest?: number }).latest ?? -Infinity)"
    )
  ),
  byLaws(
    "session merge: a bridge joins one side only",
    edit(
      "machine/sessions.ts",
      "while (to < live.length && live[to]!.start - gapMillis <= time) to++",
      "while (to < Math.min(live.length, from + 1) && live[to]!.start - gapMillis <= time) to++"
    )
  ),
  byLaws(
    "slice sharing: a window loses its first slice",
    edit(
      "machine/slices.ts",
      "this.front.at(-1)!.start < start) {",
      "this.front.at(-1)!.start <= start) {"
    )
  ),
  byLaws(
    "exchange routing: a key has no home",
    edit(
      "runtime/routers.ts",
      "Math.floor(keyGroupOf(key) * partitions / keyGroups)",
      "(keyGroupOf(key) + ((globalThis as { n?: number }).n = ((globalThis as { n?: number }).n ?? 0) + 1)) % partitions"
    )
  ),
  byLaws(
    "the cut ignores partitions in step",
    edit("runtime/coordinator.ts", "live().every((attempt) => attempt.isSettled)", "true")
  ),
  byLaws(
    "event time behind a window does not wait for its panes",
    edit("machine/operator.ts", "this.held ??= this.input.previous()", "this.held = undefined")
  ),
  byLaws(
    "lateness: the last instant is still on time",
    edit(
      "machine/buckets.ts",
      "const live = bounds.filter(({ end }) => end - 1 + allowedLatenessMillis > watermark)",
      "const live = bounds.filter(({ end }) => end - 1 + allowedLatenessMillis >= watermark)"
    )
  ),
  byLaws(
    "a late record does not reach the merged slices",
    edit(
      "machine/slices.ts",
      "if (start >= this.queuedFrom && start < this.queuedTo) this.queues.set(key, undefined)",
      ""
    )
  ),
  byRestarts(
    "a source forgets what no checkpoint has",
    edit("runtime/inlet.ts", "this.trim(Math.min(this.acknowledged, this.consumed))", "this.trim(this.consumed)"),
    edit("runtime/inlet.ts", "if (this.replayable && !this.isWhole) this.trim(cursor)", "this.trim(cursor)")
  ),
  by(["regressions/generatorState"])(
    "the watermark generator starts anew after a restart",
    edit("runtime/task.ts", "if (split.generator !== undefined) input.generator?.restore(split.generator)", "")
  ),
  byRestarts(
    "states are not restored",
    edit("runtime/task.ts", "else timed.restore(standing.machine(timed.label), standing.owns)", "")
  ),
  byVectors(
    "sources forget before the epoch is durable",
    edit(
      "runtime/coordinator.ts",
      "const epoch = ++this.epoch\n",
      "const epoch = ++this.epoch\n      for (const { attempt, cut } of captures) yield* attempt.acknowledge(cut.part)\n"
    ),
    edit(
      "runtime/component.ts",
      "inlet.acknowledge(tasks[i]!.splits[j]!.cursor)",
      "inlet.acknowledge(tasks[i]!.splits[j]!.cursor + 1)"
    )
  ),
  byCrashes(
    "what waits for a sink is forgotten on recovery",
    edit("runtime/applier.ts", "this.waiting = pending.slice(at)", "this.waiting = []")
  ),
  byCrashes(
    "sinks are not asked where they stand",
    edit("runtime/applier.ts", "at = known.findIndex((marker) => standsAt(found, marker))", "at = 0"),
    edit("plan/SinkFenced.ts", "if (isSame(found, to)) return true", ""),
    edit("plan/SinkFenced.ts", "return standsAt(found, from) ? false", "return true ? false")
  ),
  by(["laws/recovery"])(
    "a restart does not wait for the epoch under way",
    edit("runtime/startup.ts", "coordinator.between(Effect.gen(function*() {", "(Effect.gen(function*() {")
  ),
  byVectors(
    "rows under way are not in the checkpoint",
    edit(
      "runtime/encoding.ts",
      "for (const { channels, input, operator, partition, start } of cut.inputs) {",
      "for (const { channels, input, operator, partition, start } of []) {"
    )
  ),
  byRestores(
    "only what was touched is in a new base",
    edit("runtime/coordinator.ts", "encodePart(graph, part, isBase,", "encodePart(graph, part, false,")
  ),
  byCrashes(
    "an epoch is given to sinks before it is durable",
    edit(
      "runtime/coordinator.ts",
      "yield* commitSurely(store, {\n        job,",
      "for (const [applier, application] of pending) {\n        applier.enqueue(application, false)\n        yield* applier.announce\n      }\n      pending.clear()\n      yield* commitSurely(store, {\n        job,"
    ),
    edit(
      "runtime/coordinator.ts",
      "const pending = yield* this.applications(epoch, captures)",
      "const pending = new Map(yield* this.applications(epoch, captures))"
    )
  ),
  byRestores(
    "keys have another home after a restore",
    edit("runtime/standing.ts", "owns: areWhole ? () => true : isOurs,", "owns: () => true,")
  ),
  byRestores(
    "floors are forgotten",
    edit(
      "machine/regrouped.ts",
      "machine.record(value, time, key, Math.max(watermark, floor))",
      "machine.record(value, time, key, watermark)"
    )
  ),
  byZombies(
    "a successor writes to the file that others have open",
    edit("plan/fileOwner.ts", "this.isShared = earlier.length > 0 || isUnknown", "this.isShared = false")
  ),
  byZombies(
    "what an earlier owner has ready is left to him",
    edit(
      "plan/fileOwner.ts",
      "yield* removeAll(fileSystem, ready.filter((name) => name.number < number))",
      "void ready"
    )
  ),
  byZombies(
    "a file is taken back from where another has brought it",
    edit("plan/ndjsonSink.ts", "if (!isSame(found, this.seen ??= markerOf(found))) return false", "")
  )
]
