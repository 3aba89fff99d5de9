/**
 * What the credentials of all services share: the programs that print secrets, and the tokens that the gateway obtains.
 * Invariant: a reload keeps both, so that an unchanged credential stays as it is.
 */
import { type CommandSecretsOptions, createCommandSecrets } from "../data-plane/credential/command-secrets.ts";
import type { CredentialContext } from "../data-plane/credential/create-credential.ts";
import { createRenewedTokens } from "../data-plane/credential/renewed-tokens.ts";
import { createCommandRunner } from "../data-plane/credential/run-command.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { GatewayStores } from "./gateway-options.ts";
import type { Masks } from "./masks.ts";

export interface CredentialSources extends CredentialContext {
  /** After a reload: failing sources may be asked again at once. */
  retryFailed(): void;
  /** Ends every command and every fetch. Resolves when nothing more will be stored. */
  close(): Promise<void>;
}

interface CredentialSourcesInput {
  readonly stores: Pick<GatewayStores, "fingerprint" | "credentials">;
  /** Of the current configuration. */
  readonly current: Pick<CredentialContext, "isOwnKey"> & { readonly commandContext: CommandSecretsOptions["context"] };
}

export function openCredentialSources(
  { stores, current }: CredentialSourcesInput,
  masks: Masks,
  logger: Logger,
): CredentialSources {
  const commands = createCommandSecrets({ runner: createCommandRunner(), context: current.commandContext, logger });
  const tokens = createRenewedTokens({ logger, refreshTokens: stores.credentials });
  return {
    commands,
    tokens,
    nameSource: stores.fingerprint.quota,
    isOwnKey: (text) => current.isOwnKey(text),
    keepSecrets: masks.keep,
    retryFailed() {
      commands.retryFailed();
      tokens.retryFailed();
    },
    close() {
      commands.close();
      return tokens.close();
    },
  };
}
