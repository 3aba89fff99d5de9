/**
 * Two upstreams with limits that refill point by point. OpenAI (platform.openai.com/docs/guides/rate-limits): requests a minute; responses
 * report the remainder and the time until the limit is full. Shopify (shopify.dev/docs/api/usage/rate-limits): forty calls that leak
 * at two a second; responses report only how many are used.
 */
import type { ResponseHeaders } from "../../src/data-plane/quota/read-quota.ts";
import { genericRules } from "../../src/data-plane/quota/rules.ts";
import { TokenBucket } from "./limiter.ts";
import type { Scenario, SimulatedRequest, SimulatedResponse, SimulatedUpstream, Stream } from "./scenario.ts";

class RefillingUpstream implements SimulatedUpstream {
  readonly #bucket: TokenBucket;
  readonly #headersOf: (bucket: TokenBucket, now: number) => ResponseHeaders;

  constructor(bucket: TokenBucket, headersOf: (bucket: TokenBucket, now: number) => ResponseHeaders) {
    this.#bucket = bucket;
    this.#headersOf = headersOf;
  }

  freeAt(_: SimulatedRequest, now: number): number {
    return this.#bucket.freeAt(1, now);
  }

  arrive(_: SimulatedRequest, now: number): SimulatedResponse {
    const isRefusal = this.#bucket.freeAt(1, now) > now;
    if (!isRefusal) this.#bucket.take(1, now);
    return { status: isRefusal ? 429 : 200, isRefusal, headers: this.#headersOf(this.#bucket, now) };
  }

  leave(): void {}
}

function openAiHeaders(bucket: TokenBucket, now: number): ResponseHeaders {
  const level = bucket.levelAt(now);
  return {
    "x-ratelimit-limit-requests": String(bucket.limit),
    "x-ratelimit-remaining-requests": String(Math.floor(level)),
    "x-ratelimit-reset-requests": goDuration((bucket.limit - level) * bucket.pointMs),
    "x-ratelimit-limit-tokens": "2000000",
    "x-ratelimit-remaining-tokens": "1999000",
    "x-ratelimit-reset-tokens": "30ms",
  };
}

/** `6m0s`, `1.2s`, `20ms`. */
function goDuration(ms: number): string {
  const whole = Math.round(ms);
  if (whole < 1_000) return `${whole}ms`;
  const minutes = Math.floor(whole / 60_000);
  return `${minutes === 0 ? "" : `${minutes}m`}${(whole % 60_000) / 1_000}s`;
}

/** @param times as many requests as the other callers. */
function streamOf(callerId: string, times: number, request: SimulatedRequest): Stream {
  return { callerId, kind: "requests", request, burst: [3 * times, 8 * times], pauseMs: [0, 2_000] };
}

const streamsOf = (request: SimulatedRequest) => [
  streamOf("heavy", 10, request),
  ...["a", "b", "c"].map((callerId) => streamOf(callerId, 1, request)),
];

const MINUTE_MS = 60_000;

export const openAi: Scenario = {
  name: "OpenAI: 120 requests a minute",
  rules: genericRules,
  durationMs: 60 * MINUTE_MS,
  heavyCallerId: "heavy",
  streams: streamsOf({ method: "POST", path: "/v1/chat/completions" }),
  serviceMs: [400, 3_000],
  maxWaitMs: 10 * MINUTE_MS,
  createUpstream: () => new RefillingUpstream(new TokenBucket(120, MINUTE_MS / 120), openAiHeaders),
};

export const shopify: Scenario = {
  name: "Shopify: 40 calls, two more a second",
  rules: genericRules,
  durationMs: 60 * MINUTE_MS,
  heavyCallerId: "heavy",
  streams: streamsOf({ method: "GET", path: "/admin/api/2026-01/products.json" }),
  serviceMs: [50, 300],
  maxWaitMs: 10 * MINUTE_MS,
  createUpstream: () =>
    new RefillingUpstream(new TokenBucket(40, 500), (bucket, now) => ({
      "x-shopify-shop-api-call-limit": `${Math.ceil(bucket.limit - bucket.levelAt(now))}/${bucket.limit}`,
    })),
};
