/** The outcomes of the requests of one run. */
import type { Scenario, Stream } from "./scenario.ts";

export interface Tallied {
  /** Refusals by the upstream, for a limit. */
  readonly refusals: number;
  /** Refusals by the gateway, with a time for the retry. */
  readonly refusedByGateway: number;
  readonly served: number;
  readonly servedByKind: ReadonlyMap<string, number>;
  readonly waitP50Ms: number;
  readonly waitP99Ms: number;
  /** Of the requests served while every caller waited for the same kind: the heavy caller's share, and Jain's index of all shares. */
  readonly heavyShare: number;
  readonly jain: number;
  /** The number of these requests. */
  readonly contested: number;
  /** How often the heavy caller was served twice while another caller, waiting for the same kind all the time, was not served. */
  readonly unfairTurns: number;
}

/** A request that is older than this waits for a limit, ms. */
const WAITING_MS = 500;

export class Tally {
  readonly #callerIds: readonly string[];
  readonly #heavyCallerId: string;
  /** When each waiting request was created, ms since the epoch, by kind and caller. */
  readonly #waiting = new Map<string, Map<string, number[]>>();
  readonly #contested = new Map<string, number>();
  readonly #servedByKind = new Map<string, number>();
  readonly #waitsMs: number[] = [];
  #refusals = 0;
  #refusedByGateway = 0;
  /** By kind: the callers that waited when the heavy caller was last served, and those served since then. */
  readonly #sinceHeavy = new Map<string, { readonly waited: readonly string[]; readonly served: Set<string> }>();
  #unfairTurns = 0;

  constructor({ streams, heavyCallerId }: Pick<Scenario, "streams" | "heavyCallerId">) {
    this.#callerIds = [...new Set(streams.map(({ callerId }) => callerId))];
    this.#heavyCallerId = heavyCallerId;
    for (const { kind } of streams) this.#waiting.set(kind, new Map());
  }

  wanted({ kind, callerId }: Stream, now: number): void {
    const waiting = this.#waiting.get(kind)!;
    waiting.set(callerId, [...(waiting.get(callerId) ?? []), now]);
  }

  /** Times are ms since the epoch. */
  sent({ kind, callerId }: Stream, wantedAt: number, now: number): void {
    const waiting = this.#waiting.get(kind)!;
    // A new request that is sent at once has not waited for any other.
    if (this.#callerIds.every((id) => (waiting.get(id)?.[0] ?? now) <= now - WAITING_MS)) {
      this.#contested.set(callerId, (this.#contested.get(callerId) ?? 0) + 1);
    }
    const line = waiting.get(callerId)!;
    line.splice(line.indexOf(wantedAt), 1);
    this.#checkFairness(kind, callerId, waiting);
    this.#waitsMs.push(now - wantedAt);
  }

  #checkFairness(kind: string, callerId: string, waiting: ReadonlyMap<string, readonly number[]>): void {
    const since = this.#sinceHeavy.get(kind);
    since?.served.add(callerId);
    if (callerId !== this.#heavyCallerId) return;
    // A caller that waited then and was not served since is still waiting.
    if (since?.waited.some((id) => !since.served.has(id))) this.#unfairTurns++;
    const others = [...waiting].filter(([id, line]) => id !== callerId && line.length > 0);
    this.#sinceHeavy.set(kind, { waited: others.map(([id]) => id), served: new Set() });
  }

  served({ kind }: Stream): void {
    this.#servedByKind.set(kind, (this.#servedByKind.get(kind) ?? 0) + 1);
  }

  refused(): void {
    this.#refusals++;
  }

  refusedByGateway(): void {
    this.#refusedByGateway++;
  }

  result(): Tallied {
    const waits = this.#waitsMs.sort((a, b) => a - b);
    const at = (share: number) => waits[Math.min(waits.length - 1, Math.floor(waits.length * share))] ?? 0;
    const parts = this.#callerIds.map((id) => this.#contested.get(id) ?? 0);
    const sum = parts.reduce((a, b) => a + b, 0);
    const squares = parts.reduce((a, b) => a + b * b, 0);
    return {
      refusals: this.#refusals,
      refusedByGateway: this.#refusedByGateway,
      served: [...this.#servedByKind.values()].reduce((a, b) => a + b, 0),
      servedByKind: this.#servedByKind,
      waitP50Ms: at(0.5),
      waitP99Ms: at(0.99),
      heavyShare: sum === 0 ? 0 : (this.#contested.get(this.#heavyCallerId) ?? 0) / sum,
      jain: squares === 0 ? 1 : sum ** 2 / (parts.length * squares),
      contested: sum,
      unfairTurns: this.#unfairTurns,
    };
  }
}
