/**
 * Reads the keys from a request: `Authorization: Bearer`, `x-api-key`, `?api_key=`.
 * Invariant: every copy is found, in every spelling, because every copy must also be removed. An empty value is no key.
 */
import { hash } from "node:crypto";
import type { IncomingMessage } from "node:http";

/** All values of each place. */
export interface PresentedKeys {
  /** Tokens of `Authorization: Bearer`. */
  readonly bearer: readonly string[];
  readonly header: readonly string[];
  readonly query: readonly string[];
  /** The request has an Authorization header with another scheme. */
  readonly otherScheme: boolean;
  /** The first place with an empty key; undefined for none. */
  readonly empty: EmptyPlace | undefined;
}

export type EmptyPlace = "authorization" | "x-api-key" | "api_key";

/** From the raw text, so that both planes accept the same forms. */
export function presentedKeysOf({ url, rawHeaders }: Pick<IncomingMessage, "url" | "rawHeaders">): PresentedKeys {
  return readPresentedKeys(rawHeaders, url?.split("?").slice(1).join("?"));
}

/** The minimum in the schema of the settings. */
const SHORTEST_KEY = 16;

/** GitHub's SDK sends `token` and Discord's sends `Bot`: a caller changes only the base URL and the key. */
const BEARER = /^(?:bearer|token|bot)[ \t]+(.*)$/i;

/** A scheme without a key, or nothing at all. */
const EMPTY_BEARER = /^[ \t]*(?:bearer|token|bot)?[ \t]*$/i;

/** @param query raw text after `?`, or undefined. */
export function readPresentedKeys(rawHeaders: readonly string[], query: string | undefined): PresentedKeys {
  const bearer: string[] = [];
  const header: string[] = [];
  let otherScheme = false;
  let empty: EmptyPlace | undefined;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    // The length is compared first, because this runs for every header of every request.
    if (name.length === 13 && name.toLowerCase() === "authorization") {
      const token = BEARER.exec(rawHeaders[i + 1] as string)?.[1]?.trim() ?? "";
      if (token !== "") bearer.push(token);
      else {
        otherScheme = true;
        if (EMPTY_BEARER.test(rawHeaders[i + 1] as string)) empty ??= "authorization";
      }
    } else if (name.length === 9 && name.toLowerCase() === "x-api-key") {
      const key = (rawHeaders[i + 1] as string).trim();
      if (key === "") empty ??= "x-api-key";
      else header.push(key);
    }
  }
  const inQuery = query === undefined ? [] : readKeyParameters(query);
  const keys = inQuery.filter((key) => key !== "");
  if (keys.length < inQuery.length) empty ??= "api_key";
  return { bearer, header, query: keys, otherScheme, empty };
}

/**
 * True for an Authorization or Cookie value that contains a key: with any scheme, bare, quoted, percent-encoded, in a list, as a
 * parameter, or in the base64 of Basic.
 */
export function carriesKey(value: string, isKey: (token: string) => boolean): boolean {
  const token = value.replace(/^[^ \t]+[ \t]+/, "").trim();
  if (isKey(token)) return true;
  // A key contains no white space, but may contain any of the other separators.
  const words = [value, token, ...value.split(/[\s;]+/), ...value.split(/[\s;,]+/)];
  if (/^basic[ \t]/i.test(value)) {
    const pair = Buffer.from(token, "base64").toString("latin1");
    words.push(pair, pair.slice(pair.indexOf(":") + 1), ...pair.split(":"));
  }
  const candidates = new Set<string>();
  for (const word of words) {
    // Shorter words are no keys, and 16 KiB may contain thousands of them.
    if (word.length < SHORTEST_KEY) continue;
    for (const text of [word, word.slice(word.indexOf("=") + 1)]) {
      const bare = text.trim().replace(/^"(.*)"$/, "$1");
      candidates.add(bare);
      // A cookie may contain a whole Authorization value: `Bearer%20<key>`.
      for (const part of decode(bare).split(" ")) candidates.add(part);
    }
  }
  for (const candidate of candidates) if (candidate.length >= SHORTEST_KEY && isKey(candidate)) return true;
  return false;
}

/** `api_key` may also be percent-encoded, which every upstream would decode. */
function mayHoldKeyParameter(query: string): boolean {
  return query.includes("api_key") || query.includes("%");
}

function readKeyParameters(query: string): readonly string[] {
  if (!mayHoldKeyParameter(query)) return [];
  return query
    .split("&")
    .filter((parameter) => parameterName(parameter) === "api_key")
    .map((parameter) => decode(parameter.includes("=") ? parameter.slice(parameter.indexOf("=") + 1) : ""));
}

/** The query without the named parameters and otherwise unchanged; undefined when nothing is left. */
export function cutParameters(query: string, names: readonly string[]): string | undefined {
  if (!query.includes("%") && !names.some((name) => query.includes(name))) return query;
  const parameters = query.split("&");
  const kept = parameters.filter((parameter) => !names.includes(parameterName(parameter)));
  if (kept.length === parameters.length) return query;
  return kept.length === 0 ? undefined : kept.join("&");
}

function parameterName(parameter: string): string {
  const equals = parameter.indexOf("=");
  return decode(equals === -1 ? parameter : parameter.slice(0, equals));
}

function decode(text: string): string {
  if (!/[%+]/.test(text)) return text;
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return text;
  }
}

/** What is kept and compared instead of a key, in hex. A key is random enough for a plain hash. */
export function digestOf(key: string): string {
  return hash("sha256", key, "hex");
}
