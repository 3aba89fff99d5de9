/** Process-wide parts that keep their state in the stores. */
import type { Audit } from "../callers/audit.ts";
import { createIssuedKeys, type IssuedKeys } from "../callers/issued-keys.ts";
import { createKeyChanges } from "../callers/key-changes.ts";
import { createKeySpendings } from "../callers/key-spending.ts";
import { identityOf } from "../config/credential-source.ts";
import { createIdempotencyContext } from "../data-plane/idempotency/service-idempotency.ts";
import { createQuotaContext } from "../data-plane/quota/service-quota.ts";
import { Spending } from "../data-plane/spend/spending.ts";
import { createKeyLimits, type KeyLimits } from "../limits/limiters.ts";
import type { SharedCounters } from "../stores/shared-counters.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { GatewayOptions, GatewayStores } from "./gateway-options.ts";
import type { UpstreamContext } from "./upstreams.ts";

/** The author of an audit entry for a change that no caller made. */
const GATEWAY = { caller: "gateway", address: "", requestId: "" };

function openIssuedKeys(stores: GatewayStores, audit: Audit): IssuedKeys {
  return createIssuedKeys({
    records: stores.keys,
    usage: stores.keyUsage,
    onDeleted: (subject) => void audit.record(GATEWAY, { action: "key.forget", subject }),
  });
}

function openKeyLimits({ family, findById }: IssuedKeys, shared: SharedCounters | undefined): KeyLimits {
  return createKeyLimits((id) => family.issuersOf(id).flatMap((each) => findById(each) ?? []), { shared });
}

interface KeyContext {
  readonly audit: Audit;
  readonly logger: Logger;
  /** Undefined where limits are local to the process. */
  readonly sharedCounters: SharedCounters | undefined;
}

/** Of issued keys: what they may do, and what they did. */
export function openKeyParts(
  stores: GatewayStores,
  { audit, logger, sharedCounters }: KeyContext,
  { budgetClock: now }: GatewayOptions,
) {
  const issuedKeys = openIssuedKeys(stores, audit);
  const keys = createKeySpendings(stores.keys, issuedKeys.family);
  return {
    issuedKeys,
    keyChanges: createKeyChanges(issuedKeys, audit),
    keyUsage: stores.keyUsage,
    keyLimits: openKeyLimits(issuedKeys, sharedCounters),
    spending: new Spending({ tallies: stores.tallies, keys, logger, now }),
  };
}

export function openUpstreamState(
  { quota, claims, fingerprint }: GatewayStores,
  maxInFlight: number,
  onEvent: UpstreamContext["quota"]["onEvent"],
): Pick<UpstreamContext, "quota" | "idempotency"> {
  const idempotency = createIdempotencyContext(claims, fingerprint.request);
  const context = createQuotaContext({
    ledger: quota,
    fingerprint,
    showCredential(credential) {
      const secret = identityOf(credential);
      return {
        source: credential?.source ?? null,
        fingerprint: secret === undefined ? null : fingerprint.credential(secret),
      };
    },
    maxInFlight,
    onEvent,
  });
  return { quota: context, idempotency };
}
