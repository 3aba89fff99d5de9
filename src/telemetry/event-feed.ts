/**
 * What happens in the gateway, as Server-Sent Events for operators: exchanges, changes, and states of breakers, quotas and load.
 * Invariant: without a reader nothing is built; an event is formatted when a reader takes it, once for all readers; the number of
 * readers is bounded, and no event waits for a reader.
 */
import { type AccessLine, accessMembers, clientTextOf } from "./access-line.ts";
import { EventReader, type FeedEvent, type ReaderOptions } from "./event-reader.ts";
import type { SecretMask } from "./redact.ts";

/** Kinds of events about anything but an exchange. */
export type NoticeKind = "change" | "breaker" | "quota" | "pressure";

export interface EventFeedOptions {
  readonly maskKeys: SecretMask;
  readonly heartbeatMs?: number;
  readonly maxReaders?: number;
}

/** Proxies close a connection that is silent for a minute. */
const HEARTBEAT_MS = 15_000;

const MAX_READERS = 32;

/** Events are sent together, this long after the first of them at the latest. */
const FLUSH_MS = 50;

export class EventFeed {
  readonly maxReaders: number;
  /** A plain member, because each exchange reads it. */
  hasReaders = false;
  readonly #maskKeys: SecretMask;
  readonly #heartbeatMs: number;
  readonly #readers = new Set<EventReader>();
  #heartbeat: NodeJS.Timeout | undefined;
  #flush: NodeJS.Timeout | undefined;

  constructor({ maskKeys, heartbeatMs = HEARTBEAT_MS, maxReaders = MAX_READERS }: EventFeedOptions) {
    this.#maskKeys = maskKeys;
    this.#heartbeatMs = heartbeatMs;
    this.maxReaders = maxReaders;
  }

  /** The stream of a new reader; undefined where there are too many. */
  open(options: ReaderOptions): ReadableStream<Uint8Array> | undefined {
    if (this.#readers.size >= this.maxReaders) return undefined;
    const reader = new EventReader(options, () => this.#remove(reader));
    this.#readers.add(reader);
    this.hasReaders = true;
    this.#heartbeat ??= setInterval(() => {
      for (const each of this.#readers) each.beat();
    }, this.#heartbeatMs).unref();
    return reader.stream;
  }

  /** A finished exchange. */
  exchange(line: AccessLine): void {
    if (this.hasReaders) this.#send(new ExchangeEvent(line, this.#maskKeys));
  }

  /** @param service that the event is about; undefined for the whole gateway. @param body without secrets. */
  notice(kind: NoticeKind, body: object, service?: string): void {
    if (this.hasReaders) this.#send(new Notice(kind, body, service));
  }

  /** Ends the readers whose key is no longer valid. @param digest only those with this issued key. */
  recheck(digest?: string): void {
    for (const reader of this.#readers) reader.recheck(digest);
  }

  /** Ends all readers, because the gateway ends. */
  close(): void {
    clearTimeout(this.#flush);
    for (const reader of this.#readers) reader.end("draining");
  }

  #send(event: FeedEvent): void {
    for (const reader of this.#readers) reader.push(event);
    this.#flush ??= setTimeout(() => {
      this.#flush = undefined;
      for (const reader of this.#readers) reader.flush();
    }, FLUSH_MS).unref();
  }

  #remove(reader: EventReader): void {
    this.#readers.delete(reader);
    this.hasReaders = this.#readers.size > 0;
    if (this.hasReaders) return;
    clearInterval(this.#heartbeat);
    this.#heartbeat = undefined;
  }
}

class ExchangeEvent implements FeedEvent {
  readonly exchange: AccessLine;
  readonly service: string;
  readonly size: number;
  readonly #maskKeys: SecretMask;
  #text: string | undefined;

  constructor(line: AccessLine, maskKeys: SecretMask) {
    this.exchange = line;
    this.service = line.service;
    this.size = clientTextOf(line);
    this.#maskKeys = maskKeys;
  }

  get text(): string {
    this.#text ??= frame("request", `{${accessMembers(this.exchange, this.#maskKeys)}}`);
    return this.#text;
  }
}

class Notice implements FeedEvent {
  readonly exchange = undefined;
  readonly service: string | undefined;
  readonly text: string;

  constructor(kind: NoticeKind, body: object, service: string | undefined) {
    this.service = service;
    this.text = frame(kind, JSON.stringify(body));
  }

  get size(): number {
    return this.text.length;
  }
}

/** JSON has no line break, so that no text in it can begin another event. */
const frame = (kind: string, json: string) => `event: ${kind}\ndata: ${json}\n\n`;
