/**
 * All readings of a path: servers decode once or twice, before or after they split it, read `\` as `/`, merge slashes, cut off
 * `;params`, resolve dot segments, and read `//host` as an authority, each in its own order.
 * Invariant: the result of every order of these steps is among the readings; a path for which that is not certain has none.
 */
import { isUtf8 } from "node:buffer";
import { INNER_SLASH } from "./path-pattern.ts";

/** The decoded segments of the path, one character for each byte. */
export type Reading = readonly string[];

/** Legitimate paths have far fewer. */
const READINGS_LIMIT = 64;
/** Characters of all readings: it bounds the time for one path. */
const READ_LIMIT = 32 * 1024;

/** Without any of these characters all servers read a path alike: true for nearly every request. */
const SUSPECT = /[%;\\?#\x00-\x20\x7f-\uffff]|\/[/.]/;
const MALFORMED_PERCENT = /%(?![0-9A-Fa-f]{2})/;
const NO_PATH = /[\x00-\x20\x7f]|[^\x00-\xff]/;
const ENCODED_CONTROL = /%(?:[01][0-9A-Fa-f]|7[Ff])/;

/** A step returns undefined for a reading that must not be allowed. */
type Step = (text: string) => string | undefined;

const PLAIN_STEPS: readonly Step[] = [
  (text) => text.replaceAll(INNER_SLASH, "/"),
  (text) => text.replaceAll("\\", "/"),
  (text) => (text.includes("//") ? text.replace(/\/{2,}/g, "/") : text),
  (text) => (text.includes(";") ? text.replace(/;[^/]*/g, "") : text),
  // Some servers search for the query after decoding, or treat a fragment as a query.
  (text) => text.replace(/[?#].*$/s, ""),
  // `new URL(req.url, base)` reads `//public/admin` as `/admin` on the host `public`, also with more slashes in front.
  (text) => (text.startsWith("//") ? rooted(text.replace(/^\/{2,}[^/]*/, "")) : text),
  // RFC 3986 section 5.2.4 leaves a slash where a dot segment was the last; path.normalize leaves none.
  (text) => resolveDots(text, true),
  (text) => resolveDots(text, false),
  foldWidth,
];
const STEPS: readonly Step[] = [...PLAIN_STEPS, decode];

/**
 * The path as received, before decoding, is not a reading: `%61` and `a` are the same to every server that decodes (RFC 3986
 * section 6.2.2.2), and a server that does not decode serves nothing under the encoded name.
 * @param path raw, without the query; empty for the base URL itself, which is read as `/`. @returns undefined for a path that no
 * pattern may allow: malformed, not UTF-8 (overlong forms included), above the root, or with too many readings.
 */
export function readingsOf(path: string): readonly Reading[] | undefined {
  if (path === "") return [[""]];
  if (!path.startsWith("/")) return undefined;
  if (!SUSPECT.test(path)) return [segmentsOf(path)];
  if (MALFORMED_PERCENT.test(path) || NO_PATH.test(path)) return undefined;
  let texts = closureOf([path], PLAIN_STEPS);
  if (path.includes("%")) texts = texts && closureOf(texts.map(decode), STEPS);
  return texts?.map(segmentsOf);
}

/** The texts, and the results of every order of the steps on them. */
function closureOf(texts: readonly (string | undefined)[], steps: readonly Step[]): string[] | undefined {
  const found = new Set<string>();
  let length = 0;
  const admits = (text: string | undefined): text is string => {
    if (text === undefined || !isText(text)) return false;
    if (!found.has(text)) length += text.length;
    found.add(text);
    return found.size <= READINGS_LIMIT && length <= READ_LIMIT;
  };
  if (!texts.every(admits)) return undefined;
  // Iterating a Set includes the values that are added meanwhile.
  for (const text of found) {
    for (const step of steps) if (!admits(step(text))) return undefined;
  }
  return [...found];
}

/** Decodes once; a sequence that is malformed after an earlier decoding is left as it is. */
function decode(text: string): string | undefined {
  if (!text.includes("%")) return text;
  if (ENCODED_CONTROL.test(text)) return undefined;
  let decoded = "";
  let from = 0;
  for (let at = text.indexOf("%"); at !== -1; at = text.indexOf("%", at + 1)) {
    const code = 16 * hexValue(text.charCodeAt(at + 1)) + hexValue(text.charCodeAt(at + 2));
    if (!(code >= 0)) continue;
    decoded += text.slice(from, at) + (code === 0x2f ? INNER_SLASH : String.fromCharCode(code));
    from = at + 3;
    at += 2;
  }
  return decoded + text.slice(from);
}

/** NaN for any other character, and behind the end of the text. */
function hexValue(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const letter = code | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : Number.NaN;
}

function resolveDots(text: string, keepsSlash: boolean): string | undefined {
  if (!/\/[. ]/.test(text)) return text;
  const kept: string[] = [];
  let endsInDots = false;
  for (const segment of segmentsOf(text)) {
    endsInDots = segment.includes(".") && /^[. ]+$/.test(segment);
    if (!endsInDots) {
      kept.push(segment);
    } else if (segment === "..") {
      if (kept.pop() === undefined) return undefined;
    } else if (segment !== ".") {
      // Windows ignores dots and spaces at the end of a name: `.. ` may be `..`.
      return undefined;
    }
  }
  if (endsInDots && keepsSlash) kept.push("");
  return `/${kept.join("/")}`;
}

/** Some servers normalize compatible characters: `．．` and `‥` to `..`, `／` to `/`. */
function foldWidth(text: string): string {
  if (!/[\x80-\xff]/.test(text)) return text;
  const folded = Buffer.from(text, "latin1").toString("utf8").normalize("NFKC");
  return Buffer.from(folded, "utf8").toString("latin1");
}

function isText(text: string): boolean {
  return !/[\x80-\xff]/.test(text) || isUtf8(Buffer.from(text, "latin1"));
}

const rooted = (text: string) => (text === "" ? "/" : text);

const segmentsOf = (text: string) => text.slice(1).split("/");
