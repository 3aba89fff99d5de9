/**
 * One reader of the event feed: its filter, the events that wait for it, and its stream.
 * Invariant: what waits for a slow reader is bounded: it loses the events that come while that is full, and receives their number
 * at their place. After its key has ended it receives no further event.
 */
import { setImmediate } from "node:timers/promises";
import type { AccessLine } from "./access-line.ts";
import { type ExchangeFilter, isSelected } from "./exchange-filter.ts";

export interface FeedEvent {
  /** Undefined for an event about something else. */
  readonly exchange: AccessLine | undefined;
  /** Undefined for an event about the whole gateway. */
  readonly service: string | undefined;
  /** Characters, beside a fixed part. */
  readonly size: number;
  /** Formatted at the first reading. */
  readonly text: string;
}

export interface ReaderOptions {
  readonly filter: Pick<ExchangeFilter, "service" | "status">;
  /** Of the issued key that opened it; undefined for another caller. */
  readonly digest: string | undefined;
  /** Whether the request that opened it would be admitted now. */
  readonly isAllowed: () => boolean;
  /** Closes the connection of a reader that has not taken its last events. */
  readonly cut: () => void;
}

/** Why the gateway ended a stream. */
export type EndReason = "draining" | "key-ended";

/** What may wait for one reader. */
const WAITING_EVENTS = 4_096;
const WAITING_CHARACTERS = 1024 * 1024;

/** So many are sent before the feed's timer does it. */
const BATCH = 64;

/** Of one chunk; a single event may be longer. */
const CHUNK_CHARACTERS = 64 * 1024;

/** How long a reader has to take its last events, ms. */
const END_MS = 1_000;

const BEGIN = ": the events of this gateway\n\n";
const HEARTBEAT = ":\n\n";

export class EventReader {
  readonly stream: ReadableStream<Uint8Array>;
  readonly #options: ReaderOptions;
  readonly #onLeft: () => void;
  #waiting: FeedEvent[] = [];
  #characters = 0;
  /** Events that were lost after those that wait. */
  #lost = 0;
  /** A comment, or the last event. */
  #extra = "";
  #isEnded = false;
  #endTimer: NodeJS.Timeout | undefined;
  /** Set while the stream asks for a chunk and there is none. */
  #wake: (() => void) | undefined;

  /** @param onLeft called once, when the reader has left or its stream has ended. */
  constructor(options: ReaderOptions, onLeft: () => void) {
    this.#options = options;
    this.#onLeft = onLeft;
    const encoder = new TextEncoder();
    this.stream = new ReadableStream<Uint8Array>(
      {
        start: (controller) => controller.enqueue(encoder.encode(BEGIN)),
        pull: async (controller) => {
          // Between two chunks other requests are served.
          if (this.#waiting.length > 0) await setImmediate();
          if (!this.#hasText) {
            await new Promise<void>((resolve) => {
              this.#wake = resolve;
            });
          }
          // The reader may have left meanwhile.
          if (!this.#hasText) return;
          controller.enqueue(encoder.encode(this.#take()));
          if (!this.#isEnded || this.#hasText) return;
          controller.close();
          this.#onLeft();
        },
        cancel: () => this.#leave(),
      },
      { highWaterMark: 0 },
    );
  }

  push(event: FeedEvent): void {
    if (this.#isEnded || !this.#selects(event)) return;
    if (this.#waiting.length >= WAITING_EVENTS || this.#characters >= WAITING_CHARACTERS) {
      this.#lost++;
      return;
    }
    if (this.#lost > 0) this.#waiting.push(lostEvent(this.#lost));
    this.#lost = 0;
    this.#waiting.push(event);
    this.#characters += event.size;
    if (this.#waiting.length >= BATCH) this.flush();
  }

  /** Sends what waits, if the reader takes it. */
  flush(): void {
    if (!this.#hasText) return;
    this.#wake?.();
    this.#wake = undefined;
  }

  /** A comment, so that neither side takes the silent connection for a dead one. */
  beat(): void {
    if (!this.#hasText) this.#extra = HEARTBEAT;
    this.flush();
  }

  recheck(digest: string | undefined): void {
    if (digest !== undefined && digest !== this.#options.digest) return;
    if (!this.#options.isAllowed()) this.end("key-ended");
  }

  end(reason: EndReason): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    if (reason === "key-ended") this.#drop();
    this.#extra += `event: end\ndata: {"reason":"${reason}"}\n\n`;
    this.#endTimer = setTimeout(this.#options.cut, END_MS);
    this.#endTimer.unref();
    this.flush();
  }

  get #hasText(): boolean {
    return this.#waiting.length > 0 || this.#extra !== "" || this.#lost > 0;
  }

  /** What `?service=` leaves out is about another service; what `?status=` leaves out is another exchange. */
  #selects({ exchange, service }: FeedEvent): boolean {
    const { filter } = this.#options;
    if (exchange !== undefined) return isSelected(exchange, filter);
    return service === undefined || filter.service === undefined || filter.service === service;
  }

  /** The next chunk. */
  #take(): string {
    let text = "";
    let taken = 0;
    for (const event of this.#waiting) {
      if (text.length >= CHUNK_CHARACTERS) break;
      text += event.text;
      this.#characters -= event.size;
      taken++;
    }
    this.#waiting = taken === this.#waiting.length ? [] : this.#waiting.slice(taken);
    if (this.#waiting.length > 0) return text;
    if (this.#lost > 0) text += lostEvent(this.#lost).text;
    text += this.#extra;
    this.#lost = 0;
    this.#extra = "";
    return text;
  }

  #drop(): void {
    this.#waiting = [];
    this.#characters = 0;
    this.#lost = 0;
  }

  #leave(): void {
    clearTimeout(this.#endTimer);
    this.#isEnded = true;
    this.#drop();
    this.#extra = "";
    this.#wake?.();
    this.#wake = undefined;
    this.#onLeft();
  }
}

function lostEvent(count: number): FeedEvent {
  return { exchange: undefined, service: undefined, size: 0, text: `event: lost\ndata: {"count":${count}}\n\n` };
}
