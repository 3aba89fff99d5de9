/** The quota of a credential against upstreams that enforce theirs, over simulated time. */
import { describe, expect, test } from "vitest";
import { VirtualClock } from "../../../bench/sim/virtual-clock.ts";
import { CredentialQuota } from "../../../src/data-plane/quota/credential-quota.ts";
import { type AnswerHeaders, readQuota } from "../../../src/data-plane/quota/read-quota.ts";
import { genericRules, type QuotaRules } from "../../../src/data-plane/quota/rules.ts";
import { createLedger } from "../../../src/stores/ledger.ts";

interface Answer {
  readonly status: number;
  readonly headers: AnswerHeaders;
}

type Upstream = (request: { readonly method: string; readonly path: string }, now: number) => Answer;

/** An upstream, a quota before it, and what came of the requests. */
function simulate(
  upstream: Upstream,
  {
    rules = genericRules,
    maxQueue = 1_000,
    latencyMs = 40,
  }: { rules?: QuotaRules; maxQueue?: number; latencyMs?: number } = {},
) {
  const clock = new VirtualClock();
  const ledger = createLedger();
  const quota = new CredentialQuota({ rules, ledger, prefix: "s\nc\n", maxQueue, clock });
  const startedAt = clock.now();
  const outcomes: { callerId: string; at: number; status: number; retryAt?: number; path: string }[] = [];

  async function ask(callerId = "a", { method = "GET", path = "/x", maxWaitMs = 60_000 } = {}): Promise<void> {
    const outcome = await quota.admit({ method, path, callerId, maxWaitMs, leaseMs: 30_000 }, () => {});
    const at = clock.now() - startedAt;
    if (outcome === undefined) return;
    if ("reason" in outcome) {
      outcomes.push({ callerId, at, status: 0, retryAt: outcome.retryAt - startedAt, path });
      return;
    }
    await clock.sleep(latencyMs / 2);
    const answer = upstream({ method, path }, clock.now());
    await clock.sleep(latencyMs / 2);
    outcome.answered(answer.status, readQuota(answer.headers, clock.now()));
    outcomes.push({ callerId, at, status: answer.status, path });
  }
  return { clock, quota, ledger, ask, outcomes, startedAt, statuses: () => outcomes.map(({ status }) => status) };
}

/** `limit` in each window that begins with its first request. */
function fixedWindow(
  limit: number,
  windowMs: number,
  headersOf: (left: number, resetMs: number, now: number) => AnswerHeaders,
): Upstream {
  let endsAt = 0;
  let used = 0;
  return (_, now) => {
    if (now >= endsAt) {
      endsAt = now + windowMs;
      used = 0;
    }
    used++;
    const headers = headersOf(Math.max(0, limit - used), endsAt - now, now);
    return used <= limit ? { status: 200, headers } : { status: 429, headers };
  };
}

const STYLES: Record<string, (limit: number) => (left: number, resetMs: number, now: number) => AnswerHeaders> = {
  "X-RateLimit, epoch": (limit) => (left, resetMs, now) => ({
    "x-ratelimit-limit": String(limit),
    "x-ratelimit-remaining": String(left),
    "x-ratelimit-reset": String(Math.floor((now + resetMs) / 1_000)),
  }),
  "X-RateLimit, cut-off seconds": (limit) => (left, resetMs) => ({
    "x-ratelimit-limit": String(limit),
    "x-ratelimit-remaining": String(left),
    "x-ratelimit-reset": String(Math.floor(resetMs / 1_000)),
  }),
  "Discord, with decimals": (limit) => (left, resetMs) => ({
    "x-ratelimit-limit": String(limit),
    "x-ratelimit-remaining": String(left),
    "x-ratelimit-reset-after": (resetMs / 1_000).toFixed(3),
    "x-ratelimit-bucket": "abc",
  }),
  IETF: (limit) => (left, resetMs) => ({
    "ratelimit-policy": `"default";q=${limit};w=2`,
    ratelimit: `"default";r=${left};t=${Math.ceil(resetMs / 1_000)}`,
  }),
  OpenAI: (limit) => (left, resetMs) => ({
    "x-ratelimit-limit-requests": String(limit),
    "x-ratelimit-remaining-requests": String(left),
    "x-ratelimit-reset-requests": `${Math.ceil(resetMs)}ms`,
    "x-ratelimit-limit-tokens": "100000",
    "x-ratelimit-remaining-tokens": "90000",
    "x-ratelimit-reset-tokens": "6m0s",
  }),
  Anthropic: (limit) => (left, resetMs, now) => ({
    "anthropic-ratelimit-requests-limit": String(limit),
    "anthropic-ratelimit-requests-remaining": String(left),
    "anthropic-ratelimit-requests-reset": new Date(now + resetMs).toISOString().replace(/\.\d+Z/, "Z"),
  }),
};

describe("thirty requests at once over ten in two seconds", () => {
  test.each(Object.keys(STYLES))("are all served and none is refused upstream: %s", async (style) => {
    const headersOf = (STYLES[style] as (typeof STYLES)[string])(10);
    const { clock, ask, statuses, outcomes } = simulate(fixedWindow(10, 2_000, headersOf));
    for (let i = 0; i < 30; i++) void ask(`caller-${i % 3}`);
    await clock.run();
    expect(statuses()).toEqual(Array(30).fill(200));
    expect(Math.max(...outcomes.map(({ at }) => at))).toBeLessThan(10_000);
  });
});
