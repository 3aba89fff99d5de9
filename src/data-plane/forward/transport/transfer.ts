/**
 * One request on one connection.
 * Invariant: it controls the connection only as long as the connection carries this request.
 */
import { destroyedByGateway } from "./connection-failure.ts";
import type { Dispatched, Flow, ResponseListener, TransportRequest } from "./transport-contract.ts";
import type { Upload } from "./upload.ts";

/** What a request needs of its connection. */
export interface Carrier {
  carries(transfer: Transfer): boolean;
  setPaused(transfer: Transfer, isPaused: boolean): void;
  isStale(error: Error): boolean;
  /** Ends the connection at once. Its request fails. */
  end(error: Error): void;
}

export class Transfer implements Dispatched, Flow {
  readonly isWaiting = false;
  readonly request: TransportRequest;
  readonly listener: ResponseListener;
  readonly #connection: Carrier;
  upload: Upload | undefined;
  hasResponse = false;

  constructor(connection: Carrier, request: TransportRequest, listener: ResponseListener) {
    this.#connection = connection;
    this.request = request;
    this.listener = listener;
  }

  pause(): void {
    this.#connection.setPaused(this, true);
  }

  resume(): void {
    this.#connection.setPaused(this, false);
  }

  abort(reason: Error): void {
    if (this.#connection.carries(this)) this.#connection.end(reason);
  }

  abandon(): void {
    if (this.#connection.carries(this)) this.#connection.end(destroyedByGateway());
  }

  isStale(error: Error): boolean {
    return this.#connection.isStale(error);
  }

  stopUpload(): void {
    const { body } = this.request;
    if (body !== null && !Buffer.isBuffer(body)) body.stop();
  }

  /** The whole request was written. */
  get isSent(): boolean {
    return this.upload === undefined || this.upload.isComplete;
  }
}
