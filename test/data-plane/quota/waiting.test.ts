/** Which requests wait for a credential's quota, for how long, and which are refused instead. */
import { describe, expect, test } from "vitest";
import { VirtualClock } from "../../../bench/sim/virtual-clock.ts";
import { discordRules } from "../../../src/data-plane/quota/discord.ts";
import { githubRules } from "../../../src/data-plane/quota/github.ts";
import { isSent, limits, openQuota, refusalOf, ticketOf } from "../../support/quota.ts";

/** A quota that is known to have `remaining` points until `resetMs` from now. */
async function openKnown(remaining: number, resetMs: number, options: Parameters<typeof openQuota>[0] = {}) {
  const opened = openQuota(options);
  const first = opened.ask("first");
  await opened.settle();
  opened.answer(first, limits(10, remaining, resetMs));
  await opened.settle();
  return opened;
}

describe("Waiting request", () => {
  test("A waiting request is sent exactly at the reset", async () => {
    const { ask, clock } = await openKnown(0, 5_000);
    const waiting = ask();
    await clock.run(5_000);
    expect(waiting.at).toBeUndefined();
    await clock.run(1);
    expect([waiting.at, ticketOf(waiting).waitedMs]).toEqual([5_001, 5_001]);
  });

  test("A request keeps waiting when its timer fires early, as those of Node may", async () => {
    const clock = new VirtualClock();
    const { after } = clock;
    Object.assign(clock, { after: (ms: number, run: () => void) => after(ms > 1 ? ms - 1 : ms, run) });
    const { ask, settle, answer } = openQuota({ clock });
    const first = ask();
    await settle();
    answer(first, limits(1, 0, 3_000));
    const waiting = ask();
    await clock.run(10_000);
    expect(waiting.at).toBe(3_001);
  });

  test("A request that cannot be sent in time is refused at once, and is sent at once when it is retried at the time in the refusal", async () => {
    const { ask, clock, settle, startedAt } = await openKnown(0, 90_000);
    const refused = ask("a", { maxWaitMs: 10_000 });
    await settle();
    expect(refused.at).toBe(0);
    expect(refusalOf(refused)).toMatchObject({ reason: "too long", retryAt: startedAt + 90_001 });
    await clock.run(90_001);
    const again = ask("a", { maxWaitMs: 0 });
    await settle();
    expect(ticketOf(again).waitedMs).toBe(0);
  });

  test("A request is sent if a point becomes free exactly at the end of its maximum wait", async () => {
    const { ask, clock } = await openKnown(0, 5_000);
    const waiting = ask("a", { maxWaitMs: 5_001 });
    await clock.run(6_000);
    expect([waiting.at, isSent(waiting)]).toEqual([5_001, true]);
  });

  test("A request that may not wait is sent now or refused now", async () => {
    const { ask, settle, startedAt } = await openKnown(1, 5_000);
    const [goes, refused] = [ask("a", { maxWaitMs: 0 }), ask("a", { maxWaitMs: 0 })];
    await settle();
    expect(isSent(goes)).toBe(true);
    expect(refusalOf(refused)).toMatchObject({ reason: "too long", retryAt: startedAt + 5_001 });
  });

  test("A waiting request is refused as soon as a response shows that it cannot be sent in time", async () => {
    const { ask, settle, answer } = openQuota();
    const [first, longWait, shortWait] = [ask(), ask("a", { maxWaitMs: 600_000 }), ask("b", { maxWaitMs: 10_000 })];
    await settle();
    answer(first, limits(10, 0, 300_000));
    await settle();
    expect([longWait.at, refusalOf(shortWait).reason]).toEqual([undefined, "too long"]);
  });

  test("A request is removed from the queue when its client leaves, and later calls change nothing", async () => {
    const { ask, clock, quota, settle } = await openKnown(0, 5_000);
    const [leaves, stays] = [ask("a"), ask("a")];
    await settle();
    leaves.leave();
    leaves.leave();
    expect(quota.waiting).toBe(1);
    await clock.run(6_000);
    expect([leaves.outcome, isSent(stays), quota.waiting]).toEqual([undefined, true, 0]);
    leaves.leave();
    stays.leave();
    ticketOf(stays).unused();
    ticketOf(stays).lost();
    expect([quota.waiting, quota.describe(clock.now()).inFlight]).toEqual([0, 0]);
  });
});

describe("Queue", () => {
  test("A full queue refuses the last request of the caller with the most of them, and accepts one of a new caller", async () => {
    const { ask, quota, settle, clock } = await openKnown(0, 5_000, { maxQueue: 4 });
    const many = [ask("many"), ask("many"), ask("many"), ask("many")];
    await settle();
    const more = ask("many");
    const few = ask("few");
    await settle();
    expect(refusalOf(more).reason).toBe("queue full");
    expect(many.map(({ at }) => at)).toEqual([undefined, undefined, undefined, 0]);
    expect(refusalOf(many[3]!).reason).toBe("queue full");
    expect([few.at, quota.waiting]).toEqual([undefined, 4]);
    await clock.run(5_001);
    expect(isSent(many[0]!) || isSent(few)).toBe(true);
  });

  test("A queue of size 0 holds no request", async () => {
    const { ask, settle, startedAt } = await openKnown(0, 5_000, { maxQueue: 0 });
    const refused = ask();
    await settle();
    expect(refusalOf(refused)).toMatchObject({ reason: "queue full", retryAt: startedAt + 5_001 });
  });

  test("A caller that sends ten times as much gets no more than its share while others wait", async () => {
    const { ask, clock, settle, answer, startedAt } = await openKnown(0, 5_000, {
      rules: { ...githubRules, paces: [] },
    });
    const heavy = Array.from({ length: 100 }, () => ask("heavy"));
    const light = ["a", "b", "c"].flatMap((id) => Array.from({ length: 10 }, () => ask(id)));
    await settle();
    const sentNow = () => [...heavy, ...light].filter((each) => isSent(each) && each.at === clock.now() - startedAt);
    for (let window = 0; window < 3; window++) {
      await clock.run(5_001);
      // One request is sent first, until it is known that a reset restores the whole limit.
      answer(sentNow()[0]!, limits(10, 9, 5_000));
      await settle();
      expect(sentNow()).toHaveLength(10);
      expect(sentNow().filter(({ callerId }) => callerId === "heavy").length).toBeLessThanOrEqual(3);
      for (const each of sentNow()) answer(each, limits(10, 0, 5_000));
      await settle();
    }
  });

  test("Callers that wait for different buckets alternate when a limit over all buckets holds them back", async () => {
    const paces = [{ name: "p", points: 1, windowMs: 1_000, costOf: () => 1 }];
    const { ask, clock } = openQuota({ rules: { ...discordRules, paces } });
    const heavy = Array.from({ length: 30 }, (_, i) => ask("heavy", { path: `/channels/${i}/messages` }));
    const light = Array.from({ length: 10 }, () => ask("light", { path: "/guilds/1/members" }));
    await clock.run(8_500);
    expect([heavy, light].map((all) => all.filter(isSent).length)).toEqual([5, 4]);
  });

  test("Waiting changes do not delay reads", async () => {
    const { ask, clock, settle, answer } = openQuota({ rules: githubRules });
    const first = ask("a");
    await settle();
    answer(first, { ...limits(5_000, 4_999, 3_600_000), "x-ratelimit-resource": "core" });
    const posts = Array.from({ length: 5 }, () => ask("a", { method: "POST", path: "/repos/o/r/issues" }));
    await settle();
    const read = ask("a");
    await settle();
    const withoutWait = ask("b", { maxWaitMs: 0 });
    await settle();
    expect([read, withoutWait, ...posts].map(isSent)).toEqual([true, true, true, false, false, false, false]);
    await clock.run(4_200);
    expect(posts.map(({ at }) => at)).toEqual([0, 1_040, 2_080, 3_120, 4_160]);
  });

  test("A request waits while the lower of the two limits of requests in flight is reached", async () => {
    const { ask, settle, answer, quota } = openQuota({ maxInFlight: 2, rules: { ...githubRules, maxInFlight: 5 } });
    const asked = [ask(), ask(), ask()];
    await settle();
    answer(asked[0]!, {});
    await settle();
    const fourth = ask("b", { maxWaitMs: 0 });
    await settle();
    expect(asked.map(isSent)).toEqual([true, true, true]);
    expect([refusalOf(fourth).reason, quota.waiting]).toEqual(["too long", 0]);
    ticketOf(asked[1]!).lost();
    const fifth = ask("b", { maxWaitMs: 0 });
    await settle();
    expect(isSent(fifth)).toBe(true);
  });
});

describe("Shutdown", () => {
  test("A request that cannot be sent before the shutdown is refused at once", async () => {
    const { ask, clock, quota, settle, startedAt } = await openKnown(0, 5_000);
    const [inTime, tooLate] = [ask("a"), ask("a")];
    await settle();
    // The next reset is after these four seconds.
    quota.drain(startedAt + 4_000);
    await settle();
    const newcomer = ask("b");
    await settle();
    expect([inTime, tooLate, newcomer].map((each) => refusalOf(each).reason)).toEqual(Array(3).fill("draining"));
    await clock.run(5_001);
    const free = ask("b");
    await settle();
    expect(isSent(free)).toBe(true);
    const waits = ask("b");
    await settle();
    expect(refusalOf(waits).reason).toBe("draining");
  });

  test("A request that may be sent before the shutdown waits, and is refused when that time has come", async () => {
    const { ask, clock, quota, settle, startedAt } = openQuota();
    const [first, waiting] = [ask(), ask()];
    await settle();
    quota.drain(startedAt + 500);
    await clock.run(499);
    expect([isSent(first), waiting.at]).toEqual([true, undefined]);
    await clock.run(1);
    expect(refusalOf(waiting)).toMatchObject({ reason: "draining" });
    expect(quota.waiting).toBe(0);
  });
});
