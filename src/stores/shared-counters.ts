/**
 * Counters of fixed windows that several gateways share. A window begins with its first point and ends by the clock of Redis.
 * Invariant: all counters of a request are counted in one step and one round trip; none is counted after one that is exceeded.
 */
import { RedisScript } from "./redis-script.ts";
import type { SharedStore } from "./shared-store.ts";
import { StoreUnavailable } from "./store-fault.ts";

export interface CountedWindow {
  /** Without the prefix of the store. */
  readonly key: string;
  readonly maxRequests: number;
  readonly windowMs: number;
}

export interface WindowCount {
  /** Points that were spent in the window, refused requests included. */
  readonly used: number;
  readonly resetMs: number;
}

const SPEND = new RedisScript(`
local counts = {}
for i, key in ipairs(KEYS) do
  local used = redis.call('INCR', key)
  local ttl = used > 1 and redis.call('PTTL', key) or -1
  if ttl < 0 then
    redis.call('PEXPIRE', key, ARGV[2 * i])
    ttl = tonumber(ARGV[2 * i])
  end
  counts[2 * i - 1] = used
  counts[2 * i] = ttl
  if used > tonumber(ARGV[2 * i - 1]) then break end
end
return counts`);

const READ = new RedisScript("return { redis.call('GET', KEYS[1]) or '0', redis.call('PTTL', KEYS[1]) }");

/** Keys that one step of a reset examines. */
const SCAN_COUNT = 1_000;

export class SharedCounters {
  readonly #store: SharedStore;

  constructor(store: SharedStore) {
    this.#store = store;
  }

  /** Gateways that count together; the number of the last contact while the store is degraded. */
  get replicas(): number {
    return this.#store.describe().replicas;
  }

  get isAvailable(): boolean {
    return this.#store.isConnected;
  }

  /** Spends a point of each, in this order, until one is exceeded: the result ends with that one. @throws StoreUnavailable */
  async spend(windows: readonly CountedWindow[]): Promise<readonly WindowCount[]> {
    const keys = windows.map(({ key }) => this.#keyOf(key));
    const args = windows.flatMap(({ maxRequests, windowMs }) => [String(maxRequests), String(windowMs)]);
    const reply = (await this.#store.run(SPEND, keys, args)) as readonly number[];
    if (!Array.isArray(reply) || !reply.every(Number.isFinite)) throw new StoreUnavailable("error");
    const counts: WindowCount[] = [];
    for (let i = 0; i < reply.length; i += 2)
      counts.push({ used: reply[i] as number, resetMs: reply[i + 1] as number });
    return counts;
  }

  /** Undefined before the first point of a window. @throws StoreUnavailable */
  async read(key: string): Promise<WindowCount | undefined> {
    const [used, ttl] = (await this.#store.run(READ, [this.#keyOf(key)], [])) as readonly [string, number];
    return ttl < 0 ? undefined : { used: Number(used), resetMs: ttl };
  }

  /** Sets all counters whose key begins so to zero, for all gateways. @throws StoreUnavailable */
  async clear(beginning: string): Promise<void> {
    let cursor = "0";
    do {
      const scan = ["SCAN", cursor, "MATCH", `${this.#keyOf(beginning)}*`, "COUNT", String(SCAN_COUNT)];
      const [next, keys] = (await this.#store.command(scan)) as readonly [string, readonly string[]];
      if (keys.length > 0) await this.#store.command(["UNLINK", ...keys]);
      cursor = next;
    } while (cursor !== "0");
  }

  #keyOf(key: string): string {
    return `${this.#store.prefix}limit:${key}`;
  }
}
