/**
 * Tests a path against the hints of its service.
 * Invariant: all hints together take a few milliseconds for any path. RE2 bounds the time by pattern times path, and that product
 * has a budget; a hint that would exceed it is not tested, because it is a help and no protection.
 */
import { RE2JS } from "re2js";
import { patternSize } from "../config/pattern-size.ts";
import type { Service } from "../config/schema.ts";

type Hint = Service["pathHints"][number];

/** Instructions times characters, for one request. The matcher needs up to 150 ns for each when it builds its states. */
const STEPS_LIMIT = 30_000;

/** `^` and a literal text, which nearly all hints begin with. Everything after the text may be a quantifier. */
const LITERAL_START = /^\^((?:[\w/~%@:,=&!-]|\\[./-])*)(.?)/s;

export interface PathHints {
  /** @param path raw, after the service key. */
  find(path: string): Hint | undefined;
}

/** Undefined for a service without hints. */
export function createPathHints(hints: readonly Hint[]): PathHints | undefined {
  if (hints.length === 0) return undefined;
  const tests = hints.map(prepare);
  return {
    find(path) {
      let steps = STEPS_LIMIT;
      for (const { hint, start, size, matches } of tests) {
        if (!path.startsWith(start)) continue;
        if (matches !== undefined) {
          const cost = size * (path.length + 1);
          if (cost > steps) continue;
          steps -= cost;
          if (!matches(path)) continue;
        }
        return hint;
      }
      return undefined;
    },
  };
}

interface HintTest {
  readonly hint: Hint;
  /** Every path that matches begins with this text. */
  readonly start: string;
  readonly size: number;
  /** Undefined where `start` is the whole pattern. */
  readonly matches: ((path: string) => boolean) | undefined;
}

function prepare(hint: Hint): HintTest {
  const { match } = hint;
  const { start, isWhole } = literalStart(match);
  return { hint, start, size: patternSize(match), matches: isWhole ? undefined : createMatcher(match) };
}

function literalStart(match: string): { readonly start: string; readonly isWhole: boolean } {
  const [whole, literal, next] = match.includes("|") ? [] : (LITERAL_START.exec(match) ?? []);
  if (whole === undefined || literal === undefined) return { start: "", isWhole: false };
  const start = literal.replaceAll("\\", "");
  return /[?*+{]/.test(next ?? "")
    ? { start: start.slice(0, -1), isWhole: false }
    : { start, isWhole: whole.length === match.length && next === "" };
}

/** The matcher keeps megabytes of states for a hostile pattern, so the garbage collector may take it between two requests. */
function createMatcher(match: string): (path: string) => boolean {
  let compiled: WeakRef<RE2JS> | undefined;
  return (path) => {
    let pattern = compiled?.deref();
    if (pattern === undefined) {
      pattern = RE2JS.compile(match);
      compiled = new WeakRef(pattern);
    }
    return pattern.test(path);
  };
}
