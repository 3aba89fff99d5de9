/**
 * Finds a connection that nghttp2 has given up: after an error of its client it sends GOAWAY and reads nothing more, and node:http2
 * reports neither this nor the end of the connection. Its requests would keep their upstreams, and the socket its place, until they
 * time out.
 * Invariant: a connection whose client only reads slowly is not given up, and one whose client sends nothing costs nothing.
 */
import type { ServerHttp2Session } from "node:http2";
import type { Socket } from "node:net";
import { queueSizeOf } from "../stall-sweep.ts";
import { wireOf } from "../wire.ts";

/** A client that responds to each check is checked ever more rarely: at most after this number of runs. */
const LONGEST_PAUSE = 64;

export class TerminationCheck {
  readonly #session: ServerHttp2Session;
  readonly #socket: Socket;
  /** These three: at the last run. */
  #bytesRead = 0;
  #bytesWritten = 0;
  #isStuck = false;
  /** At the last PING. */
  #checkedBytes = 0;
  #pause = 1;
  #runs = 0;

  constructor(session: ServerHttp2Session, socket: Socket) {
    this.#session = session;
    this.#socket = socket;
  }

  /** A new stream. */
  reset(): void {
    this.#pause = 1;
    this.#runs = 0;
  }

  /** Called again and again. @returns false where the connection was given up. */
  run(): boolean {
    const { bytesRead, bytesWritten } = this.#socket;
    const isSilent = bytesRead === this.#bytesRead;
    const wasStuck = this.#isStuck && bytesWritten === this.#bytesWritten;
    this.#bytesRead = bytesRead;
    this.#bytesWritten = bytesWritten;
    this.#isStuck = this.#holdsFrames();
    if (this.#isStuck) return !wasStuck;
    if (!isSilent || bytesRead === this.#checkedBytes || ++this.#runs < this.#pause) return true;
    this.#runs = 0;
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE);
    this.#checkedBytes = bytesRead;
    if (!this.#session.destroyed) this.#session.ping(() => {});
    return true;
  }

  /** nghttp2 sends no frame on such a connection. On any other it is sent at once, unless earlier bytes wait for the client. */
  #holdsFrames(): boolean {
    // Of the TCP connection: what waits in the TLS layer alone waits for ever.
    const { outboundQueueSize = 0 } = this.#session.state;
    return outboundQueueSize > 0 && queueSizeOf(wireOf(this.#socket)) === 0;
  }
}
