/** The deep suite: the files whose tests have more figures than `npm test` has time for, with all of them. */
import { defineConfig } from "vitest/config"
import DeepReporter from "./scripts/deep/reporter.ts"

export default defineConfig({
  test: {
    // A folder that is not there matches nothing, and that is fine.
    include: [
      "test/{simulation,hostile,recovery,laws,compat,soak,process,kills,shutdown}/**/*.test.ts",
      "test/{Aggregate,CheckpointStore,SickSinks,Sink.epochs,StateStore,Watermark,Window}.test.ts",
      "test/machine/**/*.test.ts"
    ],
    setupFiles: ["test/support/seed.ts"],
    pool: "forks",
    maxWorkers: 2,
    // For tests that state none. One that hangs must not hold up all others for long.
    testTimeout: 15 * 60_000,
    hookTimeout: 5 * 60_000,
    env: { MILLRACE_DEEP: "1" },
    passWithNoTests: true,
    reporters: [new DeepReporter()]
  }
})
