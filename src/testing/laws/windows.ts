/** The laws of window assigners. */
import * as Arbitrary from "effect/Arbitrary"
import * as Window from "../../Window.ts"
import { arbitraryOf, between, type Checks, forAll, holds, type Law, law, same, type Values } from "./law.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface WindowsOptions extends Checks {
  /** Epoch milliseconds to try. By default some around 0, before it, around now, and at the ends of what is possible. */
  readonly timestamps?: Values<number>
}

const day = 86_400_000
const anyTime: Arbitrary.Arbitrary<number> = Arbitrary.map(
  Arbitrary.all([between(0, 4), between(-100, 100), between(-400 * day, 400 * day)]),
  ([kind, near, far]) => [near, far, 1_700_000_000_000 + far, -2_000_000_000_000 + far, 4_000_000_000_000 + far][kind]!
)

/**
 * What windows rely on: a record lies in each of its windows, bounds are whole milliseconds, the same timestamp has the same
 * windows each time, each once, and no window is longer than it says.
 *
 * @since 0.1.0
 * @category laws
 */
export const windows = (self: Window.Window, options: WindowsOptions = {}): ReadonlyArray<Law> => {
  const timestamps = options.timestamps === undefined ? anyTime : arbitraryOf(options.timestamps)
  const always = <A>(name: string, cases: Arbitrary.Arbitrary<A>, property: (value: A) => void): Law =>
    law("window", name, forAll(cases, property, { runs: 300, ...options }))
  const shown = (all: ReadonlyArray<Window.Bounds>) => all.map(({ end, start }) => `[${start}, ${end})`).join(" ")
  // As the author has given them, whatever `assign` makes of them.
  const assigned = (timestamp: number) =>
    self._tag === "Custom" ? self.assign(timestamp) : Window.assign(self, timestamp)

  const laws = [
    always("a timestamp lies in each of its windows", timestamps, (timestamp) => {
      for (const { end, start } of assigned(timestamp)) {
        holds(start <= timestamp && timestamp < end, "start <= timestamp < end", `[${start}, ${end})`)
      }
    }),
    always("bounds are whole milliseconds", timestamps, (timestamp) => {
      for (const { end, start } of assigned(timestamp)) {
        holds(Number.isSafeInteger(start) && Number.isSafeInteger(end), "safe integers", `[${start}, ${end})`)
      }
    }),
    always("a timestamp has the same windows each time", timestamps, (timestamp) => {
      const first = assigned(timestamp).map(({ end, start }) => ({ start, end }))
      assigned(timestamp + 1)
      same(shown(assigned(timestamp)), shown(first))
    }),
    always("no window is given twice", timestamps, (timestamp) => {
      const all = assigned(timestamp).map((bounds) => shown([bounds]))
      same(all.length, new Set(all).size, all.join(" "))
    })
  ]
  if (self._tag === "Custom" && self.maxSizeMillis !== undefined) {
    const most = self.maxSizeMillis
    laws.push(always("no window is longer than maxSize", timestamps, (timestamp) => {
      for (const { end, start } of assigned(timestamp)) {
        holds(end - start <= most, `at most ${most} ms`, `${end - start} ms, [${start}, ${end})`)
      }
    }))
  }
  if (self._tag === "Session") {
    const some = Arbitrary.array(Arbitrary.all([timestamps, between(0, 3 * self.gapMillis)]), { maxLength: 8 })
    laws.push(always("sessions of any order of arrival are the same", some, (moments) => {
      const all = moments.flatMap(([timestamp, near]) => [timestamp, timestamp + near])
      const bounds = (times: ReadonlyArray<number>) => times.flatMap((time) => Window.assign(self, time))
      const expected = shown(Window.coalesce(self, bounds(all.toSorted((a, b) => a - b))))
      same(shown(Window.coalesce(self, bounds(all))), expected)
      let oneByOne: ReadonlyArray<Window.Bounds> = []
      for (const time of all) oneByOne = Window.coalesce(self, [...oneByOne, ...Window.assign(self, time)])
      same(shown(oneByOne), expected, "one by one")
    }))
  }
  return laws
}
