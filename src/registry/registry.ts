/**
 * The live table of services, shared by both planes.
 * Invariant: a Map keyed by the raw text, so that no key of an object's prototype is ever a service.
 */
import { closest, distance } from "fastest-levenshtein";
import type { Service } from "../config/schema.ts";
import { GatewayError } from "../errors.ts";

/** Of a service's key, by the schema. */
const KEY_LENGTH_LIMIT = 64;

export interface Registry {
  find(key: string): Service | undefined;
  list(): readonly Service[];
  /** The refusal of a key that is not in the table: what there is, and what may have been meant. */
  refuseUnknown(key: string): GatewayError;
}

export function createRegistry(services: ReadonlyMap<string, Service>): Registry {
  return {
    find: (key) => services.get(key),
    list: () => [...services.values()],
    refuseUnknown(key) {
      const available = [...services.keys()];
      const shown = printable(key);
      return new GatewayError("SERVICE_NOT_CONFIGURED", {
        message: `Service ${shown === "" ? "" : `"${shown}" `}is not configured.${didYouMean(shown, available)}`,
        extra: { availableServices: available },
      });
    },
  };
}

function didYouMean(key: string, available: readonly string[]): string {
  if (key === "" || available.length === 0) return "";
  const near = closest(key.toLowerCase(), available);
  return distance(key.toLowerCase(), near) <= Math.max(1, Math.floor(near.length / 3))
    ? ` Did you mean "${near}"?`
    : "";
}

/** Longer than any service's key it is not shown: cut short it might be a part of a secret that nobody recognises. */
function printable(key: string): string {
  return key.length > KEY_LENGTH_LIMIT ? "" : key.replace(/[^\x20-\x7e]/g, "?");
}
