/**
 * Reads the secret files of services again when they change: of credentials, and of signatures.
 * Invariant: nothing else is read again, because a rotated secret is not a new configuration.
 */
import type { CredentialSource, NamedSecret } from "./credential-source.ts";
import type { PlaneConfig } from "./planes.ts";
import { ConfigProblems } from "./problems.ts";
import { readTextFile, withoutTrailingNewlines } from "./read-file.ts";
import type { Service } from "./schema.ts";
import { Secret } from "./secret.ts";
import { readSecretForm, type SecretForm } from "./secret-form.ts";
import type { Settings } from "./settings.ts";
import { unusableSigningSecret } from "./signing-secret.ts";
import { unusableSecret } from "./unusable-secret.ts";

interface OwnKeys {
  readonly proxyPlane: PlaneConfig;
  readonly managementPlane: PlaneConfig;
  readonly settings: Pick<Settings, "JWT_SECRET">;
}

/** How a secret is read from its text. */
interface Reading {
  readonly formOf: (text: string, name: string) => SecretForm;
  /** What the secret would have to be; undefined if it can be used. */
  readonly unusable: (text: string, name: string) => string | undefined;
}

/** The services whose secret files now hold other secrets, with those secrets. @throws ConfigProblems for a file without a usable secret. */
export function withFreshTokens(
  services: Iterable<Service>,
  { proxyPlane, managementPlane, settings }: OwnKeys,
): Service[] {
  const problems: string[] = [];
  const ownKeys = [proxyPlane.key, managementPlane.key, settings.JWT_SECRET].filter((key) => key !== undefined);
  const changed: Service[] = [];
  for (const service of services) {
    const { auth, verify, key } = service;
    const report = (source: string, allowed: string) =>
      problems.push(`${source}: found no usable secret for ${key}, allowed: ${allowed}`);
    const credential =
      auth &&
      freshened(service.credential, report, {
        formOf: (text, name) => readSecretForm(text, auth, name),
        unusable: (text, name) => unusableSecret({ text, name, auth }, ownKeys),
      });
    const signingSecret =
      verify &&
      freshened(service.signingSecret, report, {
        formOf: (text) => ({ text, faults: [] }),
        unusable: (text) => unusableSigningSecret(verify, text, ownKeys),
      });
    if (credential !== service.credential || signingSecret !== service.signingSecret) {
      changed.push({ ...service, credential, signingSecret });
    }
  }
  if (problems.length > 0) throw new ConfigProblems(problems);
  return changed;
}

/** The same object where no secret changed. */
function freshened(
  old: CredentialSource | undefined,
  report: (source: string, allowed: string) => void,
  { formOf, unusable }: Reading,
): CredentialSource | undefined {
  if (old === undefined) return undefined;
  const freshen = (each: NamedSecret, name: string, isOptional: boolean): NamedSecret => {
    if (each.path === undefined) return each;
    const reading = readTextFile(each.path);
    const read = reading.state === "read" ? withoutTrailingNewlines(reading.text) : "";
    const { text, faults } = formOf(read, name);
    const isEmpty = text.trim() === "";
    if (isEmpty && isOptional) return each.secret === undefined ? each : { ...each, secret: undefined, faults };
    const allowed = isEmpty ? "a file that holds a secret" : unusable(text, name);
    if (allowed !== undefined) {
      report(each.source, allowed);
      return each;
    }
    return each.secret?.reveal() === text ? each : { ...each, secret: new Secret(text), faults };
  };
  // The next secret is in its file for a rotation only, and is sent as `token` is.
  const next = old.next && freshen(old.next, "token", true);
  const secrets = old.secrets.map((each) => freshen(each, each.name, false));
  const isSame = next === old.next && secrets.every((secret, index) => secret === old.secrets[index]);
  return isSame ? old : { ...old, secrets, ...(next === undefined ? {} : { next }) };
}
