/**
 * Who may call: turns a presented key into the plane that it opens.
 * Invariant: only digests are kept and compared, in constant time, so that lengths never throw and nothing leaks.
 */
import { hash, timingSafeEqual } from "node:crypto";
import type { Config } from "../config/load-config.ts";
import type { Secret } from "../config/secret.ts";
import { hasIssuedForm } from "./issued-key.ts";
import type { FoundKey, KeyIndex } from "./key-index.ts";
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

export type Authentication =
  | { readonly verdict: "known"; readonly caller: Caller }
  | { readonly verdict: "missing"; readonly otherScheme: boolean }
  /** `otherPlane`: it is a good key, but for the other plane. `ended`: it was one. */
  | { readonly verdict: "unknown"; readonly otherPlane: boolean; readonly ended?: "expired" | "revoked" | undefined };

export interface Callers {
  /**
   * Decides for one plane: bearer before header before query, the first valid one wins.
   * @param address whose guesses are counted; left out, nothing is.
   */
  authenticate(plane: Plane, presented: PresentedKeys, address?: string): Authentication;
  /** Ms for which whoever presents these keys from there is locked out for guessing; 0 where they are not. */
  lockedForMs(plane: Plane, presented: PresentedKeys, address: string): number;
  /** What would be decided for a caller of this id, who would have shown its key; undefined for an id that nobody has. */
  assume(plane: Plane, callerId: string): Authentication | undefined;
  /** Counts a refusal by what was wrong with the key. */
  rememberRefused(plane: Plane, presented: PresentedKeys): void;
  /** Since these keys are in use. */
  refusedKeys(): readonly RefusedKeys[];
  /** True for any of the gateway's own keys: such a token must never travel on. */
  isOwnKey(token: string): boolean;
  isProtected(plane: Plane): boolean;
  /** Undefined for a token that is no key. */
  planeOpenedBy(token: string): Plane | undefined;
}

export function createCallers(
  config: Pick<Config, "proxyPlane" | "managementPlane">,
  issuedKeys: Pick<KeyIndex, "find" | "findById" | "counts">,
  lockOut: LockOut,
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

  function faultIn(plane: Plane, presented: PresentedKeys): KeyFault {
    const keys = judgedOf(presented);
    if (keys.length === 0) return presented.otherScheme ? "another scheme" : "missing";
    if (keys.some((key) => opens(plane === "proxy" ? "management" : "proxy", sha256(key)))) {
      return "the other plane's key";
    }
    const own = planes[plane].key?.reveal() ?? "";
    return keys.map((key) => faultOf(key, own, isSame)).find((fault) => fault !== "unknown") ?? "unknown";
  }

  /** Each key once, however often it stands in one request. */
  function noteGuesses(digests: readonly string[], address: string | undefined, now: number): void {
    if (address === undefined || digests.length === 0) return;
    for (const _ of new Set(digests)) lockOut.noteUnknown(address, now);
  }

  return {
    rememberRefused: (plane, presented) => refused.add(plane, faultIn(plane, presented)),
    refusedKeys: refused.list,
    lockedForMs(plane, presented, address) {
      const now = performance.now();
      const lockedForMs = lockOut.lockedForMs(address, now);
      if (lockedForMs === 0 || !isProtected(plane)) return 0;
      const keys = judgedOf(presented);
      // Whose key worked from there goes on: in a sidecar everyone has one address.
      return keys.length === 0 || keys.some((key) => lockOut.stays(address, sha256(key), now)) ? 0 : lockedForMs;
    },
    authenticate(plane, presented, address) {
      if (!isProtected(plane)) return { verdict: "known", caller: ANONYMOUS };
      const now = address === undefined ? 0 : performance.now();
      const isLocked = address !== undefined && lockOut.isLocked(address, now);
      const guesses: string[] = [];
      const known = (caller: Caller, digest: string): Authentication => {
        if (address !== undefined) lockOut.noteGood(address, digest, now);
        // On the proxy plane what stands beside a good key may be the caller's own credential for the upstream.
        if (plane === "management") noteGuesses(guesses, address, now);
        return { verdict: "known", caller };
      };
      const other: Plane = plane === "proxy" ? "management" : "proxy";
      let seen = false;
      let otherPlane = false;
      let ended: "expired" | "revoked" | undefined;
      for (const slot of [presented.bearer, presented.header, presented.query]) {
        for (let i = 0; i < slot.length && i < JUDGED_LIMIT; i++) {
          const key = slot[i] as string;
          seen = true;
          const digest = sha256(key);
          // Of whoever is locked out a key goes on that worked from there; what comes beside it is not tried.
          if (isLocked && !lockOut.stays(address, digest, now)) continue;
          if (opens(plane, digest)) return known(callers[plane], digest);
          const isOther = opens(other, digest);
          otherPlane ||= isOther;
          const issued = findIssued(key, digest);
          if (issued === undefined) {
            if (!isOther) guesses.push(digest);
            continue;
          }
          const { state } = issued;
          if (state !== "active") ended = state;
          else if (isFor(plane, issued)) return known({ id: issued.id, issued }, digest);
          else otherPlane = true;
        }
      }
      noteGuesses(guesses, address, now);
      return seen
        ? { verdict: "unknown", otherPlane, ended }
        : { verdict: "missing", otherScheme: presented.otherScheme };
    },
    assume(plane, callerId) {
      const keyPlane = (["proxy", "management"] as const).find((each) => callers[each].id === callerId);
      const issued = issuedKeys.findById(callerId);
      if (keyPlane === undefined && issued === undefined && callerId !== ANONYMOUS.id) return undefined;
      if (!isProtected(plane)) return { verdict: "known", caller: ANONYMOUS };
      if (issued !== undefined) {
        const { state } = issued;
        if (state !== "active") return { verdict: "unknown", otherPlane: false, ended: state };
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
