/**
 * The secret that a command prints: how long it is used, when the command runs again, and what happens while it fails.
 * Invariant: one run at a time, and never one for each request: a failing command waits longer each time, and so does one whose secrets
 * the upstream refuses.
 */
import type { CommandState } from "../../config/credential-source.ts";
import type { CommandOutcome } from "./command-output.ts";
import type { CommandRun } from "./run-command.ts";

export interface CommandSecretOptions {
  readonly start: () => CommandRun;
  /** The command runs again after this time. */
  readonly ttlMs: number;
  /** Monotonic clock, ms: a change of the system's time ages no secret. */
  readonly now: () => number;
  /** Called with each failure, and with undefined when the command works again. */
  readonly onFailure: (reason: string | undefined) => void;
}

/** While the command fails, its last secret is used for this many TTLs. */
const FAILING_TTLS = 10;
const FIRST_DELAY_MS = 1_000;
/** Earlier secrets may still come back from an upstream. */
const REMEMBERED_SECRETS = 8;

interface Failure {
  readonly reason: string;
  readonly delayMs: number;
  readonly retryAt: number;
}

export class CommandSecret {
  readonly #options: CommandSecretOptions;
  /** Newest first, without repetition. */
  #recent: readonly string[] = [];
  #text: string | undefined;
  #obtainedAt = Number.NEGATIVE_INFINITY;
  #durationMs = 0;
  #failure: Failure | undefined;
  #run: CommandRun | undefined;
  #running: Promise<void> | undefined;
  #refusals = { delayMs: 0, lastRunAt: Number.NEGATIVE_INFINITY };
  #lastRunAt: number | undefined;
  #lastSecretAt: number | undefined;
  #isClosed = false;

  constructor(options: CommandSecretOptions) {
    this.#options = options;
  }

  /** The current secret and those before it, for masks. */
  get recent(): readonly string[] {
    return this.#recent;
  }

  /** The secret that a request would get without a wait; undefined where there is none. Runs nothing. */
  get text(): string | undefined {
    return this.#ageMs < this.#options.ttlMs * FAILING_TTLS ? this.#text : undefined;
  }

  /** Why there is no secret and no run that could give one; undefined otherwise. */
  get unavailable(): string | undefined {
    return this.text === undefined && this.#isBackingOff ? this.#failure?.reason : undefined;
  }

  /** There is no secret that could be used at once. */
  get isPending(): boolean {
    return this.text === undefined || (this.#ageMs >= this.#options.ttlMs && this.#failure === undefined);
  }

  describe(): CommandState {
    const failure = this.#failure?.reason;
    const known = this.text === undefined ? "not-run" : "ready";
    return {
      state: failure !== undefined ? "failing" : this.#running !== undefined ? "running" : known,
      lastRunAt: this.#lastRunAt,
      obtainedAt: this.text === undefined ? undefined : this.#lastSecretAt,
      failure,
    };
  }

  /** The secret, at once where one is known that is young enough. An undefined one is not available: `describe` says why. */
  get(): string | undefined | Promise<string | undefined> {
    const ageMs = this.#ageMs;
    if (ageMs < this.#renewAfterMs) return this.#text;
    const isFailing = this.#failure !== undefined;
    if (!this.#isBackingOff) void this.#start();
    const text = this.text;
    // In the background: while the secret is young enough, and while there is no better one.
    if (text !== undefined && (ageMs < this.#options.ttlMs || isFailing)) return text;
    return this.#running === undefined ? text : this.#running.then(() => this.text);
  }

  /**
   * After the upstream refused a secret.
   * @returns undefined where the command may not run again yet; else it resolves when there is another secret, or when the run failed.
   */
  renew(refused: string): Promise<void> | undefined {
    if (this.#text !== refused && this.text !== undefined) return Promise.resolve();
    if (this.#running !== undefined) return this.#running;
    if (this.#isBackingOff) return undefined;
    const now = this.#options.now();
    const { ttlMs } = this.#options;
    const sinceMs = now - this.#refusals.lastRunAt;
    const { delayMs } = this.#refusals;
    if (sinceMs < delayMs) return undefined;
    const next = sinceMs > ttlMs ? FIRST_DELAY_MS : Math.max(FIRST_DELAY_MS, delayMs * 2);
    this.#refusals = { delayMs: Math.min(next, ttlMs), lastRunAt: now };
    return this.#start();
  }

  /** Runs the command now, for an operator. */
  async refresh(): Promise<void> {
    // A run that is not over may have begun before the operator's change.
    await this.#running;
    if (!this.#isClosed) await this.#start();
  }

  /** A failing command may run again at once: what prevented it may be fixed. */
  retry(): void {
    if (this.#failure === undefined) return;
    this.#failure = { reason: this.#failure.reason, delayMs: 0, retryAt: Number.NEGATIVE_INFINITY };
  }

  /** Kills a run. */
  close(): void {
    this.#isClosed = true;
    this.#run?.kill();
  }

  get #ageMs(): number {
    return this.#text === undefined ? Number.POSITIVE_INFINITY : this.#options.now() - this.#obtainedAt;
  }

  get #isBackingOff(): boolean {
    return this.#isClosed || (this.#failure !== undefined && this.#options.now() < this.#failure.retryAt);
  }

  /** A slow command runs earlier, so that its secret is there in time. */
  get #renewAfterMs(): number {
    const { ttlMs } = this.#options;
    return ttlMs - Math.min(ttlMs / 2, Math.max(ttlMs / 10, this.#durationMs * 2));
  }

  #start(): Promise<void> {
    if (this.#running !== undefined) return this.#running;
    const startedAt = this.#options.now();
    this.#run = this.#options.start();
    this.#running = this.#run.outcome.then((outcome) => this.#finish(outcome, startedAt));
    return this.#running;
  }

  #finish(outcome: CommandOutcome, startedAt: number): void {
    const { now, ttlMs, onFailure } = this.#options;
    this.#run = undefined;
    this.#running = undefined;
    if (this.#isClosed) return;
    const endedAt = now();
    this.#lastRunAt = Date.now();
    if (outcome.kind === "failed") {
      const delayMs = Math.min(ttlMs, (this.#failure?.delayMs ?? 0) * 2 || FIRST_DELAY_MS);
      this.#failure = { reason: outcome.reason, delayMs, retryAt: endedAt + delayMs };
      return onFailure(outcome.reason);
    }
    const { text } = outcome;
    this.#durationMs = endedAt - startedAt;
    this.#recent = [text, ...this.#recent.filter((each) => each !== text)].slice(0, REMEMBERED_SECRETS);
    this.#text = text;
    this.#obtainedAt = endedAt;
    this.#lastSecretAt = this.#lastRunAt;
    if (this.#failure === undefined) return;
    this.#failure = undefined;
    onFailure(undefined);
  }
}
