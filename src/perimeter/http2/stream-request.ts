/**
 * A request that came on an HTTP/2 stream, in the form of HTTP/1.1.
 * Invariant: it is read as node:http's request is, and reading, pausing or ending it affects its own stream only, never the connection.
 */
import { IncomingMessage } from "node:http";
import type { ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import type { RequestForm } from "./request-form.ts";

/** What node:http's parser calls: repeated headers are then joined, or left out, as those of HTTP/1.1 are. */
interface Filled {
  _addHeaderLines(rawHeaders: readonly string[], count: number): void;
}

export class StreamRequest extends IncomingMessage {
  readonly #stream: ServerHttp2Stream;
  #isDiscarded = false;

  /** @param socket of the connection, or what carries the bytes of a WebSocket. */
  constructor(stream: ServerHttp2Stream, socket: Socket, form: RequestForm) {
    super(socket);
    this.#stream = stream;
    this.httpVersion = "1.1";
    this.httpVersionMajor = 1;
    this.httpVersionMinor = 1;
    this.method = form.method;
    this.url = form.url;
    (this as unknown as Filled)._addHeaderLines(form.rawHeaders, form.rawHeaders.length);
    if (form.webSocketKey !== undefined) return;
    if (stream.endAfterHeaders) this.#end();
    else {
      stream.on("data", this.#onData);
      // node:http2 ends the readable side after RST_STREAM with NO_ERROR, too: a body that was cut off must not look complete.
      stream.once("end", () => void (stream.closed || this.#end()));
      stream.pause();
      stream.once("close", () => void (this.complete || this.destroy()));
    }
  }

  /** Its response is complete: what still arrives is thrown away. */
  discard(): void {
    if (this.#isDiscarded) return;
    this.#isDiscarded = true;
    this.#stream.off("data", this.#onData);
    this.#stream.resume();
  }

  /** Called by node:stream. */
  override _read(): void {
    // node:http's own would read from the socket.
    (this as unknown as { _readableState: { readingMore: boolean } })._readableState.readingMore = false;
    if (!this.complete) this.#stream.resume();
  }

  /** Called by node:stream; node:http's own would destroy the socket. */
  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (!this.complete) {
      this.aborted = true;
      this.discard();
    }
    callback(error);
  }

  readonly #onData = (chunk: Buffer): void => {
    if (!this.push(chunk)) this.#stream.pause();
  };

  #end(): void {
    this.complete = true;
    this.push(null);
  }
}
