/** Runs one fault under load, waits for the recovery, and judges the outcomes. */
import { setTimeout as delay } from "node:timers/promises";
import type { Fault } from "./fault.ts";
import { HUNG_MS, RECOVERY_MS } from "./limits.ts";
import type { Stage } from "./stage.ts";
import type { Outcome, Tally } from "./tally.ts";
import type { UpstreamProcess } from "./upstream-process.ts";

/** Requests that must be served one after another, with none failing between them, before a service counts as recovered. */
const RECOVERED_STREAK = 20;
const POLL_MS = 20;

/** A service may respond like this during any fault. */
const PROTECTED: readonly Outcome[] = ["served", "refused:CIRCUIT_OPEN", "refused:UNDER_PRESSURE"];

export interface FaultResult {
  readonly fault: Fault;
  readonly affected: Tally;
  readonly neighbour: Tally;
  /** ms after the fault's end; undefined if it did not recover in time. */
  readonly recoveredMs: number | undefined;
  /** Messages; empty if all outcomes were allowed. */
  readonly failures: readonly string[];
}

export async function runFault(stage: Stage, fault: Fault, faultMs: number): Promise<FaultResult> {
  const { affectedLoad, neighbourLoad } = stage;
  const failures: string[] = [];
  const affected = affectedLoad.enterPhase({ adopts: true });
  const neighbour = neighbourLoad.enterPhase({ adopts: true });
  try {
    await fault.begin(stage);
    await delay(faultMs);
  } catch (error) {
    failures.push(String(error));
  }
  try {
    await fault.end(stage);
  } catch (error) {
    failures.push(String(error));
  }
  const affectedLater = affectedLoad.enterPhase({ adopts: false });
  const neighbourLater = neighbourLoad.enterPhase({ adopts: false });
  const recoveredMs = await untilRecovered(affectedLater);
  await untilOver(affected, neighbour);
  for (const tally of [affected, affectedLater]) await separateUnread(tally, stage.affected);
  for (const tally of [neighbour, neighbourLater]) await separateUnread(tally, stage.neighbour);

  for (const outcome of fault.shows)
    if (affected.count(outcome) === 0) failures.push(`expected at least one ${outcome}`);
  const known = [...fault.shows, ...(fault.mayShow ?? [])];
  for (const tally of [affected, affectedLater]) failures.push(...unexpected(tally, [...PROTECTED, ...known]));
  const allowed: readonly Outcome[] = fault.affectsGateway === undefined ? ["served"] : ["served", ...known];
  for (const tally of [neighbour, neighbourLater]) {
    failures.push(...unexpected(tally, allowed).map((failure) => `the neighbour: ${failure}`));
  }
  if (neighbour.total === 0) failures.push("the neighbour received no request");
  if (recoveredMs === undefined) failures.push(`did not recover within ${RECOVERY_MS} ms`);
  return { fault, affected, neighbour, recoveredMs, failures };
}

async function untilRecovered(tally: Tally): Promise<number | undefined> {
  while (performance.now() - tally.startedAt < RECOVERY_MS) {
    if (tally.streak >= RECOVERED_STREAK) return Math.max(0, tally.streakBeganAt - tally.startedAt);
    await delay(POLL_MS);
  }
  return undefined;
}

async function untilOver(...tallies: readonly Tally[]): Promise<void> {
  const deadline = performance.now() + 2 * HUNG_MS;
  while (tallies.some(({ pending }) => pending > 0) && performance.now() < deadline) await delay(POLL_MS);
}

/** A connection closed without a response is allowed only if the request did not reach the upstream. */
async function separateUnread(tally: Tally, upstream: UpstreamProcess): Promise<void> {
  if (tally.closedSilently.length === 0) return;
  const closedSilently = tally.closedSilently.splice(0);
  const unread = closedSilently.length - (await upstream.seen(closedSilently)).length;
  tally.add("dropped", -unread);
  tally.add("not accepted", unread);
}

function unexpected(tally: Tally, allowed: readonly Outcome[]): string[] {
  return [...tally.counts]
    .filter(([outcome, count]) => count > 0 && !allowed.includes(outcome))
    .map(([outcome, count]) => {
      const details = tally.details.get(outcome) ?? [];
      return `${count} ${outcome}${details.length === 0 ? "" : `: ${details.join("; ")}`}`;
    });
}
