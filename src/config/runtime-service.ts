/**
 * Reads services that were added over REST: checked by the schema of the services file, and locked out of secrets that they may
 * not use. Invariant: a service with a locked secret has no credential, no matter who stored it and when.
 */
import type { AuthDefinition } from "./auth-schema.ts";
import { type CompletionContext, completeService } from "./complete-service.ts";
import { type CredentialSource, definedSecrets, nameOrigin } from "./credential-source.ts";
import { splitNext } from "./next-secret.ts";
import { ECHO_KEY, PRESETS } from "./presets.ts";
import type { Service, ServiceDefinition } from "./schema.ts";
import { originsOf, type SecretRefusal, unlockSecrets } from "./secret-lock.ts";
import { type DefinedService, defineService, ECHO_IS_OFF } from "./services-file.ts";
import { secretsOfDefinition, withheldSigningSecret } from "./signing-secret.ts";
import type { FoundProblem } from "./translate-issue.ts";

export type RuntimeReading =
  | {
      readonly problems: readonly FoundProblem[];
      /** The service itself is valid, but it is too large, or something that it needs is missing or not valid: a file, a secret. */
      readonly isDefined: boolean;
    }
  | {
      readonly service: Service;
      readonly warnings: readonly FoundProblem[];
      /** Why the service has no credential. */
      readonly refusal: SecretRefusal | undefined;
    };

export type RuntimeServiceReader = (key: string, input: unknown) => RuntimeReading;

/** @param definitions of the services file and the presets. */
export function createRuntimeServiceReader(
  context: CompletionContext,
  definitions: ReadonlyMap<string, DefinedService>,
): RuntimeServiceReader {
  let index: ReadonlyMap<string, readonly DefinedService[]> | undefined;
  /** The definitions that may allow the use of a secret. */
  const boundTo = (definition: ServiceDefinition): readonly DefinedService[] => {
    index ??= indexByUse(definitions.values());
    const all = index;
    // One origin is enough: a definition must have all origins of the service to allow it.
    return usesOf(definition, [...originsOf(definition)].slice(0, 1)).flatMap((use) => all.get(use) ?? []);
  };
  return (key, input) => {
    const replaced = definitions.get(key);
    const defined = defineService(key, input, replaced === undefined ? "runtime" : "override", false);
    if ("problems" in defined) {
      // An earlier version stored definitions that are too large today: that is no damaged record.
      return { ...defined, isDefined: defined.problems.every(({ isBudget }) => isBudget === true) };
    }
    const { definition } = defined;
    // A change of the embedded service that keeps its address.
    const embedded =
      key === ECHO_KEY && replaced?.embedded === true && definition.baseUrl === replaced.definition.baseUrl;
    if (key === ECHO_KEY && !embedded && definition.baseUrl === PRESETS[ECHO_KEY]?.baseUrl) {
      return { problems: [{ path: ["services", key], at: "name", text: ECHO_IS_OFF }], isDefined: true };
    }
    const unlocked = unlockSecrets(definition, boundTo(definition), context);
    if ("refusal" in unlocked) {
      const { auth, tls, verify, ...rest } = definition;
      // Only the secrets are left out: the verification of the upstream must not become weaker.
      const { certFile: _, keyFile: __, ...trust } = tls;
      const { service, problems, warnings } = completeService(
        { ...defined, embedded, definition: { ...rest, tls: trust } },
        context,
      );
      if (problems.length > 0) return { problems, isDefined: true };
      const { message, hint } = unlocked.refusal;
      const credential = auth && withheldCredential(auth, { message, hint });
      const signingSecret = verify && withheldSigningSecret(verify, { message, hint });
      return { service: { ...service, auth, credential, verify, signingSecret }, warnings, refusal: unlocked.refusal };
    }
    const completed = completeService({ ...defined, embedded, definition: unlocked.definition }, context);
    if (completed.problems.length > 0) return { problems: completed.problems, isDefined: true };
    return { service: completed.service, warnings: completed.warnings, refusal: undefined };
  };
}

/** The sources of a credential that is not read. */
function withheldCredential(
  auth: AuthDefinition,
  withheld: NonNullable<CredentialSource["withheld"]>,
): CredentialSource {
  const secrets = definedSecrets(auth).map(({ name, origin }) => ({
    name,
    source: nameOrigin(origin),
    secret: undefined,
  }));
  return { ...splitNext(secrets), withheld };
}

/** An index, because thousands of stored services are compared with the definitions that use the same secret and origin. */
function indexByUse(definitions: Iterable<DefinedService>): Map<string, DefinedService[]> {
  const found = new Map<string, DefinedService[]>();
  for (const defined of definitions) {
    for (const use of usesOf(defined.definition, originsOf(defined.definition))) {
      const others = found.get(use);
      if (others === undefined) found.set(use, [defined]);
      else others.push(defined);
    }
  }
  return found;
}

/** Each secret with each origin: a variable by its name, all files as one, because two paths may lead to the same file, and all logins. */
function usesOf(definition: ServiceDefinition, origins: Iterable<string>): string[] {
  const { tls } = definition;
  const sources = secretsOfDefinition(definition).map(({ origin }) => origin);
  const hasFiles = (tls.certFile ?? tls.keyFile) !== undefined || sources.some(({ file }) => file !== undefined);
  const isFromLogin = sources.some(({ login }) => login);
  const secrets = [
    ...sources.flatMap(({ envVar }) => envVar ?? []),
    ...(hasFiles ? ["file:"] : []),
    ...(isFromLogin ? ["login"] : []),
  ];
  return [...origins].flatMap((origin) => secrets.map((secret) => `${secret}@${origin}`));
}
