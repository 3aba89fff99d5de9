/** `hosts`: a request to a service's own host name is for that service, with its whole path. */
import { describe, expect, test } from "vitest";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { startUpstream, type TestUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

const KEYS = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };

interface Sent {
  readonly method?: string;
  readonly host?: string;
  readonly headers?: readonly string[];
  readonly version?: string;
  readonly port?: number;
}

/** Sends one request with this Host, byte for byte, with a proxy key unless `headers` are given. */
function send(gateway: Pick<TestGateway, "port">, path: string, sent: Sent = {}) {
  const { method = "GET", host = "a.localhost", headers = [`x-api-key: ${PROXY_KEY}`], version = "1.1" } = sent;
  const lines = [`${method} ${path} HTTP/${version}`, `Host: ${host}`, ...headers, "Connection: close", "", ""];
  return rawRequest(sent.port ?? gateway.port, lines.join("\r\n"));
}

const headerOf = (head: string, name: string) => new RegExp(`^${name}: (.*)$`, "im").exec(head)?.[1]?.trim();

async function start(
  options: { readonly env?: Record<string, string>; readonly a?: object; readonly b?: object } = {},
) {
  const [a, b] = [await startUpstream(), await startUpstream()];
  const gateway = await startGateway({
    env: options.env ?? KEYS,
    services: {
      a: { baseUrl: `${a.url}/v1/`, hosts: ["a.localhost"], ...options.a },
      b: { baseUrl: b.url, hosts: ["b.localhost", "b.internal:8443"], ...options.b },
    },
  });
  return { gateway, a, b };
}

const pathsOf = ({ requests }: TestUpstream) => requests.map(({ url }) => url);

describe("A request to a service's own host", () => {
  test.each([
    "/users?page=2",
    "/",
    "/manage/services",
    "/health",
    "/docs",
    "/proxy/b/x",
    "/proxy/services",
    "/status",
    "/metrics",
    "//x//y",
  ])("%s is a path of the service", async (path) => {
    const { gateway, a, b } = await start();
    const answer = await send(gateway, path);
    expect(answer.status).toBe(200);
    expect(headerOf(answer.head, "X-Proxy-Service")).toBe("a");
    expect(pathsOf(a)).toEqual([`/v1${path}`]);
    expect(b.requests).toEqual([]);
  });

  test.each([
    "a.localhost:1",
    "A.LocalHost",
    "a.localhost.",
    "a.localhost.:3420",
    "a.localhost:",
    "a.localhost:0",
    "a.localhost:00080",
  ])("The Host %s is the service's: case, a trailing dot and the port do not matter", async (host) => {
    const { gateway, a } = await start();
    expect((await send(gateway, "/x", { host })).status).toBe(200);
    expect(pathsOf(a)).toEqual(["/v1/x"]);
  });

  test("An entry with a port matches that port only, and no port means 80 or 443", async () => {
    const { gateway, b } = await start({ b: { hosts: ["b.localhost:3421", "b.internal:443"] } });
    for (const host of ["b.localhost:3421", "b.localhost:03421", "b.internal", "b.internal:80", "b.internal:443"]) {
      expect((await send(gateway, "/x", { host })).status, host).toBe(200);
    }
    expect(b.requests).toHaveLength(5);
    // The gateway itself, which has no such route.
    for (const host of ["b.localhost", "b.localhost:3420", "b.internal:8080"]) {
      expect((await send(gateway, "/x", { host })).status, host).toBe(404);
    }
    expect(b.requests).toHaveLength(5);
  });

  test.each([
    ["github@a.localhost", 400],
    ["a.localhost@evil.test", 400],
    ["a.localhost, b.localhost", 400],
    ["a.localhost:3420:1", 400],
    ["a.localhost/x", 400],
    ["a%2elocalhost", 400],
    ["\u00e4.localhost", 400],
    // Names that are not the service's: the gateway's own routes respond.
    ["a.localhost..", 404],
    ["x.a.localhost", 404],
    ["xa.localhost", 404],
    ["[::1]:3420", 404],
  ])("The Host %s reaches no service: %i", async (host, status) => {
    const { gateway, a, b } = await start();
    expect((await send(gateway, "/x", { host })).status).toBe(status);
    expect([...a.requests, ...b.requests]).toEqual([]);
  });

  test("Two Host headers, and a target with another host, are refused and reach no service", async () => {
    const { gateway, a, b } = await start();
    const key = `x-api-key: ${PROXY_KEY}`;
    const requests = [
      `GET /x HTTP/1.1\r\nHost: a.localhost\r\nHost: b.localhost\r\n${key}\r\n\r\n`,
      `GET /x HTTP/1.1\r\nHost: localhost\r\nHost: a.localhost\r\n${key}\r\n\r\n`,
      `GET /x HTTP/1.1\r\nhost: a.localhost\r\nHOST: a.localhost\r\n${key}\r\n\r\n`,
      `GET http://b.localhost/x HTTP/1.1\r\nHost: a.localhost\r\n${key}\r\n\r\n`,
      `GET http://a.localhost/x HTTP/1.1\r\nHost: localhost\r\n${key}\r\n\r\n`,
      `OPTIONS * HTTP/1.1\r\nHost: a.localhost\r\n${key}\r\n\r\n`,
      `GET /x HTTP/1.1\r\nHost: a.localhost\r\n Host: b.localhost\r\n${key}\r\n\r\n`,
    ];
    for (const bytes of requests) expect((await rawRequest(gateway.port, bytes)).status, bytes).toBe(400);
    expect([...a.requests, ...b.requests]).toEqual([]);
  });

  test("OPTIONS and HTTP/1.0 requests are the service's too, and a request without a Host is the gateway's", async () => {
    const { gateway, a } = await start();
    expect((await send(gateway, "/manage", { method: "OPTIONS" })).status).toBe(200);
    expect((await send(gateway, "/health", { version: "1.0" })).status).toBe(200);
    expect(pathsOf(a)).toEqual(["/v1/manage", "/v1/health"]);
    const withoutHost = await rawRequest(gateway.port, "GET /health HTTP/1.0\r\n\r\n");
    expect(withoutHost.body).toContain('"uptime"');
    expect(a.requests).toHaveLength(2);
  });

  test("X-Forwarded-Host does not route, not even from a trusted proxy, and is not in links", async () => {
    const { gateway, a, b } = await start({ env: { ...KEYS, TRUST_PROXY: "127.0.0.1" } });
    const headers = [`x-api-key: ${PROXY_KEY}`, "X-Forwarded-Host: b.localhost", "Forwarded: host=b.localhost"];
    expect((await send(gateway, "/x", { headers })).status).toBe(200);
    expect((await send(gateway, "/x", { host: "localhost", headers })).status).toBe(404);
    expect([pathsOf(a), pathsOf(b)]).toEqual([["/v1/x"], []]);
  });

  test("A client without a key gets 401 for every path, and nothing about the configuration", async () => {
    const { gateway, a } = await start();
    for (const path of ["/", "/x", "/manage", "/../x", "/%zz"]) {
      const answer = await send(gateway, path, { headers: [] });
      expect(answer.status, path).toBe(401);
      expect(answer.text, path).not.toMatch(/X-Proxy-Service|"service"|availableServices|127\.0\.0\.1/);
    }
    expect(a.requests).toEqual([]);
  });

  test("Requests on one connection go where the Host of each leads", async () => {
    const { gateway, a, b } = await start();
    const one = (host: string, path: string, more = "") =>
      `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nx-api-key: ${PROXY_KEY}\r\n${more}\r\n`;
    const bytes =
      one("a.localhost", "/1") +
      one("b.localhost", "/2") +
      one("localhost", "/health") +
      one("a.localhost", "/3", "Connection: close\r\n");
    const answer = await rawRequest(gateway.port, bytes);
    expect(answer.text.match(/HTTP\/1\.1 200/g)).toHaveLength(4);
    expect([pathsOf(a), pathsOf(b)]).toEqual([["/v1/1", "/v1/3"], ["/2"]]);
  });

  test("Refusals, the log and the error body name the service's path", async () => {
    const { gateway } = await start({ a: { methods: ["GET"] } });
    const answer = await send(gateway, "/users/1?x=secret", { method: "DELETE", host: "a.localhost:3420" });
    expect([answer.status, JSON.parse(answer.body)]).toEqual([
      405,
      expect.objectContaining({ service: "a", path: "/users/1" }),
    ]);
    expect(gateway.exchanges().at(-1)).toMatchObject({
      service: "a",
      path: "/users/1?x=***",
      host: "a.localhost:3420",
    });
    await send(gateway, "/proxy/a/x", { host: "localhost" });
    expect(gateway.exchanges().at(-1)).not.toHaveProperty("host");
  });

  test("The service is still at /proxy/<key> on the gateway's own hosts", async () => {
    const { gateway, a } = await start();
    expect((await send(gateway, "/proxy/a/x", { host: "localhost" })).status).toBe(200);
    expect(pathsOf(a)).toEqual(["/v1/x"]);
  });

  test("The listener for operators serves nothing at a service's host", async () => {
    const { gateway, a } = await start({ env: { ...KEYS, MANAGEMENT_PORT: "0" } });
    const port = Number(new URL(gateway.managementUrl ?? "").port);
    for (const path of ["/manage/services", "/health", "/x", "/docs"]) {
      const answer = await send(gateway, path, { port, headers: [`x-api-key: ${MANAGEMENT_KEY}`] });
      expect([answer.status, JSON.parse(answer.body).code], path).toEqual([404, "NOT_FOUND"]);
    }
    expect((await send(gateway, "/health", { port, host: "localhost" })).status).toBe(200);
    expect(a.requests).toEqual([]);
  });

  test("The caller's permissions apply to the path that the upstream sees", async () => {
    const { gateway, a } = await start();
    const made = await fetch(`${gateway.url}/manage/keys`, {
      method: "POST",
      headers: { "x-api-key": MANAGEMENT_KEY, "content-type": "application/json" },
      body: JSON.stringify({ name: "k", permissions: ["a:GET:/open/**"] }),
    });
    const { key } = (await made.json()) as { key: string };
    const headers = [`Authorization: Bearer ${key}`];
    expect((await send(gateway, "/open/x", { headers })).status).toBe(200);
    const refused = await send(gateway, "/closed", { headers });
    expect([refused.status, JSON.parse(refused.body).required]).toEqual([403, "a:GET:/closed"]);
    expect((await send(gateway, "/open/x", { headers, host: "b.localhost" })).status).toBe(403);
    expect(pathsOf(a)).toEqual(["/v1/open/x"]);
  });
});

describe("A WebSocket to a service's own host", () => {
  test("It is opened at any path, and a handshake for the gateway's routes is none", async () => {
    const upstream = await startWebSocketEcho();
    const gateway = await startGateway({
      env: KEYS,
      services: { a: { baseUrl: upstream.url, hosts: ["a.localhost"], ws: true } },
    });
    const handshake = (host: string, path: string) =>
      `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nx-api-key: ${PROXY_KEY}\r\n\r\n`;
    expect((await rawRequest(gateway.port, handshake("a.localhost", "/manage"), { until: "\r\n\r\n" })).status).toBe(
      101,
    );
    expect((await rawRequest(gateway.port, handshake("localhost", "/manage"), { until: "\r\n\r\n" })).status).not.toBe(
      101,
    );
    expect(upstream.requests.map(({ url }) => url)).toEqual(["/manage"]);
  });
});

describe("An open plane", () => {
  test("A host under .localhost is accepted, also beside ALLOWED_HOSTS; any other must be in ALLOWED_HOSTS", async () => {
    const open = async (env: Record<string, string>, hosts: string[], host: string, path = "/x") => {
      const { gateway } = await start({ env, b: { hosts } });
      return (await send(gateway, path, { host, headers: [] })).status;
    };
    expect(await open({}, ["b.localhost"], "b.localhost:3420")).toBe(200);
    expect(await open({}, ["evil.test"], "evil.test:3420")).toBe(403);
    expect(await open({ ALLOWED_HOSTS: "gw.test" }, ["b.localhost"], "b.localhost")).toBe(200);
    expect(await open({ ALLOWED_HOSTS: "gw.test" }, ["b.localhost"], "other.localhost", "/proxy/b/x")).toBe(403);
    expect(await open({ ALLOWED_HOSTS: "gw.test,B.test" }, ["b.test"], "b.test")).toBe(200);
  });

  test("A page of another origin may not call, also one of another service's host or of the gateway's", async () => {
    const { gateway, a, b } = await start({ env: { PUBLIC_URL: "http://gw.test" } });
    const from = async (origin: string, host = "a.localhost:3420") =>
      (await send(gateway, "/x", { host, headers: [`Origin: ${origin}`] })).status;
    expect(await from("http://a.localhost:3420")).toBe(200);
    for (const origin of [
      "http://b.localhost:3420",
      "http://localhost:3420",
      "http://a.localhost:3421",
      "https://a.localhost:3420",
      "http://gw.test",
      "null",
    ]) {
      expect(await from(origin), origin).toBe(403);
    }
    const crossSite = await send(gateway, "/x", { headers: ["Sec-Fetch-Site: same-site"] });
    expect(crossSite.status).toBe(403);
    expect([a.requests.length, b.requests.length]).toEqual([1, 0]);
  });

  test("To /manage and to /proxy, a page of a service's host is a page of another origin", async () => {
    const { gateway } = await start({ env: {} });
    for (const path of ["/manage/services", "/proxy/b/x", "/proxy/services"]) {
      const answer = await send(gateway, path, {
        host: "localhost:3420",
        headers: ["Origin: http://a.localhost:3420"],
      });
      expect([answer.status, headerOf(answer.head, "X-Proxy-Error")], path).toEqual([403, "ORIGIN_NOT_ALLOWED"]);
    }
  });

  test("With a key, /manage refuses a page of a service's host as well", async () => {
    const { gateway } = await start();
    const headers = [`x-api-key: ${MANAGEMENT_KEY}`, "Origin: http://a.localhost:3420"];
    expect((await send(gateway, "/manage/services", { host: "localhost:3420", headers })).status).toBe(403);
  });
});

describe("CORS at a service's own host", () => {
  test("A preflight is answered as under /proxy, whatever the path", async () => {
    const { gateway, a } = await start({ env: { ...KEYS, CORS_ORIGINS: "https://app.test" } });
    const preflight = (origin: string) =>
      send(gateway, "/manage", {
        method: "OPTIONS",
        headers: [`Origin: ${origin}`, "Access-Control-Request-Method: PUT"],
      });
    const allowed = await preflight("https://app.test");
    expect([allowed.status, headerOf(allowed.head, "Access-Control-Allow-Origin")]).toEqual([204, "https://app.test"]);
    expect((await preflight("http://a.localhost:3420")).status).toBe(403);
    expect(a.requests).toEqual([]);
  });
});

describe("A host that moves", () => {
  test("A request that waits on its connection goes where its host leads when it is served", async () => {
    let release = () => {};
    const waiting = new Promise<void>((resolve) => {
      release = resolve;
    });
    const a = await startUpstream((_, res) => void waiting.then(() => res.end("of a")));
    const b = await startUpstream((_, res) => res.end("of b"));
    const service = (url: string, hosts: string[]) => ({ baseUrl: url, hosts });
    const gateway = await startGateway({
      env: { ...KEYS, EGRESS_ALLOW_PRIVATE: "true" },
      services: { a: service(a.url, ["x.localhost"]), b: service(b.url, []) },
    });
    const socket = await openSocket(gateway.port);
    const one = `GET /x HTTP/1.1\r\nHost: x.localhost\r\nx-api-key: ${PROXY_KEY}\r\n\r\n`;
    socket.write(one + one);
    await expect.poll(() => a.requests.length).toBe(1);
    const patch = async (key: string, hosts: string[]) => {
      const answer = await fetch(`${gateway.url}/manage/services/${key}`, {
        method: "PATCH",
        headers: { "x-api-key": MANAGEMENT_KEY, "content-type": "application/json" },
        body: JSON.stringify({ hosts }),
      });
      return answer.status;
    };
    expect(await patch("b", ["x.localhost"])).toBe(409);
    expect(await patch("a", [])).toBe(200);
    expect(await patch("b", ["x.localhost"])).toBe(200);
    release();
    await expect.poll(() => socket.received).toContain("of b");
    expect(socket.received.indexOf("of a")).toBeLessThan(socket.received.indexOf("of b"));
    expect([a.requests.length, b.requests.length]).toEqual([1, 1]);
  });
});
