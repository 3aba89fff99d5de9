/**
 * Reads the credentials of services, at start and when a token file changes.
 * Invariant: problems and warnings name the variable or the file, never a part of the secret. A key of the gateway cannot become
 * the credential of a service.
 */
import { realpathSync } from "node:fs";
import { resolve } from "node:path";
import type { AuthDefinition } from "./auth-schema.ts";
import {
  type CredentialSource,
  type DefinedSecret,
  definedSecrets,
  identityOf,
  isPending,
  type NamedSecret,
  nameOrigin,
  nameSources,
} from "./credential-source.ts";
import type { Variable } from "./env.ts";
import type { PlaneConfig } from "./planes.ts";
import { ConfigProblems } from "./problems.ts";
import { readTextFile, withoutTrailingNewlines } from "./read-file.ts";
import type { Service } from "./schema.ts";
import { Secret } from "./secret.ts";
import { FAULT_TEXTS, readSecretForm } from "./secret-form.ts";
import type { DefinedService } from "./services-file.ts";
import { OWN_SECRETS, SETTINGS_WITH_FILE } from "./settings.ts";
import type { Findings, FoundProblem } from "./translate-issue.ts";
import { unusableSecret } from "./unusable-secret.ts";

/** `pending`: a command prints it, and has not run yet. */
export type CredentialState = "none" | "present" | "missing" | "pending";

/** Whether a service can send a credential: shown at start, in lists and in the status. */
export function credentialState({ auth, credential }: Pick<Service, "auth" | "credential">): CredentialState {
  if (auth === undefined) return "none";
  if (identityOf(credential) !== undefined) return "present";
  const absent = credential?.secrets.filter(({ secret }) => secret === undefined) ?? [];
  return absent.length > 0 && absent.every(isPending) ? "pending" : "missing";
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
  const secrets = definedSecrets(auth).map((defined) =>
    readSecret({ defined, auth, key: service.key }, context, findings),
  );
  return { source: nameSources(secrets), secrets };
}

/** A secret of a service, which is being read. */
interface SecretToRead {
  readonly defined: DefinedSecret;
  readonly auth: AuthDefinition;
  /** Of the service. */
  readonly key: string;
}

function readSecret(subject: SecretToRead, context: CredentialContext, findings: Findings): NamedSecret {
  const { defined, auth, key } = subject;
  const { name, origin } = defined;
  const { file, command } = origin;
  const source = nameOrigin(origin);
  if (command !== undefined) return { name, source, secret: undefined, command };
  const found =
    file === undefined ? fromVariable(subject, context, findings) : fromFile(subject, file, context, findings);
  const path = file === undefined ? {} : { path: resolve(context.directory, file) };
  if (found.text === undefined) return { name, source, secret: undefined, ...path };
  const { text, faults } = readSecretForm(found.text, auth, name);
  for (const fault of faults) {
    findings.warnings.push({ ...found.place, text: `${nameSecret(subject)} ${FAULT_TEXTS[fault]}; remove it there` });
  }
  if (text === "") return { name, source, secret: undefined, ...path };
  const allowed = unusableSecret({ text, name, auth }, context.ownKeys);
  if (allowed !== undefined) {
    findings.problems.push({
      ...found.place,
      text: `found an unusable secret${auth.type === "custom" ? ` of ${key}` : ""}, allowed: ${allowed}`,
    });
  }
  return { name, source, secret: new Secret(text), faults, ...path };
}

function nameSecret({ defined: { name }, auth, key }: SecretToRead): string {
  if (auth.type === "basic" && name === "username") return `the user name of ${key}`;
  return auth.type === "custom" ? `the secret ${name} of ${key}` : `the secret of ${key}`;
}

interface FoundSecret {
  /** The place that a problem names. */
  readonly place: Omit<FoundProblem, "text">;
  readonly text: string | undefined;
}

function placeOf({ defined, key }: SecretToRead) {
  return { path: ["services", key, ...defined.path], at: "value" } as const;
}

function fromVariable(subject: SecretToRead, { variables }: CredentialContext, { problems }: Findings): FoundSecret {
  const name = subject.defined.origin.envVar ?? "";
  const place = placeOf(subject);
  if (OWN_SECRETS.has(name)) {
    problems.push({ ...place, text: `found the gateway's own ${name}, allowed: another variable` });
    return { place, text: undefined };
  }
  const variable = variables.get(name);
  const origin = `${name} (${variable?.origin ?? "environment"}), the credential of ${subject.key}`;
  return { place: { ...place, place: origin }, text: nonEmpty(variable?.value) };
}

function fromFile(
  subject: SecretToRead,
  file: string,
  context: CredentialContext,
  { problems, warnings }: Findings,
): FoundSecret {
  const place = placeOf(subject);
  const path = resolve(context.directory, file);
  if (ownKeyFiles(context).has(realPath(path))) {
    problems.push({ ...place, text: "found the file of one of the gateway's own keys, allowed: another file" });
    return { place, text: undefined };
  }
  const reading = readTextFile(path);
  const text = reading.state === "read" ? nonEmpty(withoutTrailingNewlines(reading.text)) : undefined;
  if (text === undefined) {
    const reason = { read: "it is empty", absent: "there is no such file" };
    const why = reading.state === "unreadable" ? reading.reason : reason[reading.state];
    warnings.push({
      ...place,
      text: `${subject.key} has no credential, because its file ${file} cannot be used: ${why}`,
    });
  }
  return { place, text };
}

function ownKeyFiles({ variables, directory }: CredentialContext): ReadonlySet<string> {
  const paths = SETTINGS_WITH_FILE.map((name) => variables.get(`${name}_FILE`)?.value);
  return new Set(paths.flatMap((path) => (path === undefined ? [] : [realPath(resolve(directory, path))])));
}

/**
 * The services whose token files now hold other secrets, with those secrets. Nothing else is read again: a rotated token is not a
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
    if (auth === undefined || credential === undefined) continue;
    const secrets = credential.secrets.map((old): NamedSecret => {
      if (old.path === undefined) return old;
      const reading = readTextFile(old.path);
      const read = reading.state === "read" ? withoutTrailingNewlines(reading.text) : "";
      const { text, faults } = readSecretForm(read, auth, old.name);
      const allowed =
        text.trim() === "" ? "a file that holds a secret" : unusableSecret({ text, name: old.name, auth }, ownKeys);
      if (allowed !== undefined) {
        problems.push(`${old.source}: found no usable secret for ${key}, allowed: ${allowed}`);
        return old;
      }
      return old.secret?.reveal() === text ? old : { ...old, secret: new Secret(text), faults };
    });
    const isChanged = secrets.some((secret, index) => secret !== credential.secrets[index]);
    if (isChanged) changed.push({ ...service, credential: { ...credential, secrets } });
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
