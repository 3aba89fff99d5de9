/** What the upstream allows: whose quota is used up, how much of it is left, and until when. */

import { plural } from "../plural.ts";
import { type QuotaState, tightestOf, waitingIn } from "../registry/quota-state.ts";
import { conclude, type Problem, type ServiceCheck } from "./check.ts";

const FINDS = {
  refused: {
    status: "warn",
    symptom: "429 from the upstream",
    fix: "evidence.tightest tells whose quota it is and when it has room again. Set quota.mode of the service to hold, so that requests wait instead; where it does already, somebody else spends the same quota, or the upstream has a limit that its answers do not tell.",
  },
  exhausted: {
    status: "warn",
    symptom: "429 UPSTREAM_QUOTA_EXHAUSTED, or requests that wait long (X-Proxy-Queue-Duration)",
    fix: "Ask for less, wait until evidence.tightest.until, or raise quota.maxWaitMs of the service; GET /manage/quota has each bucket.",
  },
  ban: {
    status: "warn",
    symptom: "the upstream bans whoever is refused so often",
    fix: "Look for what makes it answer 401, 403 or 429 (the access log has each), and mend that; the gateway slows down by itself before the ban.",
  },
} as const;

/** How long a refusal is news, ms. */
const RECENT_MS = 600_000;

/** Of the refusals that lead to a ban, from which on it is worth a word. */
const BAN_SHARE = 0.5;

export const quota: ServiceCheck = {
  id: "quota",
  needs: "process",
  looksAt: "what the upstream of each service in use still allows, as far as its answers have told",
  finds: FINDS,
  run({ quota: observed }) {
    if (observed === undefined) return undefined;
    const state = observed.describe();
    const { at: now } = state;
    const tightest = tightestOf(state);
    const problems: Problem[] = [];
    const { upstreamRefusals, lastRefusalAt, mode } = state;
    if (now - lastRefusalAt < RECENT_MS) {
      problems.push({
        find: FINDS.refused,
        words: `it said ${plural(upstreamRefusals, "time")} that it is asked too often`,
      });
    }
    if (tightest?.remaining === 0) {
      const seconds = Math.max(0, Math.ceil((tightest.until - now) / 1_000));
      problems.push({ find: FINDS.exhausted, words: `its quota is used up, for ${plural(seconds, "more second")}` });
    }
    const worst = state.credentials.find(isNearBan);
    if (worst?.refusals) {
      const { count, limit } = worst.refusals;
      problems.push({ find: FINDS.ban, words: `${count} of the ${limit} refusals that lead to a ban` });
    }
    const fine = tightest === null ? "its answers have told of no limit" : `${tightest.remaining} left at least`;
    return conclude(problems, fine, {
      ...{ mode, waiting: waitingIn(state), upstreamRefusals },
      tightest: tightest && { ...tightest, until: new Date(tightest.until).toISOString() },
      refusals: worst?.refusals ?? null,
    });
  },
};

const isNearBan = ({ refusals }: QuotaState) => refusals !== null && refusals.count >= refusals.limit * BAN_SHARE;
