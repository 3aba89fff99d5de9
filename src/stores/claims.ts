/**
 * Claims: of all who want to do a thing once, one wins it; the others learn that it is being done, or what came of it.
 * Invariant: whoever lost a claim by letting its lease run out can no longer say what came of it.
 */
import { ABSENT, type Records, type StoredRecord, VersionConflict } from "./records.ts";

export type Claim<T> =
  /** `fence` proves that the claim is still one's own. */
  | { readonly state: "won"; readonly fence: number }
  | { readonly state: "pending" }
  | { readonly state: "done"; readonly value: T };

export interface Claims<T> {
  /** @param leaseMs how long it stays one's own without an outcome. @param now ms since the epoch. */
  claim(key: string, leaseMs: number, now: number): Promise<Claim<T>>;
  /** False when the claim has been lost meanwhile. @param keepMs how long the outcome is told. */
  finish(key: string, fence: number, outcome: { value: T; keepMs: number }, now: number): Promise<boolean>;
  /** Lets the next one try. False when the claim has been lost meanwhile. */
  abandon(key: string, fence: number): Promise<boolean>;
  close(): Promise<void>;
}

/** A claim as it is stored. */
export type ClaimRecord<T> =
  | { readonly state: "pending"; readonly until: number }
  | { readonly state: "done"; readonly value: T; readonly until: number };

/** Claims kept; the oldest that are over make room. */
const CLAIMS_LIMIT = 100_000;

/** How many claims that are over are looked for each time that one is made. */
const SWEPT_AT_ONCE = 2;

/** @param records keeps them: as long as those live, so do these. */
export function createClaims<T>(records: Records<ClaimRecord<T>>, limit = CLAIMS_LIMIT): Claims<T> {
  /** In the order in which they were made, a few at a time: a claim nobody asks for again must go, too. */
  let sweeping = records.entries[Symbol.iterator]();

  function sweep(now: number, claimed: string): void {
    for (let i = 0; i < SWEPT_AT_ONCE; i++) {
      const { value: entry, done } = sweeping.next();
      if (done || entry === undefined) {
        sweeping = records.entries[Symbol.iterator]();
        return;
      }
      const [key, stored] = entry;
      // It may fail like any other change; then the next round finds it again.
      if (stored.value.until <= now && key !== claimed) void records.delete(key, stored.version).catch(() => {});
    }
  }

  return {
    async claim(key, leaseMs, now) {
      sweep(now, key);
      for (;;) {
        const present = records.entries.get(key);
        if (present !== undefined && present.value.until > now) return asClaim(present);
        if (present === undefined && records.entries.size >= limit) await makeRoom(records);
        try {
          const expected = present?.version ?? ABSENT;
          const { version } = await records.put(key, { state: "pending", until: now + leaseMs }, expected);
          return { state: "won", fence: version };
        } catch (error) {
          // Somebody was quicker: what they made of it is there now.
          if (!(error instanceof VersionConflict)) throw error;
        }
      }
    },
    finish: (key, fence, { value, keepMs }, now) =>
      isStillOwn(records.put(key, { state: "done", value, until: now + keepMs }, fence)),
    abandon: (key, fence) => isStillOwn(records.delete(key, fence)),
    close: () => records.close(),
  };
}

function asClaim<T>({ value: claim }: StoredRecord<ClaimRecord<T>>): Claim<T> {
  return claim.state === "done" ? { state: "done", value: claim.value } : { state: "pending" };
}

async function isStillOwn(change: Promise<unknown>): Promise<boolean> {
  try {
    await change;
    return true;
  } catch (error) {
    if (error instanceof VersionConflict) return false;
    throw error;
  }
}

/** What is done is told no longer; what is pending stays, or two would do it. */
async function makeRoom<T>(records: Records<ClaimRecord<T>>): Promise<void> {
  for (const [key, { value, version }] of records.entries) {
    if (value.state !== "done") continue;
    await records.delete(key, version).catch(() => {});
    return;
  }
}
