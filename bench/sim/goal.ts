/** The goals of a scenario in hold mode, and whether they are met. */
import { discord } from "./discord.ts";
import { github } from "./github.ts";
import type { Scenario } from "./scenario.ts";
import { simulate } from "./simulate.ts";
import type { Tallied } from "./tally.ts";
import { openAi, shopify } from "./token-buckets.ts";

export const scenarios: readonly Scenario[] = [github, discord, openAi, shopify];

/** Share of what the rules allow. */
const LEAST_THROUGHPUT = 0.95;
/** Tolerated above an equal share, for bursts that begin and end in the middle of a round. */
const FAIR_TOLERANCE = 0.02;

export interface Judged {
  readonly scenario: Scenario;
  readonly off: Tallied;
  readonly hold: Tallied;
  readonly ideal: Tallied;
  /** Messages; empty if every goal was met. */
  readonly missed: readonly string[];
}

/** @param durationMs shorter than the scenario's for a quick check. */
export async function judge(scenario: Scenario, durationMs = scenario.durationMs): Promise<Judged> {
  const off = await simulate(scenario, "off", durationMs);
  const hold = await simulate(scenario, "hold", durationMs);
  const ideal = await simulate(scenario, "ideal", durationMs);
  const missed: string[] = [];
  if (hold.refusals > 0) missed.push(`the upstream refused ${hold.refusals} requests`);
  const throughput = hold.served / ideal.served;
  if (throughput < LEAST_THROUGHPUT)
    missed.push(`only ${(throughput * 100).toFixed(1)}% of what the rules allow was served`);
  const fairShare = fairShareOf(scenario);
  if (hold.contested === 0) missed.push("at no time did all callers wait");
  if (hold.heavyShare > fairShare + FAIR_TOLERANCE)
    missed.push(`the heavy caller has a share of ${hold.heavyShare.toFixed(3)}`);
  if (hold.unfairTurns > 0) missed.push(`${hold.unfairTurns} unfair turns`);
  return { scenario, off, hold, ideal, missed };
}

export function fairShareOf({ streams }: Scenario): number {
  return 1 / new Set(streams.map(({ callerId }) => callerId)).size;
}
