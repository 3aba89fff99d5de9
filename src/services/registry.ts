/**
 * The live table of services, shared by both planes.
 * Invariant: a Map keyed by the raw text, so that no key of an object's prototype is ever a service.
 */
import { nearestName } from "../config/nearest-name.ts";
import type { Service } from "../config/schema.ts";
import { GatewayError } from "../errors.ts";
import { printable } from "../printable.ts";

/** Of a service's key, by the schema. */
const KEY_LENGTH_LIMIT = 64;

/** A refusal lists at most so many services, and compares the key with at most so many to suggest one. */
const LISTED_LIMIT = 100;
const COMPARED_LIMIT = 2_000;

export interface Registry {
  /** Warnings about permissions for services that are not in the table, perhaps not yet. */
  reviewPermissions(permissions: readonly string[]): string[];
  find(key: string): Service | undefined;
  list(): readonly Service[];
  /**
   * The refusal of a key that is not in the table: it lists the services and suggests the nearest key.
   * @param isVisible leaves out the services that the caller may not use.
   */
  refuseUnknown(key: string, isVisible?: (key: string) => boolean): GatewayError;
}

/**
 * @param services read at each call, because they change at run time.
 * @param current the service with the current secrets of its credential.
 */
export function createRegistry<T>(services: ReadonlyMap<string, T>, current: (entry: T) => Service): Registry {
  return {
    find(key) {
      const entry = services.get(key);
      return entry && current(entry);
    },
    list: () => [...services.values()].map(current),
    reviewPermissions(permissions) {
      const named = new Set(permissions.map((permission) => permission.slice(0, permission.indexOf(":"))));
      return [...named]
        .filter((key) => key !== "*" && key !== "manage" && !services.has(key))
        .map((key) => `There is no service ${key} now.${didYouMean(key, [...services.keys()])}`);
    },
    refuseUnknown(key, isVisible) {
      const all = [...services.keys()];
      const available = isVisible === undefined ? all : all.filter(isVisible);
      // A text longer than any key may be a secret: shown in part, the log mask would not recognise it.
      const shown = key.length > KEY_LENGTH_LIMIT ? "" : printable(key);
      return new GatewayError("SERVICE_NOT_CONFIGURED", {
        message: `Service ${shown === "" ? "" : `"${shown}" `}is not configured.${didYouMean(shown, available)}`,
        extra: { availableServices: available.slice(0, LISTED_LIMIT) },
      });
    },
  };
}

function didYouMean(key: string, available: readonly string[]): string {
  if (available.length > COMPARED_LIMIT) return "";
  const near = key === "" ? undefined : nearestName(key, available);
  return near === undefined ? "" : ` Did you mean "${near}"?`;
}
