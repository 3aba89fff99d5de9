/**
 * The one request that is sent for a claim, and its response.
 * Invariant: once it was sent, it ends without its client too: a client that leaves and asks again gets the response. The claim is
 * released only if nothing was sent or the upstream did not execute it, and completed only if the upstream responded.
 */
import { ServerResponse } from "node:http";
import { performance } from "node:perf_hooks";
import { GatewayError } from "../../errors.ts";
import type { Exchange } from "../exchange.ts";
import { type Client, openClientSink } from "../forward/client-sink.ts";
import type { Deadline } from "../forward/deadline.ts";
import { relayInterim } from "../forward/interim.ts";
import { joinBody } from "../forward/join-body.ts";
import { idleLimit } from "../forward/relay.ts";
import type { ClientSink, Destination, ResponseHead } from "../forward/response-sink.ts";
import type { ResponseHeaders } from "../forward/transport/response-fields.ts";
import type { Flow } from "../forward/transport/transport-contract.ts";
import type { UpstreamRequest } from "../forward/upstream-request.ts";
import type { HeldClaim } from "./held-claim.ts";
import { createKeptResponse, mayKeep, wasNotExecuted } from "./kept-response.ts";

export interface OnceTask extends Client {
  readonly request: UpstreamRequest;
  readonly body: Buffer;
  readonly claim: HeldClaim;
}

export class OnceRun implements Destination, ClientSink {
  /** Settles when the client has its response or has left. */
  readonly result: Promise<void>;
  readonly closed: Promise<void>;
  readonly #task: OnceTask;
  readonly #exchange: Exchange;
  #settle!: (error?: unknown) => void;
  #resolveClosed!: () => void;
  #deadline: Deadline | undefined;
  #flow: Flow | undefined;
  #head: ResponseHead | undefined;
  /** Undefined before the response and after the client has left. */
  #relay: ClientSink | undefined;
  #isClientGone = false;
  /** Undefined where the body is not kept. */
  #chunks: Buffer[] | undefined;
  #bytes = 0;
  #isOver = false;

  constructor(task: OnceTask) {
    this.#task = task;
    const { exchange: client, body } = task;
    const exchange = client.detach(new ServerResponse(client.req));
    exchange.body = body;
    exchange.destination = this;
    this.#exchange = exchange;
    this.result = new Promise((resolve, reject) => {
      this.#settle = (error) => (error === undefined ? resolve() : reject(error));
    });
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
  }

  /** Resolves when the request is over on the upstream's side too. @param send with an exchange whose response comes here. */
  async run(send: (exchange: Exchange) => Promise<void>): Promise<void> {
    const { exchange: client, claim } = this.#task;
    const exchange = this.#exchange;
    client.giveSlots(exchange);
    client.onClose = this.#onClientGone;
    try {
      await send(exchange);
    } catch (thrown) {
      client.adopt(exchange);
      client.onClose = undefined;
      client.wasSent = exchange.wasSent;
      this.#settle(GatewayError.from(thrown));
    } finally {
      this.#forgetChunks();
      exchange.quota?.end();
      exchange.body = undefined;
      exchange.giveSlots(client);
      if (!exchange.wasSent) claim.release();
      claim.end();
      client.adopt(exchange);
      if (client.hasClientLeft) this.#chargeAlone();
      this.#settle();
    }
  }

  /** The budgets were asked when the client left: then it was not known what the request would cost. */
  #chargeAlone(): void {
    const { exchange: client } = this.#task;
    client.wasSent = this.#exchange.wasSent;
    client.spend?.end();
  }

  sinkFor(deadline: Deadline): ClientSink {
    this.#deadline = deadline;
    return this;
  }

  relayInterim(status: number, headers: ResponseHeaders): void {
    const { exchange, route, parts } = this.#task;
    if (!this.#isClientGone) relayInterim(exchange, route, { status, headers }, parts);
  }

  start(head: ResponseHead, flow: Flow): void {
    const { route, claim } = this.#task;
    const { maxBodyBytes } = claim.idempotency.settings;
    this.#flow = flow;
    this.#head = head;
    this.#deadline?.enterBody(performance.now(), idleLimit(route, head.headers));
    if (wasNotExecuted(head)) claim.release();
    else if (mayKeep(head, maxBodyBytes, route.prepared.echoMask)) this.#chunks = [];
    if (this.#isClientGone) return this.#continueAlone();
    this.#startRelay(head);
  }

  write(chunk: Buffer): void {
    this.#deadline?.touch();
    this.#keep(chunk);
    this.#relay?.write(chunk);
  }

  end(trailers: ResponseHeaders, last: Buffer | undefined): void {
    if (last !== undefined) this.#keep(last);
    // Trailers, as those of gRPC, may be what the response means.
    if (Object.keys(trailers).length > 0) this.#forgetChunks();
    const head = this.#head as ResponseHead;
    this.#task.claim.complete(this.#chunks && createKeptResponse(head, joinBody(this.#chunks, this.#bytes)));
    this.#isOver = true;
    this.#relay?.end(trailers, last);
    if (this.#relay === undefined) this.#resolveClosed();
  }

  /** The outcome is unknown, unless the gateway itself ended a response that it does not keep. */
  abort(error: GatewayError): void {
    this.#isOver = true;
    this.#relay?.abort(error);
    if (this.#relay === undefined) this.#resolveClosed();
  }

  get isClientSlow(): boolean {
    return this.#relay?.isClientSlow ?? false;
  }

  dropClient(): void {
    this.#relay?.dropClient();
  }

  #startRelay(head: ResponseHead): void {
    const { exchange: client, request } = this.#task;
    client.adopt(this.#exchange);
    client.cache = this.#exchange.cache;
    client.onClose = undefined;
    const relay = openClientSink(this.#task, request.wantsTrailers, this.#deadline);
    this.#relay = relay;
    relay.closed.then(
      () => this.#endRelay(undefined),
      (error: unknown) => this.#endRelay(error),
    );
    try {
      relay.start(head, this.#clientFlow);
    } catch (thrown) {
      // The upstream has responded, although its response cannot be relayed.
      this.#endRelay(thrown);
    }
  }

  /** What the client's side may do to the upstream's. */
  readonly #clientFlow: Flow = {
    pause: () => this.#relay && this.#flow?.pause(),
    resume: () => this.#relay && this.#flow?.resume(),
    abort: () => this.#continueAlone(),
  };

  #endRelay(error: unknown): void {
    this.#settle(error);
    if (error !== undefined || this.#task.exchange.hasClientLeft) this.#continueAlone();
    else this.#relay = undefined;
    if (this.#isOver) this.#resolveClosed();
  }

  readonly #onClientGone = (): void => {
    const { exchange: client } = this.#task;
    this.#isClientGone = true;
    client.adopt(this.#exchange);
    if (!this.#exchange.wasSent) this.#exchange.abandon();
    this.#settle();
  };

  /** Without its client a response is read only to be kept. */
  #continueAlone(): void {
    this.#relay = undefined;
    this.#isClientGone = true;
    if (this.#isOver) return;
    if (this.#chunks !== undefined) return this.#flow?.resume();
    // The upstream has responded, and the rest of the response is of no use.
    this.#task.claim.complete(undefined);
    this.#flow?.abort(new Error("the client left"));
  }

  #keep(chunk: Buffer): void {
    if (this.#chunks === undefined) return;
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#task.claim.keeps(chunk.length, this.#bytes)) return;
    this.#forgetChunks();
    if (this.#isClientGone) this.#continueAlone();
  }

  #forgetChunks(): void {
    this.#task.claim.forget(this.#bytes);
    this.#bytes = 0;
    this.#chunks = undefined;
  }
}
