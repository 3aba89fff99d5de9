/**
 * The response on an HTTP/2 stream, with the members of node:http's that the gateway uses.
 * Invariant: a response that was cut resets its stream and never ends it, and nothing that happens to a response affects another
 * stream of its connection. As in node:http the head leaves with the first bytes of the body, or when it is flushed.
 */
import { EventEmitter } from "node:events";
import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { type Fields, type GivenFields, toFields } from "./response-fields.ts";
import type { StreamRequest } from "./stream-request.ts";

/** How long bytes already received from the upstream may take to reach a client that is being cut off, ms. */
const FLUSH_MS = 2_000;

/** How often it is checked whether they have, ms. */
const FLUSH_CHECK_MS = 20;

/** How long a client may take to end a request that already has its response, ms. */
const REST_MS = 250;

/** Frames of a connection that may wait to be sent before one that may be left out is left out. */
const QUEUED_FRAMES_LIMIT = 100;

const TRAILERS = /(?:^|,)\s*trailers\s*(?:;|,|$)/i;

/** RFC 9110: statuses without content. */
const EMPTY_STATUSES: ReadonlySet<number> = new Set([204, 205, 304]);

/** node:http2 sends no final status above it, although node:http does. */
const HIGHEST_STATUS = 599;

export class StreamResponse extends EventEmitter {
  readonly req: StreamRequest;
  statusCode = 200;
  /** Read by nothing: a stream does not end its connection. */
  shouldKeepAlive = true;
  headersSent = false;
  writableEnded = false;
  /** The whole response was handed to the connection. */
  writableFinished = false;
  closed = false;
  /** Handed to the stream; `writableLength` of them wait there. */
  bytesWritten = 0;
  readonly writableCorked = 0;
  /** As that of a response whose connection has ended: there is none to write to. */
  readonly socket = null;
  readonly #stream: ServerHttp2Stream;
  readonly #isWebSocket: boolean;
  #fields: Fields | undefined;
  #trailers: OutgoingHttpHeaders = {};
  #hasBegun = false;
  /** Of a response to HEAD, and of a status without content. */
  #isEmpty = false;
  #isDetached = false;
  /** The gateway has ended the stream before its response was complete. */
  wasCut = false;

  /** @param isWebSocket the client asks for a WebSocket: to it, a response of success means that it is open. */
  constructor(stream: ServerHttp2Stream, req: StreamRequest, isWebSocket: boolean) {
    super();
    this.#stream = stream;
    this.#isWebSocket = isWebSocket;
    this.req = req;
    stream.on("drain", () => this.emit("drain"));
    stream.once("close", this.#onStreamClose);
  }

  /** Nothing can be written any more. */
  get destroyed(): boolean {
    return this.closed || this.#stream.destroyed || this.#stream.closed;
  }

  get writable(): boolean {
    return !this.writableEnded && !this.destroyed;
  }

  /** Bytes that wait in the stream; none once it is a WebSocket. */
  get writableLength(): number {
    return this.#isDetached ? 0 : this.#stream.writableLength;
  }

  /** The connection does not take what was given to it. */
  get writableNeedDrain(): boolean {
    const { outboundQueueSize = 0 } = this.#stream.session?.state ?? {};
    return outboundQueueSize > QUEUED_FRAMES_LIMIT;
  }

  /** @throws Error for fields that cannot be sent; the head may then be written again. */
  writeHead(status: number, ...given: readonly (string | GivenFields | undefined)[]): this {
    if (this.headersSent) throw new Error("the head was written already");
    if (status < 200 || status > HIGHEST_STATUS) throw new RangeError("a status that HTTP/2 cannot carry");
    if (this.#isWebSocket && status >= 200 && status < 300) {
      throw new Error("a response of success to a WebSocket handshake that was not accepted");
    }
    const fields = given.find((each): each is GivenFields => typeof each === "object");
    this.#fields = toFields(fields ?? {});
    this.statusCode = status;
    this.headersSent = true;
    return this;
  }

  flushHeaders(): void {
    this.#begin(false);
  }

  /** An interim response (RFC 9110 section 15.2). @param headers flat list. */
  writeInterim(status: number, headers: readonly string[]): void {
    if (this.#hasBegun || this.destroyed) return;
    const fields = toFields(headers);
    // RFC 9110 section 8.6: clients reset a stream for it.
    delete fields["content-length"];
    this.#stream.additionalHeaders({ ...fields, ":status": status });
  }

  writeContinue(): void {
    this.writeInterim(100, []);
  }

  write(chunk: Uint8Array | string, encoding: BufferEncoding = "utf8"): boolean {
    this.#begin(false);
    if (this.destroyed) return false;
    if (this.#isEmpty) return true;
    this.bytesWritten += Buffer.byteLength(chunk, encoding);
    return this.#stream.write(chunk, encoding);
  }

  /** Before `end`. */
  addTrailers(trailers: GivenFields): void {
    this.#trailers = toFields(trailers);
  }

  end(chunk: Uint8Array | string = "", encoding: BufferEncoding = "utf8"): this {
    if (this.writableEnded) return this;
    this.writableEnded = true;
    const length = Buffer.byteLength(chunk, encoding);
    this.#begin(length === 0 && Object.keys(this.#trailers).length === 0);
    if (this.#isEmpty || this.destroyed) return this;
    this.bytesWritten += length;
    if (length === 0) this.#stream.end();
    else this.#stream.end(chunk, encoding);
    return this;
  }

  /** Ends a response that cannot be completed, after the bytes that were received for it. */
  cut(): void {
    this.wasCut = true;
    if (this.writableLength === 0) return void this.destroy();
    const cutAt = performance.now();
    const flush = setInterval(() => {
      if (!this.destroyed && this.writableLength > 0 && performance.now() - cutAt < FLUSH_MS) return;
      clearInterval(flush);
      this.destroy();
    }, FLUSH_CHECK_MS);
  }

  /** Resets the stream at once, with INTERNAL_ERROR. node:http2's `close` would first end it, so that it would look complete. */
  destroy(): this {
    this.wasCut = true;
    this.#stream.destroy(new Error("the response was cut off"));
    return this;
  }

  /** The stream is now a WebSocket: its end is not that of this response. */
  detachSocket(): void {
    this.#isDetached = true;
  }

  /** node:http2 may close a stream on which both sides have sent everything before its last write is reported. */
  readonly #onStreamClose = (): void => {
    if (this.writableEnded && this.#stream.rstCode === constants.NGHTTP2_NO_ERROR) this.#finish();
    else this.#close();
  };

  #begin(isEmpty: boolean): void {
    if (this.#hasBegun || this.destroyed) return;
    this.#hasBegun = true;
    this.headersSent = true;
    const stream = this.#stream;
    this.#isEmpty = isEmpty || EMPTY_STATUSES.has(this.statusCode) || this.req.method === "HEAD";
    const waitForTrailers = !this.#isEmpty && TRAILERS.test(String(this.req.headers.te ?? ""));
    if (waitForTrailers) stream.once("wantTrailers", () => this.#sendTrailers());
    const fields: OutgoingHttpHeaders = { ...this.#fields, ":status": this.statusCode };
    this.#fields = undefined;
    // As in an interim response. That of a 304 and of a HEAD is the length of a GET.
    if (this.statusCode === 204 || this.statusCode === 205) delete fields["content-length"];
    if (!this.#attempt(() => stream.respond(fields, { endStream: this.#isEmpty, waitForTrailers }))) return;
    // node:http2 has ended the stream of a HEAD before its response.
    if (this.#isEmpty) process.nextTick(() => this.#finish());
    // It ends a stream that its client has reset, too.
    else if (!waitForTrailers) stream.once("finish", () => void (stream.aborted || this.#finish()));
  }

  /** A response that cannot be sent is cut: its caller has handed it over, and waits for its end only. */
  #attempt(sendIt: () => void): boolean {
    try {
      sendIt();
      return true;
    } catch {
      this.destroy();
      return false;
    }
  }

  #sendTrailers(): void {
    if (this.#stream.closed || this.#stream.destroyed) return;
    if (!this.#attempt(() => this.#stream.sendTrailers(this.#trailers))) return;
    // node:http2 sends them then, too.
    setImmediate(() => this.#finish());
  }

  #finish(): void {
    if (this.closed) return;
    this.writableEnded = true;
    this.writableFinished = true;
    this.emit("finish");
    // RFC 9113 section 8.1: the client need not send the rest. A client that receives its reset with the response may lose the response.
    if (!this.req.complete && !this.#stream.closed) {
      this.req.discard();
      const reset = setTimeout(() => this.#stream.close(constants.NGHTTP2_NO_ERROR), REST_MS).unref();
      this.#stream.once("close", () => clearTimeout(reset));
    }
    this.#close();
  }

  #close(): void {
    if (this.closed || this.#isDetached) return;
    this.closed = true;
    this.emit("close");
  }
}
