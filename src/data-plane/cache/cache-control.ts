/**
 * Reads Cache-Control of requests and responses (RFC 9111 section 5.2).
 * Invariant: a directive inside a quoted string is no directive, names ignore case, and where a directive is repeated the stricter
 * value counts: a response with invalid freshness is stale rather than fresh.
 */

/** Values by lower-case name; `true` for a directive without a value. */
export type Directives = ReadonlyMap<string, string | true>;

/** No blank may stand around `=`: such a directive is none (RFC 9111 section 5.2). */
const DIRECTIVE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:=(?:"((?:[^"\\]|\\.)*)"|([^\s",]*)))?$/s;

/** Splits a list at its commas outside of quoted strings. */
const ITEMS = /(?:[^",]|"(?:[^"\\]|\\.)*"?)+/gs;

/** @param value of all field lines, joined by commas. */
export function readCacheControl(value: string | undefined): Directives {
  const found = new Map<string, string | true>();
  if (value === undefined) return found;
  for (const [item] of value.matchAll(ITEMS)) {
    const match = DIRECTIVE.exec(item.trim());
    if (match === null) continue;
    const name = (match[1] as string).toLowerCase();
    const argument = match[2]?.replace(/\\(.)/gs, "$1") ?? match[3] ?? true;
    const before = found.get(name);
    found.set(name, before === undefined ? argument : stricter(name, before, argument));
  }
  return found;
}

/** A list of names together; of seconds the smaller number, and without a value the directive applies to everything. */
function stricter(name: string, one: string | true, other: string | true): string | true {
  if (one === true || other === true) return true;
  if (name === "no-cache" || name === "private") return `${one},${other}`;
  const [a, b] = [readSeconds(one), readSeconds(other)];
  return a === undefined || (b !== undefined && a <= b) ? one : other;
}

/** Delta-seconds (RFC 9111 section 1.2.2), at most 2^31; undefined for anything else. */
export function readSeconds(value: string | true | undefined): number | undefined {
  if (typeof value !== "string" || !/^\d+$/.test(value)) return undefined;
  return Math.min(Number(value), 2_147_483_648);
}

/** Lower-case field names of `no-cache="a, b"` or `private="a"`; undefined without the directive, empty where it names no field. */
export function fieldsNamedBy(directives: Directives, name: "no-cache" | "private"): readonly string[] | undefined {
  const value = directives.get(name);
  if (value === undefined) return undefined;
  if (value === true) return [];
  return value
    .split(",")
    .map((field) => field.trim().toLowerCase())
    .filter((field) => field !== "");
}
