/**
 * Header values that are, or may be, secrets: never shown, and taken over into a change only unseen and only for the origins
 * that get them already. Invariant: whoever may change a service cannot make it tell, or send elsewhere, what they were not shown.
 */
import { covers, loosenedTls, originsOf } from "../config/secret-lock.ts";
import { isObject } from "../is-object.ts";

/** Stands for a value that is there. */
export const MASK = "***";

type Config = Readonly<Record<string, unknown>>;

const MEMBERS = ["headers", "setHeaders"] as const;

/** Shown: what by its name carries no credential. A list of what does would always lack one. */
const IS_PLAIN = /^(?:accept(?:-.*)?|cache-control|content-.*|prefer|user-agent|(?:.*-)?version)$/i;

/** Names that tell of a credential, however short it is. */
const TELLS_OF_SECRET = /auth|bearer|cookie|cred|jwt|key|pass|pin|private|secret|session|sig|token/i;

/** Characters: what an API gives out as a credential is longer. */
const SHORT = 16;

/** The value itself, or the mask. */
export function maskHeader(name: string, value: string): string {
  return IS_PLAIN.test(name) ? value : MASK;
}

/** In a config short values under other names are shown, too: whoever changes a service has to see what became of it. */
function maskConfigured(name: string, value: unknown): unknown {
  const isShort = typeof value === "string" && value.length < SHORT && !/^(?:basic|bearer|bot|token)\b/i.test(value);
  return IS_PLAIN.test(name) || (isShort && !TELLS_OF_SECRET.test(name)) ? value : MASK;
}

/** The config with every such value masked. */
export function maskHeaders(config: Config): Config {
  return mapHeaders(config, (_, name, value) => maskConfigured(name, value));
}

export type Unmasked =
  | { readonly config: Config }
  /** `headers.X-Token`: a mask where there was nothing to stand for. */
  | { readonly missing: string }
  /** A mask where the value would be shown to others than before. */
  | { readonly foreign: string };

/** The config with the values that its masks stand for. @param before undefined for one that is new. @param isTlsStrict STRICT_TLS */
export function unmaskHeaders(config: Config, before: Config | undefined, isTlsStrict: boolean): Unmasked {
  let problem: Unmasked | undefined;
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
  // It is not going anywhere: the schema refuses it, and says which member is wrong.
  if (origins === undefined) return true;
  return (
    covers(originsIfValid(before) ?? new Set(), origins) &&
    loosenedTls(tlsOf(config), tlsOf(before), isTlsStrict) === undefined
  );
}

/** In any case, as header names are compared. */
function headerValue(config: Config, member: string, name: string): unknown {
  const headers = config[member];
  if (!isObject(headers)) return undefined;
  return Object.entries(headers).find(([other]) => other.toLowerCase() === name.toLowerCase())?.[1];
}

function mapHeaders(config: Config, map: (member: string, name: string, value: unknown) => unknown): Config {
  const mapped = { ...config };
  for (const member of MEMBERS) {
    const headers = config[member];
    // Anything else is for the schema to refuse, as it is.
    if (!isObject(headers)) continue;
    mapped[member] = Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, map(member, name, value)]),
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
