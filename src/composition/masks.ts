/**
 * The secrets that no output may hold, as they become known.
 * Invariant: what was once configured stays masked, because an exchange of the generation before may still be under way.
 */
import { maskIssuedKeys } from "../callers/issued-key.ts";
import type { Config } from "../config/load-config.ts";
import type { Service } from "../config/schema.ts";
import { createGrowingMask, type SecretMask } from "../telemetry/redact.ts";

export interface Masks {
  /** Replaces what looks like an issued key, and every secret that was ever configured: an exchange of the generation before may still be under way. */
  readonly all: SecretMask;
  /** The gateway's own keys, and what looks like an issued one. */
  readonly keys: SecretMask;
  readonly add: (config: Config, services: Iterable<Service>) => void;
}

export function createMasks(): Masks {
  const all = createGrowingMask();
  const keys = createGrowingMask();
  return {
    all: (text) => maskIssuedKeys(all.mask(text)),
    keys: (text) => maskIssuedKeys(keys.mask(text)),
    add(config, services) {
      const own = ownKeysOf(config);
      keys.add(own);
      all.add([...own, ...[...services].flatMap(({ credential }) => credential?.secret?.reveal() ?? [])]);
    },
  };
}

function ownKeysOf({ proxyPlane, managementPlane }: Config): string[] {
  return [proxyPlane.key, managementPlane.key].flatMap((key) => key?.reveal() ?? []);
}
