/** Reports where state is stored, and whether the store that several gateways share can be used. */
import { plural } from "../plural.ts";
import { FAULTS } from "../stores/store-fault.ts";
import { type Check, conclude } from "./check.ts";

const FINDINGS = {
  degraded: {
    status: "warn",
    symptom: "gateways that should share their limits count alone: the shared store is degraded",
    fix: "Check that the Redis server runs, that this machine reaches it, and REDIS_URL: the password, the user and its permissions. If its memory is full, raise maxmemory. The gateway recovers on its own. See docs/scaling.md.",
  },
} as const;

export const store: Check = {
  id: "store",
  needs: "configuration",
  inspects: "whether limits and changes are shared with other instances",
  findings: FINDINGS,
  run({ config, stateFolder, sharedStore }) {
    const folder = stateFolder ?? null;
    if (sharedStore === undefined) {
      const hasUrl = config.settings.REDIS_URL !== undefined;
      const summary = hasUrl
        ? "rate limits are shared by REDIS_URL, which only a running gateway connects to; other state is local to the process"
        : "state is local to this process; other instances have their own limits and changes";
      return conclude([], summary, { shared: hasUrl, folder });
    }
    const { state, fault, code, since, replicas } = sharedStore.describe();
    const evidence = { shared: true, folder, state, fault, code, since: new Date(since).toISOString(), replicas };
    const summary = `rate limits are shared by ${plural(replicas, "gateway")}; other state is local to this process`;
    if (fault === null) return conclude([], summary, evidence);
    const detail = code === null ? "" : ` (${code})`;
    const message = `the shared store is degraded: ${FAULTS[fault]}${detail}; this gateway counts its share of each limit alone`;
    return conclude([{ finding: FINDINGS.degraded, message }], summary, evidence);
  },
};
