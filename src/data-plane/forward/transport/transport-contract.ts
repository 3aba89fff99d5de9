/** What the transport takes and what it reports, for one request. */
import type { Socket } from "node:net";
import type { ResponseHeaders } from "./response-fields.ts";

/** Receives the body of a request. */
export interface BodySink {
  /** @returns false where the source has to pause; its `resume` is called when there is room again. */
  write(chunk: Buffer): boolean;
  /** The body is complete. */
  end(): void;
}

/** A body that arrives while it is sent. */
export interface BodySource {
  /** Sends what arrives to the sink. */
  start(sink: BodySink): void;
  /** The sink has room again. */
  resume(): void;
  /** The sink takes no more. */
  stop(): void;
}

export interface TransportRequest {
  /** Whose share of the connections it uses; empty where only one caller may use the service, which then has all of them. */
  readonly party: string;
  /** The client's connection. */
  readonly client?: Socket;
  /**
   * It authenticates its connection, or is sent on one that this client has authenticated. So it is not sent again: on another
   * connection it would have no client.
   */
  isBound?: boolean;
  readonly origin: string;
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  /** Flat list of names and values, without Host and without headers about framing. */
  readonly headers: readonly string[];
  /** Where the credential begins in the headers; undefined for a request without one. */
  readonly strippedLength?: number;
  readonly body: Buffer | BodySource | null;
  /** The length that the client announced; undefined for none, and then a `BodySource` is sent in chunks. */
  readonly contentLength: number | undefined;
  /** The whole head of an upgrade, sent as it is; only then may a 101 be the response. */
  readonly upgradeHead?: string;
}

/** Controls the bytes of one response. Without effect once that response is over. */
export interface Flow {
  pause(): void;
  resume(): void;
  /** Ends the request and its connection. The listener receives the reason as an error. */
  abort(reason: Error): void;
}

/** Receives what happens to one request. */
export interface ResponseListener {
  /** Called when a wait for a connection is over, with or without a connection. */
  onWaited(waitedMs: number): void;
  /**
   * Called when a wait is over. @param isDisplaced it had to make room in the queue, and is not sent.
   * @returns whether the request is still to be sent.
   */
  onTurn(isDisplaced: boolean): boolean;
  /** The request is written now. */
  onRequestStart(flow: Flow): void;
  /** An interim response (1xx), any number of times. */
  onInterimResponse(status: number, headers: ResponseHeaders): void;
  onResponseStart(flow: Flow, status: number, headers: ResponseHeaders, reason: string): void;
  onResponseData(flow: Flow, chunk: Buffer): void;
  /** @param last the last bytes of the body, if they arrived together with its end. */
  onResponseEnd(flow: Flow, trailers: ResponseHeaders, last: Buffer | undefined): void;
  onResponseError(error: Error): void;
  /** A 101 to an upgrade: the socket, paused and with the bytes after the 101, belongs to the listener. It must not throw. */
  onUpgrade(socket: Socket, headers: ResponseHeaders): void;
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

/** What one caller uses. It is held by each of its connections, so that only the start of a request looks it up. */
export interface Share {
  /** Empty where only one caller may use the service. */
  readonly party: string;
  busy: number;
}
