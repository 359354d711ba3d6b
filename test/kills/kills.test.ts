/**
 * The flights job as real processes that are killed, again and again, and stopped and woken when another has taken their job
 * over: its results are those of a run that nobody disturbed.
 *
 * Takes minutes, so that it is no part of the ordinary tests. `MILLRACE_SEED` gives other moments.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { emptyDatabase, Server } from "../servers/postgres.ts"
import { deep } from "../support/deep.ts"
import type { Life } from "./child.ts"
import { Child, sleep } from "./lives.ts"
import { lastEpoch, makeTables, type Place, results, tables } from "./places.ts"

const { MILLRACE_KILLS, MILLRACE_SEED = "20261123" } = process.env
const seed = MILLRACE_SEED === "random" ? Math.floor(Math.random() * 2 ** 32) : Number(MILLRACE_SEED)

/** How many kills per pair of store and sinks. */
const most = Number(MILLRACE_KILLS ?? deep(20, 200))

/** Of so many disturbances one stops a process, and wakes it when another has gone on. */
const stopEvery = 8

const dataset = "flights-5k"
/** As slow as it takes for a score of lives of one run. */
const perSecond = 800

/** mulberry32 */
const randomOf = (state: number) => () => {
  state = (state + 0x6d2b79f5) | 0
  let t = Math.imul(state ^ (state >>> 15), 1 | state)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
}

/** Makes an empty place; it goes with the scope. */
type Make = Effect.Effect<string, unknown, Scope.Scope>

interface Tally {
  kills: number
  /** Those between the first checkpoint and the last. */
  inside: number
  /** By a signal that the process sent itself, beside a side effect. */
  atEffects: number
  stops: number
  /** Those that nobody could take over from, because they stood still with a lock that all need. */
  locked: number
  /** Those that woke to a typed refusal. */
  fenced: number
  runs: number
  /** From the birth of a process that goes on, in milliseconds: until it was ready to begin, and until its first epoch. */
  readonly recoveries: Array<number>
  /** The same of those that have taken over from one that stands still, and may hold locks. */
  readonly successions: Array<number>
}

const spread = (millis: ReadonlyArray<number>): string => {
  const sorted = millis.toSorted((a, b) => a - b)
  const [middle, late, last] = [0.5, 0.99, 1].map((share) =>
    Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN)
  )
  return `${middle} ms (p50), ${late} ms (p99), ${last} ms (max)`
}

/** Per output, the rows of each airport in their order: between airports the order is nobody's promise. */
const byKey = (
  rows: ReadonlyArray<Readonly<Record<string, unknown>>>
): Readonly<Record<string, ReadonlyArray<unknown>>> => {
  const found: Record<string, Array<unknown>> = {}
  for (const row of rows) (found[`${row["operator"] ?? ""} ${row["airport"] ?? row["origin"]}`] ??= []).push(row)
  return found
}

/** Side effects to stop beside: what a store does as a whole, and each change to a disk. */
const fits: Readonly<Record<Place["pair"], ReadonlyArray<readonly [calls: string, upTo: number]>>> = {
  sqlite: [["^commit", 6]],
  files: [["^commit", 6], ["^rename", 24], ["^sync", 60], ["^write", 40], ["^(open|copy|remove|truncate)", 60], [
    "",
    200
  ]],
  postgres: [["^commit", 6]]
}

class Trial {
  readonly tally: Tally = {
    kills: 0,
    inside: 0,
    atEffects: 0,
    stops: 0,
    locked: 0,
    fenced: 0,
    runs: 0,
    recoveries: [],
    successions: []
  }
  private readonly pair: Place["pair"]
  private readonly make: Make
  private readonly random: () => number

  constructor(pair: Place["pair"], make: Make) {
    this.pair = pair
    this.make = make
    this.random = randomOf(seed)
  }

  private between(least: number, most: number): number {
    return least + Math.floor(this.random() * (most - least + 1))
  }

  private end(signal: "SIGKILL" | "SIGSTOP"): NonNullable<Life["end"]> {
    const kinds = fits[this.pair]
    const [calls, upTo] = kinds[this.between(0, kinds.length - 1)]!
    return { signal, call: this.between(1, upTo), side: this.random() < 0.5 ? "before" : "after", fits: calls }
  }

  private async within<A>(use: (place: Place) => Promise<A>): Promise<A> {
    const scope = await Effect.runPromise(Scope.make())
    try {
      return await use({ pair: this.pair, at: await Effect.runPromise(Scope.provide(this.make, scope)) })
    } finally {
      await Effect.runPromise(Scope.close(scope, Exit.void))
    }
  }

  /** What a run that nobody disturbs leaves in its sinks. */
  undisturbed() {
    return this.within(async (place) => {
      const child = new Child({ place, dataset })
      await child.until(() => child.hasEnded)
      assert.strictEqual(child.end, "finished")
      return results(place)
    })
  }

  /** A run from its beginning to its end, through as many disturbances as fit in. Answers with what it leaves. */
  run() {
    return this.within(async (place) => {
      this.tally.runs++
      for (;;) {
        if (this.tally.kills >= most) {
          const last = new Child({ place, dataset })
          await last.until(() => last.hasEnded)
          assert.strictEqual(last.end, "finished")
          return results(place)
        }
        const isStop = this.between(1, stopEvery) === 1
        const isOver = isStop ? await this.stopped(place) : await this.killed(place)
        if (isOver) return results(place)
      }
    })
  }

  /** One life that is killed. Answers with whether it came to its end before. */
  private async killed(place: Place): Promise<boolean> {
    const atEffect = this.random() < 0.35
    const end = atEffect ? this.end("SIGKILL") : undefined
    // Most die at work, some on their way to it.
    const isEarly = this.random() < 0.15
    const millis = isEarly ? this.between(0, 1000) : this.between(0, 600)
    const child = new Child({ place, dataset, perSecond, ...end === undefined ? {} : { end } })
    if (!isEarly) await child.until(() => child.epochs > 0 || child.end !== undefined)
    // One that does not come to its call dies all the same.
    await child.until(() => child.end !== undefined, end === undefined ? millis : 1500)
    const sentItself = child.hasEnded
    return this.bury(place, child, atEffect && sentItself)
  }

  private async bury(place: Place, child: Child, atEffect: boolean, times = this.tally.recoveries): Promise<boolean> {
    await child.kill()
    const first = child.line("epoch ")
    if (first !== undefined && first.line !== "epoch 1") times.push(first.at)
    if (child.end !== undefined) {
      assert.strictEqual(child.end, "finished", JSON.stringify(child.said))
      return true
    }
    this.tally.kills++
    if (atEffect) this.tally.atEffects++
    // The first one is where the job begins, before it has read anything.
    if (await lastEpoch(place) > 1) this.tally.inside++
    return false
  }

  /** One life that stands still while another goes on, and then wakes. */
  private async stopped(place: Place): Promise<boolean> {
    const end = this.random() < 0.6 ? this.end("SIGSTOP") : undefined
    const old = new Child({ place, dataset, perSecond, ...end === undefined ? {} : { end } })
    if (end === undefined) {
      await old.until(() => old.epochs > 0)
      await sleep(this.between(0, 400))
    } else {
      const isStopping = () => old.line("stopping") !== undefined
      await old.until(() => isStopping() || old.epochs > 0)
      await old.until(isStopping, 1500)
    }
    if (old.line("stopping") === undefined) old.signal("SIGSTOP")
    if (!(await old.stopped())) return this.bury(place, old, false)
    // Before it is in charge it cannot be taken over: it would be the one who does.
    if (old.end !== undefined || old.line("in charge") === undefined) return this.bury(place, old, false)
    const said = old.said.length
    const successor = new Child({ place, dataset, perSecond })
    await successor.until(() => successor.epochs > 2 || successor.end !== undefined)
    if (successor.end?.startsWith("failed ") === true) {
      // SQLite has one lock for a file, and who stands still in a transaction holds it: nobody can take over.
      assert.match(`${this.pair}: ${successor.end}`, /^sqlite: .*locked/, JSON.stringify(successor.said))
      this.tally.locked++
      return this.bury(place, old, false)
    }
    assert.isTrue(successor.epochs > 0 || successor.end === "finished", JSON.stringify(successor.said))
    // Again and again: it may come to the call where it stops itself.
    for (let i = 0; i < 600 && !old.hasEnded && old.end === undefined; i++) {
      old.signal("SIGCONT")
      await old.until(() => old.end !== undefined, 200)
    }
    const { end: last } = old
    await old.kill()
    this.tally.stops++
    assert.match(last ?? "nothing", /^failed (Fenced|SinkFenced): /, JSON.stringify(old.said.slice(said)))
    this.tally.fenced++
    // Whoever has taken over notices nothing.
    await successor.until(() => successor.end !== undefined, this.between(0, 300))
    return this.bury(place, successor, false, this.tally.successions)
  }
}

const trial = async (pair: Place["pair"], make: Make): Promise<void> => {
  const begun = performance.now()
  const one = new Trial(pair, make)
  const { tally } = one
  const expected = await one.undisturbed()
  for (const table of tables) assert.isAbove(expected[table].length, 10, table)
  while (tally.kills < most) {
    const found = await one.run()
    for (const table of tables) {
      assert.deepStrictEqual(byKey(found[table]), byKey(expected[table]), `${table}, seed ${seed}, run ${tally.runs}`)
    }
  }
  console.log(
    `${pair}, seed ${seed}: ${tally.kills} kills in ${tally.runs} runs (${tally.inside} between the first checkpoint and `
      + `the last, ${tally.atEffects} beside a side effect), ${tally.stops} stopped and woken, ${tally.fenced} of them fenced, ${tally.locked} held the lock that a successor needs; `
      + `from birth to a new epoch ${spread(tally.recoveries)} after a kill, ${
        spread(tally.successions)
      } beside one that `
      + `stands still; ${Math.round((performance.now() - begun) / 1000)} s`
  )
  assert.isAtLeast(tally.inside / tally.kills, 0.8)
  assert.strictEqual(tally.fenced, tally.stops)
}

const folder: Make = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "millrace-kills-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
)

const minutes = deep(10, 60)

describe("a job whose process is killed, and stopped and woken, leaves what it would have left", () => {
  it("with checkpoints and results in one SQLite database", () => trial("sqlite", folder), minutes * 60_000)

  it("with checkpoints and results in files", () => trial("files", folder), minutes * 60_000)

  describe("and in one Postgres database", () => {
    // Its own, because the one of other tests comes and goes with them.
    const server = new Server(Number(process.env["PG_KILLS_PORT"] ?? 5449))
    beforeAll(() => server.up(), 300_000)
    afterAll(() => server.down())

    it(
      "with checkpoints and results there",
      () => trial("postgres", Effect.tap(emptyDatabase(server), makeTables)),
      minutes * 60_000
    )
  })
})
