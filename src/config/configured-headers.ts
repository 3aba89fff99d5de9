/** The header names and values that a configuration may contain, checked as Node checks them when it sends them. */
import { validateHeaderName, validateHeaderValue } from "node:http";
import { z } from "zod";

/** Headers that only the gateway writes: framing, routing and provenance cannot be configured. */
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

/** No CR, LF, NUL or other control character (RFC 9110 section 5.5). */
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
  .max(256)
  .refine(isHeaderName, "a header name of letters, digits and - (RFC 9110 section 5.1)")
  .refine((name) => !RESERVED_HEADERS.has(name.toLowerCase()), "a header that the gateway does not write itself")
  .meta({ allowed: "a header name" });

export const headerMap = z
  .record(
    headerName,
    z.string().refine(isHeaderValue, "a header value without control characters (RFC 9110 section 5.5)"),
  )
  .meta({ allowed: "an object of header names and values" });
