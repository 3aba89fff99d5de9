/** An egress proxy that fails, in every way that it can: what the client gets, and what the log and the probes say. */
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import type { Socket } from "node:net";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { type ConnectProxy, type ConnectRequest, startConnectProxy } from "../support/connect-proxy.ts";
import { eventually } from "../support/eventually.ts";
import { freePort } from "../support/free-port.ts";
import { MANAGEMENT_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { startUpstream, type TestUpstream } from "../support/upstream.ts";

const file = (name: string) => join(import.meta.dirname, "../support/tls", name);
const PASSWORD = "proxy-password-0123456789";

/** One gateway with a plain and a TLS upstream behind one proxy. */
async function start({ connectTimeoutMs = 5_000, credential = "" } = {}) {
  const upstream = await startUpstream();
  const cert = { cert: readFileSync(file("localhost.pem")), key: readFileSync(file("localhost-key.pem")) };
  const secure = await startUpstream(undefined, createServer(cert));
  const proxy = await startConnectProxy({
    portOf: (authority) => (authority.endsWith(":443") ? secure.port : upstream.port),
  });
  const also = { retries: 0, connectTimeoutMs, breaker: false, ws: true } as const;
  const gateway = await startGateway({
    env: {
      EGRESS_PROXY: proxy.url.replace("//", `//${credential}`),
      MANAGEMENT_API_KEY: MANAGEMENT_KEY,
    },
    services: {
      plain: { baseUrl: "http://plain.example/", ...also },
      secure: {
        baseUrl: "https://secure.example/",
        tls: { caFile: file("ca.pem"), servername: "localhost" },
        ...also,
      },
    },
  });
  return { gateway, proxy, upstream, secure };
}

async function ask(gateway: TestGateway, key: string) {
  const response = await fetch(`${gateway.url}/proxy/${key}/x`);
  const body = (await response.json()) as { message: string; hint: string };
  return { status: response.status, code: response.headers.get("x-proxy-error"), ...body };
}

const send = (bytes: string, then?: (socket: Socket) => void) => (socket: Socket) => {
  socket.write(Buffer.from(bytes, "latin1"), () => then?.(socket));
};
const end = (socket: Socket) => void socket.end();

describe("a proxy that refuses", () => {
  let shared: { gateway: TestGateway; proxy: ConnectProxy; upstream: TestUpstream; secure: TestUpstream };
  beforeEach(async () => {
    shared = await start();
  });

  test("Each fault is 502 with the phase, the reason and what to do, for both kinds of upstreams, and no request is sent", async () => {
    const { gateway, proxy, upstream, secure } = shared;
    const faults: [string, (socket: Socket) => void, RegExp, RegExp][] = [
      ["403", send("HTTP/1.1 403 Forbidden\r\n\r\n", end), /refused the tunnel \(403\) \(proxy\)\.$/, /Allow CONNECT/],
      [
        "407",
        send("HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n", end),
        /demands a credential \(407\)/,
        /EGRESS_PROXY_AUTH/,
      ],
      [
        "407 NTLM",
        send("HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\n\r\n", end),
        /accepts only NTLM, which/,
        /Basic only/,
      ],
      [
        "502",
        send("HTTP/1.1 502 Bad\r\nContent-Length: 3\r\n\r\nbad", end),
        /could not reach the upstream \(502\)/,
        /baseUrl/,
      ],
      [
        "302",
        send("HTTP/1.1 302 Found\r\nLocation: http://evil/\r\n\r\n", end),
        /refused the tunnel \(302\)/,
        /CONNECT/,
      ],
      ["closes", (socket) => void socket.end(), /closed the connection before it gave a tunnel/, /allows CONNECT/],
      [
        "resets",
        (socket) => void socket.resetAndDestroy(),
        /closed the connection before it gave a tunnel/,
        /allows CONNECT/,
      ],
      [
        "half a head",
        send("HTTP/1.1 200 OK\r\nX:", end),
        /closed the connection before it gave a tunnel/,
        /allows CONNECT/,
      ],
      ["garbage", send("SSH-2.0-OpenSSH\r\n"), /not well-formed HTTP\/1\.1/, /names an HTTP proxy/],
      ["huge head", send(`HTTP/1.1 200 OK\r\nX: ${"a".repeat(100_000)}`), /is too large/, /names an HTTP proxy/],
      [
        "injected bytes",
        send("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        /followed by bytes/,
        /names an HTTP proxy/,
      ],
    ];
    for (const [name, answer, words, hint] of faults) {
      proxy.answer = answer;
      for (const key of ["plain", "secure"]) {
        const refused = await ask(gateway, key);
        expect(refused, `${name} ${key}`).toMatchObject({ status: 502, code: "UPSTREAM_UNREACHABLE" });
        expect(refused.message, name).toMatch(words);
        expect(refused.message, name).toMatch(/\(proxy\)\.$/);
        expect(refused.hint, name).toMatch(hint);
        expect(JSON.stringify(refused), name).not.toMatch(/127\.0\.0\.1|evil/);
      }
    }
    expect([upstream.requests, secure.requests]).toEqual([[], []]);
    await eventually(() => proxy.sockets.size === 0, "the end of all connections");
    expect(gateway.logText()).toContain(proxy.url);
  });

  test("A WebSocket gets the same refusal", async () => {
    const { gateway, proxy } = shared;
    proxy.answer = send("HTTP/1.1 403 Forbidden\r\n\r\n", end);
    const socket = new WebSocket(`ws://127.0.0.1:${gateway.port}/proxy/secure/x`);
    const [status, code] = await new Promise<unknown[]>((resolve) => {
      socket.on("error", () => {});
      socket.on("unexpected-response", (_, res) => resolve([res.statusCode, res.headers["x-proxy-error"]]));
    });
    expect([status, code]).toEqual([502, "UPSTREAM_UNREACHABLE"]);
  });

  test("A proxy that closes, or sends garbage, while TLS with the upstream begins is reported, and nothing is sent", async () => {
    const { gateway, proxy, secure } = shared;
    const afterHello = (react: (socket: Socket) => void) => (socket: Socket) => {
      socket.once("data", () => react(socket));
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
    };
    proxy.answer = afterHello((socket) => socket.end());
    expect((await ask(gateway, "secure")).message).toMatch(/before TLS with the upstream was complete \(proxy\)\.$/);
    proxy.answer = afterHello((socket) => socket.write("HTTP/1.1 200 OK\r\n\r\nevil"));
    expect(await ask(gateway, "secure")).toMatchObject({ status: 502, code: "UPSTREAM_TLS_ERROR" });
    expect(secure.requests).toEqual([]);
  });

  test("The probe, the checks and the explanation name the proxy, without its credential", async () => {
    const { gateway, proxy } = await start({ credential: `user:${PASSWORD}@` });
    proxy.answer = send("HTTP/1.1 407 No\r\n\r\n", end);
    const tested = await manage(gateway, "POST", "/services/secure/test");
    expect(tested.body).toMatchObject({
      status: "unreachable",
      phase: "proxy",
      code: "UPSTREAM_UNREACHABLE",
      error: "secure: the egress proxy refused the gateway's credential (407).",
      phases: { connect: expect.any(Number), proxy: null, tls: null, http: null },
    });
    const { body } = await manage(gateway, "GET", "/diagnostics");
    const checks = body.checks as { id: string; status: string; summary: string }[];
    expect(checks.find(({ id }) => id === "egress-proxy")).toMatchObject({ status: "fail" });
    expect(checks.find(({ id }) => id === "egress-proxy")?.summary).toContain(`${proxy.url} gave no tunnel to 2 of 2`);
    expect(checks.find(({ id }) => id === "reach:plain")?.summary).toContain("Phase: proxy.");
    expect(body.network).toMatchObject({ egressProxy: proxy.url, noProxy: null });
    const explained = await manage(gateway, "POST", "/explain", { method: "GET", path: "/proxy/plain/x" });
    expect(explained.body.upstream.proxy).toBe(proxy.url);
    const status = await (await fetch(`${gateway.url}/status`, { headers: { "x-api-key": MANAGEMENT_KEY } })).json();
    expect(status).toMatchObject({
      services: expect.arrayContaining([expect.objectContaining({ key: "plain", egressProxy: proxy.url })]),
    });
    expect(JSON.stringify(await (await fetch(`${gateway.url}/status`)).json())).not.toContain(proxy.url);
    const encoded = Buffer.from(`user:${PASSWORD}`).toString("base64");
    for (const text of [tested.body, body, explained.body, status].map((each) => JSON.stringify(each))) {
      expect(text).not.toContain(PASSWORD);
      expect(text).not.toContain(encoded);
    }
    expect(gateway.logText()).not.toContain(PASSWORD);
    expect(proxy.requests[0]?.head).toContain(`Proxy-Authorization: Basic ${encoded}`);
  });

  test("A proxy at an address that is never connected to is named in the refusal and its hint, also by the explanation", async () => {
    const gateway = await startGateway({
      env: { EGRESS_PROXY: "http://169.254.169.254", MANAGEMENT_API_KEY: MANAGEMENT_KEY },
      services: { plain: { baseUrl: "http://plain.example/" } },
    });
    const refusal = await ask(gateway, "plain");
    expect([refusal.status, refusal.code]).toEqual([403, "EGRESS_NOT_ALLOWED"]);
    expect(refusal.message).toBe("plain cannot be reached: the address of its egress proxy is link-local.");
    expect(refusal.hint).toMatch(/EGRESS_PROXY/);
    const { body } = await manage(gateway, "POST", "/explain", { method: "GET", path: "/proxy/plain/x" });
    expect(body.refusal).toMatchObject({ code: "EGRESS_NOT_ALLOWED", message: refusal.message, hint: refusal.hint });
  });

  test("A probe through a working proxy measures the proxy's part", async () => {
    const tested = await manage(shared.gateway, "POST", "/services/secure/test");
    const number = expect.any(Number);
    expect(tested.body).toMatchObject({
      status: "reachable",
      phases: { connect: number, proxy: number, tls: number, http: number },
      certificate: { names: expect.arrayContaining(["DNS:localhost"]) },
    });
  });
});

describe("a proxy that is slow or gone", () => {
  test("connectTimeoutMs covers the proxy and TLS together: 504 says which part was too slow", async () => {
    const { gateway, proxy } = await start({ connectTimeoutMs: 100 });
    proxy.answer = () => {};
    const slow = await ask(gateway, "plain");
    expect(slow).toMatchObject({ status: 504, code: "UPSTREAM_TIMEOUT" });
    expect(slow.message).toMatch(/gave no tunnel in time \(100 ms, connectTimeoutMs or .*\) \(proxy\)\.$/);
    proxy.answer = send("HTTP/1.1 200 OK\r\n\r\n");
    const silent = await ask(gateway, "secure");
    expect(silent.message).toBe(
      "secure: no connection within 100 ms (connect); connectTimeoutMs or NETWORK_CONNECT_TIMEOUT raises it.",
    );
    await eventually(() => proxy.sockets.size === 0, "the end of both connections");
  });

  test("A client that leaves ends the attempt at the proxy", async () => {
    const { gateway, proxy } = await start();
    proxy.answer = () => {};
    const leaving = new AbortController();
    const asked = fetch(`${gateway.url}/proxy/plain/x`, { signal: leaving.signal }).catch(() => {});
    await eventually(() => proxy.requests.length === 1, "the request of the tunnel");
    leaving.abort();
    await asked;
    await eventually(() => proxy.sockets.size === 0, "the end of the attempt");
  });

  test("A proxy that does not run is 502, is retried, and opens the breaker", async () => {
    const gateway = await startGateway({
      env: { EGRESS_PROXY: `http://u:${PASSWORD}@127.0.0.1:${await freePort()}` },
      services: {
        api: { baseUrl: "http://api.example/", retries: 1, breaker: { minRequests: 2, failureRatio: 0.5 } },
      },
    });
    const refused = await ask(gateway, "api");
    expect(refused).toMatchObject({ status: 502, message: "api: the egress proxy could not be reached (proxy)." });
    expect((await ask(gateway, "api")).code).toBe("CIRCUIT_OPEN");
    expect(gateway.exchanges()[0]).toMatchObject({ attempts: 2, outcome: "failed:UPSTREAM_UNREACHABLE" });
    expect(gateway.logText()).not.toContain(PASSWORD);
  });

  test("A retry opens a new tunnel after the proxy has closed an idle one", async () => {
    const { gateway, proxy, upstream } = await start();
    expect((await fetch(`${gateway.url}/proxy/plain/x`)).status).toBe(200);
    for (const socket of proxy.sockets) socket.destroy();
    expect((await fetch(`${gateway.url}/proxy/plain/x`)).status).toBe(200);
    expect(proxy.requests).toHaveLength(2);
    expect(upstream.requests.length).toBeGreaterThanOrEqual(2);
  });

  test("A response that begins in the packet after the head is whole", async () => {
    const { gateway, proxy } = await start();
    proxy.answer = (socket: Socket, request: ConnectRequest) => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      socket.on("data", (chunk) => {
        request.tunneled += chunk.toString("latin1");
        socket.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole");
      });
    };
    expect(await (await fetch(`${gateway.url}/proxy/plain/x`)).text()).toBe("whole");
    expect(proxy.requests[0]?.tunneled).toMatch(/^GET \/x HTTP\/1\.1\r\nHost: plain\.example\r\n/i);
    expect(proxy.requests[0]?.tunneled).not.toMatch(/proxy-auth/i);
  });
});
