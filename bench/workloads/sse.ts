/**
 * Server-sent events: a stream per connection. The load asks the origin for each event on a connection of its own, so that
 * exactly one event per stream is in transit and a relay cannot merge events.
 */
import { ChunkedBody } from "./chunked-body.ts";
import { createEvents } from "./contents.ts";
import { expectBytes, type Part } from "./expect-bytes.ts";
import { HeadReader, requestHead } from "./head.ts";
import type { Client, CreateClient, Target, Wire, Workload } from "./workload.ts";

export const sse: Workload = {
  name: "sse",
  title: "Server-sent events",
  unit: "event",
  contestants: ["gateway", "against", "undici", "http-proxy-3", "nginx"],
  goals: [
    { than: "undici", atMost: 1.05 },
    { than: "http-proxy-3", atMost: 1 },
  ],
  isLongLived: true,
  prepare: prepareStreams,
};

function prepareStreams(target: Target): CreateClient {
  const events = createEvents();
  return (number, wire) => {
    const request = Buffer.from(requestHead(`GET /streams/${number}`, target));
    return new StreamClient(request, events, wire);
  };
}

class StreamClient implements Client {
  readonly #request: Buffer;
  readonly #events: readonly Buffer[];
  readonly #wire: Wire;
  readonly #head = new HeadReader();
  readonly #body = new ChunkedBody((part) => this.#onPart(part));
  #hasHead = false;
  #isWaiting = true;
  #event = 0;
  /** Received bytes of the current event. */
  #received = 0;

  constructor(request: Buffer, events: readonly Buffer[], wire: Wire) {
    this.#request = request;
    this.#events = events;
    this.#wire = wire;
  }

  /** The origin sends the first event unasked. */
  start(): void {
    this.#wire.send(this.#request);
  }

  onData(chunk: Buffer): void {
    if (this.#hasHead) return this.#body.write(chunk, 0);
    const head = this.#head.read(chunk, 200);
    if (head === undefined) return;
    if (!/\r\ntransfer-encoding: *chunked/i.test(head.text)) throw new Error(`expected chunks, got:\n${head.text}`);
    this.#hasHead = true;
    this.#body.write(head.buffer, head.bodyStart);
  }

  #onPart(part: Part): void {
    if (!this.#isWaiting) throw new Error("received an event that was not requested");
    const expected = this.#events[this.#event]!;
    expectBytes(part, expected, this.#received);
    this.#received += part.to - part.from;
    if (this.#received < expected.length) return;
    this.#received = 0;
    this.#event = (this.#event + 1) % this.#events.length;
    this.#isWaiting = this.#wire.onUnit();
    if (this.#isWaiting) this.#wire.requestEvent();
  }
}
