/**
 * The headers of a request in HTTP/2 (RFC 9113 section 8.3.1).
 * Invariant: no part of the request can end its field or become a pseudo-header; the credential's fields are never indexed, so that
 * they are in no compression state that requests of other callers share (RFC 7541 section 7.1.3).
 */
import { type OutgoingHttpHeaders, sensitiveHeaders } from "node:http2";
import { invalidPart, NOT_TARGET, NOT_TOKEN, NOT_VALUE } from "../request-syntax.ts";
import type { TransportRequest } from "../transport-contract.ts";
import { Http2Failure } from "./http2-failure.ts";

/** What each field counts beside its name and value (RFC 9113 section 6.5.2). */
const FIELD_OVERHEAD = 32;

/** A request with these methods usually has a body, so that its absence is announced (RFC 9110 section 8.6). */
const EXPECTS_BODY: ReadonlySet<string> = new Set(["POST", "PUT", "PATCH"]);

type Http2Headers = OutgoingHttpHeaders & { [sensitiveHeaders]?: string[] };

/** @param bytesLimit the upstream's SETTINGS_MAX_HEADER_LIST_SIZE. @throws TypeError, Http2Failure */
export function createHttp2Headers(request: TransportRequest, authority: URL, bytesLimit: number): Http2Headers {
  const { method, path, headers, strippedLength = headers.length } = request;
  if (method === "" || NOT_TOKEN.test(method)) throw invalidPart("method");
  if (path === "" || NOT_TARGET.test(path)) throw invalidPart("path");
  // Without a prototype, because a header may be named `__proto__`.
  const made: Http2Headers = Object.create(null);
  made[":method"] = method;
  made[":scheme"] = authority.protocol.slice(0, -1);
  made[":authority"] = authority.host;
  made[":path"] = path;
  let bytes = method.length + made[":scheme"].length + authority.host.length + path.length;
  bytes += ":method:scheme:authority:path".length + 4 * FIELD_OVERHEAD;
  const sensitive: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] as string).toLowerCase();
    const value = withoutOuterSpace(headers[i + 1] as string);
    // A name that begins with a colon is no token.
    if (name === "" || NOT_TOKEN.test(name)) throw invalidPart("header name");
    if (NOT_VALUE.test(value)) throw invalidPart("header value");
    // Repeated fields may be joined (RFC 9110 section 5.3); node:http2 accepts no repetition of many names.
    const before = made[name] as string | undefined;
    made[name] =
      before === undefined ? value : withoutOuterSpace(`${before}${name === "cookie" ? "; " : ", "}${value}`);
    if (i >= strippedLength) sensitive.push(name);
    bytes += name.length + value.length + FIELD_OVERHEAD;
  }
  const length = lengthOf(request);
  if (length !== undefined) made["content-length"] = String(length);
  if (sensitive.length > 0) made[sensitiveHeaders] = sensitive;
  if (bytes > bytesLimit) {
    throw new Http2Failure(
      "HTTP2_REQUEST_HEADERS_OVERFLOW",
      `it accepts at most ${bytesLimit} bytes of request headers`,
    );
  }
  return made;
}

function lengthOf({ method, body, contentLength }: TransportRequest): number | undefined {
  if (body === null) return contentLength === 0 || EXPECTS_BODY.has(method) ? 0 : undefined;
  return Buffer.isBuffer(body) ? body.length : contentLength;
}

/** RFC 9113 section 8.2.1: a value with SP or HTAB at its ends is malformed. */
function withoutOuterSpace(value: string): string {
  return /^[\t ]|[\t ]$/.test(value) ? value.replace(/^[\t ]+|[\t ]+$/g, "") : value;
}
