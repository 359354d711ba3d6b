/**
 * What a benchmark is, and how one is measured: the engine against the same work written by hand, in one process, by turns.
 *
 * The machine's speed drifts, and one loop can run at half the speed in the next process, so only ratios are kept.
 */
import { performance } from "node:perf_hooks"

/** What a run put out, independent of order. Two runs did the same work exactly if these are equal. */
export interface Digest {
  readonly results: number
  readonly hash: number
}

export interface Bench {
  readonly name: string
  /** Makes the input and both sides; a run takes in `laps` times `recordsPerLap` records. */
  readonly prepare: () => {
    readonly recordsPerLap: number
    readonly byHand: (laps: number) => Digest
    readonly byEngine: (laps: number) => Promise<Digest>
    /** Other work to do before anything is timed. */
    readonly before?: () => Promise<void>
  }
}

export interface Measured {
  readonly name: string
  /** The engine's speed as a share of the hand-written one's: the median of all rounds, and the extremes. */
  readonly ratio: number
  readonly least: number
  readonly most: number
  readonly rounds: number
  /** Million records a second: medians. They hold for this process on this machine only. */
  readonly engine: number
  readonly byHand: number
}

export interface Effort {
  readonly rounds: number
  /** How long the engine runs in a round, at least. */
  readonly seconds: number
}

export const median = (numbers: ReadonlyArray<number>): number => {
  const sorted = numbers.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** A hash of three whole numbers, spread so that the sum over all results tells sets of results apart. */
export const hashOf = (a: number, b: number, c: number): number => {
  let hash = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul((b / 1000 | 0) + 0x7f4a7c15, 0xc2b2ae35)
  hash = Math.imul(hash ^ hash >>> 15 ^ c, 0x27d4eb2f)
  return hash ^ hash >>> 13
}

/** Independent of order. */
export const addHash = (sum: number, hash: number): number => (sum + hash) | 0

export const measure = async (bench: Bench, { rounds, seconds }: Effort): Promise<Measured> => {
  const { before, byEngine, byHand, recordsPerLap } = bench.prepare()
  await before?.()
  const timed = async (run: () => Digest | Promise<Digest>) => {
    const start = performance.now()
    const digest = await run()
    return { digest, seconds: (performance.now() - start) / 1000 }
  }
  const round = async (laps: number, engineFirst: boolean) => {
    const first = engineFirst ? await timed(() => byEngine(laps)) : undefined
    const hand = await timed(() => byHand(laps))
    const engine = first ?? await timed(() => byEngine(laps))
    if (engine.digest.results !== hand.digest.results || engine.digest.hash !== hand.digest.hash) {
      throw new Error(
        `${bench.name}: engine and hand-written loop differ: ${JSON.stringify([engine.digest, hand.digest])}`
      )
    }
    return { engine: engine.seconds, hand: hand.seconds }
  }
  // Warm-up, which also tells how many laps a round takes.
  await round(2, false)
  await round(4, true)
  const lap = (await round(8, false)).engine / 8
  const laps = Math.ceil(1.1 * seconds / lap)
  const times: Array<{ readonly engine: number; readonly hand: number }> = []
  for (let i = 0; i < rounds; i++) times.push(await round(laps, i % 2 === 1))
  const ratios = times.map(({ engine, hand }) => hand / engine)
  const millions = laps * recordsPerLap / 1e6
  return {
    name: bench.name,
    ratio: median(ratios),
    least: Math.min(...ratios),
    most: Math.max(...ratios),
    rounds,
    engine: millions / median(times.map(({ engine }) => engine)),
    byHand: millions / median(times.map(({ hand }) => hand))
  }
}
