/**
 * Claims of requests that must be sent once: the holder of a claim sends its request, every other request with the same key gets the
 * claim's state, and later its response.
 * Invariant: between the claim and the end of its lease one holder exists, whose fence alone completes or releases it; and a claim is
 * never dropped to make room for another, because its request could then be sent twice.
 */

/** A response as it was received, without what belongs to one connection or one client. */
export interface KeptResponse {
  readonly status: number;
  readonly reason: string;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body: Buffer;
}

export interface ClaimRequest {
  readonly key: string;
  /** Who owns the claim: no owner may hold more than half of all. */
  readonly owner: string;
  /** What identifies the request: requests with the same key and other texts are different. */
  readonly request: string;
  /** Of the lease, ms since the epoch. */
  readonly until: number;
}

export type Claimed =
  /** The request may be sent. The claim outlives a crash. */
  | { readonly state: "won"; readonly fence: number }
  /** Its holder has not completed it. */
  | { readonly state: "pending"; readonly request: string; readonly until: number }
  /** @param response undefined where it was not kept. */
  | {
      readonly state: "done";
      readonly request: string;
      readonly until: number;
      readonly response: KeptResponse | undefined;
    };

/** The caller passes all times, ms since the epoch. Async, because a shared store is planned. */
export interface Claims {
  /** @throws ClaimsFull, or the store's error: then nothing is claimed. */
  claim(claim: ClaimRequest, now: number): Promise<Claimed>;
  /** The same without a claim: undefined where it would be won. */
  find(key: string, now: number): Promise<Exclude<Claimed, { readonly state: "won" }> | undefined>;
  /** Extends the lease. @returns false where the claim is no longer the holder's. */
  renew(key: string, fence: number, until: number, now: number): Promise<boolean>;
  /**
   * The request has a response. @param response undefined where it is not kept. @param until the end of the claim, ms since the epoch.
   * @returns false where the claim is no longer the holder's.
   */
  complete(
    key: string,
    fence: number,
    result: { readonly response: KeptResponse | undefined; readonly until: number },
    now: number,
  ): Promise<boolean>;
  /** The request was not sent. @returns false where the claim is no longer the holder's. */
  release(key: string, fence: number, now: number): Promise<boolean>;
  usage(now: number): ClaimsUsage;
  /** Waits for pending writes. */
  close(): Promise<void>;
}

export interface ClaimsUsage {
  readonly claims: number;
  readonly claimsLimit: number;
  /** Of kept responses. */
  readonly bytes: number;
  readonly bytesLimit: number;
}

/** Every claim is needed until it ends, so that none can be dropped for another. */
export class ClaimsFull extends Error {
  readonly claims: number;

  constructor(claims: number) {
    super(`${claims} claims are held`);
    this.claims = claims;
  }
}

export interface ClaimsLimits {
  readonly claims: number;
  /** Of all responses; beyond it the oldest response is dropped, and its claim stays. */
  readonly bytes: number;
}

/** About 500 bytes each. */
export const CLAIMS_LIMITS: ClaimsLimits = { claims: 200_000, bytes: 32 * 1_048_576 };

/** A claim as it is kept: replaced with each change, never changed. */
export interface KeptClaim {
  readonly owner: string;
  readonly request: string;
  readonly fence: number;
  readonly until: number;
  readonly isDone: boolean;
  readonly response: KeptResponse | undefined;
}

/** Claims that end within the same minute are dropped together. */
const BUCKET_MS = 60_000;

/** Claims that are dropped for each new one, and for each time the usage is read. */
const SWEPT_FOR_ONE = 8;
const SWEPT_FOR_USAGE = 5_000;

/** Beside the body. */
const RESPONSE_OVERHEAD = 1_024;

export class ClaimTable {
  readonly #limits: ClaimsLimits;
  readonly #kept = new Map<string, KeptClaim>();
  readonly #byEnd = new Map<number, Set<string>>();
  readonly #byOwner = new Map<string, number>();
  /** Keys of claims with a response, the oldest first. */
  readonly #withResponse = new Set<string>();
  #bytes = 0;
  #lastFence = 0;
  #sweptUntil = 0;
  /** Keys of claims that are over, or were replaced. */
  readonly #over: Set<string>[] = [];

  constructor(limits: ClaimsLimits) {
    this.#limits = limits;
  }

  get entries(): ReadonlyMap<string, KeptClaim> {
    return this.#kept;
  }

  nextFence(): number {
    this.#lastFence += 1;
    return this.#lastFence;
  }

  /** Undefined also for a claim that is over. */
  get(key: string, now: number): KeptClaim | undefined {
    const found = this.#kept.get(key);
    return found !== undefined && found.until > now ? found : undefined;
  }

  /** @throws ClaimsFull */
  makeRoom(owner: string, now: number): void {
    this.#sweep(now, SWEPT_FOR_ONE);
    const isFull = () =>
      this.#kept.size >= this.#limits.claims || (this.#byOwner.get(owner) ?? 0) >= this.#limits.claims / 2;
    if (!isFull()) return;
    this.#sweep(now, Number.POSITIVE_INFINITY);
    if (isFull()) throw new ClaimsFull(this.#byOwner.get(owner) ?? 0);
  }

  set(key: string, claim: KeptClaim): void {
    this.delete(key);
    this.#kept.set(key, claim);
    this.#lastFence = Math.max(this.#lastFence, claim.fence);
    const bucket = Math.floor(claim.until / BUCKET_MS);
    const keys = this.#byEnd.get(bucket) ?? new Set();
    this.#byEnd.set(bucket, keys.add(key));
    this.#byOwner.set(claim.owner, (this.#byOwner.get(claim.owner) ?? 0) + 1);
    if (claim.response === undefined) return;
    this.#withResponse.add(key);
    this.#bytes += sizeOf(claim.response);
    for (const oldest of this.#withResponse) {
      if (this.#bytes <= this.#limits.bytes) break;
      this.#dropResponse(oldest);
    }
  }

  delete(key: string): void {
    const claim = this.#kept.get(key);
    if (claim === undefined) return;
    this.#kept.delete(key);
    const bucket = Math.floor(claim.until / BUCKET_MS);
    const keys = this.#byEnd.get(bucket);
    keys?.delete(key);
    if (keys?.size === 0) this.#byEnd.delete(bucket);
    const ofOwner = (this.#byOwner.get(claim.owner) ?? 0) - 1;
    if (ofOwner > 0) this.#byOwner.set(claim.owner, ofOwner);
    else this.#byOwner.delete(claim.owner);
    if (claim.response !== undefined) this.#bytes -= sizeOf(claim.response);
    this.#withResponse.delete(key);
  }

  usage(now: number): ClaimsUsage {
    this.#sweep(now, SWEPT_FOR_USAGE);
    const { claims: claimsLimit, bytes: bytesLimit } = this.#limits;
    return { claims: this.#kept.size, claimsLimit, bytes: this.#bytes, bytesLimit };
  }

  /** Drops claims that are over, a few at a time: all of a minute would block the event loop. */
  #sweep(now: number, most: number): void {
    const current = Math.floor(now / BUCKET_MS);
    if (current > this.#sweptUntil) {
      this.#sweptUntil = current;
      for (const [bucket, keys] of this.#byEnd) {
        if (bucket >= current) continue;
        this.#byEnd.delete(bucket);
        this.#over.push(keys);
      }
    }
    let left = most;
    for (let keys = this.#over.at(-1); keys !== undefined && left > 0; keys = this.#over.at(-1)) {
      for (const key of keys) {
        if (left-- === 0) break;
        keys.delete(key);
        if ((this.#kept.get(key)?.until ?? now) <= now) this.delete(key);
      }
      if (keys.size === 0) this.#over.pop();
    }
  }

  #dropResponse(key: string): void {
    const claim = this.#kept.get(key);
    if (claim?.response !== undefined) this.#bytes -= sizeOf(claim.response);
    if (claim !== undefined) this.#kept.set(key, { ...claim, response: undefined });
    this.#withResponse.delete(key);
  }
}

function sizeOf({ headers, body }: KeptResponse): number {
  let size = RESPONSE_OVERHEAD + body.length;
  for (const name in headers) size += name.length + String(headers[name]).length;
  return size;
}

/** What a store beside the memory does with each change. */
export interface ClaimsWriter {
  /** Resolves when the claim outlives a crash. @throws the store's error. */
  claimed(key: string, claim: KeptClaim): Promise<void>;
  changed(key: string, claim: KeptClaim): void;
  released(key: string, claim: KeptClaim): void;
  close(): Promise<void>;
}

const NO_WRITER: ClaimsWriter = { async claimed() {}, changed() {}, released() {}, async close() {} };

export function createClaims(table = new ClaimTable(CLAIMS_LIMITS), writer = NO_WRITER): Claims {
  /** The claim, while it is the holder's and not completed. */
  function heldBy(fence: number, key: string, now: number): KeptClaim | undefined {
    const claim = table.get(key, now);
    return claim?.fence === fence && !claim.isDone ? claim : undefined;
  }

  function stateOf({ isDone, request, until, response }: KeptClaim) {
    return isDone
      ? ({ state: "done", request, until, response } as const)
      : { state: "pending" as const, request, until };
  }

  return {
    async claim({ key, owner, request, until }, now) {
      const found = table.get(key, now);
      if (found !== undefined) return stateOf(found);
      table.makeRoom(owner, now);
      const claim = { owner, request, fence: table.nextFence(), until, isDone: false, response: undefined };
      table.set(key, claim);
      try {
        await writer.claimed(key, claim);
      } catch (error) {
        if (table.entries.get(key) === claim) table.delete(key);
        throw error;
      }
      return { state: "won", fence: claim.fence };
    },
    async find(key, now) {
      const found = table.get(key, now);
      return found && stateOf(found);
    },
    async renew(key, fence, until, now) {
      const claim = heldBy(fence, key, now);
      if (claim === undefined) return false;
      const renewed = { ...claim, until };
      table.set(key, renewed);
      writer.changed(key, renewed);
      return true;
    },
    async complete(key, fence, { response, until }, now) {
      const claim = heldBy(fence, key, now);
      if (claim === undefined) return false;
      const completed = { ...claim, until, isDone: true, response };
      table.set(key, completed);
      writer.changed(key, completed);
      return true;
    },
    async release(key, fence, now) {
      const claim = heldBy(fence, key, now);
      if (claim === undefined) return false;
      table.delete(key);
      writer.released(key, claim);
      return true;
    },
    usage: (now) => table.usage(now),
    close: writer.close,
  };
}
