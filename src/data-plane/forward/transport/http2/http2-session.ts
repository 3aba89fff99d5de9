/**
 * One HTTP/2 connection to an upstream, and the requests on its streams.
 * Invariant: no request is written before the upstream's SETTINGS show that it speaks HTTP/2, and never more at a time than it accepts;
 * it reports exactly once that it is gone; and after GOAWAY, its age or many canceled streams it takes no new request.
 */
import { type ClientHttp2Session, connect, constants, type SecureClientSessionOptions } from "node:http2";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Dial } from "../../egress.ts";
import { closedByUpstream, destroyedByGateway, isClosedByUpstream } from "../connection-failure.ts";
import { Lifetime, type LifetimeLimits } from "../lifetime.ts";
import { SECTION_BYTES_LIMIT } from "../section-buffer.ts";
import { Http2Failure, nameOfError, notSpoken, resetFailure } from "./http2-failure.ts";
import { createHttp2Headers } from "./http2-request.ts";
import type { StreamCarrier, StreamTransfer } from "./stream-transfer.ts";

export interface SessionLimits extends LifetimeLimits {
  readonly connectTimeoutMs: number;
}

export interface SessionOwner extends SessionLimits {
  /** The upstream accepts this number of streams. */
  onReady(session: Http2Session): void;
  /** The upstream accepts fewer streams than it has requests: this one needs another connection. */
  onSurplus(transfer: StreamTransfer): void;
  /** A stream has ended. */
  onFree(session: Http2Session): void;
  /** It takes no new request, or is gone. */
  onClosing(session: Http2Session): void;
  onGone(session: Http2Session): void;
}

/** Streams of one connection: one that breaks ends no more requests than these. */
const STREAMS_LIMIT = 256;

/** Servers end a connection on which many streams are canceled (CVE-2023-44487): another one is used long before. */
const CANCELED_LIMIT = 100;

/** Bytes of a response that may wait for its client. */
const STREAM_WINDOW = 131_072;
const CONNECTION_WINDOW = 1_048_576;

const OPTIONS: SecureClientSessionOptions = {
  settings: { enablePush: false, initialWindowSize: STREAM_WINDOW, maxHeaderListSize: SECTION_BYTES_LIMIT },
  // Each may repeat a long entry of the compression table.
  maxHeaderListPairs: 1_000,
  // MB, of all streams. Those of slow clients count with what waits in them.
  maxSessionMemory: 64,
};

export class Http2Session implements StreamCarrier {
  readonly origin: string;
  readonly #url: URL;
  readonly #owner: SessionOwner;
  readonly #lifetime: Lifetime;
  readonly #dialing = new AbortController();
  readonly #carried = new Set<StreamTransfer>();
  #socket: Socket | undefined;
  #client: ClientHttp2Session | undefined;
  #timer: NodeJS.Timeout | undefined;
  #state: "connecting" | "ready" | "gone" = "connecting";
  #isRetired = false;
  #streamsLimit: number;
  #canceled = 0;
  /** A request has ended on it. */
  #hasServed = false;
  #goaway: { readonly code: number; readonly lastStreamId: number } | undefined;

  /** @param streamsLimit assumed until the upstream has announced its own. */
  constructor(origin: string, dial: Dial, owner: SessionOwner, streamsLimit: number) {
    this.origin = origin;
    this.#url = new URL(origin);
    this.#owner = owner;
    this.#streamsLimit = streamsLimit;
    this.#lifetime = new Lifetime(owner, () => this.end(destroyedByGateway()));
    this.#connect(dial);
  }

  /** Requests that it may take now. */
  get room(): number {
    // Its events come later than its end.
    if (this.#client?.closed || this.#client?.destroyed) return 0;
    return this.#state === "gone" || this.#isRetired ? 0 : this.#streamsLimit - this.#carried.size;
  }

  get streamsLimit(): number {
    return this.#streamsLimit;
  }

  get isIdle(): boolean {
    return this.#carried.size === 0;
  }

  /** Undefined while it is connecting. */
  get remoteAddress(): string | undefined {
    return this.#socket?.remoteAddress;
  }

  /** It was idle for too long, or is too old for a new request. @param now of performance.now(). */
  isExpired(now: number): boolean {
    return this.#state === "ready" && (this.#lifetime.isExpired(now) || this.#lifetime.isTooOld(now));
  }

  /** Takes a request; its caller has checked that there is room. */
  take(transfer: StreamTransfer): void {
    if (this.isIdle) this.#lifetime.pause();
    this.#carried.add(transfer);
    transfer.carrier = this;
    transfer.isOnReused = this.#hasServed;
    if (this.#state === "ready") this.#send(transfer);
  }

  /** It takes no new request: an idle one is closed, one with requests after them. */
  retire(): void {
    if (this.#isRetired || this.#state === "gone") return;
    this.#isRetired = true;
    this.#owner.onClosing(this);
    if (this.isIdle) this.end(destroyedByGateway());
  }

  release(transfer: StreamTransfer, wasCanceled: boolean): void {
    if (!this.#carried.delete(transfer) || this.#state === "gone") return;
    if (wasCanceled && ++this.#canceled >= CANCELED_LIMIT) this.retire();
    // Its end may take minutes to be seen, or nghttp2 has ended it without an event. No PING: gRPC servers close after a few.
    if (wasCanceled && transfer.isOverdue && this.#isDeadTo(transfer)) this.retire();
    this.#hasServed ||= this.#state === "ready";
    if (!this.isIdle) return this.#owner.onFree(this);
    // Without a request nothing needs the connection that is being made.
    if (this.#state === "connecting" || this.#isRetired || !this.#lifetime.resume()) this.end(destroyedByGateway());
    else this.#owner.onFree(this);
  }

  explainEnd(transfer: StreamTransfer, error: Error | undefined): Error {
    const { streamId, rstCode } = transfer;
    if (this.#goaway !== undefined) {
      const { code, lastStreamId } = this.#goaway;
      if (streamId !== undefined && streamId > lastStreamId) return resetFailure(constants.NGHTTP2_REFUSED_STREAM);
      if (code !== constants.NGHTTP2_NO_ERROR) return connectionFailure(code, error);
    }
    if (this.#client?.destroyed !== false) return explainClose(error);
    return resetFailure(rstCode, error);
  }

  isStale(transfer: StreamTransfer, error: Error): boolean {
    if (transfer.isRepeated || transfer.hasResponse) return false;
    if ((error as NodeJS.ErrnoException).code === "HTTP2_REFUSED") return true;
    return transfer.isOnReused && isClosedByUpstream(error);
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

  /** Ends it at once, also while it is connecting. Its requests fail. */
  end(error: Error): void {
    if (this.#state === "gone") return;
    this.#state = "gone";
    this.#lifetime.stop();
    clearTimeout(this.#timer);
    if (this.#socket === undefined) this.#dialing.abort(error);
    // Later: nghttp2 before 1.68.1 ends the process if it is called while it reads frames (CVE-2026-27135), and an event may have led here.
    setImmediate(() => {
      // With GOAWAY. `close` would wait until the upstream closes the connection.
      this.#client?.destroy();
      this.#socket?.destroy();
    });
    const carried = [...this.#carried];
    this.#carried.clear();
    try {
      for (const transfer of carried) transfer.fail(error);
    } finally {
      this.#owner.onGone(this);
    }
  }

  #connect(dial: Dial): void {
    const { hostname, host, protocol, port } = this.#url;
    dial({ hostname, host, protocol, port, signal: this.#dialing.signal }, (error, socket) => {
      if (this.#state === "gone") return void socket?.destroy();
      if (error !== null) return this.end(isNoProtocol(error) ? notSpoken("it refused ALPN h2", error) : error);
      try {
        this.#adopt(socket as Socket);
      } catch (thrown) {
        this.end(thrown as Error);
      }
    });
  }

  #adopt(socket: Socket): void {
    this.#socket = socket;
    if (this.#url.protocol === "https:" && (socket as TLSSocket).alpnProtocol !== "h2") {
      socket.destroy();
      return this.end(notSpoken("it did not select ALPN h2"));
    }
    this.#timer = setTimeout(() => this.end(notSpoken("it sent no settings in time")), this.#owner.connectTimeoutMs);
    this.#timer.unref();
    const client = connect(this.origin, { ...OPTIONS, createConnection: () => socket });
    this.#client = client;
    client.on("remoteSettings", ({ maxConcurrentStreams = STREAMS_LIMIT }) => {
      this.#streamsLimit = Math.min(maxConcurrentStreams, STREAMS_LIMIT);
      if (this.#state === "connecting") this.#becomeReady(client);
      else this.#owner.onFree(this);
    });
    client.on("goaway", (code, lastStreamId) => {
      this.#goaway = { code, lastStreamId };
      this.retire();
    });
    client.on("error", (error) => this.#onClosed(error));
    client.on("close", () => this.#onClosed(undefined));
  }

  #becomeReady(client: ClientHttp2Session): void {
    clearTimeout(this.#timer);
    this.#state = "ready";
    this.#lifetime.start();
    client.setLocalWindowSize(CONNECTION_WINDOW);
    if (this.#streamsLimit === 0) return this.end(new Http2Failure("HTTP2_RESET", "it accepts no streams"));
    this.#owner.onReady(this);
    const carried = [...this.#carried];
    for (const transfer of carried.splice(this.#streamsLimit)) {
      this.#carried.delete(transfer);
      this.#owner.onSurplus(transfer);
    }
    for (const transfer of carried) this.#send(transfer);
  }

  #send(transfer: StreamTransfer): void {
    const client = this.#client as ClientHttp2Session;
    const { bytesRead, bytesWritten } = this.#socket as Socket;
    transfer.sentAt = { ms: performance.now(), bytesRead, bytesWritten };
    transfer.send(client, (request) => {
      return createHttp2Headers(request, this.#url, client.remoteSettings.maxHeaderListSize ?? Infinity);
    });
  }

  /** Nothing was received since the request was sent, or not even the request was written. */
  #isDeadTo({ sentAt }: StreamTransfer): boolean {
    const socket = this.#socket;
    return socket === undefined || socket.bytesRead === sentAt.bytesRead || socket.bytesWritten === sentAt.bytesWritten;
  }

  /** node:http2 has ended the streams; their own events report why. */
  #onClosed(error: Error | undefined): void {
    if (this.#state === "gone") return;
    if (this.#state === "connecting") return this.end(explainBeforeReady(error));
    this.#isRetired = true;
    this.#owner.onClosing(this);
    // After the events of the streams.
    setImmediate(() => this.end(explainClose(error)));
  }
}

/** No SETTINGS had arrived: another protocol, unless the connection itself failed. */
function explainBeforeReady(error: NodeJS.ErrnoException | undefined): Error {
  if (error === undefined) return notSpoken("it closed the connection");
  return error.code?.startsWith("ERR_HTTP2_") ? notSpoken("it sent something else", error) : error;
}

/** The connection ended. */
function explainClose(error: NodeJS.ErrnoException | undefined): Error {
  if (error === undefined || error.code === "ERR_HTTP2_STREAM_CANCEL") return closedByUpstream();
  if (!error.code?.startsWith("ERR_HTTP2_")) return error;
  return new Http2Failure("HTTP2_MALFORMED", "it violated HTTP/2, so the connection was closed", error);
}

function connectionFailure(code: number, cause: Error | undefined): Http2Failure {
  return new Http2Failure("HTTP2_RESET", `it ended the connection with ${nameOfError(code)}`, cause);
}

/** The TLS alert of a server that offers no HTTP/2 (RFC 7301 section 3.2). */
function isNoProtocol({ code }: NodeJS.ErrnoException): boolean {
  return code === "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL";
}
