/**
 * Who may call: turns a presented key into the plane that it opens.
 * Invariant: only digests are kept and compared, in constant time, so that lengths never throw and nothing leaks.
 */
import { hash, timingSafeEqual } from "node:crypto";
import { performance } from "node:perf_hooks";
import type { Config } from "../config/load-config.ts";
import type { Secret } from "../config/secret.ts";
import { hasIssuedForm, isMisspelt } from "./issued-key.ts";
import type { FoundKey, KeyIndex } from "./key-index.ts";
import type { KeyRefusals } from "./key-refusals.ts";
import type { LockOut } from "./lock-out.ts";
import type { PresentedKeys } from "./presented-keys.ts";
import { createRefusedKeys, faultOf, type KeyFault, type RefusedKeys } from "./refused-keys.ts";

/** Hex digits of a SHA-256. */
const DIGEST_LENGTH = 64;

/** Of the keys in one place of a request: more of them are no mistake, and are not looked at. */
const JUDGED_LIMIT = 3;

export type Plane = "proxy" | "management";

/** The authenticated identity behind a client. */
export interface Caller {
  /** For the log and for limits by caller; never a part of a key. */
  readonly id: string;
  /** Undefined for who may do all that there is on the plane. */
  readonly issued?: FoundKey;
}

export const ANONYMOUS: Caller = { id: "anonymous" };

/** What a request brings to a plane. */
export interface Presentation {
  readonly plane: Plane;
  readonly presented: PresentedKeys;
  /** The client's, whose guesses are counted. */
  readonly address: string;
}

export type Authentication =
  /** `digest` of the key that did it; undefined where none was asked for. */
  | { readonly verdict: "known"; readonly caller: Caller; readonly digest?: string; readonly guesses?: Guesses }
  | { readonly verdict: "missing"; readonly otherScheme: boolean }
  /** For guessing. */
  | { readonly verdict: "locked"; readonly forMs: number }
  /** `otherPlane`: it is a good key, but for the other plane. `ended`: it was one. */
  | {
      readonly verdict: "unknown";
      readonly otherPlane: boolean;
      readonly ended?: EndedKey | undefined;
      readonly guesses?: Guesses;
    };

/** Digests of the keys beside it that nobody has. */
type Guesses = readonly string[] | undefined;

interface EndedKey {
  readonly id: string;
  readonly state: "expired" | "revoked";
}

export interface Callers {
  /** Decides, and changes nothing: bearer before header before query, the first valid one wins. */
  authenticate(presentation: Presentation): Authentication;
  /** What follows from it: a guess is counted, a good key remembered, and for a refusal what was wrong with the key. */
  note(presentation: Presentation, authentication: Authentication): void;
  /** What would be decided for a caller of this id, who would have shown its key; undefined for an id that nobody has. */
  assume(plane: Plane, callerId: string): Authentication | undefined;
  /** Since these keys are in use. */
  refusedKeys(): readonly RefusedKeys[];
  /** True for any of the gateway's own keys: such a token must never travel on. */
  isOwnKey(token: string): boolean;
  isProtected(plane: Plane): boolean;
  /** Undefined for a token that is no key. */
  planeOpenedBy(token: string): Plane | undefined;
}

/** What is noted of callers; it outlives a reload. */
export interface CallerRecords {
  readonly lockOut: LockOut;
  readonly keyRefusals: Pick<KeyRefusals, "note">;
}

export function createCallers(
  config: Pick<Config, "proxyPlane" | "managementPlane">,
  issuedKeys: Pick<KeyIndex, "find" | "findById" | "counts">,
  { lockOut, keyRefusals }: CallerRecords,
): Callers {
  const planes = { proxy: config.proxyPlane, management: config.managementPlane };
  const digests = {
    proxy: expectedDigest(config.proxyPlane.key),
    management: expectedDigest(config.managementPlane.key),
  };
  // Filled anew for each comparison, which is over before anything else runs: a digest handed over as text costs a
  // quarter of one handed over as a buffer.
  const candidate = Buffer.alloc(DIGEST_LENGTH);
  const callers: Record<Plane, Caller> = { proxy: { id: "proxy-key" }, management: { id: "management-key" } };

  const opens = (plane: Plane, digest: string) => {
    const expected = digests[plane];
    if (expected === undefined) return false;
    candidate.write(digest, "latin1");
    return timingSafeEqual(expected, candidate);
  };

  /** Whatever its state and whatever it opens; undefined for a text that is no issued key. */
  const findIssued = (key: string, digest: string) => (hasIssuedForm(key) ? issuedKeys.find(digest) : undefined);
  const isFor = (plane: Plane, { permissions }: FoundKey) =>
    plane === "proxy" ? permissions.hasProxy : permissions.hasManage;
  // A key that was issued for the proxy plane protects it as PROXY_API_KEY does, where nobody said that it is open.
  const isProtected = (plane: Plane) =>
    planes[plane].isProtected || (plane === "proxy" && !planes.proxy.isOpen && issuedKeys.counts.proxy > 0);

  const refused = createRefusedKeys();

  /** Decides for whoever is locked out, too: of them a key goes on that worked from there; what comes beside it is not tried. */
  function judge({ plane, presented, address }: Presentation): Authentication {
    const other: Plane = plane === "proxy" ? "management" : "proxy";
    const now = performance.now();
    const lockedForMs = lockOut.lockedForMs(address, now);
    let seen = 0;
    let tried = 0;
    let otherPlane = false;
    let ended: EndedKey | undefined;
    let guesses: Guesses;
    for (const slot of [presented.bearer, presented.header, presented.query]) {
      for (let i = 0; i < slot.length && i < JUDGED_LIMIT; i++) {
        seen++;
        const key = slot[i] as string;
        const digest = sha256(key);
        if (lockedForMs > 0 && !lockOut.stays(address, digest, now)) continue;
        tried++;
        if (opens(plane, digest)) return { verdict: "known", caller: callers[plane], digest, guesses };
        const isOther = opens(other, digest);
        const issued = isOther ? undefined : findIssued(key, digest);
        if (isOther) otherPlane = true;
        else if (issued === undefined) guesses = [...(guesses ?? []), digest];
        else if (issued.state !== "active") ended = { id: issued.id, state: issued.state };
        else if (isFor(plane, issued)) return { verdict: "known", caller: { id: issued.id, issued }, digest, guesses };
        else otherPlane = true;
      }
    }
    if (seen === 0) return { verdict: "missing", otherScheme: presented.otherScheme };
    if (tried === 0) return { verdict: "locked", forMs: lockedForMs };
    return { verdict: "unknown", otherPlane, ended, guesses };
  }

  function faultIn(plane: Plane, presented: PresentedKeys): KeyFault {
    const keys = judgedOf(presented);
    if (keys.length === 0) return presented.otherScheme ? "another scheme" : "missing";
    if (keys.some((key) => opens(plane === "proxy" ? "management" : "proxy", sha256(key)))) {
      return "the other plane's key";
    }
    if (keys.some((key) => isMisspelt(key))) return "a misspelt issued key";
    const own = planes[plane].key?.reveal() ?? "";
    return keys.map((key) => faultOf(key, own, isSame)).find((fault) => fault !== "unknown") ?? "unknown";
  }

  /** Each key once, however often it stands in one request. */
  function noteGuesses(digests: Guesses, address: string, now: number): void {
    if (digests === undefined) return;
    for (const _ of new Set(digests)) lockOut.noteUnknown(address, now);
  }

  return {
    refusedKeys: refused.list,
    authenticate: (presentation) =>
      isProtected(presentation.plane) ? judge(presentation) : { verdict: "known", caller: ANONYMOUS },
    note({ plane, presented, address }, authentication) {
      const now = performance.now();
      switch (authentication.verdict) {
        case "locked":
          return;
        case "known":
          if (authentication.digest !== undefined) lockOut.noteGood(address, authentication.digest, now);
          // On the proxy plane what stands beside a good key may be the caller's own credential for the upstream.
          if (plane === "management") noteGuesses(authentication.guesses, address, now);
          return;
        case "missing":
          return refused.add(plane, faultIn(plane, presented));
        case "unknown": {
          const { ended, guesses } = authentication;
          noteGuesses(guesses, address, now);
          if (ended !== undefined) keyRefusals.note(ended.id, ended.state);
          refused.add(plane, ended === undefined ? faultIn(plane, presented) : "ended");
        }
      }
    },
    assume(plane, callerId) {
      const keyPlane = (["proxy", "management"] as const).find((each) => callers[each].id === callerId);
      const issued = issuedKeys.findById(callerId);
      if (keyPlane === undefined && issued === undefined && callerId !== ANONYMOUS.id) return undefined;
      if (!isProtected(plane)) return { verdict: "known", caller: ANONYMOUS };
      if (issued !== undefined) {
        const { id, state } = issued;
        if (state !== "active") return { verdict: "unknown", otherPlane: false, ended: { id, state } };
        if (isFor(plane, issued)) return { verdict: "known", caller: { id: issued.id, issued } };
        return { verdict: "unknown", otherPlane: true };
      }
      if (keyPlane === undefined) return { verdict: "missing", otherScheme: false };
      return keyPlane === plane
        ? { verdict: "known", caller: callers[plane] }
        : { verdict: "unknown", otherPlane: true };
    },
    isOwnKey(token) {
      const digest = sha256(token);
      return opens("proxy", digest) || opens("management", digest) || findIssued(token, digest) !== undefined;
    },
    isProtected,
    planeOpenedBy(token) {
      const digest = sha256(token);
      const issued = findIssued(token, digest);
      const isGood = issued?.state === "active";
      return (["proxy", "management"] as const).find(
        (plane) => opens(plane, digest) || (isGood && isFor(plane, issued)),
      );
    },
  };
}

function judgedOf({ bearer, header, query }: PresentedKeys): readonly string[] {
  return [bearer, header, query].flatMap((slot) => slot.slice(0, JUDGED_LIMIT));
}

function isSame(a: string, b: string): boolean {
  return timingSafeEqual(Buffer.from(sha256(a), "latin1"), Buffer.from(sha256(b), "latin1"));
}

function sha256(text: string): string {
  return hash("sha256", text, "hex");
}

function expectedDigest(key: Secret | undefined): Buffer | undefined {
  return key === undefined ? undefined : Buffer.from(sha256(key.reveal()), "latin1");
}
