/**
 * Finds the gateway's own keys in what a client sends, and cuts them out of what an upstream receives.
 * Invariant: text without a key stays the same byte for byte; and `isKey` compares lengths before it hashes, so that ordinary text
 * costs no hash.
 */
import { ISSUED_LENGTH, ISSUED_PREFIX } from "./issued-key.ts";

/** True for any key of the gateway in any state. */
export interface IsKey {
  (text: string): boolean;
  /** Finds keys that have a form of their own in the middle of a text, as issued keys are found. */
  readonly isWithin?: (text: string) => boolean;
}

/** The minimum in the schema of the settings; issued keys are longer. */
const SHORTEST_KEY = 16;

/** Names before a key that are looked through: `Token token=<key>`. */
const NAMES = 3;

/**
 * Whether a value is a key: bare, after a scheme, in quotes, after a name and `=`, in the base64 of Basic, or percent-encoded. An issued
 * key is also found in the middle of a text, because its prefix is known.
 */
export function holdsKey(value: string, isKey: IsKey): boolean {
  if (value.length < SHORTEST_KEY) return false;
  if (hasKey(value, isKey)) return true;
  return value.includes("%") && decodingsOf(value).some((text) => hasKey(text, isKey));
}

function hasKey(value: string, isKey: IsKey): boolean {
  if (isWord(value, isKey) || hasIssuedKey(value, isKey)) return true;
  const space = value.indexOf(" ");
  const end = space === -1 ? value.indexOf("\t") : space;
  if (end === -1 || value.length - end <= SHORTEST_KEY) return false;
  const afterScheme = value.slice(end + 1).trim();
  if (isWord(afterScheme, isKey)) return true;
  return end === "basic".length && isBasic(value) && pairHasKey(afterScheme, isKey);
}

/** `<key>`, `"<key>"`, `<key>/…`, `<key>:…`, or one of them after `name=`. */
function isWord(text: string, isKey: IsKey): boolean {
  if (text.length < SHORTEST_KEY) return false;
  if (isValue(text, isKey)) return true;
  let equals = text.indexOf("=");
  for (let i = 0; i < NAMES && equals !== -1 && text.length - equals > SHORTEST_KEY; i++) {
    if (isValue(text.slice(equals + 1), isKey)) return true;
    equals = text.indexOf("=", equals + 1);
  }
  return false;
}

function isValue(text: string, isKey: IsKey): boolean {
  return isKey(text) || isQuotedKey(text, isKey) || isAccessKeyId(text, isKey);
}

/**
 * Of an AWS signature: `<key>/20261130/<region>/…`, or in version 2 `<key>:<signature>`. A key in base64 may have slashes, so it ends at
 * the date, too.
 */
function isAccessKeyId(text: string, isKey: IsKey): boolean {
  const slash = text.indexOf("/");
  if (endsKey(text, slash, isKey) || endsKey(text, text.lastIndexOf(":"), isKey)) return true;
  for (let at = slash; at !== -1; at = text.indexOf("/", at + 1)) {
    if (isScopeDate(text, at + 1) && endsKey(text, at, isKey)) return true;
  }
  return false;
}

function endsKey(text: string, end: number, isKey: IsKey): boolean {
  return end >= SHORTEST_KEY && isKey(text.slice(0, end));
}

/** Eight digits and a slash. Asked for each slash of a header, most of which have none there. */
function isScopeDate(text: string, start: number): boolean {
  return text.charCodeAt(start + 8) === SLASH && /^\d{8}$/.test(text.slice(start, start + 8));
}

const SLASH = 47;
const QUOTE = 34;

function isQuotedKey(text: string, isKey: IsKey): boolean {
  return text.charCodeAt(0) === QUOTE && text.charCodeAt(text.length - 1) === QUOTE && isKey(text.slice(1, -1));
}

const isBasic = (value: string) => /^basic[ \t]/i.test(value);

/** RFC 7617 section 2; the user name may hold the key, some clients leave the colon out, and a password may have one: `scope:<key>`. */
function pairHasKey(base64: string, isKey: IsKey): boolean {
  const pair = Buffer.from(base64, "base64").toString("latin1");
  const colon = pair.indexOf(":");
  return [pair, pair.slice(0, Math.max(colon, 0)), pair.slice(colon + 1), ...pair.split(":")].some(
    (text) => isKey(text) || hasIssuedKey(text, isKey),
  );
}

function hasIssuedKey(text: string, isKey: IsKey): boolean {
  for (let at = text.indexOf(ISSUED_PREFIX); at !== -1; at = text.indexOf(ISSUED_PREFIX, at + 1)) {
    if (isKey(text.slice(at, at + ISSUED_LENGTH))) return true;
  }
  return isKey.isWithin?.(text) === true;
}

/**
 * True for an Authorization or Cookie value that contains a key: with any scheme, bare, quoted, percent-encoded, in a list, as a
 * parameter, or in the base64 of Basic.
 */
export function carriesKey(value: string, isKey: IsKey): boolean {
  if (value.length < SHORTEST_KEY) return false;
  if (holdsKey(value, isKey)) return true;
  // A key contains no white space, but may contain any of the other separators.
  for (const word of new Set([...value.split(/[\s;]+/), ...value.split(/[\s;,]+/)])) {
    if (word.length < SHORTEST_KEY) continue;
    if (word !== value && holdsKey(word, isKey)) return true;
    // A cookie may contain a whole Authorization value: `auth=Bearer%20<key>`.
    const equals = word.indexOf("=");
    if (equals !== -1 && (isKey(word.slice(0, equals)) || carriesText(word.slice(equals + 1), isKey))) return true;
  }
  return false;
}

/** A Cookie header without the pairs that carry a key; undefined when nothing is left. */
export function cutCookies(value: string, isKey: IsKey): string | undefined {
  if (!carriesKey(value, isKey)) return value;
  const kept = value.split(";").filter((pair) => !carriesKey(pair.trim(), isKey));
  const rest = kept.join(";").trim();
  // A key with a semicolon in it is in several pairs.
  return rest === "" || carriesKey(rest, isKey) ? undefined : rest;
}

/** A Sec-WebSocket-Protocol header without the items that are a key or end in `.<key>`; undefined when nothing is left. */
export function cutProtocols(value: string, isKey: IsKey): string | undefined {
  if (value.length < SHORTEST_KEY) return value;
  // A key with a comma in it is in several items.
  if (isWord(value, isKey)) return undefined;
  const items = value.split(",");
  const kept = items.filter((item) => !endsInKey(item.trim(), isKey));
  if (kept.length === items.length) return value;
  return kept.length === 0 ? undefined : kept.join(",").trim();
}

/** Each of the parts after a dot, also in base64url, as Kubernetes has its tokens in a subprotocol. */
function endsInKey(item: string, isKey: IsKey): boolean {
  if (item.length < SHORTEST_KEY) return false;
  if (holdsKey(item, isKey)) return true;
  for (let dot = item.indexOf("."); dot !== -1; dot = item.indexOf(".", dot + 1)) {
    if (isKey(item.slice(dot + 1))) return true;
  }
  return isKey(Buffer.from(item.slice(item.lastIndexOf(".") + 1), "base64url").toString("latin1"));
}

/** The query without the parameters whose name or value is a key, in any number of percent-encodings; undefined when nothing is left. */
export function cutKeyParameters(query: string, isKey: IsKey): string | undefined {
  if (query.length < SHORTEST_KEY) return query;
  const parameters = query.split("&");
  const kept = parameters.filter((parameter) => !parameterHasKey(parameter, isKey));
  if (kept.length === parameters.length) return query;
  return kept.length === 0 ? undefined : kept.join("&");
}

function parameterHasKey(parameter: string, isKey: IsKey): boolean {
  if (parameter.length < SHORTEST_KEY) return false;
  const equals = parameter.indexOf("=");
  if (equals === -1) return carriesText(parameter, isKey);
  return (
    carriesText(parameter.slice(0, equals), isKey) ||
    carriesText(parameter.slice(equals + 1), isKey) ||
    // A key may have `=` in it.
    isKey(parameter)
  );
}

/** Some servers separate parameters with `;` too. */
function carriesText(text: string, isKey: IsKey): boolean {
  if (holdsKey(text, isKey)) return true;
  if (/[%+]/.test(text) && decodingsOf(text).some((decoded) => hasKey(decoded, isKey))) return true;
  return text.includes(";") && text.split(";").some((part) => holdsKey(part, isKey));
}

/** The path with `***` for each segment that is a key, in any number of percent-encodings, or has an issued key in it. */
export function maskKeySegments(path: string, isKey: IsKey): string {
  if (path.length <= SHORTEST_KEY) return path;
  let masked = "";
  let from = 0;
  for (let start = 0; start < path.length; ) {
    const slash = path.indexOf("/", start);
    const end = slash === -1 ? path.length : slash;
    if (end - start >= SHORTEST_KEY && segmentHasKey(path.slice(start, end), isKey)) {
      masked += `${path.slice(from, start)}***`;
      from = end;
    }
    start = end + 1;
  }
  return from === 0 ? path : masked + path.slice(from);
}

function segmentHasKey(segment: string, isKey: IsKey): boolean {
  const texts = segment.includes("%") ? [segment, ...decodingsOf(segment)] : [segment];
  return texts.some(
    (text) =>
      hasKey(text, isKey) || (/[/\\;,]/.test(text) && text.split(/[/\\;,]/).some((part) => isWord(part, isKey))),
  );
}

/** Decoded so often by servers behind each other; encodings beyond that are decoded in one step. */
const DECODINGS = 3;

/** What servers may read, without the text itself: decoded once and repeatedly, `+` as a space and as a plus. */
function decodingsOf(text: string): readonly string[] {
  const found = new Set<string>();
  const pending = text.includes("+") ? [text, text.replaceAll("+", " ")] : [text];
  for (const start of pending) {
    if (start !== text) found.add(start);
    let current = start;
    for (let i = 0; i < DECODINGS && current.includes("%"); i++) {
      current = decode(current);
      found.add(current);
    }
    if (current.includes("%")) found.add(decode(current.replace(/%(?:25)+/g, "%")));
  }
  return [...found];
}

/** Byte by byte, so that a malformed encoding hides nothing. A key is ASCII. */
function decode(text: string): string {
  let decoded = "";
  let from = 0;
  for (let at = text.indexOf("%"); at !== -1; at = text.indexOf("%", at + 1)) {
    const byte = hexDigit(text.charCodeAt(at + 1)) * 16 + hexDigit(text.charCodeAt(at + 2));
    if (Number.isNaN(byte)) continue;
    decoded += text.slice(from, at) + String.fromCharCode(byte);
    from = at + 3;
    at += 2;
  }
  return from === 0 ? text : decoded + text.slice(from);
}

function hexDigit(character: number): number {
  if (character >= 48 && character <= 57) return character - 48;
  const letter = character | 32;
  return letter >= 97 && letter <= 102 ? letter - 87 : Number.NaN;
}
