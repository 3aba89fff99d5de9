/**
 * The stream of a WebSocket over HTTP/2 (RFC 8441) as the socket that a WebSocket over HTTP/1.1 would have.
 * Invariant: the head of the 101, which the tunnel writes first, becomes the head of a 200; every other byte passes unchanged, and the
 * end of one WebSocket affects no other stream.
 */
import { createHash, type X509Certificate } from "node:crypto";
import { constants, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { wireOf } from "../wire.ts";
import { toFields } from "./response-fields.ts";

/** RFC 6455 section 1.3. */
const ACCEPT_SUFFIX = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** Of a client's WebSocket: HTTP/2 has no use for them. */
const HANDSHAKE_ONLY: ReadonlySet<string> = new Set(["connection", "upgrade", "sec-websocket-accept"]);

export class StreamSocket extends Duplex {
  /** Of the connection; the name under which `wireOf` finds it. */
  readonly _parent: Socket;
  /** The TLS socket. */
  readonly connection: Socket;
  readonly encrypted = true;
  bytesRead = 0;
  bytesWritten = 0;
  readonly #stream: ServerHttp2Stream;
  readonly #key: string;
  /** The handshake was accepted. */
  isOpen = false;
  #idle: NodeJS.Timeout | undefined;

  /** @param key that the upstream's `Sec-WebSocket-Accept` has to prove. */
  constructor(stream: ServerHttp2Stream, connection: Socket, key: string) {
    super();
    this.connection = connection;
    this.#stream = stream;
    this.#key = key;
    this._parent = wireOf(connection);
    stream.on("data", this.#onData);
    // node:http2 ends the readable side after a reset with NO_ERROR, too.
    stream.once("end", () => void (stream.closed ? this.destroy() : this.push(null)));
    stream.pause();
    stream.once("close", () => this.destroy());
  }

  get remoteAddress(): string | undefined {
    return this.connection.remoteAddress;
  }

  /** Of the connection, as on its socket. */
  getPeerX509Certificate(): X509Certificate | undefined {
    return (this.connection as Partial<TLSSocket>).getPeerX509Certificate?.();
  }

  override _read(): void {
    this.#stream.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#stream.destroyed || this.#stream.closed) return done();
    if (!this.isOpen) return this.#open(chunk, done);
    this.bytesWritten += chunk.length;
    this.#idle?.refresh();
    this.#stream.write(chunk, (error) => done(this.destroyed ? null : error));
  }

  override _final(done: () => void): void {
    this.#stream.end();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#idle);
    if (this.writableFinished && this.readableEnded) this.#stream.close(constants.NGHTTP2_NO_ERROR);
    else this.#stream.destroy(new Error("the WebSocket was cut off"));
    done(error);
  }

  /** After `ms` without a byte in either direction. 0 for no limit. */
  setTimeout(ms: number, listener?: () => void): this {
    clearTimeout(this.#idle);
    this.#idle = ms === 0 ? undefined : setTimeout(() => this.emit("timeout"), ms).unref();
    if (listener !== undefined) this.once("timeout", listener);
    return this;
  }

  /** The connection's own keep-alive finds a client that is gone. */
  setKeepAlive(): this {
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  destroySoon(): void {
    if (this.writable) this.end(() => this.destroy());
    else this.destroy();
  }

  readonly #onData = (chunk: Buffer): void => {
    this.bytesRead += chunk.length;
    this.#idle?.refresh();
    if (!this.push(chunk)) this.#stream.pause();
  };

  /** @param head the status line and the headers of the 101. */
  #open(head: Buffer, done: (error?: Error | null) => void): void {
    this.isOpen = true;
    const lines = head.toString("latin1").split("\r\n").slice(1);
    const headers = lines.filter((line) => line !== "").map(splitLine);
    const accepted = headers.find(([name]) => name === "sec-websocket-accept")?.[1];
    const expected = createHash("sha1")
      .update(this.#key + ACCEPT_SUFFIX)
      .digest("base64");
    // A client over HTTP/1.1 would find it out.
    if (accepted !== expected) return done(new Error("the upstream's Sec-WebSocket-Accept is wrong"));
    try {
      const fields = toFields(headers.filter(([name]) => !HANDSHAKE_ONLY.has(name)).flat());
      this.#stream.respond({ ...fields, ":status": 200 });
    } catch (error) {
      return done(error as Error);
    }
    done();
  }
}

function splitLine(line: string): [lowerCaseName: string, value: string] {
  const at = line.indexOf(":");
  return [line.slice(0, at).toLowerCase(), line.slice(at + 1).trim()];
}
