/** A request that asks to be sent, and the right to send it. */
import type { QuotaReading } from "./read-quota.ts";

/** Time, and how to wait for it. */
export interface QuotaClock {
  /** ms since the epoch. */
  now(): number;
  /** @returns what takes it back. */
  after(ms: number, run: () => void): () => void;
}

export interface QuotaRequest {
  readonly method: string;
  /** Behind the base URL, without the query. */
  readonly path: string;
  readonly callerId: string;
  /** How long it may wait, ms. */
  readonly maxWaitMs: number;
  /** How long what is set aside for it stays so, should nobody say what became of it, ms. */
  readonly leaseMs: number;
}

/** A request that would not go in time. */
export interface QuotaRefusal {
  readonly bucket: string;
  /** When it would, ms since the epoch. */
  readonly retryAt: number;
  readonly reason: "too long" | "queue full" | "draining";
}

/** The right to send one request. Each of the ends may be told once; the first one counts. */
export interface Ticket {
  /** ms that it was waited for. */
  readonly waitedMs: number;
  answered(status: number, reading: QuotaReading): void;
  /** It was sent, and there was no answer. */
  lost(): void;
  /** Nothing was sent. */
  unused(): void;
}
