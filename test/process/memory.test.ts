import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import * as Path from "node:path"
import { promisify } from "node:util"
import { deep } from "../support/deep.ts"
import { report } from "../support/report.ts"

const root = Path.join(import.meta.dirname, "../..")

interface Figures {
  readonly looks: number
  readonly heapGrowth: number
  readonly overfull: ReadonlyArray<string>
  readonly peaks: Readonly<Record<string, string>>
  readonly ahead: number
  readonly bound: number
  readonly asked: number
  readonly written: number
  readonly checkpoints: number
}

const records = deep(200_000, 10_000_000)

const run = async (partitions: number): Promise<Figures> => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [
      "--max-old-space-size=256",
      "--expose-gc",
      "--disable-warning=ExperimentalWarning",
      "test/process/slowSink.ts",
      String(partitions),
      String(records)
    ],
    { cwd: root }
  )
  return JSON.parse(stdout)
}

describe.concurrent("a sink a hundred times slower than its source", () => {
  for (const partitions of [1, 4]) {
    it(`needs no more memory than its buffers say, ${partitions} partitions`, async () => {
      const began = performance.now()
      const { ahead, asked, bound, checkpoints, heapGrowth, looks, overfull, written } = await run(partitions)
      assert.deepStrictEqual([asked, written], [records, 2 * records])
      assert.isAbove(looks, 1000)
      assert.isAbove(checkpoints, 5)
      assert.deepStrictEqual(overfull, [])
      assert.isAtMost(ahead, bound)
      assert.isAtMost(heapGrowth / 2 ** 20, 64)
      report(
        `${partitions} partitions, ${records} records, ${looks} looks, ${checkpoints} checkpoints, ${ahead} of ${bound} records ahead, heap +${
          (heapGrowth / 2 ** 20).toFixed(1)
        } MB`,
        began
      )
    }, deep(60_000, 2_400_000))
  }
})
