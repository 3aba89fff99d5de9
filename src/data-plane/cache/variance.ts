/**
 * The part of a key that `Vary` adds: the neutral headers that a response names (RFC 9111 section 4.1). All others are in the key already.
 */
import { headerOf, type KeyedRequest, NEUTRAL } from "./cache-key.ts";

/** @returns the neutral headers that `Vary` names, sorted; usually none. */
export function variedHeaders(vary: string | undefined): readonly string[] {
  if (vary === undefined) return NONE;
  const names = vary
    .toLowerCase()
    .split(",")
    .map((name) => name.trim())
    .filter((name) => NEUTRAL.has(name));
  return names.length === 0 ? NONE : [...new Set(names)].sort();
}

const NONE: readonly string[] = [];

/** @returns their values in this request as one text; empty for no names. */
export function varianceOf(names: readonly string[], request: KeyedRequest): string {
  if (names.length === 0) return "";
  return names.map((name) => `${name}:${headerOf(request, name) ?? "\n"}\n`).join("");
}
