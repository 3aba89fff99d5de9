/** Chooses the provider of a service's credential by where its secrets come from. */
import { DEFAULT_REST_SECONDS } from "../../config/auth-schema.ts";
import { type CredentialSource, isMinted } from "../../config/credential-source.ts";
import { textsBesideLogin } from "../../config/login-binding.ts";
import { withNext } from "../../config/next-secret.ts";
import { credentialsOf } from "../../config/pooled-credentials.ts";
import type { Service } from "../../config/schema.ts";
import { returnableSecrets } from "../../config/service-secrets.ts";
import { createAwsCredential } from "./aws-credential.ts";
import { CommandCredential, type CommandCredentialContext, type CommandedService } from "./command-credential.ts";
import { type CredentialProvider, createFixedProvider, type FixedCredential } from "./credential-provider.ts";
import type { EndpointAccess } from "./endpoint-exchange.ts";
import { orderInstallationToken } from "./installation-order.ts";
import { MintedCredential, type MintedCredentialContext } from "./minted-credential.ts";
import { orderOauth2Token } from "./oauth2-order.ts";
import { PooledCredential } from "./pooled-credential.ts";
import { StagedCredential } from "./staged-credential.ts";
import type { StagedRotations } from "./staged-rotations.ts";
import { createStaticCredential, readStaticCredential } from "./static-credential.ts";

/** Of one credential of a pool. */
export interface CredentialRest {
  readonly service: string;
  /** For messages. */
  readonly source: string;
  readonly restMs: number;
  /** Whose requests use the others. */
  readonly callers: "one" | "all";
}

export interface CredentialContext extends CommandCredentialContext, MintedCredentialContext {
  readonly rotations: StagedRotations;
  /** ms since the epoch. */
  readonly now: () => number;
  /** Called when the upstream refused a credential of a pool. */
  readonly noteRest: (rest: CredentialRest) => void;
}

/** Called for a credential whose tokens the gateway obtains. @param isUpstream whether the upstream itself issues them. */
type OpenEndpoint = (isUpstream: boolean) => EndpointAccess;

/** @param previous of the service before its change. */
export function createCredential(
  service: Service,
  context: CredentialContext,
  endpoint: OpenEndpoint,
  previous?: CredentialProvider,
): CredentialProvider {
  const { auth, credential, key } = service;
  if (auth?.type !== "pool" || credential === undefined) return createOne(service, context, endpoint);
  const entries = credentialsOf(service).map((one) => {
    const entry = { ...service, ...one };
    return {
      provider: createOne(entry, context, endpoint),
      credential: one.credential,
      fixedSecrets: returnableSecrets(entry),
    };
  });
  const restMs = (auth.restSeconds ?? DEFAULT_REST_SECONDS) * 1_000;
  return new PooledCredential(entries, {
    credential,
    isRequired: auth.required,
    restMs,
    now: context.now,
    onRest: ({ credential: { source } }, callers) => context.noteRest({ service: key, source, restMs, callers }),
    previous: previous?.pool,
  });
}

function createOne(service: Service, context: CredentialContext, endpoint: OpenEndpoint): CredentialProvider {
  if (isCommanded(service)) return new CommandCredential(service, context);
  return (
    mintedCredential(service, context, endpoint) ??
    createAwsCredential(service, context.nameSource) ??
    stagedCredential(service, context) ??
    createStaticCredential(service, context.nameSource)
  );
}

/** Undefined also where both secrets are the same, or one of them is missing: then there is nothing to rotate. */
function stagedCredential(
  service: Service,
  { rotations, nameSource }: CredentialContext,
): CredentialProvider | undefined {
  const { key, credential } = service;
  const following = credential && withNext(credential);
  if (credential === undefined || following === undefined) return undefined;
  const read = (each: CredentialSource) => readStaticCredential({ ...service, credential: each }, nameSource);
  const [current, next] = [read(credential), read(following)];
  if (next === undefined || current?.sourceId === next.sourceId) return undefined;
  // The operator has removed the secret that was replaced, and has not moved the other one yet.
  if (current === undefined)
    return rotations.isPromoted(key, next.sourceId)
      ? promotedCredential(next, { ...following, next: credential.next })
      : undefined;
  return new StagedCredential({ key, credential }, { current, next }, rotations);
}

function promotedCredential(next: FixedCredential, source: CredentialSource): CredentialProvider {
  const rotation = { stage: "promoted", share: undefined, until: undefined, requests: 0, reason: undefined } as const;
  return { ...createFixedProvider(next), describe: () => ({ ...source, rotation }) };
}

/** How the tokens of each type are obtained. */
const TOKEN_ORDERS = { oauth2: orderOauth2Token, "github-app": orderInstallationToken } as const;

/** Undefined also where a secret of the client is missing, or all are withheld: then no token is fetched. */
function mintedCredential(
  service: Service,
  context: MintedCredentialContext,
  endpoint: OpenEndpoint,
): CredentialProvider | undefined {
  const { auth, credential } = service;
  if (auth === undefined || !isMinted(auth) || credential === undefined) return undefined;
  const secrets = textsBesideLogin(credential);
  if (secrets === undefined) return undefined;
  const minted = Object.assign({}, service, { auth, credential });
  const order = TOKEN_ORDERS[auth.type](minted, secrets, endpoint(auth.type === "github-app"), context.nameSource);
  return new MintedCredential(minted, context, order);
}

/** False also where another secret is missing, or all are withheld: then no command runs. */
function isCommanded(service: Service): service is Service & CommandedService {
  const { auth, credential } = service;
  if (auth === undefined || credential === undefined || credential.withheld !== undefined) return false;
  const { secrets } = credential;
  return (
    secrets.some(({ command }) => command !== undefined) &&
    secrets.every(({ secret, command }) => secret !== undefined || command !== undefined)
  );
}
