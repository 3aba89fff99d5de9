/**
 * Reads the fields of an HTTP/2 request as the HTTP/1.1 request that means the same (RFC 9113 section 8.3.1), so that everything after
 * the listener knows one form of a request.
 * Invariant: no name that begins with `:` is left, there is one Host, and a body without a length is chunked. nghttp2 has refused fields
 * that belong to a connection, a second Host, and lengths that do not match.
 */
import { randomBytes } from "node:crypto";
import { METHODS } from "node:http";
import { GatewayError } from "../../errors.ts";
import { HEADER_BYTES_LIMIT } from "../framing.ts";

export interface RequestForm {
  readonly method: string;
  readonly url: string;
  /** Names and values in turn. */
  readonly rawHeaders: string[];
  /** Of a WebSocket (RFC 8441): the key of the handshake, which HTTP/2 does not have; undefined for every other request. */
  readonly webSocketKey: string | undefined;
  /** The refusal of a request that has no such form. */
  readonly malformed: GatewayError | undefined;
}

/** node:http's parser knows no others. */
const KNOWN_METHODS: ReadonlySet<string> = new Set(METHODS);

const PSEUDO = 58; /* : */

/** @param fields names and values in turn, as received. @param hasBody the stream did not end with the fields. */
export function readRequestForm(fields: readonly string[], hasBody: boolean): RequestForm {
  const pseudo: Record<string, string> = Object.create(null);
  const rawHeaders: string[] = [];
  let host: string | undefined;
  let cookieAt = -1;
  let isLengthGiven = false;
  let bytes = 0;
  const isWebSocket = isWebSocketConnect(fields);
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string;
    const value = fields[i + 1] as string;
    bytes += name.length + value.length;
    if (name.charCodeAt(0) === PSEUDO) pseudo[name] = value;
    else if (name === "host") host = value;
    // RFC 9113 section 8.2.3: a client may send its cookies in several fields.
    else if (name === "cookie" && cookieAt !== -1) rawHeaders[cookieAt] += `; ${value}`;
    else if (isWebSocket && name === "sec-websocket-key") continue;
    else {
      if (name === "cookie") cookieAt = rawHeaders.length + 1;
      else if (name === "content-length") isLengthGiven = true;
      rawHeaders.push(name, value);
    }
  }
  const { ":method": method = "", ":path": url = "", ":authority": authority } = pseudo;
  const named = authority ?? host;
  if (named !== undefined) rawHeaders.unshift("Host", named);
  const webSocketKey = isWebSocket ? randomBytes(16).toString("base64") : undefined;
  if (webSocketKey !== undefined) {
    rawHeaders.push("Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Key", webSocketKey);
  } else if (hasBody && !isLengthGiven) rawHeaders.push("Transfer-Encoding", "chunked");
  return {
    method: isWebSocket ? "GET" : method,
    url,
    rawHeaders,
    webSocketKey,
    malformed: findMalformedForm(pseudo, { host, bytes }),
  };
}

function isWebSocketConnect(fields: readonly string[]): boolean {
  for (let i = 0; i < fields.length && fields[i]?.charCodeAt(0) === PSEUDO; i += 2) {
    if (fields[i] === ":protocol") return fields[i + 1]?.toLowerCase() === "websocket";
  }
  return false;
}

/** Everything else is checked as for HTTP/1.1. */
function findMalformedForm(
  { ":method": method = "", ":authority": authority, ":scheme": scheme, ":path": path = "" }: Record<string, string>,
  { host, bytes }: { readonly host: string | undefined; readonly bytes: number },
): GatewayError | undefined {
  if (bytes > HEADER_BYTES_LIMIT) return new GatewayError("HEADERS_TOO_LARGE");
  // RFC 9113 section 8.3.1: two parsers could choose different ones.
  if (authority !== undefined && host !== undefined && authority !== host) {
    return new GatewayError("HOST_HEADER_INVALID", { message: "The Host header and :authority differ." });
  }
  if (!KNOWN_METHODS.has(method)) {
    return new GatewayError("INVALID_REQUEST", { message: "The method is not known." });
  }
  // As node:http's parser: the target is ASCII.
  if (/[^\x21-\x7e]/.test(path)) return new GatewayError("INVALID_PATH");
  // CONNECT has none.
  if (scheme !== undefined && scheme !== "https" && scheme !== "http") {
    return new GatewayError("INVALID_REQUEST", { message: "The scheme is not http or https." });
  }
  return undefined;
}
