/** The outcomes of the requests of one phase, and the durations of the plain ones. */

/**
 * What a client can see. `refused:<code>`: the gateway's own response; `relayed:<status>`: the upstream's, if it is not a 2xx;
 * `cut`: a response began and was visibly aborted; `not accepted`: the connection was refused, or closed before the request was read;
 * `closed with 1001`: the gateway closed a WebSocket. Never allowed: `dropped` (no response, although the upstream had the request),
 * `hung`, `wrong`.
 */
export type Outcome =
  | "served"
  | `refused:${string}`
  | `relayed:${number}`
  | "cut"
  | "closed with 1001"
  | "not accepted"
  | "dropped"
  | "hung"
  | "wrong";

/** The end of one request. */
export interface Ended {
  readonly outcome: Outcome;
  /** A message about what was wrong. */
  readonly detail?: string;
}

/** Details kept per outcome. */
const DETAILS_LIMIT = 3;

export class Tally {
  readonly startedAt = performance.now();
  readonly counts = new Map<Outcome, number>();
  readonly details = new Map<Outcome, string[]>();
  /** Numbers of requests that ended without a response. Whether the upstream received them is checked later. */
  readonly closedSilently: string[] = [];
  /** Requests without an outcome so far. */
  pending = 0;
  /** Consecutive served requests, up to now. */
  streak = 0;
  /** When the first request of the streak was sent. */
  streakBeganAt = 0;
  readonly #plainMs: number[] = [];

  /** How long a plain request took. */
  noteTime(ms: number): void {
    this.#plainMs.push(ms);
  }

  note(id: string, { outcome, detail }: Ended, sentAt: number): void {
    if (outcome === "dropped") this.closedSilently.push(id);
    this.add(outcome, 1);
    if (outcome !== "served") {
      this.#keep(outcome, `request ${id}${detail === undefined ? "" : `, ${detail}`}`);
      this.streak = 0;
      return;
    }
    this.streakBeganAt = this.streak === 0 ? sentAt : Math.min(sentAt, this.streakBeganAt);
    this.streak++;
  }

  add(outcome: Outcome, count: number): void {
    this.counts.set(outcome, this.count(outcome) + count);
  }

  count(outcome: Outcome): number {
    return this.counts.get(outcome) ?? 0;
  }

  get total(): number {
    return [...this.counts.values()].reduce((sum, count) => sum + count, 0);
  }

  /** ms; 0 if nothing was served. */
  get p99Ms(): number {
    const sorted = [...this.#plainMs].sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length * 0.99)] ?? 0;
  }

  #keep(outcome: Outcome, detail: string): void {
    const kept = this.details.get(outcome) ?? [];
    if (kept.length < DETAILS_LIMIT) this.details.set(outcome, [...kept, detail]);
  }
}
