/** What the metrics show of a service's credential. */
import type { PreparedService } from "../data-plane/prepared-service.ts";
import type { MeasuredService } from "../telemetry/service-gauges.ts";

export function measureCredential(
  prepared: Pick<PreparedService, "credential" | "credentialRefusals"> | undefined,
): Pick<MeasuredService, "credentialRefusals" | "credentialExpiresAt" | "credentialsResting"> {
  const source = prepared?.credential.describe?.();
  const ends = [source, ...(source?.of ?? [])].flatMap((each) => each?.token?.expiresAt ?? []);
  return {
    credentialRefusals: prepared?.credentialRefusals.count ?? 0,
    // Of a pool: the first that expires.
    credentialExpiresAt: ends.length === 0 ? undefined : Math.min(...ends),
    credentialsResting: source?.of?.filter(({ state }) => state === "resting").length,
  };
}
