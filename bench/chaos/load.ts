/**
 * The steady load on one service: an open loop, which sends at its rate however long the responses take.
 * Invariant: every request ends in one tally. After a stall of the machine, missed requests are not all sent at once, so that the
 * machine can recover.
 */
import { Agent } from "node:http";
import { isPlain, senderOf } from "./send-request.ts";
import { Tally } from "./tally.ts";

const TICK_MS = 5;
/** After a stall, at most this much of the missed time is caught up, ms. */
const CATCH_UP_MS = 50;

interface Pending {
  tally: Tally;
}

export class Load {
  readonly serviceKey: string;
  readonly #port: number;
  readonly #perSecond: number;
  readonly #agent = new Agent({ keepAlive: true });
  readonly #pending = new Set<Pending>();
  readonly #timer: NodeJS.Timeout;
  #sentUntil = performance.now();
  #sent = 0;
  #tally = new Tally();

  constructor(port: number, serviceKey: string, perSecond: number) {
    this.#port = port;
    this.serviceKey = serviceKey;
    this.#perSecond = perSecond;
    this.#timer = setInterval(() => this.#catchUp(), TICK_MS);
  }

  /** Starts a new tally. @param adopts also counts the pending requests: the phase that begins affects them. */
  enterPhase({ adopts }: { adopts: boolean }): Tally {
    const tally = new Tally();
    this.#tally = tally;
    if (adopts) {
      for (const pending of this.#pending) {
        pending.tally.pending--;
        pending.tally = tally;
        tally.pending++;
      }
    }
    return tally;
  }

  /** Sends no more requests, and waits for the pending ones. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    while (this.#pending.size > 0) await new Promise((resolve) => setTimeout(resolve, TICK_MS));
    this.#agent.destroy();
  }

  #catchUp(): void {
    const now = performance.now();
    const msEach = 1_000 / this.#perSecond;
    this.#sentUntil = Math.max(this.#sentUntil, now - Math.max(CATCH_UP_MS, msEach));
    while (this.#sentUntil + msEach <= now) {
      this.#sentUntil += msEach;
      void this.#send(this.#sent++);
    }
  }

  async #send(index: number): Promise<void> {
    const sentAt = performance.now();
    const pending: Pending = { tally: this.#tally };
    this.#tally.pending++;
    this.#pending.add(pending);
    const id = String(index);
    const target = { id, port: this.#port, serviceKey: this.serviceKey, agent: this.#agent };
    const ended = await senderOf(index)(target);
    this.#pending.delete(pending);
    pending.tally.pending--;
    pending.tally.note(id, ended, sentAt);
    if (isPlain(index)) pending.tally.noteTime(performance.now() - sentAt);
  }
}
