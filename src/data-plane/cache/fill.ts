/**
 * One request to the upstream for the cache, with the clients that wait for its response.
 * Invariant: it belongs to no client. It ends early only when all of them have left, its body streams to each at that client's pace, and
 * it is stored only if it is complete.
 */
import { ServerResponse } from "node:http";
import { GatewayError } from "../../errors.ts";
import type { Exchange } from "../exchange.ts";
import type { Deadline } from "../forward/deadline.ts";
import { forward } from "../forward/forward.ts";
import { relayInterim } from "../forward/interim.ts";
import { idleLimit } from "../forward/relay.ts";
import type { ClientSink, Destination, ResponseHead } from "../forward/response-sink.ts";
import type { ResponseHeaders } from "../forward/transport/response-fields.ts";
import type { Flow } from "../forward/transport/transport-contract.ts";
import { FillBody } from "./fill-body.ts";
import { FillPlan } from "./fill-plan.ts";
import type { FillTask } from "./fill-task.ts";
import { mayServeOnError } from "./judge-entry.ts";
import { type CachedRequest, Reader, type ReaderResult } from "./reader.ts";
import type { ActiveFill } from "./service-cache.ts";
import type { StoredResponse } from "./stored-response.ts";

export class Fill implements Destination, ClientSink, ActiveFill {
  readonly closed: Promise<void>;
  readonly task: FillTask;
  readonly exchange: Exchange;
  /** The first is the client that the fill was made for, while it is there; it sets the pace. */
  readonly #readers: Reader[] = [];
  readonly #body: FillBody;
  readonly #plan: FillPlan;
  #resolveClosed!: () => void;
  #deadline: Deadline | undefined;
  #flow: Flow | undefined;
  #head: ResponseHead | undefined;
  #isJoinable: boolean;
  #isOver = false;

  constructor(task: FillTask) {
    this.task = task;
    const { exchange: client } = task.cached;
    this.exchange = client.detach(new ServerResponse(client.req));
    this.exchange.destination = this;
    this.exchange.poolUse = task.pool && { pinned: task.pool.pinned };
    this.exchange.findLender = () => this.#readers.find(({ cached }) => cached.exchange.hasSlots)?.cached.exchange;
    this.#body = new FillBody(task.cache);
    this.#plan = new FillPlan(task);
    this.#isJoinable = task.sharedAs !== undefined;
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
  }

  /** Sends the request; the slots of the client's exchange are used for it. */
  async run(): Promise<void> {
    const { cached, request, isBehind } = this.task;
    const { exchange } = this;
    if (!isBehind) cached.exchange.giveSlots(exchange);
    try {
      await forward(exchange, cached.route, request, cached.parts);
      this.#settleWaiting({ kind: "released" });
    } catch (thrown) {
      this.#fail(GatewayError.from(thrown));
    } finally {
      this.#end();
      exchange.quota?.end();
      if (isBehind) exchange.end();
      else exchange.giveSlots(cached.exchange);
    }
  }

  /** Adds a client. @returns undefined where it cannot join any more. */
  join(cached: CachedRequest): Promise<ReaderResult> | undefined {
    const isFirst = cached === this.task.cached;
    if (!isFirst && !this.#isJoinable) return undefined;
    if (this.#head !== undefined && !this.#plan.mayShareWith(cached)) return undefined;
    const reader = new Reader(cached, this.#body, this.#onReaderChange);
    if (cached.exchange.hasClientLeft) return reader.result;
    this.#readers.push(reader);
    if (this.#head !== undefined) {
      this.#begin(reader);
      reader.pump();
    }
    return reader.result;
  }

  /** What it receives is not stored, and no further client joins: what it asked for has changed since. */
  invalidate(): void {
    this.#isJoinable = false;
    this.#plan.stopStoring();
    this.#body.stopKeeping();
    this.#settlePace();
  }

  sinkFor(deadline: Deadline): ClientSink {
    this.#deadline = deadline;
    return this;
  }

  relayInterim(status: number, headers: ResponseHeaders): void {
    const { cached } = this.task;
    const first = this.#readers[0];
    if (first?.cached !== cached) return;
    relayInterim(cached.exchange, cached.route, { status, headers }, cached.parts);
  }

  start(head: ResponseHead, flow: Flow): void {
    this.#flow = flow;
    this.#deadline?.enterBody(performance.now(), idleLimit(this.task.cached.route, head.headers));
    const verdict = this.#plan.judge(head, this.exchange.waitedMs, this.exchange.poolUse?.chosen);
    if (verdict.kind === "mismatched") return this.#settleWaiting({ kind: "released" });
    if (verdict.kind === "validated") return this.#settleValidated(verdict.entry);
    if (verdict.kind === "stale") return this.#settleStale(verdict.entry);
    this.#head = head;
    if (verdict.isStored) this.#body.keepAll();
    if (!verdict.isShared) this.#closeToOthers();
    for (const reader of [...this.#readers]) {
      if (reader.cached === this.task.cached || this.#plan.mayShareWith(reader.cached)) this.#begin(reader);
      else this.#release(reader, { kind: "released" });
    }
    if (this.#readers.length === 0 && !this.task.isBehind) flow.abort(new Error("no client may have the response"));
  }

  write(chunk: Buffer): void {
    this.#deadline?.touch();
    if (this.#head === undefined) return this.#discard(chunk);
    if (!this.#body.push(chunk)) this.#stopKeeping();
    for (const reader of [...this.#readers]) reader.pump();
    this.#settlePace();
  }

  end(trailers: ResponseHeaders, last: Buffer | undefined): void {
    if (this.#head !== undefined) {
      if (last !== undefined && !this.#body.push(last)) this.#stopKeeping();
      this.#body.complete(trailers);
      this.#plan.store(this.#head, this.#body);
      for (const reader of [...this.#readers]) reader.pump();
    }
    this.#end();
  }

  abort(error: GatewayError): void {
    for (const reader of [...this.#readers]) reader.cut(error);
    this.#end();
  }

  get isClientSlow(): boolean {
    return this.#readers[0]?.isPaused === true && !this.#body.isKept;
  }

  dropClient(): void {
    this.#readers[0]?.drop();
  }

  #begin(reader: Reader): void {
    const head = this.#head as ResponseHead;
    const isFirst = reader.cached === this.task.cached;
    const { exchange } = reader.cached;
    exchange.insertedPaths = this.exchange.insertedPaths;
    if (isFirst) exchange.adopt(this.exchange);
    try {
      reader.begin(head, this.#plan.outcomeFor(isFirst));
    } catch (thrown) {
      this.#plan.stopStoring();
      return this.#release(reader, { kind: "failed", error: GatewayError.from(thrown) });
    }
    // The client did not cause the upstream's work.
    if (!isFirst) exchange.respondedAt = 0;
  }

  readonly #onReaderChange = (reader: Reader, change: "paused" | "resumed" | "left"): void => {
    if (change === "left") this.#remove(reader);
    else this.#settlePace();
  };

  #remove(reader: Reader): void {
    const at = this.#readers.indexOf(reader);
    if (at === -1) return;
    this.#readers.splice(at, 1);
    if (this.#isOver) return this.#releaseBody();
    if (this.#readers.length > 0 || this.task.isBehind) return this.#settlePace();
    this.#closeToOthers();
    if (this.#flow === undefined) this.exchange.abandon();
    else this.#flow.abort(new Error("all clients left"));
  }

  #release(reader: Reader, result: ReaderResult): void {
    const at = this.#readers.indexOf(reader);
    if (at !== -1) this.#readers.splice(at, 1);
    const { exchange } = reader.cached;
    if (reader.cached === this.task.cached) exchange.adopt(this.exchange);
    reader.settle(result);
  }

  /** The client that the fill was made for gets the validated response; another one only if it need not validate it itself. */
  #settleValidated(entry: StoredResponse): void {
    this.#closeToOthers();
    for (const reader of [...this.#readers]) {
      const isEntrys = reader.cached === this.task.cached || this.#plan.mayShareEntry(entry, reader.cached);
      this.#release(reader, isEntrys ? { kind: "entry", entry } : { kind: "released" });
    }
  }

  #settleStale(entry: StoredResponse): void {
    this.#closeToOthers();
    for (const reader of [...this.#readers]) {
      const mayServe = mayServeOnError(entry, reader.cached.rules, this.task.cache.clock.now());
      this.#release(reader, mayServe ? { kind: "stale", entry } : { kind: "released" });
    }
  }

  /** Clients whose response has not begun. */
  #settleWaiting(result: ReaderResult): void {
    for (const reader of [...this.#readers]) if (!reader.isReading) this.#release(reader, result);
  }

  #fail(error: GatewayError): void {
    const isUpstreams = this.#plan.concernsAll(error);
    for (const reader of [...this.#readers]) {
      if (reader.isReading) continue;
      const isFirst = reader.cached === this.task.cached;
      this.#release(reader, isFirst || isUpstreams ? { kind: "failed", error } : { kind: "released" });
    }
  }

  #closeToOthers(): void {
    this.#isJoinable = false;
    this.task.cache.forgetPending(this);
  }

  #stopKeeping(): void {
    this.#plan.stopStoring();
    this.#body.stopKeeping();
    this.#closeToOthers();
  }

  /** The body of a response that no client gets. */
  #discard(chunk: Buffer): void {
    if (!this.#body.discard(chunk)) this.#flow?.abort(new Error("not worth reading"));
  }

  /** While the body is kept there is room for it; after that the first client sets the pace. */
  #settlePace(): void {
    if (this.#flow === undefined || this.#isOver || this.#body.isKept) return;
    for (const reader of this.#readers.slice(1)) {
      if (reader.isReading && this.#body.isTooFarBehind(reader)) reader.drop();
    }
    this.#body.forget(this.#readers);
    if (this.#readers[0]?.isPaused) this.#flow.pause();
    else this.#flow.resume();
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#closeToOthers();
    this.#releaseBody();
    this.task.cache.fillEnded(this);
    this.#resolveClosed();
  }

  /** A client that is slow holds it in memory after it has arrived, too. */
  #releaseBody(): void {
    if (!this.#readers.some(({ isReading }) => isReading)) this.#body.release();
  }
}
