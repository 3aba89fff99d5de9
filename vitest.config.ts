import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 10_000,
    hookTimeout: 20_000,
    globalSetup: "test/support/built.ts",
    pool: "forks",
    // Most tests wait for sockets and clocks: a core to spare would be a core that idles.
    maxWorkers: "100%",
  },
});
