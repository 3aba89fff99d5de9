/**
 * Writes the head of a request (RFC 9112 sections 3 and 5).
 * Invariant: no method, path, name or value can end its line: what holds CR, LF, NUL or another character that does not belong
 * there is refused before a byte is sent.
 */
import { invalidPart, NOT_TARGET, NOT_TOKEN, NOT_VALUE } from "./request-syntax.ts";
import type { TransportRequest } from "./transport-contract.ts";

/** A request with these methods usually has a body, so that its absence is announced (RFC 9110 section 8.6). */
const EXPECTS_BODY: ReadonlySet<string> = new Set(["POST", "PUT", "PATCH"]);

/** @returns latin1. @throws TypeError */
export function createRequestHead(request: TransportRequest, host: string): string {
  const { method, path, headers } = request;
  if (method === "" || NOT_TOKEN.test(method)) throw invalidPart("method");
  if (path === "" || NOT_TARGET.test(path)) throw invalidPart("path");
  // HTTP/1.0 servers keep a connection open only if they are asked to.
  let head = `${method} ${path} HTTP/1.1\r\nhost: ${host}\r\nconnection: keep-alive\r\n`;
  // Checked together, because one test of a long text costs much less than many of short ones.
  let names = "";
  let values = "";
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    const value = headers[i + 1] as string;
    if (name === "") throw invalidPart("header name");
    names += name;
    values += value;
    head += `${name}: ${value}\r\n`;
  }
  if (NOT_TOKEN.test(names)) throw invalidPart("header name");
  if (NOT_VALUE.test(values)) throw invalidPart("header value");
  return `${head}${framingOf(request)}\r\n`;
}

/** RFC 9112 section 6. */
function framingOf({ method, body, contentLength }: TransportRequest): string {
  if (body === null) return contentLength === 0 || EXPECTS_BODY.has(method) ? "content-length: 0\r\n" : "";
  if (Buffer.isBuffer(body)) return `content-length: ${body.length}\r\n`;
  return contentLength === undefined ? "transfer-encoding: chunked\r\n" : `content-length: ${contentLength}\r\n`;
}
