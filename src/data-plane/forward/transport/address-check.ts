/**
 * Notices that the name of an upstream has left the address of an open connection, as after a failover by DNS.
 * Invariant: no request waits for it; a resolver that fails changes nothing; and a name that gives a part of its addresses in each
 * response costs at most one connection in each of these intervals.
 */
import type { ResolveAddresses } from "../egress.ts";

/** A name in use is resolved again after this many ms. */
const CHECK_MS = 10_000;

/** The same after a response that lacks the address of a connection: only a second one retires that connection. */
const CONFIRM_MS = 3_000;

/** An open connection. */
export interface Located {
  readonly origin: string;
  /** Undefined while it is connecting. */
  readonly remoteAddress: string | undefined;
  /** It takes no new request. */
  retire(): void;
}

export class AddressCheck {
  readonly #origin: string;
  readonly #hostname: string;
  readonly #resolve: ResolveAddresses;
  readonly #connections: ReadonlySet<Located>;
  #dueAt = performance.now() + CHECK_MS;
  /** Connections whose address was not in the last response. */
  #suspects = new Set<Located>();

  /** @param connections of the service, to all of its origins. */
  constructor(origin: string, resolve: ResolveAddresses, connections: ReadonlySet<Located>) {
    this.#origin = origin;
    this.#hostname = new URL(origin).hostname;
    this.#resolve = resolve;
    this.#connections = connections;
  }

  /** Called for each request. @param now of performance.now(). */
  runIfDue(now: number): void {
    if (now < this.#dueAt) return;
    this.#dueAt = Number.POSITIVE_INFINITY;
    this.#resolve(this.#hostname, (addresses) => {
      if (addresses !== undefined) this.#compare(new Set(addresses));
      this.#dueAt = performance.now() + (this.#suspects.size > 0 ? CONFIRM_MS : CHECK_MS);
    });
  }

  #compare(addresses: ReadonlySet<string>): void {
    const before = this.#suspects;
    this.#suspects = new Set();
    for (const connection of [...this.#connections]) {
      const { origin, remoteAddress } = connection;
      if (origin !== this.#origin || remoteAddress === undefined || addresses.has(remoteAddress)) continue;
      if (before.has(connection)) connection.retire();
      else this.#suspects.add(connection);
    }
  }
}
