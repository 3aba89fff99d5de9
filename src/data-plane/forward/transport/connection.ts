/**
 * One connection to an upstream: an undici client that lives and dies with its socket.
 * Invariant: it carries one request at a time, and reports exactly once that it is free again or gone.
 */
import type { Socket } from "node:net";
import type { Readable } from "node:stream";
import { Client, type Dispatcher, errors } from "undici";
import type { Dial } from "../egress.ts";

/** Upstream responses may have larger headers than client requests: CSP and Link lists are long. */
export const RESPONSE_HEADER_BYTES_LIMIT = 65_536;

/** An upstream that announces `Keep-Alive: timeout` may close its connection then, so the gateway closes it this much earlier, ms. */
const KEEP_ALIVE_MARGIN_MS = 1_000;

/** An upstream that closes its connection after each response without announcing it has done so within this many ms. */
const SETTLED_MS = 10;

/** Error codes of a connection that the upstream ended: FIN, RST, and a write after either. */
const CLOSED_BY_UPSTREAM: ReadonlySet<unknown> = new Set(["UND_ERR_SOCKET", "ERESETBYPEER", "EPIPE"]);

/** Lower-case names; a repeated header is an array. */
export type ResponseHeaders = Record<string, string | string[] | undefined>;

export interface TransportRequest {
  readonly origin: string;
  readonly method: string;
  readonly path: string;
  readonly headers: string[];
  readonly body: Buffer | Readable | null;
}

/** Controls the bytes of one response. */
export interface Flow {
  pause(): void;
  resume(): void;
  abort(reason: Error): void;
}

/** Receives what happens to one request, in undici's own shape so that the hot path wraps nothing twice. */
export interface ResponseListener {
  /** Called when a wait for a connection is over, with or without a connection. */
  onWaited(waitedMs: number): void;
  /** Called when a connection is there after a wait. @returns whether the request is still to be sent. */
  onTurn(): boolean;
  onRequestStart(flow: Flow): void;
  /** Also called for interim responses (1xx). */
  onResponseStart(flow: Flow, status: number, headers: ResponseHeaders, reason?: string): void;
  onResponseData(flow: Flow, chunk: Buffer): void;
  onResponseEnd(flow: Flow, trailers: ResponseHeaders): void;
  onResponseError(flow: Flow | undefined, error: Error): void;
}

/** A request that was handed to the transport. */
export interface Dispatched {
  /** It waits for a connection. */
  readonly isWaiting: boolean;
  /** Whether the request failed because the upstream had closed a reused connection before it sent a byte. */
  isStale(error: Error): boolean;
  /** Cancels a request that has not been written, and frees its connection or queue position at once. */
  abandon(): void;
}

/** The set of connections that a connection belongs to. */
export interface ConnectionOwner {
  onFree(connection: Connection): void;
  onGone(connection: Connection): void;
}

/** How long a connection is kept. */
export interface ConnectionLifetime {
  /** Without a request; an upstream's `Keep-Alive: timeout` shortens it. */
  readonly idleConnectionMs: number;
  /** Afterwards it takes no new request, so that a changed address of the upstream is noticed under steady traffic. */
  readonly maxConnectionAgeMs: number;
}

export class Connection implements Dispatched {
  readonly origin: string;
  readonly isWaiting = false;
  readonly #owner: ConnectionOwner;
  readonly #client: Client;
  #socket: Socket | undefined;
  #isBusy = false;
  #isGone = false;
  /** Requests that it carried to their end. */
  #carried = 0;
  #firstFreeAt = 0;
  #expiresAt = Number.POSITIVE_INFINITY;
  #bytesReadBefore = 0;

  constructor(
    origin: string,
    dial: Dial,
    owner: ConnectionOwner,
    { idleConnectionMs, maxConnectionAgeMs }: ConnectionLifetime,
  ) {
    this.origin = origin;
    this.#owner = owner;
    this.#client = new Client(origin, {
      connect: (target, callback) => {
        this.#carried = 0;
        this.#expiresAt = performance.now() + maxConnectionAgeMs;
        const onSocket = (socket: Socket) => {
          this.#socket = socket;
        };
        dial({ ...target, onSocket }, callback);
      },
      keepAliveTimeout: idleConnectionMs,
      keepAliveMaxTimeout: idleConnectionMs,
      keepAliveTimeoutThreshold: KEEP_ALIVE_MARGIN_MS,
      maxHeaderSize: RESPONSE_HEADER_BYTES_LIMIT,
      // The exchange has its own deadlines: undici cuts a silent body at 300 s and counts in coarse ticks.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
    this.#client.on("drain", this.#onDrain);
    this.#client.on("disconnect", this.#onDisconnect);
    // The request on it has failed or fails now, so undici must not connect again for it.
    this.#client.on("connectionError", () => void this.destroy());
  }

  dispatch(request: TransportRequest, listener: ResponseListener): void {
    this.#isBusy = true;
    if (this.#carried > 0) this.#bytesReadBefore = (this.#socket as Socket).bytesRead;
    // undici ignores the members that it does not know, so no copy is made for it.
    this.#client.dispatch(request as Dispatcher.DispatchOptions, listener as Dispatcher.DispatchHandler);
    // A request that undici refuses is never queued, and no event would report that the connection is free.
    if (this.#client.stats.size === 0) void this.destroy();
  }

  /** The upstream keeps this connection open: it was reused before, or it stayed open for a while after its first response. */
  get isProven(): boolean {
    return this.#carried > 1 || performance.now() - this.#firstFreeAt >= SETTLED_MS;
  }

  /** It takes no new request. */
  get isExpired(): boolean {
    return performance.now() >= this.#expiresAt;
  }

  isStale(error: Error): boolean {
    return (
      this.#carried > 0 &&
      CLOSED_BY_UPSTREAM.has((error as NodeJS.ErrnoException).code) &&
      this.#socket?.bytesRead === this.#bytesReadBefore
    );
  }

  abandon(): void {
    void this.destroy();
  }

  /** Ends it at once, also while it is connecting; its request fails. */
  destroy(): Promise<void> {
    const error = new errors.ClientDestroyedError();
    const ended = this.#client.destroy(error);
    // While it connects, undici would wait for the outcome.
    this.#socket?.destroy(error);
    this.#leave();
    return ended;
  }

  /** undici emits this one event-loop turn after the response, so a close that came with the response is already seen. */
  readonly #onDrain = (): void => {
    if (this.#isGone || !this.#isBusy) return;
    if (this.#socket === undefined || this.#socket.destroyed) return this.#leave();
    if (this.isExpired) return void this.destroy();
    this.#isBusy = false;
    if (this.#carried++ === 0) this.#firstFreeAt = performance.now();
    this.#owner.onFree(this);
  };

  readonly #onDisconnect = (): void => {
    // A request that was not written yet stays in undici's queue, and undici connects again for it.
    if (this.#client.stats.size === 0) this.#leave();
  };

  #leave(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#owner.onGone(this);
  }
}
