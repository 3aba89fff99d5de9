/** Connections through an egress proxy: what the proxy sees, and what the upstream receives. */
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { ServerHttp2Stream } from "node:http2";
import { createServer } from "node:https";
import { connect } from "node:net";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { describe, expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { startConnectProxy } from "../support/connect-proxy.ts";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, startGateway } from "../support/gateway.ts";
import { startHttp2Upstream } from "../support/http2-upstream.ts";
import { createIssuerKey, startIssuer } from "../support/issuer.ts";
import { manage } from "../support/manage.ts";
import { bodyOf, startUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

const file = (name: string) => join(import.meta.dirname, "../support/tls", name);
const pair = (name = "localhost") => ({
  cert: readFileSync(file(`${name}.pem`)),
  key: readFileSync(file(`${name}-key.pem`)),
});
const tls = { caFile: file("ca.pem"), servername: "localhost" };
const SECRET = "upstream-secret-0123456789";
const bearer = { type: "bearer", tokenEnvVar: "API_TOKEN" } as const;

const startTlsUpstream = () => startUpstream(undefined, createServer(pair()));

describe("a request through the proxy", () => {
  test("An https upstream gets the request, and the proxy sees neither request nor credential", async () => {
    const upstream = await startTlsUpstream();
    const proxy = await startConnectProxy({ credential: "user:p@ss word", portOf: () => upstream.port });
    const gateway = await startGateway({
      env: { EGRESS_PROXY: `http://user:p%40ss%20word@127.0.0.1:${proxy.port}`, API_TOKEN: SECRET },
      services: { api: { baseUrl: "https://api.example/v1", auth: bearer, tls } },
    });
    for (let i = 0; i < 2; i++) expect((await fetch(`${gateway.url}/proxy/api/x?y=1`)).status).toBe(200);
    expect(proxy.requests.map(({ line }) => line)).toEqual(["CONNECT api.example:443 HTTP/1.1"]);
    expect(proxy.requests[0]?.head).toContain("\r\nHost: api.example:443\r\n");
    expect(proxy.requests[0]?.tunneled).not.toMatch(/GET|Bearer|upstream-secret/);
    const [request] = upstream.requests;
    expect(request).toMatchObject({
      url: "/v1/x?y=1",
      headers: { host: "api.example", authorization: `Bearer ${SECRET}` },
    });
    expect(request?.rawHeaders.join()).not.toMatch(/proxy-auth/i);
    expect(gateway.logText()).not.toMatch(/p@ss|p%40ss|dXNlcjpwQHNz/);
  });

  test("An http upstream is reached by CONNECT too, on one connection for several requests", async () => {
    const upstream = await startUpstream();
    const proxy = await startConnectProxy({ portOf: () => upstream.port });
    const gateway = await startGateway({
      env: { EGRESS_PROXY: proxy.url },
      services: { api: { baseUrl: "http://api.example:8080/" } },
    });
    for (let i = 0; i < 3; i++) {
      expect(await (await fetch(`${gateway.url}/proxy/api/x`)).text()).toBe("ok");
    }
    expect(proxy.requests.map(({ line }) => line)).toEqual(["CONNECT api.example:8080 HTTP/1.1"]);
    expect(upstream.requests[2]).toMatchObject({ url: "/x", headers: { host: "api.example:8080" } });
  });

  test("A WebSocket to an http and to an https upstream goes through the proxy", async () => {
    const echo = await startWebSocketEcho();
    const secure = createServer(pair());
    new WebSocketServer({ server: secure }).on("connection", (socket) =>
      socket.on("message", (data) => socket.send(`tls ${data}`)),
    );
    const secureUpstream = await startUpstream(undefined, secure);
    const proxy = await startConnectProxy({
      portOf: (authority) => (authority === "ws.example:443" ? secureUpstream.port : Number(new URL(echo.url).port)),
    });
    const gateway = await startGateway({
      env: { EGRESS_PROXY: proxy.url },
      services: {
        plain: { baseUrl: "http://ws.example/", ws: true },
        secure: { baseUrl: "https://ws.example/", ws: true, tls },
      },
    });
    for (const [key, expected] of [
      ["plain", "hello"],
      ["secure", "tls hello"],
    ]) {
      const socket = new WebSocket(`ws://127.0.0.1:${gateway.port}/proxy/${key}/x`);
      const received = await new Promise((resolve, reject) => {
        socket.on("error", reject).on("message", (data) => resolve(String(data)));
        socket.on("open", () => socket.send("hello"));
      });
      socket.close();
      expect(received).toBe(expected);
    }
    expect(proxy.requests.map(({ line }) => line)).toEqual([
      "CONNECT ws.example:80 HTTP/1.1",
      "CONNECT ws.example:443 HTTP/1.1",
    ]);
  });

  test("An https:// proxy gets its credential over TLS, and TLS with the upstream runs inside", async () => {
    const upstream = await startTlsUpstream();
    const proxy = await startConnectProxy({
      credential: "user:password",
      portOf: () => upstream.port,
      server: createTlsServer(pair()),
    });
    const gateway = await startGateway({
      env: { EGRESS_PROXY: `https://user:password@127.0.0.1:${proxy.port}`, STRICT_TLS: "false" },
      services: { api: { baseUrl: "https://api.example/", tls: { ...tls, strict: true } } },
    });
    expect(await (await fetch(`${gateway.url}/proxy/api/x`)).text()).toBe("ok");
    expect(proxy.requests[0]?.tunneled).not.toContain("GET");
  });

  test("The certificate of an https:// proxy is verified", async () => {
    const proxy = await startConnectProxy({ credential: "user:password", server: createTlsServer(pair()) });
    const gateway = await startGateway({
      env: { EGRESS_PROXY: `https://user:password@127.0.0.1:${proxy.port}` },
      services: { api: { baseUrl: "http://api.example/", retries: 0 } },
    });
    const refused = await fetch(`${gateway.url}/proxy/api/x`);
    expect(refused.status).toBe(502);
    expect(await refused.json()).toMatchObject({ message: "api: TLS with the egress proxy failed (proxy)." });
    expect(proxy.requests).toEqual([]);
  });

  test("The certificate of the upstream is verified inside the tunnel", async () => {
    const upstream = await startUpstream(undefined, createServer(pair("other")));
    const proxy = await startConnectProxy({ portOf: () => upstream.port });
    const gateway = await startGateway({
      env: { EGRESS_PROXY: proxy.url },
      services: { api: { baseUrl: "https://localhost.example/", tls: { caFile: file("ca.pem") }, retries: 0 } },
    });
    const refused = await fetch(`${gateway.url}/proxy/api/x`);
    expect(refused.headers.get("x-proxy-error")).toBe("UPSTREAM_TLS_ERROR");
    expect(upstream.requests).toEqual([]);
  });

  test("An HTTP/2 upstream is reached through the proxy, also if its SETTINGS arrive with the response of the proxy", async () => {
    const respond = (stream: ServerHttp2Stream) => {
      stream.respond({ ":status": 200 });
      stream.end("two");
    };
    const [plain, secure] = [await startHttp2Upstream(respond), await startHttp2Upstream(respond, pair())];
    const proxy = await startConnectProxy({
      portOf: (authority) => (authority.endsWith(":443") ? secure : plain).port,
    });
    const tunnel = proxy.answer;
    const gateway = await startGateway({
      env: { EGRESS_PROXY: proxy.url },
      services: {
        plain: { baseUrl: "http://h2.example/", http2: true },
        secure: { baseUrl: "https://h2.example/", http2: true, tls },
        early: { baseUrl: "http://early.example/", http2: true },
      },
    });
    const ask = async (key: string) => (await fetch(`${gateway.url}/proxy/${key}/x`)).text();
    expect([await ask("plain"), await ask("secure")]).toEqual(["two", "two"]);
    proxy.answer = (socket) => {
      const upstream = connect(plain.port, "127.0.0.1");
      socket.on("close", () => upstream.destroy());
      upstream.once("data", (settings) => {
        socket.write(Buffer.concat([Buffer.from("HTTP/1.1 200 OK\r\n\r\n"), settings]));
        upstream.pipe(socket).pipe(upstream);
      });
    };
    expect(await ask("early")).toBe("two");
    proxy.answer = tunnel;
    expect(await ask("early")).toBe("two");
    expect(proxy.requests).toHaveLength(3);
  });

  test("A body of several megabytes is whole in both directions, through TLS in TLS too", async () => {
    const body = randomBytes(2_000_000);
    const echo = async (req: IncomingMessage, res: ServerResponse) => res.end(await bodyOf(req));
    const upstream = await startUpstream(echo, createServer(pair()));
    const plain = await startConnectProxy({ portOf: () => upstream.port });
    const secure = await startConnectProxy({ portOf: () => upstream.port, server: createTlsServer(pair()) });
    const gateway = await startGateway({
      env: { STRICT_TLS: "false" },
      services: {
        plain: { baseUrl: "https://api.example/", egressProxy: plain.url },
        secure: { baseUrl: "https://api.example/", egressProxy: secure.url.replace("http:", "https:") },
      },
    });
    for (const key of ["plain", "secure"]) {
      const echoed = await fetch(`${gateway.url}/proxy/${key}/x`, { method: "POST", body });
      expect(Buffer.from(await echoed.arrayBuffer()).equals(body), key).toBe(true);
    }
    expect([plain.requests.length, secure.requests.length]).toEqual([1, 1]);
  });

  test("The certificate of an upstream with an address is verified for that address, not for the proxy's", async () => {
    const upstream = await startUpstream(undefined, createServer(pair("other")));
    const proxy = await startConnectProxy();
    const baseUrl = `https://127.0.0.1:${upstream.port}`;
    const gateway = await startGateway({
      services: { api: { baseUrl, tls: { caFile: file("ca.pem") }, egressProxy: proxy.url, retries: 0 } },
    });
    const refused = await fetch(`${gateway.url}/proxy/api/x`);
    expect(await refused.json()).toMatchObject({ message: "api: its certificate is for another name (tls)." });
    expect(proxy.requests).toHaveLength(1);
  });

  test("The keys of JWT_JWKS_URL and the update check use the proxy", async () => {
    const issuer = await startIssuer(await createIssuerKey("k1"));
    const jwksPort = Number(new URL(issuer.env.JWT_JWKS_URL).port);
    const updates = await startUpstream((_, res) => res.end('{"version":"9.0.0"}'));
    const proxy = await startConnectProxy({
      portOf: (authority) => (authority.startsWith("keys.") ? jwksPort : updates.port),
    });
    const gateway = await startGateway({
      env: {
        ...issuer.env,
        // An https address would need a certificate that this machine trusts.
        JWT_JWKS_URL: "https://keys.example/jwks",
        UPDATE_CHECK_URL: "http://updates.example/latest",
        EGRESS_PROXY: proxy.url,
        MANAGEMENT_API_KEY: MANAGEMENT_KEY,
      },
    });
    const checked = (await (await fetch(`${gateway.url}/version/check`)).json()) as { latest: string };
    expect(checked.latest).toBe("9.0.0");
    await manage(gateway, "GET", "/diagnostics");
    const lines = proxy.requests.map(({ line }) => line);
    expect(lines).toContain("CONNECT updates.example:80 HTTP/1.1");
    expect(lines).toContain("CONNECT keys.example:443 HTTP/1.1");
  });
});

describe("the way of a service", () => {
  test("`egressProxy` of a service wins over EGRESS_PROXY and NO_PROXY, and false connects directly", async () => {
    const upstream = await startUpstream();
    const [common, own] = [await startConnectProxy(), await startConnectProxy({ credential: "me:secret" })];
    const baseUrl = `http://127.0.0.1:${upstream.port}/`;
    const gateway = await startGateway({
      env: {
        EGRESS_PROXY: common.url,
        EGRESS_PROXY_AUTH: `http://me:secret@127.0.0.1:${own.port}`,
        NO_PROXY: "*",
      },
      services: {
        own: { baseUrl, egressProxy: own.url },
        loopback: { baseUrl },
        direct: { baseUrl: baseUrl.replace("127.0.0.1", "localhost"), egressProxy: false },
      },
    });
    for (const key of ["own", "loopback", "direct"])
      expect((await fetch(`${gateway.url}/proxy/${key}/x`)).status).toBe(200);
    expect(common.requests).toEqual([]);
    expect(own.requests.map(({ line }) => line)).toEqual([`CONNECT 127.0.0.1:${upstream.port} HTTP/1.1`]);
  });

  test("A reload with another credential in an env file uses it, and forgets the failures of the old one", async () => {
    const upstream = await startUpstream();
    const proxy = await startConnectProxy({ credential: "user:right", portOf: () => upstream.port });
    const breaker = { minRequests: 1, failureRatio: 0.5, openMs: 60_000 };
    const gateway = await startGateway({ services: { api: { baseUrl: "http://api.example/", breaker, retries: 0 } } });
    const configure = async (password: string) => {
      writeFileSync(join(gateway.directory, ".env"), `EGRESS_PROXY=http://user:${password}@127.0.0.1:${proxy.port}\n`);
      await gateway.reload();
      return (await fetch(`${gateway.url}/proxy/api/x`)).headers.get("x-proxy-error");
    };
    expect(await configure("wrong-password")).toBe("UPSTREAM_UNREACHABLE");
    expect((await fetch(`${gateway.url}/proxy/api/x`)).headers.get("x-proxy-error")).toBe("CIRCUIT_OPEN");
    expect(await configure("right")).toBeNull();
    expect(gateway.logText()).not.toContain("wrong-password");
  });

  test("A reload with another proxy closes the connections through the old one", async () => {
    const upstream = await startUpstream();
    const [first, second] = [await startConnectProxy(), await startConnectProxy({ credential: "u:one" })];
    const env: Record<string, string> = { EGRESS_PROXY_AUTH: `http://u:one@127.0.0.1:${second.port}` };
    const service = (egressProxy: string | false) => ({
      api: { baseUrl: `http://127.0.0.1:${upstream.port}/`, egressProxy },
    });
    const gateway = await startGateway({ env, services: service(first.url) });
    const ask = async () => expect((await fetch(`${gateway.url}/proxy/api/x`)).status).toBe(200);
    await ask();
    expect(first.sockets.size).toBe(1);
    writeFileSync(join(gateway.directory, "services.json"), JSON.stringify({ services: service(second.url) }));
    await gateway.reload();
    await eventually(() => first.sockets.size === 0, "the end of the old connection");
    await ask();
    expect(second.requests).toHaveLength(1);
    expect(first.requests).toHaveLength(1);
  });
});
