/**
 * Compares texts with the gateway's keys: the keys of the two planes and the issued ones.
 * Invariant: keys are compared as digests, in constant time, so that no part of a key leaks; and of the texts that clients present
 * only valid keys are remembered, beside their digests.
 */
import { timingSafeEqual } from "node:crypto";
import type { Config } from "../config/load-config.ts";
import type { Secret } from "../config/secret.ts";
import { hasIssuedForm } from "./issued-key.ts";
import type { FoundKey, KeyIndex } from "./key-index.ts";
import { digestOf } from "./presented-keys.ts";
import type { Plane } from "./unauthenticated.ts";

/** Hex digits of a SHA-256. */
const DIGEST_LENGTH = 64;

/** Valid keys whose digest is remembered: hashing a key anew for each request costs more than any other step of the admission. */
const REMEMBERED_LIMIT = 1_000;

export interface KeyMatcher {
  /** From memory for a key that was valid before. */
  digestOf(key: string): string;
  /** Only for a valid key. */
  remember(key: string, digest: string): void;
  /** Whether it is the digest of the plane's own key. */
  opens(plane: Plane, digest: string): boolean;
  /** In any state and for any plane; undefined for a text that is not an issued key. */
  findIssued(key: string, digest: string): FoundKey | undefined;
  /** True for any key of the gateway in any state. */
  isOwnKey(text: string): boolean;
}

export function createKeyMatcher(
  { proxyPlane, managementPlane }: Pick<Config, "proxyPlane" | "managementPlane">,
  issuedKeys: Pick<KeyIndex, "find">,
): KeyMatcher {
  const digests = { proxy: expectedDigest(proxyPlane.key), management: expectedDigest(managementPlane.key) };
  const [proxyLength, managementLength] = [proxyPlane.key, managementPlane.key].map((key) => key?.reveal().length ?? 0);
  // Overwritten for each comparison, which ends before any other code runs: a digest as text costs a quarter of one as a buffer.
  const candidate = Buffer.alloc(DIGEST_LENGTH);
  const rememberedDigests = new Map<string, string>();

  const opens = (plane: Plane, digest: string) => {
    const expected = digests[plane];
    if (expected === undefined) return false;
    candidate.write(digest, "latin1");
    return timingSafeEqual(expected, candidate);
  };
  const findIssued = (key: string, digest: string) => (hasIssuedForm(key) ? issuedKeys.find(digest) : undefined);

  return {
    digestOf: (key) => rememberedDigests.get(key) ?? digestOf(key),
    remember(key, digest) {
      if (rememberedDigests.has(key)) return;
      if (rememberedDigests.size >= REMEMBERED_LIMIT) rememberedDigests.clear();
      rememberedDigests.set(key, digest);
    },
    opens,
    findIssued,
    isOwnKey(text) {
      // Most texts of a request have another length than a key and cost no hash.
      const { length } = text;
      if (length !== proxyLength && length !== managementLength && !hasIssuedForm(text)) return false;
      const digest = digestOf(text);
      return opens("proxy", digest) || opens("management", digest) || findIssued(text, digest) !== undefined;
    },
  };
}

function expectedDigest(key: Secret | undefined): Buffer | undefined {
  return key === undefined ? undefined : Buffer.from(digestOf(key.reveal()), "latin1");
}
