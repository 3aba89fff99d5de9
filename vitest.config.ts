import { defineConfig } from "vitest/config";

/** SDKs that change what is global to a process: `fetch`, its dispatcher, its classes. */
const SDKS = "test/scenarios/{sdk-*,real-clients}.test.ts";

export default defineConfig({
  test: {
    testTimeout: 10_000,
    hookTimeout: 20_000,
    globalSetup: "test/support/built.ts",
    pool: "forks",
    // Most tests wait for sockets and clocks: a core to spare would be a core that idles.
    maxWorkers: "100%",
    projects: [
      // No part of the gateway keeps state in a module, so files may share them: loading them anew was a third of the time.
      { extends: true, test: { name: "gateway", include: ["test/**/*.test.ts"], exclude: [SDKS], isolate: false } },
      { extends: true, test: { name: "sdks", include: [SDKS] } },
    ],
  },
});
