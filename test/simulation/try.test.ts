import { it } from "@effect/vitest"
import { schedule } from "./schedules.ts"
import { markers } from "./markers.ts"
it("tries", { timeout: 3_000_000 }, async () => {
  const [from, to] = (process.env.TRY ?? "0-30").split("-").map(Number) as [number, number]
  const hits = new Map<string, number>(markers.map((m) => [m, 0]))
  const began = performance.now()
  let failed = 0, n = from
  const problems = new Map<string, number[]>()
  let worst = 0
  for (; n < to && performance.now() - began < Number(process.env.SECS ?? 60) * 1000; n++) {
    try {
      const r = await schedule(n)
      for (const m of r.seen) hits.set(m, hits.get(m)! + 1)
      worst = Math.max(worst, r.steps / r.cleanSteps)
      if (n % 20 === 0 && (await schedule(n)).fingerprint !== r.fingerprint) console.log("NOT DETERMINISTIC", n)
    } catch (e) {
      failed++
      const key = String((e as Error).message).split("\n")[0]!.replace(/schedule \d+: /, "").slice(0, 160)
      problems.set(key, [...(problems.get(key) ?? []), n])
      if (problems.get(key)!.length === 1) console.log(String((e as Error).message).slice(0, Number(process.env.LEN ?? 500)))
    }
  }
  console.log(`${n - from} run, ${failed} failed, ${((performance.now() - began) / 1000).toFixed(1)} s, worst ${worst}`)
  for (const [k, ns] of problems) console.log(ns.length, k, ns.slice(0, 12).join(","))
  console.log([...hits].sort((a, b) => a[1] - b[1]).map(([m, h]) => `${h} ${m}`).join("\n"))
})
