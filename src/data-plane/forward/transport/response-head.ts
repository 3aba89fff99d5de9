/**
 * Reads the head of a response: its status line, its fields, and what they say about the body and the connection (RFC 9112).
 * Invariant: a head that says two things about the length of the body is refused.
 */
import { type ResponseHeaders, readFields } from "./response-fields.ts";
import { malformed } from "./response-syntax-error.ts";

export interface ResponseHead {
  readonly status: number;
  /** As received, as latin1; possibly empty. */
  readonly reason: string;
  readonly headers: ResponseHeaders;
  /** Content-Length. */
  readonly length: number | undefined;
  readonly isChunked: boolean;
  /** The upstream keeps the connection open if the body allows it. */
  readonly isPersistent: boolean;
}

const LF = 0x0a;
const SPACE = 0x20;
const ZERO = 0x30;

/** @param text the head without its last, empty line. @throws ResponseSyntaxError */
export function readHead(text: string): ResponseHead {
  const lineEnd = endOfStatusLine(text);
  const headers = readFields(text, lineEnd + 2);
  const length = contentLengthOf(headers);
  const isChunked = isChunkedBody(headers);
  if (isChunked && length !== undefined) throw malformed("Content-Length together with Transfer-Encoding");
  return {
    status: Number(text.slice(9, 12)),
    reason: text.slice(13, lineEnd),
    headers,
    length,
    isChunked,
    isPersistent: isPersistent(text.charCodeAt(7) === ZERO, headers),
  };
}

/** RFC 9112 section 4. The space before an empty reason is missing in the responses of many servers. */
function endOfStatusLine(text: string): number {
  const minor = text.charCodeAt(7);
  if (!text.startsWith("HTTP/1.") || (minor !== ZERO && minor !== ZERO + 1) || text.charCodeAt(8) !== SPACE) {
    throw malformed("it does not begin with HTTP/1.1 or HTTP/1.0");
  }
  for (let at = 9; at < 12; at++) {
    const digit = text.charCodeAt(at) - ZERO;
    if (!(digit >= (at === 9 ? 1 : 0) && digit <= 9)) throw malformed("the status is not a number from 100 to 999");
  }
  const end = text.indexOf("\r", 12);
  if (text.charCodeAt(end + 1) !== LF || (end > 12 && text.charCodeAt(12) !== SPACE))
    throw malformed("the status line is invalid");
  for (let at = 13; at < end; at++) {
    // Other control characters are left to the recipient, as received.
    if (text.charCodeAt(at) === 0 || text.charCodeAt(at) === LF) throw malformed("NUL or LF in the reason phrase");
  }
  return end;
}

/** RFC 9112 section 6.3 lets a recipient accept repeated equal lengths; here one valid length is the only form. */
function contentLengthOf(headers: ResponseHeaders): number | undefined {
  const value = headers["content-length"];
  if (value === undefined) return undefined;
  if (typeof value !== "string" || !/^\d+$/.test(value)) throw malformed("Content-Length is not one number");
  const length = Number(value);
  if (length > Number.MAX_SAFE_INTEGER) throw malformed("Content-Length is too large");
  return length;
}

/** Other codings were not requested (TE), and `chunked` twice would be decoded once by some recipients (section 6.1). */
function isChunkedBody(headers: ResponseHeaders): boolean {
  const value = headers["transfer-encoding"];
  if (value === undefined) return false;
  if (value === "chunked") return true;
  if (typeof value !== "string" || value.toLowerCase() !== "chunked")
    throw malformed("Transfer-Encoding is not chunked");
  return true;
}

/** RFC 9112 section 9.3, and 6.1 for HTTP/1.0. */
function isPersistent(isHttp10: boolean, headers: ResponseHeaders): boolean {
  const connection = headers.connection;
  if (connection === undefined) return !isHttp10;
  if (connection === "close") return false;
  if (connection === "keep-alive" && !isHttp10) return true;
  const options = String(connection)
    .toLowerCase()
    .split(",")
    .map((option) => option.trim());
  if (options.includes("close")) return false;
  return !isHttp10 || (options.includes("keep-alive") && headers["transfer-encoding"] === undefined);
}
