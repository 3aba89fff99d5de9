/** What the metrics show of a service's credential. */
import type { PreparedService } from "../data-plane/prepared-service.ts";
import type { MeasuredService } from "../telemetry/service-gauges.ts";

export function measureCredential(
  prepared: Pick<PreparedService, "credential" | "credentialRefusals"> | undefined,
): Pick<MeasuredService, "credentialRefusals" | "credentialLife" | "credentialsResting"> {
  const source = prepared?.credential.describe?.();
  return {
    credentialRefusals: prepared?.credentialRefusals.count ?? 0,
    // Of a pool: the first that expires.
    credentialLife: prepared?.credentialRefusals.life?.describe(),
    credentialsResting: source?.of?.filter(({ state }) => state === "resting").length,
  };
}
