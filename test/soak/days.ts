/** Records of some days, as devices send them: with pauses, in bursts that come too late, and from clocks that are wrong. */
import { Effect, Schema } from "effect"
import { Source } from "millrace"
import type { VirtualTime } from "../support/virtualTime.ts"

export const minute = 60_000
export const hour = 60 * minute

/** Everything comes to rest once in so many hours: windows close, and what is remembered then must be what it always is. */
export const cycle = 6 * hour
/** Nothing is sent for so long before the end of a cycle, besides one record of each split. */
const quiet = 50 * minute
const tick = 20 * minute
/** When to look at what is remembered: before the end of a cycle. */
export const look = 5 * minute

export const bound = minute
export const begin = Date.UTC(2026, 9, 23)

export const Reading = Schema.Struct({ id: Schema.Number, key: Schema.String, at: Schema.Number })
export type Reading = typeof Reading.Type

interface Sent extends Reading {
  /** When it comes, since the beginning. */
  readonly due: number
  /** It may be late: its own split has come further than the bound allows. */
  readonly isRisky: boolean
}

export interface Days {
  readonly splits: ReadonlyArray<ReadonlyArray<Sent>>
  readonly byId: ReadonlyArray<Sent>
}

/** How wrong the clock of a device is: an hour that comes twice in autumn, and one that is skipped in spring. */
const wrong = (split: number, due: number): number => {
  if (split === 0 && due >= 2 * hour && due < 3 * hour) return -hour
  if (split === 1 && due >= 8 * hour && due < 9 * hour) return hour
  return 0
}

export const makeDays = (hours: number, next: (n: number) => number): Days => {
  const byId: Array<Sent> = []
  const splits = [0, 1, 2].map((split) => {
    const sent: Array<Sent> = []
    let latest = -Infinity
    const send = (due: number, key: string, at: number) => {
      const one = { id: byId.length, key, at: begin + at, due, isRisky: at < latest - bound }
      latest = Math.max(latest, at)
      byId.push(one)
      sent.push(one)
    }
    for (let start = 0; start < hours * hour; start += cycle) {
      const idleFrom = start + next(3 * hour)
      const idleTo = idleFrom + hour + next(hour)
      const burst = start + 2 * hour + next(2 * hour)
      let hasBurst = false
      const end = Math.min(start + cycle - quiet, hours * hour)
      for (let due = start + 1000; due < end; due += 15_000 + next(10_000)) {
        if (split === 2 && due > idleFrom && due < idleTo) continue
        send(due, `key ${next(20)}`, due + wrong(split, due) - next(50_000))
        if (split !== 1 || hasBurst || due < burst) continue
        hasBurst = true
        for (let i = 0; i < 40; i++) send(due, `key ${next(20)}`, due - 2 * hour + next(hour))
      }
      if (start + cycle <= hours * hour) send(start + cycle - tick, "tick", start + cycle - tick)
    }
    return sent
  })
  return { splits, byId }
}

/** Gives each record when it is due. `before` is done before each pull. */
export const sourceOf = (
  time: VirtualTime,
  splits: Days["splits"],
  description: string,
  before: (split: number) => Effect.Effect<void, string>,
  opening: Effect.Effect<void> = Effect.void
): Source.Source<Reading, string> =>
  Source.make<Reading, string>({
    description,
    bounded: true,
    replayable: true,
    schema: Reading,
    splits: Effect.succeed(splits.map((_, i) => String(i))),
    open: (split, position) =>
      Effect.gen(function*() {
        yield* opening
        const rows = splits[Number(split)]!
        let at = Number(position ?? 0)
        return {
          pull: (max) =>
            Effect.gen(function*() {
              if (at >= rows.length) return undefined
              yield* time.until(rows[at]!.due)
              yield* before(Number(split))
              const start = at
              while (at < rows.length && at - start < max && rows[at]!.due <= time.elapsed) at++
              const some = rows.slice(start, at).map(({ at, id, key }) => ({ at, id, key }))
              return { rows: some, positionAfter: (taken: number) => start + taken }
            })
        }
      })
  })
