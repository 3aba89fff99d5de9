/** Where responses of upstreams go: to the client, perhaps through sinks that change them. */
import type { GatewayError } from "../../errors.ts";
import type { Deadline } from "./deadline.ts";
import type { ResponseHeaders } from "./transport/response-fields.ts";
import type { Flow } from "./transport/transport-contract.ts";

export interface ResponseHead {
  readonly status: number;
  /** The reason phrase as received; empty where there was none. */
  readonly reason: string;
  readonly headers: ResponseHeaders;
}

/** Where an attempt sends the response that it receives: `start` once, `write` for each chunk, then `end` or `abort`. */
export interface ResponseSink {
  /** @param flow pauses, resumes and aborts what is received. @throws GatewayError for a head that cannot be sent. */
  start(head: ResponseHead, flow: Flow): void;
  write(chunk: Buffer): void;
  /** @param last the last bytes of the body, if they arrived together with its end. */
  end(trailers: ResponseHeaders, last: Buffer | undefined): void;
  /** Ends a response that cannot be completed; nothing happens where it is complete. */
  abort(error: GatewayError): void;
}

/** The last sink: a client, or several. */
export interface ClientSink extends ResponseSink {
  /** Resolves when all clients have the response, or have left. */
  readonly closed: Promise<void>;
  /** The client that sets the pace has not taken what was received for it. */
  readonly isClientSlow: boolean;
  /** Treats that client as one that left. */
  dropClient(): void;
}

/** Where the response to a forwarded request goes instead of to the client of its exchange. */
export interface Destination {
  sinkFor(deadline: Deadline): ClientSink;
  /** Undefined where they go to the client of the exchange. */
  relayInterim?(status: number, headers: ResponseHeaders): void;
}
