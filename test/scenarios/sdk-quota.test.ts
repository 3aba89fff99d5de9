/** SDKs without their own limiters, on test upstreams that enforce the vendors' limits: only the gateway's quota holds requests back. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { REST } from "@discordjs/rest";
import { Octokit } from "octokit";
import { describe, expect, test } from "vitest";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { startUpstream } from "../support/upstream.ts";

function json(res: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  res.writeHead(status, { "content-type": "application/json", ...headers });
  res.end(JSON.stringify(body));
}

/** A limit per window that begins with its first request. */
class Window {
  endsAt = 0;
  used = 0;
  readonly limit: number;
  readonly lengthMs: number;

  constructor(limit: number, lengthMs: number) {
    this.limit = limit;
    this.lengthMs = lengthMs;
  }

  /** False if the limit is exceeded. */
  spend(now: number): boolean {
    if (now >= this.endsAt) {
      this.endsAt = now + this.lengthMs;
      this.used = 0;
    }
    this.used++;
    return this.used <= this.limit;
  }

  get left(): number {
    return Math.max(0, this.limit - this.used);
  }
}

/** Five messages a second in each channel, two reactions in half a second, fifty requests a second over all, as in docs.discord.com. */
async function startDiscord() {
  const windows = new Map<string, Window>();
  const global = new Window(50, 1_000);
  const refusals: string[] = [];
  const served: string[] = [];
  const handle = (req: IncomingMessage, res: ServerResponse) => {
    req.resume();
    const now = Date.now();
    const url = req.url as string;
    const channel = /\/channels\/(\d+)/.exec(url)?.[1] ?? "";
    const isReaction = url.includes("/reactions/");
    const key = `${isReaction}:${channel}`;
    const window = windows.get(key) ?? (isReaction ? new Window(2, 500) : new Window(5, 1_000));
    windows.set(key, window);
    const isGlobal = !global.spend(now);
    const isRefused = !window.spend(now) || isGlobal;
    const after = ((window.endsAt - now) / 1_000).toFixed(3);
    const limits = {
      "x-ratelimit-limit": String(window.limit),
      "x-ratelimit-remaining": String(window.left),
      "x-ratelimit-reset": (window.endsAt / 1_000).toFixed(3),
      "x-ratelimit-reset-after": after,
      "x-ratelimit-bucket": isReaction ? "b0b0b0b0" : "a0a0a0a0",
    };
    if (!isRefused) {
      served.push(url);
      return void setTimeout(() => json(res, 200, { id: "1" }, limits), 10);
    }
    refusals.push(url);
    const scope: Record<string, string> = isGlobal ? { "x-ratelimit-global": "true" } : {};
    json(
      res,
      429,
      { message: "You are being rate limited.", retry_after: Number(after), global: isGlobal },
      { ...limits, ...scope, "x-ratelimit-scope": isGlobal ? "global" : "user", "retry-after": "1" },
    );
  };
  const upstream = await startUpstream(handle);
  const gateway = await startGateway({
    env: { DISCORD_TOKEN: "discord-upstream-token", PROXY_API_KEY: PROXY_KEY },
    services: {
      discord: {
        baseUrl: `${upstream.url}/api/v10/`,
        versionedBaseUrls: { v10: `${upstream.url}/api/v10/` },
        auth: { type: "bot", tokenEnvVar: "DISCORD_TOKEN" },
      },
    },
  });
  /** Each client is like a program of its own that has never seen a rate-limit header. */
  const client = () =>
    new REST({
      api: `${gateway.url}/proxy/discord`,
      version: "10",
      retries: 0,
      globalRequestsPerSecond: 1_000_000,
      makeRequest: async (url, init) => {
        const response = await fetch(url, init as RequestInit);
        const headers = new Headers([...response.headers].filter(([name]) => !name.startsWith("x-ratelimit")));
        return new Response(response.body, { status: response.status, headers });
      },
    }).setToken(PROXY_KEY);
  return { gateway, client, refusals, served };
}

describe("@discordjs/rest, each request from its own client", () => {
  test("Discord never refuses messages and reactions that are sent in several channels at once", async () => {
    const { gateway, client, refusals, served } = await startDiscord();
    const requests: Promise<unknown>[] = [];
    for (const channel of ["101", "102", "103"]) {
      for (let i = 0; i < 12; i++) {
        requests.push(client().post(`/channels/${channel}/messages`, { body: { content: `${i}` } }));
      }
    }
    for (let i = 0; i < 5; i++) {
      requests.push(client().put(`/channels/101/messages/${9_000_000_000_000_000 + i}/reactions/%F0%9F%91%8D/@me`));
    }
    await Promise.all(requests);
    expect(refusals).toEqual([]);
    expect(served).toHaveLength(41);
    expect(gateway.exchanges().every(({ status, attempts }) => status === 200 && attempts === 1)).toBe(true);
  });

  test("Requests to Discord are limited to fifty a second over all routes", async () => {
    const { client, refusals, served } = await startDiscord();
    const asked = Array.from({ length: 120 }, (_, i) => client().get(`/channels/${200 + i}`));
    const begun = Date.now();
    await Promise.all(asked);
    expect(Date.now() - begun).toBeGreaterThan(2_000);
    expect(refusals).toEqual([]);
    expect(served).toHaveLength(120);
  });
});

/** Twenty requests in two seconds, five of them searches, a second between changes: small limits of the form in docs.github.com. */
async function startGitHub() {
  const windows: Record<string, Window> = { core: new Window(20, 2_000), search: new Window(5, 2_000) };
  const refusals: string[] = [];
  let changedAt = 0;
  let created = 0;
  const handle = (req: IncomingMessage, res: ServerResponse) => {
    req.resume();
    const now = Date.now();
    const url = req.url as string;
    const resource = url.startsWith("/search/") ? "search" : "core";
    const window = windows[resource] as Window;
    const isExceeded = !window.spend(now);
    const limits = {
      "x-ratelimit-limit": String(window.limit),
      "x-ratelimit-remaining": String(window.left),
      "x-ratelimit-used": String(window.used),
      "x-ratelimit-reset": String(Math.floor(window.endsAt / 1_000)),
      "x-ratelimit-resource": resource,
    };
    if (req.method === "POST") {
      const isTooSoon = now - changedAt < 1_000;
      changedAt = now;
      if (isTooSoon) {
        refusals.push(`secondary ${url}`);
        return json(res, 403, { message: "secondary rate limit" }, { ...limits, "retry-after": "60" });
      }
      created++;
    }
    if (isExceeded) {
      refusals.push(url);
      return json(res, 403, { message: "API rate limit exceeded" }, limits);
    }
    setTimeout(() => json(res, req.method === "POST" ? 201 : 200, { number: created, items: [] }, limits), 10);
  };
  const upstream = await startUpstream(handle);
  const gateway = await startGateway({
    env: { GITHUB_TOKEN: "github-upstream-token", PROXY_API_KEY: PROXY_KEY },
    services: { github: { baseUrl: upstream.url, auth: { type: "bearer", tokenEnvVar: "GITHUB_TOKEN" } } },
  });
  const octokit = new Octokit({
    auth: PROXY_KEY,
    baseUrl: `${gateway.url}/proxy/github`,
    throttle: { enabled: false },
    retry: { enabled: false },
  });
  return { octokit, refusals };
}

describe("Octokit, without throttling and retries", () => {
  test("GitHub never refuses requests to two resources at once, and gets changes a second apart", async () => {
    const { octokit, refusals } = await startGitHub();
    const asked: Promise<{ status: number }>[] = [];
    for (let i = 0; i < 45; i++) asked.push(octokit.rest.repos.get({ owner: "a", repo: `r${i}` }));
    for (let i = 0; i < 8; i++) asked.push(octokit.rest.search.repos({ q: `q${i}` }));
    for (let i = 0; i < 3; i++) asked.push(octokit.rest.issues.create({ owner: "a", repo: "b", title: `${i}` }));
    const statuses = (await Promise.all(asked)).map(({ status }) => status);
    expect(refusals).toEqual([]);
    expect(statuses.filter((status) => status === 200)).toHaveLength(53);
    expect(statuses.filter((status) => status === 201)).toHaveLength(3);
  });
});
