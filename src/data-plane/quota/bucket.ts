/**
 * What is known of one bucket, and who waits for it.
 * Invariant: where nothing is known one request goes ahead and the others wait for what it is told; where something is known
 * the ledger decides.
 */
import type { Account } from "../../stores/ledger.ts";
import { FairQueue } from "./fair-queue.ts";
import { KnownWindow } from "./known-window.ts";
import type { QuotaReading, QuotaWindow } from "./read-quota.ts";
import type { Told } from "./refill.ts";

/** Where no limit is told, a request is let go ahead after so long, ms, though the one before has not been answered. */
const PATIENCE_MS = 1_000;

/** A limit that so many answers in a row are silent on is one no more. */
const MISSED_LIMIT = 10;

/** The longest wait for an upstream that refuses and never says for how long, ms. */
const LONGEST_GUESS_MS = 60_000;

/** Whoever waits in a bucket. */
interface Member {
  readonly callerId: string;
  readonly lane: string;
}

/** Of one bucket: an upstream that invents names is not believed all of them. */
const WINDOWS_LIMIT = 16;

export class Bucket<T extends Member> {
  /** Another one when an answer names it. */
  key: string;
  /** The one that this turned out to be. */
  mergedInto: Bucket<T> | undefined;
  /** Those in which somebody waits. */
  readonly lanes = new Map<string, FairQueue<T>>();
  inFlight = 0;
  /** Requests that were ever let go. */
  sent = 0;
  /** Nothing goes before then, ms since the epoch. */
  closedUntil = 0;
  /** The ledger has nothing before then, unless something comes back. */
  askAgainAt = 0;
  /** Counts what may have changed the ledger's mind. */
  changes = 0;
  /** The end that those who wait were last measured against. */
  sweptFor = 0;
  readonly #windows = new Map<string, KnownWindow>();
  /** Requests in flight while nothing is known. */
  #allowance = 1;
  /** Sent while nothing is known, and nobody said what they took. */
  #unaccounted = 0;
  #refusedInRow = 0;
  #wasRefused = false;
  #grantedAt = 0;
  /** Since when nothing was answered. */
  #silentSince = 0;

  constructor(key: string) {
    this.key = key;
  }

  get waiting(): number {
    let sum = 0;
    for (const { size } of this.lanes.values()) sum += size;
    return sum;
  }

  push(member: T): void {
    const lane = this.lanes.get(member.lane) ?? new FairQueue<T>();
    this.lanes.set(member.lane, lane);
    lane.push(member.callerId, member);
  }

  /** @param hasGone its caller goes behind the others. */
  remove(member: T, hasGone = false): void {
    const lane = this.lanes.get(member.lane);
    if (hasGone) lane?.shift(member.callerId, member);
    else lane?.remove(member.callerId, member);
    if (lane?.size === 0) this.lanes.delete(member.lane);
  }

  /** Who goes before a caller's next request for certain: those of other lanes may be held back for longer. */
  before(callerId: string, lane: string): Iterable<T> {
    return this.lanes.get(lane)?.before(callerId) ?? [];
  }

  /** Lane by lane, in the order in which they go. */
  *inTurn(): Generator<T> {
    for (const lane of this.lanes.values()) yield* lane.inTurn();
  }

  get windows(): Iterable<KnownWindow> {
    return this.#windows.values();
  }

  #isKnown(now: number): boolean {
    for (const window of this.#windows.values()) if (window.isKnown(now)) return true;
    return false;
  }

  /** What the bucket itself says, before the ledger is asked: when one more may go, ms since the epoch. */
  freeAt(now: number): number {
    let at = Math.max(this.closedUntil, this.#windows.size === 0 ? this.#unlimitedFreeAt(now) : now);
    let allowance = Number.POSITIVE_INFINITY;
    for (const window of this.#windows.values()) {
      at = Math.max(at, window.freeAt());
      allowance = Math.min(allowance, window.allowanceAt(now));
    }
    const isPatient = this.inFlight + this.#unaccounted >= allowance;
    return Math.max(now, at, isPatient ? this.#grantedAt + PATIENCE_MS : 0);
  }

  /**
   * No limit was ever told: twice as many for each stretch of patience without an answer, because most upstreams have none, and
   * one that takes half a minute for its first answer shall not be asked one by one.
   */
  #unlimitedFreeAt(now: number): number {
    if (this.inFlight < this.#allowance) return now;
    if (this.#wasRefused) return this.#grantedAt + PATIENCE_MS;
    const doublings = Math.floor(Math.log2(this.inFlight / this.#allowance)) + 1;
    return this.#silentSince + doublings * PATIENCE_MS;
  }

  grant(now: number): void {
    if (this.inFlight === 0) this.#silentSince = now;
    this.inFlight++;
    this.sent++;
    this.#grantedAt = now;
    for (const window of this.#windows.values()) window.grant(now);
  }

  /** One that was let go has come to its end. */
  end(how: "answered" | "lost" | "unused", now: number): void {
    this.inFlight--;
    if (how === "unused") for (const window of this.#windows.values()) window.giveBack(now);
    if (how === "lost") for (const window of this.#windows.values()) window.spend();
    if (how === "lost" && !this.#isKnown(now)) this.#unaccounted++;
  }

  /** @returns the windows as they are to be understood, for the ledger. */
  learn(status: number, { windows }: Pick<QuotaReading, "windows">, told: Told): readonly QuotaWindow[] {
    const { now, isRefusal } = told;
    this.#silentSince = now;
    this.#refusedInRow = isRefusal ? this.#refusedInRow + 1 : 0;
    const inFlight = Math.max(1, this.inFlight + this.#unaccounted);
    const understood: QuotaWindow[] = [];
    for (const window of windows) {
      const known = this.#windows.get(window.name) ?? this.#newWindow(window.name, now);
      if (known === undefined) continue;
      understood.push(known.learn(window, { ...told, inFlight }));
      this.#windows.set(window.name, known);
    }
    for (const window of this.#windows.values()) {
      if (windows.some(({ name }) => name === window.name)) continue;
      window.missed++;
      window.spend();
      if (window.missed >= MISSED_LIMIT && !window.isKnown(now)) this.#windows.delete(window.name);
    }
    if (windows.length === 0) this.#learnSilence(status, isRefusal, now);
    else if (this.#isKnown(now)) this.#unaccounted = 0;
    return understood;
  }

  /** Undefined where there are as many as any upstream has. */
  #newWindow(name: string, now: number): KnownWindow | undefined {
    if (this.#windows.size >= WINDOWS_LIMIT) {
      for (const [other, window] of this.#windows) if (!window.isKnown(now)) this.#windows.delete(other);
    }
    return this.#windows.size < WINDOWS_LIMIT ? new KnownWindow(name) : undefined;
  }

  #learnSilence(status: number, isRefusal: boolean, now: number): void {
    if (this.#windows.size > 0 && !this.#isKnown(now)) this.#unaccounted++;
    else this.#unaccounted = 0;
    if (isRefusal) {
      this.#wasRefused = true;
      this.#allowance = 1;
    }
    // What failed may not have reached what counts: it proves nothing.
    else if (this.#wasRefused || status >= 400) this.#allowance += 1;
    else this.#allowance = Number.POSITIVE_INFINITY;
  }

  /** Each refusal in a row that nobody says the end of is waited out for twice as long. @returns the end, ms since the epoch. */
  guess(until: number, now: number): number {
    const factor = 2 ** Math.min(10, this.#refusedInRow - 1);
    return now + Math.max(until - now, Math.min(LONGEST_GUESS_MS, (until - now) * factor));
  }

  /** What was known when the process ended. */
  restore(name: string, account: Account, now: number): void {
    const window = new KnownWindow(name);
    window.restore(account, now);
    this.#windows.set(name, window);
  }

  /** When a request would go at the earliest that has so many before it, as far as that is known; ms since the epoch. */
  estimate(ahead: number, now: number): number {
    let at = Math.max(now, this.closedUntil);
    for (const window of this.#windows.values()) at = Math.max(at, window.estimate(ahead, now));
    return at;
  }

  /** All that is known of the other one, and what it has in flight. */
  absorb(other: Bucket<T>): void {
    this.inFlight += other.inFlight;
    this.sent += other.sent;
    this.closedUntil = Math.max(this.closedUntil, other.closedUntil);
    for (const window of other.windows) if (!this.#windows.has(window.name)) this.#windows.set(window.name, window);
    other.mergedInto = this;
    other.inFlight = 0;
  }

  /** Nothing that would be missed. */
  isIdle(now: number): boolean {
    return this.inFlight === 0 && this.lanes.size === 0 && this.closedUntil <= now && !this.#isKnown(now);
  }
}
