/**
 * What responses say about the credential: when it expires, and which of its scopes requests needed.
 * Invariant: an upstream that says nothing costs one decrement for a request; and what it says is kept only if it has the form of a
 * scope or a date, and contains no secret.
 */
import type { ScopeState } from "../config/described-life.ts";
import type { ResponseHeaders } from "./forward/transport/response-fields.ts";

/** Responses that are all read. */
const FIRST_RESPONSES = 16;
/** After these one of so many is read, until one says something. */
const SAMPLE = 64;
/** A statement about scopes that were not needed wants so many responses, and so much time. */
const ENOUGH_RESPONSES = 1_000;
const ENOUGH_MS = 86_400_000;
const SCOPES_LIMIT = 100;
const KNOWN_TEXTS_LIMIT = 256;
/** Characters of a list of scopes. */
const TEXT_LIMIT = 2_048;
const SCOPE = /^[A-Za-z0-9][A-Za-z0-9_.:/*-]{0,99}$/;

export interface CredentialFactsOptions {
  /** Whether a text contains a secret. */
  readonly isSecret: (text: string) => boolean;
  /** Called with each other end, ms since the epoch. */
  readonly onEnd: (expiresAt: number) => void;
  /** ms since the epoch. */
  readonly now?: () => number;
}

export class CredentialFacts {
  readonly #options: CredentialFactsOptions & { readonly now: () => number };
  #since: number;
  #misses = 0;
  #responses = 0;
  #grantedText: string | undefined;
  #granted: readonly string[] = [];
  readonly #needed = new Set<string>();
  /** A response named scopes of which none was granted: the names do not say which one covers them. */
  #isUnclear = false;
  /** Values of headers that have been read. */
  readonly #known = new Set<string>();
  #endText: string | undefined;

  constructor(options: CredentialFactsOptions) {
    this.#options = { now: Date.now, ...options };
    this.#since = this.#options.now();
  }

  /** @param headers of a response below 400. @returns how many responses need not be read. */
  read(headers: ResponseHeaders): number {
    const granted = headers["x-oauth-scopes"];
    const end = headers["github-authentication-token-expiration"];
    if (granted === undefined && end === undefined) {
      this.#misses++;
      return this.#misses < FIRST_RESPONSES ? 0 : SAMPLE - 1;
    }
    this.#misses = 0;
    if (typeof end === "string") this.#readEnd(end);
    if (typeof granted === "string") this.#readScopes(granted, headers["x-accepted-oauth-scopes"]);
    return 0;
  }

  /** Undefined while no response has named scopes. */
  describe(): ScopeState | undefined {
    if (this.#granted.length === 0) return undefined;
    const isEnough =
      !this.#isUnclear && this.#responses >= ENOUGH_RESPONSES && this.#options.now() - this.#since >= ENOUGH_MS;
    return {
      granted: this.#granted,
      unneeded: isEnough ? this.#granted.filter((scope) => !this.#needed.has(scope)) : undefined,
      responses: this.#responses,
      since: this.#since,
    };
  }

  #readEnd(text: string): void {
    if (text === this.#endText) return;
    this.#endText = text;
    const at = readTime(text);
    if (at !== undefined) this.#options.onEnd(at);
  }

  #readScopes(granted: string, accepted: string | string[] | undefined): void {
    this.#responses++;
    if (granted !== this.#grantedText) {
      this.#grantedText = granted;
      this.#granted = this.#scopesIn(granted);
      // What is known is about other scopes.
      for (const set of [this.#known, this.#needed]) set.clear();
      this.#isUnclear = false;
      this.#responses = 1;
      this.#since = this.#options.now();
    }
    if (typeof accepted !== "string" || accepted === "" || this.#known.has(accepted)) return;
    if (this.#known.size >= KNOWN_TEXTS_LIMIT || accepted.length > TEXT_LIMIT) {
      this.#isUnclear = true;
      return;
    }
    this.#known.add(accepted);
    const wanted = this.#scopesIn(accepted);
    const used = this.#granted.filter((scope) => wanted.some((each) => covers(scope, each)));
    if (used.length === 0 && wanted.length > 0) this.#isUnclear = true;
    for (const scope of used) this.#needed.add(scope);
  }

  #scopesIn(text: string): readonly string[] {
    if (this.#options.isSecret(text)) return [];
    const scopes = text.split(/[,\s]+/).filter((scope) => SCOPE.test(scope));
    return [...new Set(scopes)].slice(0, SCOPES_LIMIT);
  }
}

/** Whether a granted scope may be the reason why a request for the other one was accepted. */
function covers(granted: string, wanted: string): boolean {
  if (granted === wanted || wanted.startsWith(`${granted}:`)) return true;
  // docs.github.com/apps/oauth-apps/building-oauth-apps/scopes-for-oauth-apps
  if (granted === "repo" && (wanted === "public_repo" || wanted === "security_events")) return true;
  const [level, of] = granted.split(":");
  return of !== undefined && LEVELS.has(level ?? "") && wanted.endsWith(`:${of}`);
}

/** `admin:org` includes `read:org`. */
const LEVELS: ReadonlySet<string> = new Set(["admin", "write", "manage"]);

/** GitHub's form: `2026-12-31 23:59:59 UTC`, or with an offset. @returns ms since the epoch. */
function readTime(text: string): number | undefined {
  const [, day, time, zone] = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) (UTC|[+-]\d{4})$/.exec(text) ?? [];
  if (day === undefined || zone === undefined) return undefined;
  const at = Date.parse(`${day}T${time}${zone === "UTC" ? "Z" : `${zone.slice(0, 3)}:${zone.slice(3)}`}`);
  return Number.isNaN(at) ? undefined : at;
}
