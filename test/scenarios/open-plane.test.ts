/** A plane without a key serves programs on this machine: no web page, no DNS rebinding, no other proxy. */
import { describe, expect, test } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream } from "../support/upstream.ts";

async function start(env: Record<string, string> = {}) {
  const upstream = await startRawUpstream(respondWith("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
  const gateway = await startGateway({ env, services: { api: { baseUrl: upstream.url } } });
  const ask = (headers: string, path = "/proxy/api/") =>
    rawRequest(gateway.port, `GET ${path} HTTP/1.1\r\n${headers}\r\nConnection: close\r\n\r\n`);
  return { upstream, gateway, ask };
}

const PATHS = ["/proxy/api/", "/proxy/services", "/proxy/auth-test", "/manage/services"];

describe("open plane", () => {
  test.each([
    ["another name (DNS rebinding)", "Host: evil.example", "HOST_NOT_ALLOWED"],
    ["another name that begins like ours", "Host: localhost.evil.example", "HOST_NOT_ALLOWED"],
    ["another address", "Host: 192.168.1.5:3420", "HOST_NOT_ALLOWED"],
    ["another IPv6 address", "Host: [fd00::1]", "HOST_NOT_ALLOWED"],
    ["a name that only begins like a loopback address", "Host: 127.0.0.1.evil.example", "HOST_NOT_ALLOWED"],
    ["no name at all", "Host:", "HOST_HEADER_INVALID"],
    ["a foreign Origin", "Host: localhost\r\nOrigin: https://evil.example", "ORIGIN_NOT_ALLOWED"],
    ["an Origin on another port", "Host: localhost\r\nOrigin: http://localhost:8080", "ORIGIN_NOT_ALLOWED"],
    ["the null Origin", "Host: localhost\r\nOrigin: null", "ORIGIN_NOT_ALLOWED"],
    [
      "an image of a foreign page",
      "Host: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors",
      "ORIGIN_NOT_ALLOWED",
    ],
    ["a page on another port", "Host: localhost\r\nSec-Fetch-Site: same-site", "ORIGIN_NOT_ALLOWED"],
    ["X-Forwarded-For", "Host: localhost\r\nX-Forwarded-For: 9.9.9.9", "HOST_NOT_ALLOWED"],
    ["X-Forwarded-Host", "Host: localhost\r\nX-Forwarded-Host: a", "HOST_NOT_ALLOWED"],
    ["Forwarded", "Host: localhost\r\nForwarded: for=9.9.9.9", "HOST_NOT_ALLOWED"],
    ["X-Real-IP", "Host: localhost\r\nX-Real-IP: 9.9.9.9", "HOST_NOT_ALLOWED"],
    ["a foreign Via", "Host: localhost\r\nVia: 1.1 nginx", "HOST_NOT_ALLOWED"],
    ...["X-Client-IP", "CF-Connecting-IP", "True-Client-IP", "X-Cluster-Client-IP", "Fly-Client-IP", "Client-IP"]
      .concat([
        "X_Forwarded_For",
        "x_real_ip",
        "CF_Connecting_IP",
        "X-Original-Forwarded-For",
        "CDN-Loop",
        "X-Forwarded",
      ])
      .concat(["Fastly-Client-IP", "X-Envoy-External-Address", "X-Azure-ClientIP", "Ngrok-Trace-Id", "Remote-Addr"])
      .map((name) => [name, `Host: localhost\r\n${name}: 9.9.9.9`, "HOST_NOT_ALLOWED"]),
  ])("An open plane refuses %s on every route, and forwards nothing", async (_, headers, code) => {
    const { upstream, ask } = await start();
    for (const path of PATHS) {
      const response = await ask(headers, path);
      expect(response.status).toBe(code === "HOST_HEADER_INVALID" ? 400 : 403);
      const body = JSON.parse(response.body) as { code: string; hint: string };
      expect(body.code).toBe(code);
      if (response.status === 403) expect(body.hint).toMatch(/set (PROXY|MANAGEMENT)_API_KEY/i);
    }
    expect(upstream.received).toEqual([]);
  });

  test.each([
    "Host: localhost",
    "Host: LOCALHOST:3420",
    "Host: 127.0.0.1",
    "Host: 127.9.9.9:1",
    "Host: [::1]:3420",
    "Host: app.localhost",
    "Host: localhost\r\nOrigin: http://localhost",
    "Host: localhost:99\r\nOrigin: http://localhost:99\r\nSec-Fetch-Site: same-origin",
    "Host: localhost\r\nSec-Fetch-Site: none",
  ])("An open plane serves a request with %j", async (headers) => {
    const { ask } = await start();
    expect((await ask(headers)).status).toBe(200);
  });

  test("An open plane refuses HTTP/1.0, which nginx speaks unless it is configured otherwise", async () => {
    const { upstream, gateway } = await start();
    for (const path of PATHS) {
      const head = `GET ${path} HTTP/1.0\r\nHost: 127.0.0.1:${gateway.port}\r\nConnection: close\r\n\r\n`;
      const { status, body } = await rawRequest(gateway.port, head);
      expect([status, JSON.parse(body).code]).toEqual([403, "HOST_NOT_ALLOWED"]);
      expect(JSON.parse(body).hint).toMatch(/^Set (PROXY|MANAGEMENT)_API_KEY/);
    }
    expect((await rawRequest(gateway.port, "GET /health HTTP/1.0\r\n\r\n")).status).toBe(200);
    expect(upstream.received).toEqual([]);
  });

  test.each([
    ["a browser that names no page", 403, "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"],
    ["an old browser that names no page", 403, "user-agent: Opera/9.80 (Windows NT 6.1) Presto/2.12"],
    ["a browser with its address typed in", 200, "User-Agent: Mozilla/5.0\r\nSec-Fetch-Site: none"],
    ["a browser's own page", 200, "User-Agent: Mozilla/5.0\r\nSec-Fetch-Site: same-origin"],
    ["a browser's page of its own origin", 200, "User-Agent: Mozilla/5.0\r\nOrigin: http://gw.example"],
    ["a browser's page of a listed origin", 200, "User-Agent: Mozilla/5.0\r\nOrigin: https://app.example"],
    ["a browser's foreign page", 403, "User-Agent: Mozilla/5.0\r\nOrigin: http://evil.example"],
    ["a program", 200, "User-Agent: curl/8.5.0"],
    ["a program that names a browser later", 200, "User-Agent: fetcher (like Mozilla/5.0)"],
    ["a program without a User-Agent", 200, "Accept: */*"],
  ])("Under a plain HTTP name that is not loopback, an open plane responds to %s with %i", async (_, status, line) => {
    const { ask, upstream } = await start({
      ALLOWED_HOSTS: "gw.example,localhost",
      CORS_ORIGINS: "https://app.example",
    });
    for (const path of ["/proxy/api/", "/proxy/services"]) {
      expect((await ask(`Host: gw.example\r\n${line}`, path)).status).toBe(status);
    }
    expect(upstream.received.length > 0).toBe(status === 200);
    // Browsers say for loopback names which page sends a request.
    expect((await ask("Host: localhost\r\nUser-Agent: Mozilla/5.0")).status).toBe(200);
  });

  test("An open plane serves the configured origins and hosts", async () => {
    const { ask } = await start({ CORS_ORIGINS: "https://app.example", ALLOWED_HOSTS: "gw.example, other" });
    expect((await ask("Host: gw.example:80\r\nOrigin: https://app.example\r\nSec-Fetch-Site: cross-site")).status).toBe(
      200,
    );
    expect((await ask("Host: localhost")).status).toBe(403);
    expect((await ask("Host: other\r\nOrigin: https://app.example.evil")).status).toBe(403);
    for (const host of ["evilother", "other.evil", "a.gw.example", "gw.example.evil"]) {
      expect((await ask(`Host: ${host}`)).status, host).toBe(403);
    }
    const byAddress = await start({ ALLOWED_HOSTS: "::1,[fd00::7]:3420" });
    for (const host of ["[::1]", "[::1]:9", "[fd00::7]"])
      expect((await byAddress.ask(`Host: ${host}`)).status).toBe(200);
    const anyHost = await start({ ALLOWED_HOSTS: "*" });
    expect((await anyHost.ask("Host: whatever.example")).status).toBe(200);
  });

  test("Health and version are open to every client, because probes use no host name", async () => {
    const { ask } = await start();
    for (const path of ["/health", "/health/live", "/health/ready", "/version", "/"]) {
      expect((await ask("Host: pod-7.cluster.example\r\nX-Forwarded-For: 10.0.0.1", path)).status).toBe(200);
    }
  });
});

test("A plane with a key requires only the key, with any Host, Origin or proxy", async () => {
  const { ask } = await start({ PROXY_API_KEY: "a-key-of-sixteen-or-more" });
  const foreign = "Host: gw.example\r\nOrigin: https://evil.example\r\nX-Forwarded-For: 9.9.9.9";
  expect((await ask(foreign)).status).toBe(401);
  expect((await ask(`${foreign}\r\nx-api-key: a-key-of-sixteen-or-more`)).status).toBe(200);
});
