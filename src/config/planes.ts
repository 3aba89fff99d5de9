/**
 * The protection of the two planes: their keys, and whether a key is required.
 * Invariant: on an address that other machines can reach, a plane is open only with ALLOW_UNAUTHENTICATED.
 */
import type { Variable } from "./env.ts";
import { isLoopbackHost } from "./hosts.ts";
import type { MisspeltVariable } from "./known-variables.ts";
import { showText } from "./problems.ts";
import { variablePlace } from "./read-settings.ts";
import type { Secret } from "./secret.ts";
import { FAULT_TEXTS, isQuoted } from "./secret-form.ts";
import type { Settings } from "./settings.ts";
import { hasTokenSettings, readTokenSettings, type TokenSettings } from "./token-settings.ts";

export interface PlaneConfig {
  readonly key: Secret | undefined;
  /** A key is required. */
  readonly isProtected: boolean;
  /** No key is required, even if there are keys: REQUIRE_AUTH_FOR_… is `false`. */
  readonly isOpen: boolean;
}

export interface PlaneSources {
  readonly settings: Settings;
  /** Settings with a refused value. Their problems are reported already. */
  readonly refused: ReadonlySet<string>;
  readonly variables: ReadonlyMap<string, Variable>;
  readonly problems: string[];
  readonly warnings: string[];
  /** Whether there is a key that was issued for callers. */
  readonly hasIssuedKey: () => boolean;
}

const PLANES = [
  {
    routes: "/proxy/*",
    key: "PROXY_API_KEY",
    required: "REQUIRE_AUTH_FOR_PROXY",
    or: " (or an issued key, or JWT_ISSUER)",
  },
  { routes: "/manage/*", key: "MANAGEMENT_API_KEY", required: "REQUIRE_AUTH_FOR_MANAGEMENT", or: "" },
] as const;

type Plane = (typeof PLANES)[number];

export interface Planes {
  readonly proxyPlane: PlaneConfig;
  readonly managementPlane: PlaneConfig;
  /** Undefined if the proxy plane accepts no JSON Web Tokens. */
  readonly tokens: TokenSettings | undefined;
}

export function protectPlanes(sources: PlaneSources): Planes {
  const [proxy, management] = PLANES;
  const proxyPlane = protectPlane(proxy, sources);
  const managementPlane = protectPlane(management, sources);
  if (proxyPlane.key !== undefined && proxyPlane.key.reveal() === managementPlane.key?.reveal()) {
    sources.problems.push(
      `${placeOf(management.key, sources)}: found the same key as ${proxy.key}, allowed: a different key for each plane`,
    );
  }
  const open = [...(proxyPlane.isProtected ? [] : [proxy]), ...(managementPlane.isProtected ? [] : [management])];
  // For each listener: the second one may be on another address.
  for (const host of hostsOf(sources.settings)) {
    if (!isLoopbackHost(host.value))
      reviewExposure(
        sources,
        host,
        open.filter(({ key }) => host.serves.has(key)),
      );
  }
  return { proxyPlane, managementPlane, tokens: readTokenSettings(sources) };
}

interface ListenerHost {
  /** The variable that sets it. */
  readonly name: "HOST" | "MANAGEMENT_HOST";
  readonly value: string;
  readonly serves: ReadonlySet<Plane["key"]>;
}

function hostsOf({ HOST, MANAGEMENT_HOST, MANAGEMENT_PORT }: Settings): ListenerHost[] {
  const isSame = MANAGEMENT_PORT === undefined || MANAGEMENT_HOST === undefined || MANAGEMENT_HOST === HOST;
  if (isSame) return [{ name: "HOST", value: HOST, serves: new Set(["PROXY_API_KEY", "MANAGEMENT_API_KEY"] as const) }];
  return [
    { name: "HOST", value: HOST, serves: new Set(["PROXY_API_KEY"] as const) },
    { name: "MANAGEMENT_HOST", value: MANAGEMENT_HOST, serves: new Set(["MANAGEMENT_API_KEY"] as const) },
  ];
}

/**
 * Reports variables that have no effect because of their names. A key under a wrong name protects nothing: if its plane is open, although
 * no setting says that it should be, it is a problem.
 */
export function reviewMisspelt(
  misspelt: Iterable<MisspeltVariable>,
  planes: Planes,
  { problems, warnings, hasIssuedKey }: Pick<PlaneSources, "problems" | "warnings" | "hasIssuedKey">,
): void {
  for (const { name, origin, meant, isOwn } of misspelt) {
    const plane = PLANES.find(({ key }) => meant === key || meant === `${key}_FILE`);
    const isOpen = plane !== undefined && isLeftOpen(plane, planes, hasIssuedKey);
    const place = `${name} (${origin})`;
    if (isOpen) {
      problems.push(
        `${place}: found a variable that has no effect, while ${plane.routes} is open, allowed: ${meant} (did you mean ${meant}?), or ${plane.required}=false`,
      );
    } else if (isOwn) warnings.push(`${place} has no effect; did you mean ${meant}?`);
  }
}

function isLeftOpen({ key }: Plane, { proxyPlane, managementPlane }: Planes, hasIssuedKey: () => boolean): boolean {
  if (key === "MANAGEMENT_API_KEY") return !managementPlane.isProtected && !managementPlane.isOpen;
  return !proxyPlane.isProtected && !proxyPlane.isOpen && !hasIssuedKey();
}

function protectPlane(plane: Plane, sources: PlaneSources): PlaneConfig {
  const { settings, refused, problems, warnings } = sources;
  const key = settings[plane.key];
  const required = settings[plane.required];
  const isExposed = !isLoopbackHost(settings.HOST);
  // On an address that other machines can reach, an issued key protects the plane permanently, even after the key has ended.
  const hasIssued =
    plane.key === "PROXY_API_KEY" && key === undefined && (required ?? isExposed) && sources.hasIssuedKey();
  const hasTokens = plane.key === "PROXY_API_KEY" && hasTokenSettings(sources);
  if (required === true && key === undefined && !hasIssued && !hasTokens && !refused.has(plane.key)) {
    problems.push(
      `${placeOf(plane.required, sources)}: found "true" without a key, allowed: true with ${plane.key} set${plane.or}`,
    );
  }
  if (key !== undefined && isQuoted(key.reveal())) {
    warnings.push(
      `${placeOf(plane.key, sources)}: the key ${FAULT_TEXTS.quoted}; remove them, or callers must send them`,
    );
  }
  if (required === false && key !== undefined) {
    warnings.push(`${plane.required} is false: ${plane.routes} is open although ${plane.key} is set`);
  }
  if (required === false && hasTokens) {
    warnings.push(`${plane.required} is false: ${plane.routes} is open although JWT_ISSUER is set`);
  }
  return { key, isProtected: required ?? (key !== undefined || hasTokens || hasIssued), isOpen: required === false };
}

function reviewExposure(sources: PlaneSources, host: ListenerHost, open: readonly Plane[]): void {
  const { settings, refused, problems, warnings } = sources;
  const routes = open.map((plane) => plane.routes).join(" and ");
  if (open.length === 0) return;
  if (settings.ALLOW_UNAUTHENTICATED) {
    warnings.push(
      `ALLOW_UNAUTHENTICATED is true: ${routes} ${open.length === 1 ? "is" : "are"} open to every client that reaches ${host.value}`,
    );
    return;
  }
  // The problem of a refused key or setting is reported already, and the plane will be protected once it is fixed.
  const unprotected = open.filter((plane) => !refused.has(plane.key) && !refused.has(plane.required));
  if (unprotected.length === 0 || refused.has("ALLOW_UNAUTHENTICATED")) return;
  const fix = unprotected.map((plane) => (settings[plane.key] === undefined ? plane.key : `${plane.required}=true`));
  problems.push(
    `${placeOf(host.name, sources)}: found ${showText(host.value)} with ${unprotected.map((plane) => plane.routes).join(" and ")} unprotected, ` +
      `allowed: a loopback address; or set ${fix.join(" and ")}, or ALLOW_UNAUTHENTICATED=true`,
  );
}

function placeOf(name: string, { variables }: PlaneSources): string {
  const used = [name, `${name}_FILE`].find((each) => variables.has(each)) ?? name;
  const variable = variables.get(used);
  return variable === undefined ? used : variablePlace(used, variable);
}
