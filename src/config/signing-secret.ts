/**
 * The secret with which callers sign their requests: its source, its forms, and reading it.
 * Invariant: it is a secret like that of a credential, and no key of the gateway; without it the service refuses every request.
 */
import {
  type CredentialSource,
  type DefinedSecret,
  definedSecrets,
  type NamedSecret,
  nameOrigin,
} from "./credential-source.ts";
import { type CredentialContext, findSecret } from "./credentials.ts";
import type { ServiceDefinition } from "./schema.ts";
import { Secret } from "./secret.ts";
import { FAULT_TEXTS, isQuoted } from "./secret-form.ts";
import type { Findings } from "./translate-issue.ts";
import type { VerifyDefinition } from "./verify-schema.ts";

const NAME = "signing secret";

/** Before the base64 of Standard Webhooks; a part of the secret for Stripe. */
const STANDARD_PREFIX = /^whsec_/;

export function definedSigningSecret({ secretFile, secretEnvVar = "" }: VerifyDefinition): DefinedSecret {
  return secretFile === undefined
    ? { name: NAME, origin: { envVar: secretEnvVar }, path: ["verify", "secretEnvVar"] }
    : { name: NAME, origin: { file: secretFile }, path: ["verify", "secretFile"] };
}

/** All secrets that a definition names. */
export function secretsOfDefinition({ auth, verify }: Pick<ServiceDefinition, "auth" | "verify">): DefinedSecret[] {
  return [
    ...(auth === undefined ? [] : definedSecrets(auth)),
    ...(verify === undefined ? [] : [definedSigningSecret(verify)]),
  ];
}

/** The environment variables that a definition reads. */
export function variablesOfDefinition(definition: Pick<ServiceDefinition, "auth" | "verify">): string[] {
  return secretsOfDefinition(definition).flatMap(({ origin }) => origin.envVar ?? []);
}

/** The key of the HMAC. @param secret as it is written in its source. */
export function signingKey({ scheme }: VerifyDefinition, secret: string): Buffer {
  return scheme === "standard-webhooks"
    ? Buffer.from(secret.replace(STANDARD_PREFIX, ""), "base64")
    : Buffer.from(secret, "utf8");
}

/** The forms in which the secret may appear in a text. */
export function signingSecretTexts(signingSecret: CredentialSource | undefined): string[] {
  const text = signingSecret?.secrets[0]?.secret?.reveal();
  return text === undefined ? [] : [...new Set([text, text.replace(STANDARD_PREFIX, "")])];
}

/** What the secret would have to be; undefined if it can be used. */
export function unusableSigningSecret(
  { scheme }: VerifyDefinition,
  text: string,
  ownKeys: readonly Secret[],
): string | undefined {
  if (/[\x00-\x1f\x7f]/.test(text)) return "one line without control characters";
  if (ownKeys.some((key) => key.reveal() === text)) return "a secret that is not one of the gateway's own keys";
  const isBase64 = /^(?:whsec_)?[A-Za-z0-9+/]{8,}={0,2}$/.test(text);
  if (scheme === "standard-webhooks" && !isBase64)
    return "base64 (RFC 4648 section 4), with or without `whsec_` before it";
  return undefined;
}

/** Undefined for a service that checks no signatures. */
export function readSigningSecret(
  key: string,
  verify: VerifyDefinition | undefined,
  context: CredentialContext,
  findings: Findings,
): CredentialSource | undefined {
  if (verify === undefined) return undefined;
  const defined = definedSigningSecret(verify);
  const source = nameOrigin(defined.origin);
  const { place, text, path } = findSecret({ defined, key, what: NAME }, context, findings);
  const found: NamedSecret = { name: NAME, source, secret: undefined, ...(path === undefined ? {} : { path }) };
  if (text === undefined) {
    if (defined.origin.file === undefined) {
      findings.warnings.push({
        path: ["services", key, ...defined.path],
        at: "value",
        text: `${key} has no signing secret, because ${source} is not set: it refuses every request`,
      });
    }
    return { source, secrets: [found] };
  }
  if (isQuoted(text)) {
    findings.warnings.push({ ...place, text: `the signing secret of ${key} ${FAULT_TEXTS.quoted}; remove it there` });
  }
  const allowed = unusableSigningSecret(verify, text, context.ownKeys);
  if (allowed !== undefined) {
    findings.problems.push({ ...place, text: `found an unusable signing secret, allowed: ${allowed}` });
  }
  return { source, secrets: [{ ...found, secret: new Secret(text) }] };
}

/** A secret that the gateway does not read. */
export function withheldSigningSecret(
  verify: VerifyDefinition,
  withheld: NonNullable<CredentialSource["withheld"]>,
): CredentialSource {
  const source = nameOrigin(definedSigningSecret(verify).origin);
  return { source, secrets: [{ name: NAME, source, secret: undefined }], withheld };
}
