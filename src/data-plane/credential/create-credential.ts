/** Chooses the provider of a service's credential by where its secrets come from. */
import { secretTexts } from "../../config/credential-source.ts";
import type { Service } from "../../config/schema.ts";
import { CommandCredential, type CommandCredentialContext, type CommandedService } from "./command-credential.ts";
import type { CredentialProvider } from "./credential-provider.ts";
import {
  type EndpointAccess,
  MintedCredential,
  type MintedCredentialContext,
  type MintedService,
} from "./minted-credential.ts";
import { createStaticCredential } from "./static-credential.ts";

export type CredentialContext = CommandCredentialContext & MintedCredentialContext;

/** @param endpoint called for a credential whose tokens the gateway obtains. */
export function createCredential(
  service: Service,
  context: CredentialContext,
  endpoint: () => EndpointAccess,
): CredentialProvider {
  if (isCommanded(service)) return new CommandCredential(service, context);
  const minted = mintedFrom(service);
  return minted === undefined
    ? createStaticCredential(service, context.nameSource)
    : new MintedCredential(minted, context, endpoint());
}

/** Undefined also where a secret of the client is missing, or all are withheld: then no token is fetched. */
function mintedFrom(service: Service): MintedService | undefined {
  const { auth, credential } = service;
  const secrets = secretTexts(credential);
  if (auth?.type !== "oauth2" || credential === undefined || secrets === undefined) return undefined;
  return { service: Object.assign({}, service, { auth, credential }), secrets };
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
