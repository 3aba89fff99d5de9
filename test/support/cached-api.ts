/** A gateway with caches in front of an upstream that a test scripts, with a clock that the test sets. */
import { type IncomingHttpHeaders, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { ServiceInput } from "../../src/config/schema.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "./gateway.ts";
import { startUpstream } from "./upstream.ts";

export interface Received {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** X-Proxy-Cache. */
  readonly cache: string | undefined;
  /** The connection broke before the response was complete. */
  readonly isCut: boolean;
}

export type Respond = (req: IncomingMessage, res: ServerResponse, count: number) => void;

export interface CachedApi {
  readonly gateway: TestGateway;
  readonly upstreamUrl: string;
  /** Requests that the upstream received. */
  readonly requests: readonly IncomingMessage[];
  readonly clock: { now: number };
  /** What the upstream does from now on. */
  respond: Respond;
  ask(path: string, headers?: Record<string, string | string[]>, method?: string, body?: string): Promise<Received>;
}

export async function startCachedApi(
  services: Readonly<Record<string, Partial<ServiceInput>>> = {},
  env: Readonly<Record<string, string>> = {},
): Promise<CachedApi> {
  const api: { respond: Respond } = { respond: (_req, res) => res.end() };
  const upstream = await startUpstream((req, res) => {
    req.resume();
    api.respond(req, res, upstream.requests.length);
  });
  const clock = { now: 1_000_000 };
  // Not later than any Date of the upstream, so that each response arrives with the age zero.
  const wallNow = Math.floor(Date.now() / 1_000) * 1_000;
  const withUrl = Object.entries(services).map(([key, service]) => [key, { baseUrl: upstream.url, ...service }]);
  const gateway = await startGateway({
    env: {
      PROXY_API_KEY: PROXY_KEY,
      MANAGEMENT_API_KEY: MANAGEMENT_KEY,
      UPSTREAM_TOKEN: "upstream-token-0123456789",
      ...env,
    },
    services: {
      api: { baseUrl: upstream.url, cache: true, auth: { type: "bearer", tokenEnvVar: "UPSTREAM_TOKEN" } },
      ...Object.fromEntries(withUrl),
    },
    cacheClock: { now: () => clock.now, wallNow: () => wallNow },
  });
  return Object.assign(api, {
    gateway,
    upstreamUrl: upstream.url,
    requests: upstream.requests,
    clock,
    ask: (path: string, headers: Record<string, string | string[]> = {}, method = "GET", body?: string) =>
      ask(gateway.port, path, { headers: { "x-api-key": PROXY_KEY, ...headers }, method, body }),
  });
}

interface Asked {
  readonly headers: Record<string, string | string[]>;
  readonly method: string;
  readonly body: string | undefined;
}

/** Adds no header of its own but Host and those of framing. */
export function ask(port: number, path: string, { headers, method, body }: Asked): Promise<Received> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port, path, method, headers, agent: false });
    sent.on("error", reject);
    sent.on("response", (res) => {
      let text = "";
      res.setEncoding("latin1");
      res.on("data", (chunk) => {
        text += chunk;
      });
      res.on("error", () => {});
      res.on("close", () =>
        resolve({
          status: res.statusCode as number,
          headers: res.headers,
          body: text,
          cache: res.headers["x-proxy-cache"] as string | undefined,
          isCut: !res.complete,
        }),
      );
    });
    sent.end(body);
  });
}
