/** Chance from a seed. */

/** Numbers from 0 to less than 1. */
export type Chance = () => number

/** Every seed starts a sequence of its own, also where it has more than 32 bits. */
const scattered = (seed: number): number => Math.imul(seed + 1, 0x9e3779b1) ^ Math.floor(seed / 2 ** 32)

/** Mulberry32: 32 bits of state, good enough for choices. */
const mulberry = (start: number): Chance => {
  let state = start
  return () => {
    state = state + 0x6d2b79f5 | 0
    let t = Math.imul(state ^ state >>> 15, 1 | state)
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t
    return ((t ^ t >>> 14) >>> 0) / 2 ** 32
  }
}

export const sequence = (seed: number): Chance => mulberry(scattered(seed))

/** Seeds of different purposes are kept apart by their salt. */
export const chance = (seed: number, salt: number): Chance =>
  mulberry(scattered(seed) ^ Math.imul(salt + 1, 0x85ebca6b))

/** A whole number from least to most. */
export const whole = (next: Chance, least: number, most: number): number =>
  least + Math.floor(next() * (most - least + 1))

export const oneOf = <A>(next: Chance, all: readonly [A, ...Array<A>]): A => all[Math.floor(next() * all.length)]!

/** From least to most, where each order of magnitude is as likely as another. */
export const magnitude = (next: Chance, least: number, most: number): number =>
  Math.round(Math.exp(Math.log(least) + next() * (Math.log(most) - Math.log(least))))

/** A hash that goes on, for fingerprints. */
export const mixed = (hash: number, text: string): number => {
  let h = hash
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  return h | 0
}
