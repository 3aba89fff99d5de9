/**
 * Who may call: turns a presented key into the plane that it opens.
 * Invariant: only digests are kept and compared, in constant time, so that lengths never throw and nothing leaks.
 */
import { hash, timingSafeEqual } from "node:crypto";
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

/** Of the keys of one request: more of them are no mistake. */
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
  | { readonly verdict: "known"; readonly caller: Caller; readonly digest?: string }
  | { readonly verdict: "missing"; readonly otherScheme: boolean }
  /** For guessing. */
  | { readonly verdict: "locked"; readonly forMs: number }
  /** `otherPlane`: it is a good key, but for the other plane. `ended`: it was one. */
  | { readonly verdict: "unknown"; readonly otherPlane: boolean; readonly ended?: EndedKey | undefined };

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

  function lockedForMs({ bearer, header, query }: PresentedKeys, address: string): number {
    const now = performance.now();
    const forMs = lockOut.lockedForMs(address, now);
    if (forMs === 0) return 0;
    const keys = [...bearer, ...header, ...query].slice(0, JUDGED_LIMIT);
    // Whose key worked from there goes on: in a sidecar everyone has one address.
    return keys.length === 0 || keys.some((key) => lockOut.stays(address, sha256(key), now)) ? 0 : forMs;
  }

  function judge(plane: Plane, presented: PresentedKeys): Authentication {
    const other: Plane = plane === "proxy" ? "management" : "proxy";
    let seen = false;
    let otherPlane = false;
    let ended: EndedKey | undefined;
    for (const slot of [presented.bearer, presented.header, presented.query]) {
      for (const key of slot) {
        seen = true;
        const digest = sha256(key);
        if (opens(plane, digest)) return { verdict: "known", caller: callers[plane], digest };
        otherPlane ||= opens(other, digest);
        const issued = findIssued(key, digest);
        if (issued === undefined) continue;
        const { id, state } = issued;
        if (state !== "active") ended = { id, state };
        else if (isFor(plane, issued)) return { verdict: "known", caller: { id, issued }, digest };
        else otherPlane = true;
      }
    }
    if (!seen) return { verdict: "missing", otherScheme: presented.otherScheme };
    return { verdict: "unknown", otherPlane, ended };
  }

  function faultIn(plane: Plane, { bearer, header, query, otherScheme }: PresentedKeys): KeyFault {
    const keys = [...bearer, ...header, ...query].slice(0, JUDGED_LIMIT);
    if (keys.length === 0) return otherScheme ? "another scheme" : "missing";
    if (keys.some((key) => opens(plane === "proxy" ? "management" : "proxy", sha256(key)))) {
      return "the other plane's key";
    }
    if (keys.some((key) => isMisspelt(key))) return "a misspelt issued key";
    const own = planes[plane].key?.reveal() ?? "";
    return keys.map((key) => faultOf(key, own, isSame)).find((fault) => fault !== "unknown") ?? "unknown";
  }

  return {
    refusedKeys: refused.list,
    authenticate({ plane, presented, address }) {
      if (!isProtected(plane)) return { verdict: "known", caller: ANONYMOUS };
      const forMs = lockedForMs(presented, address);
      return forMs > 0 ? { verdict: "locked", forMs } : judge(plane, presented);
    },
    note({ plane, presented, address }, authentication) {
      const { verdict } = authentication;
      if (verdict === "locked") return;
      if (verdict === "known") {
        const { digest } = authentication;
        if (digest !== undefined) lockOut.noteGood(address, digest, performance.now());
        return;
      }
      const ended = verdict === "unknown" ? authentication.ended : undefined;
      if (ended !== undefined) keyRefusals.note(ended.id, ended.state);
      else if (verdict === "unknown" && !authentication.otherPlane) lockOut.noteUnknown(address, performance.now());
      refused.add(plane, ended === undefined ? faultIn(plane, presented) : "ended");
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

function isSame(a: string, b: string): boolean {
  return timingSafeEqual(Buffer.from(sha256(a), "latin1"), Buffer.from(sha256(b), "latin1"));
}

function sha256(text: string): string {
  return hash("sha256", text, "hex");
}

function expectedDigest(key: Secret | undefined): Buffer | undefined {
  return key === undefined ? undefined : Buffer.from(sha256(key.reveal()), "latin1");
}
