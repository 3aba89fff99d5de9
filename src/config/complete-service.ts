/**
 * Makes a service from its definition: adds the defaults of the settings, absolute paths and the credential, and checks the
 * service as a whole: header names that conflict, TLS files, credentials in clear text.
 */
import { resolve } from "node:path";
import { createSecureContext } from "node:tls";
import { secretsInBaseUrl } from "../telemetry/redact.ts";
import { tokenUrlOf } from "./assertion-settings.ts";
import { entriesOf } from "./auth-entries.ts";
import type { AuthDefinition } from "./auth-schema.ts";
import { completeCache } from "./cache-settings.ts";
import { type CredentialContext, readCredential } from "./credentials.ts";
import { isLoopbackHost, isPrivateHost } from "./hosts.ts";
import { completeIdempotency } from "./idempotency-settings.ts";
import { placementsOf } from "./placements.ts";
import { credentialsOf, type OneCredential } from "./pooled-credentials.ts";
import { readTextFile } from "./read-file.ts";
import { reviewAddresses } from "./review-addresses.ts";
import { isFromRest, type Service, type Vendor } from "./schema.ts";
import { baseUrlsOf } from "./service-secrets.ts";
import type { DefinedService } from "./services-file.ts";
import type { Settings } from "./settings.ts";
import { readSigningSecret } from "./signing-secret.ts";
import type { Findings, FoundProblem, Path } from "./translate-issue.ts";

export interface CompletionContext extends CredentialContext {
  readonly settings: Settings;
}

export interface CompletedService extends Findings {
  /** Not to be used if there are problems. */
  readonly service: Service;
}

export function completeService(defined: DefinedService, context: CompletionContext): CompletedService {
  const { settings, directory } = context;
  const { key, definition, source, embedded } = defined;
  const findings: Findings = { problems: [], warnings: [] };
  const tls = { ...definition.tls };
  for (const name of ["caFile", "certFile", "keyFile"] as const) {
    if (tls[name] !== undefined) tls[name] = resolve(directory, tls[name]);
  }
  const vendor = vendorOf(key, definition.baseUrl);
  const service: Service = {
    ...definition,
    tls,
    vendor,
    quota: { ...definition.quota, mode: definition.quota.mode ?? (vendor === undefined ? "observe" : "hold") },
    cache: completeCache(definition.cache),
    idempotency: completeIdempotency(definition.idempotency),
    key,
    source,
    embedded,
    name: definition.name ?? key,
    timeoutMs: definition.timeoutMs ?? settings.NETWORK_TIMEOUT,
    connectTimeoutMs: definition.connectTimeoutMs ?? settings.NETWORK_CONNECT_TIMEOUT,
    retries: definition.retries ?? settings.NETWORK_RETRIES,
    credential: readCredential(defined, context, findings),
    signingSecret: readSigningSecret(key, definition.verify, context, findings),
  };
  reviewService(service, findings);
  findings.problems.push(...reviewAddresses(service, settings));
  if (service.port !== undefined && settings.TLS_CLIENT_CA_FILE !== undefined) {
    const text = `the port of ${service.key} is plain HTTP: programs on this machine reach the service there without a client certificate`;
    findings.warnings.push({ path: ["services", service.key, "port"], at: "value", text });
  }
  if (service.webContent === "pass" && settings.MANAGEMENT_PORT === undefined) {
    const text = `pages of ${key} act as pages of the gateway in browsers, so /docs is off: it needs MANAGEMENT_PORT`;
    findings.warnings.push({ path: ["services", key, "webContent"], at: "value", text });
  }
  return { service, ...findings };
}

/** By the key of the preset, which also covers a replacement of the vendor's API, or by the host of the base URL. */
function vendorOf(key: string, baseUrl: string): Vendor | undefined {
  if (key === "discord" || key === "github") return key;
  switch (new URL(baseUrl).hostname) {
    case "discord.com":
      return "discord";
    case "api.github.com":
      return "github";
    default:
      return undefined;
  }
}

function reviewService(service: Service, findings: Findings): void {
  reviewHeaderNames(service, findings);
  reviewTls(service, findings);
  reviewClearText(service, findings);
  reviewSubprotocol(service, findings);
  reviewBaseUrls(service, findings);
}

/** With two headers of the same name, a library would decide which of them is sent. */
function reviewHeaderNames(service: Service, { problems }: Findings): void {
  const names: { path: Path; name: string }[] = [];
  for (const member of ["headers", "setHeaders"] as const) {
    for (const name of Object.keys(service[member])) names.push({ path: [member, name], name });
  }
  const { auth } = service;
  for (const { kind, name } of auth === undefined ? [] : placementsOf(auth)) {
    const [entry] = entriesOf(auth as AuthDefinition);
    const { type, headerName } = entry?.auth ?? {};
    const member = type === "custom" ? ["headers", name] : headerName === undefined ? [] : ["headerName"];
    if (kind === "header" || kind === "signature")
      names.push({ path: [...(entry?.path ?? ["auth"]), ...member], name });
  }

  const seen = new Map<string, Path>();
  for (const { path, name } of names) {
    const first = seen.get(name.toLowerCase());
    if (first === undefined) seen.set(name.toLowerCase(), path);
    else {
      problems.push({
        path: ["services", service.key, ...path],
        at: path[0] === "auth" ? "value" : "name",
        text: `found ${name} again, after ${first[0] === "auth" ? "auth" : String(first[0])}, allowed: each header in one place`,
      });
    }
  }
}

const NO_CERTIFICATE = "found no readable certificate, allowed: a PEM file";

function reviewTls({ key, tls, source }: Service, { problems, warnings }: Findings): void {
  const found = (list: FoundProblem[], text: string, ...names: string[]) =>
    list.push({ path: ["services", key, "tls", ...names], at: "value", text });
  if (tls.strict === false) found(warnings, `the certificate of ${key} is not verified`, "strict");
  const pem = (name: "caFile" | "certFile" | "keyFile") => {
    const file = tls[name];
    const reading = file === undefined ? undefined : readTextFile(file, isFromRest(source));
    if (reading === undefined || reading.state === "read") return reading?.text;
    if (isFromRest(source)) {
      // A caller that may add services must not learn which files exist.
      found(problems, NO_CERTIFICATE, name);
      return undefined;
    }
    const reason = reading.state === "absent" ? "there is no such file" : reading.reason;
    found(problems, `${file} cannot be read: ${reason}, allowed: a PEM file`, name);
    return undefined;
  };
  const [ca, cert, privateKey] = [pem("caFile"), pem("certFile"), pem("keyFile")];
  if (ca !== undefined && !/-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----/.test(ca)) {
    found(
      problems,
      isFromRest(source) ? NO_CERTIFICATE : "found no certificate in the file, allowed: a PEM file",
      "caFile",
    );
  }
  if ((tls.certFile === undefined) !== (tls.keyFile === undefined)) {
    found(problems, "found one of certFile and keyFile, allowed: both or neither");
  } else if (cert !== undefined && privateKey !== undefined && !isPair(cert, privateKey)) {
    found(
      problems,
      "found a certificate and a key that do not match, allowed: a PEM certificate and its key without a passphrase",
      "certFile",
    );
  }
}

function isPair(cert: string, key: string): boolean {
  try {
    createSecureContext({ cert, key });
    return true;
  } catch {
    return false;
  }
}

function reviewSubprotocol({ key, auth, ws }: Service, { warnings }: Findings): void {
  const entry = auth && entriesOf(auth)[0];
  if (entry?.auth.subprotocol === undefined || ws) return;
  warnings.push({
    path: ["services", key, ...entry.path, "subprotocol"],
    at: "value",
    text: `the subprotocol of ${key} is never sent, because ws is false`,
  });
}

/** @param at of the credential, from the root of the service. */
function endpointsOf({ auth, credential }: OneCredential, at: readonly PropertyKey[]) {
  const tokenUrl = tokenUrlOf(auth, credential.secrets.find(({ isKey }) => isKey)?.secret?.reveal());
  const { authorizationUrl, deviceAuthorizationUrl } = auth;
  return Object.entries({ tokenUrl, authorizationUrl, deviceAuthorizationUrl }).flatMap(([name, url]) =>
    url === undefined ? [] : [{ path: [...at, name], url }],
  );
}

function reviewClearText(service: Service, { warnings }: Findings): void {
  const { auth } = service;
  if (auth === undefined) return;
  const paths = entriesOf(auth).map(({ path }) => path);
  const endpoints = credentialsOf(service).flatMap((one, index) => endpointsOf(one, paths[index] ?? []));
  for (const { path, url } of [...baseUrlsOf(service), ...endpoints]) {
    const { protocol, hostname } = new URL(url);
    const isEndpoint = path[0] === "auth";
    if (protocol === "https:" || isLoopbackHost(hostname) || (isPrivateHost(hostname) && !isEndpoint)) continue;
    warnings.push({
      path: ["services", service.key, ...path],
      at: "value",
      text: `the credential of ${service.key} is sent to ${hostname} in clear text; use https`,
    });
  }
}

/** A services file is shared and committed, and no mask recognizes every secret. */
function reviewBaseUrls(service: Service, { warnings }: Findings): void {
  for (const { path, url } of baseUrlsOf(service)) {
    if (secretsInBaseUrl(url).length === 0) continue;
    warnings.push({
      path: ["services", service.key, ...path],
      at: "value",
      text: `the path seems to contain a secret of ${service.key}, which is masked in the log and in responses; keep the services file private`,
    });
  }
}
