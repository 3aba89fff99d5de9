/** The secrets of a service that every mask must know: its credential, its signing secret, and what its base URLs seem to contain. */
import { secretsInBaseUrl } from "../telemetry/redact.ts";
import type { AuthDefinition } from "./auth-schema.ts";
import { type CredentialSource, secretTexts } from "./credential-source.ts";
import { withNext } from "./next-secret.ts";
import { credentialsOf } from "./pooled-credentials.ts";
import type { Service } from "./schema.ts";
import { withoutQuotes } from "./secret-form.ts";
import { secretsOfKey } from "./signing-key.ts";
import { signingSecretTexts } from "./signing-secret.ts";

/** Characters. A shorter text of a base URL would be masked where it is no secret, too. */
const LEAST_MASKED = 8;

/** The base URLs of a service, with their paths in its definition. */
export function baseUrlsOf({ baseUrl, versionedBaseUrls }: Pick<Service, "baseUrl" | "versionedBaseUrls">) {
  return [
    { path: ["baseUrl"], url: baseUrl },
    ...Object.entries(versionedBaseUrls).map(([version, url]) => ({ path: ["versionedBaseUrls", version], url })),
  ];
}

/** The secret of each type that is a name. */
const USER_NAMES: Partial<Record<AuthDefinition["type"], string>> = {
  basic: "username",
  oauth2: "clientId",
  "aws-sigv4": "accessKeyId",
};

type ServiceWithSecrets = Pick<Service, "auth" | "baseUrl" | "versionedBaseUrls" | "credential" | "signingSecret">;

/** Raw: masks search for the encodings of each themselves. */
export function secretsOfService(service: ServiceWithSecrets): string[] {
  return [...returnableSecrets(service), ...keysOfService(service)];
}

/** Without private keys: those are sent to no server that could send them back. */
export function returnableSecrets(service: ServiceWithSecrets): string[] {
  const inUrls = baseUrlsOf(service)
    .flatMap(({ url }) => secretsInBaseUrl(url))
    .filter(({ length }) => length >= LEAST_MASKED);
  const { auth, credential } = service;
  const next = credential && withNext(credential);
  const ofCredential = [credential, next].flatMap((each) => credentialTexts({ auth, credential: each }));
  return [...new Set([...ofCredential, ...signingSecretTexts(service.signingSecret), ...inUrls])];
}

/** In all forms. */
function keysOfService({ credential }: Pick<Service, "credential">): string[] {
  const keys = (credential?.secrets ?? []).flatMap(({ isKey, secret }) => (isKey && secret?.reveal()) || []);
  return keys.flatMap(secretsOfKey);
}

function credentialTexts({ auth, credential }: Pick<Service, "auth" | "credential">): string[] {
  return auth?.type === "pool" && credential !== undefined
    ? credentialsOf({ auth, credential }).flatMap(textsOfOne)
    : textsOfOne({ auth, credential });
}

function textsOfOne({ auth, credential }: Pick<Service, "auth" | "credential">): string[] {
  const texts = (credential?.secrets ?? []).flatMap(({ name, secret, isKey }) => {
    const text = isKey ? undefined : secret?.reveal();
    // A user name is an ordinary word, or a key: some APIs take a key as the user name.
    const isUserName = name === (auth && USER_NAMES[auth.type]);
    if (text === undefined || (isUserName && text.length < LEAST_MASKED)) return [];
    // An upstream may show a quoted secret without its quotes.
    return [text, withoutQuotes(text)];
  });
  const pair = auth?.type === "basic" ? basicPair(auth, credential) : undefined;
  return pair === undefined ? texts : [...texts, pair, pair.slice(pair.indexOf(":") + 1)];
}

/** `user:password`, as it is encoded in `Authorization: Basic`. Undefined while a part is missing. */
function basicPair({ username }: AuthDefinition, credential: CredentialSource | undefined): string | undefined {
  const secrets = secretTexts(credential);
  const token = secrets?.get("token");
  const user = username ?? secrets?.get("username");
  return user === undefined ? token : `${user}:${token}`;
}
