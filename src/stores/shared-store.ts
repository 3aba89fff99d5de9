/**
 * The store that several gateways share: one connection to Redis, its state, and the number of gateways that use it.
 * Invariant: no call waits longer than its timeout, or for a connection; while the store is degraded, calls are refused at once, and the
 * connection is checked until it can be used again. What Redis says is never logged, only its error code.
 */
import { randomUUID } from "node:crypto";
import type { RedisServer } from "../config/redis-settings.ts";
import { connectRedis, type RedisClient } from "./redis-client.ts";
import { RedisScript } from "./redis-script.ts";
import { FAULTS, type StoreFault, StoreUnavailable, storeFaultOf } from "./store-fault.ts";
import { type CallEnd, WatchedCall } from "./watched-call.ts";

export interface SharedStoreState {
  readonly state: "connected" | "degraded";
  /** Null while it is connected. */
  readonly fault: StoreFault | null;
  /** Such as ECONNREFUSED or WRONGPASS; null if there is none. */
  readonly code: string | null;
  /** ms since the epoch. */
  readonly since: number;
  /** Gateways with the same prefix that were connected when Redis was last reached, this one included; at least 1. */
  readonly replicas: number;
}

export interface SharedStoreOptions {
  readonly server: RedisServer;
  readonly prefix: string;
  readonly logger: {
    info(fields: Record<string, unknown>, text: string): void;
    warn(fields: Record<string, unknown>, text: string): void;
  };
}

/** Between two heartbeats, ms: while the store is connected, and while it is not. */
const HEARTBEAT_MS = 1_000;
const CHECK_MS = 250;

/** A gateway without a heartbeat for this long is not counted, ms. */
const REPLICA_TTL_MS = 10_000;

/** Consecutive calls. */
const SLOW_CALLS = 3;

/** ms before the second attempt to connect, doubled with each further one. */
const FIRST_BACKOFF_MS = 100;
const LONGEST_BACKOFF_MS = 2_000;

/** After a recovery that lasted less than this, the next one has to wait, ms: at first that long, doubled with each further one. */
const STABLE_MS = 10_000;
const FIRST_HOLD_MS = 500;
const LONGEST_HOLD_MS = 30_000;

/** An unanswered heartbeat ends the connection after this time, ms: its other end may be gone. */
const SILENT_MS = 5_000;

/** A write, so that a server that is full or read-only counts as degraded. By the clock of Redis. */
const HEARTBEAT = new RedisScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])`);

export class SharedStore {
  readonly prefix: string;
  readonly #server: RedisServer;
  readonly #logger: SharedStoreOptions["logger"];
  readonly #id = randomUUID();
  readonly #pending = new Set<WatchedCall>();
  readonly #done: Promise<void>;
  #client: RedisClient | undefined;
  #fault: StoreFault | undefined = "connecting";
  #code: string | undefined;
  #since = Date.now();
  #replicas = 1;
  #slowCalls = 0;
  #fastChecks = 0;
  /** On the clock of performance.now(), ms. */
  #recoveredAt = Number.NEGATIVE_INFINITY;
  #degradedAt = performance.now();
  #holdMs = 0;
  readonly #closing = new AbortController();
  #wake: () => void = () => {};

  /** Connects in the background. */
  constructor({ server, prefix, logger }: SharedStoreOptions) {
    this.#server = server;
    this.prefix = prefix;
    this.#logger = logger;
    this.#done = this.#run();
  }

  get isConnected(): boolean {
    return this.#fault === undefined;
  }

  describe(): SharedStoreState {
    return {
      state: this.isConnected ? "connected" : "degraded",
      fault: this.#fault ?? null,
      code: this.#code ?? null,
      since: this.#since,
      replicas: this.#replicas,
    };
  }

  /** Runs a script. @throws StoreUnavailable, at once while the store is degraded. */
  async run(script: RedisScript, keys: readonly string[], args: readonly string[]): Promise<unknown> {
    return this.#call((client) => script.run(client, keys, args));
  }

  /** Runs one command. @throws StoreUnavailable */
  async command(args: readonly string[]): Promise<unknown> {
    return this.#call((client) => client.send(args));
  }

  async close(): Promise<void> {
    this.#closing.abort();
    const client = this.#client;
    if (this.isConnected && client !== undefined) {
      // The others take over its share of the limits at once.
      const left = new WatchedCall(client.send(["ZREM", this.#replicasKey, this.#id]));
      await left.ended.catch(() => {});
    }
    client?.destroy();
    this.#wake();
    await this.#done;
  }

  get #isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  get #replicasKey(): string {
    return `${this.prefix}replicas`;
  }

  async #call(send: (client: RedisClient) => Promise<unknown>): Promise<unknown> {
    const client = this.#client;
    if (client === undefined || this.#fault !== undefined) throw new StoreUnavailable(this.#fault ?? "unreachable");
    try {
      return (await this.#watch(send(client))).reply;
    } catch (error) {
      const failure = storeFaultOf(error);
      // Of a connection that was replaced meanwhile, nothing follows for the current one.
      if (client === this.#client) this.#degrade(failure);
      throw failure;
    }
  }

  async #watch(reply: Promise<unknown>): Promise<CallEnd> {
    const call = new WatchedCall(reply);
    this.#pending.add(call);
    try {
      const end = await call.ended;
      this.#slowCalls = end.isSlow ? this.#slowCalls + 1 : 0;
      if (this.isConnected && this.#slowCalls >= SLOW_CALLS) this.#degrade(new StoreUnavailable("slow"));
      return end;
    } finally {
      this.#pending.delete(call);
    }
  }

  async #run(): Promise<void> {
    let backoffMs = FIRST_BACKOFF_MS;
    while (!this.#isClosed) {
      try {
        await this.#serve();
      } catch (error) {
        this.#degrade(storeFaultOf(error));
      }
      if (this.#isClosed) return;
      if (this.#fastChecks > 0) backoffMs = FIRST_BACKOFF_MS;
      this.#fastChecks = 0;
      await this.#sleep(backoffMs * (0.5 + Math.random() / 2));
      backoffMs = Math.min(LONGEST_BACKOFF_MS, backoffMs * 2);
    }
  }

  /** One connection, until it ends. */
  async #serve(): Promise<void> {
    const onEnd = () => {
      if (this.#client === client) this.#degrade(new StoreUnavailable("unreachable"));
      this.#wake();
    };
    const client = await connectRedis(this.#server, onEnd, this.#closing.signal);
    this.#client = client;
    try {
      while (!this.#isClosed && client.isOpen) {
        await this.#check(client);
        await this.#sleep(this.isConnected ? HEARTBEAT_MS : CHECK_MS);
      }
    } finally {
      this.#client = undefined;
      client.destroy();
    }
  }

  async #check(client: RedisClient): Promise<void> {
    const reply = HEARTBEAT.run(client, [this.#replicasKey], [this.#id, String(REPLICA_TTL_MS)]);
    try {
      const end = await this.#watch(reply);
      this.#replicas = Math.max(1, Number(end.reply));
      this.#fastChecks = end.isSlow ? 0 : this.#fastChecks + 1;
      const isStable = this.#fastChecks >= (this.#fault === "slow" ? SLOW_CALLS : 1);
      if (!this.isConnected && isStable && performance.now() - this.#degradedAt >= this.#holdMs) this.#recover();
    } catch (error) {
      this.#fastChecks = 0;
      const failure = storeFaultOf(error);
      this.#degrade(failure);
      if (failure.fault === "unresponsive" && client.isOpen) await this.#awaitReply(reply);
    }
  }

  /** No further heartbeat is sent before the last one has a reply. @throws StoreUnavailable if it gets none. */
  async #awaitReply(reply: Promise<unknown>): Promise<void> {
    let hasReply = false;
    const wake = () => {
      hasReply = true;
      this.#wake();
    };
    reply.then(wake, wake);
    await this.#sleep(SILENT_MS);
    if (!hasReply) throw new StoreUnavailable("unresponsive");
  }

  #recover(): void {
    this.#fault = undefined;
    this.#code = undefined;
    this.#since = Date.now();
    this.#slowCalls = 0;
    this.#recoveredAt = performance.now();
    this.#logger.info({ store: "redis", replicas: this.#replicas }, "the shared store is connected");
  }

  #degrade({ fault, code }: StoreUnavailable): void {
    if (this.#isClosed) return;
    const before = this.#fault;
    // While it is degraded, only another cause is news, and a connection that is retried has the cause of its last attempt.
    if (before === fault && this.#code === code) return;
    this.#fault = fault;
    this.#code = code;
    this.#fastChecks = 0;
    if (before === undefined) this.#leave();
    for (const call of this.#pending) call.abandon(new StoreUnavailable(fault, code));
    this.#wake();
    if (before !== undefined && before !== "connecting") return;
    this.#logger.warn(
      { store: "redis", fault, ...(code === undefined ? {} : { code }) },
      `the shared store is degraded, limits are local: ${FAULTS[fault]}`,
    );
  }

  /** A call may fail each time although the heartbeat does not: a user without the permission for a command, for example. */
  #leave(): void {
    this.#since = Date.now();
    this.#degradedAt = performance.now();
    const wasStable = this.#degradedAt - this.#recoveredAt >= STABLE_MS;
    this.#holdMs = wasStable ? 0 : Math.min(LONGEST_HOLD_MS, this.#holdMs * 2 || FIRST_HOLD_MS);
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms).unref();
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.#isClosed) this.#wake();
    });
  }
}
