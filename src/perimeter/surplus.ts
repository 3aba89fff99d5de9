/**
 * The sockets beyond a cap: each may ask once, to be told that there is no room or that the gateway lives.
 * Invariant: they are few, and none of them stays.
 */
import type { Socket } from "node:net";

/** So many are listened to. */
export const SURPLUS_LIMIT = 256;

/** So many of one address, so that it leaves some to the others. */
const SURPLUS_LIMIT_PER_ADDRESS = 16;

/** How long one has to ask and to read its answer, ms. */
const SURPLUS_MS = 5_000;

/** The setting that holds the cap. */
export type ConnectionCap = "MAX_CONNECTIONS" | "MAX_CONNECTIONS_PER_ADDRESS";

export class Surplus {
  readonly #caps = new Map<Socket, ConnectionCap>();
  #ofAddresses = 0;

  /** Those of them that are beyond the cap of their address. */
  get ofAddresses(): number {
    return this.#ofAddresses;
  }

  /** @param beyondAddress how many of its address there are, with it, beyond the cap of one. */
  hasRoom(beyondAddress: number): boolean {
    return this.#caps.size < SURPLUS_LIMIT && beyondAddress <= SURPLUS_LIMIT_PER_ADDRESS;
  }

  /** Undefined for one that is beyond none. */
  capOf(socket: Socket): ConnectionCap | undefined {
    return this.#caps.size === 0 ? undefined : this.#caps.get(socket);
  }

  admit(socket: Socket, cap: ConnectionCap): void {
    const ofAddresses = cap === "MAX_CONNECTIONS_PER_ADDRESS" ? 1 : 0;
    this.#caps.set(socket, cap);
    this.#ofAddresses += ofAddresses;
    const timer = setTimeout(() => socket.destroy(), SURPLUS_MS);
    timer.unref();
    socket.once("close", () => {
      clearTimeout(timer);
      this.#caps.delete(socket);
      this.#ofAddresses -= ofAddresses;
    });
  }
}
