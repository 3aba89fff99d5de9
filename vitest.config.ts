import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

/**
 * In a process of its own. Discord's packages bring a `fetch` of their own and take the process's dispatcher along; the test of what is
 * not loaded needs a process in which nothing was.
 */
const ALONE = [
  ...["test/scenarios/sdk-anthropic-discord.test.ts", "test/scenarios/sdk-discord-gateway.test.ts"],
  "test/scenarios/without-redis.test.ts",
];

export default defineConfig({
  test: {
    testTimeout: 10_000,
    hookTimeout: 20_000,
    globalSetup: "test/support/built.ts",
    pool: "forks",
    // Modules of user hooks are loaded by Node, as in a gateway.
    server: { deps: { external: [/byteproxy-hooks-/] } },
    // Most tests wait for sockets, processes and clocks, so that three workers keep two cores busy.
    maxWorkers: Math.ceil(availableParallelism() * 1.5),
    projects: [
      // No part of the gateway keeps state in a module, so files may share them: loading them anew was a third of the time.
      { extends: true, test: { name: "gateway", include: ["test/**/*.test.ts"], exclude: ALONE, isolate: false } },
      { extends: true, test: { name: "alone", include: ALONE } },
    ],
  },
});
