/** Lives with a crash at every point of the first one, and what must come of each. */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { everyPoint, livesOf, type Power, type World } from "../support/crashing.ts"
import { pass, run, succeeded } from "./world.ts"

const seed = 1

/** Sources take their time, so that there are some checkpoints meanwhile. */
export const slowly = () => pass(4)

/** A world, and what came of it. */
export interface Watched<A> extends World {
  readonly outcome: Effect.Effect<A, unknown>
}

/** Lives with these crashes. Answers with the powers of all lives, and that of the last one is sound. */
export const through = async <A>(
  world: Watched<A>,
  crashes: ReadonlyArray<number>,
  pace: number,
  same: (outcome: A, what: string) => void
): Promise<ReadonlyArray<Power>> => {
  const all = Effect.gen(function*() {
    const powers = yield* livesOf(world, crashes)
    return { powers, outcome: yield* world.outcome }
  })
  const { outcome, powers } = succeeded(await run(all, seed, { pace }), `crashes at ${crashes.join(", ")}`)
  const where = powers.flatMap(({ hasFailed, points }, i) => hasFailed ? [`${crashes[i]}, ${points.at(-1)}`] : [])
  same(outcome, `crashes at ${where.join("; ")}`)
  return powers
}

/** Crashes once at every point of the first life. Answers with the points of a life without a crash. */
export const crashed = async <A>(
  make: () => Watched<A>,
  pace: number,
  same: (outcome: A, what: string) => void
): Promise<ReadonlyArray<string>> => {
  const [clean] = await through(make(), [], pace, same)
  const last = await everyPoint(async (n) => (await through(make(), [n], pace, same))[0])
  assert.deepStrictEqual(last!.points.length, clean!.points.length)
  return clean!.points
}

export const countOf = (points: ReadonlyArray<string>, start: string): number =>
  points.filter((point) => point.startsWith(start)).length
