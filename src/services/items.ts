/** Services as `/manage/services` shows them: as they were written, with values that may be secrets masked. */

import {
  type DescribedCommand,
  type DescribedSecret,
  describeOnlyCommand,
  describeSecrets,
  identityOf,
} from "../config/credential-source.ts";
import { type CredentialState, credentialState } from "../config/credentials.ts";
import type { Config } from "../config/load-config.ts";
import { showPath } from "../config/problems.ts";
import { describeTaken } from "../config/review-addresses.ts";
import type { RuntimeReading } from "../config/runtime-service.ts";
import type { Service } from "../config/schema.ts";
import { ServiceAddresses } from "../config/service-addresses.ts";
import type { FoundProblem } from "../config/translate-issue.ts";
import type { Fingerprint } from "../stores/installation-key.ts";
import { ABSENT, type Records } from "../stores/records.ts";
import { Yielder } from "../yielder.ts";
import { maskConfig } from "./masked-config.ts";
import type { Registry } from "./registry.ts";
import type { StoredService } from "./stored-services.ts";

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
    /** Of a credential with one secret, which a command prints. */
    readonly command?: DescribedCommand;
    /** Of a credential with several. */
    readonly secrets?: readonly DescribedSecret[];
    /** The reason why the secret is not used. */
    readonly withheld?: string;
  };
  /** The reasons why it is stored, but not served. */
  readonly outOfUse?: readonly string[];
}

export interface ServiceItems {
  /** As it was last written, over REST or in the file, secrets included; undefined for an unused key. */
  configOf(key: string): StoredService["config"] | undefined;
  /** A service that is served, or stored and out of use; undefined for an unused key. */
  find(key: string): ServiceItem | undefined;
  list(): Promise<ServiceItem[]>;
  /** A strong entity tag that differs after each change, even after one that restores the previous state. */
  entityTagOf(item: ServiceItem): string;
}

export interface ServiceItemsParts {
  /** The current configuration. */
  readonly config: () => Pick<Config, "definitions" | "readRuntimeService">;
  /** What is served now. */
  readonly registry: () => Pick<Registry, "find" | "list">;
  readonly stored: Pick<Records<StoredService>, "entries">;
  readonly fingerprint: Fingerprint;
}

function describeSources({ credential }: Service, fingerprint: Fingerprint) {
  const command = describeOnlyCommand(credential);
  const secrets = describeSecrets(credential, fingerprint.credential);
  return { ...(command === undefined ? {} : { command }), ...(secrets === undefined ? {} : { secrets }) };
}

export function createServiceItems({ config, registry, stored, fingerprint }: ServiceItemsParts): ServiceItems {
  const configOf = (key: string) =>
    (stored.entries.get(key)?.value.config ?? config().definitions.get(key)?.input) as
      | StoredService["config"]
      | undefined;

  function served(service: Service): ServiceItem {
    const { key, source, credential } = service;
    const identity = identityOf(credential);
    return {
      key,
      source,
      config: maskConfig(configOf(key) ?? {}),
      credential: {
        state: credentialState(service),
        source: credential?.source ?? null,
        fingerprint: identity === undefined ? null : fingerprint.credential(identity),
        ...describeSources(service, fingerprint),
        ...(credential?.withheld === undefined ? {} : { withheld: credential.withheld.message }),
      },
    };
  }

  function outOfUse(key: string): ServiceItem | undefined {
    const record = stored.entries.get(key);
    if (record === undefined) return undefined;
    const problems = problemsOf(config().readRuntimeService(key, record.value.config), registry().list());
    return {
      key,
      source: config().definitions.has(key) ? "override" : "runtime",
      config: maskConfig(record.value.config),
      credential: {
        state: record.value.config.auth === undefined ? "none" : "missing",
        source: null,
        fingerprint: null,
      },
      outOfUse: problems.map(({ path, text }) => `${showPath(path.slice(2))}: ${text}`),
    };
  }

  function find(key: string): ServiceItem | undefined {
    const service = registry().find(key);
    return service === undefined ? outOfUse(key) : served(service);
  }

  return {
    configOf,
    find,
    async list() {
      const { find: isServed, list } = registry();
      const others = [...stored.entries.keys()].filter((key) => isServed(key) === undefined);
      const items: ServiceItem[] = [];
      const yielder = new Yielder();
      for (const service of list()) {
        items.push(served(service));
        if (yielder.isDue) await yielder.yield();
      }
      for (const key of others) {
        const item = outOfUse(key);
        if (item !== undefined) items.push(item);
        if (yielder.isDue) await yielder.yield();
      }
      return items;
    },
    entityTagOf({ key, source }) {
      const version = stored.entries.get(key)?.version ?? ABSENT;
      // Computed from the values that the response masks, too.
      const text = JSON.stringify([key, source, version, configOf(key)]);
      return `"${fingerprint.state(text)}"`;
    },
  };
}

/** Why a stored service is not served. */
function problemsOf(reading: RuntimeReading, served: readonly Service[]): readonly FoundProblem[] {
  if ("problems" in reading) return reading.problems;
  return describeTaken(reading.service.key, ServiceAddresses.of(served).add(reading.service));
}
