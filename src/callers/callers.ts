/**
 * Authenticates callers: finds the caller of a presented key, on the plane that the key opens.
 * Invariant: the first valid key decides, and a client learns of a key only whether it is valid.
 */
import type { IncomingHttpHeaders } from "node:http";
import { performance } from "node:perf_hooks";
import type { Config } from "../config/load-config.ts";
import type { Service } from "../config/schema.ts";
import type { GatewayError } from "../errors.ts";
import { createOwnNames, mayBeOfForeignPage } from "../perimeter/browser-request.ts";
import type { IsKey } from "./carried-keys.ts";
import { findFault } from "./key-fault.ts";
import type { FoundKey, KeyIndex } from "./key-index.ts";
import { createKeyMatcher } from "./key-matcher.ts";
import type { KeyRefusals, RefusedKeyCounts, RefusedKeys } from "./key-refusals.ts";
import type { LockOut, Sender } from "./lock-out.ts";
import { CHECKED_LIMIT, keysIn, type PlacedKeys, type Presentation } from "./presentation.ts";
import { digestOf } from "./presented-keys.ts";
import {
  createExemption,
  FAULT_OF_TOKEN,
  judgeToken,
  orToken,
  type TokenVerdicts,
  verifyUnknown,
} from "./presented-tokens.ts";
import { hasTokenForm } from "./token-form.ts";
import type { TokenVerifier } from "./token-verifier.ts";
import type { Guesses, Trial } from "./trial.ts";
import { type Plane, refuseUnauthenticated, type Unauthenticated } from "./unauthenticated.ts";

/** An authenticated identity. */
export interface Caller {
  /** For the log and for limits by caller; never a part of a key. */
  readonly id: string;
  /** Undefined for a caller that may do everything on the plane. */
  readonly issued?: FoundKey;
}

export const ANONYMOUS: Caller = { id: "anonymous" };

const NO_PLACES: PlacedKeys = [];

const NO_REQUEST = { headers: {}, rawHeaders: [], url: "" };

/** Of the service. Without `key`, a caller with a valid key is identified, every other one is anonymous, and none is refused. */
type Access = Service["access"];

type Authentication =
  /** `digest` of the key; undefined where no key was needed. */
  | { readonly verdict: "known"; readonly caller: Caller; readonly digest?: string; readonly guesses?: Guesses }
  | (Unauthenticated & { readonly guesses?: Guesses });

export interface Callers {
  /**
   * Decides and records: bearer before header before query before the service's own places, the first valid key wins. A guess is counted, a valid key is
   * remembered, and a refusal is recorded with what was wrong with the key.
   */
  authenticate(presentation: Presentation, access?: Access): Caller | GatewayError;
  /** Verifies the tokens that are not known yet, for the decision that follows; undefined if there are none. */
  verifyTokens(presentation: Presentation): Promise<TokenVerdicts> | undefined;
  /** The gateway accepts JSON Web Tokens. */
  readonly acceptsTokens: boolean;
  /** The same decision, recording nothing. */
  decide(presentation: Presentation, access?: Access): Caller | GatewayError;
  /** The decision on the proxy plane for the caller with this id, if it presented its key; undefined for an unknown id. */
  assume(callerId: string, access?: Access): Caller | GatewayError | undefined;
  /** Since the start: a reload, which often follows a mistake, does not forget it. */
  refusedKeys(): readonly RefusedKeys[];
  /** True for any of the gateway's own keys, and for tokens that name it as their audience: such a text must never reach an upstream. */
  readonly isOwnKey: IsKey;
  /** True for a key or token that opens the proxy plane as this caller. */
  isKeyOf(caller: Caller, text: string): boolean;
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
  config: Pick<Config, "proxyPlane" | "managementPlane" | "settings">,
  issuedKeys: Pick<KeyIndex, "find" | "findById" | "counts">,
  { lockOut, keyRefusals, refusedKeys: refused }: CallerRecords,
  tokens?: TokenVerifier,
): Callers {
  const isOwnName = createOwnNames(config.settings);
  const senderOf = (headers: IncomingHttpHeaders): Sender =>
    mayBeOfForeignPage(headers, isOwnName) ? "page" : "program";
  const planes = { proxy: config.proxyPlane, management: config.managementPlane };
  const matcher = createKeyMatcher(config, issuedKeys);
  const { opens, findIssued } = matcher;
  const isExempt = createExemption(lockOut, tokens);
  const callers: Record<Plane, Caller> = { proxy: { id: "proxy-key" }, management: { id: "management-key" } };

  const isFor = (plane: Plane, { permissions }: FoundKey) =>
    plane === "proxy" ? permissions.hasProxy : permissions.hasManage;
  // A key issued for the proxy plane protects it as PROXY_API_KEY does, unless the operator declared the plane open.
  const isProtected = (plane: Plane) =>
    planes[plane].isProtected || (plane === "proxy" && !planes.proxy.isOpen && issuedKeys.counts.proxy > 0);

  /** From a locked-out address only keys are checked that worked from there before; other keys next to them are not. */
  function judge(presentation: Presentation, now: number): Authentication {
    const { plane, presented, address, request } = presentation;
    if (!isProtected(plane)) return { verdict: "known", caller: ANONYMOUS };
    const lockedForMs = lockOut.hasLocks ? lockOut.lockedForMs(address, now, senderOf(request.headers)) : 0;
    const trial: Trial = {
      plane,
      address,
      now,
      isLocked: lockedForMs > 0,
      presented: 0,
      checked: 0,
      otherPlane: false,
      verdicts: presentation.verdicts,
    };
    const { bearer, header, query } = presented;
    const known = findKnown(bearer, trial) ?? findKnown(header, trial) ?? findKnown(query, trial);
    if (known !== undefined) return known;
    const presentedElsewhere = trial.presented > 0;
    for (const place of presentation.placed?.() ?? NO_PLACES) {
      const placed = findKnown(place, trial);
      if (placed !== undefined) return placed;
    }
    const { otherPlane, ended, guesses, token } = trial;
    if (trial.presented > 0 && trial.checked === 0) return { verdict: "locked", forMs: lockedForMs };
    if (token !== undefined && !otherPlane && ended === undefined && (presentedElsewhere || token !== "invalid"))
      return { verdict: "token", state: token, guesses };
    // An unknown key in a service's own place is refused as no key is, or a stranger would learn which place the service has.
    if (presentedElsewhere || otherPlane || ended !== undefined)
      return { verdict: "unknown", otherPlane, ended, guesses };
    const { otherScheme, empty } = presented;
    return { verdict: "missing", otherScheme, empty, guesses };
  }

  /** The caller of the first valid key of one place; otherwise the trial shows what was wrong with the keys. */
  function findKnown(keys: readonly string[], trial: Trial): Authentication | undefined {
    for (let i = 0; i < keys.length && i < CHECKED_LIMIT; i++) {
      trial.presented++;
      const key = keys[i] as string;
      const digest = matcher.digestOf(key);
      if (trial.isLocked && !isExempt(key, digest, trial)) continue;
      trial.checked++;
      const caller = callerOf(digest, key, trial);
      if (caller === undefined) continue;
      if (caller.issued?.isToken === undefined) matcher.remember(key, digest);
      return { verdict: "known", caller, digest: caller.issued?.callerDigest ?? digest, guesses: trial.guesses };
    }
    return undefined;
  }

  function callerOf(digest: string, key: string, trial: Trial): Caller | undefined {
    const { plane } = trial;
    if (opens(plane, digest)) return callers[plane];
    const isOther = opens(otherOf(plane), digest);
    const issued = isOther ? undefined : findIssued(key, digest);
    if (isOther) trial.otherPlane = true;
    else if (issued === undefined && tokens !== undefined && hasTokenForm(key))
      return callerOfToken(judgeToken(key, { digest, tokens, trial }));
    else if (issued === undefined) trial.guesses = [...(trial.guesses ?? []), digest];
    else if (issued.state !== "active") trial.ended = { id: issued.id, state: issued.state };
    else if (isFor(plane, issued)) return { id: issued.id, issued };
    else trial.otherPlane = true;
    return undefined;
  }

  function record(presentation: Presentation, authentication: Authentication, now: number): void {
    const { plane, address } = presentation;
    switch (authentication.verdict) {
      case "locked":
        return;
      case "known":
        if (authentication.digest !== undefined) lockOut.noteGood(address, authentication.digest, now);
        // On the proxy plane an unknown key next to a valid one may be the caller's own credential for the upstream.
        if (plane === "management") noteGuesses(authentication.guesses, presentation, now);
        return;
      case "missing":
        noteGuesses(authentication.guesses, presentation, now);
        return refused.add(plane, faultIn(presentation));
      case "token":
        noteGuesses(authentication.guesses, presentation, now);
        return refused.add(plane, FAULT_OF_TOKEN[authentication.state]);
      case "unknown": {
        const { ended, guesses } = authentication;
        noteGuesses(guesses, presentation, now);
        if (ended !== undefined) keyRefusals.note(ended.id, ended.state);
        refused.add(plane, ended === undefined ? faultIn(presentation) : "ended");
      }
    }
  }

  /** Each key once, however often it is in one request. */
  function noteGuesses(guesses: Guesses, { address, request }: Presentation, now: number): void {
    if (guesses === undefined) return;
    const from = senderOf(request.headers);
    for (const _ of new Set(guesses)) lockOut.noteUnknown(address, now, from);
  }

  const faultIn = (presentation: Presentation) =>
    findFault(keysIn(presentation), {
      presented: presentation.presented,
      own: planes[presentation.plane].key?.reveal() ?? "",
      opensOther: (digest) => opens(otherOf(presentation.plane), digest),
    });

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
      if (access === "key") record(presentation, authentication, now);
      return callerOrRefusal(presentation, authentication, access);
    },
    decide: (presentation, access = "key") =>
      callerOrRefusal(presentation, judge(presentation, performance.now()), access),
    assume(callerId, access = "key") {
      const authentication = assume(callerId);
      return authentication && callerOrRefusal({ plane: "proxy", request: NO_REQUEST }, authentication, access);
    },
    acceptsTokens: tokens !== undefined,
    verifyTokens(presentation) {
      const { plane, address, request } = presentation;
      // No token opens the management plane, so none is verified there.
      if (tokens === undefined || plane === "management" || !isProtected(plane)) return undefined;
      const now = performance.now();
      const isLocked = lockOut.hasLocks && lockOut.isLocked(address, now, senderOf(request.headers));
      const isChecked = (token: string) => !isLocked || isExempt(token, digestOf(token), { address, now });
      return verifyUnknown(keysIn(presentation), { tokens, address }, isChecked);
    },
    isOwnKey: orToken(matcher.isOwnKey, tokens),
    isKeyOf({ id, issued }, text) {
      const digest = digestOf(text);
      if (issued === undefined) return id === callers.proxy.id && opens("proxy", digest);
      return digest === issued.digest || findIssued(text, digest)?.id === id;
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

const callerOfToken = (issued: FoundKey | undefined) => issued && { id: issued.id, issued };

const otherOf = (plane: Plane): Plane => (plane === "proxy" ? "management" : "proxy");

function callerOrRefusal(
  { plane, request }: Pick<Presentation, "plane" | "request">,
  authentication: Authentication,
  access: Access,
): Caller | GatewayError {
  if (authentication.verdict === "known") return authentication.caller;
  return access !== "key" ? ANONYMOUS : refuseUnauthenticated(plane, authentication, request);
}
