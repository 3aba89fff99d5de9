/**
 * GitHub's limits (docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api): resources that are named in the answers,
 * secondary limits that are told only when they are exceeded, and a second between changes
 * (docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api).
 */
import { type QuotaRules, untilOf } from "./rules.ts";

const isChange = (method: string) => method !== "GET" && method !== "HEAD" && method !== "OPTIONS";

/** A refusal that does not say for how long is to be waited out for a minute. */
const UNTOLD_MS = 60_000;

export const githubRules: QuotaRules = {
  // The name of the resource where the path tells it, so that the first request of each is counted rightly.
  routeOf: (_, path) => ({ name: resourceOf(path), major: "" }),
  namesBuckets: true,
  paces: [
    { name: "changes", points: 1, windowMs: 1_000, costOf: (method) => (isChange(method) ? 1 : 0) },
    // Of the REST API: 900 points a minute, five for a change.
    {
      name: "points",
      points: 900,
      windowMs: 60_000,
      costOf: (method, path) => (resourceOf(path) === "graphql" ? 0 : isChange(method) ? 5 : 1),
    },
  ],
  maxInFlight: 100,
  closureOf(status, reading, now) {
    if (status !== 403 && status !== 429) return undefined;
    // A secondary limit: for everything that the credential asks for.
    if (reading.retryAt !== undefined) return { until: reading.retryAt, of: "all" };
    const until = untilOf(reading);
    if (until !== undefined) return { until, of: "bucket" };
    // A 403 that says nothing of limits is one of rights.
    return status === 429 ? { until: now + UNTOLD_MS, of: "all" } : undefined;
  },
};

/** As `X-RateLimit-Resource` names it. */
function resourceOf(path: string): string {
  const route = path.replace(/^\/api\/v3(?=\/)/, "");
  if (/^\/search\/code(?:\?|$)/.test(route)) return "code_search";
  if (/^\/search(?:\/|$)/.test(route)) return "search";
  if (/^\/(?:api\/)?graphql(?:\/|$)/.test(route)) return "graphql";
  return "core";
}
