/**
 * Services that came over REST: checked by the same schema as those of the file, and locked out of secrets that are not
 * theirs. Invariant: one whose secret is locked has no credential, whoever put it there and whenever.
 */
import { type CompletionContext, completeService } from "./complete-service.ts";
import { ECHO_KEY, PRESETS } from "./presets.ts";
import type { Service } from "./schema.ts";
import { type SecretRefusal, unlockSecrets } from "./secret-lock.ts";
import { type DefinedService, defineService, ECHO_IS_OFF } from "./services-file.ts";
import type { FoundProblem } from "./translate-issue.ts";

export type RuntimeReading =
  | {
      readonly problems: readonly FoundProblem[];
      /** It is a service, but what it needs is not there or not sound: a file, a secret. */
      readonly isDefined: boolean;
    }
  | {
      readonly service: Service;
      readonly warnings: readonly FoundProblem[];
      /** Why it has no credential. */
      readonly refusal: SecretRefusal | undefined;
    };

export type RuntimeServiceReader = (key: string, input: unknown) => RuntimeReading;

/** @param definitions of the file and the presets. */
export function createRuntimeServiceReader(
  context: CompletionContext,
  definitions: ReadonlyMap<string, DefinedService>,
): RuntimeServiceReader {
  return (key, input) => {
    const replaced = definitions.get(key);
    const defined = defineService(key, input, replaced === undefined ? "runtime" : "override", false);
    if ("problems" in defined) return { ...defined, isDefined: false };
    const { definition } = defined;
    // A change to the embedded service that leaves its address alone.
    const embedded =
      key === ECHO_KEY && replaced?.embedded === true && definition.baseUrl === replaced.definition.baseUrl;
    if (key === ECHO_KEY && !embedded && definition.baseUrl === PRESETS[ECHO_KEY]?.baseUrl) {
      return { problems: [{ path: ["services", key], at: "name", text: ECHO_IS_OFF }], isDefined: true };
    }
    const unlocked = unlockSecrets(definition, definitions.values(), context);
    if ("refusal" in unlocked) {
      const { auth, tls, ...rest } = definition;
      // Only what is secret is left out: whom it takes for its upstream must not become looser by it.
      const { certFile: _, keyFile: __, ...trust } = tls;
      const { service, problems, warnings } = completeService(
        { ...defined, embedded, definition: { ...rest, tls: trust } },
        context,
      );
      if (problems.length > 0) return { problems, isDefined: true };
      const source = auth?.tokenFile === undefined ? (auth?.tokenEnvVar ?? "") : `file:${auth.tokenFile}`;
      const { message, hint } = unlocked.refusal;
      const credential = auth && { source, secret: undefined, withheld: { message, hint } };
      return { service: { ...service, auth, credential }, warnings, refusal: unlocked.refusal };
    }
    const completed = completeService({ ...defined, embedded, definition: unlocked.definition }, context);
    if (completed.problems.length > 0) return { problems: completed.problems, isDefined: true };
    return { service: completed.service, warnings: completed.warnings, refusal: undefined };
  };
}
