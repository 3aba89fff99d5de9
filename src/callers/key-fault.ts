/**
 * What was wrong with the keys of a refused request, for the operator.
 * Invariant: nothing of a key is kept, and comparisons take constant time.
 */
import { timingSafeEqual } from "node:crypto";
import { isMisspelt } from "./issued-key.ts";
import type { KeyFault } from "./key-refusals.ts";
import { digestOf, type PresentedKeys } from "./presented-keys.ts";

export interface ExpectedKey {
  readonly presented: Pick<PresentedKeys, "otherScheme" | "empty">;
  /** The plane's key; empty where it has none. */
  readonly own: string;
  /** Whether the key with this digest opens the other plane. */
  readonly opensOther: (digest: string) => boolean;
}

export function findFault(keys: readonly string[], { presented, own, opensOther }: ExpectedKey): KeyFault {
  const { otherScheme, empty } = presented;
  if (keys.length === 0) return empty !== undefined ? "an empty key" : otherScheme ? "another scheme" : "missing";
  if (keys.some((key) => opensOther(digestOf(key)))) return "the other plane's key";
  if (keys.some((key) => isMisspelt(key))) return "a misspelt issued key";
  return keys.map((key) => faultOf(key, own)).find((fault) => fault !== "unknown") ?? "unknown";
}

/** A shorter text could be anything. */
const RECOGNIZABLE_LENGTH = 8;

/** Characters around a complete key: quotes, and a scheme that was written twice. */
const SURROUNDINGS_LIMIT = 32;

/**
 * Compares the content only in ways that need the complete key: any other fault would let a client find the key piece by
 * piece.
 */
function faultOf(presented: string, key: string): KeyFault {
  if (presented.length >= RECOGNIZABLE_LENGTH && presented.length < key.length) return "too short";
  if (presented.length > key.length + SURROUNDINGS_LIMIT) return "unknown";
  const bare = withoutSurroundings(presented);
  if (bare !== presented && isSame(bare, key)) return "with more around it";
  return isSame(presented.toLowerCase(), key.toLowerCase()) ? "in another case" : "unknown";
}

function withoutSurroundings(text: string): string {
  const bare = text.replace(/^["'`]/, "").replace(/^(?:bearer|token) /i, "");
  return bare.replace(/["'`;,]$/, "").trim();
}

function isSame(a: string, b: string): boolean {
  return timingSafeEqual(Buffer.from(digestOf(a), "latin1"), Buffer.from(digestOf(b), "latin1"));
}
