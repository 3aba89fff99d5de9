/**
 * One client that waits for, or receives, the response of a fill.
 * Invariant: its pace is its own: a client that does not read holds up neither the upstream nor another client, within the bounds of the
 * fill.
 */
import { GatewayError } from "../../errors.ts";
import type { Exchange } from "../exchange.ts";
import { openClientSink } from "../forward/client-sink.ts";
import type { ForwardParts } from "../forward/forward.ts";
import type { ClientSink, ResponseHead } from "../forward/response-sink.ts";
import { noFields, type ResponseHeaders } from "../forward/transport/response-fields.ts";
import type { Flow } from "../forward/transport/transport-contract.ts";
import type { UpstreamRequest } from "../forward/upstream-request.ts";
import type { Route } from "../identify.ts";
import type { CacheOutcome } from "./cache-outcome.ts";
import type { RequestRules } from "./request-rules.ts";
import type { StoredResponse } from "./stored-response.ts";

/** A request that the cache handles. */
export interface CachedRequest {
  readonly exchange: Exchange;
  readonly route: Route;
  readonly request: UpstreamRequest;
  readonly rules: RequestRules;
  readonly parts: ForwardParts;
}

export type ReaderResult =
  /** The response was relayed, or the client left. */
  | { readonly kind: "over" }
  /** The upstream validated the entry, which is the response. */
  | { readonly kind: "entry"; readonly entry: StoredResponse }
  /** The upstream failed, and this entry may be served although it is stale. */
  | { readonly kind: "stale"; readonly entry: StoredResponse }
  /** The response may not be shared: the request is sent by itself. */
  | { readonly kind: "released" }
  /** There is no response. */
  | { readonly kind: "failed"; readonly error: GatewayError };

/** The chunks of a body that have arrived so far. */
export interface ArrivedBody {
  /** Undefined where it is not kept any more. */
  at(position: number): Buffer | undefined;
  /** The number of chunks since the beginning. */
  readonly end: number;
  readonly isComplete: boolean;
  readonly trailers: ResponseHeaders;
}

export const NO_TRAILERS = noFields();

export class Reader implements Flow {
  readonly cached: CachedRequest;
  readonly result: Promise<ReaderResult>;
  /** The next chunk that it gets. */
  position = 0;
  bytes = 0;
  isPaused = false;
  #settle!: (result: ReaderResult) => void;
  #relay: ClientSink | undefined;
  #hasEnded = false;
  readonly #body: ArrivedBody;
  readonly #onChange: (reader: Reader, change: "paused" | "resumed" | "left") => void;

  /** @param onChange called when it pauses, resumes, or leaves: then it holds none of the body any more. */
  constructor(
    cached: CachedRequest,
    body: ArrivedBody,
    onChange: (reader: Reader, change: "paused" | "resumed" | "left") => void,
  ) {
    this.cached = cached;
    this.#body = body;
    this.#onChange = onChange;
    this.result = new Promise((resolve) => {
      this.#settle = resolve;
    });
    cached.exchange.onClose = () => {
      this.#settle({ kind: "over" });
      onChange(this, "left");
    };
  }

  /** Its response has begun. */
  get isReading(): boolean {
    return this.#relay !== undefined;
  }

  /** It gets no response from the fill. */
  settle(result: ReaderResult): void {
    this.cached.exchange.onClose = undefined;
    this.#settle(result);
  }

  /** Begins to relay the response. @throws GatewayError for a head that cannot be sent. */
  begin(head: ResponseHead, outcome: CacheOutcome): void {
    const { exchange, request } = this.cached;
    exchange.cache = outcome;
    exchange.onClose = undefined;
    const relay = openClientSink(this.cached, request.wantsTrailers);
    relay.start(head, this);
    this.#relay = relay;
    relay.closed
      .then(
        () => this.#settle({ kind: "over" }),
        (error: unknown) => this.#settle({ kind: "failed", error: GatewayError.from(error) }),
      )
      .finally(() => this.#onChange(this, "left"));
  }

  /** Relays what has arrived, as long as the client takes it. */
  pump(): void {
    const relay = this.#relay;
    if (relay === undefined || this.#hasEnded) return;
    const body = this.#body;
    while (!this.isPaused && this.position < body.end) {
      const chunk = body.at(this.position) as Buffer;
      this.position++;
      this.bytes += chunk.length;
      // The last bytes travel with the end, and often with the head.
      if (body.isComplete && this.position === body.end) return this.#end(chunk);
      relay.write(chunk);
    }
    if (body.isComplete && this.position === body.end && !this.isPaused) this.#end(undefined);
  }

  #end(last: Buffer | undefined): void {
    this.#hasEnded = true;
    this.#relay?.end(this.#body.trailers, last);
  }

  cut(error: GatewayError): void {
    this.#relay?.abort(error);
  }

  drop(): void {
    this.#relay?.dropClient();
  }

  pause(): void {
    this.isPaused = true;
    this.#onChange(this, "paused");
  }

  resume(): void {
    this.isPaused = false;
    this.pump();
    this.#onChange(this, "resumed");
  }

  abort(): void {
    this.#onChange(this, "left");
  }
}
