/** A scenario: an upstream that enforces its limits, and callers that send more than it allows. */
import type { ResponseHeaders } from "../../src/data-plane/quota/read-quota.ts";
import type { QuotaRules } from "../../src/data-plane/quota/rules.ts";

export interface SimulatedRequest {
  readonly method: string;
  readonly path: string;
}

export interface SimulatedResponse {
  readonly status: number;
  readonly headers: ResponseHeaders;
  /** A limit was exceeded. */
  readonly isRefusal: boolean;
}

export interface SimulatedUpstream {
  /** When the limits allow the request, ms since the epoch. Only the ideal client uses it. */
  freeAt(request: SimulatedRequest, now: number): number;
  arrive(request: SimulatedRequest, now: number): SimulatedResponse;
  /** The response has left the upstream. */
  leave(request: SimulatedRequest): void;
}

/** A caller's stream of requests: a burst, and after all of it was served and a pause, the next one. */
export interface Stream {
  readonly callerId: string;
  /** Requests of one kind share a limit. */
  readonly kind: string;
  readonly request: SimulatedRequest;
  readonly burst: readonly [least: number, most: number];
  readonly pauseMs: readonly [least: number, most: number];
}

export interface Scenario {
  readonly name: string;
  readonly rules: QuotaRules;
  readonly durationMs: number;
  /** The caller that sends ten times as much as each of the others. */
  readonly heavyCallerId: string;
  readonly streams: readonly Stream[];
  /** How long the upstream takes to respond, ms. */
  readonly serviceMs: readonly [least: number, most: number];
  /** How long a request may wait, ms. A refused caller retries at the time in the refusal. */
  readonly maxWaitMs: number;
  createUpstream(): SimulatedUpstream;
}
