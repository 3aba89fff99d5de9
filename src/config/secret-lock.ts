/**
 * Prevents a caller that may add services over REST from reading secrets through them.
 * Invariant: a secret that such a service names is sent only where the services file, a preset or REST_SECRETS already sends it:
 * to the same origins and, for the first two, in the same place of the request.
 */
import { resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { entriesOf } from "./auth-entries.ts";
import type { AuthDefinition } from "./auth-schema.ts";
import { definedSecrets, isMinted, nameOrigin, signsRequests } from "./credential-source.ts";
import { type CredentialContext, realPath } from "./credentials.ts";
import { isSameProxy } from "./egress-proxy.ts";
import type { ServiceDefinition, TlsDefinition } from "./schema.ts";
import { sourceKey, usesOfSecrets, withFiles } from "./secret-uses.ts";
import type { DefinedService } from "./services-file.ts";
import { OWN_SECRETS, type RestSecret } from "./settings.ts";
import { definedSigningSecret } from "./signing-secret.ts";
import type { Path } from "./translate-issue.ts";
import type { VerifyDefinition } from "./verify-schema.ts";
import { messageRuleOf } from "./ws-schema.ts";

export interface LockContext extends Pick<CredentialContext, "directory"> {
  readonly settings: { readonly REST_SECRETS: readonly RestSecret[]; readonly STRICT_TLS: boolean };
}

export interface SecretRefusal {
  /** From the root of the service. */
  readonly path: Path;
  readonly message: string;
  readonly hint: string;
}

/** The definition that may be used, with the file paths that the operator wrote; or the refusal. */
export type Unlocked = { readonly definition: ServiceDefinition } | { readonly refusal: SecretRefusal };

/** @param bound the services of the file and the presets; at least those that use the same secret, or files, at its origins. */
export function unlockSecrets(
  definition: ServiceDefinition,
  bound: Iterable<DefinedService>,
  { directory, settings }: LockContext,
): Unlocked {
  const { auth, tls, verify } = definition;
  if (auth === undefined && verify === undefined && tls.certFile === undefined && tls.keyFile === undefined)
    return { definition };
  const origins = originsOf(definition);
  const fileOf = (path: string) => realPath(resolve(directory, path));
  /** The entry of REST_SECRETS that allows the secret for all of these origins, as the operator wrote it. */
  const listed = (secret: string) =>
    settings.REST_SECRETS.map((entry) => entry.secret).find(
      (spelling) => isSameSecret(spelling, secret, fileOf) && covers(listedOrigins(settings, spelling), origins),
    );
  const candidates = [...bound]
    .map((service) => service.definition)
    .filter((other) => covers(originsOf(other), origins));

  const pairs = candidates.filter((other) => isSamePair(other.tls, tls, fileOf));
  const pairOf = pairs.find((other) => isSameProxy(definition.egressProxy, other.egressProxy)) ?? pairs[0];
  const pair = pairOf?.tls;
  const listedKey = pair === undefined && tls.keyFile !== undefined ? listed(`file:${tls.keyFile}`) : undefined;
  if ((tls.certFile ?? tls.keyFile) !== undefined && pair === undefined && listedKey === undefined) {
    return { refusal: refuse(["tls", "keyFile"], `file:${tls.keyFile ?? tls.certFile}`, origins) };
  }
  // The operator's path, not the caller's: the caller could change a symbolic link in its path later.
  const unlockedTls = {
    ...tls,
    ...(pair === undefined ? {} : { certFile: pair.certFile, keyFile: pair.keyFile }),
    ...(listedKey === undefined ? {} : { keyFile: pathOf(listedKey) }),
  };
  const lock = { definition, candidates, origins, fileOf, listed, settings };
  const signed = verify === undefined ? { verify } : unlockVerify(verify, lock);
  if ("refusal" in signed) return signed;
  const others = { ...definition, tls: unlockedTls, ...(signed.verify === undefined ? {} : { verify: signed.verify }) };
  if (auth === undefined) {
    const isTlsBound = (tls.certFile ?? tls.keyFile) !== undefined;
    const weak = isTlsBound ? (weakTls(tls, pair, settings.STRICT_TLS) ?? otherProxy(definition, pairOf)) : undefined;
    return weak === undefined ? { definition: others } : { refusal: weak };
  }

  const unlocked = unlockAuth(auth, lock);
  if ("refusal" in unlocked) return unlocked;
  return { definition: { ...others, auth: unlocked.auth } };
}

interface AuthLock {
  readonly definition: ServiceDefinition;
  /** Services with all origins of the definition. */
  readonly candidates: readonly ServiceDefinition[];
  readonly origins: ReadonlySet<string>;
  readonly fileOf: (path: string) => string;
  /** As the operator wrote it in REST_SECRETS, for these origins. */
  readonly listed: (secret: string) => string | undefined;
  readonly settings: LockContext["settings"];
}

/** Every secret of the credential is decided by itself: another service of the file may bind each of them. */
function unlockAuth(
  auth: AuthDefinition,
  { definition, candidates, origins, fileOf, listed, settings }: AuthLock,
): { readonly auth: AuthDefinition } | { readonly refusal: SecretRefusal } {
  const secrets = definedSecrets(auth);
  const commanded = secrets.find(({ origin }) => origin.command !== undefined);
  if (commanded !== undefined) return { refusal: refuseCommand(commanded.path) };
  const own = secrets.find(({ origin }) => OWN_SECRETS.has(nameOrigin(origin)));
  if (own !== undefined) return { refusal: refuseOwn(own.path, nameOrigin(own.origin)) };
  // A signature opens the upstream as a token does, and a pool may have such credentials.
  if (isMinted(auth) || signsRequests(auth) || auth.type === "pool")
    return unlockMinted(auth, { definition, candidates, origins, settings });
  const bound = candidates.map((other) => ({ other, uses: usesOfSecrets(other, fileOf) }));
  const spellings = new Map<string, string>();
  for (const [secret, { places }] of usesOfSecrets(definition, fileOf)) {
    const defined = secrets.filter(({ origin }) => sourceKey(origin, fileOf) === secret);
    const { path = [], origin = {} } = defined[0] ?? {};
    const bindings = bound.filter(({ uses }) => {
      const allowed = uses.get(secret)?.places;
      return allowed !== undefined && covers(allowed, places);
    });
    const isKept = ({ other }: { other: ServiceDefinition }) =>
      !loosenedTls(definition.tls, other.tls, settings.STRICT_TLS) &&
      !isUnscrubbed(definition, other) &&
      isSameProxy(definition.egressProxy, other.egressProxy);
    const binding = bindings.find(isKept) ?? bindings[0];
    const spelling = binding === undefined ? listed(nameOrigin(origin)) : binding.uses.get(secret)?.spelling;
    if (spelling === undefined) return { refusal: refuse(path, nameOrigin(origin), origins) };
    const weak =
      weakTls(definition.tls, binding?.other.tls, settings.STRICT_TLS) ?? otherProxy(definition, binding?.other);
    if (weak !== undefined) return { refusal: weak };
    if (binding !== undefined && isUnscrubbed(definition, binding.other)) return { refusal: refuseUnscrubbed() };
    for (const { name } of defined) spellings.set(name, spelling);
  }
  return { auth: withFiles(auth, spellings) };
}

/**
 * The client's secrets are sent to the token endpoint, and the tokens to the base URLs: both must be the operator's, and so must what
 * the tokens are for.
 */
function unlockMinted(
  auth: AuthDefinition,
  { definition, candidates, origins, settings }: Pick<AuthLock, "definition" | "candidates" | "origins" | "settings">,
): { readonly auth: AuthDefinition } | { readonly refusal: SecretRefusal } {
  const rule = messageRuleOf(definition.ws);
  const bindings = candidates.filter(
    (other) =>
      isDeepStrictEqual(other.auth, auth) &&
      covers(origins, originsOf(other)) &&
      // A message is a place of the token: what a client writes, others may read.
      (rule === undefined || isDeepStrictEqual(rule, messageRuleOf(other.ws))) &&
      // Its tokens are issued below the base URL.
      (!hasApp(auth) || other.baseUrl === definition.baseUrl),
  );
  const weaknesses = bindings.map(
    (other) =>
      weakTls(definition.tls, other.tls, settings.STRICT_TLS) ??
      otherProxy(definition, other) ??
      (isUnscrubbed(definition, other) ? refuseUnscrubbed() : undefined),
  );
  if (weaknesses.includes(undefined)) return { auth };
  return { refusal: weaknesses[0] ?? refuseMinted(auth, origins) };
}

const hasApp = (auth: AuthDefinition) => entriesOf(auth).some((entry) => entry.auth.type === "github-app");

/** The secret is sent nowhere, but its signatures open the service: only for the callers that the operator has named it for. */
function unlockVerify(
  verify: VerifyDefinition,
  { candidates, origins, fileOf, listed }: AuthLock,
): { readonly verify: VerifyDefinition } | { readonly refusal: SecretRefusal } {
  const { origin, path } = definedSigningSecret(verify);
  const name = nameOrigin(origin);
  if (OWN_SECRETS.has(name)) return { refusal: refuseOwn(path, name) };
  const key = sourceKey(origin, fileOf);
  const binding = candidates.find(
    ({ verify: other }) =>
      other?.scheme === verify.scheme && sourceKey(definedSigningSecret(other).origin, fileOf) === key,
  )?.verify;
  const spelling = binding === undefined ? listed(name) : nameOrigin(definedSigningSecret(binding).origin);
  if (spelling === undefined) return { refusal: refuse(path, name, origins) };
  return { verify: origin.file === undefined ? verify : { ...verify, secretFile: pathOf(spelling) } };
}

function listedOrigins({ REST_SECRETS }: LockContext["settings"], spelling: string): ReadonlySet<string> {
  return new Set(REST_SECRETS.filter(({ secret }) => secret === spelling).map(({ origin }) => origin));
}

/** Every origin to which requests of this service can be sent. */
export function originsOf({ baseUrl, versionedBaseUrls }: Pick<ServiceDefinition, "baseUrl" | "versionedBaseUrls">) {
  return new Set([baseUrl, ...Object.values(versionedBaseUrls)].map((url) => new URL(url).origin));
}

export function covers(allowed: ReadonlySet<string>, origins: ReadonlySet<string>): boolean {
  return [...origins].every((origin) => allowed.has(origin));
}

function isSameSecret(one: string, other: string, fileOf: (path: string) => string): boolean {
  if (one === other) return true;
  return isFile(one) && isFile(other) && fileOf(pathOf(one)) === fileOf(pathOf(other));
}

const isFile = (secret: string) => secret.startsWith("file:");
const pathOf = (secret: string) => secret.slice("file:".length);

function isSamePair(one: TlsDefinition, other: TlsDefinition, fileOf: (path: string) => string): boolean {
  if (one.certFile === undefined || one.keyFile === undefined) return false;
  if (other.certFile === undefined || other.keyFile === undefined) return false;
  return fileOf(one.certFile) === fileOf(other.certFile) && fileOf(one.keyFile) === fileOf(other.keyFile);
}

/** Weaker TLS would show the credential to an attacker on the path, so only what the operator has allowed is accepted. */
function weakTls(tls: TlsDefinition, binding: TlsDefinition | undefined, isStrict: boolean): SecretRefusal | undefined {
  // Without a binding service, only the defaults are allowed.
  const name = loosenedTls(tls, binding ?? { strict: tls.strict === false ? true : undefined }, isStrict);
  if (name === undefined) return undefined;
  return {
    path: ["tls", name],
    message: `tls.${name} may not be changed over REST: another server could receive the credential.`,
    hint: `Keep tls.${name} as in the services file, or add the service to that file.`,
  };
}

/** The member of `tls` that could make another server count as the upstream; undefined if none does. @param isStrict STRICT_TLS */
export function loosenedTls(
  tls: Pick<TlsDefinition, "strict" | "servername" | "caFile">,
  before: Pick<TlsDefinition, "strict" | "servername" | "caFile">,
  isStrict: boolean,
): "strict" | "servername" | "caFile" | undefined {
  if ((before.strict ?? isStrict) && !(tls.strict ?? isStrict)) return "strict";
  if (tls.servername !== before.servername) return "servername";
  return tls.caFile === before.caFile ? undefined : "caFile";
}

/** A proxy sees what is sent over http, and where connections lead: only the operator chooses it for a credential. */
function otherProxy(
  { egressProxy }: ServiceDefinition,
  binding: ServiceDefinition | undefined,
): SecretRefusal | undefined {
  if (isSameProxy(egressProxy, binding?.egressProxy)) return undefined;
  const allowed =
    binding?.egressProxy === undefined ? "Remove egressProxy" : "Keep egressProxy as in the services file";
  const wanted = egressProxy === undefined ? "" : `: "egressProxy": ${JSON.stringify(egressProxy)}`;
  return {
    path: ["egressProxy"],
    message: "egressProxy of a service with a credential may not be changed over REST.",
    hint: `${allowed}, or add it to the entry of this service in the services file${wanted}.`,
  };
}

/** A body could show the secret that the operator has masked. */
function isUnscrubbed(definition: ServiceDefinition, binding: ServiceDefinition): boolean {
  return binding.scrubBodies && !definition.scrubBodies;
}

function refuseUnscrubbed(): SecretRefusal {
  return {
    path: ["scrubBodies"],
    message: "scrubBodies may not be turned off over REST: a response could show the credential.",
    hint: "Keep scrubBodies as in the services file, or change it there.",
  };
}

function refuse(path: Path, secret: string, origins: ReadonlySet<string>): SecretRefusal {
  const entries = [...origins].map((origin) => `${secret}@${origin}`).join(",");
  return {
    path,
    message: `${secret} may not be used by a service added over REST for ${[...origins].join(", ")} in this way: no service of the services file sends it there in the same place.`,
    hint: `Add ${entries} to REST_SECRETS, or add the service to the services file.`,
  };
}

function refuseMinted({ type }: AuthDefinition, origins: ReadonlySet<string>): SecretRefusal {
  return {
    path: ["auth"],
    message: `A service added over REST may use this auth of type ${type} only as a service of the services file does: with the same members, for exactly the origins of that service, and in no other messages of WebSockets. These origins are ${[...origins].join(", ")}.`,
    hint: "Copy auth, the base URLs and ws from the services file, or add the service to that file. REST_SECRETS cannot allow it.",
  };
}

function refuseCommand(path: Path): SecretRefusal {
  return {
    path,
    message: "A service that was added over REST cannot run a program for its secret.",
    hint: "Add the service to the services file, or name a variable or a file.",
  };
}

function refuseOwn(path: Path, secret: string): SecretRefusal {
  return {
    path,
    message: `${secret} holds a key of the gateway, which cannot be the credential of a service.`,
    hint: "Name a variable that holds the credential for the upstream.",
  };
}
