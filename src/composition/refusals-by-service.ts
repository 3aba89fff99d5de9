/** The refusals that the metrics counted, by the service that was asked for. */
import type { CountedRefusals } from "../telemetry/metrics.ts";

export function refusalsByService(refusals: readonly CountedRefusals[]): Map<string, CountedRefusals[]> {
  const found = new Map<string, CountedRefusals[]>();
  for (const refusal of refusals) {
    const others = found.get(refusal.service);
    if (others === undefined) found.set(refusal.service, [refusal]);
    else others.push(refusal);
  }
  return found;
}
