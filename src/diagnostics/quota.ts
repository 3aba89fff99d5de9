/** Checks the upstream's quota: whether it is used up, when it resets, and whether a ban is near. */

import type { QuotaState } from "../data-plane/quota/describe.ts";
import { plural } from "../plural.ts";
import { conclude, type Problem, type ServiceCheck } from "./check.ts";

const FINDINGS = {
  refused: {
    status: "warn",
    symptom: "429 from the upstream",
    fix: "evidence.tightest shows which quota is used up and when it resets. Set quota.mode of the service to hold, so that requests wait instead. If it is hold already, another program uses the same quota, or the upstream has a limit that its responses do not report.",
  },
  exhausted: {
    status: "warn",
    symptom: "429 UPSTREAM_QUOTA_EXHAUSTED, or requests that wait long (X-Proxy-Queue-Duration)",
    fix: "Send fewer requests, wait until evidence.tightest.until, or raise quota.maxWaitMs of the service. GET /manage/quota shows each bucket.",
  },
  ban: {
    status: "warn",
    symptom: "the upstream bans clients that it refuses too often",
    fix: "Find the requests that the upstream answers with 401, 403 or 429 (the access log lists them), and fix their cause. The gateway sends fewer requests before the ban by itself.",
  },
} as const;

/** Older refusals are no longer reported. */
const RECENT_MS = 600_000;

/** Share of the refusals that lead to a ban, above which the check warns. */
const BAN_SHARE = 0.5;

export const quota: ServiceCheck = {
  id: "quota",
  needs: "process",
  inspects: "the remaining quota at the upstream of each service in use, as reported in its responses",
  findings: FINDINGS,
  run({ quota: observed }) {
    if (observed === undefined) return undefined;
    const state = observed.describe();
    const { at: now, tightest, waiting } = state;
    const problems: Problem[] = [];
    const { upstreamRefusals, lastRefusalAt, mode } = state;
    if (now - lastRefusalAt < RECENT_MS) {
      problems.push({
        finding: FINDINGS.refused,
        message: `the upstream refused ${plural(upstreamRefusals, "request")} as too many`,
      });
    }
    if (tightest?.remaining === 0) {
      const seconds = Math.max(0, Math.ceil((tightest.until - now) / 1_000));
      problems.push({
        finding: FINDINGS.exhausted,
        message: `the quota is used up and resets in ${plural(seconds, "second")}`,
      });
    }
    const worst = state.credentials.find(isNearBan);
    if (worst?.refusals) {
      const { count, limit } = worst.refusals;
      problems.push({ finding: FINDINGS.ban, message: `${count} of the ${limit} refusals that lead to a ban` });
    }
    const okSummary =
      tightest === null ? "the upstream's responses reported no limit" : `at least ${tightest.remaining} left`;
    return conclude(problems, okSummary, {
      mode,
      waiting,
      upstreamRefusals,
      tightest: tightest && { ...tightest, until: new Date(tightest.until).toISOString() },
      refusals: worst?.refusals ?? null,
    });
  },
};

const isNearBan = ({ refusals }: QuotaState) => refusals !== null && refusals.count >= refusals.limit * BAN_SHARE;
