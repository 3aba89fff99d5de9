/**
 * The steady load on one service: an open loop, which asks at its rate however long the answers take.
 * Invariant: every request that was asked ends in one tally; and what a machine that stood still left undone is not made up for at
 * once, so that it has a way back.
 */
import { Agent } from "node:http";
import { askOf, isPlain } from "./ask.ts";
import { Tally } from "./tally.ts";

const TICK_MS = 5;
/** Most of its time that is made up for at once. */
const CATCH_UP_MS = 50;

interface Asked {
  tally: Tally;
}

export class Load {
  readonly serviceKey: string;
  readonly #port: number;
  readonly #perSecond: number;
  readonly #agent = new Agent({ keepAlive: true });
  readonly #underWay = new Set<Asked>();
  readonly #timer: NodeJS.Timeout;
  #askedUntil = performance.now();
  #asked = 0;
  #tally = new Tally();

  constructor(port: number, serviceKey: string, perSecond: number) {
    this.#port = port;
    this.serviceKey = serviceKey;
    this.#perSecond = perSecond;
    this.#timer = setInterval(() => this.#catchUp(), TICK_MS);
  }

  /** A new tally from now on. @param adopts those that are under way, too: what begins now meets them. */
  enterPhase({ adopts }: { adopts: boolean }): Tally {
    const tally = new Tally();
    this.#tally = tally;
    if (adopts) {
      for (const asked of this.#underWay) {
        asked.tally.pending--;
        asked.tally = tally;
        tally.pending++;
      }
    }
    return tally;
  }

  /** Asks no more, and waits for the last answers. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    while (this.#underWay.size > 0) await new Promise((resolve) => setTimeout(resolve, TICK_MS));
    this.#agent.destroy();
  }

  #catchUp(): void {
    const now = performance.now();
    const msEach = 1_000 / this.#perSecond;
    this.#askedUntil = Math.max(this.#askedUntil, now - Math.max(CATCH_UP_MS, msEach));
    while (this.#askedUntil + msEach <= now) {
      this.#askedUntil += msEach;
      void this.#ask(this.#asked++);
    }
  }

  async #ask(index: number): Promise<void> {
    const askedAt = performance.now();
    const asked: Asked = { tally: this.#tally };
    this.#tally.pending++;
    this.#underWay.add(asked);
    const id = String(index);
    const question = { id, port: this.#port, serviceKey: this.serviceKey, agent: this.#agent };
    const ended = await askOf(index)(question);
    this.#underWay.delete(asked);
    asked.tally.pending--;
    asked.tally.note(id, ended, askedAt);
    if (isPlain(index)) asked.tally.noteTime(performance.now() - askedAt);
  }
}
