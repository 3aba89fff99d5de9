/**
 * Where the secrets of a service's credential come from, and the secrets that are there.
 * Invariant: the names and sources are for messages; only `Secret` holds a secret.
 */
import { entriesOf, indexOfSecret } from "./auth-entries.ts";
import { type AuthDefinition, DEFAULT_TTL_SECONDS } from "./auth-schema.ts";
import type { PooledState } from "./pooled-state.ts";
import { NEXT, type RotationState } from "./rotation-state.ts";
import type { Secret } from "./secret.ts";
import type { SecretFault } from "./secret-form.ts";
import type { TokenState } from "./token-state.ts";

/** A program that prints a secret. */
export interface SecretCommand {
  readonly argv: readonly string[];
  readonly ttlSeconds: number;
}

/** What became of a program that prints a secret. Times are ms since the epoch. */
export interface CommandState {
  /** `failing`: its last run failed; the secret of an earlier one may still be used. */
  readonly state: "not-run" | "running" | "ready" | "failing";
  /** The end of the last run. */
  readonly lastRunAt: number | undefined;
  /** The end of the last run that printed a secret; undefined while there is none. */
  readonly obtainedAt: number | undefined;
  /** Completes "the command …"; undefined while it works. Never a part of what it printed. */
  readonly failure: string | undefined;
}

/** Exactly one member is defined. */
export interface SecretOrigin {
  readonly envVar?: string;
  readonly file?: string;
  readonly command?: SecretCommand;
  /** A person obtains it with `byteproxy login`; it is stored in DATA_DIR. */
  readonly login?: true;
}

/** A secret of the definition. */
export interface DefinedSecret {
  /** `token`, or the name in `secrets`; `username` for the user name of `basic`; `of[1].token` in a pool. */
  readonly name: string;
  readonly origin: SecretOrigin;
  /** Of the member that names the source, from the root of the service. */
  readonly path: readonly PropertyKey[];
  /** A private key, which signs and is sent nowhere. It may have several lines. */
  readonly isKey?: boolean;
}

/** One secret of a credential, and the secret if it is there. */
export interface NamedSecret {
  readonly name: string;
  readonly isKey?: boolean;
  /** `GITHUB_TOKEN`, `file:/run/secrets/token` or `command:vault`, for messages. Never a part of the secret. */
  readonly source: string;
  readonly secret: Secret | undefined;
  /** What was wrong with the secret as it was written. */
  readonly faults?: readonly SecretFault[];
  /** The absolute path of the file that it comes from. */
  readonly path?: string;
  /** The program that prints it. The configuration has no `secret` then; the state of the running gateway has the current one. */
  readonly command?: SecretCommand;
  /** In the state of the running gateway, with `command`. */
  readonly run?: CommandState;
  /** It comes from a login. The configuration has no `secret` then; the state of the running gateway has the current one. */
  readonly login?: true;
}

/** The secrets of a service. */
export interface CredentialSource {
  /** The sources of all secrets, for messages. */
  readonly source: string;
  readonly secrets: readonly NamedSecret[];
  /** Why the secrets are not used although they may be there, and what would change that. */
  readonly withheld?: { readonly message: string; readonly hint: string };
  /** In the state of the running gateway, for a credential whose tokens it obtains. */
  readonly token?: TokenState;
  /** The secret that a rotation changes to; undefined where the definition names none. */
  readonly next?: NamedSecret;
  /** In the state of the running gateway, where both secrets are there. */
  readonly rotation?: RotationState;
  /** In the state of the running gateway, for a pool: its credentials in the order of the list. */
  readonly of?: readonly PooledState[];
}

/** Whether the gateway obtains the tokens that are sent: the secrets of the definition then go to another endpoint. */
export function isMinted<A extends Pick<AuthDefinition, "type">>(auth: A): auth is A & { readonly type: MintedType } {
  return auth.type === "oauth2" || auth.type === "github-app";
}

/** Whether a secret of the definition is not sent: the gateway signs requests with it. */
export function signsRequests({ type, sign }: Pick<AuthDefinition, "type" | "sign">): boolean {
  return type === "aws-sigv4" || sign !== undefined;
}

/** The types whose tokens the gateway obtains. */
export type MintedType = "oauth2" | "github-app";

/** The secrets that a definition names; the first is that of the types with one secret. */
export function definedSecrets(auth: AuthDefinition): DefinedSecret[] {
  if (auth.type === "pool") {
    return entriesOf(auth).flatMap(({ auth: entry, prefix, path: at }) =>
      definedSecrets(entry).map((secret) => ({
        ...secret,
        name: `${prefix}${secret.name}`,
        path: [...at, ...secret.path.slice(1)],
      })),
    );
  }
  if (auth.type === "custom") {
    return Object.entries(auth.secrets ?? {}).map(([name, { envVar, file, command, ttlSeconds }]) => ({
      name,
      origin: originOf(envVar, file, command, ttlSeconds),
      path: ["auth", "secrets", name, envVar !== undefined ? "envVar" : file !== undefined ? "file" : "command"],
    }));
  }
  if (auth.type === "aws-sigv4") return secretsOfSigner(auth);
  if (isMinted(auth)) return secretsOfClient(auth);
  const { tokenEnvVar, tokenFile, tokenCommand, tokenCommandTtlSeconds, usernameEnvVar } = auth;
  const member = tokenFile !== undefined ? "tokenFile" : tokenCommand !== undefined ? "tokenCommand" : "tokenEnvVar";
  const origin = originOf(tokenEnvVar, tokenFile, tokenCommand, tokenCommandTtlSeconds);
  const secrets: DefinedSecret[] = [{ name: "token", origin, path: ["auth", member] }];
  if (usernameEnvVar !== undefined) {
    secrets.push({ name: "username", origin: { envVar: usernameEnvVar }, path: ["auth", "usernameEnvVar"] });
  }
  const { nextTokenEnvVar, nextTokenFile } = auth;
  if (nextTokenEnvVar !== undefined || nextTokenFile !== undefined) {
    const member = nextTokenFile === undefined ? "nextTokenEnvVar" : "nextTokenFile";
    secrets.push({ name: NEXT, origin: originOf(nextTokenEnvVar, nextTokenFile, undefined), path: ["auth", member] });
  }
  return secrets;
}

/** What the gateway shows to a token endpoint; the access tokens are no secrets of the definition. */
function secretsOfClient(auth: AuthDefinition): DefinedSecret[] {
  const { clientIdEnvVar, clientSecretEnvVar, clientSecretFile, refreshTokenEnvVar, refreshTokenFile } = auth;
  const sources = [
    ["key", undefined, auth.keyFile],
    ["privateKey", auth.privateKeyEnvVar, auth.privateKeyFile],
    ["clientSecret", clientSecretEnvVar, clientSecretFile],
    ["refreshToken", refreshTokenEnvVar, refreshTokenFile],
    ["clientId", clientIdEnvVar, undefined],
  ] as const;
  const read = fromMembers(sources);
  if (auth.refreshToken === undefined) return read;
  return [...read, { name: "refreshToken", origin: { login: true }, path: ["auth", "refreshToken"] }];
}

/** Of a signature, the session token belongs to temporary credentials only. */
function secretsOfSigner(auth: AuthDefinition): DefinedSecret[] {
  return fromMembers([
    ["accessKeyId", auth.accessKeyIdEnvVar, auth.accessKeyIdFile],
    ["secretAccessKey", auth.secretAccessKeyEnvVar, auth.secretAccessKeyFile],
    ["sessionToken", auth.sessionTokenEnvVar, auth.sessionTokenFile],
  ]);
}

type SourceMembers = readonly [name: string, envVar: string | undefined, file: string | undefined];

/** The members are named after the secret: `clientSecretEnvVar`, `clientSecretFile`. */
function fromMembers(sources: readonly SourceMembers[]): DefinedSecret[] {
  return sources.flatMap(([name, envVar, file]): DefinedSecret[] => {
    if (envVar === undefined && file === undefined) return [];
    const member = `${name}${file === undefined ? "EnvVar" : "File"}`;
    const isKey = name === "key" || name === "privateKey";
    return [{ name, origin: originOf(envVar, file, undefined), path: ["auth", member], ...(isKey ? { isKey } : {}) }];
  });
}

function originOf(
  envVar: string | undefined,
  file: string | undefined,
  argv: readonly string[] | undefined,
  ttlSeconds = DEFAULT_TTL_SECONDS,
): SecretOrigin {
  if (file !== undefined) return { file };
  return argv === undefined ? { envVar: envVar ?? "" } : { command: { argv, ttlSeconds } };
}

/** `NAME`, `file:<path>`, `command:<program>` or `login`. The arguments of a program may be secrets. */
export function nameOrigin({ envVar, file, command, login }: SecretOrigin): string {
  if (login) return "login";
  if (file !== undefined) return `file:${file}`;
  return command === undefined ? (envVar ?? "") : `command:${command.argv[0]}`;
}

/** The sources of all secrets, or those of the given ones. */
export function nameSources(secrets: readonly Pick<NamedSecret, "source">[]): string {
  return [...new Set(secrets.map(({ source }) => source))].join(", ");
}

/** The sources of the missing secrets. A login is named alone: it needs the others first. */
export function nameMissing(credential: CredentialSource | undefined): string {
  const missing = credential?.secrets.filter(({ secret }) => secret === undefined) ?? [];
  const others = missing.filter(({ login }) => !login);
  return nameSources(others.length > 0 ? others : missing);
}

/** The secrets by name; undefined while one of them is missing. Of a pool: those of the credentials that are complete. */
export function secretTexts(credential: CredentialSource | undefined): ReadonlyMap<string, string> | undefined {
  if (credential === undefined) return undefined;
  const texts = new Map<string, string>();
  const incomplete = incompleteEntries(credential);
  for (const { name, secret } of credential.secrets) {
    const entry = indexOfSecret(name);
    if (entry !== undefined && incomplete.has(entry)) continue;
    if (secret === undefined) return undefined;
    texts.set(name, secret.reveal());
  }
  return texts.size === 0 ? undefined : texts;
}

/** The indexes of the credentials of a pool that lack a secret; empty for any other credential. */
export function incompleteEntries({ secrets }: Pick<CredentialSource, "secrets">): ReadonlySet<number> {
  return new Set(secrets.flatMap(({ name, secret }) => (secret === undefined ? (indexOfSecret(name) ?? []) : [])));
}

/**
 * One text for all secrets, to hash it: another text is another account of the upstream. That of one secret is the secret itself.
 * Undefined while a secret is missing.
 */
export function identityOf(credential: CredentialSource | undefined): string | undefined {
  const texts = secretTexts(credential);
  if (texts === undefined) return undefined;
  const [only] = texts.values();
  return texts.size === 1 ? only : JSON.stringify([...texts]);
}

/** Whether both have the same secrets, from the same sources. */
export function hasSameSecrets(one: CredentialSource | undefined, other: CredentialSource | undefined): boolean {
  const describe = (credential: CredentialSource | undefined) =>
    credential &&
    [...credential.secrets, ...(credential.next === undefined ? [] : [credential.next])]
      .map(({ name, source, secret }) => [name, source, secret?.reveal()].join("\0"))
      .join("\n");
  return describe(one) === describe(other);
}

export interface DescribedSecret {
  readonly name: string;
  readonly source: string;
  /** `pending`: a command prints it, and has not run yet. */
  readonly state: "present" | "missing" | "pending";
  readonly fingerprint: string | null;
  readonly command?: DescribedCommand;
}

/** For operators. */
export interface DescribedCommand {
  readonly state: CommandState["state"];
  /** RFC 3339. */
  readonly lastRunAt: string | null;
  readonly failure: string | null;
  readonly ttlSeconds: number;
}

/** A command prints it, and has not failed. */
export function isPending({ command, secret, run }: NamedSecret): boolean {
  return command !== undefined && secret === undefined && run?.failure === undefined;
}

/** Undefined for a secret of another source. */
export function describeCommand({ command, run }: NamedSecret): DescribedCommand | undefined {
  if (command === undefined) return undefined;
  return {
    state: run?.state ?? "not-run",
    lastRunAt: run?.lastRunAt === undefined ? null : new Date(run.lastRunAt).toISOString(),
    failure: run?.failure ?? null,
    ttlSeconds: command.ttlSeconds,
  };
}

/** Of a credential with one secret; `describeSecrets` describes several. */
export function describeOnlyCommand(credential: CredentialSource | undefined): DescribedCommand | undefined {
  const [only, ...others] = credential?.secrets ?? [];
  return only === undefined || others.length > 0 ? undefined : describeCommand(only);
}

/** Each secret of a credential with several; undefined for one secret, which its credential describes. */
export function describeSecrets(
  credential: CredentialSource | undefined,
  fingerprint: (secret: string) => string,
): DescribedSecret[] | undefined {
  if (credential === undefined || credential.secrets.length < 2) return undefined;
  return credential.secrets.map((named) => {
    const { name, source, secret } = named;
    const command = describeCommand(named);
    return {
      name,
      source,
      state: secret !== undefined ? "present" : isPending(named) ? "pending" : "missing",
      fingerprint: secret === undefined ? null : fingerprint(secret.reveal()),
      ...(command === undefined ? {} : { command }),
    };
  });
}
