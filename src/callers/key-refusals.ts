/**
 * Why keys were refused, for the operator: the caller learns little, or it could guess. Valid keys that ended or may do less
 * than they asked for are recorded by id (log and diagnostics); other keys are counted by what was wrong with them.
 * Invariant: of a key nothing is kept but the id of an issued one, and comparisons take constant time.
 */
import type { GatewayError } from "../errors.ts";
import { CLIENT_CERT } from "./client-certificate.ts";
import type { Plane } from "./unauthenticated.ts";

export type KeyRefusalReason = "expired" | "revoked" | "permission" | "address" | "certificate";

export interface KeyRefusal {
  readonly id: string;
  readonly reason: KeyRefusalReason;
  readonly count: number;
  /** ms since the epoch. */
  readonly lastAt: number;
  /** The permission that the key lacked last. */
  readonly required?: string | undefined;
}

export interface KeyRefusals {
  note(id: string, reason: KeyRefusalReason, required?: string): void;
  /** The same for an error response; an error that any key would have caused is ignored. */
  noteError(id: string, error: GatewayError): void;
  list(): readonly KeyRefusal[];
}

/** The log repeats a refusal after this many ms, not with each request. */
const LOG_AGAIN_MS = 3_600_000;

/** Twice the number of issued keys, because a key may be refused for more than one reason; at the limit all are forgotten. */
const REFUSALS_LIMIT = 200_000;

const TEXTS: Readonly<Record<KeyRefusalReason, string>> = {
  expired: "has expired and is still presented",
  revoked: "was revoked and is still presented",
  permission: "was refused: it lacks the required permission",
  certificate: "was refused: the connection does not have its client certificate",
  address: "was refused: it may not be used from this address",
};

/** Characters of a permission that are kept. */
const REQUIRED_LIMIT = 256;

/** A longer permission is kept without its path: cut in the middle, it could end in half a secret that no mask recognizes. */
function shortened(required: string): string {
  return required.length <= REQUIRED_LIMIT ? required : required.split(":", 2).join(":");
}

/** @param warn logs a text, at most once an hour for each key and reason. */
export function createKeyRefusals(
  warn: (fields: { readonly key: string; readonly required?: string | undefined }, text: string) => void,
): KeyRefusals {
  const refusals = new Map<string, KeyRefusal & { readonly loggedAt: number }>();
  function note(id: string, reason: KeyRefusalReason, required?: string): void {
    const at = `${id} ${reason}`;
    const before = refusals.get(at);
    const lastAt = Date.now();
    const isDue = before === undefined || Math.abs(lastAt - before.loggedAt) >= LOG_AGAIN_MS;
    if (isDue) warn({ key: id, required }, `the key ${id} ${TEXTS[reason]}`);
    if (before === undefined && refusals.size >= REFUSALS_LIMIT) refusals.clear();
    const loggedAt = isDue ? lastAt : before.loggedAt;
    refusals.set(at, { id, reason, required, count: (before?.count ?? 0) + 1, lastAt, loggedAt });
  }

  return {
    note,
    noteError(id, { code, extra }) {
      if (extra.required === CLIENT_CERT) note(id, "certificate");
      else if (code === "INSUFFICIENT_PERMISSIONS") note(id, "permission", shortened(String(extra.required)));
      else if (code === "IP_NOT_ALLOWED") note(id, "address");
    },
    list: () => [...refusals.values()].map(({ loggedAt: _, ...refusal }) => refusal),
  };
}

/**
 * `too short`: it may have been cut. `with more around it`: quotes, spaces, a repeated scheme. `ended`: an issued key that
 * expired or was revoked.
 */
export type KeyFault =
  | "missing"
  | "an empty key"
  | "another scheme"
  | "the other plane's key"
  | "too short"
  | "with more around it"
  | "in another case"
  | "a misspelt issued key"
  | "ended"
  | "an expired token"
  | "an invalid token"
  | "a token that could not be verified"
  | "unknown";

export interface RefusedKeys {
  readonly plane: Plane;
  readonly fault: KeyFault;
  readonly count: number;
  /** ms since the epoch. */
  readonly lastAt: number;
}

export type RefusedKeyCounts = ReturnType<typeof createRefusedKeys>;

export function createRefusedKeys() {
  const counts = new Map<string, RefusedKeys>();
  return {
    add(plane: Plane, fault: KeyFault): void {
      const at = `${plane} ${fault}`;
      counts.set(at, { plane, fault, count: (counts.get(at)?.count ?? 0) + 1, lastAt: Date.now() });
    },
    list: (): readonly RefusedKeys[] => [...counts.values()],
  };
}
