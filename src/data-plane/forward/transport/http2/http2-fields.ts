/**
 * The fields of a response, or of trailers, in HTTP/2, in the form that those of HTTP/1.1 have here.
 * Invariant: a pseudo-header ends here (RFC 9113 section 8.3), and a length is one number; nghttp2 checks the rest, and
 * drops a field that is not well-formed.
 */
import { noFields, type ResponseHeaders } from "../response-fields.ts";
import { ResponseSyntaxError } from "../response-syntax-error.ts";
import { SECTION_BYTES_LIMIT } from "../section-buffer.ts";
import { Http2Failure } from "./http2-failure.ts";

const COLON = 0x3a;

/** @param raw flat list of names in lower case and values, as latin1. @throws Http2Failure */
export function readHttp2Fields(raw: readonly string[]): ResponseHeaders {
  const fields = noFields();
  let bytes = 0;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const value = raw[i + 1] as string;
    bytes += name.length + value.length;
    if (name.charCodeAt(0) === COLON) continue;
    const before = fields[name];
    if (before === undefined) fields[name] = value;
    else if (typeof before === "string") fields[name] = [before, value];
    else before.push(value);
  }
  // nghttp2 does not enforce the announced limit.
  if (bytes > SECTION_BYTES_LIMIT) {
    throw new ResponseSyntaxError("UPSTREAM_HEADERS_OVERFLOW", `more than ${SECTION_BYTES_LIMIT} bytes of fields`);
  }
  const length = fields["content-length"];
  if (length !== undefined && (typeof length !== "string" || !/^\d{1,15}$/.test(length))) {
    throw new Http2Failure("HTTP2_MALFORMED", "its Content-Length is not one number");
  }
  return fields;
}
