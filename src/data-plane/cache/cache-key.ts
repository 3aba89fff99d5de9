/**
 * The key of a cached response.
 * Invariant: requests with the same key would get the same response. Everything that the upstream receives is in the key, except the
 * neutral headers; so no header that a caller chooses can change what another caller gets, whether the response names it in `Vary` or
 * not. The key is a hash: no secret of a client is kept.
 */
import { hash, randomBytes } from "node:crypto";
import type { InjectableRequest } from "../credential/injectable-request.ts";

/**
 * Request headers that are not in the key, unless the response names them in `Vary`. docs/cache.md lists them with the reasons: they
 * identify one message or its path, or the cache itself obeys them.
 */
export const NEUTRAL: ReadonlySet<string> = new Set([
  // They differ for each message and say nothing about the response.
  ...["x-request-id", "traceparent", "tracestate", "amz-sdk-invocation-id", "amz-sdk-request"],
  // The path of the message and of its trailers.
  ...["via", "te"],
  // The cache obeys them (RFC 9111 sections 5.2.1 and 5.4).
  ...["cache-control", "pragma"],
  // The cache evaluates them against the whole response (RFC 9110 sections 13 and 14).
  ...["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range"],
]);

/** Names in other spellings are computed again: a client chooses them. */
const KNOWN_NAMES_LIMIT = 256;
const KNOWN_NAME_LENGTH_LIMIT = 64;

/** What identifies who may get a cached response. */
export interface Partition {
  /** The source id of the injected credential, or the caller. */
  readonly id: string;
  /** The entries serve one caller, but an anonymous caller may be several people: rules of shared caches apply (RFC 9111). */
  readonly isShared: boolean;
}

/** A request to an upstream, before the credential is injected. */
export interface KeyedRequest extends InjectableRequest {
  readonly origin: string;
}

export class CacheKeys {
  /** Lower-case names; empty for neutral ones. */
  readonly #keyed = new Map<string, string>();
  readonly #salt: string;

  constructor(salt = randomBytes(16).toString("hex")) {
    this.#salt = salt;
  }

  keyOf({ id, isShared }: Partition, request: KeyedRequest): string {
    const { headers, strippedLength, rarePlaces } = request;
    let text = `${this.#salt}\n${isShared ? "caller" : "credential"}\n${id}\n${urlOf(request)}\n`;
    // The template of a path that is inserted with the credential.
    if (rarePlaces !== undefined) text += `${rarePlaces.pathTemplate}\n`;
    for (let i = 0; i < strippedLength; i += 2) {
      const name = this.#keyedName(headers[i] as string);
      if (name !== "") text += `${name}:${headers[i + 1]}\n`;
    }
    return hash("sha256", text, "base64url");
  }

  /** @param url origin, path and query, byte for byte. */
  urlKeyOf(url: string): string {
    return hash("sha256", `${this.#salt}\n${url}`, "base64url");
  }

  #keyedName(rawName: string): string {
    let name = this.#keyed.get(rawName);
    if (name === undefined) {
      const lowerCaseName = rawName.toLowerCase();
      name = NEUTRAL.has(lowerCaseName) ? "" : lowerCaseName;
      const isKept = this.#keyed.size < KNOWN_NAMES_LIMIT && rawName.length <= KNOWN_NAME_LENGTH_LIMIT;
      if (isKept) this.#keyed.set(rawName, name);
    }
    return name;
  }
}

/** Without what the credential adds. */
export function urlOf({ origin, strippedPath }: Pick<KeyedRequest, "origin" | "strippedPath">): string {
  return origin + strippedPath;
}

/** The values of a neutral header, joined; undefined without one. */
export function headerOf({ headers, strippedLength }: KeyedRequest, lowerCaseName: string): string | undefined {
  let found: string | undefined;
  for (let i = 0; i < strippedLength; i += 2) {
    const name = headers[i] as string;
    if (name.length !== lowerCaseName.length || name.toLowerCase() !== lowerCaseName) continue;
    found = found === undefined ? (headers[i + 1] as string) : `${found}, ${headers[i + 1]}`;
  }
  return found;
}
