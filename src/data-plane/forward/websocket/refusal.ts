/**
 * An upstream's refusal of a WebSocket: relayed like any other response, but within bounds.
 * Invariant: a refusal is an explanation, not a download: its bytes and its time are limited, whatever the two sides do.
 */
import { GatewayError } from "../../../errors.ts";
import type { Exchange } from "../../exchange.ts";
import type { Relay } from "../relay.ts";
import type { ResponseHead, ResponseSink } from "../response-sink.ts";
import type { ResponseHeaders } from "../transport/response-fields.ts";
import type { Flow } from "../transport/transport-contract.ts";

const BYTES_LIMIT = 1024 * 1024;

export class Refusal implements ResponseSink {
  readonly #exchange: Exchange;
  readonly #relay: Relay;
  readonly #limitMs: number;
  #timer: NodeJS.Timeout | undefined;
  #bytes = 0;

  /** @param limitMs for its body. */
  constructor(exchange: Exchange, relay: Relay, limitMs: number) {
    this.#exchange = exchange;
    this.#relay = relay;
    this.#limitMs = limitMs;
  }

  /** Resolves when the client has all of it, has left or was cut off. */
  async over(): Promise<void> {
    await this.#relay.closed;
    clearTimeout(this.#timer);
  }

  start(head: ResponseHead, flow: Flow): void {
    const { req, res } = this.#exchange;
    this.#relay.start(head, flow);
    this.#timer = setTimeout(() => this.expire(), this.#limitMs);
    this.#timer.unref();
    // node:http removed its own listener with the upgrade.
    req.socket.on("drain", () => res.emit("drain"));
  }

  write(chunk: Buffer): void {
    if (this.#isWithinLimit(chunk)) this.#relay.write(chunk);
  }

  end(trailers: ResponseHeaders, last: Buffer | undefined): void {
    if (this.#isWithinLimit(last)) this.#relay.end(trailers, last);
  }

  abort(error: GatewayError): void {
    this.#relay.abort(error);
  }

  /** It took too long. */
  expire(): void {
    if (this.#relay.isClientSlow) this.#relay.dropClient();
    else this.#relay.abort(new GatewayError("UPSTREAM_TIMEOUT"));
  }

  /** Ends a refusal that is too long. */
  #isWithinLimit(chunk: Buffer | undefined): boolean {
    this.#bytes += chunk?.length ?? 0;
    if (this.#bytes <= BYTES_LIMIT) return true;
    this.#relay.abort(new GatewayError("UPSTREAM_PROTOCOL_ERROR"));
    return false;
  }
}
