/** Our own limit of a service: whether it is used up, and whether it tells its callers apart. */

import { plural } from "../plural.ts";
import { conclude, type Problem, type ServiceCheck } from "./check.ts";

const FINDS = {
  exhausted: {
    status: "warn",
    symptom: "429 RATE_LIMIT_EXCEEDED",
    fix: "Wait for evidence.resetIn seconds, raise rateLimit of the service, or POST /manage/services/<service>/rate-limit/reset.",
  },
  shared: {
    status: "warn",
    symptom: "callers are limited together, because all of them seem to have one address",
    fix: "Name the proxy or balancer before the gateway in TRUST_PROXY, or count per caller instead of per ip.",
  },
  oneCaller: {
    status: "warn",
    symptom: "callers are limited together, because all of them present one key",
    fix: "Issue each its own key (POST /manage/keys): it is by the key that callers are told apart.",
  },
} as const;

/** So many requests from one address, or with one key, are no chance. */
const ENOUGH_REQUESTS = 10;

export const limits: ServiceCheck = {
  id: "limits",
  needs: "process",
  looksAt: "the rate limit of each service in use that has one",
  finds: FINDS,
  async run({ service, limiter }, { refusals, config, issuedKeys }) {
    const { rateLimit, key } = service;
    if (rateLimit === undefined || limiter === undefined) return undefined;
    const { per, maxRequests, windowMs } = rateLimit;
    const refused = ((await refusals()).get(key) ?? []).filter(({ code }) => code === "RATE_LIMIT_EXCEEDED");
    const count = refused.reduce((sum, each) => sum + each.count, 0);
    const problems: Problem[] = [];
    // Only a count that all share can be told without asking for whom.
    const state = per === "service" ? await limiter.peek({ callerId: "", address: "" }) : undefined;
    if (state?.isExceeded)
      problems.push({ find: FINDS.exhausted, words: `the limit of ${plural(maxRequests, "request")} is used up` });
    const { keys, requests } = limiter.told;
    const isShared = keys === 1 && requests >= ENOUGH_REQUESTS;
    if (per === "ip" && isShared) {
      problems.push({ find: FINDS.shared, words: `all ${requests} requests came from one address` });
    }
    // One caller with a key of its own is just that.
    if (per === "caller" && isShared && issuedKeys().length === 0) {
      problems.push({ find: FINDS.oneCaller, words: `all ${requests} requests came with one key` });
    }
    const fine =
      state === undefined ? `${keys} counted apart` : `${state.remaining} of ${plural(maxRequests, "request")} left`;
    return conclude(problems, fine, {
      ...{ per, maxRequests, windowMs },
      remaining: state?.remaining ?? null,
      resetIn: state === undefined ? null : Math.ceil(state.resetMs / 1000),
      refused: count,
      told: per === "service" ? null : { keys, requests },
      trustProxy: config.settings.TRUST_PROXY ?? null,
    });
  },
};
