/**
 * Reads and checks the credentials of services, at start and when a token file changes.
 * Invariant: problems and warnings name the variable or the file, never a part of the secret. A key of the gateway cannot become
 * the credential of a service.
 */
import { realpathSync } from "node:fs";
import { resolve } from "node:path";
import type { Variable } from "./env.ts";
import type { PlaneConfig } from "./planes.ts";
import { ConfigProblems } from "./problems.ts";
import { readTextFile, withoutTrailingNewlines } from "./read-file.ts";
import type { AuthDefinition, CredentialSource, Service } from "./schema.ts";
import { Secret } from "./secret.ts";
import { FAULT_TEXTS, readSecretForm } from "./secret-form.ts";
import type { DefinedService } from "./services-file.ts";
import { OWN_SECRETS, SETTINGS_WITH_FILE } from "./settings.ts";
import type { Findings, FoundProblem } from "./translate-issue.ts";

export type CredentialState = "none" | "present" | "missing";

/** Whether a service can send a credential: shown at start, in lists and in the status. */
export function credentialState(service: Pick<Service, "auth" | "credential">): CredentialState {
  if (service.auth === undefined) return "none";
  return service.credential?.secret === undefined ? "missing" : "present";
}

/** What is needed to read a credential. */
export interface CredentialContext {
  readonly variables: ReadonlyMap<string, Variable>;
  readonly directory: string;
  /** The gateway's own keys, which no service may use. */
  readonly ownKeys: readonly Secret[];
}

/** The credential of a service; undefined for one without `auth`. */
export function readCredential(
  service: DefinedService,
  context: CredentialContext,
  findings: Findings,
): CredentialSource | undefined {
  const { auth } = service.definition;
  if (auth === undefined) return undefined;
  const { tokenEnvVar, tokenFile } = auth;
  const found =
    tokenFile === undefined
      ? fromVariable(service, tokenEnvVar ?? "", context, findings)
      : fromFile(service, tokenFile, context, findings);
  const origin = {
    source: found.source,
    ...(tokenFile === undefined ? {} : { path: resolve(context.directory, tokenFile) }),
  };
  if (found.text === undefined) return { ...origin, secret: undefined };
  const { text, faults } = readSecretForm(found.text, auth);
  for (const fault of faults) {
    findings.warnings.push({
      ...found.place,
      text: `the secret of ${service.key} ${FAULT_TEXTS[fault]}; remove it there`,
    });
  }
  if (text === "") return { ...origin, secret: undefined };
  const allowed = unusableSecret(text, auth, context.ownKeys);
  if (allowed !== undefined) {
    findings.problems.push({ ...found.place, text: `found an unusable secret, allowed: ${allowed}` });
  }
  return { ...origin, secret: new Secret(text), faults };
}

interface FoundSecret {
  readonly source: string;
  /** The place that a problem names. */
  readonly place: Omit<FoundProblem, "text">;
  readonly text: string | undefined;
}

function fromVariable(
  service: DefinedService,
  name: string,
  { variables }: CredentialContext,
  { problems }: Findings,
): FoundSecret {
  const place = { path: ["services", service.key, "auth", "tokenEnvVar"], at: "value" } as const;
  if (OWN_SECRETS.has(name)) {
    problems.push({ ...place, text: `found the gateway's own ${name}, allowed: another variable` });
    return { source: name, place, text: undefined };
  }
  const variable = variables.get(name);
  const origin = `${name} (${variable?.origin ?? "environment"}), the credential of ${service.key}`;
  return { source: name, place: { ...place, place: origin }, text: nonEmpty(variable?.value) };
}

function fromFile(
  service: DefinedService,
  tokenFile: string,
  context: CredentialContext,
  { problems, warnings }: Findings,
): FoundSecret {
  const place = { path: ["services", service.key, "auth", "tokenFile"], at: "value" } as const;
  const source = `file:${tokenFile}`;
  const path = resolve(context.directory, tokenFile);
  if (ownKeyFiles(context).has(realPath(path))) {
    problems.push({ ...place, text: "found the file of one of the gateway's own keys, allowed: another file" });
    return { source, place, text: undefined };
  }
  const reading = readTextFile(path);
  const text = reading.state === "read" ? nonEmpty(withoutTrailingNewlines(reading.text)) : undefined;
  if (text === undefined) {
    const reason = { read: "it is empty", absent: "there is no such file" };
    const why = reading.state === "unreadable" ? reading.reason : reason[reading.state];
    warnings.push({
      ...place,
      text: `${service.key} has no credential, because its file cannot be used: ${why}`,
    });
  }
  return { source, place, text };
}

function ownKeyFiles({ variables, directory }: CredentialContext): ReadonlySet<string> {
  const paths = SETTINGS_WITH_FILE.map((name) => variables.get(`${name}_FILE`)?.value);
  return new Set(paths.flatMap((path) => (path === undefined ? [] : [realPath(resolve(directory, path))])));
}

/** What the secret would have to be, if it cannot be sent in a request; undefined if it can. */
export function unusableSecret(text: string, auth: AuthDefinition, ownKeys: readonly Secret[]): string | undefined {
  if (/[\x00-\x1f\x7f]/.test(text)) return "one line without control characters";
  if (/[^\x00-\xff]/.test(text)) return "characters that a header can carry (Latin-1)";
  if (auth.type === "basic" && !text.includes(":")) return "user:password";
  if (ownKeys.some((key) => key.reveal() === text)) return "a secret that is not one of the gateway's own keys";
  return undefined;
}

/**
 * The services whose token file now holds another secret, with that secret. Nothing else is read again: a rotated token is not a
 * new configuration.
 * @throws ConfigProblems for a file without a usable secret.
 */
export function withFreshTokens(
  services: Iterable<Service>,
  { proxyPlane, managementPlane }: { readonly proxyPlane: PlaneConfig; readonly managementPlane: PlaneConfig },
): Service[] {
  const problems: string[] = [];
  const ownKeys = [proxyPlane.key, managementPlane.key].filter((key) => key !== undefined);
  const changed: Service[] = [];
  for (const service of services) {
    const { auth, credential, key } = service;
    if (auth === undefined || credential?.path === undefined) continue;
    const reading = readTextFile(credential.path);
    const read = reading.state === "read" ? withoutTrailingNewlines(reading.text) : "";
    const { text, faults } = readSecretForm(read, auth);
    const allowed = text.trim() === "" ? "a file that holds a secret" : unusableSecret(text, auth, ownKeys);
    if (allowed !== undefined) {
      problems.push(`${credential.source}: found no usable secret for ${key}, allowed: ${allowed}`);
    } else if (credential.secret?.reveal() !== text) {
      changed.push({ ...service, credential: { ...credential, secret: new Secret(text), faults } });
    }
  }
  if (problems.length > 0) throw new ConfigProblems(problems);
  return changed;
}

const nonEmpty = (text: string | undefined) => (text === undefined || text.trim() === "" ? undefined : text);

/** The path with symbolic links resolved; unchanged if nothing exists there. */
export function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
