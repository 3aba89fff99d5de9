/** What became of the requests of one phase: counted by outcome, with how long the plain ones took. */

/**
 * What a client can meet. `refused:<code>`: the gateway's own answer; `relayed:<status>`: the upstream's, when it is not a 2xx;
 * `cut`: an answer began and visibly broke off; `not accepted`: nobody took the connection, or it was closed before the request was read;
 * `told 1001`: a WebSocket that was told of the end. Never right: `dropped` (no word, though the upstream had the request), `hung`, `wrong`.
 */
export type Outcome =
  | "served"
  | `refused:${string}`
  | `relayed:${number}`
  | "cut"
  | "told 1001"
  | "not accepted"
  | "dropped"
  | "hung"
  | "wrong";

/** One request's end. */
export interface Ended {
  readonly outcome: Outcome;
  /** What was wrong, for people. */
  readonly detail?: string;
}

/** Details that are kept of each outcome. */
const DETAILS_LIMIT = 3;

export class Tally {
  readonly startedAt = performance.now();
  readonly counts = new Map<Outcome, number>();
  readonly details = new Map<Outcome, string[]>();
  /** Numbers of requests that ended without a word: whether the upstream had them is asked later. */
  readonly wordless: string[] = [];
  /** Requests that are still under way. */
  pending = 0;
  /** Served one after another, up to now. */
  streak = 0;
  /** When the first of the streak was asked. */
  streakBeganAt = 0;
  readonly #plainMs: number[] = [];

  /** How long a plain request took. */
  noteTime(ms: number): void {
    this.#plainMs.push(ms);
  }

  note(id: string, { outcome, detail }: Ended, askedAt: number): void {
    if (outcome === "dropped") this.wordless.push(id);
    this.add(outcome, 1);
    if (outcome !== "served") {
      this.#keep(outcome, `request ${id}${detail === undefined ? "" : `, ${detail}`}`);
      this.streak = 0;
      return;
    }
    this.streakBeganAt = this.streak === 0 ? askedAt : Math.min(askedAt, this.streakBeganAt);
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

  /** ms; 0 when nothing was served. */
  get p99Ms(): number {
    const sorted = [...this.#plainMs].sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length * 0.99)] ?? 0;
  }

  #keep(outcome: Outcome, detail: string): void {
    const kept = this.details.get(outcome) ?? [];
    if (kept.length < DETAILS_LIMIT) this.details.set(outcome, [...kept, detail]);
  }
}
