/** REDIS_URL and REDIS_PREFIX. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import { ConfigProblems, loadConfig } from "../../src/config/load-config.ts";
import { readRedisUrl, secretsOfRedis } from "../../src/config/redis-settings.ts";

const directory = mkdtempSync(join(tmpdir(), "byteproxy-redis-settings-"));
const load = (processEnv: Record<string, string>) => loadConfig({ directory, processEnv });

async function problemsOf(processEnv: Record<string, string>): Promise<readonly string[]> {
  const error = await load(processEnv).catch((thrown: unknown) => thrown);
  return error instanceof ConfigProblems ? error.problems : [];
}

describe("REDIS_URL", () => {
  test.each([
    ["redis://localhost", ["localhost", 6379, false, undefined, undefined, 0]],
    ["REDIS://db.example:7000/", ["db.example", 7000, false, undefined, undefined, 0]],
    ["rediss://:p%40ss%2F%23@db.example/2", ["db.example", 6379, true, undefined, "p@ss/#", 2]],
    ["redis://user:secret@[::1]:6380/15", ["::1", 6380, false, "user", "secret", 15]],
  ])("%s names a server", (text, expected) => {
    const server = readRedisUrl(text);
    const { host, port, isTls, username, password, database } = server ?? {};
    expect([host, port, isTls, username, password?.reveal(), database]).toEqual(expected);
  });

  test.each([
    "redis://",
    "localhost:6379",
    "http://localhost",
    "redis://user@host",
    "redis://:hunter2@host/x",
    "redis://:hunter2@host/0?db=1",
    "redis://:hunter2#@host",
    "redis://:hunter2%zz@host",
    "redis://:hunter2@host:70000",
  ])("%s is refused, and not shown", async (text) => {
    const problems = await problemsOf({ REDIS_URL: text });
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(
      /^REDIS_URL \(environment\): found a string of \d+ characters, allowed: redis:\/\/host:6379/,
    );
    expect(problems[0]).not.toContain("hunter2");
  });

  test.each(["redis+sentinel://:hunter2@a,b/0/main", "redis+cluster://:hunter2@a:7000"])(
    "%s is refused as not yet supported",
    async (text) => {
      const [problem, ...others] = await problemsOf({ REDIS_URL: text });
      expect(others).toEqual([]);
      expect(problem).toContain("Sentinel and Cluster are not yet supported");
      expect(problem).not.toContain("hunter2");
    },
  );

  test("It may be in a file, and its password is in no text of the configuration, and in no environment of a command", async () => {
    writeFileSync(join(directory, "redis-url"), "redis://:hunter2-long@db:6379\n");
    const config = await load({ REDIS_URL_FILE: "redis-url", OTHER: "has hunter2-long in it", PLAIN: "1" });
    expect(config.settings.REDIS_URL?.host).toBe("db");
    expect(`${inspect(config, { depth: 9 })}${JSON.stringify(config.settings)}`).not.toContain("hunter2");
    expect(secretsOfRedis(config.settings)).toContain("hunter2-long");
    expect(config.commandContext.environment()).toEqual({ PLAIN: "1" });
  });
});

test.each(["", "a b", "x*", "{a}", "a".repeat(65)])(
  "REDIS_PREFIX may not be %j, unless it is empty",
  async (prefix) => {
    expect(await problemsOf({ REDIS_PREFIX: prefix })).toHaveLength(prefix === "" ? 0 : 1);
  },
);
