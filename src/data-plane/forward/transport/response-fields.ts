/**
 * Reads the field lines of a head or of trailers (RFC 9112 section 5, RFC 9110 section 5).
 * Invariant: a line that two recipients could read differently is refused, never repaired: a fold, a bare CR or LF, a space
 * before the colon, a control character.
 */
import { malformed, ResponseSyntaxError } from "./response-syntax-error.ts";

/** Lower-case names; a repeated field is an array. It inherits nothing, so a field may be named `__proto__`. */
export type ResponseHeaders = Record<string, string | string[] | undefined>;

const FIELD_LINES_LIMIT = 10_000;

const HTAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const DELETE = 0x7f;

/** 1 for each character of a token (RFC 9110 section 5.6.2). */
export const TOKEN_CHARACTERS: Uint8Array = tableOf(/[!#$%&'*+\-.^_`|~0-9A-Za-z]/);

/** Frequent names in their usual spellings, with the lower-case name: they need no check and no new string. */
const KNOWN_NAMES: ReadonlyMap<string, string> = new Map(
  [
    "Accept-Ranges Access-Control-Allow-Credentials Access-Control-Allow-Headers Access-Control-Allow-Methods",
    "Access-Control-Allow-Origin Access-Control-Expose-Headers Age Allow Alt-Svc Cache-Control Connection",
    "Content-Disposition Content-Encoding Content-Language Content-Length Content-Location Content-Range",
    "Content-Security-Policy Content-Type Cross-Origin-Opener-Policy Cross-Origin-Resource-Policy Date ETag Expires",
    "Keep-Alive Last-Modified Link Location Permissions-Policy Pragma RateLimit RateLimit-Limit RateLimit-Policy",
    "RateLimit-Remaining RateLimit-Reset Referrer-Policy Retry-After Sec-WebSocket-Accept Sec-WebSocket-Protocol Server",
    "Server-Timing Set-Cookie Strict-Transport-Security Trailer Transfer-Encoding Upgrade Vary Via WWW-Authenticate",
    "X-Amz-Cf-Id X-Amz-Request-Id X-Cache X-Content-Type-Options X-DNS-Prefetch-Control X-Frame-Options",
    "X-Permitted-Cross-Domain-Policies X-Powered-By X-RateLimit-Limit X-RateLimit-Remaining X-RateLimit-Reset",
    "X-Request-Id X-Request-ID X-Response-Time X-XSS-Protection CF-Cache-Status CF-RAY OpenAI-Organization",
    "OpenAI-Processing-Ms OpenAI-Version Request-Id",
  ]
    .flatMap((line) => line.split(" "))
    .flatMap((name) => [[name, name.toLowerCase()] as const, [name.toLowerCase(), name.toLowerCase()] as const]),
);

/** Unlike the objects of `Object.create(null)`, V8 does not keep its instances as hash tables. */
const Fields = function Fields() {} as unknown as new () => ResponseHeaders;
Fields.prototype = Object.create(null);

export function noFields(): ResponseHeaders {
  return new Fields();
}

/** @param text field lines from `from` to its end, each with its CRLF. @throws ResponseSyntaxError */
export function readFields(text: string, from: number): ResponseHeaders {
  const fields = noFields();
  let lines = 0;
  for (let at = from; at < text.length; ) {
    if (++lines > FIELD_LINES_LIMIT) {
      throw new ResponseSyntaxError("UPSTREAM_HEADERS_OVERFLOW", `more than ${FIELD_LINES_LIMIT} field lines`);
    }
    const colon = text.indexOf(":", at);
    if (colon < 0) throw malformed("a field line has no colon");
    const name = readName(text.slice(at, colon));

    let start = colon + 1;
    while (isBlank(text.charCodeAt(start))) start++;
    let end = start;
    while (isValueCharacter(text.charCodeAt(end))) end++;
    if (text.charCodeAt(end) !== CR || text.charCodeAt(end + 1) !== LF) {
      throw malformed("the value of a field has a control character");
    }
    at = end + 2;
    while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
    add(fields, name, text.slice(start, end));
  }
  return fields;
}

/** A name is a token, so a line without a colon, a fold and a space before the colon all fail here. */
function readName(name: string): string {
  const known = KNOWN_NAMES.get(name);
  if (known !== undefined) return known;
  for (let at = 0; at < name.length; at++) {
    if (TOKEN_CHARACTERS[name.charCodeAt(at)] !== 1) throw malformed("the name of a field has an invalid character");
  }
  if (name.length === 0) throw malformed("a field has no name");
  return name.toLowerCase();
}

function add(fields: ResponseHeaders, name: string, value: string): void {
  const before = fields[name];
  if (before === undefined) fields[name] = value;
  else if (typeof before === "string") fields[name] = [before, value];
  else before.push(value);
}

function isBlank(code: number): boolean {
  return code === SPACE || code === HTAB;
}

/** RFC 9110 section 5.5: visible characters, obs-text, SP and HTAB. NaN, after the last character, is none. */
function isValueCharacter(code: number): boolean {
  return (code >= SPACE && code !== DELETE) || code === HTAB;
}

function tableOf(pattern: RegExp): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, code) => (pattern.test(String.fromCharCode(code)) ? 1 : 0));
}
