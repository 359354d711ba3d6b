/** How many runs a property gets: `n`, times `MILLRACE_RUNS` (1 unless set; a fraction is fine). */
export const runs = (n: number): number => Math.max(1, Math.round(n * Number(process.env["MILLRACE_RUNS"] ?? "1")))
