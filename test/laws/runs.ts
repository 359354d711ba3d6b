import { deep } from "../support/deep.ts"

/** How many runs a property gets: `n`, times `MILLRACE_RUNS` (1 unless set; a fraction is fine). */
export const runs = (n: number): number => Math.max(1, Math.round(n * Number(process.env["MILLRACE_RUNS"] ?? "1")))

/** How many runs a law gets: as `runs` says, and at least a thousand in the deep suite. */
export const lawRuns = (n: number): number => deep(runs(n), Math.max(1000, runs(n)))
