/**
 * Who may add services over REST must not thereby read secrets.
 * Invariant: a secret that such a service names goes only where the services file, a preset or REST_SECRETS sends it
 * already: to the same origins and, for the first two, to the same place in the request.
 */
import { resolve } from "node:path";
import { type CredentialContext, realPath } from "./credentials.ts";
import type { AuthDefinition, ServiceDefinition, TlsDefinition } from "./schema.ts";
import type { DefinedService } from "./services-file.ts";
import { OWN_SECRETS, type RestSecret } from "./settings.ts";
import type { Path } from "./translate-issue.ts";

export interface LockContext extends Pick<CredentialContext, "directory"> {
  readonly settings: { readonly REST_SECRETS: readonly RestSecret[]; readonly STRICT_TLS: boolean };
}

export interface SecretRefusal {
  /** From the service's own top. */
  readonly path: Path;
  readonly message: string;
  readonly hint: string;
}

/** The definition as it may be used, its files under the paths that the operator wrote; or the refusal. */
export type Unlocked = { readonly definition: ServiceDefinition } | { readonly refusal: SecretRefusal };

/** @param bound of the services of the file and the presets, at least those that use the same secret, or files, at its origins. */
export function unlockSecrets(
  definition: ServiceDefinition,
  bound: Iterable<DefinedService>,
  { directory, settings }: LockContext,
): Unlocked {
  const { auth, tls } = definition;
  if (auth === undefined && tls.certFile === undefined && tls.keyFile === undefined) return { definition };
  const origins = originsOf(definition);
  const fileOf = (path: string) => realPath(resolve(directory, path));
  /** The operator's own spelling of a secret that may go to all of these origins. */
  const listed = (secret: string) =>
    settings.REST_SECRETS.map((entry) => entry.secret).find(
      (spelling) => isSameSecret(spelling, secret, fileOf) && covers(listedOrigins(settings, spelling), origins),
    );
  const hosts = [...bound].map((service) => service.definition).filter((other) => covers(originsOf(other), origins));

  const pair = hosts.find((other) => isSamePair(other.tls, tls, fileOf))?.tls;
  const listedKey = pair === undefined && tls.keyFile !== undefined ? listed(`file:${tls.keyFile}`) : undefined;
  if ((tls.certFile ?? tls.keyFile) !== undefined && pair === undefined && listedKey === undefined) {
    return { refusal: refuse(["tls", "keyFile"], `file:${tls.keyFile ?? tls.certFile}`, origins) };
  }
  // A link of the caller's could lead elsewhere tomorrow; the operator's own spelling is the operator's business.
  const unlockedTls = {
    ...tls,
    ...(pair === undefined ? {} : { certFile: pair.certFile, keyFile: pair.keyFile }),
    ...(listedKey === undefined ? {} : { keyFile: pathOf(listedKey) }),
  };
  if (auth === undefined) return { definition: { ...definition, tls: unlockedTls } };

  const secret = secretOf(auth);
  const path = ["auth", auth.tokenFile === undefined ? "tokenEnvVar" : "tokenFile"];
  if (OWN_SECRETS.has(secret)) return { refusal: refuseOwn(path, secret) };
  const bindings = hosts.filter((other) => {
    return (
      other.auth !== undefined && isSameUse(other.auth, auth) && isSameSecret(secretOf(other.auth), secret, fileOf)
    );
  });
  const binding = bindings.find((other) => !loosenedTls(tls, other.tls, settings.STRICT_TLS)) ?? bindings[0];
  const spelling = binding?.auth === undefined ? listed(secret) : secretOf(binding.auth);
  if (spelling === undefined) return { refusal: refuse(path, secret, origins) };
  const weak = weakTls(tls, binding?.tls, settings.STRICT_TLS);
  if (weak !== undefined) return { refusal: weak };
  const unlockedAuth = auth.tokenFile === undefined ? auth : { ...auth, tokenFile: pathOf(spelling) };
  return { definition: { ...definition, tls: unlockedTls, auth: unlockedAuth } };
}

function listedOrigins({ REST_SECRETS }: LockContext["settings"], spelling: string): ReadonlySet<string> {
  return new Set(REST_SECRETS.filter(({ secret }) => secret === spelling).map(({ origin }) => origin));
}

/** Every origin that requests of this service can go to. */
export function originsOf({ baseUrl, versionedBaseUrls }: Pick<ServiceDefinition, "baseUrl" | "versionedBaseUrls">) {
  return new Set([baseUrl, ...Object.values(versionedBaseUrls)].map((url) => new URL(url).origin));
}

export function covers(allowed: ReadonlySet<string>, origins: ReadonlySet<string>): boolean {
  return [...origins].every((origin) => allowed.has(origin));
}

/** `NAME` or `file:<path>`. */
function secretOf({ tokenEnvVar, tokenFile }: AuthDefinition): string {
  return tokenFile === undefined ? (tokenEnvVar ?? "") : `file:${tokenFile}`;
}

function isSameSecret(one: string, other: string, fileOf: (path: string) => string): boolean {
  if (one === other) return true;
  return isFile(one) && isFile(other) && fileOf(pathOf(one)) === fileOf(pathOf(other));
}

const isFile = (secret: string) => secret.startsWith("file:");
const pathOf = (secret: string) => secret.slice("file:".length);

/** The same scheme, header or parameter: elsewhere an upstream may echo it. */
function isSameUse(one: AuthDefinition, other: AuthDefinition): boolean {
  return (
    one.type === other.type &&
    one.headerName?.toLowerCase() === other.headerName?.toLowerCase() &&
    one.queryParam === other.queryParam
  );
}

function isSamePair(one: TlsDefinition, other: TlsDefinition, fileOf: (path: string) => string): boolean {
  if (one.certFile === undefined || one.keyFile === undefined) return false;
  if (other.certFile === undefined || other.keyFile === undefined) return false;
  return fileOf(one.certFile) === fileOf(other.certFile) && fileOf(one.keyFile) === fileOf(other.keyFile);
}

/** Whoever stands in between would get the credential: only what the operator has allowed for it already. */
function weakTls(tls: TlsDefinition, binding: TlsDefinition | undefined, isStrict: boolean): SecretRefusal | undefined {
  const onItsOwn = tls.strict === false ? "strict" : tls.servername === undefined ? undefined : "servername";
  const name = binding === undefined ? onItsOwn : loosenedTls(tls, binding, isStrict);
  if (name === undefined) return undefined;
  return {
    path: ["tls", name],
    message: `tls.${name} of a service added over REST may not loosen whom its credential is shown to.`,
    hint: `Leave tls.${name} as the services file has it, or put the service there.`,
  };
}

/** What of `tls` would take another for the upstream than before; undefined for nothing. @param isStrict STRICT_TLS */
export function loosenedTls(
  tls: Pick<TlsDefinition, "strict" | "servername" | "caFile">,
  before: Pick<TlsDefinition, "strict" | "servername" | "caFile">,
  isStrict: boolean,
): "strict" | "servername" | "caFile" | undefined {
  if ((before.strict ?? isStrict) && !(tls.strict ?? isStrict)) return "strict";
  if (tls.servername !== before.servername) return "servername";
  return tls.caFile === before.caFile ? undefined : "caFile";
}

function refuse(path: Path, secret: string, origins: ReadonlySet<string>): SecretRefusal {
  const entries = [...origins].map((origin) => `${secret}@${origin}`).join(",");
  return {
    path,
    message: `${secret} may not be used by a service added over REST for ${[...origins].join(", ")} in this way: no service of the file uses it there in the same place.`,
    hint: `Add ${entries} to REST_SECRETS, or put the service into the services file.`,
  };
}

function refuseOwn(path: Path, secret: string): SecretRefusal {
  return {
    path,
    message: `${secret} is the gateway's own, and never a credential of a service.`,
    hint: "Name a variable that holds the upstream's credential.",
  };
}
