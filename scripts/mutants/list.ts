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

export const mutants: ReadonlyArray<Mutant> = [
  byLaws(
    "window end: fires one millisecond late",
    edit("machine/buckets.ts", "this.timers.push(bucket.end - 1, bucket)", "this.timers.push(bucket.end, bucket)")
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
    edit("runtime/component.ts", "settled() || this.environment.sabotage === \"cut ignores steps\"", "true")
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
  byRestarts(
    "the watermark generator starts anew after a restart",
    edit("runtime/task.ts", "input.generator?.restore(generator)", "")
  ),
  byRestarts(
    "states are not restored",
    edit("runtime/task.ts", "this.chain.stateful.forEach((state, i) => state.restore(states[i]))", "")
  )
]
