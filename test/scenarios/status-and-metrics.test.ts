/** The routes that report the state of the gateway: /status, /metrics and /auth-status. */
import type { ServerResponse } from "node:http";
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { startUpstream } from "../support/upstream.ts";

const SECRET = "an-upstream-secret-0123456789";

async function start(env: Record<string, string> = {}) {
  const held: ServerResponse[] = [];
  let failures = 1;
  const upstream = await startUpstream((req, res) => {
    if (req.url === "/held") held.push(res);
    else if (req.url === "/flaky" && failures-- > 0) res.writeHead(503).end();
    else res.end("ok");
  });
  const gateway = await startGateway({
    env: { API_TOKEN: SECRET, ...env },
    services: {
      api: {
        name: "An API",
        baseUrl: upstream.url,
        auth: { type: "bearer", tokenEnvVar: "API_TOKEN" },
        rateLimit: { maxRequests: 50, windowMs: 60_000 },
        maxConcurrent: 7,
      },
      bare: { baseUrl: "http://127.0.0.1:9/", auth: { type: "bearer", tokenEnvVar: "NOT_SET" } },
    },
  });
  const get = (path: string, headers: Record<string, string> = {}) => fetch(`${gateway.url}${path}`, { headers });
  return { held, upstream, gateway, get };
}

/** Samples by name and labels. */
function samplesOf(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const match = /^([a-z_]+(?:\{[^}]*\})?) (\S+)$/.exec(line);
    expect(match, line).not.toBeNull();
    samples.set(match?.[1] as string, Number(match?.[2]));
  }
  return samples;
}

describe("/status", () => {
  test("/status shows each service with its credential, its limit and its requests in flight", async () => {
    const { held, get, upstream } = await start();
    const first = get("/proxy/api/held");
    await eventually(() => held.length === 1);
    const answer = await get("/status");
    expect(answer.status).toBe(200);
    const status = (await answer.json()) as { services: Record<string, unknown>[] };
    expect(status).toMatchObject({
      status: "ok",
      uptime: expect.any(Number),
      load: {
        inFlight: { current: 1, limit: null },
        connections: [{ listener: "main", current: expect.any(Number), limit: 10_000, limitPerAddress: null }],
        webSockets: { current: 0, limit: null },
        eventLoopDelay: expect.any(Number),
        pressure: null,
      },
      memory: { rssBytes: expect.any(Number), heapUsedBytes: expect.any(Number), heapLimitBytes: expect.any(Number) },
    });
    expect(status.services.find(({ key }) => key === "api")).toEqual({
      key: "api",
      name: "An API",
      source: "file",
      baseUrl: upstream.url,
      credential: {
        state: "present",
        type: "bearer",
        required: true,
        refused: null,
        source: "API_TOKEN",
        life: expect.any(Object),
      },
      signature: null,
      rateLimit: { maxRequests: 50, windowMs: 60_000, per: "service", remaining: 49, resetIn: expect.any(Number) },
      budget: null,
      inFlight: { current: 1, limit: 7 },
      breaker: { state: "closed", failures: 0, requests: 0, retryAfter: null },
      connections: { open: 1, idle: 0, busy: 1, limit: 1024, pending: 0, pendingLimit: 4096 },
      cache: null,
      idempotency: null,
      quota: { mode: "observe", waiting: 0, tightest: null },
      ws: false,
      webSockets: { current: 0, limit: null },
    });
    expect(status.services.find(({ key }) => key === "bare")).toMatchObject({ credential: { state: "missing" } });
    expect(JSON.stringify(status)).not.toContain(SECRET);
    held[0]?.end();
    await first;
  });

  test("/status shows base URLs and names of variables only with the management key, if one is set", async () => {
    const { get } = await start({ MANAGEMENT_API_KEY: MANAGEMENT_KEY, PROXY_API_KEY: PROXY_KEY });
    for (const headers of [{}, { "x-api-key": PROXY_KEY }, { authorization: "Bearer wrong-key-0123456789" }]) {
      const text = await (await get("/status", headers as Record<string, string>)).text();
      expect(text).toContain('"key":"api"');
      for (const hidden of ["baseUrl", "API_TOKEN", "NOT_SET", "127.0.0.1"]) expect(text).not.toContain(hidden);
    }
    const full = await (await get("/status", { "x-api-key": MANAGEMENT_KEY })).text();
    for (const shown of ["baseUrl", "API_TOKEN", "NOT_SET"]) expect(full).toContain(shown);
  });

  test.each(["/status", "/metrics", "/docs", "/openapi.json"])(
    "%s accepts only known host names on loopback, also if keys are set",
    async (path) => {
      const { gateway } = await start({ MANAGEMENT_API_KEY: MANAGEMENT_KEY, PROXY_API_KEY: PROXY_KEY });
      const ask = (host: string, where: string) =>
        rawRequest(gateway.port, `GET ${where} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
      expect(JSON.parse((await ask("evil.example", path)).body)).toMatchObject({
        code: "HOST_NOT_ALLOWED",
        status: 403,
      });
      expect((await ask("localhost", path)).status).not.toBe(403);
      for (const open of ["/health", "/up", "/health/ready"])
        expect((await ask("evil.example", open)).status).toBe(200);
    },
  );
});

describe("/metrics", () => {
  test("/metrics counts requests, refusals, failures, retries and requests in flight", async () => {
    const { held, get, upstream, gateway } = await start({ PROXY_API_KEY: PROXY_KEY });
    const key = { "x-api-key": PROXY_KEY };
    for (let i = 0; i < 3; i++) await (await get("/proxy/api/x", key)).text();
    await (await get("/proxy/api/flaky", key)).text();
    await (await get("/proxy/api/x")).text();
    await (await get("/proxy/bare/x", key)).text();
    await (await get("/proxy/nope/x", key)).text();
    await rawRequest(gateway.port, "GET /x HTTP/1.1\r\nbroken\r\n\r\n");
    await fetch(`${gateway.url}/proxy/api/x`, { method: "PROPFIND", headers: key });
    const open = get("/proxy/api/held", key);
    await eventually(() => held.length === 1);

    const answer = await get("/metrics");
    expect(answer.headers.get("content-type")).toMatch(/^text\/plain; version=0\.0\.4/);
    const text = await answer.text();
    const samples = samplesOf(text);
    expect(Object.fromEntries(samples)).toMatchObject({
      'byteproxy_requests_total{service="api",method="GET",status="2xx"}': 4,
      'byteproxy_requests_total{service="api",method="other",status="2xx"}': 1,
      'byteproxy_requests_total{service="",method="GET",status="4xx"}': 2,
      'byteproxy_request_duration_seconds_count{service="api"}': 5,
      'byteproxy_refusals_total{service="",code="MISSING_CREDENTIALS"}': 1,
      'byteproxy_refusals_total{service="",code="SERVICE_NOT_CONFIGURED"}': 1,
      'byteproxy_refusals_total{service="",code="INVALID_REQUEST"}': 1,
      'byteproxy_refusals_total{service="bare",code="UPSTREAM_CREDENTIAL_MISSING"}': 1,
      'byteproxy_retries_total{service="api"}': 1,
      'byteproxy_requests_in_flight{service="api"}': 1,
      'byteproxy_requests_in_flight{service="bare"}': 0,
      byteproxy_websockets_open: 0,
      byteproxy_draining: 0,
      byteproxy_under_pressure: 0,
    });
    for (const name of [
      "byteproxy_event_loop_delay_seconds",
      "byteproxy_event_loop_utilization",
      "byteproxy_process_resident_memory_bytes",
      "byteproxy_process_cpu_seconds_total",
      'byteproxy_connections_open{listener="main"}',
    ]) {
      expect(samples.get(name), name).toBeGreaterThanOrEqual(0);
    }
    expect([...samples.keys()].every((name) => name.startsWith("byteproxy_"))).toBe(true);
    for (const hidden of [SECRET, PROXY_KEY, upstream.url, "/x", "nope"]) expect(text).not.toContain(hidden);
    held[0]?.end();
    await open;
  });

  test("/metrics counts connection failures by code", async () => {
    const gateway = await startGateway({ services: { dead: { baseUrl: "http://127.0.0.1:9/", retries: 0 } } });
    expect((await fetch(`${gateway.url}/proxy/dead/`)).status).toBe(502);
    const samples = samplesOf(await (await fetch(`${gateway.url}/metrics`)).text());
    expect(samples.get('byteproxy_failures_total{service="dead",code="UPSTREAM_UNREACHABLE"}')).toBe(1);
    expect(samples.get('byteproxy_requests_total{service="dead",method="GET",status="5xx"}')).toBe(1);
  });

  test("/metrics has as many series after a thousand different requests as after one", async () => {
    const { get } = await start();
    const series = async () => samplesOf(await (await get("/metrics")).text()).size;
    await (await get("/proxy/api/1?a=1")).text();
    await (await get("/proxy/none-1/")).text();
    const before = await series();
    for (let i = 0; i < 40; i++) {
      await Promise.all(
        Array.from({ length: 25 }, (_, j) => get(`/proxy/none-${i}-${j}/${i}?k=${j}`).then((answer) => answer.text())),
      );
    }
    expect(await series()).toBe(before);
  });
});

describe("/auth-status", () => {
  test("/auth-status shows which planes are protected, and where the request has a key", async () => {
    const { get } = await start({ PROXY_API_KEY: PROXY_KEY });
    const ask = async (path: string, headers: Record<string, string> = {}) => (await get(path, headers)).json();
    expect(await ask("/auth-status")).toEqual({
      proxy: { protected: true },
      management: { protected: false },
      presented: { bearer: false, "x-api-key": false, api_key: false, otherScheme: false },
      accepted: [
        "Authorization: Bearer <key>",
        "x-api-key: <key>",
        "?api_key=<key>",
        expect.stringMatching(/^under \/proxy also where the service's own API has its credential/),
      ],
    });
    const all = await ask(`/auth-status?a=1&api_key=${PROXY_KEY}`, { authorization: "Bearer x", "x-api-key": "y" });
    expect(all).toMatchObject({ presented: { bearer: true, "x-api-key": true, api_key: true } });
    expect(JSON.stringify(all)).not.toContain(PROXY_KEY);
    expect(await ask("/auth-status", { authorization: "Digest x" })).toMatchObject({
      presented: { otherScheme: true },
    });
  });
});
