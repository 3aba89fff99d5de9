/**
 * Reads the keys from a request: `Authorization: Bearer`, `x-api-key`, `?api_key=`.
 * Invariant: every copy is found, in every spelling, because every copy must also be removed. An empty value is no key.
 */
import { hash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { cutKeyParameters, holdsKey } from "./carried-keys.ts";
import { hasIssuedForm } from "./issued-key.ts";

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

/** The forms that every service accepts, in the order in which they are read. */
export const KEY_FORM_NAMES = ["Authorization: Bearer <key>", "x-api-key: <key>", "?api_key=<key>"] as const;

/** Raw text after the first `?`. */
export function queryOf(url: string | undefined): string | undefined {
  const at = url?.indexOf("?") ?? -1;
  return at === -1 ? undefined : url?.slice(at + 1);
}

/** From the raw text, so that both planes accept the same forms. */
export function presentedKeysOf({ url, rawHeaders }: Pick<IncomingMessage, "url" | "rawHeaders">): PresentedKeys {
  return readPresentedKeys(rawHeaders, queryOf(url));
}

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
  const inQuery = parametersNamed("api_key", query);
  const keys = inQuery.filter((key) => key !== "");
  if (keys.length < inQuery.length) empty ??= "api_key";
  return { bearer, header, query: keys, otherScheme, empty };
}

/** The decoded values of a parameter, whose name may be percent-encoded too: every upstream would decode it. */
export function parametersNamed(name: string, query: string | undefined): readonly string[] {
  if (query === undefined || !(query.includes(name) || /[%+]/.test(query))) return [];
  return query
    .split("&")
    .filter((parameter) => parameterName(parameter) === name)
    .map((parameter) => decode(parameter.includes("=") ? parameter.slice(parameter.indexOf("=") + 1) : ""));
}

/**
 * The place of the first text with the form of an issued key, for a request without a key in a place that is read. Only the form
 * is judged, so that a client learns nothing about a key. @returns the begin of a sentence: `The header x-goog-api-key`.
 */
export function findStrayKey({ url, rawHeaders }: Pick<IncomingMessage, "url" | "rawHeaders">): string | undefined {
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (!holdsKey(rawHeaders[i + 1] as string, hasIssuedForm)) continue;
    return `The header ${(rawHeaders[i] as string).slice(0, SHOWN_NAME_LENGTH)}`;
  }
  const query = queryOf(url) ?? "";
  return cutKeyParameters(query, hasIssuedForm) === query ? undefined : "A parameter of the query";
}

/** A name may be any text. */
const SHOWN_NAME_LENGTH = 64;

/** The query without the named parameters and otherwise unchanged; undefined when nothing is left. */
export function cutParameters(query: string, names: readonly string[]): string | undefined {
  if (!/[%+]/.test(query) && !names.some((name) => query.includes(name))) return query;
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
