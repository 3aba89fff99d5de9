/** Checks the gateway's own limit of a service: whether it is used up, and whether callers share one count by mistake. */
import { plural } from "../plural.ts";
import { conclude, type Problem, type ServiceCheck } from "./check.ts";

const FINDINGS = {
  exhausted: {
    status: "warn",
    symptom: "429 RATE_LIMIT_EXCEEDED",
    fix: "Wait for evidence.resetIn seconds, raise rateLimit of the service, or POST /manage/services/<service>/rate-limit/reset.",
  },
  shared: {
    status: "warn",
    symptom: "callers share one limit because their requests seem to come from one address",
    fix: "Set TRUST_PROXY to the proxy or load balancer in front of the gateway, or count per caller instead of per ip.",
  },
  oneCaller: {
    status: "warn",
    symptom: "callers share one limit because they all use the same key",
    fix: "Issue a separate key to each caller (POST /manage/keys): requests are counted by key.",
  },
} as const;

/** With this many requests from one address, or with one key, it is not a coincidence. */
const ENOUGH_REQUESTS = 10;

export const limits: ServiceCheck = {
  id: "limits",
  needs: "process",
  inspects: "the rate limit of each service in use that has one",
  findings: FINDINGS,
  async run({ service, limiter }, { refusals, config, issuedKeyCount }) {
    const { rateLimit, key } = service;
    if (rateLimit === undefined || limiter === undefined) return undefined;
    const { per, maxRequests, windowMs } = rateLimit;
    const refused = ((await refusals()).get(key) ?? []).filter(({ code }) => code === "RATE_LIMIT_EXCEEDED");
    const count = refused.reduce((sum, each) => sum + each.count, 0);
    const problems: Problem[] = [];
    // A limit per caller or address has one count for each of them, and no total.
    const state = per === "service" ? await limiter.peek({ callerId: "", address: "" }) : undefined;
    if (state?.isExceeded) {
      problems.push({
        finding: FINDINGS.exhausted,
        message: `the limit of ${plural(maxRequests, "request")} is used up`,
      });
    }
    const { keys, requests } = limiter.counted;
    const isShared = keys === 1 && requests >= ENOUGH_REQUESTS;
    if (per === "ip" && isShared) {
      problems.push({ finding: FINDINGS.shared, message: `all ${requests} requests came from one address` });
    }
    // One caller with its own issued key is no mistake.
    if (per === "caller" && isShared && issuedKeyCount() === 0) {
      problems.push({ finding: FINDINGS.oneCaller, message: `all ${requests} requests came with one key` });
    }
    const okSummary =
      state === undefined
        ? `${per === "ip" ? plural(keys, "address", "addresses") : plural(keys, "caller")} counted`
        : `${state.remaining} of ${plural(maxRequests, "request")} left`;
    return conclude(problems, okSummary, {
      per,
      maxRequests,
      windowMs,
      remaining: state?.remaining ?? null,
      resetIn: state === undefined ? null : Math.ceil(state.resetMs / 1000),
      refused: count,
      waiting: limiter.queue?.size ?? null,
      counted: per === "service" ? null : { keys, requests },
      trustProxy: config.settings.TRUST_PROXY ?? null,
    });
  },
};
