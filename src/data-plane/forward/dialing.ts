/**
 * Opens one connection to a name that may have several addresses (RFC 8305): each address is tried a moment after the one before,
 * and the first that connects is used.
 * Invariant: the callback is called exactly once, and every other socket is destroyed by then. A slow address ends no attempt
 * at another one: only `timeoutMs` ends them all.
 */
import type { LookupAddress, LookupAllOptions } from "node:dns";
import type { LookupFunction, Socket } from "node:net";

export type Resolve = (
  hostname: string,
  options: LookupAllOptions,
  callback: (error: NodeJS.ErrnoException | null, found: LookupAddress[]) => void,
) => void;

export interface DialTarget {
  readonly hostname: string;
  /** With the port, as in a URL. */
  readonly host: string;
  readonly protocol: string;
  readonly port: string;
  /** Receives each socket while it is still connecting, so that the caller can see how far it gets. */
  readonly onSocket?: (socket: Socket) => void;
  /** Called when an egress proxy has given a tunnel to the upstream. */
  readonly onTunnel?: () => void;
  /** Ends the attempt; without effect once there is a connection. */
  readonly signal?: AbortSignal;
}

/** RFC 8305 section 8. */
const NEXT_ADDRESS_MS = 250;

export interface DialingParts {
  /** Makes a socket that connects. @param lookup gives the address to connect to; not called for an IP literal. */
  readonly open: (lookup: LookupFunction) => Socket;
  readonly resolve: Resolve;
  /** The socket's event that ends the attempt with success. */
  readonly readyEvent: "connect" | "secureConnect";
  readonly signal: AbortSignal | undefined;
  readonly timeoutMs: number;
  readonly createTimeout: () => Error;
  readonly callback: (error: Error | null, socket: Socket | null) => void;
}

export class Dialing {
  readonly #parts: DialingParts;
  readonly #connecting = new Set<Socket>();
  readonly #timer: NodeJS.Timeout;
  #nextTimer: NodeJS.Timeout | undefined;
  /** Addresses that were not tried yet. */
  #others: LookupAddress[] = [];
  #firstError: Error | undefined;
  #isOver = false;

  constructor(parts: DialingParts) {
    this.#parts = parts;
    this.#timer = setTimeout(() => this.#finish(parts.createTimeout(), null), parts.timeoutMs);
    this.#timer.unref();
    parts.signal?.addEventListener("abort", this.#onAbort);
    if (parts.signal?.aborted) process.nextTick(this.#onAbort);
    else this.#open(this.#lookUp);
  }

  readonly #onAbort = (): void => this.#finish(this.#parts.signal?.reason as Error, null);

  readonly #lookUp: LookupFunction = (hostname, options, callback) => {
    this.#parts.resolve(hostname, { ...options, all: true }, (error, found) => {
      const [first, ...others] = alternateFamilies(found);
      if (error !== null || first === undefined) return callback(error, "");
      this.#others = others;
      callback(null, first.address, first.family);
      this.#scheduleNext();
    });
  };

  #open(lookup: LookupFunction): void {
    let socket: Socket;
    try {
      socket = this.#parts.open(lookup);
    } catch (error) {
      process.nextTick(() => this.#finish(error as Error, null));
      return;
    }
    this.#connecting.add(socket);
    // The first that is connected is used, also if its TLS handshake fails later.
    socket.once("connect", () => this.#choose(socket));
    socket.once(this.#parts.readyEvent, () => this.#finish(null, socket));
    socket.on("error", (error) => this.#onFailure(socket, error));
    socket.once("close", () => this.#onFailure(socket, new Error("the connection closed")));
  }

  #scheduleNext(): void {
    clearTimeout(this.#nextTimer);
    if (this.#isOver || this.#others.length === 0) return;
    this.#nextTimer = setTimeout(() => this.#tryNext(), NEXT_ADDRESS_MS);
    this.#nextTimer.unref();
  }

  #tryNext(): void {
    const next = this.#others.shift();
    if (next === undefined) return;
    this.#open((_hostname, _options, callback) => callback(null, next.address, next.family));
    this.#scheduleNext();
  }

  #choose(socket: Socket): void {
    if (this.#isOver || !this.#connecting.has(socket)) return;
    clearTimeout(this.#nextTimer);
    this.#others = [];
    this.#destroyAllBut(socket);
  }

  #onFailure(socket: Socket, error: Error): void {
    if (this.#isOver || !this.#connecting.delete(socket)) return;
    this.#firstError ??= error;
    if (this.#others.length > 0) this.#tryNext();
    else if (this.#connecting.size === 0) this.#finish(this.#firstError, null);
  }

  #finish(error: Error | null, socket: Socket | null): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#nextTimer);
    this.#parts.signal?.removeEventListener("abort", this.#onAbort);
    this.#destroyAllBut(socket);
    this.#parts.callback(error, socket);
  }

  #destroyAllBut(chosen: Socket | null): void {
    for (const socket of this.#connecting) {
      if (socket === chosen) continue;
      this.#connecting.delete(socket);
      socket.destroy();
    }
  }
}

/** Begins with the family of the first address, then alternates (RFC 8305 section 4). */
function alternateFamilies(addresses: readonly LookupAddress[]): LookupAddress[] {
  const [first] = addresses;
  const same = addresses.filter(({ family }) => family === first?.family);
  const other = addresses.filter(({ family }) => family !== first?.family);
  return same.flatMap((address, at) => [address, ...other.slice(at, at + 1)]).concat(other.slice(same.length));
}
