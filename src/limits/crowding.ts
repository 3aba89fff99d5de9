/**
 * Keeps one network from filling a bounded table of addresses: an IPv6 /48 has 65,536 of the /64 that are counted, a botnet a whole /24.
 * Invariant: while a table is less than half full, each address is counted alone; after that, a network with many entries gets no
 * further ones but shares one, so that other addresses keep theirs. Memory is bounded by the table's.
 */

/** Entries of one network (IPv6 /48, IPv4 /24) before its further addresses share one. */
const NET_ENTRIES = 64;

/** The same for a block of networks (IPv6 /32, IPv4 /16), in a table that is three quarters full. */
const BLOCK_ENTRIES = 512;

export class Crowding {
  readonly #limit: number;
  readonly #isForIPv4: boolean;
  #newer = new Map<string, number>();
  #older = new Map<string, number>();

  /** @param limit of the table's entries. @param isForIPv4 false where each IPv4 address is counted alone: strangers share a /24. */
  constructor(limit: number, isForIPv4 = true) {
    this.#limit = limit;
    this.#isForIPv4 = isForIPv4;
  }

  /** The key of a new entry: the address's own, or that of its network. @param key from `addressKey`. @param size of the table now. */
  keyFor(key: string, size: number): string {
    if (size * 2 < this.#limit || (!this.#isForIPv4 && !key.endsWith("::/64"))) return key;
    const [net, block] = netsOf(key);
    if (net === undefined || block === undefined) return key;
    if (size * 4 >= this.#limit * 3 && this.#entriesOf(block) >= BLOCK_ENTRIES) return block;
    return this.#entriesOf(net) >= NET_ENTRIES ? net : key;
  }

  /** The table has a new entry with this key. */
  entered(key: string): void {
    for (const net of netsOf(key)) this.#newer.set(net, (this.#newer.get(net) ?? 0) + 1);
  }

  /** The table forgets its older half. */
  rotate(): void {
    this.#older = this.#newer;
    this.#newer = new Map();
  }

  #entriesOf(net: string): number {
    return (this.#newer.get(net) ?? 0) + (this.#older.get(net) ?? 0);
  }
}

/** The network of an address's key and the block of networks around it; empty for one that is itself a network. */
export function netsOf(key: string): readonly string[] {
  if (key.endsWith("::/64")) {
    const [a, b, c] = key.split(":");
    return [`${a}:${b}:${c}::/48`, `${a}:${b}::/32`];
  }
  const parts = key.split(".");
  return parts.length === 4 && !key.includes("/")
    ? [`${parts[0]}.${parts[1]}.${parts[2]}.0/24`, `${parts[0]}.${parts[1]}.0.0/16`]
    : [];
}
