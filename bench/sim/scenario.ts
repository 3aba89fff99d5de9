/** What a scenario consists of: an upstream that enforces its limits, and callers who want more than it allows. */
import type { ResponseHeaders } from "../../src/data-plane/quota/read-quota.ts";
import type { QuotaRules } from "../../src/data-plane/quota/rules.ts";

export interface SimulatedRequest {
  readonly method: string;
  readonly path: string;
}

export interface SimulatedAnswer {
  readonly status: number;
  readonly headers: ResponseHeaders;
  /** A limit was exceeded. */
  readonly isRefusal: boolean;
}

export interface SimulatedUpstream {
  /** When the limits allow the request, for one who knows them; ms since the epoch. */
  freeAt(request: SimulatedRequest, now: number): number;
  arrive(request: SimulatedRequest, now: number): SimulatedAnswer;
  /** The answer has left. */
  leave(request: SimulatedRequest): void;
}

/** One stream of requests of a caller: the next burst follows when all of one is served, after a pause. */
export interface Stream {
  readonly callerId: string;
  /** Requests of one kind are allowed together. */
  readonly kind: string;
  readonly request: SimulatedRequest;
  readonly burst: readonly [least: number, most: number];
  readonly pauseMs: readonly [least: number, most: number];
}

export interface Scenario {
  readonly name: string;
  readonly rules: QuotaRules;
  readonly durationMs: number;
  /** Of the one who asks ten times more than each of the others. */
  readonly heavyCallerId: string;
  readonly streams: readonly Stream[];
  /** How long the upstream takes, ms. */
  readonly serviceMs: readonly [least: number, most: number];
  /** How long a caller would wait, ms; it comes again when it is told to. */
  readonly maxWaitMs: number;
  createUpstream(): SimulatedUpstream;
}
