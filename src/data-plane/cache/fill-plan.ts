/**
 * What happens to the response of a fill: stored or not, shared or not, or a stored one in its place.
 * Invariant: a response that holds a secret of the gateway is not stored, and one is shared only with requests that would be served from
 * the cache a moment later (RFC 9111 section 4).
 */
import type { GatewayError } from "../../errors.ts";
import type { PoolMember } from "../credential/credential-provider.ts";
import { holdsSecret } from "../forward/echo-mask.ts";
import type { ResponseHead } from "../forward/response-sink.ts";
import type { ResponseHeaders } from "../forward/transport/response-fields.ts";
import type { CacheOutcome } from "./cache-outcome.ts";
import { cacheStatus } from "./cache-status.ts";
import type { FillBody } from "./fill-body.ts";
import type { FillTask } from "./fill-task.ts";
import { initialAgeMs, joined, mayStore, readFreshness } from "./freshness.ts";
import { judgeEntry, mayServeOnError } from "./judge-entry.ts";
import type { CachedRequest } from "./reader.ts";
import { createStoredResponse, type Reception, type StoredResponse, updateStoredResponse } from "./stored-response.ts";
import { varianceOf, variedHeaders } from "./variance.ts";

export type FillVerdict =
  | { readonly kind: "relayed"; readonly isStored: boolean; readonly isShared: boolean }
  /** The upstream validated the stored response. */
  | { readonly kind: "validated"; readonly entry: StoredResponse }
  /** The upstream failed, and the stored response may be served although it is stale. */
  | { readonly kind: "stale"; readonly entry: StoredResponse }
  /** The 304 is about another response than the stored one, which was removed. */
  | { readonly kind: "mismatched" };

/** Failures of the upstream itself, which the other requests would meet too. */
const OF_ALL: ReadonlySet<string> = new Set([
  ...["UPSTREAM_UNREACHABLE", "UPSTREAM_TLS_ERROR", "UPSTREAM_PROTOCOL_ERROR", "UPSTREAM_TIMEOUT"],
]);

export class FillPlan {
  readonly #task: FillTask;
  readonly #beganAt: number;
  /** Of the credential that received the response. */
  #key: string;
  #reception: Reception | undefined;
  #isStored = false;
  #isShared = false;
  #isInvalidated = false;

  constructor(task: FillTask) {
    this.#task = task;
    this.#key = task.key;
    this.#beganAt = task.cache.clock.now();
  }

  /**
   * @param waitedMs the part of the time since the beginning in which the request was not sent. @param chosen the credential of a pool
   * that received the response.
   */
  judge(head: ResponseHead, waitedMs: number, chosen?: PoolMember): FillVerdict {
    const { entry, cached, pool, key } = this.#task;
    const { status, headers } = head;
    if (pool !== undefined && chosen !== undefined) this.#key = pool.keyOf(chosen);
    const isOwn = this.#key === key;
    if (entry !== undefined && status === 304 && !isOwn) {
      // Another credential's: it says nothing about the stored response, whose credential could not be used.
      this.#task.cache.store.remove(key, entry.variance);
      return { kind: "mismatched" };
    }
    if (entry !== undefined && status === 304) return this.#judgeValidation(entry, headers, waitedMs);
    if (entry !== undefined && isServerError(status) && mayServeOnError(entry, cached.rules, this.#now)) {
      return { kind: "stale", entry };
    }
    if (entry !== undefined && isOwn && this.#isReplaced(entry, head)) this.#removeEntry(entry);
    this.#decideStoring(head, waitedMs);
    return { kind: "relayed", isStored: this.#isStored, isShared: this.#isShared };
  }

  stopStoring(): void {
    this.#isStored = false;
    this.#isInvalidated = true;
  }

  /** Called when the response is complete. */
  store({ status, reason, headers }: ResponseHead, body: FillBody): void {
    const { cache, urlKey } = this.#task;
    if (!this.#isStored || this.#reception === undefined) return;
    const received = { status, reason, headers, body: body.concat() };
    cache.store.put(this.#key, urlKey, createStoredResponse(received, this.#reception));
  }

  /** Whether another client may have the response that is arriving. */
  mayShareWith({ request }: CachedRequest): boolean {
    if (!this.#isShared || this.#reception === undefined) return false;
    const { varies, variance } = this.#reception;
    return varies.length === 0 || varianceOf(varies, request) === variance;
  }

  /** Whether another client may have the stored response that was validated. */
  mayShareEntry(entry: StoredResponse, { request, rules }: CachedRequest): boolean {
    const isSame = entry.varies.length === 0 || varianceOf(entry.varies, request) === entry.variance;
    return isSame && judgeEntry(entry, rules, this.#now, false) === "fresh";
  }

  /** The other requests would meet this failure too. */
  concernsAll({ code }: GatewayError): boolean {
    return OF_ALL.has(code);
  }

  outcomeFor(isFirst: boolean): CacheOutcome {
    const { entry, cached } = this.#task;
    const reason = entry === undefined ? "uri-miss" : cached.rules.demandsValidation ? "request" : "stale";
    if (isFirst) return { state: "miss", status: cacheStatus.forwarded(reason, this.#isStored) };
    return { state: "coalesced", status: cacheStatus.collapsed(reason) };
  }

  get #now(): number {
    return this.#task.cache.clock.now();
  }

  #judgeValidation(entry: StoredResponse, headers: ResponseHeaders, waitedMs: number): FillVerdict {
    const { cache, urlKey } = this.#task;
    if (!isAbout(entry, headers)) {
      this.#removeEntry(entry);
      return { kind: "mismatched" };
    }
    const updated = updateStoredResponse(entry, headers, this.#received(waitedMs, entry.varies));
    if (readFreshness(headers, this.#isForUsers, cache.clock.wallNow()).directives.has("no-store")) {
      this.#removeEntry(entry);
    } else if (!this.#isInvalidated && !this.#holdsSecret("", headers)) cache.store.put(this.#key, urlKey, updated);
    return { kind: "validated", entry: updated };
  }

  #decideStoring({ status, reason, headers }: ResponseHead, waitedMs: number): void {
    const { cache, cached, request, sharedAs } = this.#task;
    const reception = this.#received(waitedMs, variedHeaders(joined(headers.vary)));
    const freshness = readFreshness(headers, reception.isShared, reception.wallRespondedAt);
    const { rules } = cached;
    const storing = {
      method: request.method,
      isShared: reception.isShared,
      hasOwnAuthorization: this.#task.hasOwnAuthorization,
      isConditional: [rules.ifNoneMatch, rules.ifModifiedSince, rules.range].some((rule) => rule !== undefined),
      isFramed: cached.route.prepared.service.http2,
      forbidsStoring: rules.forbidsStoring,
    };
    this.#reception = reception;
    this.#isStored =
      !this.#isInvalidated &&
      mayStore({ status, headers }, freshness, storing) &&
      !(Number(headers["content-length"]) > cache.settings.maxEntryBytes) &&
      !this.#holdsSecret(reason, headers);
    const ageMs = initialAgeMs(headers, reception.respondedAt - reception.requestedAt, reception.wallRespondedAt);
    const isFresh = !freshness.needsValidation && (freshness.lifetimeMs ?? 0) > ageMs;
    this.#isShared = this.#isStored && isFresh && sharedAs !== undefined;
    if (!this.#isShared && sharedAs !== undefined) cache.noteUnshared(sharedAs, this.#now - this.#beganAt);
  }

  #received(waitedMs: number, varies: readonly string[]): Reception {
    const { cache, cached } = this.#task;
    return {
      isShared: this.#isForUsers,
      varies,
      variance: varianceOf(varies, cached.request),
      requestedAt: this.#beganAt + waitedMs,
      respondedAt: this.#now,
      wallRespondedAt: cache.clock.wallNow(),
    };
  }

  /** Entries of the service follow the rules of shared caches. */
  get #isForUsers(): boolean {
    return this.#task.isShared;
  }

  #holdsSecret(reason: string, headers: ResponseHeaders): boolean {
    return holdsSecret({ reason, headers }, this.#task.cached.route.prepared.echoMask);
  }

  /** A response to HEAD says only whether its validators differ (RFC 9111 section 4.3.5). */
  #isReplaced({ etag, lastModified }: StoredResponse, { status, headers }: ResponseHead): boolean {
    if (isServerError(status)) return false;
    if (this.#task.request.method !== "HEAD") return true;
    return status !== 200 || headers.etag !== etag || headers["last-modified"] !== lastModified;
  }

  #removeEntry({ variance }: StoredResponse): void {
    this.#task.cache.store.remove(this.#key, variance);
  }
}

function isServerError(status: number): boolean {
  return status === 500 || status === 502 || status === 503 || status === 504;
}

/** Whether a 304 is about this stored response (RFC 9111 section 4.3.4): none of its validators is another one. */
function isAbout({ etag, lastModified }: StoredResponse, headers: ResponseHeaders): boolean {
  const { etag: newEtag, "last-modified": newModified } = headers;
  if (typeof newEtag === "string" && etag !== undefined) return opaque(newEtag) === opaque(etag);
  return newModified === undefined || newModified === lastModified;
}

function opaque(tag: string): string {
  return tag.replace(/^W\//, "");
}
