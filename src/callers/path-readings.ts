/**
 * Every way in which a server may read a path. Servers decode once or twice, before or after they split it, take `\` for `/`,
 * merge slashes, cut off `;params`, resolve dot segments, take `//host` for an authority: each in an order of its own.
 * Invariant: every order of these steps is among the readings; a path of which that cannot be said has none.
 */
import { isUtf8 } from "node:buffer";
import { INNER_SLASH } from "./path-pattern.ts";

/** A reading of the path: its segments, decoded, one character a byte. */
export type Reading = readonly string[];

/** No honest path has nearly as many. */
const READINGS_LIMIT = 64;
/** Characters of them all: it bounds the time that one path takes. */
const READ_LIMIT = 256 * 1024;

/** Without any of these a path is read by all alike: nearly every request ends here. */
const SUSPECT = /[%;\\?#\x00-\x20\x7f-\uffff]|\/[/.]/;
const MALFORMED_PERCENT = /%(?![0-9A-Fa-f]{2})/;
const NO_PATH = /[\x00-\x20\x7f]|[^\x00-\xff]/;
const ENCODED_CONTROL = /%(?:[01][0-9A-Fa-f]|7[Ff])/;

/** Undefined from a step: so read, it is no path that may be allowed. */
type Step = (text: string) => string | undefined;

const PLAIN_STEPS: readonly Step[] = [
  (text) => text.replaceAll(INNER_SLASH, "/"),
  (text) => text.replaceAll("\\", "/"),
  (text) => (text.includes("//") ? text.replace(/\/{2,}/g, "/") : text),
  (text) => (text.includes(";") ? text.replace(/;[^/]*/g, "") : text),
  // By those who look for the query after they decoded, or take a fragment for one.
  (text) => text.replace(/[?#].*$/s, ""),
  // `new URL(req.url, base)` takes `//public/admin` for `/admin` on the host `public`, with more slashes before it, too.
  (text) => (text.startsWith("//") ? rooted(text.replace(/^\/{2,}[^/]*/, "")) : text),
  // RFC 3986 section 5.2.4 leaves a slash where a dot segment was the last; path.normalize leaves none.
  (text) => resolveDots(text, true),
  (text) => resolveDots(text, false),
  foldWidth,
];
const STEPS: readonly Step[] = [...PLAIN_STEPS, decode];

/**
 * Of the encodings of a path the one that it came in is no reading: `%61` and `a` are the same to all who decode
 * (RFC 3986 section 6.2.2.2), and nobody who does not decode has more to guard than they.
 * @param path raw, without the query; empty for the base as written, which is read as `/`. @returns undefined for a path that no
 * pattern may allow: malformed, not UTF-8 (overlong forms are not), climbing, or of too many readings.
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

/** What every order of the steps makes of these texts, with the texts. */
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
  // A Set is walked on to what is added on the way.
  for (const text of found) {
    for (const step of steps) if (!admits(step(text))) return undefined;
  }
  return [...found];
}

/** The bytes that encodings stand for; what is malformed beneath the first encoding stays as it is. */
function decode(text: string): string | undefined {
  if (!text.includes("%")) return text;
  if (ENCODED_CONTROL.test(text)) return undefined;
  return text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex) => {
    const character = String.fromCharCode(Number.parseInt(hex, 16));
    return character === "/" ? INNER_SLASH : character;
  });
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
      // Windows drops dots and spaces at the end of a name: `.. ` may be `..`.
      return undefined;
    }
  }
  if (endsInDots && keepsSlash) kept.push("");
  return `/${kept.join("/")}`;
}

/** Some fold compatible characters into one: `．．` and `‥` into `..`, `／` into `/`. */
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
