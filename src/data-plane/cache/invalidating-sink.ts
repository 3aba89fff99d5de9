/**
 * Removes what an unsafe request may have changed (RFC 9111 section 4.4).
 * Invariant: this happens before the client learns of the success, so that its next request does not get the earlier response.
 */
import type { GatewayError } from "../../errors.ts";
import type { Exchange } from "../exchange.ts";
import { openClientSink } from "../forward/client-sink.ts";
import type { Deadline } from "../forward/deadline.ts";
import type { ForwardParts } from "../forward/forward.ts";
import type { ClientSink, Destination, ResponseHead } from "../forward/response-sink.ts";
import type { ResponseHeaders } from "../forward/transport/response-fields.ts";
import type { Flow } from "../forward/transport/transport-contract.ts";
import type { UpstreamRequest } from "../forward/upstream-request.ts";
import type { Route } from "../identify.ts";
import { urlOf } from "./cache-key.ts";
import { joined } from "./freshness.ts";
import type { ServiceCache } from "./service-cache.ts";

export interface Invalidation {
  readonly cache: ServiceCache;
  readonly exchange: Exchange;
  readonly route: Route;
  readonly request: UpstreamRequest;
  readonly parts: ForwardParts;
}

export class InvalidatingDestination implements Destination {
  readonly relayInterim: Destination["relayInterim"];
  readonly #of: Invalidation;
  readonly #next: Destination | undefined;

  /** @param next undefined where the response goes to the client of the exchange. */
  constructor(of: Invalidation, next: Destination | undefined) {
    this.#of = of;
    this.#next = next;
    this.relayInterim = next?.relayInterim?.bind(next);
  }

  sinkFor(deadline: Deadline): ClientSink {
    const { request } = this.#of;
    const client = this.#next?.sinkFor(deadline) ?? openClientSink(this.#of, request.wantsTrailers, deadline);
    return new InvalidatingSink(client, (head) => this.#invalidate(head));
  }

  #invalidate({ status, headers }: ResponseHead): void {
    if (status >= 400) return;
    const { cache, exchange, request } = this.#of;
    const url = urlOf(request);
    const targets = [headers.location, headers["content-location"]].flatMap((value) => {
      const target = urlNamedBy(joined(value), url, exchange.insertedPaths);
      return target === undefined ? [] : [target];
    });
    cache.invalidate([url, ...targets]);
  }
}

/** Another origin's resources are not for this upstream to invalidate. @param inserted paths that belong to the credential. */
function urlNamedBy(reference: string | undefined, url: string, inserted: readonly string[]): string | undefined {
  if (reference === undefined || !URL.canParse(reference, url)) return undefined;
  const { origin, pathname, search } = new URL(reference, url);
  if (origin !== new URL(url).origin) return undefined;
  const own = inserted.find((each) => each !== "" && pathname.includes(each));
  return origin + (own === undefined ? pathname : pathname.replace(own, "")) + search;
}

class InvalidatingSink implements ClientSink {
  readonly #next: ClientSink;
  readonly #invalidate: (head: ResponseHead) => void;

  constructor(next: ClientSink, invalidate: (head: ResponseHead) => void) {
    this.#next = next;
    this.#invalidate = invalidate;
  }

  start(head: ResponseHead, flow: Flow): void {
    this.#invalidate(head);
    this.#next.start(head, flow);
  }

  write(chunk: Buffer): void {
    this.#next.write(chunk);
  }

  end(trailers: ResponseHeaders, last: Buffer | undefined): void {
    this.#next.end(trailers, last);
  }

  abort(error: GatewayError): void {
    this.#next.abort(error);
  }

  get closed(): Promise<void> {
    return this.#next.closed;
  }

  get isClientSlow(): boolean {
    return this.#next.isClientSlow;
  }

  dropClient(): void {
    this.#next.dropClient();
  }
}
