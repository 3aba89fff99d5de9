/**
 * Discord's documented limits (docs.discord.com/developers/topics/rate-limits): buckets by route and channel or guild, fifty
 * requests a second over all of them, and a ban after ten thousand refusals in ten minutes. Only responses show the size of a bucket;
 * five in five seconds and ten in ten are usual.
 */
import { discordRules } from "../../src/data-plane/quota/discord.ts";
import { FixedWindow, SlidingLog } from "./limiter.ts";
import type { Scenario, SimulatedRequest, SimulatedResponse, SimulatedUpstream, Stream } from "./scenario.ts";

const CHANNELS = 40;
const GUILDS = 2;
const BAN_MS = 3_600_000;

class Discord implements SimulatedUpstream {
  readonly #buckets = new Map<string, FixedWindow>();
  readonly #global = new SlidingLog(50, 1_000);
  readonly #invalid = new SlidingLog(10_000, 600_000);
  #bannedUntil = 0;

  freeAt({ path }: SimulatedRequest, now: number): number {
    return Math.max(this.#global.freeAt(1, now), this.#bucketOf(path).freeAt(1, now));
  }

  arrive({ path }: SimulatedRequest, now: number): SimulatedResponse {
    if (now < this.#bannedUntil) return { status: 403, isRefusal: true, headers: {} };
    const bucket = this.#bucketOf(path);
    const globalAt = this.#global.freeAt(1, now);
    const isRefusal = globalAt > now || bucket.freeAt(1, now) > now;
    if (isRefusal) {
      if (this.#invalid.freeAt(1, now) > now) this.#bannedUntil = now + BAN_MS;
      else this.#invalid.take(1, now);
    } else {
      this.#global.take(1, now);
      bucket.take(1, now);
    }
    if (globalAt > now) return { status: 429, isRefusal, headers: globalHeaders(globalAt - now) };
    const resetMs = Math.max(0, bucket.endsAt - now);
    return {
      status: isRefusal ? 429 : 200,
      isRefusal,
      headers: {
        "x-ratelimit-limit": String(bucket.limit),
        "x-ratelimit-remaining": String(bucket.remaining(now)),
        "x-ratelimit-reset": (bucket.endsAt / 1_000).toFixed(3),
        "x-ratelimit-reset-after": (resetMs / 1_000).toFixed(3),
        "x-ratelimit-bucket": path.startsWith("/channels/") ? "80c17d2f203122d936070c88c8d10f33" : "b41c8d2f",
        ...(isRefusal && { "x-ratelimit-scope": "user", "retry-after": String(Math.ceil(resetMs / 1_000)) }),
      },
    };
  }

  leave(): void {}

  #bucketOf(path: string): FixedWindow {
    let bucket = this.#buckets.get(path);
    if (bucket === undefined) {
      bucket = path.startsWith("/channels/") ? new FixedWindow(5, 5_000) : new FixedWindow(10, 10_000);
      this.#buckets.set(path, bucket);
    }
    return bucket;
  }
}

const globalHeaders = (resetMs: number) => ({
  "x-ratelimit-global": "true",
  "x-ratelimit-scope": "global",
  "retry-after": String(Math.ceil(resetMs / 1_000)),
});

/** @param times as many requests as the other callers. */
function streamsOf(callerId: string, times: number): Stream[] {
  const channels = Array.from({ length: CHANNELS }, (_, i) => `/channels/${1_000_000 + i}/messages`);
  const guilds = Array.from({ length: GUILDS }, (_, i) => `/guilds/${2_000_000 + i}/members`);
  return [
    ...channels.map((path) => ({ path, method: "POST" })),
    ...guilds.map((path) => ({ path, method: "GET" })),
  ].map((request) => ({
    callerId,
    kind: request.path,
    request,
    burst: [times, 2 * times] as const,
    pauseMs: [0, 1_000] as const,
  }));
}

export const discord: Scenario = {
  name: "Discord: 40 channels, 2 guilds, global",
  rules: discordRules,
  durationMs: 900_000,
  heavyCallerId: "heavy",
  streams: [...streamsOf("heavy", 10), ...["a", "b", "c"].flatMap((callerId) => streamsOf(callerId, 1))],
  serviceMs: [20, 80],
  maxWaitMs: 300_000,
  createUpstream: () => new Discord(),
};
