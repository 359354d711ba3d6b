/**
 * Random tests begin with the same seed in every run, so that a change is judged by what it changes. `MILLRACE_SEED` gives
 * another one, or `random` for one that nobody has seen: run the suite so when you look for bugs. `MILLRACE_SHRINK=off` is
 * for those who only want to know whether a test fails.
 */
import * as fc from "fast-check"

const { MILLRACE_SEED: seed = "20261123", MILLRACE_SHRINK: shrink = "on" } = process.env

fc.configureGlobal({ ...seed === "random" ? {} : { seed: Number(seed) }, endOnFailure: shrink === "off" })

/** The same for checks of `effect/Arbitrary`. */
export const arbitrarySeed: { readonly seed?: string } = seed === "random" ? {} : { seed }
