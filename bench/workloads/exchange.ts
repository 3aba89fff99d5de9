/**
 * Requests with one response each, one after another on a keep-alive connection.
 * Invariant: anything but a complete 200 with exactly the expected body throws.
 */
import { expectBytes } from "./expect-bytes.ts";
import { HeadReader } from "./head.ts";
import type { Client, Wire } from "./workload.ts";

const CONTENT_LENGTH = /\r\ncontent-length: *(\d+)/i;

/** A request and the body of its response. */
export interface Exchange {
  /** Complete, as sent on the wire. */
  readonly request: Buffer;
  readonly body: Buffer;
}

/** Repeats the exchanges, beginning with that of the connection's number. */
export class ExchangeClient implements Client {
  readonly #exchanges: readonly Exchange[];
  readonly #wire: Wire;
  readonly #head = new HeadReader();
  #number: number;
  /** Received bytes of the body; -1 while the head is read. */
  #received = -1;

  constructor(exchanges: readonly Exchange[], number: number, wire: Wire) {
    this.#exchanges = exchanges;
    this.#wire = wire;
    this.#number = number % exchanges.length;
  }

  start(): void {
    this.#wire.send(this.#exchanges[this.#number]!.request);
  }

  onData(chunk: Buffer): void {
    const { body } = this.#exchanges[this.#number]!;
    let [buffer, from] = [chunk, 0];
    if (this.#received < 0) {
      const head = this.#head.read(chunk, 200);
      if (head === undefined) return;
      if (Number(CONTENT_LENGTH.exec(head.text)?.[1]) !== body.length)
        throw new Error(`expected Content-Length ${body.length}, got:\n${head.text}`);
      [buffer, from] = [head.buffer, head.bodyStart];
      this.#received = 0;
    }
    expectBytes({ buffer, from, to: buffer.length }, body, this.#received);
    this.#received += buffer.length - from;
    if (this.#received < body.length) return;
    this.#received = -1;
    this.#number = (this.#number + 1) % this.#exchanges.length;
    if (this.#wire.onUnit()) this.start();
  }
}
