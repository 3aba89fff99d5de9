/**
 * What good keys were refused for: one that has ended and is still presented, or one that may do less than is asked of it.
 * The caller is told little; the operator is told which key it was, in the log and in the diagnostics.
 * Invariant: only keys that were issued are kept, and nothing of a key but its id.
 */
import type { GatewayError } from "../errors.ts";

export type KeyRefusalReason = "expired" | "revoked" | "permission" | "address";

export interface KeyRefusal {
  readonly id: string;
  readonly reason: KeyRefusalReason;
  readonly count: number;
  /** ms since the epoch. */
  readonly lastAt: number;
  /** The permission that it lacked last. */
  readonly required?: string | undefined;
}

export interface KeyRefusals {
  note(id: string, reason: KeyRefusalReason, required?: string): void;
  /** The same for an answer that it got; one that any other key would have got as well is nothing to note. */
  noteError(id: string, error: GatewayError): void;
  list(): readonly KeyRefusal[];
}

/** The log says it again after this many ms, not with each request. */
const SAY_AGAIN_MS = 3_600_000;

/** As many as there are keys, each for more than one reason; beyond it all is forgotten. */
const REFUSALS_LIMIT = 20_000;

const WORDS: Readonly<Record<KeyRefusalReason, string>> = {
  expired: "has expired and is still presented",
  revoked: "was revoked and is still presented",
  permission: "was asked for more than it may do",
  address: "was presented from an address that it is not for",
};

/** Of a permission that is kept, characters. */
const REQUIRED_LIMIT = 256;

/** Not cut in the middle, where half a secret would stand that nothing masks: beyond the limit the path is left out. */
function shortOf(required: string): string {
  return required.length <= REQUIRED_LIMIT ? required : required.split(":", 2).join(":");
}

/** @param warn told in words, at most once an hour for each key and reason. */
export function createKeyRefusals(
  warn: (fields: { readonly key: string; readonly required?: string | undefined }, words: string) => void,
): KeyRefusals {
  const refusals = new Map<string, KeyRefusal & { readonly saidAt: number }>();
  function note(id: string, reason: KeyRefusalReason, required?: string): void {
    const at = `${id} ${reason}`;
    const before = refusals.get(at);
    const lastAt = Date.now();
    const isDue = before === undefined || Math.abs(lastAt - before.saidAt) >= SAY_AGAIN_MS;
    if (isDue) warn({ key: id, required }, `the key ${id} ${WORDS[reason]}`);
    if (before === undefined && refusals.size >= REFUSALS_LIMIT) refusals.clear();
    const saidAt = isDue ? lastAt : before.saidAt;
    refusals.set(at, { id, reason, required, count: (before?.count ?? 0) + 1, lastAt, saidAt });
  }

  return {
    note,
    noteError(id, { code, extra }) {
      if (code === "INSUFFICIENT_PERMISSIONS") note(id, "permission", shortOf(String(extra.required)));
      else if (code === "IP_NOT_ALLOWED") note(id, "address");
    },
    list: () => [...refusals.values()].map(({ saidAt: _, ...refusal }) => refusal),
  };
}
