/** Services as `/manage/services` shows them: what was written, with what may be a secret masked. */
import type { Config } from "../config/load-config.ts";
import type { Service } from "../config/schema.ts";
import type { Fingerprint } from "../stores/installation-key.ts";
import { ABSENT, type Records } from "../stores/records.ts";
import { type CredentialState, credentialState } from "./credential-state.ts";
import { maskHeaders } from "./masked-headers.ts";
import type { StoredService } from "./stored-service.ts";

export interface ServiceItem {
  readonly key: string;
  readonly source: Service["source"];
  /** By the schema of the services file; header values that may be secrets are masked. */
  readonly config: StoredService["config"];
  readonly credential: {
    readonly state: CredentialState;
    /** `GITHUB_TOKEN` or `file:<path>`. */
    readonly source: string | null;
    readonly fingerprint: string | null;
  };
}

export interface ServiceItems {
  /** As it was written last, over REST or in the file, secrets included; undefined for a key that is free. */
  configOf(key: string): StoredService["config"] | undefined;
  itemOf(service: Service): ServiceItem;
  /** Strong; another one after each change, also after one that brings back what was there before. */
  entityTagOf(service: Service): string;
}

export interface ServiceItemsParts {
  /** The configuration as it is now. */
  readonly config: () => Pick<Config, "definitions">;
  readonly stored: Pick<Records<StoredService>, "entries">;
  readonly fingerprint: Fingerprint;
}

export function createServiceItems({ config, stored, fingerprint }: ServiceItemsParts): ServiceItems {
  const configOf = (key: string) =>
    (stored.entries.get(key)?.value.config ?? config().definitions.get(key)?.input) as
      | StoredService["config"]
      | undefined;
  return {
    configOf,
    itemOf(service) {
      const { key, source, credential } = service;
      const secret = credential?.secret?.reveal();
      return {
        ...{ key, source },
        config: maskHeaders(configOf(key) ?? {}),
        credential: {
          state: credentialState(service),
          source: credential?.source ?? null,
          fingerprint: secret === undefined ? null : fingerprint.credential(secret),
        },
      };
    },
    entityTagOf({ key, source }) {
      const version = stored.entries.get(key)?.version ?? ABSENT;
      // Of the values that are masked, too.
      const text = JSON.stringify([key, source, version, configOf(key)]);
      return `"${fingerprint.state(text)}"`;
    },
  };
}
