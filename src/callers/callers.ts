/**
 * Authenticates callers: finds the caller of a presented key, on the plane that the key opens.
 * Invariant: keys are compared as digests, in constant time, so that neither a key nor its length leaks; and of the keys that
 * clients present only valid ones are remembered, beside their digests.
 */
import { timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { performance } from "node:perf_hooks";
import type { Config } from "../config/load-config.ts";
import type { Service } from "../config/schema.ts";
import type { Secret } from "../config/secret.ts";
import type { GatewayError } from "../errors.ts";
import { mayBeOfForeignPage } from "../perimeter/browser-request.ts";
import { hasIssuedForm, isMisspelt } from "./issued-key.ts";
import type { FoundKey, KeyIndex } from "./key-index.ts";
import { faultOf, type KeyFault, type KeyRefusals, type RefusedKeyCounts, type RefusedKeys } from "./key-refusals.ts";
import type { LockOut, Sender } from "./lock-out.ts";
import { digestOf, type PresentedKeys } from "./presented-keys.ts";
import { type EndedKey, type Plane, refuseUnauthenticated, type Unauthenticated } from "./unauthenticated.ts";

/** Hex digits of a SHA-256. */
const DIGEST_LENGTH = 64;

/** Valid keys whose digest is remembered: hashing a key anew for each request costs more than any other step of the admission. */
const REMEMBERED_LIMIT = 1_000;

/** Keys checked in one place of a request: a client that sends more has not made a mistake, and they are ignored. */
const CHECKED_LIMIT = 3;

/** An authenticated identity. */
export interface Caller {
  /** For the log and for limits by caller; never a part of a key. */
  readonly id: string;
  /** Undefined for a caller that may do everything on the plane. */
  readonly issued?: FoundKey;
}

export const ANONYMOUS: Caller = { id: "anonymous" };

/** What a request presents to a plane. */
export interface Presentation {
  readonly plane: Plane;
  readonly presented: PresentedKeys;
  /** The client's address: guesses are counted by address. */
  readonly address: string;
  /** Of the request: they tell whether a web page may have sent it. */
  readonly headers: IncomingHttpHeaders;
}

/** Of the service. `public`: a caller with a valid key is identified, every other one is anonymous, and none is refused. */
type Access = Service["access"];

type Authentication =
  /** `digest` of the key; undefined where no key was needed. */
  | { readonly verdict: "known"; readonly caller: Caller; readonly digest?: string; readonly guesses?: Guesses }
  | (Unauthenticated & { readonly guesses?: Guesses });

/** Digests of the unknown keys in the request. */
type Guesses = readonly string[] | undefined;

export interface Callers {
  /**
   * Decides and records: bearer before header before query, the first valid key wins. A guess is counted, a valid key is
   * remembered, and a refusal is recorded with what was wrong with the key.
   */
  authenticate(presentation: Presentation, access?: Access): Caller | GatewayError;
  /** The same decision, recording nothing. */
  decide(presentation: Presentation, access?: Access): Caller | GatewayError;
  /** The decision on the proxy plane for the caller with this id, if it presented its key; undefined for an unknown id. */
  assume(callerId: string, access?: Access): Caller | GatewayError | undefined;
  /** Since the start: a reload, which often follows a mistake, does not forget it. */
  refusedKeys(): readonly RefusedKeys[];
  /** True for any of the gateway's own keys: such a token must never reach an upstream. */
  isOwnKey(token: string): boolean;
  isProtected(plane: Plane): boolean;
  /** Undefined for a token that is not a valid key. */
  planeOpenedBy(token: string): Plane | undefined;
}

/** Records about callers; they outlive a reload. */
export interface CallerRecords {
  readonly lockOut: LockOut;
  readonly keyRefusals: Pick<KeyRefusals, "note">;
  readonly refusedKeys: RefusedKeyCounts;
}

export function createCallers(
  config: Pick<Config, "proxyPlane" | "managementPlane">,
  issuedKeys: Pick<KeyIndex, "find" | "findById" | "counts">,
  { lockOut, keyRefusals, refusedKeys: refused }: CallerRecords,
): Callers {
  const planes = { proxy: config.proxyPlane, management: config.managementPlane };
  const digests = {
    proxy: expectedDigest(config.proxyPlane.key),
    management: expectedDigest(config.managementPlane.key),
  };
  // Overwritten for each comparison, which ends before any other code runs: a digest as text costs a quarter of one as a buffer.
  const candidate = Buffer.alloc(DIGEST_LENGTH);
  const rememberedDigests = new Map<string, string>();
  const callers: Record<Plane, Caller> = { proxy: { id: "proxy-key" }, management: { id: "management-key" } };

  const opens = (plane: Plane, digest: string) => {
    const expected = digests[plane];
    if (expected === undefined) return false;
    candidate.write(digest, "latin1");
    return timingSafeEqual(expected, candidate);
  };
  const remember = (key: string, digest: string) => {
    if (rememberedDigests.size >= REMEMBERED_LIMIT) rememberedDigests.clear();
    rememberedDigests.set(key, digest);
  };
  /** In any state and for any plane; undefined for a text that is not an issued key. */
  const findIssued = (key: string, digest: string) => (hasIssuedForm(key) ? issuedKeys.find(digest) : undefined);
  const isFor = (plane: Plane, { permissions }: FoundKey) =>
    plane === "proxy" ? permissions.hasProxy : permissions.hasManage;
  // A key issued for the proxy plane protects it as PROXY_API_KEY does, unless the operator declared the plane open.
  const isProtected = (plane: Plane) =>
    planes[plane].isProtected || (plane === "proxy" && !planes.proxy.isOpen && issuedKeys.counts.proxy > 0);

  /** From a locked-out address only keys are checked that worked from there before; other keys next to them are not. */
  function judge({ plane, presented, address, headers }: Presentation, now: number): Authentication {
    if (!isProtected(plane)) return { verdict: "known", caller: ANONYMOUS };
    const other = plane === "proxy" ? "management" : "proxy";
    const lockedForMs = lockOut.hasLocks ? lockOut.lockedForMs(address, now, senderOf(headers)) : 0;
    let presentedCount = 0;
    let checkedCount = 0;
    let otherPlane = false;
    let ended: EndedKey | undefined;
    let guesses: Guesses;
    for (const slot of [presented.bearer, presented.header, presented.query]) {
      for (let i = 0; i < slot.length && i < CHECKED_LIMIT; i++) {
        presentedCount++;
        const key = slot[i] as string;
        const remembered = rememberedDigests.get(key);
        const digest = remembered ?? digestOf(key);
        if (lockedForMs > 0 && !lockOut.isExempt(address, digest, now)) continue;
        checkedCount++;
        if (opens(plane, digest)) {
          if (remembered === undefined) remember(key, digest);
          return { verdict: "known", caller: callers[plane], digest, guesses };
        }
        const isOther = opens(other, digest);
        const issued = isOther ? undefined : findIssued(key, digest);
        if (isOther) otherPlane = true;
        else if (issued === undefined) guesses = [...(guesses ?? []), digest];
        else if (issued.state !== "active") ended = { id: issued.id, state: issued.state };
        else if (isFor(plane, issued)) {
          if (remembered === undefined) remember(key, digest);
          return { verdict: "known", caller: { id: issued.id, issued }, digest, guesses };
        } else otherPlane = true;
      }
    }
    if (presentedCount === 0) return { verdict: "missing", otherScheme: presented.otherScheme, empty: presented.empty };
    if (checkedCount === 0) return { verdict: "locked", forMs: lockedForMs };
    return { verdict: "unknown", otherPlane, ended, guesses };
  }

  function record(presentation: Presentation, authentication: Authentication, now: number): void {
    const { plane, presented, address } = presentation;
    switch (authentication.verdict) {
      case "locked":
        return;
      case "known":
        if (authentication.digest !== undefined) lockOut.noteGood(address, authentication.digest, now);
        // On the proxy plane an unknown key next to a valid one may be the caller's own credential for the upstream.
        if (plane === "management") noteGuesses(authentication.guesses, presentation, now);
        return;
      case "missing":
        return refused.add(plane, faultIn(plane, presented));
      case "unknown": {
        const { ended, guesses } = authentication;
        noteGuesses(guesses, presentation, now);
        if (ended !== undefined) keyRefusals.note(ended.id, ended.state);
        refused.add(plane, ended === undefined ? faultIn(plane, presented) : "ended");
      }
    }
  }

  /** Each key once, however often it is in one request. */
  function noteGuesses(guesses: Guesses, { address, headers }: Presentation, now: number): void {
    if (guesses === undefined) return;
    const from = senderOf(headers);
    for (const _ of new Set(guesses)) lockOut.noteUnknown(address, now, from);
  }

  function faultIn(plane: Plane, { bearer, header, query, otherScheme, empty }: PresentedKeys): KeyFault {
    const keys = [bearer, header, query].flatMap((slot) => slot.slice(0, CHECKED_LIMIT));
    if (keys.length === 0) return empty !== undefined ? "an empty key" : otherScheme ? "another scheme" : "missing";
    if (keys.some((key) => opens(otherOf(plane), digestOf(key)))) return "the other plane's key";
    if (keys.some((key) => isMisspelt(key))) return "a misspelt issued key";
    const own = planes[plane].key?.reveal() ?? "";
    return keys.map((key) => faultOf(key, own, isSame)).find((fault) => fault !== "unknown") ?? "unknown";
  }

  function assume(callerId: string): Authentication | undefined {
    const issued = issuedKeys.findById(callerId);
    const isKnown = issued !== undefined || callerId === ANONYMOUS.id || planeOfKeyCaller(callerId) !== undefined;
    if (!isKnown) return undefined;
    if (!isProtected("proxy")) return { verdict: "known", caller: ANONYMOUS };
    if (issued !== undefined) {
      const { id, state } = issued;
      if (state !== "active") return { verdict: "unknown", otherPlane: false, ended: { id, state } };
      if (isFor("proxy", issued)) return { verdict: "known", caller: { id, issued } };
      return { verdict: "unknown", otherPlane: true };
    }
    const keyPlane = planeOfKeyCaller(callerId);
    if (keyPlane === undefined) return { verdict: "missing", otherScheme: false, empty: undefined };
    return keyPlane === "proxy"
      ? { verdict: "known", caller: callers.proxy }
      : { verdict: "unknown", otherPlane: true };
  }

  const planeOfKeyCaller = (callerId: string) => PLANES.find((plane) => callers[plane].id === callerId);

  return {
    refusedKeys: refused.list,
    authenticate(presentation, access = "key") {
      const now = performance.now();
      const authentication = judge(presentation, now);
      if (access !== "public") record(presentation, authentication, now);
      return callerOrRefusal(presentation.plane, authentication, access);
    },
    decide: (presentation, access = "key") =>
      callerOrRefusal(presentation.plane, judge(presentation, performance.now()), access),
    assume(callerId, access = "key") {
      const authentication = assume(callerId);
      return authentication && callerOrRefusal("proxy", authentication, access);
    },
    isOwnKey(token) {
      const digest = digestOf(token);
      return opens("proxy", digest) || opens("management", digest) || findIssued(token, digest) !== undefined;
    },
    isProtected,
    planeOpenedBy(token) {
      const digest = digestOf(token);
      const issued = findIssued(token, digest);
      const isActive = issued?.state === "active";
      return PLANES.find((plane) => opens(plane, digest) || (isActive && isFor(plane, issued)));
    },
  };
}

const PLANES: readonly Plane[] = ["proxy", "management"];

const otherOf = (plane: Plane): Plane => (plane === "proxy" ? "management" : "proxy");

const senderOf = (headers: IncomingHttpHeaders): Sender => (mayBeOfForeignPage(headers) ? "page" : "program");

function callerOrRefusal(plane: Plane, authentication: Authentication, access: Access): Caller | GatewayError {
  if (authentication.verdict === "known") return authentication.caller;
  return access === "public" ? ANONYMOUS : refuseUnauthenticated(plane, authentication);
}

function isSame(a: string, b: string): boolean {
  return timingSafeEqual(Buffer.from(digestOf(a), "latin1"), Buffer.from(digestOf(b), "latin1"));
}

function expectedDigest(key: Secret | undefined): Buffer | undefined {
  return key === undefined ? undefined : Buffer.from(digestOf(key.reveal()), "latin1");
}
