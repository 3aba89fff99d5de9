/** The access log: when its lines are written. */
import { expect, test } from "vitest";
import { createLogger } from "../../src/telemetry/logger.ts";
import { accessLineOf } from "../support/access-line.ts";

/** The number of lines in each write. */
async function writesOf(urls: readonly string[]): Promise<number[]> {
  const writes: number[] = [];
  const logger = await createLogger({
    level: "info",
    format: "json",
    isEnabled: true,
    isAccessLogged: true,
    mask: (text) => text,
    maskKeys: (text) => text,
    sink: {
      write: (lines) => void writes.push(lines.split("\n").length - 1),
      flushSync() {},
    },
  });
  for (const url of urls) logger.access(accessLineOf("r", { url }));
  logger.close();
  return writes;
}

test("Lines are written 64 at a time, and fewer of them if their paths are long", async () => {
  expect(await writesOf(Array.from({ length: 130 }, () => "/proxy/api/"))).toEqual([64, 64, 2]);
  const long = `/proxy/api/${"x".repeat(16_000)}`;
  expect(await writesOf([...Array.from({ length: 12 }, () => long), "/proxy/api/"])).toEqual([5, 5, 3]);
});
