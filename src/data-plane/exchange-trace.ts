/**
 * What LOG_LEVEL `debug` and `trace` log of an exchange: each step's verdict, each attempt with its times, and with `trace` the names of
 * headers. With any other level no exchange has one of these.
 * Invariant: no value of a header and no part of a body is logged.
 */
import { performance } from "node:perf_hooks";
import { GatewayError } from "../errors.ts";
import type { Logger } from "../telemetry/logger.ts";

/** A message may have 10,000 fields. */
const NAMES_LIMIT = 100;
const NAME_LENGTH_LIMIT = 64;

export class ExchangeTrace {
  readonly #logger: Pick<Logger, "debug" | "trace">;
  readonly #requestId: string;
  #attempt = 0;
  #begunAt = 0;
  #sentAt = 0;

  constructor(logger: Pick<Logger, "debug" | "trace">, requestId: string, rawHeaders: readonly string[]) {
    this.#logger = logger;
    this.#requestId = requestId;
    this.#logNames("names of the request's headers", rawHeaders);
  }

  step(step: string, verdict: unknown): void {
    const requestId = this.#requestId;
    if (verdict instanceof GatewayError) {
      this.#logger.debug({ requestId, step, verdict: "refuse", code: verdict.code }, "step");
    } else this.#logger.debug({ requestId, step, verdict: "pass" }, "step");
  }

  /** @param headers flat list, as they will be sent. */
  attemptBegins(headers: readonly string[]): void {
    this.#attempt++;
    this.#begunAt = performance.now();
    this.#sentAt = 0;
    this.#logNames("names of the headers to the upstream", headers);
  }

  /** The connection is there, and the head is being written. */
  requestSent(): void {
    this.#sentAt = performance.now();
  }

  responseStarted(status: number, headers: Readonly<Record<string, unknown>>): void {
    this.#logNames(
      "names of the upstream's headers",
      Object.keys(headers).flatMap((name) => [name, ""]),
    );
    this.#logAttempt({ status });
  }

  /** There was no response. @param code why. */
  attemptFailed(code: string): void {
    this.#logAttempt({ code });
  }

  #logAttempt(end: { readonly status: number } | { readonly code: string }): void {
    const now = performance.now();
    const sentAt = this.#sentAt;
    this.#logger.debug(
      {
        requestId: this.#requestId,
        attempt: this.#attempt,
        ...end,
        // Until a connection was there; null if none was.
        connectionUs: sentAt === 0 ? null : Math.round((sentAt - this.#begunAt) * 1_000),
        durationUs: Math.round((now - this.#begunAt) * 1_000),
      },
      "attempt",
    );
  }

  /** @param headers flat list. */
  #logNames(words: string, headers: readonly string[]): void {
    const names = headers.filter((_, i) => i % 2 === 0).slice(0, NAMES_LIMIT);
    const shown = names.map((name) => name.slice(0, NAME_LENGTH_LIMIT));
    this.#logger.trace({ requestId: this.#requestId, names: shown, count: headers.length / 2 }, words);
  }
}
