/**
 * One connection to an upstream: a client of undici's that is thrown away with its socket.
 * Invariant: it carries one request at a time, and reports exactly once that it is free again, or that it is no more.
 */
import type { Socket } from "node:net";
import { Client, type Dispatcher, errors } from "undici";
import type { Dial } from "../egress.ts";
import type { AnswerListener, Dispatched, TransportRequest } from "../transport.ts";

/** Upstream answers may have larger headers than we accept from clients: CSP and Link lists are long. */
export const ANSWER_HEADER_BYTES_LIMIT = 65_536;

/** Idle upstream connections are closed after this many ms, sooner than most servers would. */
const IDLE_CONNECTION_MS = 4_000;

/** An upstream that closes behind each answer, without a word of it, has closed by then, ms. */
const SETTLED_MS = 10;

/** How an upstream's end of a connection shows: FIN, RST, and a write behind either. */
const CLOSED_BY_UPSTREAM: ReadonlySet<unknown> = new Set(["UND_ERR_SOCKET", "ERESETBYPEER", "EPIPE"]);

/** The connections that this one belongs to. */
export interface ConnectionOwner {
  onFree(connection: Connection): void;
  onGone(connection: Connection): void;
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
  #bytesReadBefore = 0;

  constructor(origin: string, dial: Dial, owner: ConnectionOwner) {
    this.origin = origin;
    this.#owner = owner;
    this.#client = new Client(origin, {
      connect: (target, callback) => {
        this.#carried = 0;
        const onSocket = (socket: Socket) => {
          this.#socket = socket;
        };
        dial({ ...target, onSocket }, callback);
      },
      keepAliveTimeout: IDLE_CONNECTION_MS,
      maxHeaderSize: ANSWER_HEADER_BYTES_LIMIT,
      // Deadlines are the exchange's own: undici cuts a silent body at 300 s and counts in coarse ticks.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
    this.#client.on("drain", this.#onDrain);
    this.#client.on("disconnect", this.#onDisconnect);
    // Whatever undici would make of it: its request has failed, or does now.
    this.#client.on("connectionError", () => void this.destroy());
  }

  dispatch(request: TransportRequest, listener: AnswerListener): void {
    this.#isBusy = true;
    if (this.#carried > 0) this.#bytesReadBefore = (this.#socket as Socket).bytesRead;
    // undici reads what it knows of the request and leaves the rest: no copy is made for it.
    this.#client.dispatch(request as Dispatcher.DispatchOptions, listener as Dispatcher.DispatchHandler);
    // What undici itself refuses never comes into its queue, and nothing would tell that the connection is free.
    if (this.#client.stats.size === 0) void this.destroy();
  }

  /** Its upstream does keep it: it was used again, or has stood open for a while behind its first answer. */
  get isProven(): boolean {
    return this.#carried > 1 || performance.now() - this.#firstFreeAt >= SETTLED_MS;
  }

  /** To be asked when a request has failed with this error. */
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

  /** Ends it at once, one that is being made included; its request fails. */
  destroy(): Promise<void> {
    const error = new errors.ClientDestroyedError();
    const ended = this.#client.destroy(error);
    // While it connects undici would wait for the outcome.
    this.#socket?.destroy(error);
    this.#leave();
    return ended;
  }

  /** undici says so a turn of the loop behind the answer: an end that came with it has been seen by then. */
  readonly #onDrain = (): void => {
    if (this.#isGone || !this.#isBusy) return;
    if (this.#socket === undefined || this.#socket.destroyed) return this.#leave();
    this.#isBusy = false;
    if (this.#carried++ === 0) this.#firstFreeAt = performance.now();
    this.#owner.onFree(this);
  };

  readonly #onDisconnect = (): void => {
    // A request that was not written yet stays in undici's queue, and undici connects anew for it.
    if (this.#client.stats.size === 0) this.#leave();
  };

  #leave(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#owner.onGone(this);
  }
}
