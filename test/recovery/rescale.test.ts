/** One checkpoint, gone on from with any number of partitions: the answer is that of the reference, in its order per key. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Reference, Sink, Source } from "millrace"
import { memoryStore } from "../../src/internal/stores/memoryStore.ts"
import { live, Power, store } from "../support/crashing.ts"
import { deep } from "../support/deep.ts"
import { report } from "../support/report.ts"
import { type Kind, Reading, session, sliding, tumbling } from "./jobs.ts"
import { merged, uneven } from "./moreJobs.ts"
import { assertSame, expected, Outside, pass, run, succeeded, text, toTheEnd } from "./world.ts"

const numbers = deep([1, 3, 16], [1, 2, 3, 7, 16])

type Rows = ReadonlyArray<unknown>

/** The rows of each key, in their order. What has no key of its own has no order. */
const perKey = (rows: Rows): Record<string, ReadonlyArray<string>> => {
  const groups: Record<string, Array<string>> = {}
  for (const row of rows) {
    const { key, window } = row as { readonly key?: unknown; readonly window?: unknown }
    if (window !== undefined) (groups[String(key)] ??= []).push(text(row))
  }
  return groups
}

/** What the reference says of the sinks whose rows are panes. */
const orderOf = (kind: Kind): Record<string, Record<string, ReadonlyArray<string>>> => {
  const plainly = <A, E, R>(_: string, effect: Effect.Effect<A, E, R>) => effect
  const job = kind.make({
    ...new Outside().parts(plainly),
    source: (_, splits) => Source.memorySplits(splits, { schema: Reading })
  })
  return Object.fromEntries(Object.entries(Reference.run(job)).map(([name, rows]) => [name, perKey(rows)]))
}

/** A life on so many partitions that ends behind its n-th commit, and one on so many others that goes on to the end. */
const rescaled = async (kind: Kind, from: number, to: number, commit: number) => {
  const sinks = new Map<string, Sink.MemorySink<unknown>>()
  const outside = new Outside({
    sink: (name) => {
      const known = sinks.get(name) ?? Sink.memory<unknown>()
      sinks.set(name, known)
      return known
    },
    contents: (name) => sinks.get(name)!.contents
  })
  const inner = memoryStore()
  let commits = 0
  const power = new Power((point) => point.startsWith("after commit") && ++commits === commit)
  const life = ({ around }: Power, partitions: number) =>
    toTheEnd(kind.make(outside.parts(around, () => pass(4))), store(around, inner), { partitions })
  const all = Effect.gen(function*() {
    yield* live(power, life(power, from))
    const [head] = yield* inner.list(`${kind.name.split(" ")[0]}`)
    yield* life(new Power(), to)
    const rows = yield* Effect.forEach(
      sinks,
      ([name, { contents }]) => Effect.map(contents, (rows) => [name, rows] as const)
    )
    return { epoch: head?.epoch, outcome: yield* outside.outcome, rows: new Map<string, Rows>(rows) }
  })
  const what = `from ${from} to ${to} partitions`
  return { ...succeeded(await run(all, 3, { pace: 10 }), what), hasFailed: power.hasFailed }
}

const commitsIn = deep([2], [2, 3, 5])

describe.each<Kind>(
  deep([tumbling(20), session(16), merged(12)], [tumbling(40), sliding(28), session(24), uneven(30), merged(20)])
)("$name", (kind) => {
  it("all pairs of numbers of partitions give the same answer, and the same order per key", async () => {
    const began = performance.now()
    const reference = expected(kind)
    const order = orderOf(kind)
    let pairs = 0
    for (const commit of commitsIn) {
      for (const from of numbers) {
        for (const to of numbers) {
          const what = `commit ${commit}, from ${from} to ${to} partitions`
          const { epoch, hasFailed, outcome, rows } = await rescaled(kind, from, to, commit)
          assert.isTrue(hasFailed, `${what}: there was no such commit`)
          assert.isAbove(epoch ?? 0, 0, what)
          assertSame(outcome, reference, what)
          for (const [name, own] of rows) assert.deepStrictEqual(perKey(own), order[name], `${what}: order in ${name}`)
          pairs++
        }
      }
    }
    assert.strictEqual(pairs, numbers.length ** 2 * commitsIn.length)
    report(`${pairs} restores on other partitions`, began)
  }, deep(60_000, 900_000))
})
