import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // They need servers, and have a configuration that starts them.
    exclude: ["test/servers/**", "test/kills/**"],
    setupFiles: ["test/support/seed.ts"],
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 60_000,
    silent: "passed-only"
  }
})
