/**
 * The places where a service's own API has its credential: SDKs that cannot change more than a base URL send the caller's key there.
 * Invariant: only the places of the service that was asked for are read, and every text found there counts as a presented key.
 */
import type { IncomingHttpHeaders } from "node:http";
import type { Placement } from "../config/placements.ts";
import { fillTemplate, readTemplate, type SecretEncoding, type Template } from "../config/template.ts";
import { mayBeOfForeignPage } from "../perimeter/browser-request.ts";
import { parametersNamed } from "./presented-keys.ts";

/** The parts of a request that may hold a key. */
export interface KeyedRequest {
  readonly rawHeaders: readonly string[];
  readonly headers: IncomingHttpHeaders;
  /** Raw text after `?`. */
  readonly query: string | undefined;
  /** Raw text after the service's key. */
  readonly path: string;
}

export interface KeyPlaces {
  /** For operators: `header x-goog-api-key`, `header Authorization: Token <key>`, `query key`, `path /bot<key>`. */
  readonly names: readonly string[];
  /** The name of each place, which others may share: a list of path templates, for example. */
  readonly places: readonly string[];
  /** All texts of each place, in the order of `places`. */
  read(request: KeyedRequest): readonly (readonly string[])[];
}

/** The minimum in the schema of the settings. A shorter text in a path is an ordinary segment: `/bottleneck` for `/bot{token}`. */
const SHORTEST_KEY = 16;

/** @param placements where the service's credential goes. @returns undefined where callers can use none of them. */
export function createKeyPlaces(placements: readonly Placement[]): KeyPlaces | undefined {
  // The gateway does not read bodies.
  const unread: readonly Placement["kind"][] = ["form", "message", "signature"];
  const readers = placements.filter(({ kind, isComputed }) => !unread.includes(kind) && !isComputed).map(readerOf);
  if (placements.some(({ kind }) => kind === "signature")) readers.push(SIGNATURE_READER);
  if (placements.some(({ kind }) => kind === "message")) readers.push(readerOfUserInfo());
  if (readers.length === 0) return undefined;
  return {
    names: [...new Set(readers.map(({ name }) => name))],
    places: readers.map(({ name }) => name),
    read: (request) => readers.map(({ read }) => read(request).filter(mayBeKey)),
  };
}

/** A key has no spaces. */
const mayBeKey = (text: string) => text !== "" && !/\s/.test(text);

interface PlaceReader {
  readonly name: string;
  readonly read: (request: KeyedRequest) => readonly string[];
}

function readerOf({ kind, name, template }: Placement): PlaceReader {
  const form = fillTemplate(template, () => "<key>");
  switch (kind) {
    case "header":
      return readerOfHeader(name, template, form);
    case "query":
      return {
        name: `query ${name}`,
        read: ({ query }) => parametersNamed(name, query).flatMap((value) => keysIn(value, template)),
      };
    case "path":
      return { name: `path ${form}`, read: ({ path }) => keysInPath(path, template) };
    default:
      return {
        name: `subprotocol ${form}`,
        read: ({ rawHeaders }) =>
          valuesOf("sec-websocket-protocol", rawHeaders)
            .flatMap((value) => value.split(","))
            .flatMap((item) => readWrapped(item.trim(), template) ?? []),
      };
  }
}

function readerOfHeader(name: string, template: Template, form: string): PlaceReader {
  const lowerCaseName = name.toLowerCase();
  if (isPair(template)) {
    return {
      name: `header ${name}: Basic, the key as the password`,
      read: ({ rawHeaders, headers }) =>
        isSentByPage(headers) ? [] : valuesOf(lowerCaseName, rawHeaders).flatMap(keyOfPair),
    };
  }
  return {
    name: `header ${name}${form === "<key>" ? "" : `: ${form}`}`,
    read: ({ rawHeaders }) => valuesOf(lowerCaseName, rawHeaders).flatMap((value) => keysIn(value, template)),
  };
}

/**
 * A message comes after the handshake, which must be authenticated. All that many clients can set for it is the URL, and they send its
 * user information as Basic (RFC 7617).
 */
function readerOfUserInfo(): PlaceReader {
  const template = { texts: ["", ""], placeholders: [{ secret: "token", encoding: "basic" }] } as const;
  return readerOfHeader("Authorization", template, "");
}

const isPair = ({ texts: [before = ""], placeholders: [first] }: Template) =>
  first?.encoding === "basic" || (first?.encoding === "base64" && /^basic\s*$/i.test(before));

/** The date ends the access key id. A signature by an asymmetric key has the same form. */
const SIGNATURE = /^AWS4-[A-Z0-9-]+[ \t](?:.*[ \t,])?Credential=([^\s,]+?)\/\d{8}\//;

/** The access key id of an AWS signature. A presigned URL is not read: it is made to be passed on. */
const SIGNATURE_READER: PlaceReader = {
  name: "header Authorization: AWS4-HMAC-SHA256 Credential=<key>/…",
  read: ({ rawHeaders }) => valuesOf("authorization", rawHeaders).flatMap((value) => SIGNATURE.exec(value)?.[1] ?? []),
};

/**
 * A browser adds a stored pair to requests of any page, so a page of another origin could use the key. Over plain HTTP a browser does not
 * say which page sent a request, except to loopback names.
 */
const isSentByPage = (headers: IncomingHttpHeaders) => mayBeOfForeignPage(headers, () => true);

const BASIC = /^basic[ \t]+(.*)$/i;

/** RFC 7617 section 2: the password; the user name where the password is empty or says that the user name is the token. */
function keyOfPair(value: string): readonly string[] {
  const base64 = BASIC.exec(value)?.[1];
  if (base64 === undefined) return [];
  const pair = Buffer.from(base64, "base64").toString("utf8");
  const colon = pair.indexOf(":");
  const user = colon === -1 ? pair : pair.slice(0, colon);
  const password = colon === -1 ? "" : pair.slice(colon + 1);
  // https://docs.github.com/en/authentication: git URLs of the form `https://<token>:x-oauth-basic@…`.
  return [password === "" || password === "x-oauth-basic" ? user : password];
}

function valuesOf(lowerCaseName: string, rawHeaders: readonly string[]): readonly string[] {
  const values: string[] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    if (name.length === lowerCaseName.length && name.toLowerCase() === lowerCaseName) {
      values.push((rawHeaders[i + 1] as string).trim());
    }
  }
  return values;
}

/** With or without the text that the place has around its secrets. */
function keysIn(value: string, template: Template): readonly string[] {
  return readWrapped(value, template) ?? [decoded(value, template.placeholders[0]?.encoding)];
}

/** The decoded texts of all placeholders; undefined for a value of another form. A scheme has any case (RFC 9110 section 11.1). */
function readWrapped(value: string, template: Template): readonly string[] | undefined {
  const before = template.texts[0] as string;
  const isSame = value.slice(0, before.length).toLowerCase() === before.toLowerCase();
  const found = isSame ? readTemplate(template, before + value.slice(before.length)) : undefined;
  return found?.map((text, i) => decoded(text.trim(), template.placeholders[i]?.encoding));
}

/** Both alphabets of base64 are read. */
const decoded = (text: string, encoding: SecretEncoding | undefined) =>
  encoding === "base64" ? Buffer.from(text, "base64").toString("utf8") : text;

/** `/bot<key>/getMe` for `/bot{token}`: the template covers as many segments as it has slashes. */
function keysInPath(path: string, template: Template): readonly string[] {
  const slashes = template.texts.join("").split("/").length - 1;
  let end = -1;
  for (let i = 0; i <= slashes; i++) {
    end = path.indexOf("/", end + 1);
    if (end === -1) break;
  }
  const found = readTemplate(template, end === -1 ? path : path.slice(0, end)) ?? [];
  const keys = found.map((text, i) => decoded(percentDecoded(text), template.placeholders[i]?.encoding));
  return keys.filter(({ length }) => length >= SHORTEST_KEY);
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}
