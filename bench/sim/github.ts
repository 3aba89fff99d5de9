/**
 * GitHub's documented limits (docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api): 5,000 requests an hour and
 * 30 searches a minute, each in windows that begin with their first request; and the secondary limits, which no header reports: a
 * hundred requests at once, 900 points a minute with five for a change, and content 80 times a minute and 500 times an hour.
 */
import { githubRules } from "../../src/data-plane/quota/github.ts";
import { FixedWindow, freeOf, type Limiter, SlidingLog, takeOf } from "./limiter.ts";
import type { Scenario, SimulatedRequest, SimulatedResponse, SimulatedUpstream, Stream } from "./scenario.ts";

const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;

class GitHub implements SimulatedUpstream {
  readonly #primary = {
    core: new FixedWindow(5_000, HOUR_MS, 1_000),
    search: new FixedWindow(30, MINUTE_MS, 1_000),
  };
  readonly #points = new SlidingLog(900, MINUTE_MS);
  readonly #contentMinute = new SlidingLog(80, MINUTE_MS);
  readonly #contentHour = new SlidingLog(500, HOUR_MS);
  #concurrent = 0;

  freeAt(request: SimulatedRequest, now: number): number {
    return freeOf([...this.#secondary(request), [this.#primary[resourceOf(request)], 1]], now);
  }

  arrive(request: SimulatedRequest, now: number): SimulatedResponse {
    this.#concurrent++;
    const resource = resourceOf(request);
    const window = this.#primary[resource];
    const secondaryAt = freeOf(this.#secondary(request), now);
    const isSecondary = secondaryAt > now || this.#concurrent > 100;
    const isRefusal = isSecondary || window.freeAt(1, now) > now;
    if (!isRefusal) takeOf([...this.#secondary(request), [window, 1]], now);
    return {
      status: isRefusal ? 403 : 200,
      isRefusal,
      headers: {
        date: new Date(now).toUTCString(),
        "x-ratelimit-limit": String(window.limit),
        "x-ratelimit-remaining": String(window.remaining(now)),
        "x-ratelimit-reset": String(Math.floor(window.endsAt / 1_000)),
        "x-ratelimit-resource": resource,
        ...(isSecondary && { "retry-after": String(Math.ceil(Math.max(1_000, secondaryAt - now) / 1_000)) }),
      },
    };
  }

  leave(): void {
    this.#concurrent--;
  }

  #secondary({ method }: SimulatedRequest): (readonly [Limiter, number])[] {
    const isContent = method === "POST" ? 1 : 0;
    return [
      [this.#points, method === "GET" ? 1 : 5],
      [this.#contentMinute, isContent],
      [this.#contentHour, isContent],
    ];
  }
}

const resourceOf = ({ path }: SimulatedRequest) => (path.startsWith("/search/") ? "search" : "core");

const READ = { method: "GET", path: "/repos/o/r/issues" };
const SEARCH = { method: "GET", path: "/search/issues" };
const COMMENT = { method: "POST", path: "/repos/o/r/issues/1/comments" };

/** @param times as many requests as the other callers. */
function streamsOf(callerId: string, times: number): Stream[] {
  return [
    { callerId, kind: "core", request: READ, burst: [5 * times, 15 * times], pauseMs: [0, 3_000] },
    { callerId, kind: "search", request: SEARCH, burst: [3 * times, 6 * times], pauseMs: [0, 3_000] },
    { callerId, kind: "content", request: COMMENT, burst: [3 * times, 6 * times], pauseMs: [0, 20_000] },
  ];
}

export const github: Scenario = {
  name: "GitHub: core, search, comments",
  rules: githubRules,
  durationMs: 3 * HOUR_MS,
  heavyCallerId: "heavy",
  streams: [...streamsOf("heavy", 10), ...["a", "b", "c"].flatMap((callerId) => streamsOf(callerId, 1))],
  serviceMs: [50, 300],
  maxWaitMs: 2 * HOUR_MS,
  createUpstream: () => new GitHub(),
};
