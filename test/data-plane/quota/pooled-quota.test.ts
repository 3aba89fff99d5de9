/** Several credentials in one queue, over simulated time: none is overspent, none is left unused, and callers alternate. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Injection, PoolMember } from "../../../src/data-plane/credential/credential-provider.ts";
import { discordRules } from "../../../src/data-plane/quota/discord.ts";
import { githubRules } from "../../../src/data-plane/quota/github.ts";
import { genericRules } from "../../../src/data-plane/quota/rules.ts";
import { openPooledQuota } from "../../support/pooled-quota.ts";
import { QUOTA_STYLES } from "../../support/quota-upstream.ts";

const decimals = QUOTA_STYLES["Discord, with decimals"] as NonNullable<(typeof QUOTA_STYLES)[string]>;
const epoch = QUOTA_STYLES["X-RateLimit, epoch"] as NonNullable<(typeof QUOTA_STYLES)[string]>;
const vendors = {
  generic: { rules: genericRules, headersOf: decimals },
  discord: { rules: discordRules, headersOf: decimals },
  github: { rules: githubRules, headersOf: epoch },
} as const;

const counts = (values: readonly (string | number)[]) => {
  const found = new Map<string | number, number>();
  for (const value of values) found.set(value, (found.get(value) ?? 0) + 1);
  return found;
};

describe("A pool", () => {
  test("For any quotas, callers and latencies the upstream refuses no request, and no request waits while a credential is free", async () => {
    const setup = fc.record({
      vendor: fc.constantFrom(...(Object.keys(vendors) as (keyof typeof vendors)[])),
      credentials: fc.array(
        fc.record({ limit: fc.integer({ min: 1, max: 8 }), windowMs: fc.integer({ min: 2_000, max: 9_000 }) }),
        { minLength: 2, maxLength: 4 },
      ),
      callers: fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 4 }),
      latencies: fc.array(fc.integer({ min: 2, max: 400 }), { minLength: 1, maxLength: 5 }),
    });
    await fc.assert(
      fc.asyncProperty(setup, async ({ vendor, credentials, callers, latencies }) => {
        let at = 0;
        const latencyMs = () => latencies[at++ % latencies.length] as number;
        const { ask, clock, sent, pooled, isAnyFree } = openPooledQuota(credentials, { ...vendors[vendor], latencyMs });
        const asked = callers.flatMap((count, caller) => Array.from({ length: count }, () => ask(`caller ${caller}`)));
        // They enter the queue in a later tick.
        await clock.run(10);
        for (let i = 0; i < 4_000 && pooled.waiting > 0; i++) {
          expect(isAnyFree()).toBe(false);
          await clock.run(250);
        }
        expect(pooled.waiting).toBe(0);
        const outcomes = await Promise.all(asked);
        await clock.run(1_000);
        expect(outcomes.every((outcome) => outcome !== undefined && !("reason" in outcome))).toBe(true);
        expect(sent.filter(({ isRefused }) => isRefused)).toEqual([]);
      }),
      { numRuns: 25 },
    );
  });

  test("For any refusals, renewals, departures and maximum waits no request waits while its caller has a free credential", async () => {
    const caller = fc.constantFrom("a", "b", "c");
    const setup = fc.record({
      credentials: fc.array(fc.record({ limit: fc.integer({ min: 1, max: 4 }), windowMs: fc.constant(4_000) }), {
        minLength: 2,
        maxLength: 4,
      }),
      renewMs: fc.constantFrom(undefined, 700),
      events: fc.array(
        fc.record({
          afterMs: fc.integer({ min: 0, max: 900 }),
          kind: fc.constantFrom("ask", "ask", "ask", "refuse", "leave"),
          caller,
          at: fc.nat(3),
          maxWaitMs: fc.constantFrom(500, 3_000, 60_000),
        }),
        { minLength: 5, maxLength: 40 },
      ),
    });
    await fc.assert(
      fc.asyncProperty(setup, async ({ credentials, renewMs, events }) => {
        const voterOf = (id: string) => id;
        const opened = openPooledQuota(credentials, { ...vendors.generic, renewMs, restMs: 2_500, voterOf });
        const { ask, clock, pool, members, sent, pooled, isAnyFree } = opened;
        const waiting = new Map<() => void, string>();
        const outcomes: Promise<unknown>[] = [];
        const check = () => {
          for (const voter of waiting.values()) expect([voter, isAnyFree("/x", voter)]).toEqual([voter, false]);
        };
        for (const { afterMs, kind, caller: id, at, maxWaitMs } of events) {
          await clock.run(afterMs);
          check();
          const member = members[at % members.length] as PoolMember;
          if (kind === "refuse") void pool.refused(member, member.provider.get() as Injection, id);
          else if (kind === "leave") [...waiting.keys()].at(at)?.();
          else {
            let leave: (() => void) | undefined;
            const onQueued = (stop: () => void) => {
              leave = stop;
              waiting.set(stop, id);
            };
            outcomes.push(ask(id, { maxWaitMs, onQueued }).finally(() => leave && waiting.delete(leave)));
          }
          await clock.run(1);
          check();
        }
        for (let i = 0; i < 400 && pooled.waiting > 0; i++) {
          await clock.run(200);
          check();
        }
        expect([pooled.waiting, waiting.size]).toEqual([0, 0]);
        await Promise.all(outcomes);
        await clock.run(1_000);
        expect(sent.filter(({ isRefused }) => isRefused)).toEqual([]);
      }),
      { numRuns: 25 },
    );
  });

  test("Callers alternate in one queue, and each credential spends its whole quota in each window", async () => {
    const credentials = [
      { limit: 5, windowMs: 10_000 },
      { limit: 5, windowMs: 10_000 },
      { limit: 10, windowMs: 10_000 },
    ];
    const { ask, clock, sent } = openPooledQuota(credentials, vendors.discord);
    for (let i = 0; i < 90; i++) void ask("greedy");
    for (let i = 0; i < 30; i++) void ask("modest");
    await clock.run(100_000);
    expect(counts(sent.map(({ credential }) => credential))).toEqual(
      new Map([
        [0, 30],
        [1, 30],
        [2, 60],
      ]),
    );
    // Until the modest caller has nothing left to ask, both are served alike.
    const last = sent.findLastIndex(({ callerId }) => callerId === "modest");
    const shares = counts(sent.slice(0, last + 1).map(({ callerId }) => callerId));
    expect(Math.abs((shares.get("greedy") ?? 0) - 30)).toBeLessThanOrEqual(3);
    const span = (sent.at(-1)?.at ?? 0) - (sent[0]?.at ?? 0);
    expect(span).toBeLessThan(6 * 10_000);
  });

  test("The credential with the most left is used, one of unknown quota before it, and equal ones in turn", async () => {
    const credentials = [
      { limit: 4, windowMs: 60_000 },
      { limit: 9, windowMs: 60_000 },
      { limit: 6, windowMs: 60_000 },
    ];
    const { ask, clock, sent } = openPooledQuota(credentials, vendors.generic);
    const used: number[] = [];
    for (let i = 0; i < 12; i++) {
      await ask("a");
      await clock.run(100);
      used.push(sent.at(-1)?.credential ?? -1);
    }
    // Left after the first three: 3, 8 and 5.
    expect(used).toEqual([0, 1, 2, 1, 1, 1, 2, 1, 2, 1, 2, 0]);
  });

  test("A request that comes at the moment in which a credential becomes free does not overtake those that wait", async () => {
    const credentials = [
      { limit: 1, windowMs: 5_000 },
      { limit: 1, windowMs: 7_000 },
    ];
    /** @param comesAt ms since the start. @returns who was sent, and when. */
    const run = async (comesAt: number) => {
      const { ask, clock, sent } = openPooledQuota(credentials, vendors.discord);
      const startedAt = clock.now();
      for (let i = 0; i < 2; i++) await ask("first");
      await clock.run(50);
      // Its timer was set earlier, so it fires before that of the waiting request.
      clock.after(startedAt + comesAt - clock.now(), () => void ask("late"));
      void ask("waiting");
      await clock.run(20_000);
      return sent.slice(2).map(({ callerId, at }) => [callerId, at - startedAt] as const);
    };
    const [[, arrivedAt] = ["", 0]] = await run(60_000);
    const sent = await run(arrivedAt - 10);
    expect(sent.map(([callerId]) => callerId)).toEqual(["waiting", "late"]);
  });

  test("A closed credential delays no request, and its quota serves again after the time that the upstream gave", async () => {
    const credentials = [
      { limit: 1, windowMs: 5_000 },
      { limit: 100, windowMs: 60_000 },
    ];
    const { ask, clock, sent, accounts, members } = openPooledQuota(credentials, vendors.generic);
    for (let i = 0; i < 2; i++) {
      await ask("a");
      await clock.run(50);
    }
    const route = genericRules.routeOf("GET", "/x");
    const reading = { windows: [], retryAt: clock.now() + 20_000 };
    accounts[1]?.observe(route, {
      status: 429,
      reading: reading as never,
      closure: { until: clock.now() + 20_000, of: "bucket", isGuess: false },
    });
    const times: number[] = [];
    const startedAt = clock.now();
    for (let i = 0; i < 3; i++) void ask("a").then(() => times.push(clock.now() - startedAt));
    await clock.run(30_000);
    expect(sent.slice(2).map(({ credential }) => credential)).toEqual([0, 0, 0]);
    expect(times.every((time) => time <= 15_100)).toBe(true);
    expect(members).toHaveLength(2);
  });

  test("A request that no credential can send in time is refused at once, with the time at which one can", async () => {
    const credentials = [
      { limit: 1, windowMs: 30_000 },
      { limit: 1, windowMs: 9_000 },
    ];
    const { ask, clock, pooled } = openPooledQuota(credentials, vendors.discord);
    for (let i = 0; i < 2; i++) {
      await ask("a");
      await clock.run(50);
    }
    const refused = await ask("a", { maxWaitMs: 1_000 });
    expect(refused).toMatchObject({ reason: "too long" });
    const at = (refused as { retryAt: number }).retryAt;
    expect(at - clock.now()).toBeGreaterThan(8_000);
    expect(at - clock.now()).toBeLessThan(9_100);
    // Two wait for the short window, and the third for the long one: the fourth would be later than it may be.
    for (const maxWaitMs of [9_000, 18_100, 27_200]) void ask("b", { maxWaitMs });
    await clock.run(0);
    expect(pooled.waiting).toBe(3);
    expect(await ask("b", { maxWaitMs: 27_200 })).toMatchObject({ reason: "too long" });
  });

  test("A client that leaves gives its place to the next, and a full queue refuses the caller with the most requests", async () => {
    const { ask, clock, pooled } = openPooledQuota(
      [
        { limit: 1, windowMs: 5_000 },
        { limit: 1, windowMs: 5_000 },
      ],
      { ...vendors.discord, maxQueue: 2 },
    );
    for (let i = 0; i < 2; i++) {
      await ask("a");
      await clock.run(50);
    }
    let leave = () => {};
    const first = ask("a", { onQueued: (left) => (leave = left) });
    const second = ask("a");
    await clock.run(0);
    const other = ask("b");
    expect(await second).toMatchObject({ reason: "queue full" });
    await clock.run(0);
    leave();
    expect(await first).toBeUndefined();
    expect(pooled.waiting).toBe(1);
    await clock.run(6_000);
    expect(await other).toMatchObject({ member: { index: expect.any(Number) } });
  });

  test("A credential that rests serves waiting requests as soon as its rest is over", async () => {
    const credentials = [
      { limit: 1, windowMs: 50_000 },
      { limit: 5, windowMs: 50_000 },
    ];
    const { ask, clock, pool, members, sent } = openPooledQuota(credentials, { ...vendors.discord, restMs: 4_000 });
    const [, second] = members as [unknown, (typeof members)[number]];
    expect(pool.refused(second, second.provider.get() as never, "")).toBeInstanceOf(Promise);
    await ask("a");
    await clock.run(100);
    const waiting = ask("a");
    await clock.run(3_000);
    expect(sent).toHaveLength(1);
    await clock.run(1_200);
    expect(await waiting).toMatchObject({ member: second });
  });

  test("A refusal that lets the last credential of a caller rest frees the one whose rest ends first for its waiting requests", async () => {
    const credentials = [
      { limit: 1, windowMs: 50_000 },
      { limit: 5, windowMs: 50_000 },
    ];
    const { ask, clock, pool, members } = openPooledQuota(credentials, { ...vendors.discord, voterOf: (id) => id });
    const [first, second] = members as [PoolMember, PoolMember];
    const refuse = (member: PoolMember) => void pool.refused(member, member.provider.get() as Injection, "a");
    refuse(second);
    await ask("a");
    await clock.run(100);
    const waiting = ask("a");
    const other = ask("b");
    await clock.run(100);
    // It rests for the first caller only.
    expect(await other).toMatchObject({ member: second });
    refuse(first);
    await clock.run(100);
    expect(await Promise.race([waiting, clock.sleep(0)])).toMatchObject({ member: second });
  });

  test("When the process ends, requests that wait are refused at the end at the latest", async () => {
    const { ask, clock, pooled } = openPooledQuota(
      [
        { limit: 1, windowMs: 5_000 },
        { limit: 1, windowMs: 60_000 },
      ],
      vendors.discord,
    );
    for (let i = 0; i < 2; i++) {
      await ask("a");
      await clock.run(50);
    }
    const [soon, late] = [ask("a"), ask("a")];
    await clock.run(0);
    pooled.drain(clock.now() + 7_000);
    expect(await late).toMatchObject({ reason: "draining" });
    await clock.run(7_000);
    expect(await soon).toHaveProperty("member");
  });
});
