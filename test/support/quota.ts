/** A credential's quota over simulated time, and responses as upstreams send them. */
import { VirtualClock } from "../../bench/sim/virtual-clock.ts";
import { CredentialQuota } from "../../src/data-plane/quota/credential-quota.ts";
import { type ResponseHeaders, readQuota } from "../../src/data-plane/quota/read-quota.ts";
import { genericRules, type QuotaResponse, type QuotaRules } from "../../src/data-plane/quota/rules.ts";
import type { QuotaRefusal, Ticket } from "../../src/data-plane/quota/ticket.ts";
import { createLedger, type Ledger } from "../../src/stores/ledger.ts";

export const PREFIX = "service\ncredential\n";

export interface OpenOptions {
  readonly rules?: QuotaRules;
  readonly maxQueue?: number;
  readonly maxInFlight?: number;
  readonly ledger?: Pick<Ledger, "reserve" | "settle" | "release" | "forget">;
  readonly clock?: VirtualClock;
}

export interface AskOptions {
  readonly method?: string;
  readonly path?: string;
  readonly maxWaitMs?: number;
}

export type Outcome = Ticket | QuotaRefusal | undefined;

/** A request, its outcome, and when that was, in ms since the start. */
export interface Asked {
  readonly callerId: string;
  outcome: Outcome;
  /** Undefined while it waits. */
  at: number | undefined;
  leave: () => void;
  settled: Promise<void>;
}

export function openQuota({ clock = new VirtualClock(), ledger = createLedger(), ...options }: OpenOptions = {}) {
  const { rules = genericRules, maxQueue = 1_000, maxInFlight } = options;
  const quota = new CredentialQuota({
    rules,
    ledger,
    prefix: PREFIX,
    maxQueue,
    clock,
    ...(maxInFlight !== undefined && { maxInFlight }),
  });
  const startedAt = clock.now();

  function ask(callerId = "a", { method = "GET", path = "/x", maxWaitMs = 60_000 }: AskOptions = {}): Asked {
    const asked: Asked = { callerId, outcome: undefined, at: undefined, leave: () => {}, settled: Promise.resolve() };
    const request = { method, path, route: rules.routeOf(method, path), callerId, maxWaitMs, leaseMs: 30_000 };
    asked.settled = quota
      .admit(request, (leave) => {
        asked.leave = leave;
      })
      .then((outcome) => {
        asked.outcome = outcome;
        asked.at = clock.now() - startedAt;
      });
    return asked;
  }

  /** Runs everything that is due now. */
  const settle = () => clock.run(0);
  const answer = (asked: Asked, headers: ResponseHeaders, status = 200) =>
    ticketOf(asked).responded(responseOf(headers, status));
  function responseOf(headers: ResponseHeaders, status = 200): QuotaResponse {
    const reading = readQuota(headers, clock.now());
    return { status, reading, closure: rules.closureOf(status, reading, clock.now()) };
  }
  return { clock, quota, ledger, ask, settle, answer, responseOf, startedAt };
}

export function ticketOf({ outcome }: Asked): Ticket {
  if (outcome === undefined || "reason" in outcome) throw new Error(`no ticket but ${JSON.stringify(outcome)}`);
  return outcome;
}

export function refusalOf({ outcome }: Asked): QuotaRefusal {
  if (outcome === undefined || !("reason" in outcome)) throw new Error("the request was not refused");
  return outcome;
}

export const isSent = ({ outcome }: Asked) => outcome !== undefined && !("reason" in outcome);

/** `X-RateLimit-*` with the milliseconds until the reset. */
export const limits = (limit: number, remaining: number, resetMs: number) => ({
  "x-ratelimit-limit": String(limit),
  "x-ratelimit-remaining": String(remaining),
  "x-ratelimit-reset-after": (resetMs / 1_000).toFixed(3),
});
