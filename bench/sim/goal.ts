/** What a scenario has to come to in hold, and whether it did. */
import { discord } from "./discord.ts";
import { github } from "./github.ts";
import type { Scenario } from "./scenario.ts";
import { simulate } from "./simulate.ts";
import type { Tallied } from "./tally.ts";
import { openAi, shopify } from "./token-buckets.ts";

export const scenarios: readonly Scenario[] = [github, discord, openAi, shopify];

/** Of what the rules allow. */
const LEAST_THROUGHPUT = 0.95;
/** Above an equal part, for bursts that begin and end in the middle of a round. */
const FAIR_TOLERANCE = 0.02;

export interface Judged {
  readonly scenario: Scenario;
  readonly off: Tallied;
  readonly hold: Tallied;
  readonly ideal: Tallied;
  /** What was missed, in words; empty when nothing was. */
  readonly missed: readonly string[];
}

/** @param durationMs less than the scenario's for a shorter look. */
export async function judge(scenario: Scenario, durationMs = scenario.durationMs): Promise<Judged> {
  const off = await simulate(scenario, "off", durationMs);
  const hold = await simulate(scenario, "hold", durationMs);
  const ideal = await simulate(scenario, "ideal", durationMs);
  const missed: string[] = [];
  if (hold.refusals > 0) missed.push(`${hold.refusals} refusals upstream`);
  const throughput = hold.served / ideal.served;
  if (throughput < LEAST_THROUGHPUT) missed.push(`${(throughput * 100).toFixed(1)}% of what the rules allow`);
  const fairShare = fairShareOf(scenario);
  if (hold.contested === 0) missed.push("nobody ever waited beside all the others");
  if (hold.heavyShare > fairShare + FAIR_TOLERANCE) missed.push(`the heavy caller gets ${hold.heavyShare.toFixed(3)}`);
  if (hold.stolenTurns > 0) missed.push(`${hold.stolenTurns} turns that were somebody else's`);
  return { scenario, off, hold, ideal, missed };
}

export function fairShareOf({ streams }: Scenario): number {
  return 1 / new Set(streams.map(({ callerId }) => callerId)).size;
}
