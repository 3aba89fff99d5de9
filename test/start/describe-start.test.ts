/** The lines that a start logs: who can reach the gateway, and a bounded number of warnings. */
import { describe, expect, test } from "vitest";
import { logWarnings, startLines } from "../../src/start/describe-start.ts";
import { load } from "../config/temp-folder.ts";

const KEY = { MANAGEMENT_API_KEY: "a-management-key-0123456789", MANAGEMENT_PORT: "3421" };

const containerLine = async (env: Record<string, string>) => {
  const config = await load({}, env);
  const lines = startLines({ config, services: [], url: "http://127.0.0.1:3420", isInContainer: true });
  return lines.find((line) => line.includes("inside a container"));
};

test("A start on loopback inside a container says that outside clients cannot reach it, except a second listener elsewhere", async () => {
  expect(await containerLine({})).toContain("clients outside of it cannot reach the gateway;");
  expect(await containerLine({ ...KEY, MANAGEMENT_HOST: "127.0.0.1" })).toContain("cannot reach the gateway;");
  expect(await containerLine({ ...KEY, MANAGEMENT_HOST: "0.0.0.0" })).toContain("cannot reach /proxy;");
});

describe("warnings", () => {
  const logged = (count: number) => {
    const lines: unknown[] = [];
    logWarnings(
      { warn: (line: unknown) => void lines.push(line) },
      Array.from({ length: count }, (_, i) => `warning ${i}`),
    );
    return lines;
  };

  test.each([0, 1, 100])("The log has each of %d warnings", (count) => {
    expect(logged(count)).toEqual(Array.from({ length: count }, (_, i) => `warning ${i}`));
  });

  test("The log has the first hundred of many warnings, and the number of the others", () => {
    const lines = logged(50_000);
    expect(lines).toHaveLength(101);
    expect(lines.at(-1)).toBe("49900 more warnings: the check config of GET /manage/diagnostics lists all warnings");
    expect(logged(101).at(-1)).toMatch(/^1 more warning: /);
  });
});
