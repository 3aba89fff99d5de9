/**
 * The path patterns of permissions: `*` within a segment, `**` for any number of segments, including none. So `/a/**` matches
 * `/a`, `/a/` and everything below, `/a` matches neither `/a/` nor `/A`, and `*` alone matches a segment that is not empty.
 * Invariant: matching never backtracks beyond the last star, and its time is counted against a budget; a pattern that covers
 * another one matches every path that the other matches.
 */
import { isUtf8 } from "node:buffer";

/** A `/` within a segment, received as `%2F`. No path contains control characters, so they can be used as markers. */
export const INNER_SLASH = "\x00";
/** For `covers`, in a pattern that is read as a path: a text that only `*` matches, and segments that only `**` matches. */
const ANY_TEXT = "\x01";
const ANY_SEGMENTS = "\x02";

/** What remains of the time for one decision, in segments compared. A decision without time left matches nothing. */
export interface Work {
  left: number;
}

export interface PathPattern {
  /** @param segments decoded, one character for each byte. */
  matches(segments: readonly string[], work: Work): boolean;
  /** Never true when this pattern does not match some path of the other; it may be false in cases that are hard to decide. */
  covers(other: PathPattern, work: Work): boolean;
  /** This pattern as if it were a path. */
  asSegments(): readonly string[];
}

export interface Problem {
  /** What was found, and what is allowed. */
  readonly problem: string;
}

/**
 * A literal segment, the pieces between the stars of one, or null for `**`. Data and no closures: a hundred thousand keys may have
 * fifty patterns each.
 */
type Token = string | readonly string[] | null;

const MALFORMED_PERCENT = /%(?![0-9A-Fa-f]{2})/;

/** @param text encoded as in a URL: `%2F` is a slash within a segment, `%2A` a star, `%25` a percent sign. */
export function parsePathPattern(text: string): PathPattern | Problem {
  const problem = (reason: string) => ({ problem: `the path pattern ${JSON.stringify(text)} ${reason}` });
  if (!text.startsWith("/")) return problem("does not begin with `/`");
  if (MALFORMED_PERCENT.test(text)) return problem("contains a malformed percent-encoding; a percent sign is `%25`");
  const segments = bytesOf(text).slice(1).split("/");
  const tokens: Token[] = [];
  for (const [index, segment] of segments.entries()) {
    if (segment === "**") {
      // Two in a row mean the same as one.
      if (tokens.at(-1) !== null) tokens.push(null);
      continue;
    }
    const pieces = segment.split("*").map(decodePiece);
    const reason = problemOf(segment, pieces, index === segments.length - 1);
    if (reason !== undefined) return problem(reason);
    tokens.push(pieces.length === 1 ? (pieces[0] as string) : pieces);
  }
  return new Pattern(tokens);
}

class Pattern implements PathPattern {
  readonly #tokens: readonly Token[];

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  matches(segments: readonly string[], work: Work): boolean {
    return matchSegments(this.#tokens, segments, work);
  }

  covers(other: PathPattern, work: Work): boolean {
    return matchSegments(this.#tokens, other.asSegments(), work);
  }

  asSegments(): readonly string[] {
    return this.#tokens.map((token) => {
      if (token === null) return ANY_SEGMENTS;
      return typeof token === "string" ? token : token.join(ANY_TEXT);
    });
  }
}

function problemOf(segment: string, pieces: readonly string[], isLast: boolean): string | undefined {
  const decoded = pieces.join("*");
  if (segment.includes("**")) return "contains a `**` that is not alone between slashes; within a segment use `*`";
  if (segment === "" && !isLast) return "contains an empty segment";
  if (/[?#]/.test(segment)) return "contains a `?` or `#`; a permission is about the path only";
  // Servers read these characters differently, so a path with one of them needs more than a literal match.
  if (/[\\;?#]/.test(decoded)) return "contains a `\\`, `;`, `?` or `#`, encoded or not; use `*` for it";
  if (/^[. ]+$/.test(decoded) && decoded.includes(".")) return "contains a dot segment";
  if (/[\x00-\x20\x7f]/.test(segment) || /[\x01-\x1f\x7f]/.test(decoded)) {
    return "contains white space or a control character; a space is `%20`";
  }
  return isUtf8(Buffer.from(decoded, "latin1")) ? undefined : "is not UTF-8 when it is decoded";
}

function matchesSegment(token: Exclude<Token, null>, segment: string): boolean {
  if (typeof token === "string") return token === segment;
  const first = token[0] as string;
  const last = token[token.length - 1] as string;
  const end = segment.length - last.length;
  if (end < first.length || !segment.startsWith(first) || !segment.endsWith(last)) return false;
  let at = first.length;
  let isBare = first === "" && last === "";
  // The leftmost match leaves the most text for the pieces that follow: no other match has to be tried.
  for (let i = 1; i < token.length - 1; i++) {
    const piece = token[i] as string;
    if (piece !== "") isBare = false;
    const found = segment.indexOf(piece, at);
    if (found === -1) return false;
    at = found + piece.length;
  }
  // Stars alone match neither an empty segment nor a `**` that is read as a path.
  if (isBare) return segment !== "" && segment !== ANY_SEGMENTS;
  return at <= end;
}

function matchSegments(tokens: readonly Token[], segments: readonly string[], work: Work): boolean {
  let token = 0;
  let at = 0;
  /** The token after the last `**`, and the end of the segments that this `**` matches so far. */
  let resumeToken = -1;
  let resumeAt = 0;
  while (at < segments.length) {
    const present = tokens[token];
    const segment = segments[at] as string;
    // A comparison with stars takes time in proportion to the segment.
    work.left -= typeof present === "object" && present !== null ? 1 + (segment.length >> 4) : 1;
    if (work.left < 0) return false;
    if (present === null) {
      token += 1;
      // Matches everything that follows.
      if (token === tokens.length) return true;
      resumeToken = token;
      resumeAt = at;
    } else if (present !== undefined && matchesSegment(present, segment)) {
      token += 1;
      at += 1;
    } else if (resumeToken !== -1) {
      resumeAt += 1;
      at = resumeAt;
      token = resumeToken;
    } else {
      return false;
    }
  }
  while (tokens[token] === null) token += 1;
  return token === tokens.length;
}

/** One character for each byte, as in a path. */
function bytesOf(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

function decodePiece(piece: string): string {
  return piece.replace(/%([0-9A-Fa-f]{2})/g, (_, hex) => {
    const character = String.fromCharCode(Number.parseInt(hex, 16));
    if (character === "/") return INNER_SLASH;
    // Must not be mistaken for the marker of a slash within a segment.
    return character === INNER_SLASH ? "\x01" : character;
  });
}
