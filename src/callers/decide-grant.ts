/**
 * What the holder of an issued key may pass on.
 * Invariant: no key that it makes, changes or rotates does more, lasts longer, may be used from elsewhere, or may ask more often than
 * its own; otherwise it would free itself of whatever holds it.
 */
import { GatewayError } from "../errors.ts";
import { coversAddresses } from "./allowed-addresses.ts";
import { refusePermission } from "./decide-issued.ts";
import type { FoundKey } from "./key-index.ts";
import { uncoveredBy } from "./permissions.ts";
import type { KeyRateLimit, StoredKey } from "./stored-key.ts";

type Grant = Pick<StoredKey, "permissions" | "expiresAt" | "allowIps" | "rateLimit">;

/** @param holder undefined for who may grant anything. @param grant the key as it would be. */
export function decideGrant(holder: FoundKey | undefined, grant: Grant): GatewayError | undefined {
  if (holder === undefined) return undefined;
  const { key } = holder;
  const [lacking] = uncoveredBy(holder.permissions, grant.permissions);
  if (lacking !== undefined) return refusePermission(lacking);
  if (outlasts(grant.expiresAt, key.expiresAt)) return beyond(`last longer than itself, until ${key.expiresAt}`);
  if (!coversAddresses(key.allowIps, grant.allowIps))
    return beyond(`be used from elsewhere than ${key.allowIps.join(", ")}`);
  if (isLooser(grant.rateLimit, key.rateLimit)) return beyond("ask more often than itself");
  return undefined;
}

/** RFC 3339, or null for no end. */
function outlasts(asked: string | null, held: string | null): boolean {
  return held !== null && (asked === null || Date.parse(asked) > Date.parse(held));
}

function isLooser(asked: KeyRateLimit | null, held: KeyRateLimit | null): boolean {
  if (held === null) return false;
  if (asked === null || asked.maxRequests > held.maxRequests) return true;
  return asked.maxRequests / asked.windowMs > held.maxRequests / held.windowMs;
}

function beyond(what: string): GatewayError {
  return new GatewayError("INSUFFICIENT_PERMISSIONS", {
    message: `A key may not make one that may ${what}.`,
    hint: "Ask for what the key itself may do, or use MANAGEMENT_API_KEY.",
    extra: { required: "manage:keys" },
  });
}
