/**
 * One connection to an upstream: one socket, and the requests that it carries one after another.
 * Invariant: it carries one request at a time; it reports exactly once that it is gone; and after any doubt about where a message
 * ends it carries no other request.
 */
import type { Socket } from "node:net";
import type { Dial } from "../egress.ts";
import { BodyParts } from "./body-parts.ts";
import { asksForConnectionCredentials, ClientBinding } from "./client-binding.ts";
import { closedByUpstream, destroyedByGateway, isClosedByUpstream } from "./connection-failure.ts";
import { Lifetime, type LifetimeLimits } from "./lifetime.ts";
import { createRequestHead } from "./request-head.ts";
import type { ResponseHeaders } from "./response-fields.ts";
import { type ParsedResponse, ResponseParser } from "./response-parser.ts";
import { isCut, malformed } from "./response-syntax-error.ts";
import { correctFaults, restoreFaults } from "./socket-faults.ts";
import { type Carrier, Transfer } from "./transfer.ts";
import type { Dispatched, ResponseListener, Share, TransportRequest } from "./transport-contract.ts";
import { Upload } from "./upload.ts";

/** The set of connections that a connection belongs to. */
export interface ConnectionOwner extends LifetimeLimits {
  onFree(connection: Connection): void;
  onGone(connection: Connection): void;
}

export class Connection implements ParsedResponse, Carrier {
  readonly origin: string;
  /** Of the caller whose request it carries. */
  share: Share | undefined;
  /** Set once a client has authenticated the connection itself. */
  binding: ClientBinding | undefined;
  readonly #url: URL;
  readonly #host: string;
  readonly #dial: Dial;
  readonly #owner: ConnectionOwner;
  readonly #parser = new ResponseParser(this);
  readonly #dialing = new AbortController();
  #socket: Socket | undefined;
  #transfer: Transfer | undefined;
  #headersOf101: ResponseHeaders | undefined;
  readonly #body = new BodyParts();
  #isGone = false;
  readonly #lifetime: Lifetime;

  constructor(origin: string, dial: Dial, owner: ConnectionOwner) {
    this.origin = origin;
    this.#url = new URL(origin);
    this.#host = this.#url.host;
    this.#dial = dial;
    this.#owner = owner;
    this.#lifetime = new Lifetime(owner, () => this.end(destroyedByGateway()));
  }

  dispatch(request: TransportRequest, listener: ResponseListener): Dispatched {
    const transfer = new Transfer(this, request, listener);
    this.#transfer = transfer;
    this.#lifetime.pause();
    try {
      const head = request.upgradeHead ?? createRequestHead(request, this.#host);
      if (this.#socket === undefined) this.#connect(head);
      else this.#send(transfer, head);
    } catch (error) {
      process.nextTick(() => this.end(error as Error));
    }
    return transfer;
  }

  /** The upstream is known to keep this connection open. */
  get isProven(): boolean {
    return this.#lifetime.isProven;
  }

  /** @param now of performance.now(). */
  isExpired(now: number): boolean {
    return this.#lifetime.isExpired(now);
  }

  /** Undefined while it is connecting. */
  get remoteAddress(): string | undefined {
    return this.#socket?.remoteAddress;
  }

  /** It takes no new request: an idle one is closed, one with a request after that. */
  retire(): void {
    if (this.#lifetime.retire()) this.end(destroyedByGateway());
  }

  /** From now on it serves this client's connection only, and ends with it. */
  bindTo(client: Socket | undefined): void {
    this.binding ??= new ClientBinding(client, () => this.end(destroyedByGateway()));
  }

  carries(transfer: Transfer): boolean {
    return this.#transfer === transfer;
  }

  /** An upstream that responded early perhaps never reads what is left of the request, so no other request can follow it. */
  get #isFlushed(): boolean {
    return this.#socket?.writableLength === 0;
  }

  setPaused(transfer: Transfer, isPaused: boolean): void {
    if (this.#transfer !== transfer || this.#socket === undefined) return;
    this.#socket[isPaused ? "pause" : "resume"]();
  }

  isStale(error: Error): boolean {
    return this.#lifetime.hasCarried && isClosedByUpstream(error) && !this.#parser.hasReceived;
  }

  /** Resolves when its socket is closed. */
  destroy(): Promise<void> {
    const socket = this.#socket;
    const closed = new Promise<void>((resolve) => {
      if (socket === undefined || socket.closed) resolve();
      else socket.once("close", () => resolve());
    });
    this.end(destroyedByGateway());
    return closed;
  }

  /** Ends it at once, also while it is connecting. Its request fails. */
  end(error: Error): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#lifetime.stop();
    this.binding?.release();
    if (this.#socket === undefined) this.#dialing.abort(error);
    else this.#socket.destroy();
    const transfer = this.#transfer;
    this.#transfer = undefined;
    try {
      transfer?.stopUpload();
      transfer?.listener.onResponseError(error);
    } finally {
      this.#owner.onGone(this);
    }
  }

  onInterim(status: number, _reason: string, headers: ResponseHeaders): void {
    this.#transfer?.listener.onInterimResponse(status, headers);
  }

  onHead(status: number, reason: string, headers: ResponseHeaders): void {
    const transfer = this.#transfer;
    if (transfer === undefined) return;
    if (status === 101) {
      if (transfer.request.upgradeHead === undefined) throw malformed("a 101 without an upgrade request");
      this.#headersOf101 = headers;
      return;
    }
    transfer.hasResponse = true;
    if ((status === 401 || status === 407) && asksForConnectionCredentials(headers))
      this.bindTo(transfer.request.client);
    const keepAlive = headers["keep-alive"];
    if (keepAlive !== undefined) this.#lifetime.noteKeepAlive(String(keepAlive));
    transfer.listener.onResponseStart(transfer, status, headers, reason);
  }

  onBody(chunk: Buffer): void {
    this.#body.add(chunk);
  }

  onEnd(trailers: ResponseHeaders): void {
    const last = this.#body.take();
    const transfer = this.#transfer;
    if (transfer === undefined || this.#headersOf101 !== undefined) return;
    transfer.stopUpload();
    // Until it returns, an error of the listener's own ends its request.
    transfer.listener.onResponseEnd(transfer, trailers, last);
    this.#transfer = undefined;
    if (!transfer.isSent || !this.#isFlushed || !this.#parser.mayReuse) return this.end(destroyedByGateway());
    this.#socket?.resume();
    // One turn of the event loop later, so that a close that came with the response is already seen.
    setImmediate(Connection.#onFree, this);
  }

  #connect(head: string): void {
    const { hostname, protocol, port } = this.#url;
    this.#dial({ hostname, host: this.#host, protocol, port, signal: this.#dialing.signal }, (error, socket) => {
      if (this.#isGone) return void socket?.destroy();
      if (error !== null) return this.end(error);
      this.#socket = socket as Socket;
      // Nothing else would catch an error of the listener's own here.
      try {
        this.#adopt(this.#socket);
        this.#send(this.#transfer as Transfer, head);
      } catch (error) {
        this.end(error as Error);
      }
    });
  }

  #adopt(socket: Socket): void {
    this.#lifetime.start();
    correctFaults(socket);
    socket.on("data", this.#onData);
    socket.on("end", this.#onSocketEnd);
    socket.on("drain", this.#onDrain);
    socket.on("error", this.#onGone);
    socket.on("close", this.#onGone);
  }

  #send(transfer: Transfer, head: string): void {
    const socket = this.#socket as Socket;
    const { method, body, contentLength } = transfer.request;
    this.#parser.start(method);
    transfer.listener.onRequestStart(transfer);
    if (this.#isGone) return;
    if (body === null) return void socket.write(head, "latin1");
    socket.cork();
    socket.write(head, "latin1");
    if (Buffer.isBuffer(body)) {
      socket.write(body);
      socket.uncork();
      return;
    }
    transfer.upload = new Upload(socket, contentLength, (error) => transfer.abort(error));
    body.start(transfer.upload);
    // What has arrived of the body is read before this tick, and leaves in the same packet.
    process.nextTick(() => socket.uncork());
  }

  readonly #onData = (bytes: Buffer): void => {
    // Bytes that no request asked for, perhaps a 408 before a close.
    if (this.#transfer === undefined) return this.end(closedByUpstream());
    let failure: unknown;
    try {
      const rest = this.#parser.push(bytes);
      if (this.#headersOf101 !== undefined) return this.#handOver(this.#headersOf101, rest);
    } catch (error) {
      failure = error;
    }
    try {
      this.#flushBody();
    } catch (error) {
      failure ??= error;
    }
    if (failure !== undefined) this.end(failure as Error);
  };

  /** After a 101 the socket is the listener's. @param rest the bytes after it. */
  #handOver(headers: ResponseHeaders, rest: Buffer | undefined): void {
    const socket = this.#socket as Socket;
    const { listener } = this.#transfer as Transfer;
    this.#isGone = true;
    this.#transfer = undefined;
    socket.off("data", this.#onData).off("end", this.#onSocketEnd).off("drain", this.#onDrain);
    socket.off("error", this.#onGone).off("close", this.#onGone);
    restoreFaults(socket);
    socket.pause();
    if (rest !== undefined) socket.unshift(rest);
    this.#owner.onGone(this);
    listener.onUpgrade(socket, headers);
  }

  #flushBody(): void {
    const chunk = this.#body.take();
    const transfer = this.#transfer;
    if (chunk !== undefined) transfer?.listener.onResponseData(transfer, chunk);
  }

  readonly #onGone = (error: unknown): void => this.end(error instanceof Error ? error : closedByUpstream());

  readonly #onSocketEnd = (): void => {
    const hasResponse = this.#transfer?.hasResponse;
    let reason: Error = closedByUpstream();
    try {
      this.#parser.end();
    } catch (error) {
      if (hasResponse || !isCut(error)) reason = error as Error;
    }
    this.end(reason);
  };

  readonly #onDrain = (): void => {
    const body = this.#transfer?.request.body;
    if (body !== undefined && body !== null && !Buffer.isBuffer(body)) body.resume();
  };

  static #onFree(connection: Connection): void {
    try {
      connection.#becomeFree();
    } catch (error) {
      connection.end(error as Error);
    }
  }

  #becomeFree(): void {
    if (this.#isGone) return;
    if (this.#lifetime.resume() && !this.binding?.isOver) this.#owner.onFree(this);
    else this.end(destroyedByGateway());
  }
}
