/**
 * The canonical form of a request that an AWS signature covers (Signature Version 4).
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 * Invariant: it is computed from the bytes that are sent, which are Latin-1 texts here, so that the upstream computes the same from what
 * it receives, whatever the bytes mean. Nothing of the request is changed.
 */

/** The services whose paths are object keys. */
const OBJECT_STORES: ReadonlySet<string> = new Set(["s3", "s3-outposts", "s3-object-lambda", "s3express"]);

/** @param service the name in signatures. */
export const isObjectStore = (service: string) => OBJECT_STORES.has(service);

export interface SignedRequest {
  readonly method: string;
  /** As it is sent: `api.example.com:8443`. */
  readonly host: string;
  /** Path and query, as they are sent. */
  readonly path: string;
  /** Flat list of names and values, without Host. */
  readonly headers: readonly string[];
}

export interface CanonicalForm {
  /** S3 decodes the path and encodes it once; the other services encode the path that they received, without dot and empty segments. */
  readonly isObjectStore: boolean;
  /** Between the values of repeated headers, as the upstream receives them. */
  readonly separator: "," | ", ";
}

export interface CanonicalRequest {
  readonly text: string;
  /** Names, separated by semicolons. */
  readonly signedHeaders: string;
}

/** @param payloadHash in hex, or a word such as `UNSIGNED-PAYLOAD`. */
export function canonicalRequest(
  { method, host, path, headers }: SignedRequest,
  payloadHash: string,
  { isObjectStore, separator }: CanonicalForm,
): CanonicalRequest {
  const at = path.indexOf("?");
  const pathname = at === -1 ? path : path.slice(0, at);
  const values = signedValues(host, headers, separator);
  const names = [...values.keys()].sort();
  const signedHeaders = names.join(";");
  const text = [
    method,
    isObjectStore ? objectPath(pathname) : servicePath(pathname),
    at === -1 ? "" : canonicalQuery(path.slice(at + 1)),
    ...names.map((name) => `${name}:${values.get(name)}`),
    "",
    signedHeaders,
    payloadHash,
  ].join("\n");
  return { text, signedHeaders };
}

/**
 * Host and what AWS requires: the type and the digest of the body, and its own headers. A proxy on the way may add, change or join the
 * others.
 */
function signedValues(host: string, headers: readonly string[], separator: string): Map<string, string> {
  const values = new Map([["host", host]]);
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] as string).toLowerCase();
    if (!name.startsWith("x-amz-") && name !== "content-type" && name !== "content-md5") continue;
    const value = withoutSpace(headers[i + 1] as string);
    const before = values.get(name);
    values.set(name, before === undefined ? value : withoutSpace(`${before}${separator}${value}`));
  }
  return values;
}

/** Spaces at the ends are removed, and others become one. */
function withoutSpace(value: string): string {
  return /^[\t ]|[\t ]$|[\t ]{2}|\t/.test(value) ? value.replace(/[\t ]+/g, " ").replace(/^ | $/g, "") : value;
}

function objectPath(path: string): string {
  return encode(decode(path, false), true);
}

/** RFC 3986 section 6.2.2.3, and without empty segments. */
function servicePath(path: string): string {
  const kept: string[] = [];
  for (const segment of path.split("/")) {
    if (segment === "..") kept.pop();
    else if (segment !== "" && segment !== ".") kept.push(segment);
  }
  const isFolder = kept.length > 0 && path.endsWith("/");
  return encode(`/${kept.join("/")}${isFolder ? "/" : ""}`, true);
}

/** Sorted by name, then by value. A parameter without `=` has an empty value. */
function canonicalQuery(query: string): string {
  const pairs: (readonly [name: string, value: string])[] = [];
  for (const parameter of query.split("&")) {
    if (parameter === "") continue;
    const equals = parameter.indexOf("=");
    const name = equals === -1 ? parameter : parameter.slice(0, equals);
    const value = equals === -1 ? "" : parameter.slice(equals + 1);
    pairs.push([encode(decode(name, true), false), encode(decode(value, true), false)]);
  }
  return pairs
    .sort(([name, value], [otherName, otherValue]) => compare(name, otherName) || compare(value, otherValue))
    .map(([name, value]) => `${name}=${value}`)
    .join("&");
}

const compare = (one: string, other: string) => (one < other ? -1 : one > other ? 1 : 0);

/** Byte by byte: a malformed encoding stays as it is. @param isQuery a plus is a space there. */
function decode(text: string, isQuery: boolean): string {
  const spaced = isQuery && text.includes("+") ? text.replaceAll("+", " ") : text;
  if (!spaced.includes("%")) return spaced;
  return spaced.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** RFC 3986 section 2.3: all but the unreserved characters. @param keepsSlash in a path. */
function encode(bytes: string, keepsSlash: boolean): string {
  return bytes.replace(keepsSlash ? RESERVED_IN_PATH : RESERVED, escapeByte);
}

const RESERVED = /[^A-Za-z0-9\-._~]/g;
const RESERVED_IN_PATH = /[^A-Za-z0-9\-._~/]/g;

const escapeByte = (byte: string) => ESCAPES[byte.charCodeAt(0)] as string;

const ESCAPES = Array.from({ length: 256 }, (_, byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`);
