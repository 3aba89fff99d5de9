import { describe, expect, onTestFinished, test, vi } from "vitest";
import { addressKey } from "../../src/limits/address-key.ts";
import { createKeyLimits, createLimiter, type KeyLimits, type LimitedKey } from "../../src/limits/limiters.ts";
import { pushRateLimitFields, refusalFields } from "../../src/limits/rate-limit-fields.ts";

const subject = (address: string, callerId = "a") => ({ address, callerId });
const limiter = (per: "service" | "caller" | "ip", maxRequests = 2) =>
  createLimiter({ maxRequests, windowMs: 60_000, per });

describe("limit", () => {
  test("Exactly maxRequests are allowed, then the limit says when it resets", async () => {
    const limit = limiter("service");
    expect((await limit.peek(subject("1.1.1.1"))).remaining).toBe(2);
    expect((await limit.spend(subject("1.1.1.1"))).remaining).toBe(1);
    expect((await limit.spend(subject("2.2.2.2"))).isExceeded).toBe(false);
    const exceeded = await limit.spend(subject("3.3.3.3"));
    expect(exceeded).toMatchObject({ isExceeded: true, remaining: 0, limit: 2 });
    expect(exceeded.resetMs).toBeGreaterThan(59_000);
    expect(exceeded.resetMs).toBeLessThanOrEqual(60_000);
  });

  test.each([
    ["an hour back", -3_600_000],
    ["an hour on", 3_600_000],
  ])("A limit neither blocks beyond its window nor is bypassed when the clock is set %s", async (_, step) => {
    vi.useFakeTimers({ toFake: ["Date"] });
    onTestFinished(() => {
      vi.useRealTimers();
    });
    const limit = limiter("ip");
    await limit.spend(subject("1.1.1.1"));
    await limit.spend(subject("1.1.1.1"));
    vi.setSystemTime(Date.now() + step);
    const state = await limit.spend(subject("1.1.1.1"));
    expect(state.resetMs).toBeLessThanOrEqual(60_000);
    // Set forward, the window ends early, once; set back, it continues.
    expect(state.isExceeded).toBe(step < 0);
    await limit.spend(subject("1.1.1.1"));
    expect((await limit.spend(subject("1.1.1.1"))).isExceeded).toBe(true);
  });

  test("Reading the state of a limit spends nothing", async () => {
    const limit = limiter("service");
    for (let i = 0; i < 5; i++) await limit.peek(subject("1.1.1.1"));
    expect((await limit.spend(subject("1.1.1.1"))).remaining).toBe(1);
  });

  test("Limits by caller and by address have a count for each", async () => {
    const byCaller = limiter("caller", 1);
    expect((await byCaller.spend(subject("1.1.1.1", "a"))).isExceeded).toBe(false);
    expect((await byCaller.spend(subject("1.1.1.1", "b"))).isExceeded).toBe(false);
    expect((await byCaller.spend(subject("2.2.2.2", "a"))).isExceeded).toBe(true);
    const byAddress = limiter("ip", 1);
    expect((await byAddress.spend(subject("1.1.1.1", "a"))).isExceeded).toBe(false);
    expect((await byAddress.spend(subject("1.1.1.1", "b"))).isExceeded).toBe(true);
  });

  test("A limit by address has a bounded number of counters, for any number of addresses", async () => {
    const limit = limiter("ip", 1_000_000);
    for (let i = 0; i < 50_000; i++) await limit.spend(subject(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`));
    const first = await limit.spend(subject("11.0.0.1"));
    const second = await limit.spend(subject("11.0.0.2"));
    expect(first.remaining - second.remaining).toBe(1);
  });
});

test.each([
  ["127.0.0.1", "127.0.0.1"],
  ["::ffff:127.0.0.1", "127.0.0.1"],
  ["2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"],
  ["2001:db8:1:2:bbbb::9", "2001:db8:1:2::/64"],
  ["::1", "0:0:0:0::/64"],
  ["unknown", "unknown"],
])("The address %s is counted as %s", (address, key) => {
  expect(addressKey(address)).toBe(key);
});

test("The header fields of a refusal agree with each other and are rounded up", () => {
  const state = {
    limit: 60,
    remaining: 0,
    resetMs: 24_001,
    policy: '"service";q=60;w=3600',
    per: "service",
    isExceeded: true,
  } as const;
  expect(refusalFields(state, 1_000_000_500)).toEqual([
    "Retry-After",
    "25",
    "RateLimit-Policy",
    '"service";q=60;w=3600',
    "RateLimit",
    '"service";r=0;t=25',
    "X-RateLimit-Limit",
    "60",
    "X-RateLimit-Remaining",
    "0",
    "X-RateLimit-Reset",
    "1000025",
  ]);
  const headers: string[] = [];
  pushRateLimitFields(headers, { ...state, resetMs: 0 });
  expect(headers).toContain('"service";r=0;t=1');
});

describe("limits of issued keys", () => {
  const key = (id: string, maxRequests = 1) => ({ id, key: { rateLimit: { maxRequests, windowMs: 60_000 } } });
  const spend = async (limits: KeyLimits, issued: LimitedKey) =>
    (await limits.of(issued)[0]?.limiter.spend(subject("", issued.id)))?.isExceeded;

  test("A key keeps its count until its limit changes", async () => {
    const limits = createKeyLimits(() => []);
    expect(await spend(limits, key("a"))).toBe(false);
    expect(await spend(limits, key("a"))).toBe(true);
    expect(await limits.exceeded()).toEqual(["a"]);
    expect(await spend(limits, key("a", 2))).toBe(false);
  });

  test("More limiters than the maximum make all counts start again, and known keys alone do not", async () => {
    const limits = createKeyLimits(() => [], { maxLimiters: 2 });
    for (const id of ["a", "b"]) expect(await spend(limits, key(id))).toBe(false);
    for (const id of ["a", "b"]) expect(await spend(limits, key(id))).toBe(true);
    expect(await spend(limits, key("c"))).toBe(false);
    expect(await spend(limits, key("a"))).toBe(false);
  });
});
