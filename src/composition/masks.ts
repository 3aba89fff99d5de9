/** The masks of a gateway: every secret that it knows, and its own keys only. */
import { maskIssuedKeys } from "../callers/issued-key.ts";
import { maskTokens } from "../callers/token-form.ts";
import { secretsOfProxies } from "../config/egress-proxy.ts";
import type { Config } from "../config/load-config.ts";
import { secretsOfRedis } from "../config/redis-settings.ts";
import type { Service } from "../config/schema.ts";
import { secretsOfService } from "../config/service-secrets.ts";
import { createGrowingMask, type GrowingMask, type SecretMask } from "../telemetry/redact.ts";

export interface Masks {
  /** Replaces issued keys, and every secret that was ever configured: an exchange of an earlier generation may still be in flight. */
  readonly all: SecretMask;
  /** Replaces the gateway's own keys, issued keys and tokens. */
  readonly keys: SecretMask;
  readonly add: (config: Config, services: Iterable<Service>) => void;
  /** For secrets that change: those that the owner kept before may be shown again. */
  readonly keep: GrowingMask["keep"];
}

export function createMasks(): Masks {
  const all = createGrowingMask();
  const keys = createGrowingMask();
  return {
    all: (text) => maskTokens(maskIssuedKeys(all.mask(text))),
    keys: (text) => maskTokens(maskIssuedKeys(keys.mask(text))),
    keep: all.keep,
    add({ proxyPlane, managementPlane, settings }, services) {
      const ownKeys = [proxyPlane.key, managementPlane.key, settings.JWT_SECRET].flatMap((key) => key?.reveal() ?? []);
      keys.add(ownKeys);
      const ofSettings = [...secretsOfProxies(settings), ...secretsOfRedis(settings)];
      all.add([...ownKeys, ...ofSettings, ...[...services].flatMap(secretsOfService)]);
    },
  };
}
