/**
 * An access token that expires: when it is fetched, how long it is used, and what happens while the token endpoint fails.
 * Invariant: one fetch at a time, and never one for each request: a failing endpoint is asked less often each time, and so is one whose
 * tokens the upstream refuses. A token is used until it expires, also while its renewal fails.
 */
import type { TokenState } from "../../config/token-state.ts";
import { type AccessToken, TokenFailure } from "./access-token.ts";

export interface RenewedTokenOptions {
  /** @throws TokenFailure */
  readonly fetchToken: (signal: AbortSignal) => Promise<AccessToken>;
  /** Monotonic clock, ms: a change of the system's time ages no token. */
  readonly now: () => number;
  /** Called with each failure, and with undefined when the endpoint works again. */
  readonly onFailure: (failure: TokenFailure | undefined) => void;
}

/** A token that was fetched. Times are those of the monotonic clock, ms. */
export interface HeldToken {
  readonly text: string;
  readonly scope: string | undefined;
  /** Infinity where it is not known. */
  readonly expiresAt: number;
  /** From then on it is renewed in the background. */
  readonly renewAt: number;
}

const FIRST_DELAY_MS = 1_000;
const LONGEST_DELAY_MS = 60_000;
/** A token is renewed this long before it expires, or a tenth of its life. */
const EARLY_MS = 60_000;
/** A token is used for at least this time: an endpoint whose tokens live for less must not be asked for each request. */
const SHORTEST_USE_MS = 1_000;
/** Earlier tokens may still come back from an upstream. */
const REMEMBERED_TOKENS = 16;

interface Failure {
  readonly cause: TokenFailure;
  readonly delayMs: number;
  readonly retryAt: number;
}

export class RenewedToken {
  readonly #options: RenewedTokenOptions;
  readonly #closing = new AbortController();
  /** Newest first. */
  #recent: readonly string[] = [];
  #held: HeldToken | undefined;
  #failure: Failure | undefined;
  /** Resolves to the token that was fetched. */
  #running: Promise<HeldToken | undefined> | undefined;
  #refusals = { delayMs: 0, lastFetchAt: Number.NEGATIVE_INFINITY };
  #renewedAt: number | undefined;
  #expiresAt: number | undefined;

  constructor(options: RenewedTokenOptions) {
    this.#options = options;
  }

  /** The current token and those before it, also refresh tokens, for masks. */
  get recent(): readonly string[] {
    return this.#recent;
  }

  /** Why there is no token and no fetch that could give one; undefined otherwise. */
  get unavailable(): string | undefined {
    return this.#usable === undefined && this.#isBackingOff ? this.failure : undefined;
  }

  /** There is no token that could be used at once. */
  get isPending(): boolean {
    return this.#usable === undefined;
  }

  /** Of the last fetch; undefined if it succeeded. */
  get failure(): string | undefined {
    return this.#failure?.cause.message;
  }

  describe(): TokenState {
    const usable = this.#usable;
    return {
      state: this.#failure !== undefined ? "failing" : usable === undefined ? "none" : "ready",
      expiresAt: usable && this.#expiresAt,
      scope: usable?.scope,
      renewedAt: this.#renewedAt,
      failure: this.failure,
    };
  }

  /** The token, at once where there is one that has not expired. Undefined if the fetch failed: `failure` says why. */
  get(): HeldToken | undefined | Promise<HeldToken | undefined> {
    const held = this.#held;
    const now = this.#options.now();
    if (held !== undefined && now < held.renewAt) return held;
    if (!this.#isBackingOff) void this.#start();
    if (held !== undefined && now < held.expiresAt) return held;
    // Also one that lives for less than a request waits.
    return this.#running;
  }

  /**
   * After the upstream refused a token.
   * @returns undefined where it is too early for another fetch; else it resolves when there is another token, or when the fetch failed.
   */
  renew(refused: HeldToken): Promise<void> | undefined {
    if (this.#held !== refused) return Promise.resolve();
    if (this.#running !== undefined) return this.#running.then(() => {});
    if (this.#isBackingOff) return undefined;
    const now = this.#options.now();
    const sinceMs = now - this.#refusals.lastFetchAt;
    const { delayMs } = this.#refusals;
    if (sinceMs < delayMs) return undefined;
    const next = sinceMs > delayMs + LONGEST_DELAY_MS ? FIRST_DELAY_MS : Math.max(FIRST_DELAY_MS, delayMs * 2);
    this.#refusals = { delayMs: Math.min(next, LONGEST_DELAY_MS), lastFetchAt: now };
    return this.#start().then(() => {});
  }

  /** Fetches a token now, for an operator. @returns why there is none; undefined for success. */
  async refresh(): Promise<string | undefined> {
    // A fetch that runs may have begun before the operator's change.
    await this.#running;
    const held = this.#closing.signal.aborted ? undefined : await this.#start();
    return held === undefined ? (this.failure ?? "was not asked, because the service has ended") : undefined;
  }

  /** After a reload: what made the endpoint fail may be fixed. */
  retry(): void {
    if (this.#failure === undefined) return;
    this.#failure = { ...this.#failure, delayMs: 0, retryAt: Number.NEGATIVE_INFINITY };
  }

  /** Uses no token from before. @param isFetched fetch another one in the background. */
  forget(isFetched: boolean): void {
    this.#held = undefined;
    this.#failure = undefined;
    if (isFetched && !this.#isBackingOff) void this.#start();
  }

  /** Ends a fetch. */
  close(): void {
    this.#closing.abort();
  }

  get #usable(): HeldToken | undefined {
    return this.#held !== undefined && this.#options.now() < this.#held.expiresAt ? this.#held : undefined;
  }

  get #isBackingOff(): boolean {
    const { signal } = this.#closing;
    return signal.aborted || (this.#failure !== undefined && this.#options.now() < this.#failure.retryAt);
  }

  #start(): Promise<HeldToken | undefined> {
    this.#running ??= this.#obtain().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #obtain(): Promise<HeldToken | undefined> {
    const { fetchToken, now, onFailure } = this.#options;
    const startedAt = now();
    try {
      const { text, scope, expiresIn, refreshToken } = await fetchToken(this.#closing.signal);
      const lifeMs = expiresIn === undefined ? Number.POSITIVE_INFINITY : Math.max(expiresIn * 1_000, SHORTEST_USE_MS);
      const expiresAt = startedAt + lifeMs;
      const earlyMs = Number.isFinite(lifeMs) ? Math.min(EARLY_MS, lifeMs / 10) : 0;
      const secrets = refreshToken === undefined ? [text] : [text, refreshToken];
      this.#recent = [...new Set([...secrets, ...this.#recent])].slice(0, REMEMBERED_TOKENS);
      this.#held = { text, scope, expiresAt, renewAt: expiresAt - earlyMs };
      this.#renewedAt = Date.now();
      this.#expiresAt = Number.isFinite(lifeMs) ? this.#renewedAt - (now() - startedAt) + lifeMs : undefined;
      if (this.#failure !== undefined) onFailure(undefined);
      this.#failure = undefined;
      return this.#held;
    } catch (error) {
      if (this.#closing.signal.aborted) return undefined;
      const cause = error instanceof TokenFailure ? error : new TokenFailure("failed", { detail: String(error) });
      const backoffMs = Math.min(LONGEST_DELAY_MS, (this.#failure?.delayMs ?? 0) * 2 || FIRST_DELAY_MS);
      const delayMs = Math.max(backoffMs, cause.retryAfterMs ?? 0);
      this.#failure = { cause, delayMs: backoffMs, retryAt: now() + delayMs };
      onFailure(cause);
      return undefined;
    }
  }
}
