/**
 * One request on one stream of an HTTP/2 connection (RFC 9113 section 8.1).
 * Invariant: it reports its end exactly once; only a response that the upstream ended with END_STREAM is complete; and what waits for
 * a slow client is never more than the stream's window.
 */
import { type ClientHttp2Session, type ClientHttp2Stream, constants, type OutgoingHttpHeaders } from "node:http2";
import { destroyedByGateway } from "../connection-failure.ts";
import { noFields, type ResponseHeaders } from "../response-fields.ts";
import type { Dispatched, Flow, ResponseListener, Share, TransportRequest } from "../transport-contract.ts";
import { Http2Failure, resetFailure } from "./http2-failure.ts";
import { readHttp2Fields } from "./http2-fields.ts";
import { StreamUpload } from "./stream-upload.ts";

/** A request that is canceled later than this, without a response, is a reason to doubt its connection. */
const OVERDUE_MS = 1_000;

/** Frames of a response that may wait for a slow client: each costs a hundred bytes, however small it is. */
const FRAMES_LIMIT = 16_384;

/** The connection of a transfer. */
export interface StreamCarrier {
  /** The transfer is over. @param wasCanceled the gateway reset its stream. */
  release(transfer: StreamTransfer, wasCanceled: boolean): void;
  /** Why a stream ended before its response did. @param error of the stream, if it had one. */
  explainEnd(transfer: StreamTransfer, error: Error | undefined): Error;
  /** The upstream did not process the request, or had closed a connection that it was known to keep. */
  isStale(transfer: StreamTransfer, error: Error): boolean;
}

export class StreamTransfer implements Dispatched, Flow {
  readonly isWaiting = false;
  readonly request: TransportRequest;
  readonly share: Share;
  /** A repetition of a request whose connection was found closed: it is not repeated again. */
  readonly isRepeated: boolean;
  /** Undefined before it has a connection, and when it is over. */
  carrier: StreamCarrier | undefined;
  /** The connection had carried other requests before. */
  isOnReused = false;
  /** The time, of performance.now(), and the bytes of the connection when it was sent. */
  sentAt = { ms: Number.POSITIVE_INFINITY, bytesRead: 0, bytesWritten: 0 };
  readonly #listener: ResponseListener;
  readonly #onOver: (transfer: StreamTransfer) => void;
  #stream: ClientHttp2Stream | undefined;
  #error: Error | undefined;
  #trailers: ResponseHeaders = noFields();
  #hasResponse = false;
  /** END_STREAM has arrived. */
  #isComplete = false;
  #isPaused = false;
  /** That wait in the stream. */
  #frames = 0;
  #bytes = 0;
  /** Of Content-Length; undefined without. */
  #announced: number | undefined;
  #isOver = false;
  /** What arrived of a complete response while it was paused: the connection may end before the client has taken it. */
  readonly #pending: Buffer[] = [];

  constructor(
    request: TransportRequest,
    listener: ResponseListener,
    {
      share,
      isRepeated,
      onOver,
    }: Pick<StreamTransfer, "share" | "isRepeated"> & { onOver: (of: StreamTransfer) => void },
  ) {
    this.request = request;
    this.share = share;
    this.isRepeated = isRepeated;
    this.#listener = listener;
    this.#onOver = onOver;
  }

  /** Undefined before it was sent. */
  get streamId(): number | undefined {
    return this.#stream?.id;
  }

  /** It was sent a while ago, and has no response. */
  get isOverdue(): boolean {
    return !this.#hasResponse && performance.now() - this.sentAt.ms > OVERDUE_MS;
  }

  get rstCode(): number {
    return this.#stream?.rstCode ?? constants.NGHTTP2_NO_ERROR;
  }

  get hasResponse(): boolean {
    return this.#hasResponse;
  }

  /** @param createHeaders may throw, and then nothing is sent. */
  send(client: ClientHttp2Session, createHeaders: (request: TransportRequest) => OutgoingHttpHeaders): void {
    try {
      this.#send(client, createHeaders(this.request));
    } catch (error) {
      process.nextTick(() => this.fail(error as Error));
    }
  }

  #send(client: ClientHttp2Session, headers: OutgoingHttpHeaders): void {
    const { body, contentLength } = this.request;
    this.#listener.onRequestStart(this);
    if (this.#isOver) return;
    // Such a connection would take no stream, and nothing was sent.
    if (client.closed || client.destroyed) throw resetFailure(constants.NGHTTP2_REFUSED_STREAM);
    const stream = client.request(headers, { endStream: body === null });
    this.#stream = stream;
    this.#watchEnd(stream);
    stream.on("response", this.#onResponse).on("headers", this.#onInterim).on("trailers", this.#onTrailers);
    stream.on("error", (error: Error) => {
      this.#error = error;
    });
    stream.once("close", this.#onClose);
    if (Buffer.isBuffer(body)) stream.end(body);
    if (body === null || Buffer.isBuffer(body)) return;
    stream.on("drain", () => body.resume());
    body.start(new StreamUpload(stream, contentLength, (error) => this.fail(error)));
  }

  /** node:http2 ends the readable side at END_STREAM, and again when the stream is reset, which is no end of a response. */
  #watchEnd(stream: ClientHttp2Stream): void {
    const { push } = stream;
    stream.push = (chunk, encoding) => {
      if (chunk !== null) this.#bytes += (chunk as Buffer).length;
      const isEnd = chunk === null && !this.#isComplete && this.#hasEnded(stream);
      if (chunk !== null && ++this.#frames > FRAMES_LIMIT)
        this.fail(new Http2Failure("HTTP2_MALFORMED", "it sent too many small frames"));
      if (isEnd) {
        this.#isComplete = true;
        // After the event of its headers.
        if (!this.#hasResponse) process.nextTick(this.#failWithoutHead);
      }
      const hasRoom = push.call(stream, chunk, encoding);
      // Nothing more arrives, so what waits is bounded.
      if (isEnd && this.#isPaused) stream.resume();
      return hasRoom;
    };
  }

  /**
   * END_STREAM has arrived. node:http2 sometimes reports it only with the end of the stream, where a reset with NO_ERROR, which no
   * server may send inside a response (RFC 9113 section 8.1), has no difference but the length.
   */
  #hasEnded(stream: ClientHttp2Stream): boolean {
    if (!stream.closed) return true;
    if (stream.rstCode !== constants.NGHTTP2_NO_ERROR) return false;
    return this.#announced === undefined || this.#announced === this.#bytes;
  }

  readonly #failWithoutHead = (): void => {
    if (!this.#hasResponse) this.fail(new Http2Failure("HTTP2_MALFORMED", "its response has no headers"));
  };

  pause(): void {
    this.#isPaused = true;
    if (!this.#isComplete) this.#stream?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    while (this.#pending.length > 0 && !this.#isPaused && !this.#isOver) {
      this.#listener.onResponseData(this, this.#pending.shift() as Buffer);
    }
    if (this.#isPaused || this.#isOver) return;
    if (this.#stream?.readableEnded) this.#finish(undefined);
    else this.#stream?.resume();
  }

  abort(reason: Error): void {
    this.fail(reason);
  }

  abandon(): void {
    this.fail(destroyedByGateway());
  }

  isStale(error: Error): boolean {
    return this.#carrierOfEnd?.isStale(this, error) ?? false;
  }

  /** Kept for `isStale`, which is called after the end. */
  #carrierOfEnd: StreamCarrier | undefined;

  /** Ends the request at once. */
  fail(error: Error): void {
    if (this.#isOver) return;
    this.#end(true);
    try {
      this.#listener.onResponseError(error);
    } finally {
      this.#onOver(this);
    }
  }

  /** @param last the last bytes of the body, if they arrived with its end. */
  #finish(last: Buffer | undefined): void {
    if (this.#isOver) return;
    this.#end(false);
    try {
      this.#listener.onResponseEnd(this, this.#trailers, last);
    } catch (error) {
      this.#listener.onResponseError(error as Error);
    } finally {
      this.#onOver(this);
    }
  }

  #end(isFailed: boolean): void {
    this.#isOver = true;
    const { body } = this.request;
    if (body !== null && !Buffer.isBuffer(body)) body.stop();
    const stream = this.#stream;
    // Of an upload that the upstream does not need, too (RFC 9113 section 8.1).
    const isCanceled = stream !== undefined && !stream.closed && (isFailed || !stream.writableEnded);
    if (isCanceled) stream.close(constants.NGHTTP2_CANCEL);
    const carrier = this.carrier;
    this.#carrierOfEnd = carrier;
    this.carrier = undefined;
    carrier?.release(this, isCanceled);
  }

  readonly #onResponse = (headers: { ":status"?: number }, flags: number, raw: string[]): void => {
    const status = Number(headers[":status"]);
    if (this.#isOver) return;
    if (this.#hasResponse) return this.fail(new Http2Failure("HTTP2_MALFORMED", "it sent two responses on one stream"));
    this.#guard(() => {
      const fields = readHttp2Fields(raw);
      this.#hasResponse = true;
      const length = fields["content-length"];
      if (length !== undefined && this.request.method !== "HEAD") this.#announced = Number(length);
      this.#listener.onResponseStart(this, status, fields, "");
      if (this.#isOver) return;
      // At once: a gRPC response of trailers only is one frame for its client, too.
      if ((flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0) return this.#finish(undefined);
      const stream = this.#stream as ClientHttp2Stream;
      stream.on("data", this.#onData).once("end", this.#onEnd);
      if (this.#isPaused && !this.#isComplete) stream.pause();
    });
  };

  readonly #onInterim = (headers: { ":status"?: number }, _flags: number, raw: string[]): void => {
    if (this.#isOver || this.#hasResponse) return;
    this.#guard(() => this.#listener.onInterimResponse(Number(headers[":status"]), readHttp2Fields(raw)));
  };

  readonly #onTrailers = (_headers: object, _flags: number, raw: string[]): void => {
    this.#guard(() => {
      this.#trailers = readHttp2Fields(raw);
    });
  };

  readonly #onData = (chunk: Buffer): void => {
    this.#frames--;
    if (this.#isOver) return;
    this.#guard(() => {
      if (this.#isPaused) this.#pending.push(chunk);
      else if (this.#isComplete && this.#stream?.readableLength === 0) this.#finish(chunk);
      else this.#listener.onResponseData(this, chunk);
    });
  };

  readonly #onEnd = (): void => {
    if (this.#isOver || !this.#isComplete || this.#isPaused) return;
    this.#guard(() => this.#finish(undefined));
  };

  /** The upstream, or its connection, has ended the stream. */
  readonly #onClose = (): void => {
    if (this.#isOver) return;
    const stream = this.#stream as ClientHttp2Stream;
    // The rest is in `#pending`.
    if (this.#isComplete && stream.readableEnded && this.#hasResponse) return;
    this.fail(this.carrier?.explainEnd(this, this.#error) ?? destroyedByGateway());
  };

  /** An error of the listener's own ends its request only. */
  #guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.fail(error as Error);
    }
  }
}
