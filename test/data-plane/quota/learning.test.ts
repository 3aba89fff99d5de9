/** What a credential's quota learns from responses, and what it does without limits in them. */
import { describe, expect, test } from "vitest";
import { discordRules } from "../../../src/data-plane/quota/discord.ts";
import { genericRules } from "../../../src/data-plane/quota/rules.ts";
import { createLedger } from "../../../src/stores/ledger.ts";
import { isSent, limits, openQuota, PREFIX, refusalOf, ticketOf } from "../../support/quota.ts";

const CHANNEL = { method: "POST", path: "/channels/1/messages" };
const discord = (remaining: number, resetMs: number) => ({
  ...limits(5, remaining, resetMs),
  "x-ratelimit-bucket": "abc",
});

describe("Unknown limit", () => {
  test("The first request of a bucket is sent, and the others wait for its response", async () => {
    const { ask, settle, answer } = openQuota();
    const asked = Array.from({ length: 10 }, () => ask());
    await settle();
    expect(asked.filter(isSent)).toHaveLength(1);
    answer(asked[0]!, limits(5, 4, 60_000));
    await settle();
    expect(asked.filter(isSent)).toHaveLength(5);
  });

  test("After a first response without limits, every request is sent", async () => {
    const { ask, settle, answer } = openQuota();
    const asked = Array.from({ length: 100 }, () => ask());
    await settle();
    answer(asked[0]!, {});
    await settle();
    expect(asked.every(isSent)).toBe(true);
  });

  test("An upstream that takes half a minute to respond gets more and more requests", async () => {
    const { ask, clock } = openQuota();
    const asked = Array.from({ length: 500 }, () => ask("a", { maxWaitMs: 10_000 }));
    await clock.run(10_000);
    expect(asked.every(isSent)).toBe(true);
    expect(asked.filter(({ at }) => at === 0)).toHaveLength(1);
  });

  test("A failed response does not prove that there is no limit", async () => {
    const { ask, settle, answer } = openQuota();
    const asked = Array.from({ length: 10 }, () => ask());
    await settle();
    answer(asked[0]!, {}, 502);
    await settle();
    expect(asked.filter(isSent)).toHaveLength(3);
  });
});

describe("Refusal", () => {
  test("A refusal closes the bucket until exactly the time in its Retry-After", async () => {
    const { ask, clock, settle, answer } = openQuota();
    const first = ask();
    await settle();
    answer(first, { "retry-after": "7" }, 429);
    const waiting = ask();
    await clock.run(7_999);
    expect(waiting.at).toBeUndefined();
    await clock.run(1);
    expect(waiting.at).toBe(8_000);
  });

  test("Refusals without a time close the bucket for longer each time, up to a minute; after that each response allows one more request", async () => {
    const { ask, clock, settle, answer } = openQuota();
    const at: (number | undefined)[] = [];
    for (let i = 0; i < 9; i++) {
      const asked = ask("a", { maxWaitMs: 70_000 });
      await clock.run(70_000);
      at.push(asked.at! - 70_000 * i);
      if (i < 8) answer(asked, {}, 429);
      else answer(asked, {}, 200);
    }
    // Since the response to the request before.
    expect(at).toEqual([0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    const asked = [ask(), ask(), ask()];
    await settle();
    expect(asked.filter(isSent)).toHaveLength(2);
  });

  test("A global refusal closes every bucket", async () => {
    const { ask, clock, settle, answer, quota } = openQuota({ rules: discordRules });
    const first = ask("a", CHANNEL);
    await settle();
    answer(first, { "retry-after": "3", "x-ratelimit-global": "true", "x-ratelimit-scope": "global" }, 429);
    const other = ask("a", { path: "/guilds/1" });
    await settle();
    expect(quota.describe(clock.now()).closedUntil).toBe(clock.now() + 4_000);
    await clock.run(4_000);
    expect(other.at).toBe(4_000);
  });
});

describe("Limit", () => {
  test("A limit that other clients spend from is respected as the responses report it", async () => {
    const { ask, clock, settle, answer } = openQuota({ rules: discordRules });
    const first = ask("a", CHANNEL);
    await settle();
    answer(first, discord(4, 5_000));
    const second = ask("a", CHANNEL);
    await settle();
    answer(second, discord(1, 4_900));
    const more = [ask("a", CHANNEL), ask("a", CHANNEL)];
    await settle();
    expect(more.map(isSent)).toEqual([true, false]);
    answer(more[0]!, discord(0, 4_800));
    // After the reset, the first response shows that another client spent: from now on one request is sent first.
    await clock.run(5_100);
    answer(more[1]!, discord(1, 5_000));
    const burst = Array.from({ length: 5 }, () => ask("a", CHANNEL));
    await settle();
    expect(burst.filter(isSent)).toHaveLength(1);
    answer(burst[0]!, discord(0, 5_000));
    await clock.run(5_100);
    expect(burst.filter(isSent)).toHaveLength(2);
  });

  test("A changed limit applies from the next window on", async () => {
    const { ask, clock, settle, answer } = openQuota({ rules: discordRules });
    const first = ask("a", CHANNEL);
    await settle();
    answer(first, discord(0, 1_000));
    await clock.run(1_001);
    const second = ask("a", CHANNEL);
    await settle();
    answer(second, { ...discord(1, 5_000), "x-ratelimit-limit": "2" });
    const more = [ask("a", CHANNEL), ask("a", CHANNEL)];
    await settle();
    expect(more.map(isSent)).toEqual([true, false]);
  });

  test("Responses that overtake each other do not make a limit larger", async () => {
    const { ask, settle, answer, clock } = openQuota();
    const first = ask();
    await settle();
    answer(first, limits(5, 4, 60_000));
    const asked = Array.from({ length: 6 }, () => ask());
    await settle();
    expect(asked.filter(isSent)).toHaveLength(4);
    // Written at the same time, and received four seconds apart: it is the same window.
    answer(asked[3]!, limits(5, 0, 60_000));
    await clock.run(4_000);
    answer(asked[0]!, limits(5, 3, 60_000));
    await settle();
    expect(asked.filter(isSent)).toHaveLength(4);
  });

  test("An unsent request is refunded, and a request without a response is not", async () => {
    const { ask, settle, answer } = openQuota();
    const first = ask();
    await settle();
    answer(first, limits(5, 2, 30_000));
    const asked = [ask(), ask(), ask(), ask()];
    await settle();
    ticketOf(asked[0]!).unused();
    ticketOf(asked[1]!).lost();
    await settle();
    expect(asked.map(isSent)).toEqual([true, true, true, false]);
  });

  test.each([
    ["a limit of 0 with 0 left", limits(0, 0, 60_000)],
    [
      "a reset in the past",
      { ...limits(5, 0, 0), "x-ratelimit-reset-after": undefined, "x-ratelimit-reset": "1700000000" },
    ],
    [
      "a reset in a year",
      { ...limits(5, 0, 0), "x-ratelimit-reset-after": undefined, "x-ratelimit-reset": String(1_831_536_000) },
    ],
    ["a limit of 10^14", limits(1e14, 1e14 - 1, 60_000)],
    ["more left than the limit", limits(5, 500, 60_000)],
  ])("An implausible limit holds back no request: %s", async (_, headers) => {
    const { ask, settle, answer } = openQuota();
    const first = ask();
    await settle();
    answer(first, headers);
    const next = ask("a", { maxWaitMs: 0 });
    await settle();
    expect(isSent(next)).toBe(true);
  });
});

describe("Named bucket", () => {
  test("A bucket that gets a name takes over the waiting requests, and counts those in flight of other channels of the route", async () => {
    const { ask, settle, answer, quota, clock } = openQuota({ rules: discordRules });
    const here = [ask("a", CHANNEL), ask("a", CHANNEL), ask("b", CHANNEL)];
    const other = { method: "POST", path: "/channels/2/messages" };
    const there = ask("a", other);
    await settle();
    answer(here[0]!, discord(1, 5_000));
    await settle();
    expect(here.map(isSent)).toEqual([true, true, false]);
    // Its bucket has a name now, and still waits for the request in flight there.
    const later = ask("a", other);
    await settle();
    expect([isSent(there), isSent(later)]).toEqual([true, false]);
    answer(there, discord(0, 5_000));
    await settle();
    expect(quota.describe(clock.now()).buckets.map(({ bucket, waiting }) => [bucket, waiting])).toEqual([
      ["abc:1", 1],
      ["abc:2", 1],
    ]);
  });
});

describe("Knowledge", () => {
  test("Windows, closures, names of buckets and the budget of refusals survive a restart", async () => {
    const ledger = createLedger();
    const before = openQuota({ rules: discordRules, ledger });
    const [exhausted, closed] = [before.ask("a", CHANNEL), before.ask("a", { path: "/guilds/1" })];
    await before.settle();
    before.answer(exhausted, discord(0, 60_000));
    before.answer(closed, { "retry-after": "30", "x-ratelimit-scope": "user" }, 429);
    await before.settle();

    const entries = [
      ...ledger.accounts(),
      ["another\n(all)\n(closed)", { limit: 0, remaining: 0, resetsAt: 2e12 }] as const,
    ];
    const after = openQuota({ rules: discordRules, ledger: createLedger({ initial: entries }) });
    after.quota.restore(entries, after.clock.now());
    const asked = [
      after.ask("a", { ...CHANNEL, maxWaitMs: 0 }),
      after.ask("a", { path: "/guilds/1", maxWaitMs: 0 }),
      after.ask(),
    ];
    await after.settle();
    expect(asked.slice(0, 2).map((each) => refusalOf(each).retryAt - after.startedAt)).toEqual([60_001, 31_000]);
    expect(isSent(asked[2]!)).toBe(true);
    expect(after.quota.describe(after.clock.now())).toMatchObject({ closedUntil: null, refusals: 1 });
  });

  test("A closure of all buckets survives a restart", async () => {
    const { quota, ask, clock, settle } = openQuota();
    const account = { limit: 0, remaining: 0, resetsAt: clock.now() + 9_000 };
    quota.restore([[`${PREFIX}(all)\n(closed)`, account]], clock.now());
    const asked = ask("a", { maxWaitMs: 0 });
    await settle();
    expect(refusalOf(asked).retryAt).toBe(account.resetsAt);
  });

  test("Responses to requests without a ticket are learned from, written to the ledger, and shown", async () => {
    const ledger = createLedger();
    const { quota, clock, responseOf } = openQuota({ ledger });
    const route = genericRules.routeOf("GET", "/x");
    quota.observe(route, responseOf({}));
    expect([quota.isIdle, [...ledger.accounts()]]).toEqual([true, []]);
    quota.observe(route, responseOf(limits(5, 3, 60_000)));
    const window = { limit: 5, remaining: 3, resetsAt: clock.now() + 60_001 };
    expect([...ledger.accounts()]).toEqual([[`${PREFIX}\n`, window]]);
    expect(quota.describe(clock.now())).toEqual({
      closedUntil: null,
      refusals: undefined,
      waiting: 0,
      inFlight: 0,
      buckets: [{ bucket: "", windows: [{ name: "", ...window }], inFlight: 0, waiting: 0, closedUntil: null }],
    });
    await clock.run(60_001);
    expect([quota.isIdle, quota.describe(clock.now()).buckets]).toEqual([true, []]);
  });

  test("At most ten thousand buckets are kept", async () => {
    const { quota, clock, responseOf } = openQuota({ rules: discordRules });
    for (let i = 0; i < 12_000; i++) {
      const headers = { ...limits(5, 0, 3_600_000), "x-ratelimit-bucket": "abc" };
      quota.observe(discordRules.routeOf("POST", `/channels/${i}/messages`), responseOf(headers));
    }
    const names = quota.describe(clock.now()).buckets.map(({ bucket }) => bucket);
    expect([names.length, names[0], names.at(-1)]).toEqual([10_000, "abc:2000", "abc:11999"]);
  });

  test("A decision without a ticket stores nothing", () => {
    const { quota, clock } = openQuota({ rules: discordRules });
    const route = discordRules.routeOf(CHANNEL.method, CHANNEL.path);
    const request = { callerId: "a", maxWaitMs: 0, leaseMs: 1_000, route, ...CHANNEL };
    expect(quota.decide(request)).toEqual({ bucket: "POST /channels/:id/messages:1", waitMs: 0 });
    expect(quota.describe(clock.now()).buckets).toEqual([]);
  });
});

describe("Failing ledger", () => {
  test("A ledger that fails holds back no request", async () => {
    const fail = () => Promise.reject(new Error("no connection"));
    const { ask, clock, settle, answer } = openQuota({
      ledger: { reserve: fail, settle: fail, release: fail, forget: fail },
    });
    const asked = Array.from({ length: 4 }, () => ask());
    await settle();
    answer(asked[0]!, limits(5, 4, 60_000));
    await settle();
    expect(asked.every(isSent)).toBe(true);
    ticketOf(asked[1]!).unused();
    ticketOf(asked[2]!).lost();
    answer(asked[3]!, { "retry-after": "1" }, 429);
    const waiting = ask();
    await clock.run(2_000);
    expect(waiting.at).toBe(2_000);
  });
});
