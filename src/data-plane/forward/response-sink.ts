/** Where responses of upstreams go: to the client, perhaps through sinks that change them. */
import type { GatewayError } from "../../errors.ts";
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
