/** The last warnings and errors: which fields are stored, how many, and which never are. */
import { expect, test } from "vitest";
import { createLogger, type LoggerOptions } from "../../src/telemetry/logger.ts";
import { createRecentErrors } from "../../src/telemetry/recent-errors.ts";

const line = (members: object) => JSON.stringify({ level: 40, time: 1_700_000_000_000, ...members });

async function startLog(level: LoggerOptions["level"], isEnabled = true) {
  let text = "";
  const mask = (each: string) => each.replaceAll("a-secret", "***");
  const logger = await createLogger({
    level,
    isEnabled,
    format: "json",
    isAccessLogged: true,
    mask,
    maskKeys: mask,
    sink: {
      write(lines) {
        text += lines;
      },
      flushSync() {},
    },
  });
  return { logger, text: () => text };
}

test("Recent errors are listed newest first, without stack traces, with their request and service", async () => {
  const { logger } = await startLog("info");
  logger.info("nothing of note");
  logger.warn({ service: "api", status: 401, note: "of no list" }, "api responded 401");
  logger.error({ requestId: "r1", err: Object.assign(new Error("it broke, a-secret"), { code: "EPIPE" }) }, "lost");
  const [error, warning, ...more] = logger.recentErrors();
  expect(more).toEqual([]);
  expect(error).toEqual({
    time: expect.stringMatching(/^\d{4}-.*Z$/),
    level: "error",
    message: "lost",
    requestId: "r1",
    cause: "EPIPE: it broke, ***",
  });
  expect(warning).toMatchObject({ level: "warn", message: "api responded 401", service: "api", status: 401 });
  expect(warning).not.toHaveProperty("note");
});

test.each([
  ["error", true],
  ["silent", true],
  ["info", false],
] as const)(
  "Recent errors are collected when the log excludes them, and the log gets no additional line: %s, %s",
  async (level, isOn) => {
    const { logger, text } = await startLog(level, isOn);
    logger.warn("a warning");
    logger.info("a line");
    logger.error("an error");
    logger.flush();
    expect(logger.recentErrors().map(({ message }) => message)).toEqual(["an error", "a warning"]);
    expect(text().includes("an error")).toBe(level === "error");
    expect(text()).not.toMatch(/a warning|a line/);
    expect(logger.isAccessLogged).toBe(false);
  },
);

test("At most fifty recent errors are stored, each of bounded length", () => {
  const recent = createRecentErrors();
  for (let count = 0; count < 200; count++) recent.add(line({ msg: `number ${count}` }));
  recent.add(line({ msg: "x".repeat(10_000) }));
  recent.add(line({ msg: "x".repeat(1_000_000) }));
  const [cut, long, last, ...others] = recent.list();
  expect(cut).toEqual({ time: "2023-11-14T22:13:20.000Z", level: "warn", message: "(the line is too long)" });
  expect(long?.message.length).toBe(501);
  expect(last?.message).toBe("number 199");
  expect(others.length).toBe(47);
});

test("Recent errors contain no query values", () => {
  const recent = createRecentErrors();
  recent.add(line({ msg: "GET https://x.example/a?token=abc&b failed? Yes", err: { message: "/p?k=abc" } }));
  expect(recent.list()).toMatchObject([
    { message: "GET https://x.example/a?token=***&*** failed? Yes", cause: "/p?k=***" },
  ]);
});
