/** `port`: a further loopback listener that serves one service at `/`. */

import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import WebSocket from "ws";
import { loadConfig } from "../../src/config/load-config.ts";
import { openGateway } from "../../src/gateway.ts";
import { startFailure } from "../../src/start/start-failure.ts";
import { freePort } from "../support/free-port.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { startUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

const KEYS = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY, EGRESS_ALLOW_PRIVATE: "true" };
const withKey = { headers: { "x-api-key": PROXY_KEY } };

/** Undefined where nothing listens. */
async function statusAt(port: number, path = "/x", init: RequestInit = withKey): Promise<number | undefined> {
  return fetch(`http://127.0.0.1:${port}${path}`, init).then(
    ({ status }) => status,
    () => undefined,
  );
}

/** A port that another program holds until the test ends. */
async function heldPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

function rewrite(gateway: TestGateway, services: object): void {
  writeFileSync(join(gateway.directory, "services.json"), JSON.stringify({ services }));
}

describe("A service's own port", () => {
  test("It serves the service at / on both loopback addresses, and no route of the gateway", async () => {
    const upstream = await startUpstream();
    const port = await freePort();
    const gateway = await startGateway({ env: KEYS, services: { a: { baseUrl: `${upstream.url}/v1`, port } } });
    for (const path of ["/", "/users?x=1", "/manage/services", "/health", "/proxy/a/x", "/docs"]) {
      expect(await statusAt(port, path), path).toBe(200);
    }
    expect((await fetch(`http://localhost:${port}/ipv`, withKey)).status).toBe(200);
    expect((await fetch(`http://[::1]:${port}/six`, withKey)).status).toBe(200);
    expect(upstream.requests.map(({ url }) => url)).toEqual([
      "/v1/",
      "/v1/users?x=1",
      "/v1/manage/services",
      "/v1/health",
      "/v1/proxy/a/x",
      "/v1/docs",
      "/v1/ipv",
      "/v1/six",
    ]);
    expect(gateway.exchanges().at(-1)).toMatchObject({ service: "a", path: "/six", host: `[::1]:${port}` });
    // HTTP/1.0 without a Host is for the service too.
    const old = await rawRequest(port, `GET /old HTTP/1.0\r\nx-api-key: ${PROXY_KEY}\r\n\r\n`);
    expect([old.status, upstream.requests.at(-1)?.url]).toEqual([200, "/v1/old"]);
  });

  test("It needs the key, and an open one has the same guard as /proxy", async () => {
    const upstream = await startUpstream();
    const [port, openPort] = [await freePort(), await freePort()];
    await startGateway({ env: KEYS, services: { a: { baseUrl: upstream.url, port } } });
    expect(await statusAt(port, "/health", {})).toBe(401);
    await startGateway({ services: { a: { baseUrl: upstream.url, port: openPort } } });
    const open = (lines: string) => rawRequest(openPort, `GET /x HTTP/1.1\r\n${lines}\r\nConnection: close\r\n\r\n`);
    expect((await open(`Host: localhost:${openPort}`)).status).toBe(200);
    expect((await open("Host: evil.test")).status).toBe(403);
    expect((await open(`Host: localhost:${openPort}\r\nOrigin: http://localhost:3420`)).status).toBe(403);
    expect((await open(`Host: localhost:${openPort}\r\nOrigin: http://localhost:${openPort}`)).status).toBe(200);
    expect((await open(`Host: localhost:${openPort}\r\nSec-Fetch-Site: cross-site`)).status).toBe(403);
    expect(upstream.requests).toHaveLength(2);
  });

  test("The Host of another service wins over the port, because browsers send that host's cookies", async () => {
    const [a, b] = [await startUpstream(), await startUpstream()];
    const port = await freePort();
    await startGateway({
      env: KEYS,
      services: { a: { baseUrl: a.url, port }, b: { baseUrl: b.url, hosts: ["b.localhost"] } },
    });
    const bytes = `GET /x HTTP/1.1\r\nHost: b.localhost:${port}\r\nx-api-key: ${PROXY_KEY}\r\nConnection: close\r\n\r\n`;
    expect((await rawRequest(port, bytes)).status).toBe(200);
    expect([a.requests.length, b.requests.length]).toEqual([0, 1]);
  });

  test("A WebSocket is opened at any path", async () => {
    const upstream = await startWebSocketEcho();
    const port = await freePort();
    await startGateway({ env: KEYS, services: { a: { baseUrl: upstream.url, port, ws: true } } });
    const socket = new WebSocket(`ws://127.0.0.1:${port}/manage`, withKey);
    const echoed = new Promise((resolve) => socket.once("message", (data) => resolve(String(data))));
    socket.once("open", () => socket.send("hello"));
    expect(await echoed).toBe("hello");
    socket.terminate();
  });

  test("Its connections are counted and capped for it alone, and /status and /metrics show them", async () => {
    const upstream = await startUpstream();
    const port = await freePort();
    const gateway = await startGateway({
      env: { ...KEYS, MAX_CONNECTIONS: "1" },
      services: { a: { baseUrl: upstream.url, port } },
    });
    const first = await openSocket(port);
    first.write(`GET /x HTTP/1.1\r\nHost: localhost\r\nx-api-key: ${PROXY_KEY}\r\n\r\n`);
    await expect.poll(() => first.received).toContain("200 OK");
    expect(await statusAt(port)).toBe(503);
    expect(await statusAt(gateway.port, "/proxy/a/x")).toBe(200);
    const status = await fetch(`${gateway.url}/status`, {
      headers: { "x-api-key": MANAGEMENT_KEY, connection: "close" },
    });
    const { load, services } = (await status.json()) as {
      load: { connections: unknown[] };
      services: { key: string; port?: number }[];
    };
    expect(load.connections).toContainEqual({
      listener: "service",
      service: "a",
      current: 1,
      limit: 1,
      limitPerAddress: null,
    });
    expect(services.find(({ key }) => key === "a")?.port).toBe(port);
    const { body: diagnosis } = await manage(gateway, "GET", "/diagnostics");
    expect(diagnosis.network.listeners).toContainEqual(
      expect.objectContaining({ name: "service", service: "a", address: "127.0.0.1", port, connections: 1 }),
    );
    const publicStatus = await (await fetch(`${gateway.url}/status`)).text();
    expect(publicStatus).not.toContain(String(`"port":${port}`));
    expect(await (await fetch(`${gateway.url}/metrics`)).text()).toContain(
      'byteproxy_connections_open{listener="service"} 1',
    );
  });

  test("No service may have it as its upstream, in any spelling", async () => {
    const upstream = await startUpstream();
    const port = await freePort();
    const gateway = await startGateway({
      env: KEYS,
      services: { a: { baseUrl: upstream.url, port }, b: { baseUrl: `http://localhost:${port}/`, retries: 0 } },
    });
    const answer = await fetch(`${gateway.url}/proxy/b/x`, withKey);
    expect([answer.status, answer.headers.get("x-proxy-error")]).toEqual([403, "EGRESS_NOT_ALLOWED"]);
    const added = await manage(gateway, "POST", "/services", {
      key: "c",
      config: { baseUrl: `http://[::1]:${port}/` },
    });
    expect([added.status, added.body.code]).toEqual([403, "EGRESS_NOT_ALLOWED"]);
    expect(upstream.requests).toEqual([]);
  });
});

describe("A port that cannot be opened", () => {
  test("A port in use stops the start with exit code 1 and one line that names the service", async () => {
    const port = await heldPort();
    const folder = (await startGateway()).directory;
    writeFileSync(
      join(folder, "in-use.json"),
      JSON.stringify({ services: { a: { baseUrl: "http://a.test/", port } } }),
    );
    const config = await loadConfig({
      directory: folder,
      processEnv: { HOST: "127.0.0.1", PORT: "0", CONFIG_FILE: join(folder, "in-use.json") },
    });
    const failure = startFailure(await openGateway(config).catch((error: unknown) => error));
    expect(failure).toMatchObject({ exitCode: 1 });
    expect(String((failure as { lines: string[] }).lines)).toMatch(
      new RegExp(`^Port ${port} on (127\\.0\\.0\\.1|::1) is in use by .*choose another port for the service a\\.$`),
    );
  });

  test("A reload that needs a port in use changes nothing, and says which service", async () => {
    const upstream = await startUpstream();
    const [held, free, kept] = [await heldPort(), await freePort(), await freePort()];
    const service = (port: number) => ({ baseUrl: upstream.url, port });
    const gateway = await startGateway({ env: KEYS, services: { a: service(kept) } });
    rewrite(gateway, { a: service(free), b: service(held) });
    expect(await gateway.reload()).toMatchObject({
      isDone: false,
      problems: [
        expect.stringMatching(new RegExp(`^services\\.b\\.port: found ${held}, which is in use by another process`)),
      ],
    });
    expect(await statusAt(kept)).toBe(200);
    await expect.poll(() => statusAt(free)).toBe(undefined);
  });

  test("A change over REST that needs a port in use is refused, stores nothing and keeps the old port", async () => {
    const upstream = await startUpstream();
    const [held, port] = [await heldPort(), await freePort()];
    const gateway = await startGateway({ env: KEYS, services: {} });
    const config = { baseUrl: upstream.url, port };
    expect((await manage(gateway, "POST", "/services", { key: "a", config })).status).toBe(201);
    const refused = await manage(gateway, "PATCH", "/services/a", { port: held });
    expect([refused.status, refused.body.details]).toEqual([
      400,
      { port: [`found ${held}, which is in use by another process, allowed: a free port`] },
    ]);
    const created = await manage(gateway, "POST", "/services", { key: "b", config: { ...config, port: held } });
    expect(Object.keys(created.body.details)).toEqual(["config.port"]);
    expect(await statusAt(port)).toBe(200);
    expect((await manage(gateway, "GET", "/services/a")).body.config.port).toBe(port);
    expect((await manage(gateway, "GET", "/services/b")).status).toBe(404);
  });
});

describe("A port that moves", () => {
  test("Over REST it is opened, moved, given to another service and closed, and requests in flight end", async () => {
    let release = () => {};
    const waiting = new Promise<void>((resolve) => {
      release = resolve;
    });
    const slow = await startUpstream((_, res) => {
      res.write("begun,");
      void waiting.then(() => res.end("ended"));
    });
    const other = await startUpstream((_, res) => res.end("of other"));
    const [first, second] = [await freePort(), await freePort()];
    const gateway = await startGateway({ env: KEYS, services: { other: { baseUrl: other.url } } });
    const config = { baseUrl: slow.url, port: first };
    expect((await manage(gateway, "POST", "/services", { key: "a", config })).status).toBe(201);
    const inFlight = await openSocket(first);
    inFlight.write(`GET /x HTTP/1.1\r\nHost: localhost\r\nx-api-key: ${PROXY_KEY}\r\n\r\n`);
    const idle = await openSocket(first);
    const isIdleClosed = new Promise((resolve) => idle.once("close", () => resolve(true)));
    await expect.poll(() => inFlight.received).toContain("begun,");

    expect((await manage(gateway, "PATCH", "/services/a", { port: second })).status).toBe(200);
    await expect.poll(() => statusAt(first)).toBe(undefined);
    expect(await isIdleClosed).toBe(true);
    // Free at once for another service, while the old connection still ends.
    expect((await manage(gateway, "PATCH", "/services/other", { port: first })).status).toBe(200);
    expect(await (await fetch(`http://127.0.0.1:${first}/`, withKey)).text()).toBe("of other");
    const isClosed = new Promise((resolve) => inFlight.once("close", () => resolve(true)));
    release();
    await expect.poll(() => inFlight.received).toContain("ended");
    expect(await isClosed).toBe(true);
    expect(await statusAt(second)).toBe(200);

    expect((await manage(gateway, "DELETE", "/services/a")).status).toBe(204);
    await expect.poll(() => statusAt(second)).toBe(undefined);
    expect(await statusAt(first)).toBe(200);
  });

  test("A reload gives a port to another service without closing its connections", async () => {
    const a = await startUpstream((_, res) => res.end("of a"));
    const b = await startUpstream((_, res) => res.end("of b"));
    const port = await freePort();
    const gateway = await startGateway({ env: KEYS, services: { a: { baseUrl: a.url, port }, b: { baseUrl: b.url } } });
    const socket = await openSocket(port);
    const one = `GET /x HTTP/1.1\r\nHost: localhost\r\nx-api-key: ${PROXY_KEY}\r\n\r\n`;
    socket.write(one);
    await expect.poll(() => socket.received).toContain("of a");
    rewrite(gateway, { a: { baseUrl: a.url }, b: { baseUrl: b.url, port } });
    expect(await gateway.reload()).toMatchObject({ isDone: true });
    socket.write(one);
    await expect.poll(() => socket.received).toContain("of b");
    expect(socket.destroyed).toBe(false);
  });

  test("WebSockets on a port that closes get 1001, and those of the gateway's own port stay", async () => {
    const upstream = await startWebSocketEcho();
    const port = await freePort();
    const gateway = await startGateway({ env: KEYS, services: {} });
    const config = { baseUrl: upstream.url, ws: true, port };
    await manage(gateway, "POST", "/services", { key: "a", config });
    const open = async (url: string) => {
      const socket = new WebSocket(url, withKey);
      onTestFinished(() => socket.terminate());
      await new Promise((resolve) => socket.once("open", resolve));
      return socket;
    };
    const onPort = await open(`ws://127.0.0.1:${port}/x`);
    const onMain = await open(`ws://127.0.0.1:${gateway.port}/proxy/a/x`);
    const closedWith = new Promise((resolve) => onPort.once("close", resolve));
    await manage(gateway, "PATCH", "/services/a", { port: null });
    expect(await closedWith).toBe(1001);
    expect(onMain.readyState).toBe(WebSocket.OPEN);
  });

  test("All ports close with the gateway, also one that a change has just opened", async () => {
    const upstream = await startUpstream();
    const [a, b] = [await freePort(), await freePort()];
    const gateway = await startGateway({ env: KEYS, services: { a: { baseUrl: upstream.url, port: a } } });
    const adding = manage(gateway, "POST", "/services", { key: "b", config: { baseUrl: upstream.url, port: b } });
    await Promise.all([adding.catch(() => {}), gateway.close()]);
    expect([await statusAt(a), await statusAt(b)]).toEqual([undefined, undefined]);
  });
});
