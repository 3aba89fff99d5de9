/** One fault under load: begun, ended, recovered from, and judged. */
import { setTimeout as delay } from "node:timers/promises";
import type { Fault } from "./fault.ts";
import { HUNG_MS, RECOVERY_MS } from "./limits.ts";
import type { Stage } from "./stage.ts";
import type { Outcome, Tally } from "./tally.ts";
import type { UpstreamProcess } from "./upstream-process.ts";

/** Requests that must be served one after another, with none failing between them, before a service counts as recovered. */
const RECOVERED_STREAK = 20;
const LOOK_MS = 20;

/** How a service may answer while it is protected, whatever the fault. */
const PROTECTED: readonly Outcome[] = ["served", "refused:CIRCUIT_OPEN", "refused:UNDER_PRESSURE"];

export interface Struck {
  readonly fault: Fault;
  readonly hurt: Tally;
  readonly neighbour: Tally;
  /** ms from the fault's end; undefined when it did not recover in time. */
  readonly recoveredMs: number | undefined;
  /** What went wrong, in words; empty when nothing did. */
  readonly failures: readonly string[];
}

export async function strike(stage: Stage, fault: Fault, faultMs: number): Promise<Struck> {
  const { hurtLoad, neighbourLoad } = stage;
  const failures: string[] = [];
  const hurt = hurtLoad.enterPhase({ adopts: true });
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
  const hurtLater = hurtLoad.enterPhase({ adopts: false });
  const neighbourLater = neighbourLoad.enterPhase({ adopts: false });
  const recoveredMs = await untilRecovered(hurtLater);
  await untilOver(hurt, neighbour);
  for (const tally of [hurt, hurtLater]) await tellAccepted(tally, stage.hurt);
  for (const tally of [neighbour, neighbourLater]) await tellAccepted(tally, stage.neighbour);

  for (const outcome of fault.shows) if (hurt.count(outcome) === 0) failures.push(`never showed ${outcome}`);
  const known = [...fault.shows, ...(fault.mayShow ?? [])];
  for (const tally of [hurt, hurtLater]) failures.push(...unexpected(tally, [...PROTECTED, ...known]));
  const allowed: readonly Outcome[] = fault.strikesGateway === undefined ? ["served"] : ["served", ...known];
  for (const tally of [neighbour, neighbourLater]) {
    failures.push(...unexpected(tally, allowed).map((failure) => `the neighbour: ${failure}`));
  }
  if (neighbour.total === 0) failures.push("the neighbour was never asked");
  if (recoveredMs === undefined) failures.push(`not recovered after ${RECOVERY_MS} ms`);
  return { fault, hurt, neighbour, recoveredMs, failures };
}

async function untilRecovered(tally: Tally): Promise<number | undefined> {
  while (performance.now() - tally.startedAt < RECOVERY_MS) {
    if (tally.streak >= RECOVERED_STREAK) return Math.max(0, tally.streakBeganAt - tally.startedAt);
    await delay(LOOK_MS);
  }
  return undefined;
}

async function untilOver(...tallies: readonly Tally[]): Promise<void> {
  const deadline = performance.now() + 2 * HUNG_MS;
  while (tallies.some(({ pending }) => pending > 0) && performance.now() < deadline) await delay(LOOK_MS);
}

/** A connection that closed without a word is only excusable where nothing of the request went on to anybody. */
async function tellAccepted(tally: Tally, upstream: UpstreamProcess): Promise<void> {
  if (tally.wordless.length === 0) return;
  const wordless = tally.wordless.splice(0);
  const unread = wordless.length - (await upstream.seen(wordless)).length;
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
