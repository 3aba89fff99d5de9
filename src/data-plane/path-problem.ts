/**
 * Finds a path that could leave the base URL of its service, in any reading of servers.
 * Invariant: it judges the raw text, which is sent as it is.
 */

/** A path without any of these needs no further check; most paths have none. */
const SUSPECT = /[%\\;\x00-\x20\x7f]|\/\./;
const MALFORMED_PERCENT = /%(?![0-9A-Fa-f]{2})/;
const CONTROL = /[\x00-\x1f\x7f]/;

/** The problem of a raw path; undefined for none. `raw` permits dot segments that stay under the base. */
export function findPathProblem(path: string, policy: "strict" | "raw"): string | undefined {
  if (!SUSPECT.test(path)) return undefined;
  if (MALFORMED_PERCENT.test(path)) return "The path contains a malformed percent-encoding.";
  const decoded = decodeBytes(path);
  if (CONTROL.test(decoded)) return "The path contains a control character.";
  return policy === "strict" ? findDotSegment(decoded) : findClimb(path);
}

function decodeBytes(text: string): string {
  return text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** Both `/` and `\` separate segments, and `..;x` is `..` to servers that support path parameters. */
function segmentsOf(decoded: string): string[] {
  return decoded.split(/[/\\]/).map((segment) => segment.replace(/;.*$/s, ""));
}

function findDotSegment(decoded: string): string | undefined {
  return segmentsOf(decoded).some((segment) => segment === "." || segment === "..")
    ? "The path contains a dot segment."
    : undefined;
}

/** Counts as the server that climbs furthest: `a%2fb` and `a\b` are one step down to some servers, and `a%2f..` is none. */
function findClimb(path: string): string | undefined {
  let depth = 0;
  for (const segment of path.split("/").slice(1)) {
    const decoded = decodeBytes(segment);
    const climbs = segmentsOf(decoded).filter((part) => part === "..").length;
    if (climbs > 0) depth -= climbs;
    // An empty segment is no step down, because some servers merge slashes; neither is a segment of parameters only.
    else if (segmentsOf(decoded.replace(/;.*$/s, "")).some((part) => part !== "." && part !== "")) depth++;
    if (depth < 0) return "The path climbs out of the service's base URL.";
  }
  return undefined;
}
