/**
 * GitHub's limits (docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api): resources that are named in the
 * responses, secondary limits that are reported only when they are exceeded, and a second between changes
 * (docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api).
 */
import { type QuotaRules, untilOf } from "./rules.ts";

/** A change by the REST API. GraphQL sends queries as POST too. */
const isChange = (method: string, path: string) =>
  method !== "GET" && method !== "HEAD" && method !== "OPTIONS" && resourceOf(path) !== "graphql";

/** Reports by machines send no notifications, so they are not content. */
const REPORT = /\/(?:statuses|check-runs|check-suites|dispatches|git|actions|deployments|markdown)(?:\/|$)/;
const isContent = (method: string, path: string) => method === "POST" && isChange(method, path) && !REPORT.test(path);

/** The closure after a refusal that gives no time, as documented, ms. */
const DEFAULT_CLOSURE_MS = 60_000;

/** Requests sent within a minute may arrive within a little less. */
const MINUTE_MS = 60_200;

export const githubRules: QuotaRules = {
  // The resource follows from the path, so that the first request of each is counted correctly.
  routeOf: (_, path) => ({ name: resourceOf(path), major: "" }),
  namesBuckets: true,
  hasFixedWindows: true,
  paces: [
    {
      name: "changes",
      points: 1,
      // A second, and a little more, because requests sent a second apart may arrive closer together.
      windowMs: 1_040,
      costOf: (method, path) => (isChange(method, path) ? 1 : 0),
    },
    // The limit of 80 a minute needs no rule: a second between changes ensures it.
    {
      name: "content",
      points: 500,
      windowMs: 3_600_200,
      costOf: (method, path) => (isContent(method, path) ? 1 : 0),
    },
    {
      name: "points",
      points: 900,
      windowMs: MINUTE_MS,
      costOf: (method, path) => (resourceOf(path) === "graphql" ? 0 : isChange(method, path) ? 5 : 1),
    },
    {
      name: "graphql points",
      points: 2_000,
      windowMs: MINUTE_MS,
      // A query costs one and a mutation five, but only the body shows which one it is.
      costOf: (_, path) => (resourceOf(path) === "graphql" ? 5 : 0),
    },
  ],
  maxInFlight: 100,
  longestHoldMs: 3_600_000,
  triesLongHolds: false,
  closureOf(status, reading, now) {
    if (status !== 403 && status !== 429) return undefined;
    // A secondary limit: it holds for all requests with the credential.
    if (reading.retryAt !== undefined && reading.retryAt > now) {
      return { until: reading.retryAt, of: "all", isGuess: false };
    }
    const until = untilOf(reading, now);
    if (until !== undefined) return { until, of: "bucket", isGuess: false };
    // A 403 without a limit concerns permissions.
    return status === 429 ? { until: now + DEFAULT_CLOSURE_MS, of: "all", isGuess: true } : undefined;
  },
};

/** The name in `X-RateLimit-Resource`. */
function resourceOf(path: string): string {
  const route = path.replace(/^\/api\/v3(?=\/)/, "");
  if (/^\/search\/code(?:\?|$)/.test(route)) return "code_search";
  if (/^\/search(?:\/|$)/.test(route)) return "search";
  if (/^\/(?:api\/)?graphql(?:\/|$)/.test(route)) return "graphql";
  return "core";
}
