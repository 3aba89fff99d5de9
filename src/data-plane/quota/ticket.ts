/** A request that asks for a place in an upstream's quota, and the permission to send it. */
import type { QuotaResponse, QuotaRoute } from "./rules.ts";

export interface QuotaRequest {
  readonly method: string;
  /** After the base URL, without the query. */
  readonly path: string;
  /** `routeOf` this method and path. */
  readonly route: QuotaRoute;
  readonly callerId: string;
  /** How long it may wait, ms. */
  readonly maxWaitMs: number;
  /** How long its reservation lasts when the ticket is never ended, ms. */
  readonly leaseMs: number;
}

/** The request could not be sent in time. */
export interface QuotaRefusal {
  readonly bucket: string;
  /** When it could be sent, ms since the epoch. */
  readonly retryAt: number;
  readonly reason: "too long" | "queue full" | "draining";
}

/** Permission to send one request. Only the first call of `responded`, `lost` or `unused` counts. */
export interface Ticket {
  /** How long the request waited for it, ms. */
  readonly waitedMs: number;
  responded(response: QuotaResponse): void;
  /** The request was sent, and no response came. */
  lost(): void;
  /** Nothing was sent. */
  unused(): void;
}
