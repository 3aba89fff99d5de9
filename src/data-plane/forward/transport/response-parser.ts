/**
 * Reads the HTTP/1.1 responses of one connection from its bytes (RFC 9112), strictly and incrementally.
 * Invariant: the same bytes give the same events and the same verdict wherever they are cut; body bytes are reported at once
 * and are not copied; and a response whose end is in doubt is refused, or makes the connection one that may not be reused.
 *
 * | State      | Expects                                   | Then                                                    |
 * | ---------- | ----------------------------------------- | ------------------------------------------------------- |
 * | idle       | nothing: start() only                     | head                                                    |
 * | head       | status line, field lines, empty line      | head after 1xx; idle without body; switched after 101;  |
 * |            | (sections 4 and 5)                        | length, size or close by section 6.3                    |
 * | length     | as many bytes as Content-Length           | idle                                                    |
 * | close      | bytes until FIN                           | dead                                                    |
 * | size       | hex digits of a chunk's size (7.1)        | extension at `;`, sizeEnd at CR, trailers at CR after 0 |
 * | extension  | extensions of a chunk (7.1.1)             | sizeEnd at CR, trailers at CR after size 0              |
 * | sizeEnd    | LF                                        | chunk                                                   |
 * | chunk      | as many bytes as the size                 | chunkEnd                                                |
 * | chunkEnd   | CR, then LF                               | size                                                    |
 * | trailers   | CRLF of the last chunk's line, field      | idle                                                    |
 * |            | lines, empty line (7.1.2)                 |                                                         |
 * | switched   | bytes of another protocol, after a 101    | switched                                                |
 * | dead       | nothing: the message was refused or cut   | dead                                                    |
 */
import { type ExtensionPart, isExtensionComplete, nextExtensionPart } from "./chunk-extension.ts";
import { noFields, type ResponseHeaders, readFields } from "./response-fields.ts";
import { readHead } from "./response-head.ts";
import { malformed, ResponseSyntaxError } from "./response-syntax-error.ts";
import { SectionBuffer } from "./section-buffer.ts";

export interface ParsedResponse {
  /** An interim response (1xx), except 101. */
  onInterim(status: number, reason: string, headers: ResponseHeaders): void;
  /** The final response, or a 101. */
  onHead(status: number, reason: string, headers: ResponseHeaders): void;
  /** Decoded bytes: a part of the pushed buffer, not a copy. */
  onBody(chunk: Buffer): void;
  /** Called exactly once for each final response that is complete. */
  onEnd(trailers: ResponseHeaders): void;
}

type State =
  | "idle"
  | "head"
  | "length"
  | "close"
  | "size"
  | "extension"
  | "sizeEnd"
  | "chunk"
  | "chunkEnd"
  | "trailers"
  | "switched"
  | "dead";

/** Bytes of the extensions of one chunk, as in node:http: each chunk of a long stream may have some. */
const EXTENSION_BYTES_LIMIT = 16_384;

/** Digits of a chunk's size; servers pad them with zeros. */
const SIZE_DIGITS_LIMIT = 16;

const LF = 0x0a;
const CR = 0x0d;
const SEMICOLON = 0x3b;

export class ResponseParser {
  readonly #listener: ParsedResponse;
  readonly #section = new SectionBuffer();
  #state: State = "idle";
  #isHeadRequest = false;
  #hasReceived = false;
  #mayReuse = true;
  /** Bytes that are left of a body with a length, or of a chunk; in the state `size`, what its digits say so far. */
  #left = 0;
  #sizeDigits = 0;
  #extensionPart: ExtensionPart = "nameStart";
  #extensionBytes = 0;
  /** The CR after a chunk's data was read. */
  #hasCr = false;

  constructor(listener: ParsedResponse) {
    this.#listener = listener;
  }

  /** No response is expected, and none is incomplete. */
  get isIdle(): boolean {
    return this.#state === "idle";
  }

  /** After onEnd: the connection can carry another request. */
  get mayReuse(): boolean {
    return this.#mayReuse && this.#state === "idle";
  }

  /** Any byte since start(). */
  get hasReceived(): boolean {
    return this.#hasReceived;
  }

  /** Called before each request. */
  start(method: string): void {
    if (!this.mayReuse) throw new Error("the connection cannot carry another request");
    this.#state = "head";
    this.#isHeadRequest = method === "HEAD";
    this.#hasReceived = false;
  }

  /**
   * @returns the bytes after a 101, which belong to the other protocol; otherwise nothing
   * @throws ResponseSyntaxError, also for bytes after a response (then after onEnd) and for bytes without a request
   */
  push(bytes: Buffer): Buffer | undefined {
    if (bytes.length > 0) this.#hasReceived = true;
    try {
      for (let at = 0; at < bytes.length; ) {
        if (this.#state === "switched") return at === 0 ? bytes : bytes.subarray(at);
        at = this.#read(bytes, at);
      }
    } catch (error) {
      this.#state = "dead";
      throw error;
    }
    return undefined;
  }

  /**
   * The upstream ended the connection, which completes a body without a length.
   * @throws ResponseSyntaxError if a response is expected or incomplete
   */
  end(): void {
    const state = this.#state;
    this.#state = "dead";
    if (state === "idle" || state === "switched" || state === "dead") return;
    if (state !== "close") throw new ResponseSyntaxError("UPSTREAM_CUT", "the connection ended inside a response");
    this.#listener.onEnd(noFields());
  }

  /** @returns the position after the bytes that it read. */
  #read(bytes: Buffer, at: number): number {
    switch (this.#state) {
      case "head":
        return this.#readHead(bytes, at);
      case "length":
      case "chunk":
        return this.#readData(bytes, at);
      case "close":
        this.#listener.onBody(at === 0 ? bytes : bytes.subarray(at));
        return bytes.length;
      case "size":
        return this.#readSize(bytes, at);
      case "extension":
        return this.#readExtension(bytes, at);
      case "sizeEnd":
        if (bytes[at] !== LF) throw malformed("CR without LF after the size of a chunk");
        this.#state = "chunk";
        return at + 1;
      case "chunkEnd":
        return this.#readChunkEnd(bytes, at);
      case "trailers":
        return this.#readTrailers(bytes, at);
      default:
        throw malformed("bytes without a request");
    }
  }

  #readHead(bytes: Buffer, at: number): number {
    const text = this.#section.read(bytes, at, "HTTP/1.");
    const end = this.#section.end;
    if (text === undefined) return end;
    const { status, reason, headers, length, isChunked, isPersistent } = readHead(text);
    if (!isPersistent) this.#mayReuse = false;
    if (status === 101) {
      this.#state = "switched";
      this.#listener.onHead(status, reason, headers);
      this.#listener.onEnd(noFields());
      return end;
    }
    const isInterim = status < 200;
    // RFC 9110 section 8.6 and RFC 9112 section 6.1 forbid both there: perhaps a body follows all the same.
    if ((isInterim || status === 204) && (isChunked || (length ?? 0) > 0)) this.#mayReuse = false;
    if (isInterim) {
      this.#listener.onInterim(status, reason, headers);
      return end;
    }
    if (this.#isHeadRequest || status === 204 || status === 304 || length === 0) {
      this.#listener.onHead(status, reason, headers);
      this.#complete(noFields(), end === bytes.length);
      return end;
    }
    if (isChunked) {
      this.#beginChunk();
    } else if (length !== undefined) {
      this.#state = "length";
      this.#left = length;
    } else {
      this.#state = "close";
      this.#mayReuse = false;
    }
    this.#listener.onHead(status, reason, headers);
    return end;
  }

  #readData(bytes: Buffer, at: number): number {
    const end = Math.min(bytes.length, at + this.#left);
    this.#left -= end - at;
    const isChunk = this.#state === "chunk";
    if (this.#left === 0 && isChunk) this.#state = "chunkEnd";
    this.#listener.onBody(at === 0 && end === bytes.length ? bytes : bytes.subarray(at, end));
    if (this.#left === 0 && !isChunk) this.#complete(noFields(), end === bytes.length);
    return end;
  }

  #beginChunk(): void {
    this.#state = "size";
    this.#left = 0;
    this.#sizeDigits = 0;
  }

  #readSize(bytes: Buffer, from: number): number {
    for (let at = from; at < bytes.length; at++) {
      const byte = bytes[at] as number;
      const digit = hexDigit(byte);
      if (digit >= 0) {
        if (++this.#sizeDigits > SIZE_DIGITS_LIMIT) throw malformed("the size of a chunk has too many digits");
        this.#left = this.#left * 16 + digit;
        continue;
      }
      if (this.#sizeDigits === 0) throw malformed("a chunk has no size");
      if (this.#left > Number.MAX_SAFE_INTEGER) throw malformed("the size of a chunk is too large");
      if (byte === CR) return this.#endSize(at);
      if (byte !== SEMICOLON) throw malformed("an invalid character after the size of a chunk");
      this.#state = "extension";
      this.#extensionPart = "nameStart";
      this.#extensionBytes = 1;
      return at + 1;
    }
    return bytes.length;
  }

  #readExtension(bytes: Buffer, from: number): number {
    for (let at = from; at < bytes.length; at++) {
      const byte = bytes[at] as number;
      if (byte === CR && isExtensionComplete(this.#extensionPart)) return this.#endSize(at);
      if (++this.#extensionBytes > EXTENSION_BYTES_LIMIT) {
        throw new ResponseSyntaxError(
          "UPSTREAM_HEADERS_OVERFLOW",
          `more than ${EXTENSION_BYTES_LIMIT} bytes of extensions`,
        );
      }
      const next = nextExtensionPart(this.#extensionPart, byte);
      if (next === undefined) throw malformed("an invalid character in the extension of a chunk");
      this.#extensionPart = next;
    }
    return bytes.length;
  }

  /** The CRLF after the last chunk's size is read with the trailers, so that these too end with an empty line if there are none. */
  #endSize(at: number): number {
    this.#state = this.#left === 0 ? "trailers" : "sizeEnd";
    return this.#left === 0 ? at : at + 1;
  }

  #readChunkEnd(bytes: Buffer, at: number): number {
    if (bytes[at] !== (this.#hasCr ? LF : CR)) throw malformed("the data of a chunk is longer than its size");
    if (this.#hasCr) this.#beginChunk();
    this.#hasCr = !this.#hasCr;
    return at + 1;
  }

  #readTrailers(bytes: Buffer, at: number): number {
    const text = this.#section.read(bytes, at, "\r\n");
    const end = this.#section.end;
    if (text === undefined) return end;
    if (!text.startsWith("\r\n")) throw malformed("CR without LF after the size of a chunk");
    const trailers = readFields(text, 2);
    // RFC 9110 section 6.5.1.
    if (trailers["content-length"] !== undefined || trailers["transfer-encoding"] !== undefined) {
      throw malformed("a trailer about the message's framing");
    }
    this.#complete(trailers, end === bytes.length);
    return end;
  }

  /** @throws ResponseSyntaxError, after the response was reported, if bytes follow that nothing asked for. */
  #complete(trailers: ResponseHeaders, isLast: boolean): void {
    this.#state = "idle";
    if (!isLast) this.#mayReuse = false;
    this.#listener.onEnd(trailers);
    if (!isLast) throw malformed("bytes after the response");
  }
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
