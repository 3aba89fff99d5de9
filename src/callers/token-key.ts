/**
 * What a verified token grants, in the form of an issued key, so that permissions, limits and WebSockets treat both alike.
 * Invariant: a token never opens the management plane, and a claim that cannot be read grants nothing.
 */
import type { JWTPayload } from "jose";
import type { StoredKey } from "./issued-key.ts";
import type { FoundKey, KeyState } from "./key-index.ts";
import { compilePermissions, type Permissions } from "./permissions.ts";
import { digestOf } from "./presented-keys.ts";

/** Of the clocks of issuer and gateway, in both directions. */
export const CLOCK_TOLERANCE_S = 30;

/** Permissions of one token; the rest grants nothing. */
const PERMISSIONS_LIMIT = 200;
/** The last time that a Date can have, s. */
const LAST_TIME_S = 8_640_000_000_000;
const PLAIN_SUBJECT = /^[\w.@|:/+~=-]{1,64}$/;

/** Shared by the tokens of one signing key. */
export interface TokenTenure {
  /** The issuer withdrew the key, or the gateway no longer accepts its tokens. */
  isOver: boolean;
}

/** What the verification of a token found. */
export interface VerifiedToken {
  readonly digest: string;
  readonly claims: JWTPayload;
  readonly tenure: TokenTenure;
}

export class TokenKey implements FoundKey {
  readonly id: string;
  readonly digest: string;
  readonly key: StoredKey;
  readonly permissions: Permissions;
  readonly isToken = true;
  /** The claim `exp`, ms since the epoch. */
  readonly expiresAtMs: number;
  /** When a WebSocket of the token is closed, ms since the epoch. */
  readonly closesAtMs: number;
  readonly callerDigest: string;
  readonly #tenure: TokenTenure;
  readonly #now: () => number;

  constructor({ digest, claims, tenure }: VerifiedToken, permissionsClaim: string | undefined, now: () => number) {
    this.id = callerIdOf(claims);
    this.callerDigest = digestOf(this.id);
    this.digest = digest;
    this.#tenure = tenure;
    this.#now = now;
    this.expiresAtMs = Math.min(claims.exp ?? 0, LAST_TIME_S) * 1_000;
    this.closesAtMs = this.expiresAtMs + CLOCK_TOLERANCE_S * 1_000;
    this.permissions = compilePermissions(permissionsIn(claims, permissionsClaim));
    this.key = {
      name: this.id,
      permissions: this.permissions.texts,
      createdAt: new Date(now()).toISOString(),
      createdBy: "token",
      expiresAt: new Date(this.expiresAtMs).toISOString(),
      revokedAt: null,
      rateLimit: null,
      allowIps: [],
      digests: [],
    };
  }

  get state(): KeyState {
    return this.#now() < this.closesAtMs ? "active" : "expired";
  }

  get isOver(): boolean {
    return this.#tenure.isOver || this.state !== "active";
  }

  allowsAddress(): boolean {
    return true;
  }
}

/** No digest follows. */
export const WITHOUT_SUBJECT = "jwt:#";

/** `jwt:<sub>`, or a digest of a subject that is long or has other characters. Tokens without a subject share one id. */
export function callerIdOf({ sub, client_id, azp }: JWTPayload): string {
  const subject = [sub, client_id, azp].find((each): each is string => typeof each === "string" && each !== "");
  if (subject === undefined) return WITHOUT_SUBJECT;
  return PLAIN_SUBJECT.test(subject) ? `jwt:${subject}` : `jwt:#${digestOf(subject).slice(0, 16)}`;
}

function permissionsIn(claims: JWTPayload, claim: string | undefined): readonly string[] {
  const name = claim ?? (Object.hasOwn(claims, "permissions") ? "permissions" : "scope");
  const value = Object.hasOwn(claims, name) ? claims[name] : undefined;
  // RFC 6749 section 3.3 and RFC 8693 section 4.2: a scope is one text, separated by spaces.
  const texts = typeof value === "string" ? value.split(" ") : Array.isArray(value) ? value : [];
  return texts
    .slice(0, PERMISSIONS_LIMIT)
    .filter((text): text is string => typeof text === "string" && text !== "" && !text.startsWith("manage:"));
}
