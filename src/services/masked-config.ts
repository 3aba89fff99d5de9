/**
 * Header values and parts of base URLs that are, or may be, secrets: responses show a mask, and a change that contains the mask keeps the value.
 * Invariant: a caller that may change a service can neither read a masked value nor send it to an origin that does not receive it
 * already.
 */
import { isSameProxy } from "../config/egress-proxy.ts";
import { covers, loosenedTls, originsOf } from "../config/secret-lock.ts";
import { isObject } from "../is-object.ts";
import { maskBaseUrl } from "../telemetry/redact.ts";

/** Shown instead of a value. */
export const MASK = "***";

type Config = Readonly<Record<string, unknown>>;

/** Objects of names and values; those of `auth` are templates, which may also be fixed values, or parameters of a token request. */
const MEMBERS = ["headers", "setHeaders", "auth.query", "auth.form", "auth.params"] as const;

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

/** Whether the header's value is or may be a secret. @param isConfigured the operator set it: then only few names are plain. */
export function isSecretHeader(name: string, isConfigured: boolean): boolean {
  if (IS_PLAIN.test(name) || name === "idempotency-key") return false;
  return isConfigured || NAMES_SECRET.test(name);
}

/** A configuration shows short values under other names too, so that a caller sees the effect of a change. */
function maskConfigured(name: string, value: unknown): unknown {
  const isShort = typeof value === "string" && value.length < SHORT && !/^(?:basic|bearer|bot|token)\b/i.test(value);
  return IS_PLAIN.test(name) || (isShort && !NAMES_SECRET.test(name)) ? value : MASK;
}

/** The config with every such value masked. */
export function maskConfig(config: Config): Config {
  const masked = mapNamed(maskCommands(config), (member, name, value) =>
    member.startsWith("auth.") && isTemplate(value) ? value : maskConfigured(name, value),
  );
  return mapBaseUrls(masked, (_, url) => maskBaseUrl(url));
}

/** It names secrets and contains none. */
function isTemplate(value: unknown): boolean {
  return typeof value === "string" && value.includes("{");
}

/** A program's arguments may be secrets. They cannot be sent back, because no program is run for a service added over REST. */
function maskCommands(config: Config): Config {
  const { auth } = config;
  return isObject(auth) ? { ...config, auth: withMaskedCommands(auth) } : config;
}

function withMaskedCommands(auth: Config): Config {
  const masked: Record<string, unknown> = { ...auth };
  if (Array.isArray(auth.tokenCommand)) masked.tokenCommand = maskArguments(auth.tokenCommand);
  if (isObject(auth.secrets)) {
    masked.secrets = Object.fromEntries(
      Object.entries(auth.secrets).map(([name, source]) => [
        name,
        isObject(source) && Array.isArray(source.command)
          ? { ...source, command: maskArguments(source.command) }
          : source,
      ]),
    );
  }
  if (Array.isArray(auth.of)) masked.of = auth.of.map((entry) => (isObject(entry) ? withMaskedCommands(entry) : entry));
  return masked;
}

function maskArguments([program, ...rest]: readonly unknown[]): readonly unknown[] {
  return program === undefined ? [] : [program, ...rest.map(() => MASK)];
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
  /** A base URL of which a part was hidden. */
  let restored: string | undefined;
  const known = new Map<string, string>();
  if (before !== undefined) mapBaseUrls(before, (_, url) => known.set(maskBaseUrl(url), url) && url);
  // First, because the headers may be shown only to the origins of these URLs.
  const config = mapBaseUrls(masked, (member, url) => {
    const old = known.get(url);
    if (old === undefined && url.includes(MASK)) problem ??= { missing: member };
    if (old !== undefined && old !== url) restored = member;
    return old ?? url;
  });
  if (restored !== undefined && before !== undefined && !isShownToSame(config, before, isTlsStrict)) {
    problem ??= { foreign: restored };
  }
  const unmasked = mapNamed(config, (member, name, value) => {
    if (value !== MASK) return value;
    const old = before && namedValue(before, member, name);
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
    isSameProxy(config.egressProxy, before.egressProxy) &&
    loosenedTls(tlsOf(config), tlsOf(before), isTlsStrict) === undefined
  );
}

/** Header names are compared without regard to case. */
function namedValue(config: Config, member: string, name: string): unknown {
  const isSame = member.startsWith("auth.")
    ? (other: string) => other === name
    : (other: string) => other.toLowerCase() === name.toLowerCase();
  return Object.entries(objectAt(config, member) ?? {}).find(([other]) => isSame(other))?.[1];
}

/** Undefined for any other value, which the schema refuses. */
function objectAt(config: Config, member: string): Config | undefined {
  let found: unknown = config;
  for (const name of member.split(".")) {
    if (typeof found !== "object" || found === null || !Object.hasOwn(found, name)) return undefined;
    found = (found as Config)[name];
  }
  return isObject(found) ? found : undefined;
}

/** The members with named values that the config has or may have: those of `auth` also for each credential of a pool. */
function membersOf({ auth }: Config): readonly string[] {
  if (!isObject(auth) || !Array.isArray(auth.of)) return MEMBERS;
  const ofAuth = MEMBERS.filter((member) => member.startsWith("auth."));
  return [
    ...MEMBERS,
    ...auth.of.flatMap((_, index) => ofAuth.map((each) => each.replace("auth.", `auth.of.${index}.`))),
  ];
}

/** A copy with another value at this path, which exists. */
function replacedAt(value: unknown, [name, ...rest]: readonly string[], next: unknown): unknown {
  if (name === undefined) return next;
  const inner = replacedAt((value as Config)[name], rest, next);
  return Array.isArray(value) ? value.with(Number(name), inner) : { ...(value as Config), [name]: inner };
}

function mapNamed(config: Config, map: (member: string, name: string, value: unknown) => unknown): Config {
  let mapped = config;
  for (const member of membersOf(config)) {
    const values = objectAt(config, member);
    if (values === undefined) continue;
    const entries = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, map(member, name, value)]));
    mapped = replacedAt(mapped, member.split("."), entries) as Config;
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
