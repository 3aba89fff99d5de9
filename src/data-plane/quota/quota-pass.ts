/**
 * One exchange's way through its credential's quota: what its answers teach, and, where requests are held, its wait and its tickets.
 * Invariant: every ticket that was given is given back, whatever became of the attempt; and whoever waits holds no place.
 */
import { GatewayError } from "../../errors.ts";
import { readAhead } from "../client-connection.ts";
import type { Exchange } from "../exchange.ts";
import type { Route } from "../identify.ts";
import type { CredentialQuota } from "./credential-quota.ts";
import { type AnswerHeaders, readQuota, tellsOfQuota } from "./read-quota.ts";
import type { ServiceQuota } from "./service-quota.ts";
import type { QuotaRefusal, QuotaRequest, Ticket } from "./ticket.ts";

export interface QuotaPass {
  /**
   * Before each attempt. Where it had to wait the exchange stands aside afterwards, and is to step in again.
   * @param maxWaitMs how long it may wait. @returns why it may not go; undefined also when the client left.
   */
  enter(maxWaitMs: number): Promise<GatewayError | undefined>;
  /** The attempt reached a connection: from now on it may have been counted. */
  sent(): void;
  answered(status: number, headers: AnswerHeaders): void;
  /** The last answer was a refusal for too many requests, and is worth another attempt. */
  readonly wasRefused: boolean;
  /** Another attempt would go within so many ms. */
  mayGoAgain(withinMs: number): boolean;
  /** The exchange is over. */
  end(): void;
}

/** What the pass of an exchange is made of. */
export interface QuotaPassParts {
  readonly exchange: Exchange;
  readonly route: Route;
  /** Flat list, as they go upstream. */
  readonly headers: readonly string[];
}

/** An answer to a request that took no ticket. */
export interface ObservedAnswer {
  readonly parts: QuotaPassParts;
  readonly status: number;
  readonly headers: AnswerHeaders;
  /** ms since the epoch. */
  readonly at: number;
}

/** `quota.mode: observe`: costs a look at the names of each answer's headers. */
export class ObservingPass implements QuotaPass {
  readonly wasRefused = false;
  readonly #quota: ServiceQuota;
  readonly #parts: QuotaPassParts;

  constructor(quota: ServiceQuota, parts: QuotaPassParts) {
    this.#quota = quota;
    this.#parts = parts;
  }

  async enter(): Promise<undefined> {}

  sent(): void {}

  answered(status: number, headers: AnswerHeaders): void {
    if (status < 400 && !tellsOfQuota(headers)) return;
    this.#quota.observe({ parts: this.#parts, status, headers, at: Date.now() });
  }

  mayGoAgain(): boolean {
    return false;
  }

  end(): void {}
}

/** `quota.mode: hold`. */
export class HoldingPass implements QuotaPass {
  readonly #service: ServiceQuota;
  readonly #quota: CredentialQuota;
  readonly #parts: QuotaPassParts;
  #ticket: Ticket | undefined;
  #wasSent = false;
  wasRefused = false;

  constructor(service: ServiceQuota, parts: QuotaPassParts) {
    this.#service = service;
    this.#quota = service.of(parts.route.prepared.credential, parts.headers);
    this.#parts = parts;
  }

  async enter(maxWaitMs: number): Promise<GatewayError | undefined> {
    this.end();
    const { exchange, route } = this.#parts;
    let stopWaiting = () => {};
    const outcome = await this.#quota.admit(requestOf(this.#parts, maxWaitMs), (leave) => {
      stopWaiting = hold(exchange, leave);
    });
    stopWaiting();
    if (outcome === undefined) return undefined;
    if ("reason" in outcome) return quotaRefusal(outcome, route.prepared.service.key, Date.now());
    this.#ticket = outcome;
    return undefined;
  }

  sent(): void {
    this.#wasSent = true;
  }

  answered(status: number, headers: AnswerHeaders): void {
    const now = Date.now();
    const reading = readQuota(headers, now);
    this.wasRefused = this.#service.rules.closureOf(status, reading, now) !== undefined;
    if (this.wasRefused) this.#service.noteRefusal(now);
    this.#ticket?.answered(status, reading);
    this.#ticket = undefined;
  }

  mayGoAgain(withinMs: number): boolean {
    return !("reason" in this.#quota.decide(requestOf(this.#parts, withinMs)));
  }

  end(): void {
    if (this.#wasSent) this.#ticket?.lost();
    else this.#ticket?.unused();
    this.#ticket = undefined;
    this.#wasSent = false;
    this.wasRefused = false;
  }
}

/** The exchange waits: it holds no place, and its client may leave at any moment. @returns what ends that. */
function hold(exchange: Exchange, leave: () => void): () => void {
  const since = performance.now();
  const stopWatching = watchUpgrade(exchange);
  exchange.stepAside();
  exchange.onClose = leave;
  return () => {
    exchange.onClose = undefined;
    exchange.queuedMs += performance.now() - since;
    stopWatching();
  };
}

/** Nobody reads the socket of an upgrade, and only one that is read tells that its client has left. */
function watchUpgrade({ req: { headers, socket } }: Exchange): () => void {
  if (headers.upgrade === undefined) return () => {};
  const early = readAhead(socket);
  const onEnd = () => socket.destroy();
  socket.once("end", onEnd);
  return () => {
    socket.off("end", onEnd);
    early.stop();
    early.giveBack();
  };
}

/** Beyond the deadline of its answer, ms: until then what is set aside for a request stays so. */
const LEASE_MARGIN_MS = 1_000;

export function requestOf({ exchange, route }: QuotaPassParts, maxWaitMs: number): QuotaRequest {
  return {
    method: exchange.method,
    path: route.path,
    callerId: exchange.callerId,
    maxWaitMs,
    leaseMs: route.prepared.service.timeoutMs + LEASE_MARGIN_MS,
  };
}

/** @param now ms since the epoch. */
export function quotaRefusal({ bucket, retryAt, reason }: QuotaRefusal, serviceKey: string, now: number): GatewayError {
  if (reason === "draining") {
    const message = `The gateway ends before ${serviceKey} would take another request.`;
    return new GatewayError("SHUTTING_DOWN", { message });
  }
  const seconds = Math.max(1, Math.ceil((retryAt - now) / 1_000));
  const why = reason === "queue full" ? "as many requests as may are waiting for it" : "it has no room in time";
  const room = `It has room again in ${seconds} second${seconds === 1 ? "" : "s"}.`;
  return new GatewayError("UPSTREAM_QUOTA_EXHAUSTED", {
    message: `What ${serviceKey} allows is used up, and ${why}. ${room}`,
    headers: ["Retry-After", String(seconds)],
    extra: { quota: { bucket, reason, retryAt: new Date(retryAt).toISOString() } },
  });
}
