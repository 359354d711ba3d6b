import { defineConfig } from "vitest/config"

/** What runs against real servers, which are started for it and stopped afterwards. */
export default defineConfig({
  test: {
    include: ["test/servers/**/*.test.ts", "test/kills/**/*.test.ts"],
    globalSetup: ["test/servers/setup.ts"],
    setupFiles: ["test/support/seed.ts"],
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    silent: "passed-only"
  }
})
