/**
 * Header values and parts of base URLs that are, or may be, secrets: responses show a mask, and a change that contains the mask keeps the value.
 * Invariant: a caller that may change a service can neither read a masked value nor send it to an origin that does not receive it
 * already.
 */
import { covers, loosenedTls, originsOf } from "../config/secret-lock.ts";
import { isObject } from "../is-object.ts";
import { maskBaseUrl } from "../telemetry/redact.ts";

/** Shown instead of a value. */
export const MASK = "***";

type Config = Readonly<Record<string, unknown>>;

const MEMBERS = ["headers", "setHeaders"] as const;

/** Headers that carry no credential and are shown. A list of those that do would never be complete. */
const IS_PLAIN = /^(?:accept(?:-.*)?|cache-control|content-.*|prefer|user-agent|(?:.*-)?version)$/i;

/** Names of headers that carry a credential, however short it is. */
const NAMES_SECRET = /auth|bearer|cookie|cred|jwt|key|pass|pin|private|secret|session|sig|token/i;

/** Characters. The credentials that APIs issue are longer. */
const SHORT = 16;

/** The value itself, or the mask. */
export function maskHeader(name: string, value: string): string {
  return IS_PLAIN.test(name) ? value : MASK;
}

/** A configuration shows short values under other names too, so that a caller sees the effect of a change. */
function maskConfigured(name: string, value: unknown): unknown {
  const isShort = typeof value === "string" && value.length < SHORT && !/^(?:basic|bearer|bot|token)\b/i.test(value);
  return IS_PLAIN.test(name) || (isShort && !NAMES_SECRET.test(name)) ? value : MASK;
}

/** The config with every such value masked. */
export function maskConfig(config: Config): Config {
  return mapBaseUrls(
    mapHeaders(config, (_, name, value) => maskConfigured(name, value)),
    (_, url) => maskBaseUrl(url),
  );
}

export type Unmasked =
  | { readonly config: Config }
  /** `headers.X-Token`: a mask without a value that it could replace. */
  | { readonly missing: string }
  /** A mask for a value that would be sent to another recipient than before. */
  | { readonly foreign: string };

/** The config with its masks replaced by the values. @param before undefined for a new service. @param isTlsStrict STRICT_TLS */
export function unmaskConfig(masked: Config, before: Config | undefined, isTlsStrict: boolean): Unmasked {
  let problem: Unmasked | undefined;
  const known = new Map<string, string>();
  if (before !== undefined) mapBaseUrls(before, (_, url) => known.set(maskBaseUrl(url), url) && url);
  // First, because the headers may be shown only to the origins of these URLs.
  const config = mapBaseUrls(masked, (member, url) => {
    const old = known.get(url);
    if (old === undefined && url.includes(MASK)) problem ??= { missing: member };
    return old ?? url;
  });
  const unmasked = mapHeaders(config, (member, name, value) => {
    if (value !== MASK) return value;
    const old = before && headerValue(before, member, name);
    if (before === undefined || old === undefined) problem ??= { missing: `${member}.${name}` };
    else if (!isShownToSame(config, before, isTlsStrict)) problem ??= { foreign: `${member}.${name}` };
    return old ?? value;
  });
  return problem ?? { config: unmasked };
}

function isShownToSame(config: Config, before: Config, isTlsStrict: boolean): boolean {
  const tlsOf = ({ tls }: Config) => (isObject(tls) ? tls : {});
  const origins = originsIfValid(config);
  // The schema refuses such a config and names the member, so nothing is sent.
  if (origins === undefined) return true;
  return (
    covers(originsIfValid(before) ?? new Set(), origins) &&
    loosenedTls(tlsOf(config), tlsOf(before), isTlsStrict) === undefined
  );
}

/** Header names are compared without regard to case. */
function headerValue(config: Config, member: string, name: string): unknown {
  const headers = config[member];
  if (!isObject(headers)) return undefined;
  return Object.entries(headers).find(([other]) => other.toLowerCase() === name.toLowerCase())?.[1];
}

function mapHeaders(config: Config, map: (member: string, name: string, value: unknown) => unknown): Config {
  const mapped = { ...config };
  for (const member of MEMBERS) {
    const headers = config[member];
    // The schema refuses any other value.
    if (!isObject(headers)) continue;
    mapped[member] = Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, map(member, name, value)]),
    );
  }
  return mapped;
}

/** @param map receives `baseUrl`, or `versionedBaseUrls.<version>`, and its value. */
function mapBaseUrls(config: Config, map: (member: string, url: string) => string): Config {
  const { baseUrl, versionedBaseUrls } = config;
  const mapped = { ...config };
  if (typeof baseUrl === "string") mapped.baseUrl = map("baseUrl", baseUrl);
  if (isObject(versionedBaseUrls)) {
    mapped.versionedBaseUrls = Object.fromEntries(
      Object.entries(versionedBaseUrls).map(([version, url]) => [
        version,
        typeof url === "string" ? map(`versionedBaseUrls.${version}`, url) : url,
      ]),
    );
  }
  return mapped;
}

/** Undefined for URLs that the schema refuses. */
function originsIfValid({ baseUrl, versionedBaseUrls = {} }: Config): ReadonlySet<string> | undefined {
  try {
    return originsOf({ baseUrl, versionedBaseUrls } as Parameters<typeof originsOf>[0]);
  } catch {
    return undefined;
  }
}
