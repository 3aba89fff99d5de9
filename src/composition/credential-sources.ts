/**
 * What the credentials of all services share: the programs that print secrets, and the tokens that the gateway obtains.
 * Invariant: a reload keeps both, so that an unchanged credential stays as it is.
 */

import type { Audit } from "../callers/audit.ts";
import { type CommandSecretsOptions, createCommandSecrets } from "../data-plane/credential/command-secrets.ts";
import type { CredentialContext } from "../data-plane/credential/create-credential.ts";
import { createRenewedTokens } from "../data-plane/credential/renewed-tokens.ts";
import { createCommandRunner } from "../data-plane/credential/run-command.ts";
import type { RotationEnd } from "../data-plane/credential/staged-rotation.ts";
import { createStagedRotations } from "../data-plane/credential/staged-rotations.ts";
import type { CredentialUses } from "../stores/credential-uses.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { GatewayStores } from "./gateway-options.ts";
import type { Masks } from "./masks.ts";

export interface CredentialSources extends Omit<CredentialContext, "now"> {
  /** After a reload: failing sources may be asked again at once. */
  retryFailed(): void;
  readonly uses: CredentialUses;
  /** Whether a text contains one. */
  readonly isSecret: (text: string) => boolean;
  /** Before the services are closed: the end of the process is no end of a rotation that is reported. */
  abandonRotations(): void;
  /** Ends every command and every fetch. Resolves when nothing more will be stored. */
  close(): Promise<void>;
}

interface CredentialSourcesInput {
  readonly stores: Pick<GatewayStores, "fingerprint" | "credentials" | "promotions" | "credentialUses">;
  /** Of the current configuration. */
  readonly current: Pick<CredentialContext, "isOwnKey"> & { readonly commandContext: CommandSecretsOptions["context"] };
}

export function openCredentialSources(
  { stores, current }: CredentialSourcesInput,
  { masks, logger, audit }: { readonly masks: Masks; readonly logger: Logger; readonly audit: Audit },
): CredentialSources {
  const commands = createCommandSecrets({ runner: createCommandRunner(), context: current.commandContext, logger });
  const isOwnKey = (text: string) => current.isOwnKey(text);
  const issued = { isOwnKey, keepSecrets: masks.keep, mask: masks.all };
  const tokens = createRenewedTokens({ logger, refreshTokens: stores.credentials, ...issued });
  const rotations = createStagedRotations({
    promotions: stores.promotions,
    onEnd: (service, end, requestId) => reportRotation(service, end, { requestId, logger, audit }),
  });
  return {
    commands,
    tokens,
    rotations,
    uses: stores.credentialUses,
    isSecret: (text) => masks.all(text) !== text,
    abandonRotations: rotations.close,
    nameSource: stores.fingerprint.quota,
    isOwnKey,
    keepSecrets: masks.keep,
    noteRest(rest) {
      const users = rest.callers === "one" ? "this caller's requests use the others" : "the others are used";
      logger.warn({ ...rest }, `the upstream refused a credential of the pool with 401; ${users} meanwhile`);
    },
    retryFailed() {
      commands.retryFailed();
      tokens.retryFailed();
    },
    close() {
      rotations.close();
      commands.close();
      return tokens.close();
    },
  };
}

interface RotationReport {
  readonly requestId: string;
  readonly logger: Logger;
  readonly audit: Audit;
}

/** It ends by itself, so the gateway is its author; the id is that of the request that began it. */
function reportRotation(
  service: string,
  { outcome, requests, reason }: RotationEnd,
  { requestId, logger, audit }: RotationReport,
): void {
  if (outcome === "promoted")
    logger.info({ service, requests }, `the next secret of ${service} is used for all requests`);
  else logger.warn({ service, requests, reason }, `the rotation of the credential of ${service} was rolled back`);
  const action = outcome === "promoted" ? "credential.promote" : "credential.roll-back";
  const after = { requests, ...(reason === undefined ? {} : { reason }) };
  void audit.record({ caller: "gateway", address: "", requestId }, { action, subject: service, after });
}
