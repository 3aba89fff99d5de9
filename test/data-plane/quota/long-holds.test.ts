/** Holds that end far away: one response must not close a service for days. */
import { describe, expect, test } from "vitest";
import { discordRules } from "../../../src/data-plane/quota/discord.ts";
import { githubRules } from "../../../src/data-plane/quota/github.ts";
import { limitTimes, withTrials } from "../../../src/data-plane/quota/long-hold.ts";
import { isSent, limits, openQuota, refusalOf } from "../../support/quota.ts";

const HOUR_MS = 3_600_000;
const DAY_S = 86_400;

/** A bucket with one response, to a request at time 0. */
async function openAfter(headers: Record<string, string>, status: number, rules = {}) {
  const opened = openQuota(rules);
  const first = opened.ask();
  await opened.settle();
  opened.answer(first, headers, status);
  await opened.settle();
  const askAt = async (ms: number) => {
    await opened.clock.run(opened.startedAt + ms - opened.clock.now());
    const asked = opened.ask("a", { maxWaitMs: 0 });
    await opened.settle();
    return asked;
  };
  return { ...opened, askAt };
}

describe.each([
  ["a refusal with Retry-After", { "retry-after": String(20 * DAY_S) }, 429],
  ["a used-up window", limits(100, 0, 20 * DAY_S * 1_000), 200],
  ["a refusal of all buckets", { "retry-after": String(20 * DAY_S), "x-ratelimit-global": "true" }, 429],
] as const)("After %s that names a time in 20 days", (_, headers, status) => {
  test("One request a minute is sent, and the next refusal says when", async () => {
    const { askAt, startedAt, answer } = await openAfter(headers, status);
    const early = await askAt(59_000);
    expect(refusalOf(early).retryAt).toBe(startedAt + 60_000);
    const trial = await askAt(60_000);
    expect(isSent(trial)).toBe(true);
    expect(isSent(await askAt(61_000))).toBe(false);
    answer(trial, headers, 429);
    expect(isSent(await askAt(119_000))).toBe(false);
    expect(isSent(await askAt(120_000))).toBe(true);
  });

  test("A trial that the upstream accepts ends the hold, and one that fails does not", async () => {
    const { askAt, answer, quota, clock } = await openAfter(headers, status);
    answer(await askAt(60_000), {}, 502);
    expect(isSent(await askAt(61_000))).toBe(false);
    answer(await askAt(120_000), limits(100, 50, 10_000), 200);
    expect(quota.describe(clock.now())).toMatchObject({
      closedUntil: null,
      buckets: [{ closedUntil: null, windows: [{ remaining: 50 }] }],
    });
    for (let i = 0; i < 5; i++) expect(isSent(await askAt(120_001 + i))).toBe(true);
  });

  test("A trial that is refused for a short time is believed", async () => {
    const { askAt, answer } = await openAfter(headers, status);
    answer(await askAt(60_000), { "retry-after": "5" }, 429);
    expect(isSent(await askAt(64_000))).toBe(false);
    expect(isSent(await askAt(66_100))).toBe(true);
  });
});

test("A hold of an hour or less lets nothing through before its end", async () => {
  const { askAt } = await openAfter({ "retry-after": "3500" }, 429);
  for (const ms of [60_000, 600_000, 3_400_000]) expect(isSent(await askAt(ms))).toBe(false);
});

test.each([
  ["github", githubRules],
  ["discord", discordRules],
] as const)("A long hold of %s lets nothing through before its end", async (_, rules) => {
  const { askAt } = await openAfter({ "retry-after": "7200" }, 429, { rules });
  for (const ms of [60_000, 600_000, 7_100_000]) expect(isSent(await askAt(ms))).toBe(false);
});

test("Trials are a minute apart however many requests wait, and callers alternate", async () => {
  const { ask, clock, settle } = await openAfter({ "retry-after": String(20 * DAY_S) }, 429);
  const asked = ["a", "a", "a", "b"].map((caller) => ask(caller, { maxWaitMs: HOUR_MS }));
  await clock.run(60_000);
  await settle();
  expect(asked.map(isSent)).toEqual([true, false, false, false]);
  await clock.run(60_000);
  expect(asked.map(isSent)).toEqual([true, false, false, true]);
});

test("No time in a reading is beyond the limit, and the others stay", () => {
  const window = { name: "", limit: 9, remaining: 0 };
  const reading = {
    windows: [
      { ...window, resetsAt: 50 },
      { ...window, resetsAt: 500 },
    ],
    bucket: "b",
    scope: undefined,
    retryAt: 300,
  };
  expect(limitTimes(reading, 100)).toEqual({
    ...reading,
    windows: [
      { ...window, resetsAt: 50 },
      { ...window, resetsAt: 100 },
    ],
    retryAt: 100,
  });
  expect(limitTimes(reading, 500)).toBe(reading);
});

test.each([
  [HOUR_MS, HOUR_MS],
  [HOUR_MS + 1, 60_000],
  [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY],
])("A hold that ends in %f ms allows a trial after %f ms", (end, at) => {
  expect(withTrials(end, 0, 0)).toBe(at);
});
