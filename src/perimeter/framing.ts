/**
 * Checks that a request is one well-formed HTTP/1.1 message, before either plane serves it.
 * Invariant: a message that two parsers could read differently is refused, so that no upstream has to guess.
 */
import type { IncomingMessage } from "node:http";
import { GatewayError } from "../errors.ts";

/** Header lines accepted; the parser's own limit counts bytes and, on Node 20, silently drops lines over its count. */
export const HEADER_LINES_LIMIT = 256;

/** Bytes of request line and headers accepted. */
export const HEADER_BYTES_LIMIT = 16_384;

/** host or [v6], then an optional port (RFC 9110 section 7.2); no user info, no path, no list. */
const HOST = /^(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})+(?::\d{0,5})?$|^\[[0-9A-Fa-f:.]+\](?::\d{0,5})?$/;

/** The methods listed in `Allow` and CORS headers; any other method except TRACE and CONNECT is forwarded too. */
export const PROXIED_METHODS: readonly string[] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/** The refusal of TRACE, which would show the caller the request with its credential, and of CONNECT, which would bypass the gateway. */
export function methodRefused(method: string): GatewayError {
  return new GatewayError("METHOD_NOT_ALLOWED", {
    message: `${method} is not forwarded.`,
    headers: ["Allow", PROXIED_METHODS.join(", ")],
  });
}

/** Whether a request body was announced. */
export function hasBody({ headers }: IncomingMessage): boolean {
  if (headers["transfer-encoding"] !== undefined) return true;
  const length = headers["content-length"];
  return length !== undefined && length !== "0";
}

/** The refusal of a malformed message, or undefined when it is well-formed. */
export function findMalformed(req: IncomingMessage): GatewayError | undefined {
  const { rawHeaders } = req;
  if (rawHeaders.length > HEADER_LINES_LIMIT * 2) return new GatewayError("HEADERS_TOO_LARGE");
  if (req.method === "TRACE" || req.method === "CONNECT") return methodRefused(req.method);
  // The parser also accepts 0.9 and 2.0, but their messages have another form.
  if (req.httpVersionMajor !== 1) {
    return new GatewayError("INVALID_REQUEST", { message: "The gateway accepts HTTP/1.1 and HTTP/1.0 only." });
  }
  const { upgrade, "transfer-encoding": coding } = req.headers;
  return (
    findBadTarget(req.url ?? "") ??
    findBadHost(req) ??
    (coding === undefined ? undefined : findBadTransferCoding(req, coding)) ??
    (upgrade === undefined ? undefined : findBadHandshake(req))
  );
}

/**
 * Only a WebSocket upgrade counts, and only with `Connection: Upgrade` and in HTTP/1.1 (RFC 9110 section 7.8); any other
 * `Upgrade` is ignored.
 */
export function isWebSocketUpgrade({ headers, httpVersionMinor }: IncomingMessage): boolean {
  return (
    headers.upgrade?.toLowerCase() === "websocket" &&
    httpVersionMinor > 0 &&
    /(?:^|,)\s*upgrade\s*(?:,|$)/i.test(headers.connection ?? "")
  );
}

/**
 * A handshake is a GET without a body (RFC 6455 section 4.1): some servers would read a body as WebSocket frames.
 * `Content-Length: 0` is no body, and Java's client sends it with each handshake.
 */
function findBadHandshake(req: IncomingMessage): GatewayError | undefined {
  if (!isWebSocketUpgrade(req)) return undefined;
  const { headers } = req;
  // node:http emits no `checkExpectation` for an upgrade.
  if (headers.expect !== undefined && headers.expect.toLowerCase() !== "100-continue") {
    return new GatewayError("EXPECTATION_FAILED");
  }
  if (req.method !== "GET") return new GatewayError("INVALID_REQUEST", { message: "A WebSocket handshake is a GET." });
  return !hasBody(req)
    ? undefined
    : new GatewayError("INVALID_REQUEST", { message: "A WebSocket handshake has no body." });
}

/** Only origin-form is accepted: an absolute-form target or `*` could name another host than the Host header. */
function findBadTarget(url: string): GatewayError | undefined {
  if (url.charCodeAt(0) !== 47 /* / */) {
    return new GatewayError("INVALID_PATH", { message: "The request target is not an absolute path." });
  }
  if (url.includes("#"))
    return new GatewayError("INVALID_PATH", { message: "The request target contains a fragment." });
  return undefined;
}

function findBadHost(req: IncomingMessage): GatewayError | undefined {
  const host = req.headers.host;
  if (host === undefined) {
    // HTTP/1.0 has no Host; HTTP/1.1 requires it (RFC 9112 section 3.2).
    return req.httpVersionMinor === 0 ? undefined : new GatewayError("HOST_HEADER_INVALID");
  }
  if (!HOST.test(host) || countOf(req.rawHeaders, "host") > 1) return new GatewayError("HOST_HEADER_INVALID");
  return undefined;
}

/**
 * node:http calls the handler for `gzip, chunked`, and for `xchunked` before it sends its own 400.
 * RFC 9112 section 6.1: an unknown coding is 501; any value that is not exactly `chunked` allows request smuggling.
 */
function findBadTransferCoding(req: IncomingMessage, coding: string): GatewayError | undefined {
  if (countOf(req.rawHeaders, "transfer-encoding") > 1 || req.httpVersionMinor === 0) {
    return new GatewayError("INVALID_REQUEST", { message: "Transfer-Encoding is ambiguous." });
  }
  if (coding.toLowerCase() === "chunked") {
    if (req.headers["content-length"] === undefined) return undefined;
    return new GatewayError("INVALID_REQUEST", {
      message: "A request must not have both Content-Length and Transfer-Encoding.",
    });
  }
  return /^\s*(gzip|x-gzip|deflate|compress|x-compress)\s*(,\s*chunked\s*)?$/i.test(coding)
    ? new GatewayError("NOT_IMPLEMENTED", { message: "Transfer codings other than chunked are not implemented." })
    : new GatewayError("INVALID_REQUEST", { message: "Transfer-Encoding must be exactly chunked." });
}

function countOf(rawHeaders: readonly string[], lowerCaseName: string): number {
  let count = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    if (name.length === lowerCaseName.length && name.toLowerCase() === lowerCaseName) count++;
  }
  return count;
}
