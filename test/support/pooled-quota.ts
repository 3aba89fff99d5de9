/** The queue of a pool over simulated time, with an upstream that counts each credential separately. */
import { VirtualClock } from "../../bench/sim/virtual-clock.ts";
import type { CredentialProvider, PoolMember } from "../../src/data-plane/credential/credential-provider.ts";
import { createFixedProvider, NOTHING } from "../../src/data-plane/credential/credential-provider.ts";
import { RestingPool } from "../../src/data-plane/credential/resting-pool.ts";
import { CredentialQuota } from "../../src/data-plane/quota/credential-quota.ts";
import { OwnChoice } from "../../src/data-plane/quota/pool-choice.ts";
import type { PoolTicket } from "../../src/data-plane/quota/pooled-quota.ts";
import { PooledQuota } from "../../src/data-plane/quota/pooled-quota.ts";
import { type ResponseHeaders, readQuota } from "../../src/data-plane/quota/read-quota.ts";
import { genericRules, type QuotaRules } from "../../src/data-plane/quota/rules.ts";
import type { QuotaRefusal } from "../../src/data-plane/quota/ticket.ts";
import { createLedger } from "../../src/stores/ledger.ts";

export interface SimulatedCredential {
  readonly limit: number;
  readonly windowMs: number;
}

export interface PooledOptions {
  readonly rules?: QuotaRules;
  readonly maxQueue?: number;
  readonly restMs?: number;
  readonly latencyMs?: () => number;
  /** A refused credential is renewed within this time. */
  readonly renewMs?: number | undefined;
  /** Refusals are counted for each of them; default: all callers are one. */
  readonly voterOf?: (callerId: string) => string;
  readonly headersOf: (reported: { limit: number; remaining: number; resetMs: number; now: number }) => ResponseHeaders;
}

export interface Sent {
  readonly callerId: string;
  readonly credential: number;
  readonly at: number;
  readonly isRefused: boolean;
}

const fixed = (sourceId: string) => createFixedProvider({ sourceId, places: [], injection: { ...NOTHING } });

function renewable(sourceId: string, pause: () => Promise<void>): CredentialProvider {
  let injection = { ...NOTHING };
  const renew = async () => {
    await pause();
    injection = { ...NOTHING };
  };
  return { places: [], sourceId, missing: undefined, get: () => injection, renew };
}

export function openPooledQuota(credentials: readonly SimulatedCredential[], options: PooledOptions) {
  const {
    rules = genericRules,
    maxQueue = 1_000,
    restMs = 300_000,
    latencyMs = () => 20,
    voterOf = () => "",
  } = options;
  const { headersOf, renewMs } = options;
  const clock = new VirtualClock();
  const ledger = createLedger();
  const members = credentials.map((_, index): PoolMember => {
    const sourceId = `source ${index}`;
    const provider = renewMs === undefined ? fixed(sourceId) : renewable(sourceId, () => clock.sleep(renewMs));
    return { index, sourceId, provider, credential: { source: `TOKEN_${index}`, secrets: [] } };
  });
  const pool = new RestingPool(members, { isRequired: true, restMs, now: clock.now, onRest: () => {} });
  const accounts = members.map(
    ({ sourceId }) =>
      new CredentialQuota({
        ...{ rules, ledger, prefix: `${sourceId}\n`, maxQueue, clock },
        onChange: () => pooled.changed(),
      }),
  );
  const accountOf = ({ index }: PoolMember) => (accounts[index] as CredentialQuota).pooled;
  const pooled: PooledQuota = new PooledQuota({ accountOf, maxQueue, clock });
  pool.memory.onUsable = () => pooled.changed();
  const windows = credentials.map(() => ({ endsAt: 0, used: 0 }));
  const sent: Sent[] = [];

  /** The upstream counts a request when it arrives. */
  function respond(callerId: string, ticket: PoolTicket): void {
    const { index } = ticket.member;
    const { limit, windowMs } = credentials[index] as SimulatedCredential;
    const window = windows[index] as { endsAt: number; used: number };
    const now = clock.now();
    if (now >= window.endsAt) Object.assign(window, { endsAt: now + windowMs, used: 0 });
    window.used++;
    const isRefused = window.used > limit;
    sent.push({ callerId, credential: index, at: now, isRefused });
    const remaining = Math.max(0, limit - window.used);
    const headers = headersOf({ limit, remaining, resetMs: window.endsAt - now, now });
    clock.after(latencyMs() / 2, () => {
      const status = isRefused ? 429 : 200;
      const reading = readQuota(headers, clock.now());
      ticket.responded({ status, reading, closure: rules.closureOf(status, reading, clock.now()) });
    });
  }

  async function ask(
    callerId: string,
    { path = "/x", maxWaitMs = 3_600_000, onQueued = (_leave: () => void) => {} } = {},
  ): Promise<PoolTicket | QuotaRefusal | undefined> {
    const request = { method: "GET", path, route: rules.routeOf("GET", path), callerId, maxWaitMs, leaseMs: 30_000 };
    const outcome = await pooled.admit(request, new OwnChoice(pool, voterOf(callerId)), onQueued);
    if (outcome !== undefined && !("reason" in outcome)) clock.after(latencyMs() / 2, () => respond(callerId, outcome));
    return outcome;
  }

  /** Whether a credential could send a request of this path now. */
  const isAnyFree = (path = "/x", voter = "") => {
    const request = { method: "GET", path, route: rules.routeOf("GET", path) };
    return pool.usable(voter).some((member) => accountOf(member).freeAt(request) <= clock.now());
  };
  return { clock, pool, pooled, accounts, members, sent, ask, isAnyFree };
}
