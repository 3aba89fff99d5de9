/**
 * Reads the credentials of services.
 * Invariant: problems and warnings name the variable or the file, never a part of the secret. A key of the gateway cannot become
 * the credential of a service.
 */
import { realpathSync } from "node:fs";
import { resolve } from "node:path";
import { unusableKey } from "./assertion-settings.ts";
import { entryOfSecret, indexOfSecret } from "./auth-entries.ts";
import type { AuthDefinition } from "./auth-schema.ts";
import {
  type CredentialSource,
  type DefinedSecret,
  definedSecrets,
  identityOf,
  isPending,
  type NamedSecret,
  nameOrigin,
} from "./credential-source.ts";
import type { Variable } from "./env.ts";
import { splitNext } from "./next-secret.ts";
import { credentialsOf } from "./pooled-credentials.ts";
import { readTextFile, withoutTrailingNewlines } from "./read-file.ts";
import { NEXT } from "./rotation-state.ts";
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
  const isPendingNow = ({ secrets }: CredentialSource) => {
    const absent = secrets.filter(({ secret }) => secret === undefined);
    return absent.length > 0 && absent.every(isPending);
  };
  return credentialsOf({ auth, credential }).some((entry) => isPendingNow(entry.credential)) ? "pending" : "missing";
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
    readSecret(
      { defined, auth, key: service.key, what: defined.name === NEXT ? "next secret" : "credential" },
      context,
      findings,
    ),
  );
  const credential = splitNext(secrets);
  if (auth.type === "pool") warnOfIncomplete(service.key, credential, findings);
  return credential;
}

/** The pool works with its other credentials. A file that cannot be used has a warning of its own. */
function warnOfIncomplete(key: string, credential: CredentialSource, { warnings }: Findings): void {
  if (identityOf(credential) === undefined) return;
  for (const { name, source, secret, command, path } of credential.secrets) {
    if (secret !== undefined || command !== undefined || path !== undefined) continue;
    warnings.push({
      path: ["services", key, "auth", "of", indexOfSecret(name) ?? 0],
      at: "value",
      text: `the pool of ${key} works without this credential, because ${source} is empty or not set`,
    });
  }
}

/** A secret that is being looked for. */
interface SoughtSecret {
  readonly defined: DefinedSecret;
  /** Of the service. */
  readonly key: string;
  readonly what: "credential" | "next secret" | "signing secret";
}

/** A secret of a service's credential, which is being read. */
interface SecretToRead extends SoughtSecret {
  readonly auth: AuthDefinition;
}

function readSecret(subject: SecretToRead, context: CredentialContext, findings: Findings): NamedSecret {
  const { defined, auth, key } = subject;
  const { name, origin } = defined;
  // The next secret is sent as the current one is.
  const written = name === NEXT ? "token" : name;
  const { command, login } = origin;
  const source = nameOrigin(origin);
  if (login) return { name, source, secret: undefined, login };
  if (command !== undefined) return { name, source, secret: undefined, command };
  const found = findSecret(subject, context, findings);
  const path = found.path === undefined ? {} : { path: found.path };
  if (found.text === undefined) return { name, source, secret: undefined, ...path };
  if (defined.isKey)
    return { name, source, isKey: true, secret: readKey(found.text, found.place, subject, findings), ...path };
  const { text, faults } = readSecretForm(found.text, auth, written);
  for (const fault of faults) {
    findings.warnings.push({ ...found.place, text: `${nameSecret(subject)} ${FAULT_TEXTS[fault]}; remove it there` });
  }
  if (text === "") return { name, source, secret: undefined, ...path };
  const allowed = unusableSecret({ text, name: written, auth }, context.ownKeys);
  if (allowed !== undefined) {
    findings.problems.push({
      ...found.place,
      text: `found an unusable secret${["custom", "pool"].includes(auth.type) ? ` of ${key}` : ""}, allowed: ${allowed}`,
    });
  }
  return { name, source, secret: new Secret(text), faults, ...path };
}

/** A key that cannot sign is a problem: a token endpoint would refuse what it signs, later and with less to say. */
function readKey(
  text: string,
  place: FoundSecret["place"],
  { auth, defined }: SecretToRead,
  { problems }: Findings,
): Secret {
  const allowed = unusableKey(entryOfSecret(auth, defined.name).auth, text);
  if (allowed !== undefined) problems.push({ ...place, text: `found an unusable key, allowed: ${allowed}` });
  return new Secret(text);
}

const isOneOfSeveral = ({ type }: AuthDefinition) => type === "custom" || type === "aws-sigv4";

function nameSecret({ defined: { name }, auth, key }: SecretToRead): string {
  if (auth.type === "pool") return `the secret ${name} of ${key}`;
  if (name === NEXT) return `the next secret of ${key}`;
  if (auth.type === "basic" && name === "username") return `the user name of ${key}`;
  return isOneOfSeveral(auth) ? `the secret ${name} of ${key}` : `the secret of ${key}`;
}

interface FoundSecret {
  /** The place that a problem names. */
  readonly place: Omit<FoundProblem, "text">;
  readonly text: string | undefined;
  /** The absolute path of its file. */
  readonly path?: string;
}

/** The text of a secret of a variable or a file, as it is written there. */
export function findSecret(subject: SoughtSecret, context: CredentialContext, findings: Findings): FoundSecret {
  const { file } = subject.defined.origin;
  if (file === undefined) return fromVariable(subject, context, findings);
  return { ...fromFile(subject, file, context, findings), path: resolve(context.directory, file) };
}

function placeOf({ defined, key }: SoughtSecret) {
  return { path: ["services", key, ...defined.path], at: "value" } as const;
}

function fromVariable(subject: SoughtSecret, { variables }: CredentialContext, { problems }: Findings): FoundSecret {
  const name = subject.defined.origin.envVar ?? "";
  const place = placeOf(subject);
  if (OWN_SECRETS.has(name)) {
    problems.push({ ...place, text: `found the gateway's own ${name}, allowed: another variable` });
    return { place, text: undefined };
  }
  const variable = variables.get(name);
  const origin = `${name} (${variable?.origin ?? "environment"}), the ${subject.what} of ${subject.key}`;
  return { place: { ...place, place: origin }, text: nonEmpty(variable?.value) };
}

function fromFile(
  subject: SoughtSecret,
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
  // The next secret is put there for a rotation.
  const isEarly = subject.what === "next secret" && reading.state !== "unreadable";
  if (text === undefined && !isEarly) {
    const reason = { read: "it is empty", absent: "there is no such file" };
    const why = reading.state === "unreadable" ? reading.reason : reason[reading.state];
    warnings.push({
      ...place,
      text: `${subject.key} has no ${subject.what}, because its file ${file} cannot be used: ${why}`,
    });
  }
  return { place, text };
}

function ownKeyFiles({ variables, directory }: CredentialContext): ReadonlySet<string> {
  const paths = SETTINGS_WITH_FILE.map((name) => variables.get(`${name}_FILE`)?.value);
  return new Set(paths.flatMap((path) => (path === undefined ? [] : [realPath(resolve(directory, path))])));
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
