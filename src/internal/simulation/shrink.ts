/** Makes a plan that fails smaller, for as long as it fails. */
import type { Fault, Place, Plan } from "./plan.ts"

/** A plan that fails, as it went. */
export interface Failing {
  readonly plan: Plan
  readonly nearby: ReadonlyMap<Fault, ReadonlyArray<Place>>
}

/** Answers with what came of a plan, if it fails. */
export type Fails<A extends Failing> = (plan: Plan) => Promise<A | undefined>

/** Splits of the sources that can be read in part, with how many records they have. */
export type Sizes = Readonly<Record<string, ReadonlyArray<number>>>

type Ranges = ReadonlyArray<readonly [number, number]>

const lengthOf = (ranges: Ranges): number => ranges.reduce((sum, [from, until]) => sum + until - from, 0)

/** Ranges without `count` of their records, from the one at `start`. */
const without = (ranges: Ranges, start: number, count: number): Ranges => {
  const left: Array<readonly [number, number]> = []
  const add = (from: number, until: number) => {
    if (from >= until) return
    const last = left.at(-1)
    if (last !== undefined && last[1] === from) left[left.length - 1] = [last[0], until]
    else left.push([from, until])
  }
  let at = 0
  for (const [from, until] of ranges) {
    const size = until - from
    const cutFrom = Math.min(Math.max(start - at, 0), size)
    const cutUntil = Math.min(Math.max(start + count - at, 0), size)
    add(from, from + cutFrom)
    add(from + Math.max(cutUntil, cutFrom), until)
    at += size
  }
  return left
}

export const recordsIn = (plan: Plan, sizes: Sizes): number =>
  Object.entries(sizes).reduce(
    (sum, [name, splits]) =>
      sum + splits.reduce((sum, size, split) => sum + lengthOf(rangesOf(plan, name, split, size)), 0),
    0
  )

const rangesOf = (plan: Plan, name: string, split: number, size: number): Ranges =>
  plan.records[name]?.[split] ?? [[0, size]]

const withRanges = (plan: Plan, sizes: Sizes, name: string, split: number, ranges: Ranges): Plan => ({
  ...plan,
  records: {
    ...plan.records,
    [name]: sizes[name]!.map((size, i) =>
      i === split ? ranges : rangesOf(plan, name, i, size)
    ) as Plan["records"][string]
  }
})

/** A fault taken out; where it ended its life, what struck the next life strikes this one. */
const fewer = (plan: Plan, from: number, count: number): ReadonlyArray<Plan> => {
  const faults = plan.faults.filter((_, i) => i < from || i >= from + count)
  const ending = plan.faults.slice(from, from + count)
    .filter(({ does }) => does === "crash" || does === "pause" || does === "stop")
  const plain = { ...plan, faults }
  if (ending.length === 0) return [plain]
  const first = Math.min(...ending.map(({ life }) => life))
  const moved = faults.map((fault) => fault.life > first ? { ...fault, life: fault.life - ending.length } : fault)
  return moved.some(({ life }) => life < 1) ? [plain] : [{ ...plan, faults: moved }, plain]
}

/** The first records of every source, so many of them. */
const beginnings = (plan: Plan, sizes: Sizes, count: number): Plan => ({
  ...plan,
  records: Object.fromEntries(
    Object.entries(sizes).map(([name, splits]) =>
      [name, splits.map((size): Plan["records"][string][number] => [[0, Math.min(size, count)]])] as const
    )
  )
})

/** What chance may do in worlds as small as can be. */
export type Explores<A extends Failing> = (plan: Plan, kinds: ReadonlySet<Fault["does"]>) => Promise<A | undefined>

/**
 * The smallest plan that could be found in so many tries, how it went, and how many tries there were.
 *
 * A plan says where its faults strike, and that is elsewhere once there are fewer records. So worlds of a few records are
 * searched first, under fresh seeds and faults of the same kinds: where little happens, chance finds the place again.
 */
export const shrink = async <A extends Failing>(
  first: A,
  sizes: Sizes,
  fails: Fails<A>,
  explores: Explores<A>,
  mostTries: number
): Promise<{ readonly found: A; readonly tries: number }> => {
  let found = first
  let tries = 0
  const attempt = async (plan: Plan): Promise<boolean> => {
    if (tries >= mostTries) return false
    tries++
    const came = await fails(plan)
    if (came === undefined) return false
    found = came
    return true
  }
  /** With other seeds, too: with less to do, fibers take turns differently. */
  const attemptOften = async (plan: Plan, seeds = 3): Promise<boolean> => {
    for (let i = 0; i < seeds; i++) if (await attempt({ ...plan, seed: plan.seed + i })) return true
    return false
  }

  const faults = async () => {
    if (found.plan.faults.length > 0 && await attemptOften({ ...found.plan, faults: [] })) return
    for (let size = found.plan.faults.length >> 1; size >= 1; size >>= 1) {
      for (let from = 0; from < found.plan.faults.length;) {
        let isLess = false
        for (const plan of fewer(found.plan, from, size)) if ((isLess = await attempt(plan))) break
        if (!isLess) from += size
      }
    }
  }
  const simpler = async () => {
    const { plan } = found
    const ones = plan.partitions.map(() => 1)
    if (plan.partitions.some((n) => n !== 1)) await attemptOften({ ...plan, partitions: ones }, 2)
    const last = Math.max(0, ...found.plan.faults.map(({ life }) => life))
    const lives = found.plan.partitions.slice(0, last)
    if (last + 1 < found.plan.partitions.length) {
      await attempt({ ...found.plan, partitions: [...lives, found.plan.partitions.at(-1)!] })
    }
    if (found.plan.faults.some(({ loss }) => loss !== undefined)) {
      const kept = found.plan.faults.map(({ loss: _, ...fault }) => fault)
      await attemptOften({ ...found.plan, faults: kept }, 2)
    }
    if (found.plan.store !== "memory") await attemptOften({ ...found.plan, store: "memory" }, 2)
  }
  const records = async () => {
    for (const [name, splits] of Object.entries(sizes)) {
      for (const [split, size] of splits.entries()) {
        const ranges = () => rangesOf(found.plan, name, split, size)
        for (let part = Math.ceil(lengthOf(ranges()) / 2); part >= 1; part = part === 1 ? 0 : Math.ceil(part / 2)) {
          // From the end: what comes last is needed least.
          for (let from = lengthOf(ranges()) - part; from > -part; from -= part) {
            const left = without(ranges(), Math.max(0, from), Math.min(part, part + from))
            await attemptOften(withRanges(found.plan, sizes, name, split, left))
          }
        }
      }
    }
  }
  /** A crash somewhere between two operations becomes one at a call, if that does as well. */
  const named = async () => {
    for (const [fault, places] of found.nearby) {
      const at = found.plan.faults.indexOf(fault)
      if (at < 0 || fault.does === "stop") continue
      const plans = places.map((place) => ({
        ...found.plan,
        faults: found.plan.faults.map((one, i) => i === at ? { ...fault, at: place } : one)
      }))
      for (const plan of plans) if (await attempt(plan)) break
    }
  }
  /** Smaller worlds first, so that what is found is small; with one kind of fault before with all. */
  const small = async () => {
    if (found.plan.faults.length === 0) return
    const origin = found.plan
    const kinds = [...new Set(found.plan.faults.map(({ does }) => does))]
    // A crash is simpler than anything else that ends a life.
    const single = kinds.includes("pause") || kinds.includes("stop") ? new Set(["crash" as const, ...kinds]) : kinds
    const attempts = [...Array.from(single, (kind) => [kind]), ...kinds.length > 1 ? [kinds] : []]
    const counts = [1, 2, 3, 5, 8, 13, 21].filter((count) => count < recordsIn(found.plan, sizes))
    const first: ReadonlyArray<readonly [number, ReadonlyArray<Fault["does"]>, number]> = attempts[0]![0] === "crash"
      ? counts.slice(0, 3).map((count) => [count, ["crash"], 16])
      : []
    const others = counts.flatMap((count) =>
      attempts.map((kinds) => [count, kinds, Math.ceil(12 / attempts.length) + 2] as const)
    )
    for (const [records, attempt, seeds] of [...first, ...others]) {
      for (let i = 0; i < seeds; i++) {
        if (tries++ >= mostTries / 2) return
        const seed = origin.seed + 1000 * records + i
        const came = await explores(beginnings({ ...origin, seed, faults: [] }, sizes, records), new Set(attempt))
        if (came === undefined) continue
        found = came
        return
      }
    }
  }
  await faults()
  await small()
  await faults()
  await simpler()
  for (let before = Infinity; before > recordsIn(found.plan, sizes) && tries < mostTries;) {
    before = recordsIn(found.plan, sizes)
    await records()
    await faults()
  }
  await named()
  await faults()
  return { found, tries }
}
