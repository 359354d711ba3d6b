/**
 * The deep suite: the files whose tests have more figures than `npm test` has time for, with all of them. A part of it:
 * `npm run test:deep -- test/soak`.
 */
import { existsSync } from "node:fs"
import { defineConfig } from "vitest/config"
import DeepReporter from "./scripts/deep/reporter.ts"

/** Servers are started where tests that talk to them are among those that run. */
const filters = process.argv.slice(2).filter((argument) => argument.startsWith("test/"))
const talks = filters.length === 0 || filters.some((filter) => /^test\/(kills|servers)/.test(filter))
const servers = "./test/servers/setup.ts"

export default defineConfig({
  test: {
    // A folder that is not there matches nothing, and that is fine.
    include: [
      "test/{simulation,hostile,recovery,laws,compat,soak,process,kills,servers,shutdown}/**/*.test.ts",
      "test/{Aggregate,CheckpointStore,SickSinks,Sink.epochs,StateStore,Watermark,Window}.test.ts",
      "test/machine/**/*.test.ts"
    ],
    globalSetup: talks && existsSync(servers) ? [servers] : [],
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
