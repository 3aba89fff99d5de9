/**
 * The fields of a response for HTTP/2 (RFC 9113 section 8.2).
 * Invariant: no field that belongs to a connection is left, and what node:http would refuse to send is refused here too: nghttp2 does
 * not check what it sends, and a client ends a connection on which it receives such a field.
 */
import { type OutgoingHttpHeader, type OutgoingHttpHeaders, validateHeaderName, validateHeaderValue } from "node:http";

/** As node:http takes them: a flat list, pairs, or an object. */
export type GivenFields = readonly OutgoingHttpHeader[] | OutgoingHttpHeaders;

export type Fields = Record<string, string | string[]>;

/** RFC 9113 section 8.2.2. */
const OF_CONNECTION: ReadonlySet<string> = new Set([
  "connection",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
]);

/** node:http2 sends each of these once. The value of the second line is appended where the field is a list, else it is left out. */
const SENT_ONCE: ReadonlyMap<string, "list" | "single"> = new Map([
  ["content-encoding", "list"],
  ["content-language", "list"],
  ...[
    "access-control-allow-credentials",
    "access-control-max-age",
    "access-control-request-method",
    "age",
    "authorization",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "dnt",
    "etag",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "tk",
    "upgrade-insecure-requests",
    "user-agent",
    "x-content-type-options",
  ].map((name) => [name, "single"] as const),
]);

/** Without a prototype, because a field may be named `__proto__`. @throws TypeError for a name or a value with a forbidden character. */
export function toFields(given: GivenFields): Fields {
  const fields: Fields = Object.create(null);
  if (!Array.isArray(given)) {
    for (const [name, value] of Object.entries(given as OutgoingHttpHeaders)) add(fields, name, value);
  } else if (Array.isArray(given[0])) {
    for (const [name, value] of given as readonly string[][]) add(fields, name as string, value);
  } else for (let i = 0; i < given.length; i += 2) add(fields, given[i] as string, given[i + 1] as OutgoingHttpHeader);
  return fields;
}

function add(fields: Fields, anyCaseName: string, value: OutgoingHttpHeader | undefined): void {
  const name = anyCaseName.toLowerCase();
  if (OF_CONNECTION.has(name)) return;
  validateHeaderName(name);
  for (const one of Array.isArray(value) ? value : [value]) {
    validateHeaderValue(name, one as string);
    addLine(fields, name, String(one));
  }
}

function addLine(fields: Fields, name: string, value: string): void {
  const others = fields[name];
  if (others === undefined) fields[name] = value;
  else if (typeof others === "object") others.push(value);
  else {
    const how = SENT_ONCE.get(name);
    if (how === undefined) fields[name] = [others, value];
    else if (how === "list") fields[name] = `${others}, ${value}`;
  }
}
