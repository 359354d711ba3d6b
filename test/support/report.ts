import { expect } from "vitest"
import { isDeep } from "./deep.ts"

/** Says in a deep run what the test at work has counted, and how long that took since `began`. */
export const report = (counts: string, began: number): void => {
  const seconds = ((performance.now() - began) / 1000).toFixed(1)
  if (isDeep) console.log(`${expect.getState().currentTestName ?? "a test"}: ${counts}, ${seconds} s`)
}
