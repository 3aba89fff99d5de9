/** What answers teach a credential's quota, and what it does where they teach nothing. */
import { describe, expect, test } from "vitest";
import { discordRules } from "../../../src/data-plane/quota/discord.ts";
import { genericRules } from "../../../src/data-plane/quota/rules.ts";
import { createLedger } from "../../../src/stores/ledger.ts";
import { isLetGo, limits, openQuota, PREFIX, refusalOf, ticketOf } from "../../support/quota.ts";

const CHANNEL = { method: "POST", path: "/channels/1/messages" };
const discord = (remaining: number, resetMs: number) => ({
  ...limits(5, remaining, resetMs),
  "x-ratelimit-bucket": "abc",
});

describe("at first", () => {
  test("one goes ahead, and the others wait for what it is told", async () => {
    const { ask, settle, answer } = openQuota();
    const asked = Array.from({ length: 10 }, () => ask());
    await settle();
    expect(asked.filter(isLetGo)).toHaveLength(1);
    answer(asked[0]!, limits(5, 4, 60_000));
    await settle();
    expect(asked.filter(isLetGo)).toHaveLength(5);
  });

  test("an upstream without limits is asked by everybody from its first answer on", async () => {
    const { ask, settle, answer } = openQuota();
    const asked = Array.from({ length: 100 }, () => ask());
    await settle();
    answer(asked[0]!, {});
    await settle();
    expect(asked.every(isLetGo)).toBe(true);
  });

  test("one that takes half a minute to answer is asked by more and more", async () => {
    const { ask, clock } = openQuota();
    const asked = Array.from({ length: 500 }, () => ask("a", { maxWaitMs: 10_000 }));
    await clock.run(10_000);
    expect(asked.every(isLetGo)).toBe(true);
    expect(asked.filter(({ at }) => at === 0)).toHaveLength(1);
  });

  test("what failed proves nothing", async () => {
    const { ask, settle, answer } = openQuota();
    const asked = Array.from({ length: 10 }, () => ask());
    await settle();
    answer(asked[0]!, {}, 502);
    await settle();
    expect(asked.filter(isLetGo)).toHaveLength(3);
  });
});

describe("a refusal", () => {
  test("closes the bucket until the time that it tells, and not a millisecond less", async () => {
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

  test("that says nothing is waited out for longer each time, to a minute, and from then on one more goes after each answer", async () => {
    const { ask, clock, settle, answer } = openQuota();
    const at: (number | undefined)[] = [];
    for (let i = 0; i < 9; i++) {
      const asked = ask("a", { maxWaitMs: 70_000 });
      await clock.run(70_000);
      at.push(asked.at! - 70_000 * i);
      if (i < 8) answer(asked, {}, 429);
      else answer(asked, {}, 200);
    }
    // From when the one before was answered.
    expect(at).toEqual([0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    const asked = [ask(), ask(), ask()];
    await settle();
    expect(asked.filter(isLetGo)).toHaveLength(2);
  });

  test("of all closes all, whatever the bucket", async () => {
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

describe("a limit", () => {
  test("that others spend from is kept to as the answers tell it", async () => {
    const { ask, clock, settle, answer } = openQuota({ rules: discordRules });
    const first = ask("a", CHANNEL);
    await settle();
    answer(first, discord(4, 5_000));
    const second = ask("a", CHANNEL);
    await settle();
    answer(second, discord(1, 4_900));
    const more = [ask("a", CHANNEL), ask("a", CHANNEL)];
    await settle();
    expect(more.map(isLetGo)).toEqual([true, false]);
    answer(more[0]!, discord(0, 4_800));
    // After the reset the first answer tells that somebody else has been there: from then on one goes ahead.
    await clock.run(5_100);
    answer(more[1]!, discord(1, 5_000));
    const burst = Array.from({ length: 5 }, () => ask("a", CHANNEL));
    await settle();
    expect(burst.filter(isLetGo)).toHaveLength(1);
    answer(burst[0]!, discord(0, 5_000));
    await clock.run(5_100);
    expect(burst.filter(isLetGo)).toHaveLength(2);
  });

  test("that changes is the new one from the next window on", async () => {
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
    expect(more.map(isLetGo)).toEqual([true, false]);
  });

  test("is not taken for larger by answers that overtake each other", async () => {
    const { ask, settle, answer, clock } = openQuota();
    const first = ask();
    await settle();
    answer(first, limits(5, 4, 60_000));
    const asked = Array.from({ length: 6 }, () => ask());
    await settle();
    expect(asked.filter(isLetGo)).toHaveLength(4);
    // Written at the same time, and told four seconds apart: it is the same window.
    answer(asked[3]!, limits(5, 0, 60_000));
    await clock.run(4_000);
    answer(asked[0]!, limits(5, 3, 60_000));
    await settle();
    expect(asked.filter(isLetGo)).toHaveLength(4);
  });

  test("has back what was not sent, and not what was sent and lost", async () => {
    const { ask, settle, answer } = openQuota();
    const first = ask();
    await settle();
    answer(first, limits(5, 2, 30_000));
    const asked = [ask(), ask(), ask(), ask()];
    await settle();
    ticketOf(asked[0]!).unused();
    ticketOf(asked[1]!).lost();
    await settle();
    expect(asked.map(isLetGo)).toEqual([true, true, true, false]);
  });

  test.each([
    ["of nothing, with nothing left", limits(0, 0, 60_000)],
    [
      "with a reset in the past",
      { ...limits(5, 0, 0), "x-ratelimit-reset-after": undefined, "x-ratelimit-reset": "1700000000" },
    ],
    [
      "with a reset in a year",
      { ...limits(5, 0, 0), "x-ratelimit-reset-after": undefined, "x-ratelimit-reset": String(1_831_536_000) },
    ],
    ["of a quadrillion", limits(1e14, 1e14 - 1, 60_000)],
    ["with more left than there is", limits(5, 500, 60_000)],
  ])("that makes no sense stops nobody: %s", async (_, headers) => {
    const { ask, settle, answer } = openQuota();
    const first = ask();
    await settle();
    answer(first, headers);
    const next = ask("a", { maxWaitMs: 0 });
    await settle();
    expect(isLetGo(next)).toBe(true);
  });
});

describe("a bucket that is named", () => {
  test("takes along whoever waits, and counts what other channels of the route have in flight", async () => {
    const { ask, settle, answer, quota, clock } = openQuota({ rules: discordRules });
    const here = [ask("a", CHANNEL), ask("a", CHANNEL), ask("b", CHANNEL)];
    const other = { method: "POST", path: "/channels/2/messages" };
    const there = ask("a", other);
    await settle();
    answer(here[0]!, discord(1, 5_000));
    await settle();
    expect(here.map(isLetGo)).toEqual([true, true, false]);
    // Its bucket has a name now, and the one that is in flight there is still waited for.
    const later = ask("a", other);
    await settle();
    expect([isLetGo(there), isLetGo(later)]).toEqual([true, false]);
    answer(there, discord(0, 5_000));
    await settle();
    expect(quota.describe(clock.now()).buckets.map(({ bucket, waiting }) => [bucket, waiting])).toEqual([
      ["abc:1", 1],
      ["abc:2", 1],
    ]);
  });
});

describe("what is known", () => {
  test("outlives the process: windows, closures, names of buckets and the budget of refusals", async () => {
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
    expect(isLetGo(asked[2]!)).toBe(true);
    expect(after.quota.describe(after.clock.now())).toMatchObject({ closedUntil: null, refusals: 1 });
  });

  test("of a closure of all outlives it too", async () => {
    const { quota, ask, clock, settle } = openQuota();
    const account = { limit: 0, remaining: 0, resetsAt: clock.now() + 9_000 };
    quota.restore([[`${PREFIX}(all)\n(closed)`, account]], clock.now());
    const asked = ask("a", { maxWaitMs: 0 });
    await settle();
    expect(refusalOf(asked).retryAt).toBe(account.resetsAt);
  });

  test("is learned from requests that took no ticket, written to the ledger, and shown", async () => {
    const ledger = createLedger();
    const { quota, clock, responseOf } = openQuota({ ledger });
    const route = genericRules.routeOf("GET", "/x");
    quota.observe(route, responseOf({}));
    expect([quota.isIdle, [...ledger.accounts()]]).toEqual([true, []]);
    quota.observe(route, responseOf(limits(5, 3, 60_000)));
    const window = { limit: 5, remaining: 3, resetsAt: clock.now() + 60_001 };
    expect([...ledger.accounts()]).toEqual([[`${PREFIX}\n`, window]]);
    expect(quota.describe(clock.now())).toEqual({
      ...{ closedUntil: null, refusals: undefined, waiting: 0, inFlight: 0 },
      buckets: [{ bucket: "", windows: [{ name: "", ...window }], inFlight: 0, waiting: 0, closedUntil: null }],
    });
    await clock.run(60_001);
    expect([quota.isIdle, quota.describe(clock.now()).buckets]).toEqual([true, []]);
  });

  test("is bounded: of buckets without end ten thousand are kept", async () => {
    const { quota, clock, responseOf } = openQuota({ rules: discordRules });
    for (let i = 0; i < 12_000; i++) {
      const headers = { ...limits(5, 0, 3_600_000), "x-ratelimit-bucket": "abc" };
      quota.observe(discordRules.routeOf("POST", `/channels/${i}/messages`), responseOf(headers));
    }
    const names = quota.describe(clock.now()).buckets.map(({ bucket }) => bucket);
    expect([names.length, names[0], names.at(-1)]).toEqual([10_000, "abc:2000", "abc:11999"]);
  });

  test("is not added to by whoever only asks what would happen", () => {
    const { quota, clock } = openQuota({ rules: discordRules });
    const route = discordRules.routeOf(CHANNEL.method, CHANNEL.path);
    const request = { callerId: "a", maxWaitMs: 0, leaseMs: 1_000, route, ...CHANNEL };
    expect(quota.decide(request)).toEqual({ bucket: "POST /channels/:id/messages:1", waitMs: 0 });
    expect(quota.describe(clock.now()).buckets).toEqual([]);
  });
});

describe("a ledger that fails", () => {
  test("stops nobody", async () => {
    const fail = () => Promise.reject(new Error("no connection"));
    const { ask, clock, settle, answer } = openQuota({ ledger: { reserve: fail, settle: fail, release: fail } });
    const asked = Array.from({ length: 4 }, () => ask());
    await settle();
    answer(asked[0]!, limits(5, 4, 60_000));
    await settle();
    expect(asked.every(isLetGo)).toBe(true);
    ticketOf(asked[1]!).unused();
    ticketOf(asked[2]!).lost();
    answer(asked[3]!, { "retry-after": "1" }, 429);
    const waiting = ask();
    await clock.run(2_000);
    expect(waiting.at).toBe(2_000);
  });
});
