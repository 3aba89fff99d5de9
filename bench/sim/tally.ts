/** What came of the requests of one run. */
import type { Scenario, Stream } from "./scenario.ts";

export interface Tallied {
  /** By the upstream, for a limit. */
  readonly refusals: number;
  /** By the gateway, to come again at a time that it tells. */
  readonly turnedAway: number;
  readonly served: number;
  readonly servedByKind: ReadonlyMap<string, number>;
  readonly waitP50Ms: number;
  readonly waitP99Ms: number;
  /** Of what was served while every caller waited for the same kind: the heavy caller's part, and Jain's index of all parts. */
  readonly heavyShare: number;
  readonly jain: number;
  /** How many that were. */
  readonly contested: number;
  /** How often the heavy caller had two turns while somebody who waited for the same kind all that time had none. */
  readonly stolenTurns: number;
}

/** From when on somebody is taken to wait for a limit, ms. */
const WAITS_MS = 500;

export class Tally {
  readonly #callerIds: readonly string[];
  readonly #heavyCallerId: string;
  /** By kind and caller: since when each request is wanted, ms since the epoch. */
  readonly #waiting = new Map<string, Map<string, number[]>>();
  readonly #contested = new Map<string, number>();
  readonly #servedByKind = new Map<string, number>();
  readonly #waitsMs: number[] = [];
  #refusals = 0;
  #turnedAway = 0;
  /** By kind: whose turns there were since the heavy caller's last one, and who waited at that one. */
  readonly #sinceHeavy = new Map<string, { readonly waited: readonly string[]; readonly had: Set<string> }>();
  #stolenTurns = 0;

  constructor({ streams, heavyCallerId }: Pick<Scenario, "streams" | "heavyCallerId">) {
    this.#callerIds = [...new Set(streams.map(({ callerId }) => callerId))];
    this.#heavyCallerId = heavyCallerId;
    for (const { kind } of streams) this.#waiting.set(kind, new Map());
  }

  wants({ kind, callerId }: Stream, now: number): void {
    const waiting = this.#waiting.get(kind)!;
    waiting.set(callerId, [...(waiting.get(callerId) ?? []), now]);
  }

  /** Times are ms since the epoch. */
  went({ kind, callerId }: Stream, wantedAt: number, now: number): void {
    const waiting = this.#waiting.get(kind)!;
    // What came just now and goes at once has not waited for anybody.
    if (this.#callerIds.every((id) => (waiting.get(id)?.[0] ?? now) <= now - WAITS_MS)) {
      this.#contested.set(callerId, (this.#contested.get(callerId) ?? 0) + 1);
    }
    const line = waiting.get(callerId)!;
    line.splice(line.indexOf(wantedAt), 1);
    this.#countTurn(kind, callerId, waiting);
    this.#waitsMs.push(now - wantedAt);
  }

  #countTurn(kind: string, callerId: string, waiting: ReadonlyMap<string, readonly number[]>): void {
    const since = this.#sinceHeavy.get(kind);
    since?.had.add(callerId);
    if (callerId !== this.#heavyCallerId) return;
    // Who waited then and had no turn since waits still.
    if (since?.waited.some((id) => !since.had.has(id))) this.#stolenTurns++;
    const others = [...waiting].filter(([id, line]) => id !== callerId && line.length > 0);
    this.#sinceHeavy.set(kind, { waited: others.map(([id]) => id), had: new Set() });
  }

  served({ kind }: Stream): void {
    this.#servedByKind.set(kind, (this.#servedByKind.get(kind) ?? 0) + 1);
  }

  refused(): void {
    this.#refusals++;
  }

  turnedAway(): void {
    this.#turnedAway++;
  }

  result(): Tallied {
    const waits = this.#waitsMs.sort((a, b) => a - b);
    const at = (share: number) => waits[Math.min(waits.length - 1, Math.floor(waits.length * share))] ?? 0;
    const parts = this.#callerIds.map((id) => this.#contested.get(id) ?? 0);
    const sum = parts.reduce((a, b) => a + b, 0);
    const squares = parts.reduce((a, b) => a + b * b, 0);
    return {
      refusals: this.#refusals,
      turnedAway: this.#turnedAway,
      served: [...this.#servedByKind.values()].reduce((a, b) => a + b, 0),
      servedByKind: this.#servedByKind,
      waitP50Ms: at(0.5),
      waitP99Ms: at(0.99),
      heavyShare: sum === 0 ? 0 : (this.#contested.get(this.#heavyCallerId) ?? 0) / sum,
      jain: squares === 0 ? 1 : sum ** 2 / (parts.length * squares),
      contested: sum,
      stolenTurns: this.#stolenTurns,
    };
  }
}
