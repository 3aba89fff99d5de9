/** Chooses the provider of a service's credential by where its secrets come from. */
import type { Service } from "../../config/schema.ts";
import { CommandCredential, type CommandCredentialContext, type CommandedService } from "./command-credential.ts";
import type { CredentialProvider } from "./credential-provider.ts";
import { createStaticCredential } from "./static-credential.ts";

export type CredentialContext = CommandCredentialContext;

export function createCredential(service: Service, context: CredentialContext): CredentialProvider {
  return isCommanded(service)
    ? new CommandCredential(service, context)
    : createStaticCredential(service, context.nameSource);
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
