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
const bySchedules = by(["simulation/schedules"])
const byStores = by(["CheckpointStore"])
const bySinks = by(["Sink.epochs"])
const byAmbiguity = by(["recovery/ambiguous"])
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
      "yield* this.commit(compose)",
      "yield* Effect.andThen(Effect.forEach(pending, ([applier, application]) =>\n"
        + "        Effect.ignore(Effect.flatMap(applier['opened'], (writer) => writer.apply(application)))), this.commit(compose))"
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
  // Caught by the programs that change between two runs.
  by(["compat/evolution"])(
    "a window of another size adopts old state",
    edit(
      "runtime/comparing.ts",
      "if (before.window !== now.window) differences",
      "if (before.window === \"\") differences"
    )
  ),
  by(["compat/evolution"])(
    "any schema reads what any other wrote",
    edit("plan/shape.ts", "if (isSame(before, after)) return true", "return true")
  ),
  by(["compat/evolution"])(
    "fields in another order are not moved",
    edit("runtime/comparing.ts", "now.fields[i]?.name !== name", "now.fields.length < i")
  ),
  by(["compat/evolution"])(
    "rows under way go to whoever has the name",
    edit(
      "runtime/judging.ts",
      "if (was === undefined || !this.isInput(was, now.inputs[at])) {",
      "if (was === undefined) {"
    )
  ),
  by(["compat/golden"])(
    "a format to come is passed over",
    edit("runtime/recovery.ts", "if (read instanceof OtherFormat) return", "if (read.constructor === Array) return")
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
  ),
  // The protocol: between jobs, stores and sinks.
  bySchedules(
    "outputs of an epoch are taken after its picture",
    edit(
      "runtime/coordinator.ts",
      "const pending = yield* this.applications(epoch, captures)",
      "for (const { attempt, cut } of captures) (cut.sealed as Array<unknown>).push(...attempt.outputs.map((o) => [o, o.seal()]))\n"
        + "      const pending = yield* this.applications(epoch, captures)"
    )
  ),
  byCrashes("files of a checkpoint are not synced", edit("stores/fileStore.ts", "yield* file.sync", "")),
  byCrashes(
    "the folder of an epoch is not synced",
    edit("stores/fileStore.ts", "commit.manifest)\n    yield* sync(within(name))", "commit.manifest)")
  ),
  bySinks("lines of a sink are not synced", edit("plan/ndjsonSink.ts", "yield* at(path, \"sync\")(file.sync)", "")),
  bySinks(
    "a marker is moved from wherever it stands",
    edit("plan/SinkFenced.ts", "return standsAt(found, from) ? false", "return true ? false")
  ),
  bySchedules(
    "an older epoch is gone on from though a sink stands ahead of it",
    edit(
      "runtime/applier.ts",
      "if (at < 0) return yield* this.ahead(",
      "if (at < 0) at = 0\n          if (at < 0) return yield* this.ahead("
    )
  ),
  bySchedules(
    "the number of a damaged epoch is given again",
    edit("runtime/startup.ts", "Math.max(recovery.head, from.manifest.epoch)", "from.manifest.epoch")
  ),
  byRestores(
    "timers of sessions are not restored",
    edit(
      "machine/sessions.ts",
      "this.store(key, live as ReadonlyArray<Session>))",
      "this.sessions.put(key, live as ReadonlyArray<Session>))"
    )
  ),
  by(["machine/assignment"])(
    "sessions merge in the wrong order",
    edit("machine/sessions.ts", "acc = fields.merge(acc, live[i]!.acc)", "acc = fields.merge(live[i]!.acc, acc)")
  ),
  byRestores(
    "a key is at home elsewhere once it was restored",
    edit(
      "runtime/standing.ts",
      "partitionOf(key, partitions) === partition",
      "(partitionOf(key, partitions) + 1) % partitions === partition"
    )
  ),
  byStores(
    "no fence in memory",
    edit("stores/memoryStore.ts", "if (judgement !== \"new\") return Effect.fail(judgement)", "")
  ),
  byStores(
    "no fence in files: what an earlier attempt has prepared can still be published",
    edit("stores/fileStore.ts", "writer >= attempt) continue", "attempt > 0) continue")
  ),
  byStores(
    "no fence in SQLite",
    edit("stores/sqliteStore.ts", "AND attempt = ? AND ? > ?", "AND (attempt = ? OR 1) AND ? > ?")
  ),
  bySchedules(
    "any attempt may write",
    edit("stores/refusals.ts", "attempt === latest && attempt > 0", "attempt > 0 && latest > 0")
  ),
  byStores(
    "an epoch may follow any other",
    edit("stores/refusals.ts", "if (head !== previous)", "if (head < previous)")
  ),
  by(["regressions/overtakenAtTheStart"])(
    "sinks begin anew whoever is in charge",
    edit("runtime/applier.ts", "yield* this.inCharge\n        yield* position.begin", "yield* position.begin")
  ),
  byAmbiguity(
    "a commit that failed is taken for done",
    edit("runtime/patience.ts", "if (failure === undefined) return", "if (!(failure instanceof Fenced)) return")
  ),
  byAmbiguity(
    "a commit that failed is taken for not done",
    edit("runtime/patience.ts", "head.value.digest === commit.digest) return", "head.value.digest === \"\") return")
  ),
  byAmbiguity(
    "an epoch that a sink has failed to take is passed over",
    edit(
      "runtime/applier.ts",
      "this.failure = exit.cause\n",
      "this.failure = exit.cause\n        this.waiting = this.waiting.slice(1)\n"
    )
  ),
  bySchedules(
    "retention drops pieces that are needed",
    edit(
      "runtime/coordinator.ts",
      "const needed = new Set(kept.flatMap(({ blobs }) => blobs))",
      "const needed = new Set()"
    )
  ),
  by(["hostile/damage"])(
    "checksums of pieces are not looked at",
    edit("runtime/recovery.ts", " || crcOf(blob.value.bytes) !== crc", "")
  ),
  bySchedules(
    "rows under way are given to every partition",
    edit("runtime/carried.ts", "key === aStep || owner === partition", "key === aStep || owner >= 0")
  ),
  bySchedules(
    "a split that had ended begins anew",
    edit(
      "runtime/standing.ts",
      "split.source === source && split.split === name",
      "split.source === source && split.split === name && !split.ended"
    )
  )
]
