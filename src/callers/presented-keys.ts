/**
 * Where a caller may put its key, read from one request: `Authorization: Bearer`, `x-api-key`, `?api_key=`.
 * Invariant: every copy is found, in every spelling, because every copy must also be cut out again. An empty one is none.
 */

import type { IncomingMessage } from "node:http";

/** Header values by slot, each with all its occurrences. */
export interface PresentedKeys {
  /** Tokens of `Authorization: Bearer`. */
  readonly bearer: readonly string[];
  readonly header: readonly string[];
  readonly query: readonly string[];
  /** An Authorization of another scheme was there. */
  readonly otherScheme: boolean;
}

/** From the raw text: both planes know the same forms of a key. */
export function presentedKeysOf({ url, rawHeaders }: Pick<IncomingMessage, "url" | "rawHeaders">): PresentedKeys {
  return readPresentedKeys(rawHeaders, url?.split("?").slice(1).join("?"));
}

/** By the schema of the settings. */
const SHORTEST_KEY = 16;

/** `token` is what GitHub's SDK writes and `Bot` what Discord's does: a caller only changes the base URL and the key. */
const BEARER = /^(?:bearer|token|bot)[ \t]+(.*)$/i;

/** @param query raw text behind `?`, or undefined. */
export function readPresentedKeys(rawHeaders: readonly string[], query: string | undefined): PresentedKeys {
  const bearer: string[] = [];
  const header: string[] = [];
  let otherScheme = false;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    // Both names are told by their length first: this runs for every header of every request.
    if (name.length === 13 && name.toLowerCase() === "authorization") {
      const token = BEARER.exec(rawHeaders[i + 1] as string)?.[1]?.trim() ?? "";
      if (token === "") otherScheme = true;
      else bearer.push(token);
    } else if (name.length === 9 && name.toLowerCase() === "x-api-key") {
      const key = (rawHeaders[i + 1] as string).trim();
      if (key !== "") header.push(key);
    }
  }
  return { bearer, header, query: query === undefined ? [] : readKeyParameters(query), otherScheme };
}

/**
 * True for an Authorization or Cookie value that carries such a key: under any scheme, bare, quoted, percent-encoded,
 * in a list or as a parameter, or inside Basic's base64.
 */
export function carriesKey(value: string, isKey: (token: string) => boolean): boolean {
  const token = value.replace(/^[^ \t]+[ \t]+/, "").trim();
  if (isKey(token)) return true;
  // A key holds no white space, but it may hold any of the other separators.
  const words = [value, token, ...value.split(/[\s;]+/), ...value.split(/[\s;,]+/)];
  if (/^basic[ \t]/i.test(value)) {
    const pair = Buffer.from(token, "base64").toString("latin1");
    words.push(pair, pair.slice(pair.indexOf(":") + 1), ...pair.split(":"));
  }
  const candidates = new Set<string>();
  for (const word of words) {
    // Nothing shorter is a key, and there may be thousands of them in 16 KiB.
    if (word.length < SHORTEST_KEY) continue;
    for (const text of [word, word.slice(word.indexOf("=") + 1)]) {
      const bare = text.trim().replace(/^"(.*)"$/, "$1");
      candidates.add(bare);
      // A cookie may hold a whole Authorization: `Bearer%20<key>`.
      for (const part of decode(bare).split(" ")) candidates.add(part);
    }
  }
  for (const candidate of candidates) if (candidate.length >= SHORTEST_KEY && isKey(candidate)) return true;
  return false;
}

/** `api_key` could also be spelt with percent-encoding, which every upstream would decode. */
function mayHoldKeyParameter(query: string): boolean {
  return query.includes("api_key") || query.includes("%");
}

function readKeyParameters(query: string): readonly string[] {
  if (!mayHoldKeyParameter(query)) return [];
  return query
    .split("&")
    .filter((parameter) => parameterName(parameter) === "api_key")
    .map((parameter) => decode(parameter.includes("=") ? parameter.slice(parameter.indexOf("=") + 1) : ""))
    .filter((key) => key !== "");
}

/** The query without the named parameters, the rest untouched byte for byte; undefined when nothing is left. */
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
