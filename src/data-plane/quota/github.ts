/**
 * GitHub's limits (docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api): resources that are named in the answers,
 * secondary limits that are told only when they are exceeded, and a second between changes
 * (docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api).
 */
import { type QuotaRules, untilOf } from "./rules.ts";

/** Of the REST API. GraphQL is always a POST: a query is as good as any other there. */
const isChange = (method: string, path: string) =>
  method !== "GET" && method !== "HEAD" && method !== "OPTIONS" && resourceOf(path) !== "graphql";

/** What machines report of their work is no content that somebody is notified of. */
const REPORT = /\/(?:statuses|check-runs|check-suites|dispatches|git|actions|deployments|markdown)(?:\/|$)/;
const isContent = (method: string, path: string) => method === "POST" && isChange(method, path) && !REPORT.test(path);

/** A refusal that does not say for how long is to be waited out for a minute. */
const UNTOLD_MS = 60_000;

/** What is sent in one minute may arrive in a little less. */
const MINUTE_MS = 60_200;

export const githubRules: QuotaRules = {
  // The name of the resource where the path tells it, so that the first request of each is counted rightly.
  routeOf: (_, path) => ({ name: resourceOf(path), major: "" }),
  namesBuckets: true,
  hasFixedWindows: true,
  paces: [
    {
      name: "changes",
      points: 1,
      // A second, and a little for what is sent a second apart and arrives nearer.
      windowMs: 1_040,
      costOf: (method, path) => (isChange(method, path) ? 1 : 0),
    },
    // No more than 80 a minute either, which a second between changes sees to.
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
      // One for a query and five for a mutation: which of them it is says only the body.
      costOf: (_, path) => (resourceOf(path) === "graphql" ? 5 : 0),
    },
  ],
  maxInFlight: 100,
  closureOf(status, reading, now) {
    if (status !== 403 && status !== 429) return undefined;
    // A secondary limit: for everything that the credential asks for.
    if (reading.retryAt !== undefined && reading.retryAt > now) {
      return { until: reading.retryAt, of: "all", isGuess: false };
    }
    const until = untilOf(reading, now);
    if (until !== undefined) return { until, of: "bucket", isGuess: false };
    // A 403 that says nothing of limits is one of rights.
    return status === 429 ? { until: now + UNTOLD_MS, of: "all", isGuess: true } : undefined;
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
