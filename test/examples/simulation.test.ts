import { describe, expect, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import * as Path from "node:path"
import { promisify } from "node:util"

// Beside the example, where its readers look for it.
import "../../examples/14-simulation/job.test.ts"

const root = Path.join(import.meta.dirname, "../..")

describe("examples/14-simulation", () => {
  it("says what is wrong with both jobs, and how to see it again", async () => {
    const { stdout } = await promisify(execFile)(process.execPath, ["examples/14-simulation/main.ts"], { cwd: root })
    const [first, second, ...others] = stdout.split(/^(?=Job )/m)
    expect(others).toEqual([])
    expect(first).toMatch(/^Job "receipts" does not come to the same results under seed \d+: 1 fault, \d records? /)
    expect(first).toMatch(/\d+ made up: \{cents: \d+, number: \d+/)
    // The marker was moved, and what it stands for was not written.
    expect(second).toMatch(/^Job "receipts" does not come to the same results under seed \d+: 1 fault, \d+ records? /)
    expect(second).toMatch(/ {2}1\. life 1: crash while sink "receipts" is to apply epoch \d+/)
    expect(second).toMatch(/\d+ lost: \{cents: \d+, shop: /)
    expect(second).not.toMatch(/made up/)
    expect(stdout.match(/Replay it with Simulation\.run\(world, \{ plan: /g)).toHaveLength(2)
  })
})
