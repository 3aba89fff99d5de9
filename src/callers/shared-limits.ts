/**
 * What a key with a rate limit may do with other keys.
 * Invariant: a key and all keys that it issued, directly or by others, never send more requests than its limit or begin to spend beyond its
 * budget, and it cannot issue so many keys that others cannot issue any.
 */
import { GatewayError } from "../errors.ts";
import type { KeyRateLimit, StoredKey } from "./issued-key.ts";
import type { IssuedKeys } from "./issued-keys.ts";
import { ISSUERS_LIMIT } from "./key-family.ts";

/** Keys that one key may have issued, directly or by others, in any state. */
const DESCENDANTS_LIMIT = 1_000;

type Family = Pick<IssuedKeys, "family" | "findById">;

/**
 * @param underway keys that are being issued by keys now. @returns `full`: the ended ones among these keys must make room.
 */
export function decideIssuing(
  { family }: Family,
  issuer: string,
  underway: number,
): GatewayError | { readonly full: readonly string[] } | undefined {
  const chain = [issuer, ...family.issuersOf(issuer)];
  if (chain.length > ISSUERS_LIMIT) {
    return refuseIssuing(`a key that was issued by a key, and so on, ${ISSUERS_LIMIT} times, issues none`);
  }
  for (const id of chain) {
    const descendants = family.descendantsOf(id, DESCENDANTS_LIMIT);
    if (descendants.length + underway > DESCENDANTS_LIMIT) return { full: descendants };
  }
  return undefined;
}

export function refuseFullFamily(): GatewayError {
  return refuseIssuing(`a key issues at most ${DESCENDANTS_LIMIT} keys, those that its keys issue included`);
}

function refuseIssuing(rule: string): GatewayError {
  return new GatewayError("PRECONDITION_FAILED", {
    message: `Nothing was changed: ${rule}.`,
    hint: "Revoke unused keys, or issue the key with MANAGEMENT_API_KEY.",
  });
}

/** A change of a limit begins a new count, and a rotation gives the holder a key with a count of its own. */
export function decideForeignKey(
  keys: Family,
  holder: string,
  { id, next, present }: { readonly id: string; readonly next: StoredKey | "rotated"; readonly present: StoredKey },
): GatewayError | undefined {
  if (!isLimited(keys, holder) || keys.family.issuersOf(id).includes(holder)) return undefined;
  if (next === "rotated") return id === holder ? undefined : refuse("rotates only itself and keys that it issued");
  return isSame(next.rateLimit, present.rateLimit) && isSameBudget(next.budget, present.budget)
    ? undefined
    : refuse("changes only the limits of keys that it issued");
}

function isLimited({ family, findById }: Family, id: string): boolean {
  return [id, ...family.issuersOf(id)].some((each) => {
    const key = findById(each)?.key;
    return (key?.rateLimit ?? key?.budget ?? null) !== null;
  });
}

function isSame(one: KeyRateLimit | null, other: KeyRateLimit | null): boolean {
  return one?.maxRequests === other?.maxRequests && one?.windowMs === other?.windowMs;
}

function isSameBudget(one: StoredKey["budget"], other: StoredKey["budget"]): boolean {
  return one?.tokens === other?.tokens && one?.per === other?.per;
}

function refuse(rule: string): GatewayError {
  return new GatewayError("INSUFFICIENT_PERMISSIONS", {
    message: `A key with a rate limit or a budget ${rule}.`,
    hint: "Use MANAGEMENT_API_KEY.",
    extra: { required: "manage:keys" },
  });
}
