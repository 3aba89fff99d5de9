/**
 * The settings for JSON Web Tokens as callers' credentials: JWT_ISSUER, JWT_AUDIENCE, and JWT_JWKS_URL or JWT_SECRET.
 * Invariant: the settings are complete or refused. A part of them would accept tokens that were meant for others.
 */
import type { Variable } from "./env.ts";
import { isLoopbackHost } from "./hosts.ts";
import { variablePlace } from "./read-settings.ts";
import type { Secret } from "./secret.ts";
import type { SettingName, Settings } from "./settings.ts";

export interface TokenSettings {
  readonly issuer: string;
  /** A token needs one of them. */
  readonly audiences: readonly string[];
  /** Undefined: the claim `permissions`, or else `scope`. */
  readonly permissionsClaim: string | undefined;
  readonly source:
    | { readonly kind: "jwks"; readonly url: string }
    | { readonly kind: "secret"; readonly secret: Secret };
}

interface TokenSources {
  readonly settings: Settings;
  readonly refused: ReadonlySet<string>;
  readonly variables: ReadonlyMap<string, Variable>;
  readonly problems: string[];
}

const NAMES = [
  "JWT_ISSUER",
  "JWT_AUDIENCE",
  "JWT_JWKS_URL",
  "JWT_SECRET",
  "JWT_PERMISSIONS_CLAIM",
] as const satisfies readonly SettingName[];

/** Also true for settings that are refused: the plane will be protected once they are fixed. */
export const hasTokenSettings = ({ settings, refused }: Pick<TokenSources, "settings" | "refused">) =>
  NAMES.some((name) => settings[name] !== undefined || refused.has(name));

/** @returns undefined if no setting is set, or if there are problems. */
export function readTokenSettings({ settings, refused, variables, problems }: TokenSources): TokenSettings | undefined {
  const isGiven = (name: (typeof NAMES)[number]) => settings[name] !== undefined || refused.has(name);
  const first = NAMES.find(isGiven);
  if (first === undefined) return undefined;
  const placeOf = (name: (typeof NAMES)[number]) => {
    const used = [name, `${name}_FILE`].find((each) => variables.has(each)) ?? name;
    const variable = variables.get(used);
    return variable === undefined ? used : variablePlace(used, variable);
  };
  const before = problems.length;
  const missing = [
    ...(["JWT_ISSUER", "JWT_AUDIENCE"] as const).filter((name) => !isGiven(name)),
    ...(isGiven("JWT_JWKS_URL") || isGiven("JWT_SECRET") ? [] : ["JWT_JWKS_URL or JWT_SECRET"]),
  ];
  if (missing.length > 0) {
    problems.push(`${placeOf(first)}: found without ${missing.join(" and ")}, allowed: all of them or none`);
  }
  if (isGiven("JWT_JWKS_URL") && isGiven("JWT_SECRET")) {
    problems.push(`${placeOf("JWT_SECRET")}: found together with JWT_JWKS_URL, allowed: only one of them`);
  }
  const { JWT_JWKS_URL: url, JWT_SECRET: secret, JWT_ISSUER: issuer, JWT_AUDIENCE: audiences } = settings;
  if (url?.startsWith("http:") && !isLoopbackHost(new URL(url).hostname.replace(/^\[|\]$/g, ""))) {
    problems.push(`${placeOf("JWT_JWKS_URL")}: found an http URL, allowed: https; http only on a loopback address`);
  }
  if (secret !== undefined && [settings.PROXY_API_KEY, settings.MANAGEMENT_API_KEY].some(isSame(secret))) {
    problems.push(`${placeOf("JWT_SECRET")}: found the same text as a key of the gateway, allowed: another secret`);
  }
  const source = url !== undefined ? { kind: "jwks" as const, url } : secret && { kind: "secret" as const, secret };
  if (problems.length > before || source === undefined || issuer === undefined || audiences === undefined) {
    return undefined;
  }
  return { issuer, audiences, permissionsClaim: settings.JWT_PERMISSIONS_CLAIM, source };
}

const isSame = (secret: Secret) => (key: Secret | undefined) => key?.reveal() === secret.reveal();
