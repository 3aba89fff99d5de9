/**
 * An upstream that enforces its limits never refuses a request that the quota sends, under these conditions: the gateway is its only
 * client; each response reports the limit, and comes within a second; simultaneous requests arrive within a quarter of a second;
 * each request gets a response. It holds for windows that begin with their first request or by the clock, for sliding windows that
 * report when their oldest request leaves them, and for refilling buckets that report when they are full.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import { FixedWindow, SlidingLog, TokenBucket } from "../../../bench/sim/limiter.ts";
import { Random } from "../../../bench/sim/random.ts";
import { VirtualClock } from "../../../bench/sim/virtual-clock.ts";
import type { ResponseHeaders } from "../../../src/data-plane/quota/read-quota.ts";
import { isSent, openQuota } from "../../support/quota.ts";
import { QUOTA_STYLES, type ReportedQuota } from "../../support/quota-upstream.ts";

interface Kind {
  readonly limit: number;
  readonly windowMs: number;
}

/** What the upstream reports; undefined if it refuses the request. */
const UPSTREAMS: Record<string, (kind: Kind) => (now: number) => ReportedQuota | undefined> = {
  "Windows that begin with a request": ({ limit, windowMs }) => fixed(new FixedWindow(limit, windowMs)),
  "Windows by the clock": ({ limit, windowMs }) => {
    let window = new FixedWindow(limit, windowMs);
    let index = -1;
    return (now) => {
      const at = Math.floor(now / windowMs);
      if (at !== index) window = new FixedWindow(limit, windowMs, windowMs);
      index = at;
      return fixed(window)(now);
    };
  },
  "Sliding windows": ({ limit, windowMs }) => {
    const log = new SlidingLog(limit, windowMs);
    return (now) => {
      if (log.freeAt(1, now) > now) return undefined;
      log.take(1, now);
      const remaining = log.remaining(now);
      return { limit, remaining, resetMs: log.freeAt(remaining + 1, now) - now, now };
    };
  },
  "Refilling buckets": ({ limit, windowMs }) => {
    const bucket = new TokenBucket(limit, windowMs / limit);
    return (now) => {
      if (bucket.freeAt(1, now) > now) return undefined;
      bucket.take(1, now);
      const level = bucket.levelAt(now);
      return { limit, remaining: Math.floor(level), resetMs: (limit - level) * bucket.pointMs, now };
    };
  },
};

function fixed(window: FixedWindow) {
  return (now: number): ReportedQuota | undefined => {
    if (window.freeAt(1, now) > now) return undefined;
    window.take(1, now);
    return { limit: window.limit, remaining: window.remaining(now), resetMs: window.endsAt - now, now };
  };
}

/** @returns how many requests were made, refused by the upstream, and served. */
async function run(
  upstream: (now: number) => ReportedQuota | undefined,
  headersOf: (reported: ReportedQuota) => ResponseHeaders,
  seed: number,
) {
  const random = new Random(seed);
  const clock = new VirtualClock();
  const { ask, answer } = openQuota({ clock });
  const latencyMs = random.whole(1, 200);
  const serviceMs = random.whole(0, 500);
  let refused = 0;
  let served = 0;
  let asked = 0;
  async function request(callerId: string): Promise<void> {
    asked++;
    const waiting = ask(callerId, { maxWaitMs: 3_600_000 });
    await waiting.settled;
    if (!isSent(waiting)) return;
    await clock.sleep(random.whole(1, latencyMs));
    const reported = upstream(clock.now());
    await clock.sleep(random.whole(0, serviceMs) + random.whole(1, latencyMs));
    if (reported === undefined) refused++;
    else served++;
    answer(waiting, reported === undefined ? {} : headersOf(reported), reported === undefined ? 429 : 200);
  }
  for (let burst = 0; burst < 8; burst++) {
    for (let i = random.whole(0, 12); i > 0; i--) void request(`caller ${random.whole(1, 3)}`);
    await clock.run(random.whole(0, 3_000));
  }
  await clock.run();
  return { asked, refused, served };
}

test.each(
  Object.keys(UPSTREAMS).flatMap((upstream) => Object.keys(QUOTA_STYLES).map((style) => [upstream, style] as const)),
)("%s, reported as %s, never refuse a request that the quota sends", async (upstream, style) => {
  const kind = fc.record({ limit: fc.integer({ min: 1, max: 20 }), windowMs: fc.integer({ min: 800, max: 6_000 }) });
  await fc.assert(
    fc.asyncProperty(kind, fc.nat(), async (each, seed) => {
      const { asked, refused, served } = await run(UPSTREAMS[upstream]!(each), QUOTA_STYLES[style]!, seed);
      expect({ refused, served }).toEqual({ refused: 0, served: asked });
    }),
    { numRuns: 6 },
  );
});
