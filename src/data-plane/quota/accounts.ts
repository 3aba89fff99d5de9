/**
 * The accounts that a request is counted on, at the ledger.
 * Invariant: a ledger that fails stops nobody: what it does not answer is taken for granted, and nothing is thrown.
 */
import type { Account, Ledger } from "../../stores/ledger.ts";

/** Ids of reservations by their accounts' keys. */
export type Reserved = ReadonlyMap<string, string>;

/** Neither a bucket's name nor a route has one. */
const SEPARATOR = "\n";

export class Accounts {
  readonly #ledger: Pick<Ledger, "reserve" | "settle" | "release">;
  readonly #prefix: string;

  /** @param prefix begins the ledger's keys. */
  constructor(ledger: Pick<Ledger, "reserve" | "settle" | "release">, prefix: string) {
    this.#ledger = ledger;
    this.#prefix = prefix;
  }

  /** One point on each of them, or on none. @returns when to ask again, ms since the epoch, where one has none left. */
  async reserve(keys: readonly string[], leaseMs: number, now: number): Promise<Reserved | number> {
    const reserved = new Map<string, string>();
    for (const key of keys) {
      let answer: Awaited<ReturnType<Ledger["reserve"]>>;
      try {
        answer = await this.#ledger.reserve(key, 1, leaseMs, now);
      } catch {
        continue;
      }
      if (answer.isGranted) {
        reserved.set(key, answer.id);
        continue;
      }
      this.release(reserved, now);
      return Math.max(answer.resetsAt, now + 1);
    }
    return reserved;
  }

  /** @param id of the reservation, where there was one. @param observed what the answer said. */
  settle(key: string, id: string | undefined, observed: Account | undefined, now: number): void {
    this.#ledger.settle(key, id ?? "", observed, now).catch(ignore);
  }

  release(reserved: Reserved, now: number): void {
    for (const [key, id] of reserved) this.#ledger.release(key, id, now).catch(ignore);
  }

  keyOf(bucket: string, window: string): string {
    return `${this.#prefix}${bucket}${SEPARATOR}${window}`;
  }

  /** Undefined where the key is another credential's. */
  partsOf(key: string): { readonly bucket: string; readonly window: string } | undefined {
    const at = key.lastIndexOf(SEPARATOR);
    if (!key.startsWith(this.#prefix) || at < this.#prefix.length) return undefined;
    return { bucket: key.slice(this.#prefix.length, at), window: key.slice(at + 1) };
  }
}

/** What the ledger could not be told it will find out: leases run out, and the next answer tells what is left. */
function ignore(): void {}
