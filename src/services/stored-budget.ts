/**
 * How many services may be stored over REST, and how large they may be together.
 * Invariant: a caller that may change services cannot make the stored state so large that a start, or a change, takes long.
 */
import { GatewayError } from "../errors.ts";
import type { Records } from "../stores/records.ts";
import type { StoredService } from "./stored-services.ts";

const SERVICES_LIMIT = 5_000;
/** Characters of all configurations as JSON: as much as the services file may have. */
const LENGTH_LIMIT = 16 * 1024 * 1024;

export interface StoredBudget {
  /** @throws GatewayError if there is no room for this configuration in place of the present one. */
  requireRoom(key: string, next: StoredService["config"]): void;
}

export function createStoredBudget(
  stored: Pick<Records<StoredService>, "entries">,
  { services: servicesLimit, length: lengthLimit } = { services: SERVICES_LIMIT, length: LENGTH_LIMIT },
): StoredBudget {
  /** Records are replaced as a whole, so the length of one never changes. */
  const lengths = new WeakMap<StoredService["config"], number>();
  function lengthOf(config: StoredService["config"]): number {
    let length = lengths.get(config);
    if (length === undefined) {
      length = JSON.stringify(config).length;
      lengths.set(config, length);
    }
    return length;
  }
  return {
    requireRoom(key, next) {
      const others = [...stored.entries].filter(([other]) => other !== key);
      if (others.length >= servicesLimit) throw full(`${servicesLimit} services`);
      const length = others.reduce((sum, [, { value }]) => sum + lengthOf(value.config), lengthOf(next));
      if (length > lengthLimit) throw full(`${lengthLimit} characters of services`);
    },
  };
}

function full(limit: string): GatewayError {
  return new GatewayError("PRECONDITION_FAILED", {
    message: `Nothing was changed: the limit of ${limit} added over REST is reached.`,
    hint: "Delete services that are not used, or move them to the services file.",
  });
}
