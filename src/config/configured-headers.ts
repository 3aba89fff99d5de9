/** Headers as configuration may name and fill them, checked by the rules that they are sent by. */
import { validateHeaderName, validateHeaderValue } from "node:http";
import { z } from "zod";

/** Headers that the gateway alone writes: framing, routing and provenance are not for configuration. */
const RESERVED_HEADERS = new Set([
  "host",
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "content-length",
  "expect",
  "via",
]);

function isHeaderName(name: string): boolean {
  try {
    validateHeaderName(name);
    return true;
  } catch {
    return false;
  }
}

/** True for text that can stand in a header as it is: no CR, LF, NUL or other control character (RFC 9110 section 5.5). */
function isHeaderValue(value: string): boolean {
  try {
    validateHeaderValue("x-value", value);
    return true;
  } catch {
    return false;
  }
}

export const headerName = z
  .string()
  .refine(isHeaderName, "a header name of letters, digits and - (RFC 9110 section 5.1)")
  .refine((name) => !RESERVED_HEADERS.has(name.toLowerCase()), "a header that the gateway does not write itself")
  .meta({ allowed: "a header name" });

export const headerMap = z
  .record(
    headerName,
    z.string().refine(isHeaderValue, "a header value without control characters (RFC 9110 section 5.5)"),
  )
  .meta({ allowed: "an object of header names and values" });
