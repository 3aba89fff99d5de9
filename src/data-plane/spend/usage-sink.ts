/**
 * Between an attempt and the sinks that change the response: reads what it cost.
 * Invariant: nothing is changed, held or delayed; and the cost is charged before the next sink learns of the end.
 */
import type { GatewayError } from "../../errors.ts";
import type { ResponseHead, ResponseSink } from "../forward/response-sink.ts";
import type { ResponseHeaders } from "../forward/transport/response-fields.ts";
import type { Flow } from "../forward/transport/transport-contract.ts";

export interface UsageMeter {
  begin(head: ResponseHead): void;
  opened(): void;
  read(chunk: Buffer): void;
  complete(): void;
  cut(): void;
}

export class UsageSink implements ResponseSink {
  readonly #next: ResponseSink;
  readonly #meter: UsageMeter;

  constructor(next: ResponseSink, meter: UsageMeter) {
    this.#next = next;
    this.#meter = meter;
  }

  start(head: ResponseHead, flow: Flow): void {
    // Before the next sinks, which change the headers.
    this.#meter.begin(head);
    // First: the client may leave while the next sink begins.
    this.#meter.opened();
    try {
      this.#next.start(head, flow);
    } catch (thrown) {
      this.#meter.cut();
      throw thrown;
    }
  }

  write(chunk: Buffer): void {
    this.#meter.read(chunk);
    this.#next.write(chunk);
  }

  end(trailers: ResponseHeaders, last: Buffer | undefined): void {
    if (last !== undefined) this.#meter.read(last);
    this.#meter.complete();
    this.#next.end(trailers, last);
  }

  abort(error: GatewayError): void {
    this.#meter.cut();
    this.#next.abort(error);
  }
}
