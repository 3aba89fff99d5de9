/** An upstream that enforces a quota and reports it, in the header styles in use. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { startUpstream } from "./upstream.ts";

/** What an upstream reports of a limit. */
export interface ReportedQuota {
  readonly limit: number;
  readonly remaining: number;
  /** ms until the end of its window. */
  readonly resetMs: number;
  /** ms since the epoch. */
  readonly now: number;
}

export const QUOTA_STYLES: Readonly<Record<string, (reported: ReportedQuota) => Record<string, string>>> = {
  "X-RateLimit, epoch": ({ limit, remaining, resetMs, now }) => ({
    "x-ratelimit-limit": String(limit),
    "x-ratelimit-remaining": String(remaining),
    "x-ratelimit-reset": String(Math.floor((now + resetMs) / 1_000)),
  }),
  "X-RateLimit, cut-off seconds": ({ limit, remaining, resetMs }) => ({
    "x-ratelimit-limit": String(limit),
    "x-ratelimit-remaining": String(remaining),
    "x-ratelimit-reset": String(Math.floor(resetMs / 1_000)),
  }),
  "Discord, with decimals": ({ limit, remaining, resetMs }) => ({
    "x-ratelimit-limit": String(limit),
    "x-ratelimit-remaining": String(remaining),
    "x-ratelimit-reset-after": (resetMs / 1_000).toFixed(3),
    "x-ratelimit-bucket": "abcd1234",
  }),
  IETF: ({ limit, remaining, resetMs }) => ({
    "ratelimit-policy": `"default";q=${limit};w=2`,
    ratelimit: `"default";r=${remaining};t=${Math.ceil(resetMs / 1_000)}`,
  }),
  "GitLab, without the X-": ({ limit, remaining, resetMs, now }) => ({
    "ratelimit-limit": String(limit),
    "ratelimit-remaining": String(remaining),
    "ratelimit-reset": String(Math.ceil((now + resetMs) / 1_000)),
  }),
  OpenAI: ({ limit, remaining, resetMs }) => ({
    "x-ratelimit-limit-requests": String(limit),
    "x-ratelimit-remaining-requests": String(remaining),
    "x-ratelimit-reset-requests": `${Math.ceil(resetMs)}ms`,
    "x-ratelimit-limit-tokens": "100000",
    "x-ratelimit-remaining-tokens": "90000",
    "x-ratelimit-reset-tokens": "6m0s",
  }),
  Anthropic: ({ limit, remaining, resetMs, now }) => ({
    "anthropic-ratelimit-requests-limit": String(limit),
    "anthropic-ratelimit-requests-remaining": String(remaining),
    "anthropic-ratelimit-requests-reset": new Date(now + resetMs).toISOString().replace(/\.\d+Z/, "Z"),
  }),
};

export interface QuotaUpstreamOptions {
  readonly limit?: number;
  readonly windowMs?: number;
  readonly style?: string;
  /** Requests with different values are counted separately. */
  readonly bucketOf?: (req: IncomingMessage) => string;
  /** Additional headers of a refusal. */
  readonly refusalHeaders?: (resetMs: number) => Record<string, string>;
  /** How long a response takes, ms. */
  readonly latencyMs?: number;
}

/** A window begins with its first request; requests above the limit are refused with 429. */
export async function startQuotaUpstream(options: QuotaUpstreamOptions = {}) {
  const {
    limit = 10,
    windowMs = 2_000,
    style = "Discord, with decimals",
    bucketOf = () => "",
    latencyMs = 20,
  } = options;
  const windows = new Map<string, { endsAt: number; used: number }>();
  const counts = { served: 0, refused: 0 };
  const handle = (req: IncomingMessage, res: ServerResponse) => {
    req.resume();
    const now = Date.now();
    const key = bucketOf(req);
    const known = windows.get(key);
    const window = known !== undefined && now < known.endsAt ? known : { endsAt: now + windowMs, used: 0 };
    windows.set(key, window);
    window.used++;
    const isRefused = window.used > limit;
    counts[isRefused ? "refused" : "served"]++;
    const resetMs = window.endsAt - now;
    const headers = QUOTA_STYLES[style]?.({ limit, remaining: Math.max(0, limit - window.used), resetMs, now });
    setTimeout(() => {
      res.writeHead(isRefused ? 429 : 200, {
        "content-type": "application/json",
        ...headers,
        ...(isRefused ? options.refusalHeaders?.(resetMs) : {}),
      });
      res.end(JSON.stringify({ bucket: key, isRefused }));
    }, latencyMs);
  };
  return { ...(await startUpstream(handle)), counts };
}
